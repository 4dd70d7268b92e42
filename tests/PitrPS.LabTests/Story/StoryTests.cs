using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Story;

/// <summary>The main job from end to end, on a standby that is three days behind: a table is dropped on the primary, and one pipeline brings it back.</summary>
public abstract class StoryTests(StandbyHosts hosts)
{
    private const string Pipeline =
        """
        $null = $standby | Suspend-WalReplay
        $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Confirm:$false | Restore-PgTable -To $primary -Confirm:$false | Complete-PitrRecovery -Confirm:$false
        """;

    // Path, size, mtime and ctime of every file of the stopped standby, whenever systemd has stopped it and before it starts it again.
    private string Watch =>
        $"""
        mkdir -p /run/systemd/system/{hosts.ServiceUnit}.d
        cat > /run/systemd/system/{hosts.ServiceUnit}.d/test.conf <<'UNIT'
        [Service]
        ExecStopPost=+/bin/sh -c "find {hosts.Data} -printf '%%p %%s %%T@ %%C@\n' | sort > /run/test-stopped"
        ExecStartPre=+/bin/sh -c "find {hosts.Data} -printf '%%p %%s %%T@ %%C@\n' | sort > /run/test-starting"
        UNIT
        systemctl daemon-reload
        """;

    private string Primary(string sql) => hosts.Lab.Psql(Lab.Primary, sql);

    private string Standby(string script) => hosts.Lab.Shell(Lab.Standby, script).Trim();

    /// <summary>Three tables, replayed by the standby before the delay is set again.</summary>
    private void Begin()
    {
        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 0").ThrowOnError();
        foreach (var table in new[] { "pitr1", "pitr2", "pitr3" })
        {
            Primary($"CREATE TABLE {table} (id bigint PRIMARY KEY, content text NOT NULL); INSERT INTO {table} SELECT i, md5(i::text) FROM generate_series(1, 20000) i");
        }

        var written = Primary("SELECT pg_current_wal_lsn()");
        var limit = DateTime.UtcNow.AddMinutes(2);
        while (hosts.Lab.Psql(Lab.Standby, $"SELECT pg_last_wal_replay_lsn() >= '{written}'") != "t")
        {
            Assert.True(DateTime.UtcNow < limit, "The standby does not replay.");
        }

        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00").ThrowOnError();
        Standby(Watch);
    }

    private void Recover()
    {
        var completed = hosts.Run(Pipeline).ThrowOnError();
        var server = Assert.Single(completed.Output);
        Assert.Equal("3.00:00:00", $"{server.Properties["ReplicationDelay"].Value}");
        Assert.Equal("20000", Primary("SELECT count(*) FROM pitr2"));
        var checksum = Primary("SELECT md5(string_agg(id || content, ',' ORDER BY id)) FROM pitr2");
        Assert.Equal(Primary("SELECT md5(string_agg(i || md5(i::text), ',' ORDER BY i)) FROM generate_series(1, 20000) i"), checksum);
        Assert.Equal("Replaying", $"{hosts.Get("($standby | Get-ReplicationStatus).Replay").Single()}");
        Assert.Equal("1", Standby($"runuser -u postgres -- {hosts.Bin}/pg_controldata -D {hosts.Data} | sed -n \"s/^Latest checkpoint's TimeLineID: *//p\""));
        Assert.NotEqual("0", Standby("wc -l < /run/test-stopped"));
        Assert.Equal("", Standby("diff /run/test-stopped /run/test-starting || true"));
        Assert.Equal("", Standby($"ls -d $(dirname {hosts.Data})/*scratch* /run/pitrps-scratch* /var/lib/pitrps/recoveries/* 2>/dev/null || true"));
        Assert.Equal("", Standby("systemctl list-units --all --plain --no-legend 'pitrps-scratch*' 'pitrps-restore*'"));
        Assert.Equal("", Standby("grep -E 'pitrps-(scratch|restore)' /proc/mounts || true"));
        Assert.Empty(hosts.Get("$standbyHost, $primaryHost | Get-PitrOperation"));
    }

    /// <summary>Others write before and after the DROP.</summary>
    public abstract class OnABusyPrimary(StandbyHosts hosts) : StoryTests(hosts)
    {
        [LabFact]
        public void One_pipeline_brings_the_table_back_and_loses_nothing_else()
        {
            Begin();
            Primary("INSERT INTO pitr3 SELECT i, md5(i::text) FROM generate_series(20001, 40000) i");
            Primary("DROP TABLE pitr2");
            Primary("CREATE TABLE later AS SELECT i FROM generate_series(1, 1000) i");
            Recover();
            Assert.Equal("20000 40000 1000", Primary("SELECT concat_ws(' ', (SELECT count(*) FROM pitr1), (SELECT count(*) FROM pitr3), (SELECT count(*) FROM later))"));
        }
    }

    /// <summary>The DROP is the first transaction after a quiet time, so the standby has replayed its lock at once.</summary>
    public abstract class OnAnIdlePrimary(StandbyHosts hosts) : StoryTests(hosts)
    {
        [LabFact]
        public void One_pipeline_brings_the_table_back()
        {
            hosts.Lab.Shell(Lab.Primary, $"systemctl stop pitrps-heartbeat-{hosts.Major}-main.timer");
            Begin();
            Primary("DROP TABLE pitr2");
            Recover();
        }

        private readonly StandbyHosts hosts = hosts;
    }

    public sealed class OnABusyPrimary13(StandbyHosts13 hosts) : OnABusyPrimary(hosts), IClassFixture<StandbyHosts13>;

    public sealed class OnABusyPrimary15(StandbyHosts hosts) : OnABusyPrimary(hosts), IClassFixture<StandbyHosts>;

    public sealed class OnABusyPrimary17(StandbyHosts17 hosts) : OnABusyPrimary(hosts), IClassFixture<StandbyHosts17>;

    public sealed class OnABusyPrimaryOfRhel(RhelStandbyHosts hosts) : OnABusyPrimary(hosts), IClassFixture<RhelStandbyHosts>;

    [Trait("Category", "Long")]
    public sealed class OnABusyPrimaryOfRhel8(Rhel8StandbyHosts hosts) : OnABusyPrimary(hosts), IClassFixture<Rhel8StandbyHosts>;

    [Trait("Category", "Long")]
    public sealed class OnABusyPrimaryOfRhel10(Rhel10StandbyHosts hosts) : OnABusyPrimary(hosts), IClassFixture<Rhel10StandbyHosts>;

    public sealed class OnAnIdlePrimary15(StandbyHosts hosts) : OnAnIdlePrimary(hosts), IClassFixture<StandbyHosts>;
    [Trait("Category", "Long")]
    public sealed class OnAnIdlePrimaryOfRhel(RhelStandbyHosts hosts) : OnAnIdlePrimary(hosts), IClassFixture<RhelStandbyHosts>;
}
