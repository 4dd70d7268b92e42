using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>A relation that a transaction in progress holds locked against every reader, at a recovery's target.</summary>
/// <param name="Database">The database; null for a shared relation.</param>
/// <param name="Schema">The schema; null where the delayed standby's catalogs do not know the relation.</param>
/// <param name="Name">The name, or "relation OID" where the catalogs do not know it: it was made after the position at which the standby stands.</param>
/// <param name="Oid">pg_class.oid.</param>
/// <param name="TransactionId">Who holds it; of a subtransaction its own number.</param>
/// <param name="LockedAt">The first record that says so. A target before it finds the relation readable.</param>
/// <param name="IsPrepared">A two-phase transaction holds it: it is still locked on a promoted server, until ROLLBACK PREPARED there.</param>
public sealed record LockedTable(string? Database, string? Schema, string Name, uint Oid, uint TransactionId, Lsn LockedAt, bool IsPrepared)
{
    /// <summary>schema.name.</summary>
    public override string ToString() => Schema is null ? Name : $"{Schema}.{Name}";
}

/// <summary>
/// What a server finds that stops at a target and stays in recovery there. A way that promotes needs none of it: what is in progress is rolled back, and no session takes part in the replay.
/// </summary>
internal sealed record TargetConditions
{
    /// <summary>What nobody can read there.</summary>
    public IReadOnlyList<LockedTable> Locked { get; init; } = [];

    /// <summary>Why nobody can connect there, where a pause at the target would promote; null where hot standby is active.</summary>
    public string? NoHotStandby { get; init; }

    /// <summary>What the server has to be started with more of.</summary>
    public IReadOnlyList<SettingToRaise> Settings { get; init; } = [];

    /// <summary>When the last transaction ended that is applied, by the primary's clock; null where none is in the WAL from the restartpoint on.</summary>
    public DateTimeOffset? StopTime { get; init; }

    /// <summary>Reads what the lines that the finder has read do not say: who ended before the target, the catalogs' names and the standby's own settings.</summary>
    public static async Task<TargetConditions> ReadAsync(PgServer standby, StandbyPosition position, IWalReader scan, ResolvedTarget target, IReadOnlyList<string> lines, IFeedback feedback, CancellationToken cancel)
    {
        var journal = new RecoveryLocks(position);
        foreach (var line in lines)
        {
            journal.Take(line);
        }

        // All passes but this one see WAL of the standby alone; that it comes last is why it can be asked of the few that are left.
        var filter = WalFilter.Of(standby.Version, ["Transaction"], RecoveryLocks.EndCondition(journal.Holders));
        await scan.ReadAsync(position.Redo, target.StopsAfter ? target.Stop + 1 : target.Stop, filter, journal.End, cancel).ConfigureAwait(false);
        return new TargetConditions
        {
            Locked = await NamedAsync(standby, position, journal.Held, feedback, cancel).ConfigureAwait(false),
            NoHotStandby = journal.NoHotStandby,
            Settings = (await RaisedSettings.ReadAsync(standby, target, cancel).ConfigureAwait(false)).Settings,
            StopTime = journal.LastEnd,
        };
    }

    /// <summary>The locks by their tables' names; what the catalogs know to be no table, such as an index, is left out, because who reads its table hangs already.</summary>
    internal static async Task<IReadOnlyList<LockedTable>> NameAsync(IStandbyCatalogs catalogs, IReadOnlyList<HeldLock> held, CancellationToken cancel)
    {
        var databases = (await catalogs.DatabasesAsync(cancel).ConfigureAwait(false)).ToDictionary(d => d.Oid);
        var named = new List<LockedTable>();
        foreach (var ofDatabase in held.GroupBy(h => h.Database))
        {
            var database = databases.GetValueOrDefault(ofDatabase.Key);
            var known = database is null ? [] : (await catalogs.RelationsAsync(database, [.. ofDatabase.Select(h => h.Relation).Distinct()], [], [], cancel).ConfigureAwait(false)).ToDictionary(r => r.Oid);
            named.AddRange(ofDatabase.Where(h => known.GetValueOrDefault(h.Relation) is not { Kind: 'i' or 'I' or 't' or 'S' or 'c' })
                .Select(h => known.GetValueOrDefault(h.Relation) is { } relation
                    ? new LockedTable(database!.Name, relation.Schema, relation.Name, h.Relation, h.TransactionId, h.At, h.IsPrepared)
                    : Unnamed(h, database?.Name)));
        }

        return [.. named.OrderBy(n => n.LockedAt).ThenBy(n => n.Oid)];
    }

