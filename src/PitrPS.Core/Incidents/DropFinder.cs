using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>A committed transaction that dropped tables of one database.</summary>
internal sealed record DroppedTables(WalCommit Commit, IReadOnlyList<IncidentTable> Tables);

/// <summary>
/// Tells the transactions that dropped tables from all the others that lock tables and remove files: TRUNCATE, VACUUM FULL, CLUSTER, REFRESH, ALTER TABLE that rewrites,
/// DROP of anything but a table, rolled back and temporary ones. From 15 on the commit record names the dropped relations by oid; on 13 and 14 the deleted rows of pg_class do.
/// </summary>
/// <param name="reader">The WAL.</param>
/// <param name="catalogs">The standby's catalogs.</param>
/// <param name="transactions">What was read of the range.</param>
/// <param name="from">Where the range begins.</param>
/// <param name="server">The standby.</param>
/// <param name="feedback">Where to say what cannot be told.</param>
internal sealed class DropFinder(IWalReader reader, IStandbyCatalogs catalogs, WalTransactions transactions, Lsn from, PgServer server, IFeedback feedback)
{
    private bool StatisticsTell => PgVersion.CommitsDropStatistics(server.Version);

    /// <summary>The commits that may have dropped tables: they remove relations of some kind. A partitioned table without partitions leaves only its statistics or its lock.</summary>
    public static IEnumerable<WalCommit> Candidates(WalTransactions transactions, int major) =>
        transactions.Commits.Where(c => c.Files.Count > 0 || c.DroppedRelations.Count > 0 || (!PgVersion.CommitsDropStatistics(major) && transactions.LocksOf(c).Any()));

    /// <summary>Those of the commits that dropped tables, in the order of the WAL.</summary>
    /// <param name="commits">Of the candidates those that are wanted.</param>
    /// <param name="isWanted">Which databases, by name; one that is younger than the standby's catalogs is "oid 12345".</param>
    /// <param name="cancel">Gives it up.</param>
    public async Task<IReadOnlyList<DroppedTables>> FindAsync(IReadOnlyList<WalCommit> commits, Func<string, bool> isWanted, CancellationToken cancel)
    {
        var found = new List<DroppedTables>();
        if (commits.Count == 0)
        {
            return found;
        }

        var databases = (await catalogs.DatabasesAsync(cancel).ConfigureAwait(false)).ToDictionary(d => d.Oid);
        var byDatabase = commits.SelectMany(c => DatabasesOf(c).Select(database => (Commit: c, Database: database))).Where(c => c.Database != 0).ToLookup(c => c.Database, c => c.Commit);
        foreach (var group in byDatabase)
        {
            var database = databases.GetValueOrDefault(group.Key);
            if (!isWanted(database?.Name ?? DroppedIn.NameOf(group.Key)))
            {
                continue;
            }

            try
            {
                found.AddRange(await FindAsync(group.Key, database, [.. group], cancel).ConfigureAwait(false));
            }
            catch (PitrException e) when (database is not null && e.Id is "PitrPS.SqlFailed" or "PitrPS.ServerUnavailable" or "PitrPS.CatalogUnreadable")
            {
                // One database that cannot be asked, because it is being dropped for example, does not hide the others.
                feedback.Warning($"Database {database!.Name} on {server.Id} cannot be asked for its tables' names, so what was dropped in it is not shown: {e.Message}");
            }
        }

        return [.. found.OrderBy(f => f.Commit.At)];
    }

    private async Task<IEnumerable<DroppedTables>> FindAsync(uint oid, CatalogDatabase? database, IReadOnlyList<WalCommit> commits, CancellationToken cancel)
    {
        var journal = new ClassJournal(reader, server.Version, server.WalSegmentSize);
        var dropped = new DroppedIn(oid, database, catalogs, transactions, journal, from, server.Version);
        if (StatisticsTell)
        {
            await new DropsByStatistics(dropped, transactions).FindAsync(commits, cancel).ConfigureAwait(false);
            return dropped.Found;
        }

        if (transactions.FirstLock(oid, DroppedIn.PgClass) is { } rewritten)
        {
            feedback.Warning($"pg_class of database {dropped.Name} was locked at {rewritten.At}, by VACUUM FULL most likely: on PostgreSQL {server.Version} a DROP TABLE after it cannot be told from other changes of the table.");
        }

        await new DropsByRows(dropped, transactions).FindAsync(commits, cancel).ConfigureAwait(false);
        return dropped.Found;
    }

    // Without statistics a dropped partitioned table shows only in the lock.
    private IEnumerable<uint> DatabasesOf(WalCommit commit) =>
        commit.Databases.Concat(StatisticsTell ? [] : transactions.LocksOf(commit).Select(l => l.Database)).Distinct();
}
