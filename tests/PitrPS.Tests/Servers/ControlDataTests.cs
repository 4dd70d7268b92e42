using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class ControlDataTests
{
    // Of a 15.18 standby, shortened.
    private const string Printed =
        """
        pg_control version number:            1300
        Database system identifier:           7575951234567890123
        Latest checkpoint location:           0/3D6D260
        Latest checkpoint's TimeLineID:       2
        Time of latest checkpoint:            Sun 22 Nov 2026 07:23:12 PM UTC
        wal_level setting:                    replica
        wal_log_hints setting:                off
        max_connections setting:              100
        max_worker_processes setting:         8
        max_wal_senders setting:              10
        max_prepared_xacts setting:           0
        max_locks_per_xact setting:           64
        track_commit_timestamp setting:       off
        """;

    [Fact]
    public void The_primarys_settings_have_the_names_that_postgresql_conf_has() =>
        Assert.Equal(
            new Dictionary<string, long>
            {
                ["max_connections"] = 100,
                ["max_worker_processes"] = 8,
                ["max_wal_senders"] = 10,
                ["max_prepared_transactions"] = 0,
                ["max_locks_per_transaction"] = 64,
            },
            ControlData.Parse(Printed).Settings);

    [Fact]
    public void Timeline_and_identity_are_read()
    {
        var control = ControlData.Parse(Printed);
        Assert.Equal(2u, control.Timeline);
        Assert.Equal(7575951234567890123UL, control.SystemIdentifier);
    }
}
