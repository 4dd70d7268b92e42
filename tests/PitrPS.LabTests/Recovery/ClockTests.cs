using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

/// <summary>A standby whose clock is wrong counts its delay by it; so does whoever says how much of it is left.</summary>
public sealed class ClockTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    [FaultFact]
    public void A_standby_that_is_an_hour_ahead_has_an_hour_less_and_recovers_as_any_other()
    {
        Delay("00:00:00");
        hosts.Lab.Psql(Lab.Primary, "CREATE TABLE wanted AS SELECT g AS id FROM generate_series(1, 1000) g");
        Waiting.For("the table on the standby", () => IsThere("wanted"));
        PutForward("+1h");

        // By its clock this was an hour ago.
        Delay("00:30:00");
        hosts.Lab.Psql(Lab.Primary, "CREATE TABLE early ()");
        Waiting.For("the table that is not held back", () => IsThere("early"));

        Delay("02:00:00");
        hosts.Lab.Psql(Lab.Primary, "DROP TABLE wanted");
        var end = hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
        Waiting.For("the DROP on the standby", () => Standby($"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)") == "t");
        var incident = hosts.Get("$standby | Find-PgIncident -Table wanted").Single();
        Assert.InRange((TimeSpan)incident.Properties["TimeLeft"].Value, TimeSpan.FromMinutes(50), TimeSpan.FromMinutes(60));
        Assert.InRange((DateTimeOffset)incident.Properties["CommittedAt"].Value, DateTimeOffset.UtcNow.AddMinutes(-5), DateTimeOffset.UtcNow.AddMinutes(5));
        var position = Standby("SELECT pg_last_wal_replay_lsn()");

        hosts.Get("$recovery = $standby | Find-PgIncident -Table wanted | Invoke-PitrRecovery -Confirm:$false");
        Assert.Equal("1000", hosts.Lab.Shell(Lab.Standby, "runuser -u postgres -- psql -XAt -h /run/pitrps-scratch-15-main -p 15432 -c 'SELECT count(*) FROM wanted'").Trim());

        hosts.Get("$recovery | Complete-PitrRecovery -Force -Confirm:$false");
        Assert.Equal($"t|{position}|7200000|t", Standby(
            "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), to_regclass('wanted') IS NOT NULL"));
    }

    /// <summary>Starts the standby with another clock, which whoever asks its host for the time gets, too.</summary>
    private void PutForward(string offset)
    {
        var library = Convert.ToBase64String(File.ReadAllBytes(
            Directory.GetDirectories("/usr/lib", "*-linux-gnu*").Select(d => Path.Join(d, "faketime/libfaketime.so.1")).Single(File.Exists)));
        foreach (var part in library.Chunk(60_000))
        {
            hosts.Lab.Shell(Lab.Standby, $"echo {new string(part)} >> /root/library");
        }

        hosts.Lab.Shell(Lab.Standby, $$"""
            set -e
            base64 -d /root/library > /usr/lib/another-clock.so
            printf "%s = '%s'\n" LD_PRELOAD /usr/lib/another-clock.so FAKETIME {{offset}} FAKETIME_DONT_FAKE_MONOTONIC 1 >> {{hosts.Config}}/environment
            printf '%s\n' '#!/bin/sh' 'export LD_PRELOAD=/usr/lib/another-clock.so FAKETIME={{offset}} FAKETIME_DONT_FAKE_MONOTONIC=1' 'exec /usr/bin/date "$@"' > /usr/local/bin/date
            chmod 755 /usr/local/bin/date
            systemctl restart {{hosts.ServiceUnit}}
            """);
        Waiting.For("the standby's start", () => hosts.Lab.Answers(Lab.Standby));
        Assert.InRange(
            DateTimeOffset.FromUnixTimeSeconds(long.Parse(Standby("SELECT extract(epoch FROM clock_timestamp())::bigint"), System.Globalization.CultureInfo.InvariantCulture)),
            DateTimeOffset.UtcNow.AddMinutes(55), DateTimeOffset.UtcNow.AddMinutes(65));
    }

    private void Delay(string delay) => hosts.Get($"$null = $standby | Set-ReplicationDelay -Delay {delay} -Confirm:$false");

    private bool IsThere(string table) => Standby($"SELECT to_regclass('{table}') IS NOT NULL") == "t";

    private string Standby(string sql) => hosts.Lab.Psql(Lab.Standby, sql);
}
