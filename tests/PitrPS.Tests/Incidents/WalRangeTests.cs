using PitrPS.Archive;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Tests.Incidents;

/// <summary>Segments of 1 MiB: number 5 begins at 0/500000.</summary>
public sealed class WalRangeTests
{
    private const int Size = 1 << 20;
    private const string Archive = "/mnt/archive";

    [Fact]
    public void Reads_from_pg_wal_what_it_has_and_the_rest_from_the_archive()
    {
        var range = Range(At(2), pgWal: Listing(1, 2, 5, 6), archive: Listing(1, 1, 2, 3, 4, 5), received: At(6) + 100);

        Assert.Equal(["P2", "A3", "A4", "P5", "P6"], Shown(range));
        Assert.Empty(range.Missing);
        Assert.True(range.EndIsKnown);
        Assert.Equal((At(2), At(6) + 100), (range.From, range.To));
        Assert.Equal(["A3", "A4"], range.FromArchiveBefore(At(6)).Select(Shown));
        Assert.Equal(["A3"], range.FromArchiveBefore(At(4)).Select(Shown));
        Assert.Equal($"{Archive}/{new WalSegment(1, 3, Size).Name}", range.PieceAt(At(3) + 7)!.Path);
    }

    [Fact]
    public void Takes_a_compressed_segment_where_there_is_no_plain_one()
    {
        var archive = Listing(1, 3) with { Packed = new Dictionary<WalSegment, string> { [new(1, 3, Size)] = ".zst", [new(1, 4, Size)] = ".zst", [new(1, 7, Size)] = ".lz4" } };
        var range = Range(At(2), pgWal: Listing(1, 2, 5, 6), archive);

        Assert.Equal(["P2", "A3", "A4", "P5", "P6", "A7"], Shown(range));
        Assert.Equal([$"{Archive}/{new WalSegment(1, 4, Size).Name}.zst", $"{Archive}/{new WalSegment(1, 7, Size).Name}.lz4"], range.Pieces.Where(p => p.IsCompressed).Select(p => p.Path));
        Assert.Empty(range.Missing);
        Assert.Equal(At(8), range.To);
    }

    [Theory]
    [InlineData("/usr/local/lib/pitrps/pitrps-restore /mnt/a \"%f\" \"%p\"", true, true, false)]
    [InlineData("", true, true, false)]
    [InlineData("cp /mnt/a/%f %p", false, false, false)]
    [InlineData("gunzip < /mnt/a/%f.gz > %p", false, false, true)]
    [InlineData("cp /mnt/a/%f %p || zstd -dc /mnt/a/%f.zst > %p", true, false, false)]
    public void Counts_only_what_the_servers_restore_command_understands(string command, bool zst, bool lz4, bool gz) =>
        Assert.Equal((zst, lz4, gz), (ArchiveCompression.IsRestored(command, ".zst"), ArchiveCompression.IsRestored(command, ".lz4"), ArchiveCompression.IsRestored(command, ".gz")));

    [Fact]
    public void Says_what_is_missing_and_how_far_it_is_complete()
    {
        var range = Range(At(2) + 40, pgWal: Listing(1, 2, 5), archive: Listing(1, 3), received: At(5) + 100);

        Assert.Equal([new WalSegment(1, 4, Size)], range.Missing);
        Assert.Equal(At(4), range.ContinuousTo);
        Assert.True(range.IsCompleteTo(At(4)));
        Assert.False(range.IsCompleteTo(At(4) + 1));
        Assert.False(range.IsCompleteTo(At(5) + 1));
        Assert.Null(range.PieceAt(At(4)));
        Assert.Equal(Size - 40, range.BytesTo(At(3)));
        Assert.Equal(0, range.BytesTo(At(1)));
    }

    [Fact]
    public void Goes_on_behind_the_beginning_of_a_receiver_that_was_just_started()
    {
        // A restarted standby streams from the beginning of a segment; what the receiver before it wrote is still there.
        var pgWal = Listing(1, 2, 4) with { LastValid = new WalSegment(1, 4, Size) };
        var range = Range(At(2), pgWal, archive: Listing(1, 3), received: At(3));

        Assert.Equal(["P2", "A3", "P4"], Shown(range));
        Assert.False(range.EndIsKnown);
    }