    private static async Task<IReadOnlyList<LockedTable>> NamedAsync(PgServer standby, StandbyPosition position, IReadOnlyList<HeldLock> held, IFeedback feedback, CancellationToken cancel)
    {
        if (held.Count == 0)
        {
            return [];
        }

        try
        {
            return await NameAsync(position.IsRunning ? new StandbyCatalogs(standby, feedback) : new StoppedCatalogs(standby), held, cancel).ConfigureAwait(false);
        }
        catch (PitrException e)
        {
            // Locked they are, whatever they are called.
            feedback.Verbose($"{standby.Id}: the names of locked tables could not be read. {e.Message}");
            return [.. held.Select(h => Unnamed(h, null))];
        }
    }

    private static LockedTable Unnamed(HeldLock held, string? database) =>
        new(database, null, string.Create(CultureInfo.InvariantCulture, $"relation {held.Relation}"), held.Relation, held.TransactionId, held.At, held.IsPrepared);
}

/// <summary>An AccessExclusiveLock that a server in recovery holds for a transaction of its primary.</summary>
internal sealed record HeldLock(uint Database, uint Relation, uint TransactionId, Lsn At, bool IsPrepared);

/// <summary>
/// Keeps the book that a startup process keeps while it replays: which transaction holds which relation, and whether it knows enough of what was running to let sessions in.
/// Source: src/backend/storage/ipc/standby.c (StandbyAcquireAccessExclusiveLock, StandbyReleaseOldLocks).
/// </summary>
/// <param name="position">Where the standby stands.</param>
internal sealed partial class RecoveryLocks(StandbyPosition position)
{
    // More than these, and all ends of transactions come: a command's argument has 128 KiB at most.
    private const int MostNamed = 8000;

    private readonly Dictionary<(uint Transaction, uint Database, uint Relation), Lsn> _held = [];
    private readonly HashSet<uint> _prepared = [];
    private readonly HotStandbySnapshots _snapshots = new();
    private Lsn _redo = position.Redo;

    /// <summary>awk for the records that <see cref="Take"/> wants; the numbers of running transactions, of which there can be thousands, stay away.</summary>
    public const string Condition =
        """
        / desc: RUNNING_XACTS / { pitrps_end = ($0 ~ /; [0-9]+ (sub)?xacts:/ ? "; xacts" : "") ($0 ~ /; subxid ov/ ? "; subxid ov" : ""); sub(/; .*/, ""); $0 = $0 pitrps_end }
        / desc: (LOCK|RUNNING_XACTS|CHECKPOINT_SHUTDOWN|CHECKPOINT_ONLINE|PARAMETER_CHANGE) /
        """;

    /// <summary>The transactions that hold a lock, as far as snapshots tell.</summary>
    public IReadOnlyCollection<uint> Holders => [.. _held.Keys.Select(k => k.Transaction).Distinct()];

    /// <summary>What is held.</summary>
    public IReadOnlyList<HeldLock> Held =>
        [.. _held.Select(h => new HeldLock(h.Key.Database, h.Key.Relation, h.Key.Transaction, h.Value, _prepared.Contains(h.Key.Transaction)))
            // A snapshot repeats a subtransaction's lock under the top-level one's number.
            .GroupBy(h => (h.Database, h.Relation)).Select(g => g.MinBy(h => h.At)! with { IsPrepared = g.Any(h => h.IsPrepared) }).OrderBy(h => h.At)];

    /// <summary>Why sessions are not let in; null when they are.</summary>
    public string? NoHotStandby => _snapshots.WhyNoSessions(_redo);

