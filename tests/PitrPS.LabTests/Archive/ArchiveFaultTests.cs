using PitrPS.LabTests.Infrastructure;
using Xunit.Abstractions;

namespace PitrPS.LabTests.Archive;

/// <summary>
/// Everything that can happen to an archive happens to that of a standby which, but for the first fault, has nothing but its archive: it streams from nobody.
/// Whatever it is, the standby is not promoted, loses nothing, says what is wrong where it cannot help itself, and goes on when the fault is over.
/// </summary>
public sealed class ArchiveFaultTests(StandbyHosts hosts, ITestOutputHelper output) : IClassFixture<StandbyHosts>
{
    private const string Directory = "/var/mnt/archive_wal_dir";
    private const string MountPoint = "/mnt/archive_wal_dir";
    private const string Mount = "pitrps-archive-15-main.service";
    private const string Watch = "pitrps-mount-watch-15-main.service";
    private const string Reader = "pitrps-reader-15-main";
    private const string Server = "postgresql@15-main.service";
    private const string Aside = "/var/lib/postgresql/aside";

    private int _rows;
    private int _log;

    [Trait("Category", "Long")]
    [FaultFact]
    public void No_fault_of_the_archive_promotes_the_standby_or_costs_it_anything()
    {
        Begin();
        (string Name, Action Happens)[] faults =
        [
            ("mount absent while the standby streams", StreamGoesOn),
            ("gap", () => Spoiled($"mv $segment {Aside}", $"mv {Aside} $segment", ReportedMissing)),
            (".partial instead of the segment", () => Spoiled("mv $segment $segment.partial", "mv $segment.partial $segment", ReportedMissing)),
            ("zeroed segment", () => Spoiled("dd if=/dev/zero of=$segment bs=1M count=16 conv=notrunc status=none", "its first page is not WAL")),
            ("segment of another cluster", () => Spoiled("printf '\\1\\2\\3\\4\\5\\6\\7\\10' | dd of=$segment bs=1 seek=24 conv=notrunc status=none", "it is of the cluster 578437695752307201")),
            ("segment of another place", () => Spoiled("dd if=$(ls | grep -x '[0-9A-F]\\{24\\}' | head -n 1) of=$segment conv=notrunc status=none", "its name says")),
            ("truncated segment", () => Spoiled("truncate -s 8M $segment", "it has 8388608 bytes")),
            ("mount absent", MountAbsent),
            ("sshfs stopped", () => HealsItself(() => OnStandby($"kill -STOP {MainPid(Mount)}"))),
            ("session of the reader stopped on the primary", SessionStopped),
            ("sshd restarted", () => HealsItself(() => OnPrimary($"systemctl restart ssh; pkill -KILL -u {Reader} || true"))),
            ("sshd stopped", SshdStopped),
            ("watchdog killed, then sshfs stopped", WatchdogKilled),
            ("spool's disk full", SpoolsDiskFull),
            ("recovery without its mount, then with a zeroed segment", Recovers),
            ("power cut of the primary", PowerCut),
            ("archive's disk full", DiskFull),
        ];

        var survived = 0;
        var said = new List<string>();
        foreach (var (name, happens) in faults)
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            _log += Log().Length;
            var error = Record.Exception(() =>
            {
                happens();
                Assert.Equal("t 1", hosts.Lab.Psql(Lab.Standby, "SELECT concat_ws(' ', pg_is_in_recovery(), (SELECT timeline_id FROM pg_control_checkpoint()))"));
                Assert.DoesNotContain("selected new timeline ID", Log(), StringComparison.Ordinal);
                Assert.Equal($"{_rows}", hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM faults"));
            });
            survived += error is null ? 1 : 0;
            said.Add($"archive-faults: {name}: {(error is null ? "ok" : error.Message)} ({watch.Elapsed.TotalSeconds:0} s)");
            output.WriteLine(said[^1]);
        }

        output.WriteLine($"archive-faults: {survived} of {faults.Length} ok");
        Assert.True(survived == faults.Length, string.Join('\n', said));
    }

