using System.Buffers.Binary;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>
/// Takes the inserted tuple out of the raw bytes of a Heap INSERT, which pg_waldump does not print.
/// Source: src/include/access/xlogrecord.h, xlog_internal.h, heapam_xlog.h; DecodeXLogRecord and RestoreBlockImage in xlogreader.c.
/// </summary>
internal static class WalInsert
{
    private const int Page = 8192;
    private const int RecordHeader = 24;

    /// <summary>How many bytes of a segment hold a record of this length that starts here, page headers included, at most.</summary>
    public static long Span(long length) => length + (((length / (Page - 24)) + 2) * 40);

    /// <summary>The tuple; null where the bytes are not such a record, or its page image is compressed in a way that is not read here (zstd).</summary>
    public static HeapTuple? Tuple(ReadOnlySpan<byte> raw, Lsn at, int length, long segmentSize, int major)
    {
        var record = WithoutPageHeaders(raw, at, length, segmentSize);
        return record is null ? null : Tuple(record, major);
    }

    // The first page of a segment has a header of 40 bytes, the others of 24.
    internal static byte[]? WithoutPageHeaders(ReadOnlySpan<byte> raw, Lsn at, int length, long segmentSize)
    {
        var record = new byte[length];
        var (read, done, position) = (0, 0, at.Value);
        while (done < length)
        {
            if (position % Page == 0)
            {
                var header = position % (ulong)segmentSize == 0 ? 40 : 24;
                read += header;
                position += (ulong)header;
            }

            var take = Math.Min(length - done, (int)(Page - (position % Page)));
            if (read + take > raw.Length)
            {
                return null;
            }

            raw.Slice(read, take).CopyTo(record.AsSpan(done));
            (read, done, position) = (read + take, done + take, position + (ulong)take);
        }

        return record;
    }

    private static HeapTuple? Tuple(ReadOnlySpan<byte> record, int major)
    {
        if (record.Length < RecordHeader || BinaryPrimitives.ReadUInt32LittleEndian(record) != record.Length)
        {
            return null;
        }

        // Headers: of the blocks, then of the main data, until what is left is exactly what they announce.
        var reader = new Reader(record[RecordHeader..]);
        var blocks = new List<(int ImageLength, int HoleOffset, int HoleLength, byte Info, int DataLength)>();
        var (mainLength, announced) = (-1, 0);
        while (mainLength < 0 && reader.Left > announced)
        {
            var id = reader.Byte();
            switch (id)
            {
                case 255:
                    mainLength = reader.Byte();
                    break;
                case 254:
                    mainLength = (int)reader.UInt32();
                    break;
                case 253:
                    reader.Skip(2);
                    break;
                case 252:
                    reader.Skip(4);
                    break;
                case <= 32:
                    var flags = reader.Byte();
                    var dataLength = reader.UInt16();
                    var (imageLength, holeOffset, holeLength, info) = (0, 0, 0, (byte)0);
                    if ((flags & 0x10) != 0)
                    {
                        (imageLength, holeOffset, info) = (reader.UInt16(), reader.UInt16(), reader.Byte());
                        holeLength = (info & 1) == 0 ? 0 : Compression(info, major) != 'n' ? reader.UInt16() : Page - imageLength;
                    }

                    reader.Skip((flags & 0x80) == 0 ? 12 + 4 : 4);
                    blocks.Add((imageLength, holeOffset, holeLength, info, dataLength));
                    announced += imageLength + dataLength;
                    break;
                default:
                    return null;
            }
        }

        if (mainLength < 3 || reader.Failed || blocks.Count == 0 || reader.Left != announced + mainLength)
        {
            return null;
        }

        var first = blocks[0];
        var image = reader.Take(first.ImageLength);
        var data = reader.Take(first.DataLength);
        reader.Skip(reader.Left - mainLength);
        var offset = reader.UInt16();
        if (first.DataLength > 0)
        {
            return HeapTuple.InRecord(data);
        }

        if (first.HoleOffset + first.HoleLength > Page)
        {
            return null;
        }

        // With a full page image the tuple is on the page only.
        var page = new byte[Page];
        var content = new byte[Page - first.HoleLength];
        var restored = Compression(first.Info, major) switch
        {
            'n' => image.Length == content.Length && image.TryCopyTo(content),
            'p' => Compressed.Pglz(image, content),
            'l' => Compressed.Lz4(image, content),
            _ => false,
        };
        if (!restored)
        {
            return null;
        }

        content.AsSpan(0, first.HoleOffset).CopyTo(page);
        content.AsSpan(first.HoleOffset).CopyTo(page.AsSpan(first.HoleOffset + first.HoleLength));
        return HeapTuple.OnPage(page, offset);
    }

