using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Where a segment lies that a recovery needs.</summary>
public enum RecoveryWalPlace
{
    /// <summary>In the standby's pg_wal, from where replay is several times faster than from an archive.</summary>
    PgWal,
    /// <summary>In the archive, or the repository, that the standby restores from.</summary>
    Archive,
    /// <summary>In the primary's pg_wal only: it has to be archived first.</summary>
    Primary,
    /// <summary>Nowhere that is known of.</summary>
    Missing,
}

/// <summary>A segment that a recovery needs.</summary>
/// <param name="Name">Its name, with the timeline that it is read from.</param>
/// <param name="Place">Where it lies.</param>
public sealed record RecoveryWalSegment(string Name, RecoveryWalPlace Place)
{
    /// <summary>The name and the place.</summary>
    public override string ToString() => $"{Name} {Place}";
}

/// <summary>Why a target cannot be reached.</summary>
/// <param name="Id">The id of the error with which Invoke-PitrRecovery would refuse it.</param>
/// <param name="Message">What is so.</param>
/// <param name="NextStep">What to do about it.</param>
public sealed record RecoveryTargetProblem(string Id, string Message, string NextStep)
{
    /// <summary>The id and the message.</summary>
    public override string ToString() => $"{Id}: {Message}";
}

/// <summary>What a standby's WAL says of a recovery target. Nothing has been changed or stopped for it.</summary>
public sealed record RecoveryTargetReport
{
    /// <summary>The delayed standby.</summary>
    public required PgServer Standby { get; init; }

    /// <summary>The incident that it is for; null for a target that was given by hand.</summary>
    public PgIncident? Incident { get; init; }

    /// <summary>Where recovery is to stop.</summary>
    public required RecoveryTarget Target { get; init; }

    /// <summary>There is a record at which recovery stops, it is not applied yet, and all WAL up to it can be read.</summary>
    public required bool IsReachable { get; init; }

    /// <summary>The record before which recovery stops; for an inclusive target and a restore point the last one that is applied; for -Immediate where replay stands. Null where there is none.</summary>
    public Lsn? StopLsn { get; init; }

    /// <summary>The data are those of this moment: when the last transaction ended that is applied, UTC, by the primary's clock. Null where none is in the WAL since the last restartpoint.</summary>
    public DateTimeOffset? StopTime { get; init; }

    /// <summary>The timeline of that record.</summary>
    public uint? Timeline { get; init; }

    /// <summary>The redo position of the last restartpoint, from where the WAL is needed.</summary>
    public Lsn? RedoLsn { get; init; }

    /// <summary>Up to where the standby has applied the WAL.</summary>
    public Lsn? ReplayedLsn { get; init; }

    /// <summary>Up to where the standby has WAL at all, in pg_wal and the archive.</summary>
    public Lsn? WalEndLsn { get; init; }

    /// <summary>Up to where the primary has written; asked only where the target needs WAL that the standby has not. Null where it was not asked or does not answer.</summary>
    public Lsn? PrimaryLsn { get; init; }

    /// <summary>Bytes of WAL to replay.</summary>
    public long? WalBytes { get; init; }

    /// <summary>Where they come from: "pg_wal" or "pg_wal and archive".</summary>
    public string? WalSource { get; init; }

    /// <summary>Each segment that is needed, and where it lies; up to the last one that is known, where the target was not found.</summary>
    public IReadOnlyList<RecoveryWalSegment> Segments { get; init => field = Listed.Of(value); } = [];

    /// <summary>The names of those that the standby cannot get.</summary>
    public IReadOnlyList<string> MissingSegments => [.. Segments.Where(s => s.Place is RecoveryWalPlace.Primary or RecoveryWalPlace.Missing).Select(s => s.Name)];

    /// <summary>
    /// No table is locked there: the data can be read on a server that is left in recovery at the target, too. Null where the target was not found. A way that promotes
    /// (Scratch, Clone, Promote) rolls back what holds the locks, so it reads everything in any case.
    /// </summary>
    public bool? IsReadableInPlace { get; init; }

    /// <summary>The tables that transactions in progress hold locked there, as an incident's own does with its tables just before its COMMIT.</summary>
    public IReadOnlyList<LockedTable> LockedTables { get; init => field = Listed.Of(value); } = [];

    /// <summary>A server that stops there and stays in recovery lets sessions in; where it would not, its pause becomes a promotion. Null where the target was not found.</summary>
    public bool? IsHotStandbyActive { get; init; }

    /// <summary>Settings that the standby's files have lower than its primary had up to there: a server that is left in recovery needs them raised to start.</summary>
    public IReadOnlyList<SettingToRaise> SettingsToRaise { get; init => field = Listed.Of(value); } = [];

    /// <summary>How long stop, start and replay take, about; copying files is not in it.</summary>
    public TimeSpan? ExpectedTime { get; init; }

    /// <summary>What there is to know beside it: a subtransaction whose top-level one is meant, why hot standby is not active.</summary>
    public IReadOnlyList<string> Notes { get; init => field = Listed.Of(value); } = [];

    /// <summary>Why it cannot be reached; empty where it can.</summary>
    public IReadOnlyList<RecoveryTargetProblem> Problems { get; init => field = Listed.Of(value); } = [];
}