    /// <summary>No delay, a watchdog that is in a hurry.</summary>
    private void Begin()
    {
        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 0 -Confirm:$false").ThrowOnError();
        hosts.Lab.Psql(Lab.Primary, "CREATE TABLE faults (n int)");
        OnStandby($$"""
            mkdir -p /run/systemd/system/{{Watch}}.d
            printf '[Service]\nExecStart=\nExecStart=/usr/local/lib/pitrps/pitrps-mount-watch {{Mount}} {{MountPoint}} /run/pitrps-mount-watch-15-main 5 1\n' > /run/systemd/system/{{Watch}}.d/hurry.conf
            systemctl daemon-reload; systemctl restart {{Watch}}
            """);
        Arrives(Commit());
    }

    /// <summary>The only fault while it streams. From then on the archive is all that it has.</summary>
    private void StreamGoesOn()
    {
        Waiting.For("the stream", () => hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
        OnStandby($"systemctl stop {Watch} {Mount}");
        try
        {
            Arrives(Commit());
            OnStandby($"kill {hosts.Lab.Psql(Lab.Standby, "SELECT pid FROM pg_stat_wal_receiver")}");
            Waiting.For("the alarm", () => Log().Contains("the archive is out of reach", StringComparison.Ordinal));
            Arrives(Commit());
        }
        finally
        {
            OnStandby($"systemctl start {Mount} {Watch}");
            hosts.Lab.Psql(Lab.Standby, "ALTER SYSTEM SET primary_conninfo = ''");
            hosts.Lab.Psql(Lab.Standby, "ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'");
            hosts.Lab.Psql(Lab.Standby, "SELECT pg_reload_conf()");
        }

        Waiting.For("the end of the stream", () => hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM pg_stat_wal_receiver") == "0");
        Arrives(Commit());
    }

    /// <summary>A row, in a segment of its own that is finished; its name.</summary>
    private string Commit()
    {
        hosts.Lab.Psql(Lab.Primary, $"INSERT INTO faults VALUES ({++_rows})");
        return hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
    }

    private string Archived(string segment)
    {
        Waiting.For($"{segment} in the archive", () => hosts.Lab.Psql(Lab.Primary, $"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver") == "t");
        return segment;
    }

    /// <summary>The standby has all rows that were committed; by the archive alone.</summary>
    private void Arrives(string segment) => Waiting.For($"the row in {segment} on the standby", () => hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM faults WHERE pg_is_in_recovery()") == $"{_rows}", seconds: 120);

    private void DoesNotArrive() => Assert.Equal($"{_rows - 1}", hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM faults"));

    /// <summary>A segment is spoiled before the standby has asked for it, and good again later; the standby says meanwhile what is wrong with it.</summary>
    private void Spoiled(string spoil, string alarm) =>
        Spoiled($"cp -p $segment {Aside}; {spoil}", $"mv {Aside} $segment", segment => Waiting.For($"the alarm '{alarm}'",
            () => Log().Split('\n').Any(l => l.Contains($"pitrps-restore: {segment}: ", StringComparison.Ordinal) && l.Contains(alarm, StringComparison.Ordinal))));

    private void Spoiled(string spoil, string mend, Action<string> alarm)
    {
        // What stands still asks for nothing, and nobody may have read ahead.
        hosts.Lab.Psql(Lab.Standby, "SELECT pg_wal_replay_pause()");
        Waiting.For("the pause", () => hosts.Lab.Psql(Lab.Standby, "SELECT pg_get_wal_replay_pause_state()") == "paused");
        OnStandby($"! owner=$(sed -n 2p {hosts.Data}/pg_wal/pitrps-spool/owner 2>/dev/null) || kill $owner 2>/dev/null || true");
        Waiting.For("no spool", () => OnStandby($"ls -d {hosts.Data}/pg_wal/pitrps-spool 2>/dev/null || true").Length == 0);
        var segment = Archived(Commit());
        // More behind it, so that its absence is a gap.
        hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
        Archived(hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())"));
        OnPrimary($"cd {Directory}; segment={segment}; {spoil}");
        hosts.Lab.Psql(Lab.Standby, "SELECT pg_wal_replay_resume()");
        alarm(segment);
        DoesNotArrive();
        OnPrimary($"cd {Directory}; segment={segment}; {mend}");
        Arrives(segment);
    }

    /// <summary>A standby cannot know a gap from the end of the WAL; whoever tests the archive is told.</summary>
    private void ReportedMissing(string segment) =>
        Assert.Contains($"{segment} Missing", hosts.Get("($primary | Test-WalArchive).Problems | ForEach-Object { \"$_\" }").Select(p => $"{p}"));

    private void HealsItself(Action fault)
    {
        fault();
        Arrives(Commit());
    }

    private void MountAbsent()
    {
        OnStandby($"systemctl stop {Watch} {Mount}");
        var segment = Archived(Commit());
        Waiting.For("the alarm", () => Log().Contains("the archive is out of reach", StringComparison.Ordinal));
        DoesNotArrive();
        OnStandby($"systemctl start {Mount} {Watch}");
        Arrives(segment);
    }

    private void SessionStopped()
    {
        OnPrimary($"pkill -STOP -u {Reader}");
        HealsItself(() => { });
        OnPrimary($"pkill -KILL -u {Reader} || true");
    }

    /// <summary>It takes connections and answers none; those that were there are lost.</summary>
    private void SshdStopped()
    {
        OnPrimary($"kill -STOP $(systemctl show -p MainPID --value ssh); pkill -KILL -u {Reader} || true");
        string segment;
        try
        {
            segment = Archived(Commit());
            Waiting.For("the alarm", () => Log().Contains("the archive is out of reach", StringComparison.Ordinal));
            DoesNotArrive();
        }
        finally
        {
            OnPrimary("kill -CONT $(systemctl show -p MainPID --value ssh)");
        }

        Arrives(segment);
    }

    /// <summary>pg_wal, where the spool is, on a disk that is full in the midst of reading ahead.</summary>
    private void SpoolsDiskFull()
    {
        var wal = hosts.Data + "/pg_wal";
        OnStandby($$"""
            set -e; systemctl stop {{Server}}; cp -a {{wal}} {{Aside}}; mount -t tmpfs -o size=1g,mode=0700,uid=$(id -u postgres),gid=$(id -g postgres) tmpfs {{wal}}
            cp -a {{Aside}}/. {{wal}}/; systemctl start {{Server}}
            """);
        Waiting.For("the server", () => OnStandby("pg_isready -q && echo yes || true") == "yes");
        hosts.Lab.Psql(Lab.Standby, "SELECT pg_wal_replay_pause()");
        Waiting.For("the pause", () => hosts.Lab.Psql(Lab.Standby, "SELECT pg_get_wal_replay_pause_state()") == "paused");
        for (var number = 0; number < 12; number++)
        {
            Commit();
        }

        Archived(Commit());
        hosts.Lab.Psql(Lab.Standby, "SELECT pg_wal_replay_resume()");
        Waiting.For("the spool", () => OnStandby($"ls {wal}/pitrps-spool/owner 2>/dev/null || true").Length > 0);
        OnStandby($"head -c 1G /dev/zero > {wal}/filler 2>/dev/null || true");
        var segment = Archived(Commit());
        Waiting.For("the alarm", () => Log() is var log && (log.Contains("it cannot be copied to pg_wal/RECOVERYXLOG", StringComparison.Ordinal) || log.Contains("is the disk full?", StringComparison.Ordinal)));
        Assert.True(int.Parse(hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM faults"), System.Globalization.CultureInfo.InvariantCulture) < _rows);
        OnStandby($"rm {wal}/filler");
        Arrives(segment);
        OnStandby($"set -e; systemctl stop {Server}; rm -rf {Aside}; cp -a {wal} {Aside}; umount {wal}; rm -rf {wal}/*; cp -a {Aside}/. {wal}/; rm -r {Aside}; systemctl start {Server}");
        Arrives(Commit());
    }

    /// <summary>A copy of the standby recovers without a target: it opens where the archive is proven to end, and nowhere before.</summary>
    private void Recovers()
    {
        var segment = Archived(Commit());
        Arrives(segment);
        OnStandby($$"""
            set -e; systemctl stop {{Server}}; cp -a {{hosts.Data}} {{Aside}}; systemctl start {{Server}}
            cd {{Aside}}; rm -rf standby.signal pg_wal/0* pg_wal/pitrps-*; install -o postgres -m 0600 /dev/null recovery.signal
            systemctl stop {{Watch}} {{Mount}}
            """);
        Assert.Equal("did not open; the archive is out of reach", Recover("the archive is out of reach"));
        OnStandby($"systemctl start {Mount} {Watch}");
        Waiting.For("the mount", () => OnStandby($"timeout 5 cat {MountPoint}/{segment} | wc -c || true") == "16777216");
        OnPrimary($"cd {Directory}; cp -p {segment} {Aside}; dd if=/dev/zero of={segment} bs=1M count=16 conv=notrunc status=none");
        Assert.Equal("did not open; its first page is not WAL", Recover("its first page is not WAL"));
        OnPrimary($"mv {Aside} {Directory}/{segment}");
        Assert.Equal($"opened, timeline 00000002, rows {_rows}", Recover("archive recovery complete"));
        OnStandby($"rm -r {Aside}");
    }

    // No archiving: what it writes on its timeline belongs to nobody.
    private string Recover(string says) => OnStandby($$"""
        cd /; log={{Aside}}/log; rm -f $log
        as() { runuser -u postgres -- "$@"; }
        as {{hosts.Bin}}/pg_ctl -s -w -t 120 -l $log -D {{Aside}} -o "-c config_file={{hosts.Config}}/postgresql.conf -c data_directory={{Aside}} -c port=6001 -c unix_socket_directories={{Aside}} -c archive_mode=off -c recovery_min_apply_delay=0 -c external_pid_file= -c logging_collector=off" start >/dev/null 2>&1
        ask() { as psql -XAt -h {{Aside}} -p 6001 -d postgres -c "$1" 2>/dev/null; }
        n=0; while [ "$(ask 'SELECT pg_is_in_recovery()')" = t ] && [ $n -lt 300 ]; do sleep 0.2; n=$((n + 1)); done
        said=$(grep -oF '{{says}}' $log | head -n 1)
        if [ "$(ask 'SELECT pg_is_in_recovery()')" = f ]; then
          echo "opened, timeline $(ask 'SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)'), rows $(ask 'SELECT count(*) FROM faults')"
          as {{hosts.Bin}}/pg_ctl -s -w -m immediate -D {{Aside}} stop
        elif [ -e {{Aside}}/postmaster.pid ]; then
          echo 'lives on'; as {{hosts.Bin}}/pg_ctl -s -w -m immediate -D {{Aside}} stop
        else
          echo "did not open; $said"
        fi
        """);

    private void WatchdogKilled()
    {
        var was = MainPid(Watch);
        OnStandby($"kill -KILL {was}");
        Waiting.For("another watchdog", () => MainPid(Watch) is not ("0" or "") and var now && now != was);
        HealsItself(() => OnStandby($"kill -STOP {MainPid(Mount)}"));
    }

    private void PowerCut()
    {
        hosts.Lab.Kill(Lab.Primary);
        Assert.Equal("t", hosts.Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery()"));
        hosts.Lab.Start(Lab.Primary);
        Waiting.For("the primary", () => hosts.Lab.Shell(Lab.Primary, "pg_isready -q && echo yes || true").Trim() == "yes");
        Arrives(Commit());
    }

    /// <summary>Last, because the small disk that the archive gets is not there after a power cut.</summary>
    private void DiskFull()
    {
        OnPrimary($$"""
            set -e; cp -a {{Directory}} {{Aside}}; mount -t tmpfs -o size=400m tmpfs {{Directory}}
            cp -a {{Aside}}/. {{Directory}}/; rm -r {{Aside}}; mount --bind {{Directory}} /var/lib/pitrps-reader/{{Reader}}/archive
            head -c 400M /dev/zero > {{Directory}}/filler 2>/dev/null || true
            """);
        var segment = Commit();
        Waiting.For("the alarm", () => hosts.Lab.Psql(Lab.Primary, "SELECT failed_count > 0 FROM pg_stat_archiver") == "t");
        Assert.Contains("No space left on device", hosts.Lab.Shell(Lab.Primary, "tail -n 200 /var/log/postgresql/postgresql-15-main.log"), StringComparison.Ordinal);
        DoesNotArrive();
        OnPrimary($"rm {Directory}/filler");
        Arrives(segment);
    }

    /// <summary>What the standby has said since the present fault began.</summary>
    private string Log() => hosts.Lab.Shell(Lab.Standby, "cat /var/log/postgresql/postgresql-15-main.log")[_log..];

    private string MainPid(string unit) => OnStandby($"systemctl show -p MainPID --value {unit}");

    private string OnStandby(string script) => hosts.Lab.Shell(Lab.Standby, script).Trim();

    private string OnPrimary(string script) => hosts.Lab.Shell(Lab.Primary, script).Trim();
}
