using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Tests.Incidents;

public sealed class WalRecordsTests
{
    private const string Head = "rmgr: Transaction len (rec/tot):    477/   477, tx:        762, lsn: 0/019FF818, prev 0/019FF7D8, desc: ";

    [Fact]
    public void Reads_a_commit_with_all_its_parts()
    {
        var commit = Commit(Head + "COMMIT 2026-11-23 15:33:44.753519 UTC; rels: base/5/16499 pg_tblspc/16600/PG_15_202209061/5/16391 base/5/t3_16400 global/1262; subxacts: 763 764; dropped stats: 2/5/16499 1/16572/0 2/7/16500; relcache init file inval dbid 5 tsid 1663; inval msgs: catcache 80; sync");

        Assert.Equal(new Lsn(0x19FF818), commit.At);
        Assert.Equal(762u, commit.TransactionId);
        Assert.Equal(new DateTimeOffset(2026, 11, 23, 15, 33, 44, TimeSpan.Zero).AddTicks(7_535_190), commit.Time);
        Assert.Equal([762u, 763u, 764u], commit.TransactionIds);
        Assert.Equal([new WalFileNode(5, 16499), new WalFileNode(5, 16391)], commit.Files);
        Assert.Equal([new DroppedRelation(5, 16499), new DroppedRelation(7, 16500)], commit.DroppedRelations);
    }

    [Fact]
    public void Reads_a_commit_prepared_under_the_xid_in_its_text() =>
        Assert.Equal(791u, Commit(Head.Replace("762", "  0", StringComparison.Ordinal) + "COMMIT_PREPARED 791: 2026-11-23 15:33:48.500985 UTC; rels: base/5/16493; dropped stats: 2/5/16493; inval msgs: catcache 80").TransactionId);

    [Fact]
    public void Reads_every_lock_of_a_snapshot_record_with_the_xid_of_its_text()
    {
        var locks = WalRecords.Read("rmgr: Standby     len (rec/tot):    162/   162, tx:          0, lsn: 0/03027F40, prev 0/03027F08, desc: LOCK xid 762 db 5 rel 16387 xid 761 db 5 rel 16455 xid 762 db 5 rel 16496 ");

        Assert.Equal([new WalLock(new Lsn(0x3027F40), 762, 5, 16387, true), new WalLock(new Lsn(0x3027F40), 761, 5, 16455, true), new WalLock(new Lsn(0x3027F40), 762, 5, 16496, true)], locks);
        Assert.False(Assert.IsType<WalLock>(Assert.Single(WalRecords.Read("rmgr: Standby     len (rec/tot):     42/    42, tx:        760, lsn: 0/019DFA48, prev 0/019DFA08, desc: LOCK xid 760 db 5 rel 16388 "))).IsRepeated);
    }

    [Theory]
    [InlineData(Head + "ABORT 2026-11-23 15:33:50.270299 UTC; rels: base/5/16591 base/5/16590")]
    [InlineData(Head + "PREPARE gid p1: 2026-11-23 15:33:48.381681 UTC; rels(commit): base/5/16493; commit dropped stats: 2/5/16493; inval msgs: catcache 80")]
    [InlineData(Head + "ABORT_PREPARED 791: 2026-11-23 15:33:48.500985 UTC; rels: base/5/16493")]
    [InlineData("rmgr: LogicalMessage len (rec/tot):     59/    59, tx:          0, lsn: 0/019DFA08, prev 0/019DF990, desc: MESSAGE non-transactional, prefix \"desc: COMMIT 2026-11-23 15:33:48.381681 UTC; rels: base/5/1\"; payload")]
    [InlineData("rmgr: Heap        len (rec/tot):     54/    54, tx:        538, lsn: 0/016E62C0, prev 0/016E6200, desc: LOCK off 2: xid 538: flags 0x00 LOCK_ONLY EXCL_LOCK , blkref #0: rel 1663/13443/1259 blk 11")]
    [InlineData("first record is after 0/1000000, at 0/1000028, skipping over 40 bytes")]
    [InlineData("")]
    public void Takes_nothing_else(string line) => Assert.Empty(WalRecords.Read(line));

    private static WalCommit Commit(string line) => Assert.IsType<WalCommit>(Assert.Single(WalRecords.Read(line)));
}