    [Fact]
    public void Is_not_complete_beyond_its_end()
    {
        var range = Range(At(2), pgWal: Listing(1, 2, 3), received: At(3) + 100);

        Assert.True(range.IsCompleteTo(At(3) + 100));
        Assert.False(range.IsCompleteTo(At(3) + 101));
    }

    [Fact]
    public void Starts_with_a_gap_where_the_redo_segment_is_nowhere()
    {
        var range = Range(At(2) + 40, pgWal: Listing(1, 3), received: At(3) + 100);

        Assert.Equal(range.From, range.ContinuousTo);
        Assert.False(range.IsCompleteTo(At(3)));
    }

    [Fact]
    public void Without_a_receiver_ends_at_the_last_segment_of_either_place()
    {
        var range = Range(At(2), pgWal: Listing(1, 2, 3), archive: Listing(1, 3, 4));

        Assert.Equal(["P2", "A3", "A4"], Shown(range));
        Assert.False(range.EndIsKnown);
        Assert.Equal(At(5), range.To);
    }

    [Fact]
    public void Takes_the_last_segment_of_pg_wal_from_the_archive_once_it_is_whole_there()
    {
        // Without a receiver pg_wal's last segment ends somewhere in its middle.
        Assert.Equal(["P2", "A3"], Shown(Range(At(2), pgWal: Listing(1, 2, 3), archive: Listing(1, 2, 3))));
        // While one streams it is the other way round: the archive cannot have it yet.
        Assert.Equal(["P2", "P3"], Shown(Range(At(2), pgWal: Listing(1, 2, 3), archive: Listing(1, 2, 3), received: At(3) + 100)));
    }

    [Fact]
    public void Leaves_recycled_segments_out()
    {
        var pgWal = Listing(1, 2, 3, 4, 5) with { LastValid = new WalSegment(1, 3, Size) };

        Assert.Equal(["P2", "P3"], Shown(Range(At(2), pgWal)));
        Assert.Equal(["P2", "P3", "A4"], Shown(Range(At(2), pgWal, Listing(1, 4))));
    }

    [Fact]
    public void Follows_a_switch_of_timeline_with_the_new_timelines_copy_of_the_segment()
    {
        var pgWal = new WalListing(Segments((1, 2), (1, 3), (2, 3), (2, 4)), new Dictionary<uint, string> { [2] = $"1\t{At(3) + 512}\tno recovery target specified\n" }, null);
        var range = Range(At(2), pgWal, received: At(4) + 100, streaming: 2);

        Assert.Equal(["1:2", "2:3", "2:4"], range.Pieces.Select(p => $"{p.Segment.Timeline}:{p.Segment.Number}"));
        Assert.Equal((1u, 1u, 2u), (range.TimelineAt(At(2)), range.TimelineAt(At(3) + 511), range.TimelineAt(At(3) + 512)));
    }

    [Fact]
    public void Reads_up_to_the_switch_from_the_old_timeline_where_the_new_ones_copy_is_missing()
    {
        var pgWal = new WalListing(Segments((1, 2), (1, 3)), new Dictionary<uint, string> { [2] = $"1\t{At(3) + 512}\treason\n" }, null);

        Assert.Equal(["1:2", "1:3"], Range(At(2), pgWal, received: At(3) + 100, streaming: 2).Pieces.Select(p => $"{p.Segment.Timeline}:{p.Segment.Number}"));
    }

    [Fact]
    public void Does_not_follow_the_history_of_a_server_that_branched_off_before()
    {
        var histories = new Dictionary<uint, string> { [2] = $"1\t{At(1)}\tan old experiment\n", [3] = $"1\t{At(4)}\tpromoted\n" };
        var archive = new WalListing(Segments((1, 2), (1, 3), (1, 4), (2, 2), (2, 3), (3, 4), (3, 5)), histories, null);

        var range = Range(At(2), WalListing.Empty, archive);

        Assert.Equal(3u, range.History.Timeline);
        Assert.Equal(["1:2", "1:3", "3:4", "3:5"], range.Pieces.Select(p => $"{p.Segment.Timeline}:{p.Segment.Number}"));
    }

