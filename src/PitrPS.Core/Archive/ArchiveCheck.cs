using System.Buffers.Binary;
using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>All that was read of an archive and of the server that it belongs to.</summary>
internal sealed record ArchiveFacts
{
    public required PgServer Server { get; init; }

    public required string Path { get; init; }

    public required ArchiveListing Listing { get; init; }

    /// <summary>The beginnings of the files, by name.</summary>
    public IReadOnlyDictionary<string, byte[]> Heads { get; init; } = new Dictionary<string, byte[]>();

    /// <summary>The beginnings of what the compressed ones hold; empty for what cannot be unpacked, absent where the host cannot unpack it.</summary>
    public IReadOnlyDictionary<string, byte[]> Unpacked { get; init; } = new Dictionary<string, byte[]>();

    public ulong? Cluster { get; init; }

    /// <summary>The server's timeline.</summary>
    public required uint Timeline { get; init; }

    /// <summary>On a primary: the end of its WAL. On a standby: of what it has received or replayed. Null when the server does not say.</summary>
    public Lsn? End { get; init; }

    /// <summary>On a standby: its redo position.</summary>
    public Lsn? NeededFrom { get; init; }

    public WalArchiverClaim? Archiver { get; init; }

    /// <summary>Names and sizes are all that is known: of a repository whose files only its own tool reads.</summary>
    public bool IsListedOnly { get; init; }

    public bool IsStandby => NeededFrom is not null;
}

/// <summary>Holds what is in an archive against what should be there. Pure.</summary>
internal sealed class ArchiveCheck
{
    private readonly ArchiveFacts _facts;
    private readonly ArchiveListing _listing;
    private readonly long _size;
    private readonly List<string> _warnings = [];
    private readonly Dictionary<uint, TimelineHistory> _histories = [];
    private readonly TimelineHistory _way;
    private readonly Dictionary<(uint Timeline, ulong Number), List<ArchiveFile>> _files;
    private bool _isSound = true;
    private int _unopened;

    private ArchiveCheck(ArchiveFacts facts)
    {
        _facts = facts;
        _listing = facts.Listing;
        _size = facts.Server.WalSegmentSize;
        _files = _listing.Files.Select(f => (File: f, Wal: WalOf(f.File))).Where(f => f.Wal is { } wal && wal.End > (facts.NeededFrom ?? default))
            .GroupBy(f => (f.Wal!.Value.Timeline, f.Wal.Value.Number), f => f.File)
            .ToDictionary(g => g.Key, g => g.OrderBy(f => f.File is WalFile.Segment ? 0 : f.File is WalFile.Compressed ? 1 : 2).ThenBy(f => f.File.Name, StringComparer.Ordinal).ToList());
        _way = ReadHistories();
    }

    public static WalArchiveReport Of(ArchiveFacts facts) => new ArchiveCheck(facts).Report();

    /// <summary>
    /// The files whose beginning has to be read: those of the right size, because what is wrong with the others is known; of a standby from the segment on in which its redo position lies.
    /// </summary>
    public static IEnumerable<string> NeedsHead(ArchiveListing listing, long segmentSize, Lsn? neededFrom) => listing.Files
        .Where(f => (f.File is WalFile.Segment && f.Size == segmentSize) || (f.File is WalFile.Compressed && f.Size > 0))
        .Where(f => WalOf(f.File)!.Value.End > (neededFrom ?? default)).Select(f => f.File.Name);

    private WalArchiveReport Report()
    {
        var there = _files.Where(f => f.Value[0].File is not WalFile.Partial).ToDictionary(f => f.Key, f => Judge(f.Key.Timeline, f.Key.Number, f.Value));
        var expected = Expected(there);
        var segments = there.Values.Concat(expected.Where(e => !there.ContainsKey(e)).Select(e => Absent(e, there))).OrderBy(s => s.Start).ThenBy(s => s.Timeline).ToList();
        var problems = segments.Where(s => !s.IsRecoverable && s.State != WalSegmentState.Waiting || s.State == WalSegmentState.Duplicate).ToList();
        var waiting = segments.Where(s => s.State == WalSegmentState.Waiting).ToList();
        var (first, last) = Unbroken(expected, segments);
        var archiver = _facts.Archiver is { } claim
            ? claim with { LastArchivedIsThere = claim.LastArchived is { } name ? _listing.Files.Any(f => f.File.Name == name || (f.File is WalFile.Compressed packed && packed.Wal.Name == name)) : null }
            : null;
        Say(problems, waiting, archiver);
        var report = new WalArchiveReport
        {
            Server = _facts.Server,
            Path = _facts.Path,
            Time = _listing.Time,
            SystemIdentifier = _facts.Cluster,
            Timeline = _facts.Timeline,
            Segments = segments,
            Problems = problems,
            Found = segments.Count(s => s.IsRecoverable),
            Missing = segments.Count(s => s.State == WalSegmentState.Missing),
            Waiting = waiting.Count,
            Timelines = Timelines(),
            NeededFrom = _facts.NeededFrom,
            FirstRecoverable = first?.Start,
            FirstRecoverableTime = first?.Time,
            LastRecoverable = last is null ? null : last.Start + _size,
            LastRecoverableTime = last?.Time,
            Archiver = archiver,
            DiskSize = _listing.Files.Sum(f => f.DiskSize),
            DiskFree = _listing.DiskFree,
            IsHealthy = _isSound && problems.Count == 0 && archiver is not { IsFailing: true } and not { LastArchivedIsThere: false },
            Warnings = _warnings,
        };
        return WithGrowth(report, _listing);
    }

