using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>An AccessExclusiveLock in the WAL. <paramref name="TransactionId"/> is the subtransaction that took it; in the snapshots that repeat held locks, the top-level one.</summary>
/// <param name="At">Where the record starts.</param>
/// <param name="TransactionId">Who holds it.</param>
/// <param name="Database">Oid of the database; 0 for a shared relation.</param>
/// <param name="Relation">pg_class.oid.</param>
/// <param name="IsRepeated">True in a snapshot: the lock was taken before this record, and perhaps before the range.</param>
internal sealed record WalLock(Lsn At, uint TransactionId, uint Database, uint Relation, bool IsRepeated = false);

/// <summary>A relation's file, tablespace left out.</summary>
internal readonly record struct WalFileNode(uint Database, uint FileNode);

/// <summary>The statistics of a relation that a commit drops: from 15 on the plainest sign that the relation itself is dropped, by its oid.</summary>
internal readonly record struct DroppedRelation(uint Database, uint Relation);

/// <summary>A COMMIT, or the COMMIT PREPARED of a two-phase transaction, that touched relations or catalogs.</summary>
internal sealed record WalCommit(Lsn At, uint TransactionId, DateTimeOffset Time)
{
    /// <summary>The subtransactions that are committed with it.</summary>
    public IReadOnlyList<uint> Subtransactions { get; init; } = [];

    /// <summary>The files that it removes; those of temporary relations are not among them.</summary>
    public IReadOnlyList<WalFileNode> Files { get; init; } = [];

    /// <summary>From 15 on.</summary>
    public IReadOnlyList<DroppedRelation> DroppedRelations { get; init; } = [];

    /// <summary>All xids that it commits.</summary>
    public IEnumerable<uint> TransactionIds => Subtransactions.Prepend(TransactionId);

    /// <summary>The databases that it names.</summary>
    public IEnumerable<uint> Databases => Files.Select(f => f.Database).Concat(DroppedRelations.Select(d => d.Database)).Distinct();
}

/// <summary>
/// Reads the lines of pg_waldump, 13 to 17. Source: src/backend/access/rmgrdesc/xactdesc.c and standbydesc.c, src/common/relpath.c (GetRelationPath).
/// </summary>
internal static partial class WalRecords
{
    /// <summary>The awk condition for the lines that <see cref="Read"/> wants. A COMMIT without any of these changed data only.</summary>
    public const string Condition = "/ desc: LOCK / || (/ desc: COMMIT/ && /; (rels|dropped stats|inval msgs):/)";

    /// <summary>The records of one line; none where it is of no interest.</summary>
    public static IEnumerable<object> Read(string line)
    {
        var match = Head().Match(line);
        if (!match.Success)
        {
            yield break;
        }

        var at = Lsn.Parse(match.Groups["lsn"].Value);
        var text = line[(match.Index + match.Length)..];
        if (text.StartsWith("LOCK ", StringComparison.Ordinal) && match.Groups["rmgr"].Value == "Standby")
        {
            foreach (Match held in Held().Matches(text))
            {
                yield return new WalLock(at, Number(held.Groups[1]), Number(held.Groups[2]), Number(held.Groups[3]), IsRepeated: match.Groups["tx"].Value == "0");
            }
        }
        else if (Commit().Match(text) is { Success: true } commit && match.Groups["rmgr"].Value == "Transaction")
        {
            yield return ReadCommit(at, commit, commit.Groups["prepared"].Success ? Number(commit.Groups["prepared"]) : Number(match.Groups["tx"]), text);
        }
    }

    private static WalCommit ReadCommit(Lsn at, Match head, uint transaction, string text)
    {
        var time = DateTimeOffset.ParseExact(head.Groups["time"].Value, "yyyy-MM-dd HH:mm:ss.FFFFFF", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
        IReadOnlyList<uint> subtransactions = [];
        List<WalFileNode> files = [];
        List<DroppedRelation> dropped = [];
        foreach (var part in text.Split("; ").Skip(1))
        {
            var colon = part.IndexOf(": ", StringComparison.Ordinal);
            var words = colon < 0 ? [] : part[(colon + 2)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            switch (colon < 0 ? part : part[..colon])
            {
                case "subxacts":
                    subtransactions = [.. words.Select(w => uint.Parse(w, CultureInfo.InvariantCulture))];
                    break;
                case "rels":
                    files.AddRange(words.Select(FileOf).OfType<WalFileNode>());
                    break;
                case "dropped stats":
                    dropped.AddRange(words.Select(w => w.Split('/')).Where(w => w is ["2", _, _]).Select(w => new DroppedRelation(Number(w[1]), Number(w[2]))));
                    break;
            }
        }

        return new WalCommit(at, transaction, time) { Subtransactions = subtransactions, Files = files, DroppedRelations = dropped };
    }

    // base/5/16391 or pg_tblspc/16600/PG_15_202209061/5/16391; shared relations lie in global and temporary ones have a t in front.
    private static WalFileNode? FileOf(string path) =>
        path.Split('/') is [.., var database, var file] parts && parts[0] is "base" or "pg_tblspc"
        && uint.TryParse(database, NumberStyles.None, CultureInfo.InvariantCulture, out var db) && uint.TryParse(file, NumberStyles.None, CultureInfo.InvariantCulture, out var node)
            ? new WalFileNode(db, node)
            : null;

    private static uint Number(Capture text) => Number(text.Value);

    private static uint Number(string text) => uint.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@"^rmgr: (?<rmgr>\w+) .*?, tx: +(?<tx>\d+), lsn: (?<lsn>[0-9A-F]+/[0-9A-F]+), prev [0-9A-F]+/[0-9A-F]+, desc: ")]
    private static partial Regex Head();

    [GeneratedRegex(@"xid (\d+) db (\d+) rel (\d+)")]
    private static partial Regex Held();

    [GeneratedRegex(@"^COMMIT(?:_PREPARED (?<prepared>\d+):)? (?<time>\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC")]
    private static partial Regex Commit();
}
