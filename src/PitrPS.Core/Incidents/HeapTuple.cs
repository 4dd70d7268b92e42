using System.Buffers.Binary;
using System.Text;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>A position in a table's heap, ctid.</summary>
internal readonly record struct TupleId(uint Block, ushort Offset)
{
    public override string ToString() => $"({Block},{Offset})";
}

/// <summary>
/// A heap tuple as it lies on a page or in a WAL record. Source: src/include/access/htup_details.h, storage/bufpage.h.
/// </summary>
/// <param name="Data">The columns.</param>
internal sealed record HeapTuple(byte[] Data)
{
    private const int HeaderSize = 23;
    private const int PageHeaderSize = 24;

    /// <summary>The tuple behind a line pointer of a page; null where there is none.</summary>
    public static HeapTuple? OnPage(ReadOnlySpan<byte> page, int offset)
    {
        var pointerAt = PageHeaderSize + (4 * (offset - 1));
        if (offset < 1 || pointerAt + 4 > page.Length)
        {
            return null;
        }

        var pointer = BinaryPrimitives.ReadUInt32LittleEndian(page[pointerAt..]);
        var (at, state, length) = ((int)(pointer & 0x7FFF), (pointer >> 15) & 3, (int)(pointer >> 17));
        if (state != 1 || length < HeaderSize || at + length > page.Length)
        {
            return null;
        }

        var hoff = page[at + HeaderSize - 1];
        return hoff < HeaderSize || hoff > length ? null : new HeapTuple(page.Slice(at + hoff, length - hoff).ToArray());
    }

    /// <summary>The tuple in a WAL record's block data: xl_heap_header, then the tuple from its null bitmap on.</summary>
    public static HeapTuple? InRecord(ReadOnlySpan<byte> blockData)
    {
        if (blockData.Length < 5)
        {
            return null;
        }

        var data = 5 + blockData[4] - HeaderSize;
        return data < 5 || data > blockData.Length ? null : new HeapTuple(blockData[data..].ToArray());
    }
}

/// <summary>A row of pg_class. All columns up to relkind are of fixed width and never null. Source: src/include/catalog/pg_class.h.</summary>
internal sealed record ClassRow(uint Oid, string Name, uint Namespace, uint FileNode, char Persistence, char Kind)
{
    public static ClassRow? From(HeapTuple? tuple, int major)
    {
        var kind = PgVersion.OffsetOfRelkind(major);
        var data = tuple?.Data ?? [];
        return data.Length <= kind ? null : new ClassRow(
            Number(data, 0), NameAt(data, 4), Number(data, 68), Number(data, 88), (char)data[kind - 1], (char)data[kind]);
    }

    internal static uint Number(byte[] data, int at) => BinaryPrimitives.ReadUInt32LittleEndian(data.AsSpan(at));

    internal static string NameAt(byte[] data, int at)
    {
        var name = data.AsSpan(at, 64);
        var end = name.IndexOf((byte)0);
        return Encoding.UTF8.GetString(end < 0 ? name : name[..end]);
    }
}

/// <summary>A row of pg_namespace. Source: src/include/catalog/pg_namespace.h.</summary>
internal sealed record NamespaceRow(uint Oid, string Name)
{
    public static NamespaceRow? From(HeapTuple? tuple) =>
        tuple is { Data.Length: >= 68 } ? new NamespaceRow(ClassRow.Number(tuple.Data, 0), ClassRow.NameAt(tuple.Data, 4)) : null;
}
