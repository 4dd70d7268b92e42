using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>The commits of a range that changed catalogs, and the locks that lead to them.</summary>
internal sealed class WalTransactions
{
    private readonly Dictionary<(uint Database, uint Relation), List<WalLock>> _locksOn = [];
    private readonly Dictionary<uint, List<WalLock>> _locksBy = [];
    private readonly Dictionary<uint, WalCommit> _commitOf = [];
    private readonly List<WalCommit> _commits = [];

    /// <summary>In the order of the WAL.</summary>
    public IEnumerable<WalCommit> Commits => _commits.OrderBy(c => c.At);

    /// <summary>Takes a line of pg_waldump, see <see cref="WalRecords.Condition"/>.</summary>
    public void Take(string line)
    {
        foreach (var record in WalRecords.Read(line))
        {
            if (record is WalLock held)
            {
                AddTo(_locksOn, (held.Database, held.Relation), held);
                AddTo(_locksBy, held.TransactionId, held);
            }
            else if (record is WalCommit commit)
            {
                _commits.Add(commit);
                foreach (var xid in commit.TransactionIds)
                {
                    _commitOf[xid] = commit;
                }
            }
        }
    }

    /// <summary>The commit that a (sub)transaction is part of; null when it is not among them.</summary>
    public WalCommit? CommitOf(uint transaction) => _commitOf.GetValueOrDefault(transaction);

    /// <summary>The locks of a commit's transaction and of those of its subtransactions that were not rolled back.</summary>
    public IEnumerable<WalLock> LocksOf(WalCommit commit) => commit.TransactionIds.SelectMany(xid => _locksBy.GetValueOrDefault(xid) ?? []);

    /// <summary>The first record that says that this commit's transaction locks the relation.</summary>
    public Lsn? FirstLock(WalCommit commit, uint database, uint relation) =>
        LocksOn(database, relation).Where(l => CommitOf(l.TransactionId) == commit).Select(l => (Lsn?)l.At).Min();

    /// <summary>Whether the lock was taken before the range began: then what followed it may lie before the range, too.</summary>
    public bool LockedBefore(WalCommit commit, uint database, uint relation) =>
        LocksOn(database, relation).Where(l => CommitOf(l.TransactionId) == commit).MinBy(l => l.At) is { IsRepeated: true };

    /// <summary>The first lock on a relation by anybody; of one that was created in the range, its creator's.</summary>
    public WalLock? FirstLock(uint database, uint relation) => LocksOn(database, relation).MinBy(l => l.At);

    private List<WalLock> LocksOn(uint database, uint relation) => _locksOn.GetValueOrDefault((database, relation)) ?? [];

    private static void AddTo<TKey>(Dictionary<TKey, List<WalLock>> index, TKey key, WalLock held)
        where TKey : notnull
    {
        if (!index.TryGetValue(key, out var list))
        {
            index[key] = list = [];
        }

        list.Add(held);
    }
}
