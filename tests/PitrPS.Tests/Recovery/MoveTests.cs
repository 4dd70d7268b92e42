using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class MoveTests
{
    private static readonly PgServer Standby = TestStandby.On(new FakeRemoteHost());

    [Theory]
    [InlineData("0/3D79CC8", "before LSN 0/3D79CC8")]
    [InlineData(" xid 741 ", "before transaction 741")]
    [InlineData("XID  741", "before transaction 741")]
    [InlineData("immediate", "where its replay stands")]
    [InlineData("before_release", "restore point before_release")]
    [InlineData("noon break", "restore point noon break")]
    [InlineData("name 741", "restore point 741")]
    [InlineData("name 2026-11-23 14:05", "restore point 2026-11-23 14:05")]
    public void Reads_a_target_as_a_person_writes_it(string text, string expected) => Assert.Equal(expected, TargetText.Read(text).Target!.ToString());

    [Theory]
    [InlineData("2026-11-23 14:05:00+01:00", true)]
    [InlineData("2026-11-23T13:05Z", true)]
    [InlineData("2026-11-23 14:05", false)]
    public void A_time_keeps_what_was_written_until_it_is_known_to_be_one_moment(string text, bool isOne)
    {
        var time = TargetText.Read(text).Time!;
        Assert.Equal(text, time.Text);
        Assert.Equal(isOne ? new DateTimeOffset(2026, 11, 23, 13, 5, 0, TimeSpan.Zero) : null, time.At?.ToUniversalTime());
    }

    [Theory]
    [InlineData("741")]
    [InlineData("xid")]
    [InlineData("xid 0")]
    [InlineData("xid seven")]
    [InlineData("0/XYZ")]
    [InlineData("2026-11-23 14h05")]
    [InlineData(" ")]
    [InlineData(741)]
    [InlineData(null)]
    public void What_can_be_read_in_several_ways_or_none_is_refused(object? value) =>
        Assert.Equal("PitrPS.TargetNotUnderstood", Assert.Throws<PitrException>(() => TargetText.Read(value)).Id);

    [Fact]
    public void Takes_what_other_cmdlets_emit()
    {
        Assert.Equal("before LSN 0/3D79CC8", TargetText.Read(TestStandby.Incident(Standby)).Target!.ToString());
        Assert.Equal("before LSN 0/3D79CC8", TargetText.Read(Lsn.Parse("0/3D79CC8")).Target!.ToString());
        Assert.Equal("through transaction 7", TargetText.Read(new RecoveryTarget.Xid(7) { Inclusive = true }).Target!.ToString());
        Assert.Equal(DateTimeOffset.UnixEpoch, TargetText.Read(DateTimeOffset.UnixEpoch).Time!.At);
        Assert.Null(TargetText.Read(new DateTime(2026, 11, 23, 14, 5, 0, DateTimeKind.Local)).Time!.At);
    }

    [Fact]
    public void A_layer_at_the_earlier_target_is_not_the_one_that_is_waited_for()
    {
        var record = TestStandby.Record(Standby);
        Assert.True(TestStandby.Look().IsUnderWayFor(record));
        Assert.True((TestStandby.Look() with { Target = "before LSN 0/3D79CC8" }).IsUnderWayFor(record));
        Assert.False((TestStandby.Look() with { Target = "before LSN 0/3000000" }).IsUnderWayFor(record));
    }

    [Fact]
    public async Task A_clone_stays_at_its_target()
    {
        var clone = RecoveryReader.Of(Standby, TestStandby.Record(Standby), TestStandby.Look()) with { Way = RecoveryWay.Clone, CloneId = "0-3D79CC8" };
        Assert.Equal("PitrPS.MoveUnsupported", (await Assert.ThrowsAsync<PitrException>(() => MovePlan.BuildAsync(clone, new RecoveryTarget.Xid(7), new Silence(), default))).Id);
    }

    [Fact]
    public void An_open_scratch_server_lets_in_by_name_and_never_by_trust()
    {
        var open = ScratchServer.Of(Standby, TestStandby.Survey.Layer) with { IsOpen = true };
        Assert.Contains("RuntimeDirectoryMode=0755", open.UnitProperties(standbyRan: true));
        Assert.Equal("0777", open.OwnSettings(TestStandby.Survey)["unix_socket_permissions"]);
        Assert.Equal("", open.OwnSettings(TestStandby.Survey)["listen_addresses"]);
        Assert.Equal("local all \"post\"\"gres\" peer map=pitrps", ServerAccess.OwnHba("post\"gres"));
        Assert.Contains("RuntimeDirectoryMode=0700", (open with { IsOpen = false }).UnitProperties(standbyRan: true));
    }

    private sealed class Silence : IFeedback
    {
        public void Verbose(string text)
        {
        }

        public void Warning(string text)
        {
        }

        public void Progress(PitrPS.ProgressNote note)
        {
        }
    }
}
