using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Tests.Recovery;

public class LayerEstimateTests
{
    [Fact]
    public void Finds_each_file_that_the_WAL_touches_once()
    {
        var touched = Shell.Awk(LayerEstimate.Condition,
            "rmgr: Heap        len (rec/tot):     54/   154, tx:        725, lsn: 0/0427F798, prev 0/0427F750, desc: INSERT off 3 flags 0x00, blkref #0: rel 1663/5/16393 blk 0 FPW",
            "rmgr: Heap        len (rec/tot):     54/   154, tx:        725, lsn: 0/0427F7F8, prev 0/0427F798, desc: UPDATE off 1, blkref #0: rel 1663/5/16393 blk 131071, blkref #1: rel 1663/5/16393 blk 131072",
            "rmgr: Heap2       len (rec/tot):     54/   154, tx:        725, lsn: 0/0427F8F8, prev 0/0427F7F8, desc: VISIBLE cutoff xid 0, blkref #0: rel 1663/5/16393 fork vm blk 0 FPW, blkref #1: rel 1663/5/16393 blk 7",
            "rmgr: Heap        len (rec/tot):     54/   154, tx:        725, lsn: 0/0427F9F8, prev 0/0427F8F8, desc: INPLACE off 3, blkref #0: rel 1664/0/1262 blk 0",
            "rmgr: Btree       len (rec/tot):     54/   154, tx:        725, lsn: 0/0427FAF8, prev 0/0427F9F8, desc: INSERT_LEAF off 3, blkref #0: rel 16600/5/16401 blk 3",
            "rmgr: Standby     len (rec/tot):     42/    42, tx:        726, lsn: 0/0427FBF8, prev 0/0427FAF8, desc: LOCK xid 726 db 5 rel 16394");
        Assert.Equal(
            ["base/5/16393", "base/5/16393.1", "base/5/16393_vm", "global/1262", "pg_tblspc/16600/{}/5/16401"],
            touched.Select(LayerEstimate.PathOf).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_sample_is_spread_over_all_of_the_WAL()
    {
        var slices = LayerEstimate.SlicesOf(new Lsn(0), new Lsn(12UL << 30)).ToList();
        Assert.Equal(new Lsn(0), slices[0].From);
        Assert.Equal(new Lsn(11UL << 30), slices[^1].From);
        Assert.True(slices.Zip(slices.Skip(1)).All(p => p.First.To <= p.Second.From));
    }

    [Theory]
    [InlineData(512, "512 bytes")]
    [InlineData(50L << 20, "50 MiB")]
    [InlineData(3L << 30, "3072 MiB")]
    [InlineData(77L << 30, "77.0 GiB")]
    public void Bytes_are_written_as_people_read_them(long bytes, string expected) => Assert.Equal(expected, ByteSize.Words(bytes));
}
