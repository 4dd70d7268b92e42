using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Recovery;

public class TargetConditionsTests
{
    private const string Head = "len (rec/tot):     50/    50, tx:";

    [Theory]
    [InlineData(13, 13443u, 16507u, 525u, 526u)]
    [InlineData(15, 5u, 16499u, 764u, 765u)]
    public void A_table_is_locked_from_its_lock_to_the_end_of_the_top_level_transaction(int major, uint database, uint relation, uint top, uint sub)
    {
        var wal = new Samples(major).Wal;
        var commit = Samples.LsnOf(wal.Single(l => l.Contains($" tx: {top,10}, ", StringComparison.Ordinal) && l.Contains(" desc: COMMIT ", StringComparison.Ordinal)));
        var locked = Assert.Single(Held(wal, commit), h => h.Relation == relation);
        Assert.Equal((database, sub, false), (locked.Database, locked.TransactionId, locked.IsPrepared));
        Assert.True(locked.At < commit);
        Assert.Contains($"LOCK xid {sub} db {database} rel {relation} ", wal.Single(l => Samples.LsnOf(l) == locked.At), StringComparison.Ordinal);
        Assert.DoesNotContain(Held(wal, locked.At), h => h.Relation == relation);
        Assert.DoesNotContain(Held(wal, commit + 1), h => h.Relation == relation);
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public void A_prepared_transaction_keeps_its_locks_until_it_is_committed_or_rolled_back(int major)
    {
        var wal = new Samples(major).Wal;
        var commit = wal.First(l => l.Contains(" desc: COMMIT_PREPARED ", StringComparison.Ordinal));
        var (at, xid) = (Samples.LsnOf(commit), TargetFinder.TransactionOf(commit));
        Assert.Contains(Held(wal, at), h => h.TransactionId == xid && h.IsPrepared);
        Assert.DoesNotContain(Held(wal, at + 1), h => h.TransactionId == xid);
    }

    [Theory]
    [InlineData(13)]
    [InlineData(15)]
    [InlineData(17)]
    public void At_the_end_of_what_each_version_writes_nothing_is_locked_and_sessions_are_let_in(int major)
    {
        var wal = new Samples(major).Wal;
        var journal = Journal(wal, Samples.LsnOf(wal[^1]) + 1);
        Assert.Empty(journal.Held);
        Assert.Null(journal.NoHotStandby);
        Assert.Equal(WalTime(wal.Last(l => l.Contains(" desc: COMMIT", StringComparison.Ordinal) || l.Contains(" desc: ABORT", StringComparison.Ordinal))), journal.LastEnd);
    }

    [Fact]
    public void A_snapshot_repeats_a_lock_and_releases_those_whose_transactions_are_over()
    {
        var journal = new RecoveryLocks(WalRangeTests.Position(Lsn.Parse("0/100")));
        journal.Take($"rmgr: Standby     {Head}          0, lsn: 0/00000110, prev 0/00000100, desc: LOCK xid 700 db 5 rel 16400 xid 701 db 5 rel 16401 ");
        Assert.Equal(["16400", "16401"], journal.Held.Select(h => $"{h.Relation}"));
        // The primary crashed: nothing says how 700 ended.
        journal.Take(Running("0/120", 702, 701, "; 1 xacts: 701"));
        Assert.Equal([16401u], journal.Held.Select(h => h.Relation));
    }

    [Fact]
    public void Numbers_of_transactions_run_in_a_circle()
    {
        var journal = new RecoveryLocks(WalRangeTests.Position(Lsn.Parse("0/100")));
        journal.Take($"rmgr: Standby     {Head} 4294967290, lsn: 0/00000110, prev 0/00000100, desc: LOCK xid 4294967290 db 5 rel 16400 ");
        journal.Take(Running("0/120", 10, 4294967290, "; 1 xacts: 4294967290"));
        Assert.Single(journal.Held);
        journal.Take(Running("0/130", 10, 5, "; 1 xacts: 5"));
        Assert.Empty(journal.Held);
    }

    public static TheoryData<string[], bool> Snapshots => new()
    {
        { [], false },
        { [Running("0/110", 700, 699, "; 1 xacts: 699; subxid ovf")], false },
        { [Running("0/110", 700, 699, "; 1 xacts: 699; subxid overflowed")], false },
        { [Running("0/110", 700, 699, "; 1 xacts: 699; subxid ovf"), Running("0/120", 800, 699, "; 1 xacts: 699; subxid ovf")], false },
        // All that ran at the first one are over.
        { [Running("0/110", 700, 699, "; 1 xacts: 699; subxid ovf"), Running("0/120", 800, 700, "; 1 xacts: 700; subxid ovf")], true },
        { [Running("0/110", 700, 699, "; 1 xacts: 699; subxid ovf"), Running("0/120", 700, 700, "")], true },
        { [Running("0/110", 700, 699, "; 1 xacts: 699")], true },
        { [Checkpoint("0/110", "SHUTDOWN", "0/110")], true },
        { [Checkpoint("0/110", "ONLINE", "0/108")], false },
        // Replayed already, and the restartpoint that a stop makes of that checkpoint begins after the good snapshot.
        { [Running("0/110", 700, 700, ""), Checkpoint("0/140", "ONLINE", "0/130")], false },
        { [Running("0/110", 700, 700, ""), Checkpoint("0/240", "ONLINE", "0/130")], true },
    };

    [Theory]
    [MemberData(nameof(Snapshots))]
    public void Sessions_are_let_in_after_a_snapshot_that_tells_all(string[] lines, bool active)
    {
        var journal = new RecoveryLocks(WalRangeTests.Position(Lsn.Parse("0/100")) with { Replayed = Lsn.Parse("0/200") });
        foreach (var line in lines)
        {
            journal.Take(line);
        }

        Assert.Equal(active, journal.NoHotStandby is null);
    }

    [Fact]
    public void Thousands_of_numbers_of_running_transactions_stay_on_the_host()
    {
        string[] lines = [Running("0/00000110", 702, 700, "; 2 xacts: 701 700; 3 subxacts: 1 2 3; subxid overflowed"), Running("0/00000120", 702, 702, ""), Running("0/00000130", 702, 701, "; 1 xacts: 701; subxid ovf")];
        Assert.Equal(["oldestRunningXid 700; xacts; subxid ov", "oldestRunningXid 702", "oldestRunningXid 701; xacts; subxid ov"],
            Shell.Awk(RecoveryLocks.Condition, lines).Select(l => l[l.IndexOf("oldest", StringComparison.Ordinal)..]));
    }

    [Theory]
    [InlineData(13, "561", "525")]
    [InlineData(15, "793", "764")]
    [InlineData(17, "807", "807")]
    public void Of_the_ends_of_transactions_only_those_of_the_holders_come_and_the_very_last_one(int major, string first, string second)
    {
        var wal = new Samples(major).Wal;
        string[] all = [.. wal.Where(l => l.Contains("rmgr: Transaction", StringComparison.Ordinal))];
        uint[] holders = [uint.Parse(first), uint.Parse(second) + (major == 17 ? 0u : 1u)];
        var came = Shell.Awk(RecoveryLocks.EndCondition(holders), all);
        Assert.InRange(came.Length, 2, 4);
        Assert.Contains(came, l => $"{TargetFinder.TransactionOf(l)}" == first);
        Assert.Contains(came, l => $"{TargetFinder.TransactionOf(l)}" == second);
        Assert.StartsWith(came[^1], all.Last(l => l.Contains(" desc: COMMIT", StringComparison.Ordinal) || l.Contains(" desc: ABORT", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.Equal(all.Count(l => !l.Contains("ASSIGNMENT", StringComparison.Ordinal) && !l.Contains("INVALIDATION", StringComparison.Ordinal)),
            Shell.Awk(RecoveryLocks.EndCondition([.. Enumerable.Range(1, 9000).Select(i => (uint)i)]), all).Length);
    }

    [Fact]
    public void Says_which_settings_the_standby_lacks()
    {
        const string Line = "rmgr: XLOG        len (rec/tot):     54/    54, tx:          0, lsn: 0/03000150, prev 0/030000D8, desc: PARAMETER_CHANGE max_connections=300 max_worker_processes=8 max_wal_senders=10 max_prepared_xacts=20 max_locks_per_xact=64 wal_level=replica wal_log_hints=off track_commit_timestamp=off";
        var needed = TargetFinder.ParametersOf(Line).ToDictionary(p => p.Name, p => p.Value);
        Assert.Equal(5, needed.Count);
        var own = new Dictionary<string, long> { ["max_connections"] = 100, ["max_worker_processes"] = 8, ["max_wal_senders"] = 20, ["max_prepared_transactions"] = 0, ["max_locks_per_transaction"] = 64 };
        Assert.Equal(["max_connections 100 -> 300", "max_prepared_transactions 0 -> 20"], RaisedSettings.Lower(needed, own).Select(s => s.ToString()));
        Assert.Equal([Line], Shell.Awk(RecoveryLocks.Condition, Line));
    }

    [Fact]
    public async Task Locked_tables_have_the_names_of_the_standbys_catalogs_and_their_indexes_are_left_out()
    {
        var catalogs = new Samples(15).Catalogs;
        var database = (await catalogs.DatabasesAsync(default)).Single(d => d.Name == "postgres");
        var relations = await catalogs.RelationsAsync(database, [.. Enumerable.Range(16384, 400).Select(i => (uint)i)], [], [], default);
        var (table, index) = (relations.First(r => r.Kind == 'r'), relations.First(r => r.Kind == 'i'));
        HeldLock Lock(uint relation, uint of) => new(of, relation, 700, Lsn.Parse("0/500"), IsPrepared: true);

        var named = await TargetConditions.NameAsync(catalogs, [Lock(table.Oid, database.Oid), Lock(index.Oid, database.Oid), Lock(99999, database.Oid), Lock(1262, 0)], default);
        Assert.Equal([$"{table.Schema}.{table.Name}", "relation 1262", "relation 99999"], named.Select(n => n.ToString()).Order(StringComparer.Ordinal).OrderBy(n => n.StartsWith("relation", StringComparison.Ordinal)));
        Assert.All(named, n => Assert.True(n.IsPrepared));
    }

    private static IReadOnlyList<HeldLock> Held(IReadOnlyList<string> wal, Lsn before) => Journal(wal, before).Held;

    // As a survey does it: first all but the transactions' ends, then those of the holders.
    private static RecoveryLocks Journal(IReadOnlyList<string> wal, Lsn before)
    {
        var journal = new RecoveryLocks(WalRangeTests.Position(Samples.LsnOf(wal[0])));
        string[] lines = [.. wal.Where(l => Samples.LsnOf(l) < before)];
        foreach (var line in Shell.Awk(RecoveryLocks.Condition, lines))
        {
            journal.Take(line);
        }

        foreach (var line in Shell.Awk(RecoveryLocks.EndCondition(journal.Holders), lines))
        {
            journal.End(line);
        }

        return journal;
    }

    private static DateTimeOffset WalTime(string line) => WalRecords.Read(line).OfType<WalCommit>().Single().Time;

    private static string Running(string at, uint next, uint oldest, string more) =>
        $"rmgr: Standby     {Head}          0, lsn: {at}, prev 0/00000100, desc: RUNNING_XACTS nextXid {next} latestCompletedXid {unchecked(oldest - 1)} oldestRunningXid {oldest}{more}";

    private static string Checkpoint(string at, string how, string redo) =>
        $"rmgr: XLOG        {Head}          0, lsn: {at}, prev 0/00000100, desc: CHECKPOINT_{how} redo {redo}; tli 1; prev tli 1; fpw true; xid 0:700; oid 16400";
}
