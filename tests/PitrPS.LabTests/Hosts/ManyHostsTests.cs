using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>Many hosts in one pipeline, side by side: in their order, and one that is bad stops none of the others.</summary>
public sealed class ManyHostsTests(BareHosts hosts) : IClassFixture<BareHosts>
{
    [LabFact]
    public void Installs_on_all_side_by_side_although_one_of_them_is_gone()
    {
        hosts.Get($"$gone = Connect-PgHost {hosts.Primary.ConnectArguments}; $gone | Disconnect-PgHost");
        var planned = hosts.Run("$gone, $primaryHost, $standbyHost, $primaryHost | Install-PgServer -WhatIf");
        Assert.Equal(["PitrPS.HostDisconnected"], planned.ErrorIds);
        Assert.Equal(["primary:15/main", "standby:15/main"], planned.Output.Select(o => o.Properties["Id"].Value));
        Assert.True(planned.HostText.IndexOf("primary: ", StringComparison.Ordinal) < planned.HostText.IndexOf("standby: ", StringComparison.Ordinal));
        Assert.Equal("", hosts.Lab.Shell(Lab.Primary, "ls /var/lib/pitrps 2>/dev/null || true"));

        var run = hosts.RunVerbose("$gone, $standbyHost, $primaryHost | Install-PgServer -Confirm:$false -ThrottleLimit 2");

        Assert.Equal(["PitrPS.HostDisconnected"], run.ErrorIds);
        Assert.Equal(hosts.Get("$gone").Single().BaseObject, run.Errors[0].TargetObject);
        Assert.Equal(["standby:15/main", "primary:15/main"], run.Output.Select(o => o.Properties["Id"].Value));

        // The one had begun before the other was finished.
        Assert.True(run.HostText.IndexOf("primary: Install postgresql", StringComparison.Ordinal) is > 0 and var begun
            && begun < run.HostText.IndexOf("standby: Make the role", StringComparison.Ordinal), run.HostText);
        var again = hosts.Run("$primaryHost, $standbyHost | Install-PgServer").ThrowOnError();
        Assert.Equal(2, again.HostText.Split("nothing to do").Length - 1);
    }

    [FaultFact]
    public async Task Asks_many_at_once_and_says_which_does_not_answer()
    {
        using var installed = new InstalledHosts();
        string Named(string prefix, LabHost host, int count) => string.Join(", ", Enumerable.Range(1, count).Select(i =>
            $"[pscustomobject]@{{ Name = '{prefix}{i}'; Address = '{host.Address}' }}"));
        var arguments = installed.Primary.ConnectArguments[installed.Primary.ConnectArguments.IndexOf("-Port", StringComparison.Ordinal)..];
        var known = Path.GetTempFileName();
        File.WriteAllText(known, string.Concat(File.ReadLines(installed.Primary.KnownHosts).SelectMany(line => line.Split(' ')[0] is var name && name.StartsWith("primary", StringComparison.Ordinal)
            ? [$"p* {line[(name.Length + 1)..]}\n"] : name.StartsWith("standby", StringComparison.Ordinal) ? new[] { $"s* {line[(name.Length + 1)..]}\n" } : [])));
        arguments = arguments.Replace(installed.Primary.KnownHosts, known, StringComparison.Ordinal);
        var all = installed.Get($"$all = {Named("p", installed.Primary, 6)}, {Named("s", installed.Standby, 2)}, {Named("p", installed.Primary, 9)} | Connect-PgHost {arguments} -ThrottleLimit 6; $all");
        Assert.Equal(17, all.Count);
        var servers = installed.Get("$servers = $all | Get-PgServer; $servers");
        Assert.Equal(all.Select(h => $"{h.Properties["Name"].Value}:15/main"), servers.Select(s => $"{s.Properties["Id"].Value}"));
        Assert.Equal(servers.Count, installed.Get("$servers | Get-ReplicationStatus").Count);

        installed.Lab.PauseNetwork(Lab.Standby);
        try
        {
            foreach (var (script, count) in new[] { ("$servers | Get-ReplicationStatus", 15), ("$all | Get-PgServer", 15), ("$all | Install-PgServer -ThrottleLimit 6 -Confirm:$false", 0) })
            {
                var watch = System.Diagnostics.Stopwatch.StartNew();
                var running = installed.Engine.Start(script);
                await Task.Delay(700);
                Assert.InRange(running.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
                Assert.True(running.Wait().WasStopped);
                if (count > 0)
                {
                    watch.Restart();
                    var run = installed.Run(script);
                    Assert.True(watch.Elapsed < TimeSpan.FromSeconds(20), $"{script} took {watch.Elapsed}");
                    Assert.Equal(["PitrPS.HostUnreachable", "PitrPS.HostUnreachable"], run.ErrorIds);
                    Assert.Equal(count, run.Output.Count);
                }
            }
        }
        finally
        {
            installed.Lab.ResumeNetwork(Lab.Standby);
            File.Delete(known);
        }

        Assert.Empty(installed.Get("$primaryHost, $standbyHost | Get-PitrOperation"));
    }
}
