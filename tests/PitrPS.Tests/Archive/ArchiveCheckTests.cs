using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Recovery;

namespace PitrPS.Tests.Archive;

/// <summary>What is in an archive held against what should be there: an archive of 1 MiB segments, in memory.</summary>
public sealed class ArchiveCheckTests
{
    private const long Size = FakeWal.SegmentSize;

    private static readonly DateTimeOffset Now = new(2026, 11, 23, 12, 0, 0, TimeSpan.Zero);

    private readonly Dictionary<string, byte[]> _heads = [];
    private readonly Dictionary<string, byte[]> _unpacked = [];
    private readonly List<ArchiveFile> _files = [];
    private readonly Dictionary<uint, string> _histories = [];
    private readonly Dictionary<uint, string> _own = [];
    private readonly HashSet<string> _ready = [];

    [Fact]
    public void An_archive_without_a_gap_is_healthy_up_to_what_the_server_has_finished()
    {
        Add(1, 4, 9);

        var report = Check(end: "0/A00028");

        Assert.True(report.IsHealthy);
        Assert.Empty(report.Warnings);
        Assert.Equal((6, 0, 0), (report.Found, report.Missing, report.Waiting));
        Assert.Equal((Lsn.Parse("0/400000"), Lsn.Parse("0/A00000")), (report.FirstRecoverable, report.LastRecoverable));
        Assert.Equal(FakeWal.Cluster, report.SystemIdentifier);
    }

    [Fact]
    public void A_gap_is_missing_and_what_is_before_it_does_not_lead_to_the_end()
    {
        Add(1, 4, 5);
        Add(1, 8, 9);

        var report = Check(end: "0/A00028");

        Assert.False(report.IsHealthy);
        Assert.Equal([(Name(1, 6), WalSegmentState.Missing), (Name(1, 7), WalSegmentState.Missing)], report.Problems.Select(p => (p.Name, p.State)));
        Assert.Equal([$"2 segments are missing, {Name(1, 6)} to {Name(1, 7)}."], report.Warnings);
        Assert.Equal((Lsn.Parse("0/800000"), Lsn.Parse("0/A00000")), (report.FirstRecoverable, report.LastRecoverable));
        Assert.Equal(Enumerable.Range(4, 6).Select(n => Name(1, n)), report.Segments.Select(s => s.Name));
    }

    [Fact]
    public void What_the_primary_has_finished_and_not_archived_yet_waits_and_is_no_gap()
    {
        Add(1, 4, 5);
        _ready.Add(Name(1, 6));
        _ready.Add("00000002.history");

        var report = Check(end: "0/800000");

        Assert.Equal((2, 1, 1), (report.Found, report.Missing, report.Waiting));
        Assert.Equal(WalSegmentState.Waiting, report.Segments[2].State);
        Assert.Equal((Name(1, 7), WalSegmentState.Missing), (report.Problems.Single().Name, report.Problems.Single().State));
        Assert.Equal(Lsn.Parse("0/600000"), report.LastRecoverable);
    }

    [Fact]
    public void A_standby_needs_everything_from_its_redo_position_on_and_nothing_before_it()
    {
        Add(1, 2, 2);
        Add(1, 5, 6);
        Add(1, 8, 8);

        var report = Check(end: "0/B00010", needed: "0/580000");

        // 3 and 4 were removed, and it does not need them. 9 and 10 are not there yet, as far as a standby can tell.
        Assert.Equal([Name(1, 7)], report.Problems.Select(p => p.Name));
        Assert.Equal([Name(1, 9), Name(1, 10)], report.Segments.Where(s => s.State == WalSegmentState.Waiting).Select(s => s.Name));
        Assert.Equal((Lsn.Parse("0/500000"), Lsn.Parse("0/700000")), (report.FirstRecoverable, report.LastRecoverable));
        Assert.Equal(Lsn.Parse("0/580000"), report.NeededFrom);
        Assert.Equal(Name(1, 5), report.Segments[0].Name);
        Assert.Equal([Name(1, 5), Name(1, 6), Name(1, 8)], ArchiveCheck.NeedsHead(new ArchiveListing { Files = _files }, Size, report.NeededFrom));
    }

    [Fact]
    public void A_standby_whose_first_segment_is_missing_recovers_nothing_by_the_archive()
    {
        Add(1, 6, 8);

        var report = Check(end: "0/900000", needed: "0/580000");

        Assert.Equal([Name(1, 5)], report.Problems.Select(p => p.Name));
        Assert.Null(report.FirstRecoverable);
        Assert.Null(report.LastRecoverable);
    }

