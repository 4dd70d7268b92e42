using System.Diagnostics;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>A standby that is behind has its WAL brought ahead of it; it never has to wait for whoever brings it.</summary>
public sealed class PrefetchTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    private const string Unit = "postgresql@15-main.service";

    private string Spool => hosts.Data + "/pg_wal/pitrps-spool";

    [FaultFact]
    public void A_standby_that_catches_up_has_a_prefetcher_and_can_be_stopped_while_that_reads_a_mount_that_hangs()
    {
        hosts.Run("$standby | Set-ReplicationDelay -Delay 0 -Confirm:$false").ThrowOnError();
        CatchUp(segments: 12);
        Assert.Equal("700 postgres", OnStandby($"stat -c '%a %U' {Spool}"));

        // It asks for the next segment every few seconds; what it asks gets as far as ssh, and then it cannot be killed.
        OnStandby("kill -STOP $(cat /sys/fs/cgroup/system.slice/pitrps-archive-15-main.service/cgroup.procs | while read -r pid; do [ \"$(cat /proc/$pid/comm)\" != ssh ] || echo $pid; done)");
        Waiting.For("a reader that waits", () => OnStandby("a=$(pgrep -u postgres -x timeout); sleep 1; b=$(pgrep -u postgres -x timeout); [ -n \"$a\" ] && [ \"$a\" = \"$b\" ] && echo waits || true") == "waits");
        var watch = Stopwatch.StartNew();
        OnStandby($"timeout 300 systemctl stop {Unit}");

        // As long as the watchdog takes to replace the mount; systemd itself would wait for an hour.
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(120), $"The server took {watch.Elapsed} to stop.");
        Assert.Equal("inactive", OnStandby($"systemctl is-active {Unit} || true"));
        Assert.Equal("", OnStandby("pgrep -u postgres -a || true"));
        Assert.Equal("", OnStandby($"ls -d {Spool} 2>/dev/null || true"));

        CatchUp(segments: 3);
        Waiting.For("the prefetcher's end, as nothing is asked for", () => OnStandby($"ls -d {Spool} 2>/dev/null || true").Length == 0, seconds: 180);
        Waiting.For("its last helper's end", () => OnStandby("pgrep -u postgres -f pitrps-prefetch || true").Length == 0);
        Assert.Equal("t", hosts.Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery()"));
    }

    /// <summary>While the standby is stopped the primary archives this many segments; then it is started and has replayed them all.</summary>
    private void CatchUp(int segments)
    {
        OnStandby($"systemctl stop {Unit}; : > /var/log/postgresql/postgresql-15-main.log");
        for (var number = 0; number < segments; number++)
        {
            hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
            hosts.Lab.Psql(Lab.Primary, "SELECT pg_switch_wal()");
        }

        hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
        var written = hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
        var last = hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
        Waiting.For("the segments in the archive", () => hosts.Lab.Shell(Lab.Primary, $"ls /var/mnt/archive_wal_dir/{last} 2>/dev/null || true").Length > 0);
        Waiting.For("the mount", () => OnStandby($"timeout 5 runuser -u postgres -- ls /mnt/archive_wal_dir/{last} 2>/dev/null || true").Length > 0, seconds: 120);
        OnStandby($"systemctl start {Unit}");
        Waiting.For("what was written on the primary", () => hosts.Lab.Psql(Lab.Standby, $"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t");
        Assert.InRange(int.Parse(OnStandby("grep -c 'restored log file' /var/log/postgresql/postgresql-15-main.log"), System.Globalization.CultureInfo.InvariantCulture), segments, int.MaxValue);
        Assert.Equal("asked\nowner", OnStandby($"ls {Spool} | grep -E '^(asked|owner)$'"));
    }

    private string OnStandby(string script) => hosts.Lab.Shell(Lab.Standby, script).Trim();
}
