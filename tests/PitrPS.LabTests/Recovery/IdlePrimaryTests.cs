using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

public sealed class IdlePrimaryTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    private string Standby(string sql) => hosts.Lab.Psql(Lab.Standby, sql);

    [LabFact]
    public void Recovers_a_table_whose_drop_is_the_first_transaction_after_a_quiet_time()
    {
        hosts.Lab.Shell(Lab.Primary, "systemctl stop 'pitrps-heartbeat-*.timer'");
        hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
        hosts.Lab.Psql(Lab.Primary, "CREATE TABLE quiet AS SELECT g AS id FROM generate_series(1, 3000) g");
        Waiting.For("the table on the standby", () => Standby("SELECT count(*) FROM pg_class WHERE relname = 'quiet'") == "1");
        hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
        hosts.Lab.Psql(Lab.Primary, "DROP TABLE quiet");

        // Its LOCK is applied at once: the table is there and cannot be read, and the position is past the LOCK.
        Waiting.For("the lock on the standby", () => Standby("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'quiet' AND mode = 'AccessExclusiveLock'") == "1");
        var position = Standby("SELECT pg_last_wal_replay_lsn()");
        var incident = hosts.Get("$standby | Find-PgIncident -Table quiet").Single();
        Assert.Equal("t", Standby($"SELECT '{position}'::pg_lsn > '{incident.Properties["LockLsn"].Value}'::pg_lsn"));
        hosts.Run($"$standby | Invoke-PitrRecovery -TargetLsn {incident.Properties["LockLsn"].Value} -Confirm:$false").SingleError("PitrPS.TargetAlreadyReplayed");

        var recovery = hosts.Get("$recovery = $standby | Find-PgIncident -Table quiet | Invoke-PitrRecovery -Confirm:$false; $recovery").Single();
        Assert.Equal("Ready", $"{recovery.Properties["State"].Value}");
        Assert.Equal("3000", hosts.Lab.Shell(Lab.Standby, "runuser -u postgres -- psql -XAt -h /run/pitrps-scratch-15-main -p 15432 -c 'SELECT count(*) FROM quiet'").Trim());

        hosts.Get("$recovery | Complete-PitrRecovery -Force -Confirm:$false");
        Assert.Equal($"t|{position}|259200000|1", Standby(
            "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), (SELECT timeline_id FROM pg_control_checkpoint())"));
    }
}