    /// <summary>How fast the archive grows, and when its disk is full.</summary>
    internal static WalArchiveReport WithGrowth(WalArchiveReport report, ArchiveListing listing)
    {
        var times = listing.Files.Select(f => f.Time).Where(t => t <= listing.Time).ToList();
        var begin = times.DefaultIfEmpty(listing.Time).Min();
        var week = listing.Time - TimeSpan.FromDays(7);
        begin = begin < week ? week : begin;
        var period = listing.Time - begin;
        if (period < TimeSpan.FromHours(1))
        {
            return report;
        }

        // What stands at the beginning of the period was not added in it.
        var added = listing.Files.Where(f => f.Time > begin).ToList();
        var bytes = added.Sum(f => f.DiskSize) / period.TotalDays;
        var days = bytes > 0 && listing.DiskFree is { } free ? free / bytes : double.PositiveInfinity;
        return report with
        {
            GrowthPeriod = period,
            SegmentsPerDay = Math.Round(added.Count(f => f.File is WalFile.Segment or WalFile.Compressed) / period.TotalDays, 1),
            BytesPerDay = (long)bytes,
            DiskFullAt = days < 36_525 ? listing.Time + TimeSpan.FromDays(days) : null,
        };
    }

    private static WalSegment? WalOf(WalFile file) => file switch
    {
        WalFile.Segment segment => segment.Wal,
        WalFile.Compressed compressed => compressed.Wal,
        WalFile.Partial partial => partial.Wal,
        _ => null,
    };

    // The server's way through the timelines. What the archive lacks of it the server's own pg_wal may have.
    private TimelineHistory ReadHistories()
    {
        foreach (var (timeline, text) in _listing.Histories.OrderBy(h => h.Key))
        {
            if (Parse(timeline, text) is { } history)
            {
                _histories[timeline] = history;
                if (_listing.OwnHistories.GetValueOrDefault(timeline) is { } ownText && TryParse(timeline, ownText) is { } own && !own.Ancestors.SequenceEqual(history.Ancestors))
                {
                    Bad($"{TimelineHistory.FileName(timeline)} in the archive says another ancestry than the server's own in pg_wal: {Ancestry(history)} instead of {Ancestry(own)}.");
                }
            }
        }

        foreach (var history in _histories.Values)
        {
            foreach (var (ancestor, _) in history.Ancestors)
            {
                if (_histories.TryGetValue(ancestor, out var its) && !its.Ancestors.SequenceEqual(history.Ancestors.TakeWhile(a => a.Timeline < ancestor)))
                {
                    Bad($"{TimelineHistory.FileName(history.Timeline)} and {TimelineHistory.FileName(ancestor)} contradict each other: timeline {ancestor} comes from {Ancestry(its)}, and in the former from {Ancestry(history)}.");
                }
            }
        }

        var now = _facts.Timeline;
        var empty = TimelineHistory.Parse(now, "");
        if (now == 1 || _histories.ContainsKey(now))
        {
            return _histories.GetValueOrDefault(now, empty);
        }

        if (!_listing.Histories.ContainsKey(now))
        {
            Bad($"{TimelineHistory.FileName(now)} is not in the archive: a server that restores from it does not find its way from an older timeline to {now}.");
        }

        return _listing.OwnHistories.GetValueOrDefault(now) is { } ours ? TryParse(now, ours) ?? empty : empty;
    }

    private TimelineHistory? Parse(uint timeline, string text)
    {
        try
        {
            var history = TimelineHistory.Parse(timeline, text);
            if (history.Ancestors.Count == 0 && timeline > 1)
            {
                throw new FormatException($"{TimelineHistory.FileName(timeline)}: it names no ancestor.");
            }

            return history;
        }
        catch (FormatException e)
        {
            Bad($"A history file of the archive is damaged. {e.Message}");
            return null;
        }
    }