    [Theory]
    [InlineData(WalSegmentState.Short, "it has 4096 bytes, a segment has 1048576")]
    [InlineData(WalSegmentState.Long, "it has 2097152 bytes")]
    [InlineData(WalSegmentState.Zeroed, "its first page is zeros")]
    [InlineData(WalSegmentState.WrongCluster, "it is of the cluster 42, this is the archive of 7654321098765432101")]
    [InlineData(WalSegmentState.WrongTimeline, "its first page is of timeline 3")]
    [InlineData(WalSegmentState.Unreadable, "it cannot be read")]
    [InlineData(WalSegmentState.Damaged, "its first page is not WAL of PostgreSQL 15 (magic d116)")]
    [InlineData(WalSegmentState.Damaged, "its first page is the one at 0/900000, its name says 0/500000")]
    [InlineData(WalSegmentState.Damaged, "its first page is not WAL of PostgreSQL 15 (magic 6854)")]
    public void A_bad_segment_is_named_by_what_is_wrong_with_it(WalSegmentState state, string detail)
    {
        Add(1, 4, 6);
        var name = Name(1, 5);
        var file = _files.Single(f => f.File.Name == name);
        _files.Remove(file);
        _files.Add(file with { Size = detail.Contains("4096", StringComparison.Ordinal) ? 4096 : detail.Contains("2097152", StringComparison.Ordinal) ? 2 * Size : Size });
        _heads[name] = (state, detail) switch
        {
            (WalSegmentState.Zeroed, _) => new byte[40],
            (WalSegmentState.WrongCluster, _) => Head(name, cluster: 42, magic: 0xD116),
            (WalSegmentState.WrongTimeline, _) => Head(name, timeline: 3),
            (WalSegmentState.Unreadable, _) => [],
            (_, var why) when why.Contains("d116", StringComparison.Ordinal) => Head(name, magic: 0xD116),
            (_, var why) when why.Contains("0/900000", StringComparison.Ordinal) => Head(name, address: 0x900000),
            _ => [.. "This is a text, and no WAL at all. Really."u8[..40]],
        };

        var report = Check(end: "0/700000");

        var problem = Assert.Single(report.Problems);
        Assert.Equal((name, state), (problem.Name, problem.State));
        Assert.StartsWith(detail, problem.Detail);
        Assert.Contains(problem.Detail!, Assert.Single(report.Warnings));
        Assert.Equal(2, report.Found);
        Assert.Equal(Lsn.Parse("0/600000"), report.FirstRecoverable);
        Assert.False(report.IsHealthy);
    }

    [Fact]
    public void A_segment_of_another_cluster_far_away_makes_no_gap()
    {
        Add(1, 4, 6);
        Put("0000000100000A0000000001", Head("0000000100000A0000000001", cluster: 42));

        var report = Check(end: "0/700000");

        Assert.Equal(WalSegmentState.WrongCluster, Assert.Single(report.Problems).State);
        Assert.Equal(4, report.Segments.Count);
    }

    [Theory]
    [InlineData(".zst", new byte[] { 0x28, 0xB5, 0x2F, 0xFD, 4 }, WalSegmentState.Found)]
    [InlineData(".lz4", new byte[] { 0x04, 0x22, 0x4D, 0x18, 4 }, WalSegmentState.Found)]
    [InlineData(".gz", new byte[] { 0x1F, 0x8B, 8 }, WalSegmentState.Found)]
    [InlineData(".zst", new byte[] { 0x1F, 0x8B, 8 }, WalSegmentState.Damaged)]
    [InlineData(".gz", new byte[] { 0, 0, 0 }, WalSegmentState.Zeroed)]
    public void A_compressed_segment_is_the_segment(string suffix, byte[] begin, WalSegmentState state)
    {
        Add(1, 4, 4);
        Put(Name(1, 5) + suffix, begin, size: 3000);
        Add(1, 6, 6);

        var segment = Check(end: "0/700000").Segments.Single(s => s.Start == Lsn.Parse("0/500000"));

        Assert.Equal((Name(1, 5) + suffix, state), (segment.Name, segment.State));
    }

