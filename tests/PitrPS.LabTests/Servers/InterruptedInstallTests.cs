using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Servers;

/// <summary>Clients that die or are stopped while they install.</summary>
public sealed class InterruptedInstallTests(BareHosts hosts) : IClassFixture<BareHosts>
{
    [LabFact]
    public async Task A_client_that_is_killed_while_it_installs_packages_or_makes_the_cluster_leaves_what_the_next_run_goes_on_with()
    {
        foreach (var step in new[] { "Install postgresql", "Make the cluster", "Make the role" })
        {
            using var client = new ClientProcess($"$VerbosePreference = 'Continue'; {Connect} | Install-PgServer -Confirm:$false");
            await client.WaitForTextAsync($"primary: {step}", TimeSpan.FromMinutes(5));
            client.Kill();
        }

        hosts.Run("$primaryHost | Install-PgServer -Confirm:$false").Single();

        AssertInstalled(Lab.Primary);
    }

    [LabFact]
    public async Task Ctrl_C_ends_it_within_two_seconds_and_the_next_run_goes_on()
    {
        var running = hosts.Engine.Start("$standbyHost | Install-PgServer -Confirm:$false");
        var giveUp = DateTimeOffset.UtcNow + TimeSpan.FromMinutes(5);
        while (!running.Progress.Any(p => p.StatusDescription.Contains("Make the cluster", StringComparison.Ordinal)) && DateTimeOffset.UtcNow < giveUp)
        {
            await Task.Delay(20);
        }

        Assert.InRange(running.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
        running.Wait();
        Assert.Equal("1", hosts.Lab.Shell(Lab.Standby, "ls /var/lib/pitrps/operations | wc -l").Trim());

        hosts.Run("$standbyHost | Install-PgServer -Confirm:$false").Single();

        AssertInstalled(Lab.Standby);
    }

    private string Connect => $"Connect-PgHost {hosts.Primary.ConnectArguments}";

    private void AssertInstalled(string host)
    {
        Assert.Equal("on|*|1", hosts.Lab.Psql(host, "SELECT current_setting('data_checksums'), current_setting('listen_addresses'), count(*) FROM pg_roles WHERE rolname = 'pitrps'"));
        Assert.Equal("", hosts.Lab.Shell(host, "ls /var/lib/pitrps/operations; ls /usr/sbin/policy-rc.d /etc/postgresql-common/createcluster.d 2>/dev/null || true").Trim());
        Assert.Equal("0", hosts.Lab.Shell(host, "systemctl list-units --all --no-legend 'pitrps-*' | wc -l").Trim());
    }
}