    private static TimelineHistory? TryParse(uint timeline, string text)
    {
        try
        {
            return TimelineHistory.Parse(timeline, text);
        }
        catch (FormatException)
        {
            return null;
        }
    }

    private bool IsOnTheWay(uint timeline, ulong number) => _way.TimelinesIn(number, _size).Contains(timeline);

    private WalArchiveSegment Judge(uint timeline, ulong number, List<ArchiveFile> files)
    {
        var file = files[0];
        var segment = new WalSegment(timeline, number, _size);
        var (state, detail) = file.File is WalFile.Compressed packed ? OfCompressed(segment, packed, file.Size) : OfSegment(segment, file);
        if (state == WalSegmentState.Found && !IsOnTheWay(timeline, number))
        {
            state = WalSegmentState.WrongTimeline;
            detail = timeline > _facts.Timeline
                ? $"the server is on timeline {_facts.Timeline}, and knows nothing of this one"
                : $"the way to timeline {_facts.Timeline} leads over timeline {string.Join(" and ", _way.TimelinesIn(number, _size))} here";
        }

        if (state == WalSegmentState.Found && files.Count > 1)
        {
            state = WalSegmentState.Duplicate;
            detail = "also as " + string.Join(", ", files.Skip(1).Select(f => f.File.Name));
        }

        return new WalArchiveSegment { Name = file.File.Name, Timeline = timeline, Start = segment.Start, State = state, Size = file.Size, DiskSize = file.DiskSize, Time = file.Time, Detail = detail };
    }

    // The same questions, in another order, as pitrps-restore asks before a server gets a segment.
    private (WalSegmentState State, string? Detail) OfSegment(WalSegment segment, ArchiveFile file)
    {
        if (_facts.IsListedOnly)
        {
            return file.Size > 0 ? (WalSegmentState.Found, null) : (WalSegmentState.Short, "it is empty");
        }

        if (file.Size != _size)
        {
            return (file.Size < _size ? WalSegmentState.Short : WalSegmentState.Long, $"it has {file.Size} bytes, a segment has {_size}");
        }

        return _facts.Heads.TryGetValue(file.File.Name, out var head) && head.Length >= ArchiveListing.HeadSize ? OfPage(segment, head) : (WalSegmentState.Unreadable, "it cannot be read");
    }

    private (WalSegmentState State, string? Detail) OfPage(WalSegment segment, byte[] head)
    {
        if (head.All(b => b == 0))
        {
            return (WalSegmentState.Zeroed, "its first page is zeros");
        }

        var magic = BinaryPrimitives.ReadUInt16LittleEndian(head);
        var hasLongHeader = (head[2] & 2) != 0;
        var cluster = BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(24));
        if (magic >> 8 == 0xD1 && hasLongHeader && _facts.Cluster is { } ours && cluster != ours)
        {
            return (WalSegmentState.WrongCluster, $"it is of the cluster {cluster}, this is the archive of {ours}");
        }

        if (magic >> 8 != 0xD1 || !hasLongHeader || (PgVersion.WalMagic(_facts.Server.Version) is { } known && magic != known))
        {
            return (WalSegmentState.Damaged, $"its first page is not WAL of PostgreSQL {_facts.Server.Version} (magic {magic:x4})");
        }