    [Fact]
    public void Stays_on_its_timeline_when_it_is_told_to()
    {
        var archive = new WalListing(Segments((1, 2), (2, 3)), new Dictionary<uint, string> { [2] = $"1\t{At(3)}\tpromoted\n" }, null);

        Assert.Equal(1u, Range(At(2), WalListing.Empty, archive, target: "current").History.Timeline);
        Assert.Equal(2u, Range(At(2), WalListing.Empty, archive, target: "2").History.Timeline);
        Assert.Equal(2u, Range(At(2), WalListing.Empty, archive, target: "2").Along(2).History.Timeline);
    }

    [Fact]
    public void A_timeline_that_its_position_does_not_lead_to_is_refused_by_name()
    {
        // Timeline 2 left the first one before the standby's position.
        var archive = Listing(1, 2, 3) with { Histories = new Dictionary<uint, string> { [2] = $"1\t{At(1)}\tearlier\n" } };
        Assert.Equal(1u, Range(At(2), WalListing.Empty, archive, target: "2").History.Timeline);
        var error = Assert.Throws<PitrException>(() => Range(At(2), WalListing.Empty, archive, target: "2").Along(2));
        Assert.Equal("PitrPS.TimelineUnreachable", error.Id);
        Assert.Contains("00000002.history", error.NextStep, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("cp /mnt/archive_wal_dir/%f %p", "/mnt/archive_wal_dir")]
    [InlineData("cp \"/mnt/wal/%f\" \"%p\"", "/mnt/wal")]
    [InlineData("cp '/mnt/wal'/%f %p", "/mnt/wal")]
    [InlineData("test -f /a/b/%f && cp /a/b/%f %p", "/a/b")]
    [InlineData("/usr/local/lib/pitrps/restore.sh /mnt/archive %f %p", null)]
    [InlineData("wal-g wal-fetch %f %p", null)]
    [InlineData("", null)]
    public void Reads_the_archive_out_of_a_plain_restore_command(string command, string? directory) => Assert.Equal(directory, WalRange.DirectoryOf(command));

    [Fact]
    public void Counts_only_files_that_have_a_segments_size()
    {
        var listing = WalListing.Parse(
            $"segment {new WalSegment(1, 2, Size)} {Size}\nsegment {new WalSegment(1, 3, Size)} {Size - 1}\nsegment ZZZZZZZZZZZZZZZZZZZZZZZZ {Size}\nhistory 00000002.history 1\t0/300000\tby hand\nhistory junk.history x\npacked {new WalSegment(1, 4, Size)}.zst\npacked {new WalSegment(1, 4, Size)}.gz\npacked {new WalSegment(1, 4, Size)}.partial\nvalid {new WalSegment(1, 2, Size)}\n", Size);

        Assert.Equal([new WalSegment(1, 2, Size)], listing.Segments);
        Assert.Equal((new WalSegment(1, 4, Size), ".zst"), (Assert.Single(listing.Packed).Key, listing.Packed.Values.Single()));
        Assert.Equal("1\t0/300000\tby hand\n", Assert.Single(listing.Histories).Value);
        Assert.Equal(new WalSegment(1, 2, Size), listing.LastValid);
    }

    internal static Lsn At(int segment) => new((ulong)segment * Size);

    internal static WalListing Listing(uint timeline, params int[] numbers) => new(Segments([.. numbers.Select(n => (timeline, n))]), new Dictionary<uint, string>(), null);

    internal static StandbyPosition Position(Lsn redo, Lsn? received = null, uint? streaming = null, string target = "latest") => new()
    {
        Redo = redo, Timeline = 1, Replayed = redo, Time = DateTimeOffset.UnixEpoch, IsRunning = true, Received = received, StreamingTimeline = streaming, TargetTimeline = target,
    };

    private static HashSet<WalSegment> Segments(params (uint Timeline, int Number)[] segments) => [.. segments.Select(s => new WalSegment(s.Timeline, (ulong)s.Number, Size))];

    private static WalRange Range(Lsn redo, WalListing pgWal, WalListing? archive = null, Lsn? received = null, uint? streaming = null, string target = "latest") =>
        WalRange.Of(TestServer.Of(15), Position(redo, received, received is null ? null : streaming ?? 1, target), pgWal, archive ?? WalListing.Empty, Archive);

    private static IEnumerable<string> Shown(WalRange range) => range.Pieces.Select(Shown);

    private static string Shown(WalPiece piece) => $"{piece.Place.ToString()[0]}{piece.Segment.Number}";
}
