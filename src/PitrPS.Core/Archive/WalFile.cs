using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// What a file in an archive or in pg_wal is, told from its name alone. Exactly one of the nested kinds.
/// Source: src/include/access/xlog_internal.h (IsXLogFileName and its neighbours).
/// </summary>
internal abstract record WalFile(string Name)
{
    private static readonly string[] CompressedSuffixes = [".zst", ".lz4", ".gz"];

    /// <summary>A whole segment.</summary>
    public sealed record Segment(string Name, WalSegment Wal) : WalFile(Name);

    /// <summary>The last segment of a timeline that ended inside it; a promotion archives it. Never replayed as it is.</summary>
    public sealed record Partial(string Name, WalSegment Wal) : WalFile(Name);

    /// <summary>A whole segment that somebody has compressed; <paramref name="Suffix"/> says how.</summary>
    public sealed record Compressed(string Name, WalSegment Wal, string Suffix) : WalFile(Name);

    /// <summary>The ancestry of a timeline.</summary>
    public sealed record History(string Name, uint Timeline) : WalFile(Name);

    /// <summary>The label of a base backup that began at <paramref name="Start"/>.</summary>
    public sealed record Backup(string Name, WalSegment Wal, Lsn Start) : WalFile(Name);

    /// <summary>Anything else.</summary>
    public sealed record Other(string Name) : WalFile(Name);

    /// <summary>Reads a name. <paramref name="segmentSize"/> is in bytes.</summary>
    public static WalFile Of(string name, long segmentSize = WalSegment.DefaultSize)
    {
        if (WalSegment.TryParse(name, segmentSize, out var segment))
        {
            return new Segment(name, segment);
        }

        if (name.EndsWith(".partial", StringComparison.Ordinal) && WalSegment.TryParse(name[..^8], segmentSize, out segment))
        {
            return new Partial(name, segment);
        }

        if (name.Length > 25 && CompressedSuffixes.FirstOrDefault(x => name.EndsWith(x, StringComparison.Ordinal)) is { } suffix && WalSegment.TryParse(name[..^suffix.Length], segmentSize, out segment))
        {
            return new Compressed(name, segment, suffix);
        }

        if (name.Length == 16 && name.EndsWith(".history", StringComparison.Ordinal) && WalSegment.IsUpperHex(name.AsSpan(0, 8)) && WalSegment.Hex(name, 0) > 0)
        {
            return new History(name, WalSegment.Hex(name, 0));
        }

        if (name.Length == 40 && name.EndsWith(".backup", StringComparison.Ordinal) && name[24] == '.' && WalSegment.IsUpperHex(name.AsSpan(25, 8))
            && WalSegment.TryParse(name[..24], segmentSize, out segment))
        {
            return new Backup(name, segment, segment.Start + WalSegment.Hex(name, 25));
        }

        return new Other(name);
    }
}

/// <summary>
/// A timeline's ancestry: on which timeline each position of its WAL was written.
/// Source: src/backend/access/transam/timeline.c (readTimeLineHistory).
/// </summary>
internal sealed class TimelineHistory
{
    private readonly IReadOnlyList<(uint Timeline, Lsn End)> _ancestors;

    private TimelineHistory(uint timeline, IReadOnlyList<(uint, Lsn)> ancestors)
    {
        Timeline = timeline;
        _ancestors = ancestors;
    }

    public uint Timeline { get; }

    /// <summary>The timelines that it descends from, oldest first, each with the position where it was left.</summary>
    public IReadOnlyList<(uint Timeline, Lsn End)> Ancestors => _ancestors;

    public static string FileName(uint timeline) => string.Create(CultureInfo.InvariantCulture, $"{timeline:X8}.history");

    /// <summary>Reads a history file; timeline 1 has none, for it pass an empty text.</summary>
    /// <exception cref="FormatException">A line is not "timeline, position, reason", or they do not ascend.</exception>
    public static TimelineHistory Parse(uint timeline, string text)
    {
        var ancestors = new List<(uint Timeline, Lsn End)>();
        foreach (var line in text.Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0 && l[0] != '#'))
        {
            var words = line.Split((char[]?)null, 3, StringSplitOptions.RemoveEmptyEntries);
            if (words.Length < 2 || !uint.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out var ancestor) || !Lsn.TryParse(words[1], out var end))
            {
                throw new FormatException($"{FileName(timeline)}: '{line}' is not a timeline and a position.");
            }

            if (ancestor >= timeline || (ancestors.Count > 0 && ancestor <= ancestors[^1].Timeline))
            {
                throw new FormatException($"{FileName(timeline)}: timeline {ancestor} is out of order.");
            }

            ancestors.Add((ancestor, end));
        }

        return new TimelineHistory(timeline, ancestors);
    }

    /// <summary>The timeline on which the byte at this position was written.</summary>
    public uint TimelineAt(Lsn lsn)
    {
        foreach (var (timeline, end) in _ancestors)
        {
            if (lsn < end)
            {
                return timeline;
            }
        }

        return Timeline;
    }

    /// <summary>The timelines whose WAL a segment number holds, oldest first: more than one where a switch falls into it.</summary>
    public IEnumerable<uint> TimelinesIn(ulong number, long segmentSize)
    {
        var segment = new WalSegment(1, number, segmentSize);
        var begin = new Lsn(0);
        foreach (var (timeline, end) in _ancestors)
        {
            if (begin < segment.End && end > segment.Start)
            {
                yield return timeline;
            }

            begin = end;
        }

        if (begin < segment.End)
        {
            yield return Timeline;
        }
    }
}
