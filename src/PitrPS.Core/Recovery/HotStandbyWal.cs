using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// What the WAL says of whether a standby that replays it takes connections. At a target it pauses only if it does; otherwise it is promoted there at once.
/// Source: src/backend/access/transam/xlogrecovery.c, recoveryPausesHere.
/// </summary>
internal sealed class HotStandbyWal
{
    /// <summary>The awk condition for the lines that <see cref="Read"/> wants.</summary>
    private const string Condition = "/ desc: (RUNNING_XACTS|CHECKPOINT_SHUTDOWN|CHECKPOINT_ONLINE) /";

    private readonly HotStandbySnapshots _snapshots = new();
    private readonly SortedDictionary<Lsn, Lsn> _redo = [];

    /// <summary>Reads the WAL from the latest restartpoint to a position.</summary>
    public static async Task<HotStandbyWal> ReadAsync(WalRange range, Lsn to, IFeedback feedback, CancellationToken cancel)
    {
        var wal = new HotStandbyWal();
        await new WalScan(range, feedback).ReadAsync(range.From, to, WalFilter.Of(range.Server.Version, ["XLOG", "Standby"], Condition), wal.Read, cancel).ConfigureAwait(false);
        return wal;
    }

    /// <exception cref="PitrException"><c>PitrPS.HotStandbyInactive</c></exception>
    public void RequireActive(PgServer standby, Lsn redo, Lsn stop)
    {
        if (_snapshots.WhyNoSessions(redo, stop) is { } why)
        {
            throw KeepPreparation.Inactive(standby, $"{why}, so no connections are taken at {stop}");
        }
    }

    /// <summary>Whether connections are taken before the record at <paramref name="stop"/> when replay begins at <paramref name="redo"/>.</summary>
    public bool IsActive(Lsn redo, Lsn stop) => _snapshots.WhyNoSessions(redo, stop) is null;

    /// <summary>From where replay begins at the latest, after a clean stop of a standby that has replayed up to here: at the newest checkpoint that it has seen.</summary>
    public Lsn LatestRedo(Lsn from, Lsn replayed) => _redo.Where(c => c.Key < replayed).Select(c => c.Value).Append(from).Max();

    /// <summary>Takes one line of pg_waldump.</summary>
    internal void Read(string line)
    {
        if (SnapshotRecord.Read(line) is { } record)
        {
            _snapshots.Add(record);
            if (record is SnapshotRecord.Checkpoint checkpoint)
            {
                _redo[checkpoint.At] = checkpoint.Redo;
            }
        }
    }
}
