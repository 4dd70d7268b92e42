using System.Text.RegularExpressions;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Tests.Incidents;

/// <summary>What real WAL of 13, 15 and 17 says, case by case.</summary>
public sealed class DropFinderTests
{
    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Finds_every_dropped_table_in_the_order_of_the_commits_and_nothing_else(int major)
    {
        var found = await new Samples(major).FindAsync();

        // Not among them: rolled back, rolled back to a savepoint, temporary, created and dropped in one transaction, VACUUM FULL, CLUSTER, REFRESH, TRUNCATE,
        // ALTER that rewrites, DROP COLUMN, INDEX, SEQUENCE, MATERIALIZED VIEW and DATABASE, REINDEX, LOCK, TRUNCATE rolled back.
        Assert.Equal(
            ["public.a", "public.b", "public.sub", "public.casc_parent", "s1.x s1.y", "We ird.\"S.Ta\"b le.x", "public.a", "public.again", "public.again",
             "public.part public.part1 public.part2", "public.part_empty", "public.pre", "public.unl", "public.mass0", "public.longlock", "public.cl", "public.mix2",
             "young.tab public.renamed0", "public.rb", "public.mv_t"],
            found.Select(f => string.Join(' ', f.Tables)));
        Assert.All(found.SelectMany(f => f.Tables), t => Assert.True(t.IsNameKnown));
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Ties_a_drop_in_a_savepoint_to_the_top_level_transaction_and_its_commit(int major)
    {
        var drop = await OnlyAsync(major, "sub");

        var commit = new Samples(major).Wal.Single(l => l.Contains($"tx:        {drop.Commit.TransactionId},", StringComparison.Ordinal) && l.Contains("desc: COMMIT", StringComparison.Ordinal));
        Assert.Contains($"subxacts: {drop.Commit.TransactionId + 1};", commit, StringComparison.Ordinal);
        Assert.Equal(Samples.LsnOf(commit), drop.Commit.At);
        Assert.True(drop.Tables[0].FirstLock < drop.Commit.At);
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Takes_the_first_lock_also_where_snapshots_repeat_it(int major)
    {
        var drop = await OnlyAsync(major, "longlock");

        var locks = new Samples(major).Wal.Where(l => l.Contains($"rel {drop.Tables[0].Oid} ", StringComparison.Ordinal)).Select(Samples.LsnOf).ToList();
        Assert.Equal(3, locks.Count);
        Assert.Equal(locks[0], drop.Tables[0].FirstLock);
    }

    [Theory]
    [InlineData(13, true)]
    [InlineData(13, false)]
    [InlineData(15, false)]
    [InlineData(17, false)]
    public async Task Finds_a_drop_that_was_made_before_the_range_and_committed_in_it(int major, bool standbyShowsTheRemover)
    {
        var samples = new Samples(major);
        var drop = await OnlyAsync(major, "longlock");
        var table = drop.Tables[0];
        // The range begins at the snapshot: the lock and all changes of the catalogs are before it.
        var snapshot = samples.Wal.Where(l => l.Contains($"rel {table.Oid} ", StringComparison.Ordinal)).Select(Samples.LsnOf).ElementAt(1);
        if (standbyShowsTheRemover)
        {
            samples.Catalogs.Removers[table.Oid] = drop.Commit.TransactionId;
        }

        var again = (await samples.FindAsync([.. samples.Wal.Where(l => Samples.LsnOf(l) >= snapshot)])).SingleOrDefault(f => f.Commit.TransactionId == drop.Commit.TransactionId);

        // Up to 14 the lock and the removed file alone could be a TRUNCATE as well.
        if (major < 15 && !standbyShowsTheRemover)
        {
            Assert.Null(again);
            return;
        }

        Assert.Equal((table.Oid, snapshot), (again!.Tables.Single().Oid, again.Tables[0].FirstLock));
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Finds_each_drop_of_a_name_that_was_made_again(int major)
    {
        var both = (await new Samples(major).FindAsync()).Where(f => f.Tables.Any(t => t.Name == "again")).ToList();

        Assert.Equal([false, true], both.Select(b => b.Tables[0].IsNewerThanStandby));
        Assert.NotEqual(both[0].Tables[0].Oid, both[1].Tables[0].Oid);
        Assert.All(both, b => Assert.NotNull(b.Tables[0].FirstLock));
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Names_a_table_and_a_schema_that_are_younger_than_the_catalogs(int major)
    {
        var drop = await OnlyAsync(major, "tab");

        Assert.Equal("young", drop.Tables.Single(t => t.Name == "tab").Schema);
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Gives_the_database_and_only_searches_those_that_are_wanted(int major)
    {
        var samples = new Samples(major);

        Assert.Equal(["postgres", "other"], (await samples.FindAsync()).SelectMany(f => f.Tables).Where(t => t.Name == "a").Select(t => t.Database));
        Assert.Equal(["public.a"], (await samples.FindAsync(isWanted: d => d == "other")).Select(f => f.Tables.Single().ToString()));
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Marks_unlogged_tables_and_only_those(int major) =>
        Assert.Equal(["unl"], (await new Samples(major).FindAsync()).SelectMany(f => f.Tables).Where(t => t.IsUnlogged).Select(t => t.Name));

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Finds_a_prepared_drop_at_its_commit_prepared_under_the_transaction_that_prepared_it(int major)
    {
        var drop = await OnlyAsync(major, "pre");

        var commit = new Samples(major).Wal.Single(l => l.Contains("desc: COMMIT_PREPARED ", StringComparison.Ordinal));
        Assert.Equal(Samples.LsnOf(commit), drop.Commit.At);
        Assert.Contains($"COMMIT_PREPARED {drop.Commit.TransactionId}:", commit, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(15)]
    [InlineData(17)]
    public async Task Reports_what_it_cannot_name_by_its_oid(int major)
    {
        var samples = new Samples(major);
        var transactions = new WalTransactions();
        samples.Wal.ToList().ForEach(transactions.Take);
        var blind = samples.Reader with { Lines = samples.Wal, Bytes = new Dictionary<Lsn, byte[]>() };
        var finder = new DropFinder(blind, samples.Catalogs, transactions, Samples.LsnOf(samples.Wal[0]), TestServer.Of(major), new NoFeedback());

        var found = await finder.FindAsync([.. DropFinder.Candidates(transactions, major).Where(c => c.At >= samples.Catalogs.Replayed)], _ => true, CancellationToken.None);

        var unknown = found.Where(f => f.Tables.Any(t => !t.IsNameKnown)).ToList();
        // again for the second time, mix2, the two tables of the young schema, and beside the known table rb an index that is younger than the catalogs.
        Assert.Equal(4, unknown.Count);
        Assert.All(unknown.SelectMany(u => u.Tables).Where(t => !t.IsNameKnown), t => Assert.Equal($"oid {t.Oid}", t.ToString()));
        Assert.DoesNotContain(found.SelectMany(f => f.Tables), t => t.IsNameKnown && t.IsNewerThanStandby);
    }

    [Fact]
    public async Task Says_on_13_that_drops_cannot_be_told_after_pg_class_was_rewritten()
    {
        var samples = new Samples(13);
        var feedback = new NoFeedback();
        var database = samples.Wal.Select(l => Regex.Match(l, @"LOCK xid \d+ db (\d+)")).First(m => m.Success).Groups[1].Value;
        var rewritten = Regex.Replace(samples.Wal.First(l => l.Contains("desc: LOCK", StringComparison.Ordinal)), @"LOCK xid \d+ db \d+ rel \d+", $"LOCK xid 4242 db {database} rel 1259");

        await samples.FindAsync([.. samples.Wal, rewritten], feedback);

        Assert.Contains("pg_class of database postgres was locked", Assert.Single(feedback.Warnings), StringComparison.Ordinal);
    }

    private static async Task<DroppedTables> OnlyAsync(int major, string table) =>
        (await new Samples(major).FindAsync()).Single(f => f.Tables.Any(t => t.Name == table));
}
