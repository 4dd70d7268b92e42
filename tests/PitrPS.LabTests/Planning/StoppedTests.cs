using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Planning;

/// <summary>
/// Ctrl+C in the middle of the cmdlets that change hosts or take long: it returns within two seconds, leaves no half-written file,
/// and the same command goes on afterwards to the same end. Each case has hosts of its own.
/// </summary>
public sealed class StoppedTests
{
    private const string Archive = "/var/mnt/archive_wal_dir";
    private const string Enable = "$primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -HeartbeatInterval 0 -Confirm:$false";
    private const string Mount = "$standby = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false";
    private const string Incident =
        "runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 -c 'CREATE TABLE lost AS SELECT generate_series(1, 100) AS i' -c 'DROP TABLE lost' -c 'CHECKPOINT' -c 'SELECT pg_switch_wal()'";

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(2);

    /// <summary>What is stopped, and the folder with the file that is being written then.</summary>
    public static TheoryData<string, string, string, string, string> WhileItWritesAFile => new()
    {
        { Snapshots.Bare, "", "$primaryHost | Install-PgServer -Confirm:$false", Lab.Primary, "/usr/sbin" },
        { Snapshots.Installed, "", "$primary | Enable-WalArchive -Path " + Archive + " -HeartbeatInterval 0 -Confirm:$false", Lab.Primary, "/usr/local/lib/pitrps" },
        { Snapshots.Installed, Enable, "$primary | Disable-WalArchive -Confirm:$false", Lab.Primary, "/etc/postgresql/15/main/conf.d" },
        { Snapshots.Installed, Enable, "$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false", Lab.Standby, "/etc/systemd/system" },
        { Snapshots.Installed, "", "$standby | New-PgStandby -Primary $primary -Confirm:$false", Lab.Standby, "/etc/pitrps/15-main" },
        { Snapshots.Standby, "", "$standby | Set-ReplicationDelay -Delay 1.00:00:00 -Confirm:$false", Lab.Standby, "/etc/postgresql/15/main/conf.d" },
        { Snapshots.Standby, "", "$standby | Suspend-WalReplay -Confirm:$false", Lab.Standby, "/var/lib/pitrps/servers" },
        { Snapshots.Standby, "$null = $standby | Suspend-WalReplay", "$standby | Resume-WalReplay -Confirm:$false", Lab.Standby, "/etc/postgresql/15/main/conf.d" },
        { Snapshots.Standby, "$null = $standby | Suspend-WalReplay; $incident = $standby | Find-PgIncident -Table lost", "$incident | Invoke-PitrRecovery -Confirm:$false", Lab.Standby, "/var/lib/pitrps/recoveries" },
        { Snapshots.Standby, "", "$standby | Remove-PgStandby -Primary $primary -Confirm:$false", Lab.Standby, "/var/lib/pitrps/operations" },
    };

    /// <summary>What is stopped, and what it says that it does then.</summary>
    public static TheoryData<string, string, string, string> InTheMiddleOfAStep => new()
    {
        { Snapshots.Installed, Enable, "$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false", "Mount the archive at" },
        { Snapshots.Standby, "", "$standby | Dismount-WalArchive -Primary $primary -Force -Confirm:$false", "" },
        { Snapshots.Installed, "", "$standby | New-PgStandby -Primary $primary -Confirm:$false", "Take a base backup" },
        { Snapshots.Standby, "$null = $standby | Suspend-WalReplay; $null = $standby | Find-PgIncident -Table lost | Invoke-PitrRecovery -Confirm:$false", "Get-PitrRecovery $standby | Complete-PitrRecovery -Force -Confirm:$false", "" },
    };

    [Trait("Category", "Long")]
    [LabTheory]
    [MemberData(nameof(WhileItWritesAFile))]
    public void Leaves_no_half_of_a_file_and_the_next_run_goes_on(string state, string before, string script, string host, string folder)
    {
        using var hosts = Prepare(state, before);
        var lab = hosts.Lab;

        // What PitrPS writes gets its name only after it is on the disk: that moment is made long.
        lab.Shell(host, $$"""
            cp /usr/bin/sync /opt/sync.real; mkdir -m 1777 /opt/waits
            printf '%s\n' '#!/bin/sh' 'case "$*" in *{{folder}}/.pitrps.*) : > /opt/waits/now; sleep 60;; esac' 'exec /opt/sync.real "$@"' > /opt/sync.slow
            chmod 755 /opt/sync.slow; mount --bind /opt/sync.slow /usr/bin/sync
            """);
        var files = Files(lab, host, folder);
        var running = hosts.Engine.Start(script);
        Await(running, () => lab.Shell(host, "ls /opt/waits") != "", () => $"{script} writes no file in {folder}.");
        Assert.NotEqual("", Temporaries(lab, host, folder));

        Assert.InRange(running.Stop(), TimeSpan.Zero, Limit);

        var run = running.Wait();
        Assert.True(run.WasStopped);
        Assert.Empty(run.Output);
        Await(() => Temporaries(lab, host, "/") == "", () => $"left behind: {Temporaries(lab, host, "/")}");
        Assert.Equal(files, Files(lab, host, folder));
        lab.Shell(host, "umount --lazy /usr/bin/sync");
        EndsWell(hosts, script);
    }

