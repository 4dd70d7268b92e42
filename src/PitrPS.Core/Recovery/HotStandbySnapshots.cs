using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>A record that tells a server in recovery which transactions ran on its primary.</summary>
/// <param name="At">Where it begins.</param>
internal abstract partial record SnapshotRecord(Lsn At)
{
    /// <summary>What ran, unless one of it has more subtransactions than fit.</summary>
    public sealed record Running(Lsn At, bool IsOverflowed, uint OldestRunning, uint Next) : SnapshotRecord(At);

    /// <summary>A checkpoint; at one of a primary that was shut down nothing ran.</summary>
    public sealed record Checkpoint(Lsn At, bool IsShutdown, Lsn Redo) : SnapshotRecord(At);

    /// <summary>Reads a line of pg_waldump; null for every other record.</summary>
    public static SnapshotRecord? Read(string line)
    {
        if (RunningXacts().Match(line) is { Success: true } running)
        {
            return new Running(Lsn.Parse(running.Groups["lsn"].Value), line.Contains("; subxid ov", StringComparison.Ordinal), Number(running.Groups["oldest"]), Number(running.Groups["next"]));
        }

        return CheckpointLine().Match(line) is { Success: true } checkpoint
            ? new Checkpoint(Lsn.Parse(checkpoint.Groups["lsn"].Value), checkpoint.Groups["how"].Value == "SHUTDOWN", Lsn.Parse(checkpoint.Groups["redo"].Value)) : null;
    }

    private static uint Number(Capture text) => uint.Parse(text.Value, NumberStyles.None, CultureInfo.InvariantCulture);

    [GeneratedRegex(@", lsn: (?<lsn>[0-9A-F]+/[0-9A-F]+), .* desc: RUNNING_XACTS nextXid (?<next>\d+) latestCompletedXid \d+ oldestRunningXid (?<oldest>\d+)")]
    private static partial Regex RunningXacts();

    [GeneratedRegex(@", lsn: (?<lsn>[0-9A-F]+/[0-9A-F]+), .* desc: CHECKPOINT_(?<how>SHUTDOWN|ONLINE) redo (?<redo>[0-9A-F]+/[0-9A-F]+);")]
    private static partial Regex CheckpointLine();
}

/// <summary>
/// The snapshots of running transactions in a stretch of WAL, from which a server in recovery learns enough to let sessions in.
/// Source: src/backend/storage/ipc/procarray.c (ProcArrayApplyRecoveryInfo), xlog.c (CHECKPOINT_SHUTDOWN).
/// </summary>
internal sealed class HotStandbySnapshots
{
    private readonly SortedDictionary<Lsn, SnapshotRecord.Running> _snapshots = [];

    public void Add(SnapshotRecord record)
    {
        if (record is SnapshotRecord.Running running)
        {
            _snapshots[record.At] = running;
        }
        else if (record is SnapshotRecord.Checkpoint { IsShutdown: true })
        {
            _snapshots[record.At] = new SnapshotRecord.Running(record.At, IsOverflowed: false, 0, 0);
        }
    }

    /// <summary>
    /// Why sessions are not let in before the record at <paramref name="stop"/> (null: at the end) when replay begins at <paramref name="redo"/>; null when they are.
    /// One overflowed snapshot is not enough; then a later one has to show that all of its transactions are over.
    /// </summary>
    public string? WhyNoSessions(Lsn redo, Lsn? stop = null)
    {
        uint? waitsFor = null;
        foreach (var snapshot in _snapshots.Values.Where(s => s.At >= redo && !(s.At >= stop)))
        {
            if (!snapshot.IsOverflowed || (waitsFor is { } newest && TransactionIds.Precedes(newest, snapshot.OldestRunning)))
            {
                return null;
            }

            waitsFor ??= snapshot.Next - 1;
        }

        return waitsFor is null ? $"the WAL has no snapshot of the running transactions from {redo}, where replay will begin, up to it"
            : $"each snapshot of the running transactions from {redo}, where replay will begin, up to it has one with more than 64 subtransactions";
    }
}
