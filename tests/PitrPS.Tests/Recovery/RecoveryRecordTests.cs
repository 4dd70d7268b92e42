using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class RecoveryRecordTests
{
    private readonly FakeRemoteHost _host = new();

    private PgServer Standby => TestStandby.On(_host);

    [Fact]
    public void A_new_session_reads_all_that_was_written()
    {
        var record = TestStandby.Record(Standby) with
        {
            Invocation = "a1", Elapsed = TimeSpan.FromSeconds(8.3), Replayed = Lsn.Parse("0/3D6D200"), RecoveredTo = Lsn.Parse("0/3D79CC8"), ScratchTimeline = 2, WalBytes = 1 << 30, LayerBytes = 5,
        };
        var read = RecoveryRecord.Parse(Standby, record.Render());
        Assert.Equal(record.Render(), read.Render());
        Assert.Equal(TimeSpan.FromSeconds(8.3), read.Elapsed);
        Assert.Equal(Lsn.Parse("0/3D6D200"), read.Replayed);
        var incident = read.Incident!.ToIncident(Standby);
        Assert.Equal("Pitr 2b", incident.Tables[1].Name);
        Assert.Equal(Lsn.Parse("0/3D6D260"), incident.Tables[0].FirstLock);
        Assert.Null(incident.Tables[1].FirstLock);
        Assert.Equal(725u, incident.TransactionId);
    }

    public static TheoryData<RecoveryTarget> Targets =>
    [
        new RecoveryTarget.Lsn(Lsn.Parse("1/FF000028")),
        new RecoveryTarget.Time(new DateTimeOffset(2026, 11, 23, 9, 8, 7, TimeSpan.FromHours(1)).AddMicroseconds(123456)),
        new RecoveryTarget.Xid(uint.MaxValue),
        new RecoveryTarget.Name("before \"the\" drop"),
        new RecoveryTarget.Immediate(),
        new RecoveryTarget.Lsn(Lsn.Parse("1/FF000028")) { Inclusive = true, Timeline = 3 },
    ];

    [Theory]
    [MemberData(nameof(Targets))]
    public void Every_target_survives_being_written_down(RecoveryTarget target)
    {
        var read = RecordedTarget.Of(target).ToTarget();
        Assert.Equal(RecordedTarget.Of(target), RecordedTarget.Of(read));
        Assert.Equal(target.ToString(), read.ToString());
    }

    [Theory]
    [InlineData("lsn", "before WAL location (LSN) \"0/3D79CC8\"", 1u, "0/3D79CC8", null)]
    [InlineData("lsn", "before WAL location (LSN) \"0/3D79CC8\"", 1u, "0/3D79CC9", "left timeline 1 at 0/3D79CC9, not timeline 1 at or before 0/3D79CC8")]
    [InlineData("lsn", "before WAL location (LSN) \"0/3D79CC8\"", 2u, "0/3D79CC8", "left timeline 2")]
    [InlineData("lsn", "before WAL location (LSN) \"0/3D79D00\"", 1u, "0/3D79CC8", "stopped before WAL location (LSN) \"0/3D79D00\", not before")]
    [InlineData("lsn", "after reaching consistency", 1u, "0/3D79CC8", "not before WAL location")]
    [InlineData("lsn+", "after WAL location (LSN) \"0/3D79CC8\"", 1u, "0/3D79D00", null)]
    [InlineData("lsn+", "after WAL location (LSN) \"0/3D79CC8\"", 1u, "0/3D79CC8", "not timeline 1 after 0/3D79CC8")]
    [InlineData("time+", "before WAL location (LSN) \"0/3D79CC8\"", 1u, "0/3D79CC8", null)]
    [InlineData("restorePoint", "at restore point \"725\", time 2026-11-22 19:23:12+00", 1u, "0/3D79D00", null)]
    [InlineData("restorePoint", "at restore point \"7251\", time 2026-11-22 19:23:12+00", 1u, "0/3D79D00", "not at restore point")]
    [InlineData("immediate", "after reaching consistency", 1u, "0/3D79CC0", null)]
    [InlineData("immediate", "after reaching consistency", 1u, "0/3D79CE0", null)]
    [InlineData("immediate", "after reaching consistency", 1u, "0/3D79CE1", "not timeline 1 at or before 0/3D79CE0")]
    public void Proves_where_a_recovery_stopped_by_its_log_and_the_end_of_what_it_applied(string kind, string where, uint timeline, string end, string? missed)
    {
        var record = TestStandby.Record(Standby) with { Target = new RecordedTarget(kind.TrimEnd('+'), "725", Inclusive: kind.EndsWith('+')) };
        var said = record.Missed(where, timeline, Lsn.Parse(end), Lsn.Parse("0/3D79CE0"));
        if (missed is null)
        {
            Assert.Null(said);
        }
        else
        {
            Assert.Contains(missed, said, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Is_for_the_same_record_of_the_WAL_however_it_was_asked_for()
    {
        var byXid = TestStandby.Record(Standby) with { Target = new RecordedTarget("transaction", "725") };
        Assert.True(byXid.IsFor(new RecoveryTarget.Xid(725)));
        Assert.True(byXid.IsFor(new RecoveryTarget.Lsn(Lsn.Parse("0/3D79CC8"))));
        Assert.False(byXid.IsFor(new RecoveryTarget.Lsn(Lsn.Parse("0/3D79CC9"))));
        Assert.False(byXid.IsFor(new RecoveryTarget.Xid(726)));
        Assert.False(byXid.IsFor(new RecoveryTarget.Lsn(Lsn.Parse("0/3D79CC8")) { Inclusive = true }));
        Assert.False(byXid.IsFor(new RecoveryTarget.Lsn(Lsn.Parse("0/3D79CC8")) { Timeline = 2 }));
        Assert.False((byXid with { Target = byXid.Target with { Inclusive = true } }).IsFor(new RecoveryTarget.Lsn(Lsn.Parse("0/3D79CC8"))));
    }

    [Fact]
    public void One_of_a_newer_format_is_not_guessed_at()
    {
        var error = Assert.Throws<PitrException>(() => RecoveryRecord.Parse(Standby, (TestStandby.Record(Standby) with { Format = 2 }).Render()));
        Assert.Equal("PitrPS.RecoveryUnreadable", error.Id);
        Assert.Equal("PitrPS.RecoveryUnreadable", Assert.Throws<PitrException>(() => RecoveryRecord.Parse(Standby, "{ \"target\":")).Id);
    }

    [Fact]
    public async Task Is_readable_by_root_alone()
    {
        await TestStandby.Record(Standby).WriteAsync(Standby, default);
        var file = _host.Files["/var/lib/pitrps/recoveries/15-main.json"];
        Assert.Equal((0x180, "root", "root"), (file.Mode, file.Owner, file.Group));
    }

    [Fact]
    public async Task Remembers_each_table_that_is_back_once()
    {
        await TestStandby.Record(Standby).WriteAsync(Standby, default);
        var table = new ProvenTable(TestStandby.Incident(Standby).Tables[0], 3, "c", TestStandby.On(new FakeRemoteHost("primary")));
        await RecoveryRecord.MarkRestoredAsync(Standby, null, [table], default);
        await RecoveryRecord.MarkRestoredAsync(Standby, null, [table with { Rows = 4 }], default);

        var marked = Assert.Single((await RecoveryRecord.ReadAsync(Standby, default))!.Restored);
        Assert.Equal((16391u, 4L, "primary:15/main"), (marked.Oid, marked.Rows, marked.To));
    }

    [Fact]
    public async Task Remembers_nothing_of_a_recovery_that_is_gone()
    {
        await RecoveryRecord.MarkRestoredAsync(Standby, null, [new ProvenTable(TestStandby.Incident(Standby).Tables[0], 3, "c", Standby)], default);
        Assert.Empty(_host.Written);
    }
}