    // none, pglz, lz4, zstd: the bits changed their meaning in 15.
    private static char Compression(byte info, int major) =>
        !PgVersion.NamesImageCompression(major) ? ((info & 2) != 0 ? 'p' : 'n')
        : (info & 4) != 0 ? 'p' : (info & 8) != 0 ? 'l' : (info & 16) != 0 ? 'z' : 'n';

    private ref struct Reader(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _rest = bytes;

        public readonly int Left => _rest.Length;

        public bool Failed { get; private set; }

        public byte Byte() => Take(1) is { Length: 1 } one ? one[0] : (byte)0;

        public ushort UInt16() => Take(2) is { Length: 2 } two ? BinaryPrimitives.ReadUInt16LittleEndian(two) : (ushort)0;

        public uint UInt32() => Take(4) is { Length: 4 } four ? BinaryPrimitives.ReadUInt32LittleEndian(four) : 0;

        public void Skip(int count) => Take(count);

        public ReadOnlySpan<byte> Take(int count)
        {
            if (count < 0 || count > _rest.Length)
            {
                Failed = true;
                _rest = [];
                return [];
            }

            var taken = _rest[..count];
            _rest = _rest[count..];
            return taken;
        }
    }
}

/// <summary>The two compressions of page images that are short to undo.</summary>
internal static class Compressed
{
    /// <summary>PostgreSQL's own. Source: src/common/pg_lzcompress.c.</summary>
    public static bool Pglz(ReadOnlySpan<byte> from, Span<byte> to)
    {
        var (read, written) = (0, 0);
        while (read < from.Length && written < to.Length)
        {
            var control = from[read++];
            for (var bit = 0; bit < 8 && read < from.Length && written < to.Length; bit++, control >>= 1)
            {
                if ((control & 1) == 0)
                {
                    to[written++] = from[read++];
                    continue;
                }

                if (read + 1 >= from.Length)
                {
                    return false;
                }

                var length = (from[read] & 0x0F) + 3;
                var distance = ((from[read] & 0xF0) << 4) | from[read + 1];
                read += 2;
                if (length == 18)
                {
                    if (read >= from.Length)
                    {
                        return false;
                    }

                    length += from[read++];
                }

                if (!Repeat(to, ref written, distance, Math.Min(length, to.Length - written)))
                {
                    return false;
                }
            }
        }

        return written == to.Length && read == from.Length;
    }

    /// <summary>An LZ4 block, as its format description has it.</summary>
    public static bool Lz4(ReadOnlySpan<byte> from, Span<byte> to)
    {
        var (read, written) = (0, 0);
        while (read < from.Length)
        {
            var token = from[read++];
            if (!Length(from, ref read, token >> 4, out var literals) || read + literals > from.Length || written + literals > to.Length)
            {
                return false;
            }

            from.Slice(read, literals).CopyTo(to[written..]);
            (read, written) = (read + literals, written + literals);
            if (read == from.Length)
            {
                return written == to.Length;
            }

            if (read + 2 > from.Length)
            {
                return false;
            }

            var distance = BinaryPrimitives.ReadUInt16LittleEndian(from[read..]);
            read += 2;
            if (!Length(from, ref read, token & 0x0F, out var match) || written + match + 4 > to.Length || !Repeat(to, ref written, distance, match + 4))
            {
                return false;
            }
        }

        return false;
    }

    private static bool Length(ReadOnlySpan<byte> from, ref int read, int start, out int length)
    {
        length = start;
        if (start < 15)
        {
            return true;
        }

        while (read < from.Length)
        {
            var more = from[read++];
            length += more;
            if (more != 255)
            {
                return true;
            }
        }

        return false;
    }

    // Source and target overlap by design: what was just written is read again.
    private static bool Repeat(Span<byte> to, ref int written, int distance, int length)
    {
        if (distance < 1 || distance > written)
        {
            return false;
        }

        for (; length > 0; length--, written++)
        {
            to[written] = to[written - distance];
        }

        return true;
    }
}
