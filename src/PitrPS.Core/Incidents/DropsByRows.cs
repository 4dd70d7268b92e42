using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>
/// 13 and 14, whose commits do not name what they drop: DROP is the only thing that deletes the row in pg_class of a relation that others could see.
/// The row is looked for where the standby has it; where an UPDATE has moved it since, its way is followed back.
/// </summary>
internal sealed class DropsByRows(DroppedIn dropped, WalTransactions transactions)
{
    /// <summary>A row of pg_class that a commit deleted.</summary>
    /// <param name="Commit">The commit.</param>
    /// <param name="At">The DELETE.</param>
    /// <param name="Places">Where the row lay, the latest place first.</param>
    /// <param name="Insert">What put it there, if that is in the WAL that was read.</param>
    private sealed record DeletedRow(WalCommit Commit, Lsn At, IReadOnlyList<TupleId> Places, CatalogChange? Insert);

    private readonly Dictionary<WalCommit, HashSet<uint>> _locked = [];
    private readonly Dictionary<WalCommit, HashSet<uint>> _files = [];

    public async Task FindAsync(IReadOnlyList<WalCommit> commits, CancellationToken cancel)
    {
        foreach (var commit in commits)
        {
            _locked[commit] = [.. transactions.LocksOf(commit).Where(l => l.Database == dropped.Oid).Select(l => l.Relation)];
            _files[commit] = [.. commit.Files.Where(f => f.Database == dropped.Oid).Select(f => f.FileNode)];
        }

        var known = await dropped.RelationsAsync([.. _locked.Values.SelectMany(l => l).Distinct()], [.. _files.Values.SelectMany(f => f).Distinct()], [], cancel).ConfigureAwait(false);
        var suspects = Suspects(commits, known);
        if (suspects.Count == 0)
        {
            return;
        }

        await AddBegunBeforeAsync(suspects, [.. known.Where(r => r.IsTable)], cancel).ConfigureAwait(false);
        var changes = await dropped.ClassChangesAsync(suspects.Select(c => (transactions.LocksOf(c).Select(l => l.At).DefaultIfEmpty(dropped.From).Min(), c.At)), cancel).ConfigureAwait(false);
        var open = await MatchAsync([.. suspects.SelectMany(c => Deleted(c, changes))], cancel).ConfigureAwait(false);
        if (open.Count == 0)
        {
            return;
        }

        // Rows that moved, and relations that are younger than the catalogs: everything since the redo position is needed.
        changes = await dropped.ClassChangesAsync([(dropped.From, open.Max(d => d.Commit.At))], cancel).ConfigureAwait(false);
        open = await MatchAsync([.. open.Select(d => Trace(d, changes))], cancel).ConfigureAwait(false);
        var classes = await dropped.ClassesAsync([.. open.Select(d => d.Insert).OfType<CatalogChange>().Distinct()], cancel).ConfigureAwait(false);
        var knownOids = known.Select(r => r.Oid).ToHashSet();
        foreach (var row in open)
        {
            if (row.Insert is { } insert && classes.TryGetValue(insert, out var newer))
            {
                await dropped.AddNewerAsync(row.Commit, newer, cancel).ConfigureAwait(false);
            }
            else if (_locked[row.Commit].Intersect(_files[row.Commit]).Except(knownOids).Order().Cast<uint?>().FirstOrDefault() is { } relation)
            {
                // A relation's first file has its oid for its number, so this one had storage of its own.
                dropped.AddUnknown(row.Commit, relation);
            }
        }
    }

    // A transaction that dropped its table before the range began has only its COMMIT in it; the standby has replayed the rest, which its rows show.
    private async Task AddBegunBeforeAsync(IReadOnlyList<WalCommit> suspects, IReadOnlyList<CatalogRelation> tables, CancellationToken cancel)
    {
        var before = (from commit in suspects from table in tables where transactions.LockedBefore(commit, dropped.Oid, table.Oid) select (commit, table)).ToList();
        var removers = await dropped.RemoversAsync([.. before.Select(b => b.table.Oid).Distinct()], cancel).ConfigureAwait(false);
        foreach (var (commit, table) in before.Where(b => removers.TryGetValue(b.table.Oid, out var xid) && b.commit.TransactionIds.Contains(xid)))
        {
            dropped.Add(commit, table);
        }
    }

    // Who locked a table and removed files, or locked a partitioned table, which has none.
    private List<WalCommit> Suspects(IReadOnlyList<WalCommit> commits, IReadOnlyList<CatalogRelation> known)
    {
        var oids = known.Select(r => r.Oid).ToHashSet();
        var tables = known.Where(r => r.IsTable).ToList();
        var tableOids = tables.Select(t => t.Oid).ToHashSet();
        var tableFiles = tables.Where(t => t.FileNode != 0).Select(t => t.FileNode).ToHashSet();
        var partitioned = tables.Where(t => t.Kind == 'p').Select(t => t.Oid).ToHashSet();
        return [.. commits.Where(c => _files[c].Count == 0
            ? _locked[c].Overlaps(partitioned)
            : _locked[c].Overlaps(tableOids) || _files[c].Overlaps(tableFiles) || !_locked[c].IsSubsetOf(oids))];
    }

    // The rows that a commit deleted; those that the same transaction had inserted nobody else ever saw.
    private IEnumerable<DeletedRow> Deleted(WalCommit commit, IReadOnlyList<CatalogChange> changes)
    {
        var ids = commit.TransactionIds.ToHashSet();
        var own = changes.Where(c => c.At < commit.At && ids.Contains(c.TransactionId)).ToList();
        return own.Where(c => c.Change == RowChange.Delete).Select(d => Trace(new DeletedRow(commit, d.At, [d.Row], null), own)).Where(d => d.Insert is null);
    }

    private static DeletedRow Trace(DeletedRow row, IReadOnlyList<CatalogChange> changes)
    {
        var places = new List<TupleId> { row.Places[0] };
        for (var i = changes.Count - 1; i >= 0; i--)
        {
            var change = changes[i];
            if (change.At >= row.At)
            {
                continue;
            }

            if (change.Change == RowChange.Insert && change.Row == places[^1])
            {
                return row with { Places = places, Insert = change };
            }

            if (change.Change == RowChange.Update && change.NewRow == places[^1])
            {
                places.Add(change.Row);
            }
        }

        return row with { Places = places };
    }

    // Adds the tables whose rows the standby has, and gives back the rows that it has not.
    private async Task<IReadOnlyList<DeletedRow>> MatchAsync(IReadOnlyList<DeletedRow> rows, CancellationToken cancel)
    {
        var byPlace = (await dropped.RelationsAsync([], [], [.. rows.SelectMany(d => d.Places).Distinct()], cancel).ConfigureAwait(false)).ToDictionary(r => r.Row);
        var open = new List<DeletedRow>();
        foreach (var row in rows)
        {
            if (row.Places.Select(p => byPlace.GetValueOrDefault(p)).FirstOrDefault(r => r is not null && IsThis(row.Commit, r)) is { } match)
            {
                dropped.Add(row.Commit, match);
            }
            else
            {
                open.Add(row);
            }
        }

        return open;
    }

    // A place alone is no proof, another row may have lain there since; the lock or the file is. What has neither (a composite type) is no table.
    private bool IsThis(WalCommit commit, CatalogRelation relation) =>
        _locked[commit].Contains(relation.Oid) || (relation.FileNode != 0 && _files[commit].Contains(relation.FileNode)) || (relation.FileNode == 0 && !relation.IsTable);
}
