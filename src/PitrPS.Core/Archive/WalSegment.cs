using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// One segment of the WAL: its timeline, its number from the beginning of the cluster's life, and the cluster's segment size in bytes.
/// Source: src/include/access/xlog_internal.h (XLogFileName, XLByteToSeg).
/// </summary>
internal readonly record struct WalSegment(uint Timeline, ulong Number, long Size)
{
    /// <summary>initdb's default, 16 MiB.</summary>
    public const long DefaultSize = 16 << 20;

    /// <summary>Where it begins.</summary>
    public Lsn Start => new(Number * (ulong)Size);

    /// <summary>Where the next one begins.</summary>
    public Lsn End => new((Number + 1) * (ulong)Size);

    public WalSegment Next => this with { Number = Number + 1 };

    /// <summary>24 hexadecimal digits: timeline, the LSN's upper half, the segment within it.</summary>
    public string Name => string.Create(CultureInfo.InvariantCulture, $"{Timeline:X8}{Number / PerHighHalf(Size):X8}{Number % PerHighHalf(Size):X8}");

    /// <summary>The segment that holds the byte at this position.</summary>
    public static WalSegment At(Lsn lsn, uint timeline, long size = DefaultSize)
    {
        RequireSize(size);
        return new WalSegment(timeline, lsn.Value / (ulong)size, size);
    }

    /// <summary>
    /// The segment that holds the byte before this position: where something ends (a record, a backup, pg_switch_wal()), a boundary belongs to what is before it.
    /// </summary>
    public static WalSegment Before(Lsn lsn, uint timeline, long size = DefaultSize) => At(new Lsn(lsn.Value == 0 ? 0 : lsn.Value - 1), timeline, size);

    /// <summary>All segments of the timeline from the one that holds <paramref name="first"/> to the one that holds the byte before <paramref name="end"/>.</summary>
    public static IEnumerable<WalSegment> Range(Lsn first, Lsn end, uint timeline, long size = DefaultSize)
    {
        for (var segment = At(first, timeline, size); segment.Start < end; segment = segment.Next)
        {
            yield return segment;
        }
    }

    /// <summary>Reads a segment's name; false for anything else, also for a number that this segment size cannot have.</summary>
    public static bool TryParse(string? name, long size, out WalSegment segment)
    {
        RequireSize(size);
        segment = default;
        if (name is not { Length: 24 } || !IsUpperHex(name))
        {
            return false;
        }

        var timeline = Hex(name, 0);
        var low = Hex(name, 16);
        if (timeline == 0 || low >= PerHighHalf(size))
        {
            return false;
        }

        segment = new WalSegment(timeline, Hex(name, 8) * PerHighHalf(size) + low, size);
        return true;
    }

    /// <exception cref="FormatException">It is not the name of a segment.</exception>
    public static WalSegment Parse(string name, long size = DefaultSize) =>
        TryParse(name, size, out var segment) ? segment : throw new FormatException($"'{name}' is not the name of a WAL segment of {size} bytes.");

    /// <summary>Its name.</summary>
    public override string ToString() => Name;

    internal static bool IsUpperHex(ReadOnlySpan<char> text) => text.IndexOfAnyExcept("0123456789ABCDEF") < 0;

    internal static uint Hex(string name, int start) => uint.Parse(name.AsSpan(start, 8), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static ulong PerHighHalf(long size) => 0x1_0000_0000UL / (ulong)size;

    private static void RequireSize(long size)
    {
        if (size is < 1 << 20 or > 1 << 30 || !System.Numerics.BitOperations.IsPow2(size))
        {
            throw new ArgumentOutOfRangeException(nameof(size), size, "A WAL segment has 1 MiB to 1 GiB, a power of two.");
        }
    }
}