        var address = new Lsn(BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(8)));
        if (address != segment.Start)
        {
            return (WalSegmentState.Damaged, $"its first page is the one at {address}, its name says {segment.Start}");
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(32)) is var size && size != _size)
        {
            return (WalSegmentState.Damaged, $"it says that segments have {size} bytes, this server's have {_size}");
        }

        // The first segment of a new timeline begins as a copy of its ancestor's.
        var page = BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(4));
        var history = segment.Timeline == _facts.Timeline ? _way : _histories.GetValueOrDefault(segment.Timeline);
        var isRight = history is null || (history.Ancestors.Count == 0 && segment.Timeline > 1) ? page >= 1 && page <= segment.Timeline : page == history.TimelineAt(segment.Start);
        return isRight ? (WalSegmentState.Found, null) : (WalSegmentState.WrongTimeline,
            $"its first page is of timeline {page}" + (history is null ? "" : $", at {segment.Start} that would be {history.TimelineAt(segment.Start)}"));
    }

    private (WalSegmentState State, string? Detail) OfCompressed(WalSegment segment, WalFile.Compressed file, long size)
    {
        if (size == 0)
        {
            return (WalSegmentState.Short, "it is empty");
        }

        if (!_facts.Heads.TryGetValue(file.Name, out var head) || head.Length == 0)
        {
            return (WalSegmentState.Unreadable, "it cannot be read");
        }

        if (head.All(b => b == 0))
        {
            return (WalSegmentState.Zeroed, "it begins with zeros");
        }

        byte[] magic = file.Suffix switch
        {
            ".zst" => [0x28, 0xB5, 0x2F, 0xFD],
            ".lz4" => [0x04, 0x22, 0x4D, 0x18],
            _ => [0x1F, 0x8B],
        };
        if (!head.AsSpan().StartsWith(magic))
        {
            return (WalSegmentState.Damaged, $"it is not compressed as {file.Suffix} says");
        }

        if (!_facts.Unpacked.TryGetValue(file.Name, out var page))
        {
            _unopened++;
            return (WalSegmentState.Found, "what it holds was not looked at");
        }

        return page.Length >= ArchiveListing.HeadSize ? OfPage(segment, page) : (WalSegmentState.Damaged, "it cannot be decompressed");
    }

    // One file for each number: where a timeline ends inside a segment, the segment of the one that goes on from there has all of both.
    private List<(uint Timeline, ulong Number)> Expected(Dictionary<(uint Timeline, ulong Number), WalArchiveSegment> there)
    {
        // What is not this cluster's, or not of its position, says nothing of where the archive begins and ends.
        var good = there.Where(s => s.Value.IsRecoverable).Select(s => s.Key.Number).ToList();
        var known = good.Concat(_listing.Ready.Append(_facts.Archiver?.LastArchived).Select(n => WalSegment.TryParse(n, _size, out var segment) ? segment : default(WalSegment?))
            .OfType<WalSegment>().Where(s => IsOnTheWay(s.Timeline, s.Number)).Select(s => s.Number)).DefaultIfEmpty(ulong.MaxValue);
        var needed = _facts.NeededFrom is { } from ? from.Value / (ulong)_size : ulong.MaxValue;
        var first = Math.Min(known.Min(), needed);
        var until = Math.Max(_facts.End is { } end ? end.Value / (ulong)_size : 0, good.Count > 0 ? good.Max() + 1 : 0);
        var expected = new List<(uint, ulong)>();
        for (var number = first; number < until; number++)
        {
            expected.Add((_way.TimelinesIn(number, _size).Last(), number));
        }

        return expected;
    }

    private WalArchiveSegment Absent((uint Timeline, ulong Number) wanted, Dictionary<(uint Timeline, ulong Number), WalArchiveSegment> there)
    {
        var segment = new WalSegment(wanted.Timeline, wanted.Number, _size);
        var isWaiting = _facts.IsStandby ? there.Keys.All(k => k.Number < wanted.Number || !IsOnTheWay(k.Timeline, k.Number)) : _listing.Ready.Contains(segment.Name);
        return new WalArchiveSegment
        {
            Name = segment.Name,
            Timeline = wanted.Timeline,
            Start = segment.Start,
            State = isWaiting ? WalSegmentState.Waiting : WalSegmentState.Missing,
            Detail = isWaiting ? "finished, and not archived yet"
                : _files.ContainsKey(wanted) ? "there is a .partial of it, which no server takes"
                : _facts.Archiver?.LastArchived is { } last && WalSegment.TryParse(last, _size, out var archived) && archived.Number >= wanted.Number && archived.Timeline == wanted.Timeline
                    ? "the archiver claims to have archived it" : null,
        };
    }

    // Around what the standby needs first; of a primary, whatever leads to the end.
    private (WalArchiveSegment? First, WalArchiveSegment? Last) Unbroken(List<(uint Timeline, ulong Number)> expected, List<WalArchiveSegment> segments)
    {
        var good = segments.Where(s => s.IsRecoverable).Select(s => (Key: (s.Timeline, s.Start.Value / (ulong)_size), Segment: s)).ToDictionary(s => s.Key, s => s.Segment);
        var line = expected.Select(e => good.GetValueOrDefault(e)).ToList();
        var anchor = line.FindLastIndex(s => s is not null);
        if (_facts.NeededFrom is { } from && expected.FindIndex(e => e.Number == from.Value / (ulong)_size) is var needed and >= 0)
        {
            anchor = needed;
        }

        if (anchor < 0 || line[anchor] is null)
        {
            return (null, null);
        }

        var (first, last) = (anchor, anchor);
        while (first > 0 && line[first - 1] is not null)
        {
            first--;
        }

        while (last + 1 < line.Count && line[last + 1] is not null)
        {
            last++;
        }

        return (line[first], line[last]);
    }

    private List<WalArchiveTimeline> Timelines()
    {
        var counts = _files.Where(f => f.Value[0].File is not WalFile.Partial).GroupBy(f => f.Key.Timeline).ToDictionary(g => g.Key, g => g.Count());
        var followed = _way.Ancestors.Select(a => a.Timeline).Append(_facts.Timeline).ToHashSet();
        return
        [
            .. counts.Keys.Concat(_listing.Histories.Keys).Concat(followed).Distinct().Order().Select(timeline =>
            {
                var history = timeline == _facts.Timeline ? _way : _histories.GetValueOrDefault(timeline);
                (uint Timeline, Lsn End)? parent = history is { Ancestors: [.., var left] } ? left
                    : followed.Contains(timeline) && _way.Ancestors.LastOrDefault(a => a.Timeline < timeline) is { Timeline: > 0 } known ? known : null;
                return new WalArchiveTimeline(timeline, parent?.Timeline, parent?.End, counts.GetValueOrDefault(timeline), _listing.Histories.ContainsKey(timeline), followed.Contains(timeline));
            }),
        ];
    }

    private void Say(List<WalArchiveSegment> problems, List<WalArchiveSegment> waiting, WalArchiverClaim? archiver)
    {
        const int most = 20;
        var groups = Groups(problems).ToList();
        _warnings.AddRange(groups.Take(most).Select(Sentence));
        if (groups.Count > most)
        {
            _warnings.Add($"And {groups.Count - most} more stretches like these; Problems has each segment.");
        }

        if (_unopened > 0)
        {
            _warnings.Add($"{_unopened} compressed segments could not be looked into: the host lacks the program that compressed them.");
        }

        if (archiver is { IsFailing: true })
        {
            _warnings.Add($"archive_command fails for {archiver.LastFailed}; the server's log says why. {waiting.Count} finished segments wait in pg_wal.");
        }
        else if (waiting.Count > 3)
        {
            _warnings.Add($"{waiting.Count} finished segments are not in the archive yet, the oldest is {waiting[0].Name}.");
        }

        if (archiver is { LastArchivedIsThere: false })
        {
            _warnings.Add($"pg_stat_archiver says that {archiver.LastArchived} was archived, and it is not there: archive_command reports success for what does not arrive, or puts it elsewhere.");
        }

        foreach (var ahead in _listing.Histories.Keys.Where(t => t > _facts.Timeline && _histories.TryGetValue(t, out var h) && h.Ancestors.Any(a => a.Timeline == _facts.Timeline)).Order())
        {
            Bad($"{TimelineHistory.FileName(ahead)} is in the archive and the server is on timeline {_facts.Timeline}: whoever recovers with recovery_target_timeline = latest (the default) follows it.");
        }
    }

    // Neighbours with the same fault are one sentence.
    private IEnumerable<List<WalArchiveSegment>> Groups(List<WalArchiveSegment> problems)
    {
        List<WalArchiveSegment> group = [];
        foreach (var problem in problems.OrderBy(p => p.Timeline).ThenBy(p => p.Start))
        {
            if (group.Count > 0 && (group[^1].State != problem.State || group[^1].Timeline != problem.Timeline || group[^1].Start + _size != problem.Start))
            {
                yield return group;
                group = [];
            }

            group.Add(problem);
        }

        if (group.Count > 0)
        {
            yield return group;
        }
    }

    private static string Sentence(List<WalArchiveSegment> group)
    {
        var what = group[0].State switch
        {
            WalSegmentState.Missing => "missing",
            WalSegmentState.Short => "too short",
            WalSegmentState.Long => "too long",
            WalSegmentState.WrongCluster => "of another cluster",
            WalSegmentState.WrongTimeline => "of a wrong timeline",
            WalSegmentState.Zeroed => "zeroed",
            WalSegmentState.Unreadable => "unreadable",
            WalSegmentState.Duplicate => "there twice",
            _ => "damaged",
        };
        var which = group.Count == 1 ? $"{group[0].Name} is {what}" : string.Create(CultureInfo.InvariantCulture, $"{group.Count} segments are {what}, {group[0].Name} to {group[^1].Name}");
        return group[0].Detail is { } detail ? $"{which}: {detail}{(group.Count == 1 ? "" : " (the first)")}." : which + ".";
    }

    private static string Ancestry(TimelineHistory history) => history.Ancestors.Count == 0 ? "nothing" : string.Join(", ", history.Ancestors.Select(a => $"{a.Timeline} up to {a.End}"));

    private void Bad(string warning)
    {
        _isSound = false;
        _warnings.Add(warning);
    }
}
