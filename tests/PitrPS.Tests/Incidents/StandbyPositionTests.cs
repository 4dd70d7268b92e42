using PitrPS.Incidents;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Incidents;

public sealed class StandbyPositionTests
{
    // pg_controldata 13.23, shortened.
    private const string Control =
        """
        pg_control version number:            1300
        Database system identifier:           7562345678901234567
        Database cluster state:               in archive recovery
        Latest checkpoint location:           0/2000060
        Latest checkpoint's REDO location:    0/2000028
        Latest checkpoint's REDO WAL file:    000000010000000000000002
        Latest checkpoint's TimeLineID:       1
        Latest checkpoint's PrevTimeLineID:   1
        Latest checkpoint's NextXID:          0:522
        Minimum recovery ending location:     0/30D8408
        Min recovery ending loc's timeline:   1
        Bytes per WAL segment:                16777216
        pitrps clock: 1795449600.250000000
        """;

    [Fact]
    public async Task Reads_a_stopped_standby_from_pg_control_and_its_configuration()
    {
        var position = await ReadAsync(Control + "\npitrps signal: y\npitrps restore_command: cp /mnt/a:b/%f %p\npitrps recovery_target_timeline: latest\npitrps recovery_min_apply_delay: 259200000\n");

        Assert.Equal((new Lsn(0x2000028), 1u, new Lsn(0x30D8408)), (position.Redo, position.Timeline, position.Replayed));
        Assert.Equal(DateTimeOffset.FromUnixTimeMilliseconds(1795449600250), position.Time);
        Assert.Equal(("cp /mnt/a:b/%f %p", 259200000L), (position.RestoreCommand, position.DelayMilliseconds));
        Assert.True(position.IsFrozen);
        Assert.False(position.IsRunning);
    }

    [Fact]
    public async Task Refuses_a_stopped_primary() =>
        Assert.Equal("PitrPS.NotAStandby", (await Assert.ThrowsAsync<PitrException>(() => ReadAsync(Control))).Id);

    [Fact]
    public async Task Refuses_a_plan()
    {
        var planned = TestServer.Of(15) with { IsPlanned = true };

        Assert.Equal("PitrPS.PlannedObject", (await Assert.ThrowsAsync<PitrException>(() => StandbyPosition.ReadAsync(planned, new NoFeedback(), CancellationToken.None))).Id);
    }

    [Fact]
    public async Task Says_what_pg_controldata_left_out() =>
        Assert.Contains("REDO location", (await Assert.ThrowsAsync<PitrException>(() => ReadAsync("nothing: here\npitrps signal: y"))).Message, StringComparison.Ordinal);

    [Fact]
    public void A_running_standby_knows_better_than_its_control_file()
    {
        var position = StandbyPosition.FromControl(TestServer.Of(13), Control + "\npitrps running: y")
            .With(new SqlRow(["t", "1795449601.5", "0/30D8500", "0/30D9000", "2", "3600000", "f", "", "latest"]));

        Assert.Equal((new Lsn(0x30D8500), (Lsn?)new Lsn(0x30D9000), (uint?)2u), (position.Replayed, position.Received, position.StreamingTimeline));
        Assert.Equal(1795449601500, position.Time.ToUnixTimeMilliseconds());
        Assert.True(position.IsRunning);
        Assert.False(position.IsFrozen);
    }

    private static async Task<StandbyPosition> ReadAsync(string said)
    {
        var host = new FakeRemoteHost();
        host.On("pg_controldata", said);
        return await StandbyPosition.ReadAsync(TestServer.Of(13) with { Host = host.Host }, new NoFeedback(), CancellationToken.None);
    }
}
