using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>An archiving primary whose archive is mounted on the other host.</summary>
public sealed class MountedHosts : PreparedHosts
{
    public MountedHosts()
        : base(Snapshots.Installed)
    {
        if (Lab.WhyNot() is null)
        {
            Run("""
                $primary = $primary | Enable-WalArchive -Path '/srv/wal of the primary' -HeartbeatInterval 0 -Confirm:$false
                $standby = $standby | Mount-WalArchive -Primary $primary -MountPoint '/mnt/archive wal dir' -Confirm:$false
                """).ThrowOnError();
        }
    }

    public const string MountPoint = "/mnt/archive wal dir";

    public const string Unit = "pitrps-archive-15-main.service";
}

/// <summary>Mount-WalArchive: what the standby can read, what its key cannot do, and what the mount survives.</summary>
public sealed class MountWalArchiveTests(MountedHosts hosts) : IClassFixture<MountedHosts>
{
    private const string Marker = MountedHosts.MountPoint + "/pitrps-archive.id";

    private const string Ssh = "-F /dev/null -o BatchMode=yes -o ConnectTimeout=5 -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes"
        + " -o IdentityFile=/var/lib/pitrps/mounts/15-main/id_ed25519 -o UserKnownHostsFile=/var/lib/pitrps/mounts/15-main/known_hosts";

    private string Reader => $"pitrps-reader-15-main@{hosts.Primary.Address}";

    [LabFact]
    public void The_standbys_database_user_reads_the_archive_and_nobody_else_does()
    {
        var segment = ArchivedSegment();

        Assert.Equal(
            hosts.Lab.Shell(Lab.Primary, $"sha256sum < '/srv/wal of the primary/{segment}'"),
            hosts.Lab.Shell(Lab.Standby, $"runuser -u postgres -- cat '{MountedHosts.MountPoint}/{segment}' | sha256sum"));
        foreach (var user in new[] { "nobody", "dba" })
        {
            Assert.Equal("refused", OnStandby($"runuser -u {user} -- cat '{Marker}' 2>/dev/null || runuser -u {user} -- ls '{MountedHosts.MountPoint}' 2>/dev/null || echo refused"));
        }

        Assert.Equal("read-only", OnStandby($"touch '{MountedHosts.MountPoint}/x' 2>/dev/null || echo read-only"));
        Assert.Equal("600 root", OnStandby("stat -c '%a %U' /var/lib/pitrps/mounts/15-main/id_ed25519"));
    }

    [LabFact]
    public void What_it_emits_is_what_a_new_session_finds()
    {
        const string look = "'{0}|{1}|{2}|{3}' -f $standby.ArchiveMountPoint, $standby.Primary.Address, $standby.Primary.SshPort, $standby.Primary.ServerName";
        using var tomorrow = hosts.NewSession();

        Assert.Equal($"{MountedHosts.MountPoint}|{hosts.Primary.Address}|{hosts.Primary.Port}|15/main", hosts.Get(look)[0].ToString());
        Assert.Equal(hosts.Get(look)[0].ToString(), tomorrow.Get(look)[0].ToString());
    }

    [LabFact]
    public void The_readers_key_can_do_nothing_but_read_the_archive()
    {
        // A command, a shell, a terminal: only SFTP answers, and it is no shell.
        Assert.DoesNotContain("root:", OnStandby($"timeout 10 ssh {Ssh} {Reader} cat /etc/passwd 2>&1 </dev/null; true"));
        Assert.DoesNotContain("uid=", OnStandby($"echo id | timeout 10 ssh {Ssh} -tt {Reader} 2>&1; true"));

        // Forwarding, both ways and to a socket.
        Assert.Contains("refused", OnStandby($"timeout 10 ssh {Ssh} -W 127.0.0.1:5432 {Reader} </dev/null >/dev/null 2>&1 && echo open || echo refused"));
        Assert.Contains("refused", OnStandby($"timeout 10 ssh {Ssh} -o ExitOnForwardFailure=yes -N -R 127.0.0.1:15432:127.0.0.1:5432 {Reader} 2>/dev/null; [ $? = 124 ] && echo open || echo refused"));

        // SFTP: its root holds the archive and nothing else; nothing leads out of it; nothing is written.
        var listed = Sftp("ls -1 /");
        Assert.Equal("/archive", string.Join(' ', listed.Split('\n').Where(l => l.StartsWith('/'))));
        foreach (var command in new[] { "get /etc/passwd /tmp/stolen", "get /archive/../../etc/passwd /tmp/stolen", "put /etc/hostname /archive/x", "put /etc/hostname /x", "rm /archive/pitrps-archive.id", "mkdir /archive/d", "symlink /etc /archive/e", "rename /archive/pitrps-archive.id /archive/y", "chmod 777 /archive" })
        {
            Assert.Equal("refused", OnStandby($"echo '{command}' | timeout 10 sftp -b - {Ssh} {Reader} >/dev/null 2>&1 && echo done || echo refused"));
        }

        Assert.Equal("", OnStandby("ls /tmp/stolen 2>/dev/null; true"));
        Assert.Contains("pitrps-archive.id", Sftp("ls -1 /archive"));

        // Not by password either, and the account has no shell on its own host.
        Assert.Equal("*", hosts.Lab.Shell(Lab.Primary, "getent shadow pitrps-reader-15-main | cut -d: -f2").Trim());
        Assert.DoesNotContain("uid=", hosts.Lab.Shell(Lab.Primary, "echo id | su - pitrps-reader-15-main 2>&1; true"));
    }

