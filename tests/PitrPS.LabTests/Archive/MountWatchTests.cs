using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>
/// A mount that hangs or was taken away heals by itself, and the standby goes on as one. (What sshfs and systemd heal without the watchdog,
/// a lost link, sshd restarted, sshfs killed, power cut, is in <see cref="MountWalArchiveTests"/>.)
/// </summary>
public sealed class MountWatchTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    private const string MountPoint = "/mnt/archive_wal_dir";
    private const string Unit = "pitrps-archive-15-main.service";
    private const string Watch = "pitrps-mount-watch-15-main.service";

    // The watchdog's limit is 30 s and systemd waits for 5 s; the rest is for a machine that is slow.
    private const int Healed = 120;

    [LabFact]
    public void An_sshfs_that_is_stopped_is_replaced()
    {
        WhenWell();
        var was = MainPid(Unit);
        OnStandby($"kill -STOP {was}; systemctl restart {Watch}");

        Waiting.For("another sshfs", () => MainPid(Unit) is not ("0" or "") and var now && now != was, Healed);
        WellAgain("has not answered for 30 s");
    }

    [LabFact]
    public void A_reader_that_cannot_be_killed_is_freed_and_the_status_does_not_wait_for_it()
    {
        WhenWell();
        // What is asked gets as far as ssh, and then its asker cannot be killed. The watchdog waits until the status was asked for.
        OnStandby($"systemctl stop {Watch}; kill -STOP $(cat /sys/fs/cgroup/system.slice/{Unit}/cgroup.procs | while read -r pid; do [ \"$(cat /proc/$pid/comm)\" != ssh ] || echo $pid; done)");
        try
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            var status = hosts.Get("$standby | Get-ReplicationStatus")[0];
            Assert.Equal(false, status.Properties["ArchiveMounted"].Value);
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(40), $"Get-ReplicationStatus took {watch.Elapsed}.");
        }
        finally
        {
            OnStandby($"systemctl start {Watch}");
        }

        Waiting.For("the mount", IsRead, Healed);
        WellAgain("has not answered for 30 s");
        Assert.Equal(true, hosts.Get("$standby | Get-ReplicationStatus")[0].Properties["ArchiveMounted"].Value);
    }

    [LabFact]
    public void A_mount_that_is_taken_away_while_it_is_in_use_comes_back()
    {
        WhenWell();
        OnStandby($"systemd-run -q --unit=user-of-the-mount --working-directory={MountPoint} sleep 600");
        Waiting.For("a process in the mount", () => OnStandby($"readlink /proc/$(systemctl show -p MainPID --value user-of-the-mount)/cwd || true") == MountPoint);
        try
        {
            OnStandby($"umount -l {MountPoint}; systemctl restart {Watch}");

            Waiting.For("the mount", IsRead, Healed);
            WellAgain($"nothing is mounted at {MountPoint}");
        }
        finally
        {
            OnStandby("systemctl stop user-of-the-mount");
        }
    }

    [FaultFact]
    public void A_session_that_hangs_on_the_primary_is_given_up_by_sshfs_itself()
    {
        WhenWell();
        var was = MainPid(Unit);
        OnStandby($"systemctl stop {Watch}");
        hosts.Lab.Shell(Lab.Primary, "pkill -STOP -u pitrps-reader-15-main");
        try
        {
            Waiting.For("the mount", IsRead, Healed);
        }
        finally
        {
            hosts.Lab.Shell(Lab.Primary, "pkill -CONT -u pitrps-reader-15-main || true");
            OnStandby($"systemctl start {Watch}");
        }

        Assert.Equal(was, MainPid(Unit));
        Assert.Equal("0", Restored());
    }

    [LabFact]
    public void The_watchdog_itself_comes_back()
    {
        WhenWell();
        var was = MainPid(Watch);
        OnStandby($"kill -KILL {was}");

        Waiting.For("the watchdog", () => OnStandby($"systemctl is-active {Watch} || true") == "active" && MainPid(Watch) is not "0" and var now && now != was);
    }

    [LabFact]
    public void A_host_that_an_earlier_version_has_mounted_gets_it_and_once_only()
    {
        WhenWell();
        OnStandby($"""
            systemctl disable -q --now {Watch}; rm /etc/systemd/system/{Watch} /usr/local/lib/pitrps/pitrps-mount-watch
            sed -i '/^TimeoutStopSec/d; s/cache_dir_timeout=0,//' /etc/systemd/system/{Unit}; systemctl daemon-reload; systemctl restart {Unit}
            """);

        var upgraded = hosts.Run($"$standby | Mount-WalArchive $primary {MountPoint} -Confirm:$false").ThrowOnError();

        Assert.Equal("active", OnStandby($"systemctl is-active {Watch}"));
        Assert.Equal("enabled", OnStandby($"systemctl is-enabled {Watch}"));
        Waiting.For("the mount", IsRead);
        OnStandby($"ls {MountPoint} >/dev/null");
        hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
        var segment = hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
        Waiting.For("the segment in the archive", () => hosts.Lab.Shell(Lab.Primary, $"ls /var/mnt/archive_wal_dir/{segment} 2>/dev/null || true").Length > 0);
        Waiting.For("the segment in the mount's listing", () => OnStandby($"ls {MountPoint}").Contains(segment, StringComparison.Ordinal), seconds: 10);

        var again = hosts.Run($"$standby | Mount-WalArchive $primary {MountPoint} -Confirm:$false").ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText);
    }

    private void WhenWell()
    {
        Waiting.For("the mount", IsRead);
        // Anew, so that it does not wait longer for what the test before has done; and its journal is this test's.
        OnStandby($"systemctl restart {Watch}");
    }

    private void WellAgain(string because)
    {
        Waiting.For("the mount", IsRead);
        Assert.Contains(because, OnStandby($"journalctl -u {Watch} -o cat --no-pager"), StringComparison.Ordinal);
        Assert.Equal("0", Restored());
        Assert.Equal("t", hosts.Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery()"));
    }

    /// <summary>How pitrps-restore ends for the archive's newest segment, asked as a recovery asks.</summary>
    private string Restored() => OnStandby($"""
        rm -rf /tmp/data && install -d -o postgres /tmp/data /tmp/data/global /tmp/data/pg_wal && cd /tmp/data
        cp -p {hosts.Data}/global/pg_control global/ && cp -p {hosts.Data}/PG_VERSION . && touch recovery.signal
        runuser -u postgres -- /usr/local/lib/pitrps/pitrps-restore {MountPoint} "$(ls {MountPoint} | grep -xE '[0-9A-F]+' | tail -n 1)" pg_wal/RECOVERYXLOG 2>&1; echo $?
        """);

    private bool IsRead() => OnStandby($"timeout 5 runuser -u postgres -- cat {MountPoint}/pitrps-archive.id 2>/dev/null | grep -c system_identifier; true") == "1";

    private string MainPid(string unit) => OnStandby($"systemctl show -p MainPID --value {unit}");

    private string OnStandby(string script) => hosts.Lab.Shell(Lab.Standby, script).Trim();
}
