using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>What happened to a row of a catalog.</summary>
internal enum RowChange
{
    Insert,
    Update,
    Delete,
}

/// <summary>A Heap record on a catalog's table.</summary>
/// <param name="At">Where it starts.</param>
/// <param name="Length">Its length in bytes, page image included.</param>
/// <param name="TransactionId">The (sub)transaction.</param>
/// <param name="Change">What it does.</param>
/// <param name="File">The catalog's file.</param>
/// <param name="Row">The row that is inserted or deleted; of an update the old one.</param>
/// <param name="NewRow">Of an update the new one.</param>
internal sealed record CatalogChange(Lsn At, int Length, uint TransactionId, RowChange Change, WalFileNode File, TupleId Row, TupleId NewRow);

/// <summary>
/// The changes of pg_class and pg_namespace in the WAL: the rows that DROP deletes and CREATE inserts. They settle what the records of transactions and locks leave open:
/// on 13 and 14, whether a locked table was dropped or only rewritten; on all, the names of tables that are younger than the standby's catalogs.
/// Source: src/backend/access/rmgrdesc/heapdesc.c.
/// </summary>
internal sealed partial class ClassJournal(IWalReader reader, int major, long segmentSize)
{
    // Starting pg_waldump again costs about as much as reading on for so many bytes.
    private const long Nearby = 64 << 20;

    /// <summary>All changes of a catalog's file in these stretches, in order.</summary>
    public async Task<IReadOnlyList<CatalogChange>> ReadAsync(IEnumerable<(Lsn From, Lsn To)> stretches, WalFileNode file, CancellationToken cancel)
    {
        var filter = WalFilter.Of(major, ["Heap"], string.Create(CultureInfo.InvariantCulture, $"/ desc: (INSERT|UPDATE|HOT_UPDATE|DELETE)/ && /: rel [0-9]+\\/{file.Database}\\/{file.FileNode} blk/"));
        var changes = new Dictionary<Lsn, CatalogChange>();
        foreach (var (from, to) in Merge(stretches))
        {
            await reader.ReadAsync(from, to, filter, line =>
            {
                if (Read(line) is { } change && change.File == file)
                {
                    changes[change.At] = change;
                }
            }, cancel).ConfigureAwait(false);
        }

        return [.. changes.Values.OrderBy(c => c.At)];
    }

    /// <summary>The rows that these INSERTs bring; null for one that could not be read.</summary>
    public async Task<IReadOnlyList<HeapTuple?>> TuplesAsync(IReadOnlyList<CatalogChange> inserts, CancellationToken cancel)
    {
        if (inserts.Count == 0)
        {
            return [];
        }

        var raw = await reader.BytesAsync([.. inserts.Select(i => (i.At, WalInsert.Span(i.Length)))], cancel).ConfigureAwait(false);
        return [.. inserts.Select((insert, i) => WalInsert.Tuple(raw[i], insert.At, insert.Length, segmentSize, major))];
    }

    internal static CatalogChange? Read(string line)
    {
        var head = Head().Match(line);
        if (!head.Success)
        {
            return null;
        }

        var blocks = BlockReference().Matches(line);
        var offsets = Offsets().Matches(line);
        if (blocks.Count == 0 || offsets.Count == 0)
        {
            return null;
        }

        var change = head.Groups["op"].Value switch { "INSERT" => RowChange.Insert, "DELETE" => RowChange.Delete, _ => RowChange.Update };
        var file = new WalFileNode(Number(blocks[0].Groups["db"]), Number(blocks[0].Groups["node"]));
        // An update names the new page first and the old one only when it is another.
        var newBlock = Number(blocks[0].Groups["blk"]);
        var row = new TupleId(change == RowChange.Update ? Number(blocks[^1].Groups["blk"]) : newBlock, (ushort)Number(offsets[0].Groups[1]));
        var newRow = change == RowChange.Update && offsets.Count > 1 ? new TupleId(newBlock, (ushort)Number(offsets[1].Groups[1])) : row;
        return new CatalogChange(Lsn.Parse(head.Groups["lsn"].Value), (int)Number(head.Groups["len"]), Number(head.Groups["tx"]), change, file, row, newRow);
    }

    private static IEnumerable<(Lsn From, Lsn To)> Merge(IEnumerable<(Lsn From, Lsn To)> stretches)
    {
        (Lsn From, Lsn To)? open = null;
        foreach (var next in stretches.OrderBy(s => s.From))
        {
            if (open is { } was && next.From - was.To <= Nearby)
            {
                open = (was.From, next.To > was.To ? next.To : was.To);
                continue;
            }

            if (open is { } done)
            {
                yield return done;
            }

            open = next;
        }

        if (open is { } last)
        {
            yield return last;
        }
    }

    private static uint Number(Group text) => uint.Parse(text.Value, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^rmgr: Heap +len \(rec/tot\): +\d+/ +(?<len>\d+), tx: +(?<tx>\d+), lsn: (?<lsn>[0-9A-F]+/[0-9A-F]+), prev [0-9A-F]+/[0-9A-F]+, desc: (?:HOT_)?(?<op>INSERT|UPDATE|DELETE)(?:\+INIT)? ")]
    private static partial Regex Head();

    [GeneratedRegex(@"blkref #\d+: rel \d+/(?<db>\d+)/(?<node>\d+) blk (?<blk>\d+)")]
    private static partial Regex BlockReference();

    // "off 2 xmax 538 flags 0x00 ; new off 32" up to 15; "old_off: 2, ... new_off: 32" and "off: 2" from 16 on.
    [GeneratedRegex(@"\b(?:old_|new_|new )?off:? (\d+)")]
    private static partial Regex Offsets();
}
