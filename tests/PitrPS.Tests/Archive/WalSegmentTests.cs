using PitrPS.Archive;
using PitrPS.Servers;

namespace PitrPS.Tests.Archive;

public class WalSegmentTests
{
    private const long Mega = 1 << 20;

    [Theory]
    [InlineData("0/3D6D260", 1u, 16, "000000010000000000000003")]
    [InlineData("0/FF000000", 1u, 16, "0000000100000000000000FF")]
    [InlineData("1/0", 1u, 16, "000000010000000100000000")]
    [InlineData("3A/FFFFFFFF", 26u, 16, "0000001A0000003A000000FF")]
    [InlineData("1/FFFFFFFF", 2u, 64, "00000002000000010000003F")]
    [InlineData("1/FFFFFFFF", 2u, 1024, "000000020000000100000003")]
    [InlineData("0/FFFFFFFF", 1u, 1, "000000010000000000000FFF")]
    public void Names_the_segment_that_holds_a_position(string lsn, uint timeline, int mega, string name)
    {
        var segment = WalSegment.At(Lsn.Parse(lsn), timeline, mega * Mega);

        Assert.Equal(name, segment.Name);
        Assert.Equal(segment, WalSegment.Parse(name, mega * Mega));
        Assert.True(segment.Start <= Lsn.Parse(lsn));
        Assert.True(segment.End > Lsn.Parse(lsn));
    }

    [Fact]
    public void A_boundary_ends_the_segment_before_it()
    {
        var boundary = Lsn.Parse("0/4000000");

        Assert.Equal("000000010000000000000004", WalSegment.At(boundary, 1).Name);
        Assert.Equal("000000010000000000000003", WalSegment.Before(boundary, 1).Name);
        Assert.Equal("000000010000000000000004", WalSegment.Before(boundary + 1, 1).Name);
    }

    [Fact]
    public void The_next_segment_carries_into_the_upper_half() =>
        Assert.Equal("000000010000000100000000", WalSegment.Parse("0000000100000000000000FF").Next.Name);

    [Fact]
    public void A_range_goes_from_the_segment_of_the_first_byte_to_that_of_the_last()
    {
        static string[] Names(string from, string to) => [.. WalSegment.Range(Lsn.Parse(from), Lsn.Parse(to), 1).Select(s => s.Name[^2..])];

        Assert.Equal(["03", "04", "05"], Names("0/3D6D260", "0/5000001"));
        Assert.Equal(["03", "04"], Names("0/3D6D260", "0/5000000"));
        Assert.Equal(["03"], Names("0/3000000", "0/3000001"));
        Assert.Empty(Names("0/3000000", "0/3000000"));
    }

    [Theory]
    [InlineData("000000010000000000000100")] // 16 MiB segments end at FF
    [InlineData("000000000000000000000001")] // there is no timeline 0
    [InlineData("00000001000000000000000a")]
    [InlineData("00000001000000000000000")]
    [InlineData("00000002.history")]
    [InlineData("")]
    [InlineData(null)]
    public void Refuses_what_is_no_segment_name(string? name) => Assert.False(WalSegment.TryParse(name, WalSegment.DefaultSize, out _));

    [Theory]
    [InlineData(0)]
    [InlineData(3 << 20)]
    [InlineData(1 << 19)]
    public void Refuses_a_size_that_no_cluster_has(long size) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => WalSegment.At(default, 1, size));

    [Fact]
    public void Tells_files_apart_by_their_names()
    {
        Assert.Equal(3u, Assert.IsType<WalFile.Segment>(WalFile.Of("000000010000000000000003")).Wal.Number);
        Assert.Equal("000000010000000000000003", Assert.IsType<WalFile.Partial>(WalFile.Of("000000010000000000000003.partial")).Wal.Name);
        Assert.Equal(("000000010000000000000003", ".zst"), Assert.IsType<WalFile.Compressed>(WalFile.Of("000000010000000000000003.zst")) is var packed ? (packed.Wal.Name, packed.Suffix) : default);
        Assert.Equal(26u, Assert.IsType<WalFile.History>(WalFile.Of("0000001A.history")).Timeline);
        Assert.Equal(Lsn.Parse("0/3000028"), Assert.IsType<WalFile.Backup>(WalFile.Of("000000010000000000000003.00000028.backup")).Start);
        foreach (var other in new[] { "pitrps-archive.id", ".pitrps-archive.copy", "00000000.history", "000000010000000000000003.bak", "archive_status" })
        {
            Assert.IsType<WalFile.Other>(WalFile.Of(other));
        }
    }

    [Fact]
    public void A_history_says_on_which_timeline_a_position_was_written()
    {
        var history = TimelineHistory.Parse(4, "1\t0/5000148\tno recovery target specified\n\n2\t0/7000000\tbefore 2026-11-22 19:23:12+00\n");

        Assert.Equal([(1u, Lsn.Parse("0/5000148")), (2u, Lsn.Parse("0/7000000"))], history.Ancestors);
        Assert.Equal(1u, history.TimelineAt(Lsn.Parse("0/5000147")));
        Assert.Equal(2u, history.TimelineAt(Lsn.Parse("0/5000148")));
        Assert.Equal(4u, history.TimelineAt(Lsn.Parse("0/7000000")));
        Assert.Equal(1u, TimelineHistory.Parse(1, "").TimelineAt(Lsn.Parse("F/0")));
        Assert.Equal("0000001A.history", TimelineHistory.FileName(26));
    }

    [Theory]
    [InlineData(4, new[] { 1u })]
    [InlineData(5, new[] { 1u, 2u })] // the switch falls into it
    [InlineData(6, new[] { 2u })]
    [InlineData(7, new[] { 4u })] // the switch is its first byte
    public void A_history_says_which_timelines_a_segment_number_holds(int number, uint[] timelines) =>
        Assert.Equal(timelines, TimelineHistory.Parse(4, "1\t0/5000148\tx\n2\t0/7000000\tx\n").TimelinesIn((ulong)number, WalSegment.DefaultSize));

    [Theory]
    [InlineData("2\t0/5000148\tlater than its child\n")]
    [InlineData("1\tnowhere\n")]
    [InlineData("1\n")]
    public void Refuses_a_damaged_history(string text) => Assert.Throws<FormatException>(() => TimelineHistory.Parse(2, text));
}