    [LabFact]
    public void A_second_run_finds_everything_done()
    {
        var before = State();
        var run = hosts.Run($"$standby | Mount-WalArchive -Primary $primary -MountPoint '{MountedHosts.MountPoint}' -Confirm:$false").ThrowOnError();

        Assert.Contains("nothing to do", string.Join('\n', run.Information) + run.HostText);
        Assert.Equal(before, State());

        string State() => OnStandby($"systemctl show -p ExecMainPID {MountedHosts.Unit}; sha256sum /var/lib/pitrps/mounts/15-main/*") + hosts.Lab.Shell(Lab.Primary, "ls -l --full-time /etc/ssh/pitrps-readers /etc/ssh/sshd_config.d");
    }

    [LabFact]
    public void Restores_a_segment_with_the_script_that_it_installed()
    {
        var segment = ArchivedSegment();
        var control = hosts.Lab.Shell(Lab.Primary, "head -c 512 /var/lib/postgresql/15/main/global/pg_control | base64 -w 0");
        OnStandby($"rm -rf /tmp/data && install -d -o postgres /tmp/data /tmp/data/global /tmp/data/pg_wal && echo {control} | base64 -d > /tmp/data/global/pg_control && echo 15 > /tmp/data/PG_VERSION && touch /tmp/data/recovery.signal");

        string Restore(string name) => OnStandby($"cd /tmp/data && runuser -u postgres -- /usr/local/lib/pitrps/pitrps-restore '{MountedHosts.MountPoint}' {name} pg_wal/RECOVERYXLOG 2>&1; echo $?");

        Assert.Equal("0", Restore(segment));
        Assert.Equal(hosts.Lab.Shell(Lab.Primary, $"sha256sum < '/srv/wal of the primary/{segment}'").Trim(), OnStandby("sha256sum < /tmp/data/pg_wal/RECOVERYXLOG"));
        Assert.Equal("1", Restore("0000000100000000000000FE"));
        Assert.Equal("1", Restore("00000002.history"));
    }

    [LabFact]
    public void While_the_primarys_sshd_is_down_reading_fails_and_then_the_mount_heals()
    {
        // The reader's session ends with it; ours of dba goes on, as with a real restart of sshd.
        hosts.Lab.Shell(Lab.Primary, "systemctl stop ssh.socket 2>/dev/null; systemctl stop ssh; pkill -KILL -u pitrps-reader-15-main; true");
        try
        {
            Assert.Equal("failed", OnStandby($"timeout 25 cat '{Marker}' 2>/dev/null || echo failed"));
            Assert.DoesNotContain("No such file", OnStandby($"timeout 25 cat '{Marker}' 2>&1; true"));
        }
        finally
        {
            hosts.Lab.Exec(Lab.Primary, "systemctl", "start", "ssh");
        }

        Assert.True(MarkerIsReadWithin(TimeSpan.FromSeconds(15)));
    }

    [FaultFact]
    public void A_cut_cable_is_an_error_after_20_s_and_the_mount_heals()
    {
        Assert.True(MarkerIsReadWithin(TimeSpan.FromSeconds(15)));
        hosts.Lab.PauseNetwork(Lab.Primary);
        try
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            Assert.Equal("failed", OnStandby($"timeout 40 cat '{Marker}' 2>/dev/null && echo read || echo failed"));
            Assert.InRange(watch.Elapsed, TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(30));
        }
        finally
        {
            hosts.Lab.ResumeNetwork(Lab.Primary);
        }

        Assert.True(MarkerIsReadWithin(TimeSpan.FromSeconds(30)));
    }

    [FaultFact]
    public void The_mount_comes_back_after_a_power_cut_even_when_the_standby_is_up_before_the_primary()
    {
        hosts.Lab.Kill(Lab.Standby);
        hosts.Lab.Kill(Lab.Primary);
        hosts.Lab.Start(Lab.Standby);
        Assert.Equal("no mount", OnStandby($"mountpoint -q '{MountedHosts.MountPoint}' && echo mounted || echo no mount"));
        hosts.Lab.Start(Lab.Primary);

        Assert.True(MarkerIsReadWithin(TimeSpan.FromSeconds(30)));
        Assert.Equal("refused", OnStandby($"runuser -u nobody -- cat '{Marker}' 2>/dev/null || echo refused"));

        hosts.Lab.Kill(Lab.Standby);
        hosts.Lab.Start(Lab.Standby);
        Assert.True(MarkerIsReadWithin(TimeSpan.FromSeconds(15)));
    }

    [LabFact]
    public void When_sshfs_itself_is_killed_it_is_started_again()
    {
        OnStandby($"kill -KILL $(systemctl show -p MainPID --value {MountedHosts.Unit})");

        Assert.True(MarkerIsReadWithin(TimeSpan.FromSeconds(20)));
    }

    // Not from pg_stat_archiver, which a power cut empties.
    private string ArchivedSegment() => hosts.Lab.Shell(Lab.Primary, "ls '/srv/wal of the primary' | grep -x '[0-9A-F]*' | tail -n 1").Trim();

    private bool MarkerIsReadWithin(TimeSpan time) =>
        Waiting.Until(() => OnStandby($"timeout 10 runuser -u postgres -- cat '{Marker}' 2>/dev/null | grep -c system_identifier; true") == "1", time);

    private string Sftp(string command) => OnStandby($"echo '{command}' | timeout 10 sftp -q -b - {Ssh} {Reader} 2>&1");

    private string OnStandby(string script) => hosts.Lab.Shell(Lab.Standby, script).Trim();
}
