using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

/// <summary>The cmdlets by parameter as well as by pipeline, under -WhatIf, a second time, and on what is not for them.</summary>
public sealed class CmdletUseTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    // Whatever the cmdlets could have changed: settings in force, configuration, units, accounts, keys and PitrPS's own notes.
    private const string State =
        """
        runuser -u postgres -- psql -XAtc "SELECT name, setting FROM pg_settings WHERE source = 'configuration file'" -c "SELECT rolname FROM pg_roles" -c "SELECT slot_name FROM pg_replication_slots" \
            -c "SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused()" -c "SELECT pg_postmaster_start_time()"
        find /etc/postgresql /etc/systemd/system /etc/ssh /etc/pitrps /usr/local/lib/pitrps /var/lib/pitrps -type f ! -path '*/locks/*' -exec sha256sum {} + | sort -k2
        getent passwd; ls /var/lib/pitrps/operations /var/lib/pitrps/pointers 2>/dev/null | grep -v :
        """;

    [LabFact]
    public void By_parameter_under_WhatIf_each_shows_its_plan_and_none_changes_anything()
    {
        var before = StateOfBoth();
        foreach (var script in (string[])
        [
            "Install-PgServer -PgHost $primaryHost -Port 5433 -Name other -WhatIf",
            "Enable-WalArchive -PgServer $primary -Path /var/mnt/archive_wal_dir -ArchiveTimeout 00:02:00 -WhatIf",
            "Disable-WalArchive -PgServer $primary -WhatIf",
            "Mount-WalArchive -PgServer $standby -Primary $primary -MountPoint /mnt/archive_wal_dir -WhatIf",
            "Dismount-WalArchive -PgServer $standby -Primary $primary -Force -WhatIf",
            "New-PgStandby -Server $standby -Primary $primary -WhatIf",
            "Remove-PgStandby -Server $standby -Primary $primary -WhatIf",
            "Set-ReplicationDelay -Server $standby -Delay 2.00:00:00 -WhatIf",
            "Suspend-WalReplay -Server $standby -WhatIf",
            "Resume-WalReplay -Server $standby -WhatIf",
        ])
        {
            var run = hosts.Run(script);
            Assert.Equal(true, run.Single().Properties["IsPlanned"].Value);
            Assert.Contains(script.Split(' ')[0], run.HostText, StringComparison.Ordinal);
        }

        Assert.Equal(before, StateOfBoth());
    }

    [LabFact]
    public void By_parameter_each_that_looks_says_the_same_as_by_pipeline()
    {
        Assert.Equal("standby", hosts.Get("Get-PgHost -PgHost $standbyHost").Single().Properties["Name"].Value);
        Assert.Equal("standby:15/main", hosts.Get("Get-PgServer -PgServer $standby").Single().Properties["Id"].Value);
        Assert.Equal("Replaying", $"{hosts.Get("Get-ReplicationStatus -Server $standby").Single().Properties["Replay"].Value}");
        Assert.Equal("/var/mnt/archive_wal_dir", hosts.Get("Test-WalArchive -Server $primary").Single().Properties["Path"].Value);
        Assert.Empty(hosts.Get("Get-PitrRecovery -Standby $standby; Get-PitrOperation -PgHost $standbyHost; Find-PgIncident -Server $standby -Table nosuch"));
    }

    [LabFact]
    public void A_second_run_of_each_that_can_be_taken_back_finds_nothing_to_do()
    {
        foreach (var script in (string[])
            ["Set-ReplicationDelay -Server $standby -Delay 2.00:00:00", "Suspend-WalReplay -Server $standby", "Resume-WalReplay -Server $standby", "Set-ReplicationDelay -Server $standby -Delay 3.00:00:00"])
        {
            Assert.DoesNotContain("nothing to do", hosts.Run(script).ThrowOnError().HostText, StringComparison.Ordinal);
            Assert.Contains("nothing to do", hosts.Run(script).ThrowOnError().HostText, StringComparison.Ordinal);
        }
    }

    [LabTheory]
    [InlineData("Get-PitrOperation -PgHost $gone", "PitrPS.HostDisconnected")]
    [InlineData("Get-ReplicationStatus -Server ($standby | Set-ReplicationDelay -Delay 1.00:00:00 -WhatIf)", "PitrPS.PlannedObject")]
    [InlineData("Find-PgIncident -Server ($standby | Set-ReplicationDelay -Delay 1.00:00:00 -WhatIf)", "PitrPS.PlannedObject")]
    [InlineData("Suspend-WalReplay -Server ($standby | Set-ReplicationDelay -Delay 1.00:00:00 -WhatIf)", "PitrPS.PlannedObject")]
    [InlineData("New-PgStandby -Server $standby -Primary ($primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -WhatIf) -Confirm:$false", "PitrPS.PlannedObject")]
    public void What_is_not_for_it_is_an_error_with_a_next_step(string script, string id)
    {
        hosts.Get($"$gone = Connect-PgHost {hosts.Standby.ConnectArguments}; $gone | Disconnect-PgHost");
        hosts.Run(script).SingleError(id);
    }

    private string StateOfBoth() => hosts.Lab.Shell(Lab.Primary, State) + hosts.Lab.Shell(Lab.Standby, State);
}