    /// <summary>When the last transaction ended.</summary>
    public DateTimeOffset? LastEnd { get; private set; }

    /// <summary>Takes a line of pg_waldump; in the order of the WAL within each resource manager.</summary>
    public void Take(string line)
    {
        if (line.Contains(" desc: LOCK ", StringComparison.Ordinal))
        {
            foreach (var held in WalRecords.Read(line).OfType<WalLock>())
            {
                _held.TryAdd((held.TransactionId, held.Database, held.Relation), held.At);
            }
        }
        else if (SnapshotRecord.Read(line) is { } record)
        {
            _snapshots.Add(record);
            if (record is SnapshotRecord.Running running)
            {
                foreach (var gone in _held.Keys.Where(k => TransactionIds.Precedes(k.Transaction, running.OldestRunning)).ToList())
                {
                    _held.Remove(gone);
                }
            }
            else if (record is SnapshotRecord.Checkpoint { Redo: var redo } && record.At < position.Replayed && redo > _redo)
            {
                // A clean stop may make a restartpoint of any checkpoint that has been replayed; then replay begins there.
                _redo = redo;
            }
        }
    }

    /// <summary>awk for the lines that <see cref="End"/> wants: how the transactions ended, or were prepared, that hold a lock, and the very last end of any.</summary>
    public static string EndCondition(IReadOnlyCollection<uint> holders) =>
        holders.Count > MostNamed ? "/ desc: (COMMIT|ABORT|PREPARE)/"
        : $$"""
          BEGIN { n = split("{{string.Join(' ', holders)}}", pitrps_list, " "); for (i = 1; i <= n; i++) pitrps_held[pitrps_list[i]] = 1 }
          / desc: (COMMIT|ABORT)/ { pitrps_last = $0 }
          END { sub(/; .*/, "", pitrps_last); if (pitrps_last) print pitrps_last }
          function pitrps_holds(line,   one, each, i, n) {
            if (match(line, /_PREPARED [0-9]+:/)) { if (substr(line, RSTART + 10, RLENGTH - 11) in pitrps_held) return 1 }
            else if (match(line, /tx: +[0-9]+,/)) { one = substr(line, RSTART + 3, RLENGTH - 4); sub(/^ +/, "", one); if (one in pitrps_held) return 1 }
            if (!match(line, /; subxacts:[ 0-9]+/)) return 0
            n = split(substr(line, RSTART + 11, RLENGTH - 11), each, " ")
            for (i = 1; i <= n; i++) if (each[i] in pitrps_held) return 1
            return 0
          }
          / desc: (COMMIT|ABORT|PREPARE)/ && pitrps_holds($0)
          """;

    /// <summary>Takes the line with which a transaction ends or is prepared.</summary>
    public void End(string line)
    {
        if (Ended().Match(line) is not { Success: true } match)
        {
            return;
        }

        uint[] transactions = [match.Groups["prepared"] is { Success: true } prepared ? Number(prepared) : Number(match.Groups["tx"]), .. Subtransactions(line)];
        if (match.Groups["how"].Value == "PREPARE")
        {
            _prepared.UnionWith(transactions);
            return;
        }

        foreach (var held in _held.Keys.Where(k => transactions.Contains(k.Transaction)).ToList())
        {
            _held.Remove(held);
        }

        if (match.Groups["time"] is { Success: true } time)
        {
            LastEnd = DateTimeOffset.ParseExact(time.Value, "yyyy-MM-dd HH:mm:ss.FFFFFF", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
        }
    }

    private static IEnumerable<uint> Subtransactions(string line) =>
        SubtransactionList().Match(line) is { Success: true } match ? match.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(w => uint.Parse(w, CultureInfo.InvariantCulture)) : [];

    private static uint Number(Capture text) => uint.Parse(text.Value, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@", tx: +(?<tx>\d+), .* desc: (?<how>COMMIT|ABORT|PREPARE)(?:_PREPARED (?<prepared>\d+):)? (?:(?<time>\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) UTC)?")]
    private static partial Regex Ended();

    [GeneratedRegex("; subxacts:([ 0-9]+)")]
    private static partial Regex SubtransactionList();
}
