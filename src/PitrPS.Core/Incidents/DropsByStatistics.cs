namespace PitrPS.Incidents;

/// <summary>
/// 15 and later: a commit names each relation that it drops, by its oid, because it drops the relation's statistics.
/// Source: src/backend/catalog/heap.c (heap_drop_with_catalog), src/backend/utils/activity/pgstat_xact.c.
/// </summary>
internal sealed class DropsByStatistics(DroppedIn dropped, WalTransactions transactions)
{
    public async Task FindAsync(IReadOnlyList<WalCommit> commits, CancellationToken cancel)
    {
        var drops = commits.SelectMany(c => c.DroppedRelations.Where(d => d.Database == dropped.Oid).Select(d => (Commit: c, d.Relation))).ToList();
        var relations = (await dropped.RelationsAsync([.. drops.Select(d => d.Relation).Distinct()], [], [], cancel).ConfigureAwait(false)).ToDictionary(r => r.Oid);
        foreach (var (commit, relation) in drops.Where(d => relations.ContainsKey(d.Relation)))
        {
            dropped.Add(commit, relations[relation]);
        }

        await NewerAsync([.. drops.Where(d => !relations.ContainsKey(d.Relation))], cancel).ConfigureAwait(false);
    }

    // An oid that the standby does not know was created after its position: by the same transaction (a transient table of VACUUM FULL, a table that nobody else ever saw:
    // no incident), or by an earlier one, whose lock on it is in the WAL and whose INSERT into pg_class has the name.
    private async Task NewerAsync(IReadOnlyList<(WalCommit Commit, uint Relation)> drops, CancellationToken cancel)
    {
        // A commit that removes no file dropped temporary relations only, and there can be millions of those.
        var wanted = drops.Where(d => d.Commit.Files.Any(f => f.Database == dropped.Oid))
            .Select(d => (d.Commit, d.Relation, Creation: transactions.FirstLock(dropped.Oid, d.Relation)))
            .Where(d => d.Creation is not null && !d.Commit.TransactionIds.Contains(d.Creation.TransactionId)).ToList();
        if (wanted.Count == 0)
        {
            return;
        }

        var creators = wanted.Select(w => w.Creation!.TransactionId).Concat(wanted.SelectMany(w => transactions.CommitOf(w.Creation!.TransactionId)?.TransactionIds ?? [])).ToHashSet();
        var changes = await dropped.ClassChangesAsync(wanted.Select(w => (w.Creation!.At, transactions.CommitOf(w.Creation.TransactionId)?.At ?? w.Commit.At)), cancel).ConfigureAwait(false);
        var classes = await dropped.ClassesAsync(
            [.. changes.Where(c => c.Change == RowChange.Insert && creators.Contains(c.TransactionId))], cancel).ConfigureAwait(false);
        var byOid = classes.Values.ToLookup(c => c.Oid);
        foreach (var (commit, relation, _) in wanted)
        {
            if (byOid[relation].FirstOrDefault() is { } row)
            {
                await dropped.AddNewerAsync(commit, row, cancel).ConfigureAwait(false);
            }
            else if (commit.Files.Contains(new WalFileNode(dropped.Oid, relation)))
            {
                // A relation's first file has its oid for its number, so this one had storage of its own.
                dropped.AddUnknown(commit, relation);
            }
        }
    }
}
