using System.Globalization;
using System.Text;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Tests.Incidents;

public sealed class WalInsertTests
{
    private const long SegmentSize = 16 << 20;

    /// <summary>Records with full page images, whole and compressed, as real servers wrote them.</summary>
    public static TheoryData<int, string> Images()
    {
        var data = new TheoryData<int, string>();
        foreach (var words in Samples.Lines("page-images.txt").Select(l => l.Split(' ')))
        {
            data.Add(int.Parse(words[0], CultureInfo.InvariantCulture), words[1]);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Takes_the_row_out_of_a_page_image(int major, string name)
    {
        var (at, length, raw) = Image(major, name);

        var row = ClassRow.From(WalInsert.Tuple(raw, at, length, SegmentSize, major), major);

        if (name.EndsWith("zstd", StringComparison.Ordinal))
        {
            Assert.Null(row);
            return;
        }

        Assert.Equal(name, row?.Name);
        Assert.Equal((2200u, 'r', 'p'), (row!.Namespace, row.Kind, row.Persistence));
        Assert.Equal(row.Oid, row.FileNode);
    }

    [Theory]
    [MemberData(nameof(Images))]
    public void Gives_null_for_damaged_bytes_and_never_reads_beyond_them(int major, string name)
    {
        var (at, length, raw) = Image(major, name);
        var random = new Random(42);
        for (var i = 0; i < 2000; i++)
        {
            var damaged = raw.ToArray();
            damaged[random.Next(damaged.Length)] ^= (byte)(1 << random.Next(8));
            damaged[random.Next(60)] = (byte)random.Next(256);

            WalInsert.Tuple(damaged, at, length, SegmentSize, major);
        }

        Assert.Null(WalInsert.Tuple(raw.AsSpan(0, 100), at, length, SegmentSize, major));
        Assert.Null(WalInsert.Tuple([], at, length, SegmentSize, major));
    }

    [Theory]
    // Inside a page; over a page's end, with a short header between; over a segment's end, with a long one; starting right behind a header.
    [InlineData(0x1000100, 200)]
    [InlineData(0x1001F80, 400)]
    [InlineData(0x1FFFF80, 400)]
    [InlineData(0x1FFFFF8, 20000)]
    [InlineData(0x2000028, 8152)]
    public void Leaves_the_page_headers_out(ulong at, int length)
    {
        var raw = new List<byte>();
        var expected = new List<byte>();
        for (var position = at; expected.Count < length;)
        {
            if (position % 8192 == 0)
            {
                var header = position % (ulong)SegmentSize == 0 ? 40 : 24;
                raw.AddRange(Enumerable.Repeat((byte)0xEE, header));
                position += (ulong)header;
            }

            expected.Add((byte)expected.Count);
            raw.Add(expected[^1]);
            position++;
        }

        Assert.Equal(expected, WalInsert.WithoutPageHeaders(raw.ToArray(), new Lsn(at), length, SegmentSize));
        Assert.True(WalInsert.Span(length) >= raw.Count);
    }

    [Theory]
    [InlineData("\0ABCDEFGH", "ABCDEFGH")]
    // A match that overlaps what it writes: three letters repeated over nine.
    [InlineData("\u0008ABC\u0006\u0003", "ABCABCABCABC")]
    public void Undoes_pglz(string packed, string plain)
    {
        var result = new byte[plain.Length];

        Assert.True(Compressed.Pglz(Encoding.Latin1.GetBytes(packed), result));
        Assert.Equal(plain, Encoding.Latin1.GetString(result));
    }

    [Theory]
    [InlineData("\u0050Hello", "Hello")]
    [InlineData("\u0035abc\u0003\0\u0020xy", "abcabcabcabcxy")]
    public void Undoes_lz4(string packed, string plain)
    {
        var result = new byte[plain.Length];

        Assert.True(Compressed.Lz4(Encoding.Latin1.GetBytes(packed), result));
        Assert.Equal(plain, Encoding.Latin1.GetString(result));
    }

    private static (Lsn At, int Length, byte[] Raw) Image(int major, string name)
    {
        var words = Samples.Lines("page-images.txt").Select(l => l.Split(' ')).Single(w => w[0] == major.ToString(CultureInfo.InvariantCulture) && w[1] == name);
        return (Lsn.Parse(words[2]), int.Parse(words[3], CultureInfo.InvariantCulture), Convert.FromBase64String(words[4]));
    }
}
