using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

/// <summary>A standby that has too little for the WAL up to the target, and is recovered in place nevertheless.</summary>
[Trait("Category", "Long")]
public sealed class KeepSettingsTests : IClassFixture<StandbyHosts>
{
    private readonly StandbyHosts _hosts;

    public KeepSettingsTests(StandbyHosts hosts) => _hosts = hosts;

    [LabFact]
    public void What_the_primary_was_raised_to_is_raised_and_stays_because_the_standby_needs_it_from_then_on()
    {
        _hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
        Primary("CREATE TABLE keep (note text); CREATE TABLE gone AS SELECT generate_series(1, 2000) AS id");
        var made = Primary("SELECT pg_current_wal_lsn()");
        Waiting.For("the tables on the standby", () => Standby($"SELECT pg_last_wal_replay_lsn() >= '{made}'") == "t");
        _hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
        Primary("INSERT INTO keep VALUES ('before')");
        Primary("ALTER SYSTEM SET max_connections = 150");
        _hosts.Lab.Shell(Lab.Primary, $"systemctl restart {_hosts.ServiceUnit}");
        Primary("INSERT INTO keep VALUES ('between')");
        Primary("DROP TABLE gone");
        var segment = Primary("SELECT pg_walfile_name(pg_switch_wal())");
        Waiting.For("the archive", () => _hosts.Lab.Shell(Lab.Standby, "runuser -u postgres -- ls /mnt/archive_wal_dir").Split('\n').Contains(segment));

        const string find = "$standby | Find-PgIncident -Table gone";
        Assert.Equal("max_connections 100 -> 150", $"{_hosts.Get($"({find} | Test-RecoveryTarget).SettingsToRaise").Single()}");
        var run = _hosts.Run($"$recovery = {find} | Invoke-PitrRecovery -Way Keep -Confirm:$false; $recovery").ThrowOnError();
        Assert.Equal("Ready", $"{run.Output.Single().Properties["State"].Value}");
        Assert.Equal("2000|before,between|150", Standby("SELECT (SELECT count(*) FROM gone), (SELECT string_agg(note, ',') FROM keep), current_setting('max_connections')"));

        _hosts.Get("$null = $recovery | Complete-PitrRecovery -Force -Confirm:$false");
        Assert.Equal("150|259200000|t", Standby("SELECT current_setting('max_connections'), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), pg_is_in_recovery()"));
        Assert.Equal("0", _hosts.Lab.Shell(Lab.Standby, $"grep -c recovery_target {_hosts.Config}/conf.d/50-pitrps.conf || true").Trim());
        Assert.Empty(_hosts.Get("$standbyHost | Get-PitrOperation"));
    }

    private string Primary(string sql) => _hosts.Lab.Psql(Lab.Primary, sql);

    private string Standby(string sql) => _hosts.Lab.Psql(Lab.Standby, sql);
}
