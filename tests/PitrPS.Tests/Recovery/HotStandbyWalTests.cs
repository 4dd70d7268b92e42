using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Recovery;

public class HotStandbyWalTests
{
    private static readonly Lsn From = Lsn.Parse("0/1000000");
    private static readonly Lsn Stop = Lsn.Parse("0/9000000");

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public void Connections_are_taken_after_the_first_snapshot_that_tells_all(int major)
    {
        var wal = Wal([.. new Samples(major).Wal]);
        var first = Samples.LsnOf(new Samples(major).Wal.First(l => l.Contains("RUNNING_XACTS", StringComparison.Ordinal)));
        Assert.True(wal.IsActive(Lsn.Parse("0/0"), first + 1));
        Assert.False(wal.IsActive(Lsn.Parse("0/0"), first));
        Assert.False(wal.IsActive(first + 1, first + 2));
    }

    [Fact]
    public void A_snapshot_that_is_not_whole_is_none_until_a_later_one_shows_that_all_of_those_transactions_are_over()
    {
        // As PostgreSQL 15 and 17 say it.
        Assert.False(Wal(Running("0/2000000", next: 800, oldest: 700, more: "; 1 xacts: 700; subxid ovf")).IsActive(From, Stop));
        Assert.False(Wal(Running("0/2000000", next: 800, oldest: 700, more: "; 1 xacts: 700; subxid overflowed")).IsActive(From, Stop));
        Assert.False(Wal(Running("0/2000000", 800, 700, "; 1 xacts: 700; subxid ovf"), Running("0/3000000", 900, 700, "; 1 xacts: 700; subxid ovf")).IsActive(From, Stop));
        Assert.False(Wal(Running("0/2000000", 800, 700, "; 1 xacts: 700; subxid ovf"), Running("0/3000000", 900, 799, "; 1 xacts: 799; subxid ovf")).IsActive(From, Stop));
        Assert.True(Wal(Running("0/2000000", 800, 700, "; 1 xacts: 700; subxid ovf"), Running("0/3000000", 900, 800, "; 1 xacts: 800; subxid ovf")).IsActive(From, Stop));
        Assert.True(Wal(Running("0/2000000", 800, 700, "; 1 xacts: 700; subxid ovf"), Running("0/3000000", 900, 700, "; 1 xacts: 700")).IsActive(From, Stop));
        // Xids go round.
        Assert.True(Wal(Running("0/2000000", 4294967290, 4294967280, "; 1 xacts: 4294967280; subxid ovf"), Running("0/3000000", 100, 5, "; 1 xacts: 5; subxid ovf")).IsActive(From, Stop));
    }

    [Fact]
    public void A_primary_that_was_shut_down_has_nothing_running() =>
        Assert.True(Wal(Running("0/2000000", 800, 700, "; 1 xacts: 700; subxid ovf"), Checkpoint("0/3000000", "CHECKPOINT_SHUTDOWN", "0/3000000")).IsActive(From, Stop));

    [Fact]
    public void A_clean_stop_may_move_the_beginning_to_the_newest_checkpoint_that_was_replayed()
    {
        var wal = Wal(Running("0/1800000", 800, 799, ""), Checkpoint("0/1900000", "CHECKPOINT_ONLINE", "0/1700000"),
            Running("0/2900000", 900, 700, "; 1 xacts: 700; subxid ovf"), Checkpoint("0/3000000", "CHECKPOINT_ONLINE", "0/2800000"));
        Assert.Equal(Lsn.Parse("0/1700000"), wal.LatestRedo(From, Lsn.Parse("0/2000000")));
        Assert.Equal(Lsn.Parse("0/2800000"), wal.LatestRedo(From, Lsn.Parse("0/4000000")));
        Assert.Equal(From, wal.LatestRedo(From, Lsn.Parse("0/1900000")));
        var standby = TestStandby.On(new FakeRemoteHost());
        wal.RequireActive(standby, Lsn.Parse("0/1700000"), Stop);
        Assert.Equal("PitrPS.HotStandbyInactive", Assert.Throws<PitrException>(() => wal.RequireActive(standby, Lsn.Parse("0/2800000"), Stop)).Id);
    }

    private static HotStandbyWal Wal(params string[] lines)
    {
        var wal = new HotStandbyWal();
        foreach (var line in lines)
        {
            wal.Read(line);
        }

        return wal;
    }

    private static string Running(string at, uint next, uint oldest, string more) =>
        $"rmgr: Standby     len (rec/tot):     54/    54, tx:          0, lsn: {at}, prev 0/0304EA78, desc: RUNNING_XACTS nextXid {next} latestCompletedXid {next - 1} oldestRunningXid {oldest}{more}";

    private static string Checkpoint(string at, string kind, string redo) =>
        $"rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: {at}, prev 0/0304EA78, desc: {kind} redo {redo}; tli 1; prev tli 1; fpw true; xid 0:811; oid 24576; multi 1; offset 0; oldest xid 717 in DB 1; oldest multi 1 in DB 1; oldest/newest commit timestamp xid: 0/0; oldest running xid 810; online";
}