    [Fact]
    public void What_a_compressed_segment_holds_is_held_against_its_name()
    {
        byte[] zstd = [0x28, 0xB5, 0x2F, 0xFD, 4];
        (byte[] Page, WalSegmentState State)[] cases =
        [
            (Head(Name(1, 5)), WalSegmentState.Found), (Head(Name(1, 6), cluster: 42), WalSegmentState.WrongCluster), (new byte[40], WalSegmentState.Zeroed),
            (Head(Name(1, 3)), WalSegmentState.Damaged), (Head(Name(1, 9), timeline: 7), WalSegmentState.WrongTimeline), ([], WalSegmentState.Damaged), (Head(Name(1, 11))[..20], WalSegmentState.Damaged),
        ];
        for (var i = 0; i < cases.Length; i++)
        {
            Put(Name(1, 5 + i) + ".zst", zstd, size: 3000);
            _unpacked[Name(1, 5 + i) + ".zst"] = cases[i].Page;
        }

        var report = Check(end: "0/C00000");

        Assert.Equal(cases.Select(c => c.State), report.Segments.Select(s => s.State));
        Assert.Equal("it cannot be decompressed", report.Segments[5].Detail);
        Assert.DoesNotContain(report.Warnings, w => w.Contains("could not be looked into", StringComparison.Ordinal));
    }

    [Fact]
    public void A_host_without_the_program_says_so_and_takes_the_segment_for_what_its_suffix_says()
    {
        Put(Name(1, 5) + ".lz4", [0x04, 0x22, 0x4D, 0x18, 4], size: 3000);

        var report = Check(end: "0/600000");

        Assert.True(report.IsHealthy);
        Assert.Equal(["1 compressed segments could not be looked into: the host lacks the program that compressed them."], report.Warnings);
    }

    [Theory]
    [InlineData(".gz")]
    [InlineData(".partial")]
    public void A_segment_that_is_there_a_second_time_is_a_duplicate_and_can_be_recovered(string suffix)
    {
        Add(1, 4, 6);
        Put(Name(1, 5) + suffix, [0x1F, 0x8B, 8], size: 3000);

        var report = Check(end: "0/700000");

        var problem = Assert.Single(report.Problems);
        Assert.Equal((Name(1, 5), WalSegmentState.Duplicate, $"also as {Name(1, 5)}{suffix}"), (problem.Name, problem.State, problem.Detail));
        Assert.Equal(3, report.Found);
        Assert.Equal(Lsn.Parse("0/400000"), report.FirstRecoverable);
    }

    [Fact]
    public void A_partial_segment_is_not_the_segment()
    {
        Add(1, 4, 4);
        Put(Name(1, 5) + ".partial", Head(Name(1, 5)));
        Add(1, 6, 6);

        var problem = Assert.Single(Check(end: "0/700000").Problems);

        Assert.Equal((Name(1, 5), WalSegmentState.Missing, "there is a .partial of it, which no server takes"), (problem.Name, problem.State, problem.Detail));
    }

    [Fact]
    public void After_a_promotion_the_way_leads_over_both_timelines_and_one_segment_begins_as_a_copy()
    {
        _histories[2] = "1\t0/680000\tno recovery target specified\n";
        Add(1, 4, 5);
        Put(Name(1, 6) + ".partial", Head(Name(1, 6)));
        Put(Name(2, 6), Head(Name(2, 6), timeline: 1));
        Add(2, 7, 8);

        var report = Check(timeline: 2, end: "0/900000");

        Assert.Equal([], report.Warnings);
        Assert.True(report.IsHealthy);
        Assert.Equal((Lsn.Parse("0/400000"), Lsn.Parse("0/900000")), (report.FirstRecoverable, report.LastRecoverable));
        Assert.Equal([new WalArchiveTimeline(1, null, null, 2, false, true), new WalArchiveTimeline(2, 1, Lsn.Parse("0/680000"), 3, true, true)], report.Timelines);
        Assert.Equal("2 (from 1 at 0/680000)", report.Timelines[1].ToString());
    }

    [Fact]
    public void The_ancestors_segment_does_not_stand_in_for_the_one_in_which_the_timeline_changes()
    {
        _histories[2] = "1\t0/680000\tx\n";
        Add(1, 4, 6);
        Add(2, 7, 8);

        var problem = Assert.Single(Check(timeline: 2, end: "0/900000").Problems);

        Assert.Equal((Name(2, 6), WalSegmentState.Missing), (problem.Name, problem.State));
    }