    [LabTheory]
    [MemberData(nameof(InTheMiddleOfAStep))]
    public void Returns_at_once_and_the_next_run_goes_on(string state, string before, string script, string step)
    {
        using var hosts = Prepare(state, before);
        var running = hosts.Engine.Start(script);
        Await(running, () => running.Progress.Any(p => p.StatusDescription.Contains(step, StringComparison.Ordinal)), () => $"'{step}' is never reached.");

        Assert.InRange(running.Stop(), TimeSpan.Zero, Limit);

        Assert.True(running.Wait().WasStopped);
        foreach (var host in (string[])[Lab.Primary, Lab.Standby])
        {
            Await(() => Temporaries(hosts.Lab, host, "/") == "", () => $"left behind: {Temporaries(hosts.Lab, host, "/")}");
        }

        EndsWell(hosts, script);
    }

    /// <summary>Cmdlets that only look, on a host that does not answer any more.</summary>
    [FaultFact]
    public async Task Whatever_waits_for_a_host_that_is_silent_returns_at_once()
    {
        using var hosts = Prepare(Snapshots.Standby, "");
        hosts.Lab.PauseNetwork(Lab.Standby);
        try
        {
            foreach (var script in Looking(hosts.Standby.ConnectArguments))
            {
                var running = hosts.Engine.Start(script);
                await Task.Delay(400);
                Assert.False(running.HasEnded, script);
                Assert.InRange(running.Stop(), TimeSpan.Zero, Limit);
                Assert.True(running.Wait().WasStopped, script);
            }
        }
        finally
        {
            hosts.Lab.ResumeNetwork(Lab.Standby);
        }

        hosts.Get("$standby | Get-ReplicationStatus").Single();
    }

    private static string[] Looking(string connect) =>
    [
        "Connect-PgHost " + connect,
        "$standbyHost | Get-PgServer",
        "$standby | Get-PgServer",
        "$standby | Get-ReplicationStatus",
        "$standby | Find-PgIncident",
        "$standby | Test-WalArchive",
        "$standbyHost | Get-PgHost",
        "$standby | Get-PitrRecovery",
        "$standbyHost | Get-PitrOperation",
        "$standby | Suspend-WalReplay -Confirm:$false",
        "$standby | Set-ReplicationDelay -Delay 1.00:00:00 -WhatIf",
    ];

    private static PreparedHosts Prepare(string state, string before)
    {
        PreparedHosts hosts = state switch
        {
            Snapshots.Bare => new BareHosts(),
            Snapshots.Installed => new InstalledHosts(),
            _ => new StandbyHosts(),
        };
        if (before.Contains("lost", StringComparison.Ordinal))
        {
            // One that waits at a COMMIT since it was started does not stream: so it catches up first.
            hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
            Await(() => hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1", () => "The standby does not stream.");
            hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
            hosts.Lab.Shell(Lab.Primary, Incident);
            var end = hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
            Await(() => hosts.Lab.Shell(Lab.Standby, $"runuser -u postgres -- psql -XAtc \"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)\" 2>&1 || true").Trim() == "t", () => "The standby does not receive.");
        }

        hosts.Get(before);
        return hosts;
    }

    /// <summary>The same command again: nothing is unfinished after it.</summary>
    private static void EndsWell(PreparedHosts hosts, string script)
    {
        hosts.Run(script).ThrowOnError();
        foreach (var host in (string[])[Lab.Primary, Lab.Standby])
        {
            Assert.Equal("", hosts.Lab.Shell(host, "ls /var/lib/pitrps/operations /var/lib/pitrps/pointers 2>/dev/null | grep -v : || true").Trim());
        }
    }

    private static string Temporaries(Lab lab, string host, string folder) =>
        lab.Shell(host, $"find {folder} {(folder == "/" ? "-xdev" : "-maxdepth 1")} -name '.pitrps.*' 2>/dev/null || true").Trim();

    private static string Files(Lab lab, string host, string folder) =>
        lab.Shell(host, $"find {folder} -maxdepth 1 -type f -exec sha256sum {{}} + 2>/dev/null | sort || true");

    private static void Await(Func<bool> isSo, Func<string> otherwise) => Assert.True(Waiting.Until(isSo, TimeSpan.FromSeconds(90)), otherwise());

    private static void Await(RunningScript running, Func<bool> isSo, Func<string> otherwise)
    {
        var until = DateTimeOffset.UtcNow.AddSeconds(90);
        while (!isSo())
        {
            if (running.HasEnded && !isSo())
            {
                Assert.Fail(otherwise() + " It has ended: " + string.Join('\n', running.Wait().Errors));
            }

            Assert.True(DateTimeOffset.UtcNow < until, otherwise());
            // What is waited for may be over in a moment.
            Task.Delay(5).Wait();
        }
    }
}
