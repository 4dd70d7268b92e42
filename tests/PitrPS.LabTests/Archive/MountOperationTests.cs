using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>
/// Mount- and Dismount-WalArchive as operations: what they refuse, what they show, what a killed client leaves, and that nothing is left behind.
/// Each test leaves the hosts without archive and mount.
/// </summary>
public sealed class MountOperationTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>, IDisposable
{
    private const string MountPoint = "/mnt/archive_wal_dir";

    public void Dispose()
    {
        if (Lab.WhyNot() is null)
        {
            hosts.Run("$primary = $primary | Disable-WalArchive -Confirm:$false").ThrowOnError();
        }
    }

    [LabFact]
    public async Task A_client_killed_in_the_middle_leaves_what_the_next_run_completes_and_Dismount_leaves_nothing()
    {
        hosts.Run("$standby | Mount-WalArchive -Primary $primary -MountPoint $point -Confirm:$false", ("point", MountPoint)).SingleError("PitrPS.NoArchive");
        var both = hosts.Run("$standby | Mount-WalArchive -Primary ($primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -WhatIf) -MountPoint $point -WhatIf").ThrowOnError();
        Assert.Contains("primary: Show /var/mnt/archive_wal_dir there, read-only", both.HostText);
        hosts.Get("$primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -HeartbeatInterval 0 -Confirm:$false; $primary");
        var before = Traces();

        // What it refuses, before anything has changed.
        hosts.Run($"$standby | Mount-WalArchive $primary {MountPoint} -PrimarySshPort 9 -Confirm:$false").SingleError("PitrPS.PrimaryUnreachableFromStandby");
        hosts.Run($"$standby | Mount-WalArchive $primary {MountPoint} -PrimaryAddress no.such.host.invalid -Confirm:$false").SingleError("PitrPS.PrimaryUnreachableFromStandby");
        hosts.Run("$standby | Mount-WalArchive $primary /etc -Confirm:$false").SingleError("PitrPS.MountPointInUse");
        hosts.Run("$standby | Mount-WalArchive $primary relative -Confirm:$false").SingleError("PitrPS.InvalidPath");
        Assert.Equal(before, Traces());

        // The whole pair's plan.
        var plan = hosts.Run($"$standby | Mount-WalArchive $primary {MountPoint} -WhatIf").ThrowOnError();
        Assert.Equal(true, plan.Single().Properties["IsPlanned"].Value);
        Assert.Contains("ForceCommand internal-sftp -R -d /archive", plan.HostText);
        Assert.Contains("[to do] standby: Mount the archive at /mnt/archive_wal_dir", plan.HostText);
        Assert.Contains("[to do] primary: Confine pitrps-reader-15-main", plan.HostText);
        Assert.Equal(before, Traces());

        // Killed once sshd was configured and before anything is mounted.
        using (var client = new ClientProcess($$"""
            {{ConnectScript}}
            $null = $standby | Mount-WalArchive -Primary $primary -MountPoint {{MountPoint}} -Confirm:$false -Verbose 4>&1 | ForEach-Object { [Console]::Out.WriteLine("$_") }
            """))
        {
            await client.WaitForTextAsync("Confine pitrps-reader-15-main", TimeSpan.FromSeconds(90));
            client.Kill();
        }

        Assert.Equal("no mount", hosts.Lab.Shell(Lab.Standby, $"mountpoint -q {MountPoint} && echo mounted || echo no mount").Trim());
        Assert.Contains("Mount-WalArchive", hosts.Lab.Shell(Lab.Standby, "ls /var/lib/pitrps/operations"));

        var standby = hosts.Run("$standby = $standby | Mount-WalArchive -Primary $primary -MountPoint $point -Confirm:$false; $standby", ("point", MountPoint)).Single();
        Assert.Equal(MountPoint, standby.Properties["ArchiveMountPoint"].Value);
        Assert.Contains("system_identifier=", hosts.Lab.Exec(Lab.Standby, "runuser", "-u", "postgres", "--", "cat", MountPoint + "/pitrps-archive.id"));
        Assert.Equal("", hosts.Lab.Shell(Lab.Standby, "ls /var/lib/pitrps/operations").Trim());
        Assert.Equal("1", hosts.Lab.Shell(Lab.Primary, "wc -l < /etc/ssh/pitrps-readers/pitrps-reader-15-main").Trim());
        hosts.Run("$standby | Mount-WalArchive $primary /mnt/elsewhere -Confirm:$false").SingleError("PitrPS.ArchiveMountedElsewhere");

        // And back. The archive stays, and is still its group's.
        Assert.Null(hosts.Run("$standby = $standby | Dismount-WalArchive -Primary $primary -Confirm:$false; $standby").Single().Properties["ArchiveMountPoint"].Value);
        Assert.Equal(before, Traces());
        Assert.Equal("2750 postgres pitrps-archive-15-main", hosts.Lab.Exec(Lab.Primary, "stat", "-c", "%a %U %G", "/var/mnt/archive_wal_dir").Trim());
        var again = hosts.Run("$standby | Dismount-WalArchive -Primary $primary -Confirm:$false").ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText);
    }

    [LabFact]
    public void Where_sshd_reads_no_files_of_ours_its_own_file_has_the_rules_and_gets_rid_of_them_again()
    {
        hosts.Lab.Shell(Lab.Primary, "sed -i '/^Include/d' /etc/ssh/sshd_config && printf 'Match User somebody\n    PermitTTY no' >> /etc/ssh/sshd_config && systemctl reload ssh");
        var before = hosts.Lab.Exec(Lab.Primary, "cat", "/etc/ssh/sshd_config");
        hosts.Get("$primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -HeartbeatInterval 0 -Confirm:$false; $primary");

        hosts.Run("$standby = $standby | Mount-WalArchive $primary $point -Confirm:$false", ("point", MountPoint)).ThrowOnError();

        Assert.Contains("system_identifier=", hosts.Lab.Exec(Lab.Standby, "runuser", "-u", "postgres", "--", "cat", MountPoint + "/pitrps-archive.id"));
        Assert.Equal(before + "\n# BEGIN PitrPS pitrps-reader-15-main\n", hosts.Lab.Shell(Lab.Primary, "sed '/^# BEGIN PitrPS/q' /etc/ssh/sshd_config"));
        hosts.Run("$standby = $standby | Dismount-WalArchive $primary -Confirm:$false").ThrowOnError();
        Assert.Equal(before + "\n", hosts.Lab.Exec(Lab.Primary, "cat", "/etc/ssh/sshd_config"));
    }

    [LabFact]
    public void Rules_that_sshd_would_not_follow_are_taken_out_again()
    {
        hosts.Lab.Shell(Lab.Primary, "printf 'Match User *,!dba,!root\n    AllowTcpForwarding yes\n    ForceCommand none\n' > /etc/ssh/sshd_config.d/00-a.conf && sed -i '1i Include /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config && systemctl reload ssh");
        try
        {
            hosts.Get("$primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -HeartbeatInterval 0 -Confirm:$false; $primary");

            var error = hosts.Run("$standby | Mount-WalArchive $primary $point -Confirm:$false", ("point", MountPoint)).SingleError("PitrPS.SshdRulesOverridden");

            Assert.Contains("'allowtcpforwarding no'", error.Exception.Message);
            Assert.Equal("absent", hosts.Lab.Shell(Lab.Primary, "ls /etc/ssh/sshd_config.d | grep pitrps || grep PitrPS /etc/ssh/sshd_config || echo absent").Trim());
        }
        finally
        {
            hosts.Lab.Shell(Lab.Primary, "rm /etc/ssh/sshd_config.d/00-a.conf && systemctl reload ssh");
            hosts.Run("$standby | Dismount-WalArchive $primary -Confirm:$false").ThrowOnError();
        }
    }

    private string ConnectScript =>
        $"""
        $primary = Connect-PgHost {hosts.Primary.ConnectArguments} | Get-PgServer
        $standby = Connect-PgHost {hosts.Standby.ConnectArguments} | Get-PgServer
        """;

    /// <summary>All that Mount-WalArchive could leave on both hosts, apart from packages, empty folders and PitrPS's own journals and state.</summary>
    private string Traces()
    {
        const string common = "find /etc/systemd/system | sort; cut -d' ' -f5 /proc/self/mountinfo | sort; ";
        return hosts.Lab.Shell(Lab.Primary, common + "getent passwd; find /etc/ssh -type f | sort; find /var/lib/pitrps-reader -mindepth 1 2>/dev/null; sha256sum /etc/ssh/sshd_config; true")
            + hosts.Lab.Shell(Lab.Standby, common + "ls -A /mnt; find /var/lib/pitrps/mounts -mindepth 1 2>/dev/null; true");
    }
}
