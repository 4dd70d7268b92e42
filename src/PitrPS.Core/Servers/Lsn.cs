using System.Globalization;

namespace PitrPS.Servers;

/// <summary>
/// A position in the write-ahead log: a byte offset from the beginning of the cluster's life. Written as PostgreSQL writes it, "0/3D6D260".
/// Source: PostgreSQL documentation, chapter "pg_lsn Type".
/// </summary>
public readonly record struct Lsn : IComparable<Lsn>, IComparable
{
    /// <summary>Makes a position from its byte offset.</summary>
    /// <param name="value">Bytes.</param>
    public Lsn(ulong value) => Value = value;

    /// <summary>The offset in bytes.</summary>
    public ulong Value { get; }

    /// <summary>Reads "X/Y", two hexadecimal numbers of at most eight digits each.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="FormatException">It is not such a text.</exception>
    public static Lsn Parse(string text) =>
        TryParse(text, out var lsn) ? lsn : throw new FormatException($"'{text}' is not a WAL position (LSN), which looks like 0/3D6D260.");

    /// <summary>Reads "X/Y" and says whether it was one.</summary>
    /// <param name="text">The text.</param>
    /// <param name="lsn">The position.</param>
    public static bool TryParse(string? text, out Lsn lsn)
    {
        lsn = default;
        var parts = text?.Split('/');
        if (parts is not { Length: 2 } || parts[0].Length is 0 or > 8 || parts[1].Length is 0 or > 8
            || !uint.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var high)
            || !uint.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var low))
        {
            return false;
        }

        lsn = new Lsn(((ulong)high << 32) | low);
        return true;
    }

    /// <summary>Bytes from <paramref name="right"/> to <paramref name="left"/>; negative when left is earlier.</summary>
    /// <param name="left">The later position.</param>
    /// <param name="right">The earlier position.</param>
    public static long operator -(Lsn left, Lsn right) => (long)(left.Value - right.Value);

    /// <summary>The position so many bytes on.</summary>
    /// <param name="left">A position.</param>
    /// <param name="bytes">Bytes.</param>
    public static Lsn operator +(Lsn left, long bytes) => new(left.Value + (ulong)bytes);

    /// <summary>Earlier.</summary>
    public static bool operator <(Lsn left, Lsn right) => left.Value < right.Value;

    /// <summary>Later.</summary>
    public static bool operator >(Lsn left, Lsn right) => left.Value > right.Value;

    /// <summary>Earlier or the same.</summary>
    public static bool operator <=(Lsn left, Lsn right) => left.Value <= right.Value;

    /// <summary>Later or the same.</summary>
    public static bool operator >=(Lsn left, Lsn right) => left.Value >= right.Value;

    /// <inheritdoc/>
    public int CompareTo(Lsn other) => Value.CompareTo(other.Value);

    /// <inheritdoc/>
    public int CompareTo(object? obj) => obj is Lsn other ? CompareTo(other) : obj is null ? 1 : throw new ArgumentException("Only an LSN compares with an LSN.", nameof(obj));

    /// <summary>"X/Y" as PostgreSQL writes it.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Value >> 32:X}/{Value & 0xFFFFFFFF:X}");
}