    [Fact]
    public void What_a_former_primary_wrote_after_the_switch_is_of_the_wrong_timeline()
    {
        _histories[2] = "1\t0/680000\tx\n";
        Add(1, 4, 8);
        Put(Name(2, 6), Head(Name(2, 6), timeline: 1));
        Add(2, 7, 8);
        Put(Name(2, 9), Head(Name(2, 9), timeline: 1));

        var report = Check(timeline: 2, end: "0/A00000");

        Assert.Equal([(Name(1, 7), WalSegmentState.WrongTimeline), (Name(1, 8), WalSegmentState.WrongTimeline), (Name(2, 9), WalSegmentState.WrongTimeline)], report.Problems.Select(p => (p.Name, p.State)));
        Assert.Equal("the way to timeline 2 leads over timeline 2 here", report.Problems[0].Detail);
        Assert.Equal("its first page is of timeline 1, at 0/900000 that would be 2", report.Problems[2].Detail);
        Assert.Equal(Lsn.Parse("0/900000"), report.LastRecoverable);
    }

    [Fact]
    public void A_history_that_is_missing_is_said_and_the_servers_own_is_followed()
    {
        _own[2] = "1\t0/680000\tx\n";
        Add(1, 4, 5);
        Put(Name(2, 6), Head(Name(2, 6), timeline: 1));
        Add(2, 7, 8);

        var report = Check(timeline: 2, end: "0/900000");

        Assert.Empty(report.Problems);
        Assert.StartsWith("00000002.history is not in the archive", Assert.Single(report.Warnings));
        Assert.False(report.IsHealthy);
        Assert.Equal(Lsn.Parse("0/400000"), report.FirstRecoverable);
    }

    [Theory]
    [InlineData("1\t0/680000\tx\n", "1\t0/6C0000\tx\n", "00000002.history in the archive says another ancestry than the server's own in pg_wal: 1 up to 0/680000 instead of 1 up to 0/6C0000.")]
    [InlineData("1\tnowhere\n", "1\t0/680000\tx\n", "A history file of the archive is damaged. 00000002.history: '1\tnowhere' is not a timeline and a position.")]
    [InlineData("", "1\t0/680000\tx\n", "A history file of the archive is damaged. 00000002.history: it names no ancestor.")]
    public void A_history_that_is_not_the_servers_is_said(string archived, string own, string warning)
    {
        _histories[2] = archived;
        _own[2] = own;
        Add(2, 7, 8);

        var report = Check(timeline: 2, end: "0/900000");

        Assert.Contains(warning, report.Warnings);
        Assert.False(report.IsHealthy);
    }

    [Fact]
    public void Histories_that_contradict_each_other_are_said()
    {
        _histories[2] = "1\t0/300000\tx\n";
        _histories[3] = "1\t0/380000\tx\n2\t0/680000\tx\n";
        Add(3, 7, 8);

        Assert.StartsWith("00000003.history and 00000002.history contradict each other", Assert.Single(Check(timeline: 3, end: "0/900000").Warnings));
    }

    [Fact]
    public void A_timeline_ahead_of_the_server_is_said_because_latest_follows_it()
    {
        _histories[2] = "1\t0/680000\tx\n";
        Add(1, 4, 8);
        Add(2, 7, 7);

        var report = Check(end: "0/900000");

        Assert.Equal("the server is on timeline 1, and knows nothing of this one", Assert.Single(report.Problems).Detail);
        Assert.Contains(report.Warnings, w => w.StartsWith("00000002.history is in the archive and the server is on timeline 1", StringComparison.Ordinal));
        Assert.False(report.Timelines[1].IsFollowed);
        Assert.Equal(Lsn.Parse("0/400000"), report.FirstRecoverable);
    }

    [Fact]
    public void A_claim_of_the_archiver_is_held_against_what_is_there()
    {
        Add(1, 4, 6);

        Assert.True(Check("0/700000", claim: new WalArchiverClaim { LastArchived = Name(1, 6) }).IsHealthy);
        var lies = Check("0/800000", claim: new WalArchiverClaim { LastArchived = Name(1, 7) });
        Assert.False(lies.Archiver!.LastArchivedIsThere);
        Assert.Contains(lies.Warnings, w => w.StartsWith($"pg_stat_archiver says that {Name(1, 7)} was archived, and it is not there", StringComparison.Ordinal));
        Assert.Equal("the archiver claims to have archived it", Assert.Single(lies.Problems).Detail);

        _ready.Add(Name(1, 7));
        var fails = Check("0/800000", claim: new WalArchiverClaim { LastArchived = Name(1, 6), IsFailing = true, LastFailed = Name(1, 7) });
        Assert.False(fails.IsHealthy);
        Assert.Empty(fails.Problems);
        Assert.StartsWith($"archive_command fails for {Name(1, 7)}", Assert.Single(fails.Warnings));
    }

    [Fact]
    public void An_emptied_archive_misses_what_was_archived()
    {
        _ready.Add(Name(1, 8));

        var report = Check("0/900000", claim: new WalArchiverClaim { LastArchived = Name(1, 7) });

        Assert.Equal([WalSegmentState.Missing, WalSegmentState.Waiting], report.Segments.Select(s => s.State));
        Assert.Null(report.LastRecoverable);
    }

    [Fact]
    public void Growth_is_that_of_the_last_week_and_the_forecast_goes_on_with_it()
    {
        // One a day for 20 days, and from 2 days ago on two more a day.
        for (var day = 20; day >= 1; day--)
        {
            Put(Name(1, 40 - (2 * day)), Head(Name(1, 40 - (2 * day))), time: Now - TimeSpan.FromDays(day));
        }

        Put(Name(1, 37), Head(Name(1, 37)), time: Now - TimeSpan.FromDays(1.5));
        var report = Check("0/2800000", free: 16L * (Size / 2));

        Assert.Equal(TimeSpan.FromDays(7), report.GrowthPeriod);
        Assert.Equal(1, report.SegmentsPerDay); // 6 whole days and the extra one
        Assert.Equal(Size / 2, report.BytesPerDay); // half of it is holes
        Assert.Equal(Now + TimeSpan.FromDays(16), report.DiskFullAt);
        Assert.Equal(21 * (Size / 2), report.DiskSize);
    }

    [Fact]
    public void An_archive_of_less_than_an_hour_has_no_growth()
    {
        Add(1, 4, 9);

        var report = Check("0/A00000", free: 1 << 30);

        Assert.Null(report.GrowthPeriod);
        Assert.Null(report.BytesPerDay);
        Assert.Null(report.DiskFullAt);
    }

    [Fact]
    public void Thousands_of_faults_are_not_thousands_of_sentences()
    {
        for (var number = 0; number < 200; number += 2)
        {
            Add(1, number, number);
        }

        var report = Check("0/C700000");

        Assert.Equal(99, report.Missing);
        Assert.Equal(21, report.Warnings.Count);
        Assert.Equal("And 79 more stretches like these; Problems has each segment.", report.Warnings[^1]);
    }

    private static string Name(uint timeline, int number) => new WalSegment(timeline, (ulong)number, Size).Name;

    private static byte[] Head(string name, ulong cluster = FakeWal.Cluster, ushort magic = 0xD110, uint? timeline = null, ulong? address = null) =>
        FakeWal.Segment(name, cluster, magic, timeline, address, size: 40);

    private void Add(uint timeline, int first, int last)
    {
        for (var number = first; number <= last; number++)
        {
            Put(Name(timeline, number), Head(Name(timeline, number)));
        }
    }

    private void Put(string name, byte[] head, long size = Size, DateTimeOffset? time = null)
    {
        _files.Add(new ArchiveFile(WalFile.Of(name, Size), size, size / 2, time ?? Now - TimeSpan.FromMinutes(5)));
        _heads[name] = head;
    }

    private WalArchiveReport Check(string? end, uint timeline = 1, string? needed = null, WalArchiverClaim? claim = null, long? free = null) => ArchiveCheck.Of(new ArchiveFacts
    {
        Server = TestStandby.On(new FakeRemoteHost("primary")) with { IsStandby = needed is not null, WalSegmentSize = Size },
        Path = "/srv/archive",
        Listing = new ArchiveListing { Time = Now, Files = _files, Histories = _histories, OwnHistories = _own, Ready = _ready, DiskFree = free },
        Heads = _heads,
        Unpacked = _unpacked,
        Cluster = FakeWal.Cluster,
        Timeline = timeline,
        End = end is null ? null : Lsn.Parse(end),
        NeededFrom = needed is null ? null : Lsn.Parse(needed),
        Archiver = claim,
    });
}
