using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Where recovery stops, always just before. Each maps to exactly one recovery_target_* setting.</summary>
public abstract record RecoveryTarget
{
    private RecoveryTarget()
    {
    }

    /// <summary>Just before the record at this position. recovery_target_lsn, exclusive.</summary>
    /// <param name="Position">The position.</param>
    public sealed record BeforeLsn(Lsn Position) : RecoveryTarget
    {
        /// <inheritdoc/>
        public override string ToString() => $"before LSN {Position}";
    }

    /// <summary>Just before the first commit after this time. recovery_target_time, exclusive.</summary>
    /// <param name="At">The time; sent as UTC.</param>
    public sealed record BeforeTime(DateTimeOffset At) : RecoveryTarget
    {
        /// <inheritdoc/>
        public override string ToString() => $"before {At.ToUniversalTime():yyyy-MM-dd HH:mm:ss.ffffff}+00";
    }

    /// <summary>Just before this top-level transaction's commit. recovery_target_xid, exclusive.</summary>
    /// <param name="TransactionId">The xid.</param>
    public sealed record BeforeTransaction(uint TransactionId) : RecoveryTarget
    {
        /// <inheritdoc/>
        public override string ToString() => $"before transaction {TransactionId}";
    }

    /// <summary>A restore point made by pg_create_restore_point. recovery_target_name.</summary>
    /// <param name="Name">Its name.</param>
    public sealed record RestorePoint(string Name) : RecoveryTarget
    {
        /// <inheritdoc/>
        public override string ToString() => $"restore point {Name}";
    }
}

/// <summary>Where a recovery stands.</summary>
public enum RecoveryState
{
    /// <summary>It was begun and is not readable yet (its client may be gone).</summary>
    Recovering,
    /// <summary>The scratch server is at the target and can be read.</summary>
    Ready,
    /// <summary>The scratch server is not there any more (a reboot); running Invoke-PitrRecovery again makes it anew.</summary>
    Lost,
}

/// <summary>
/// A recovery on a delayed standby: the scratch server, on a throw-away layer over the stopped standby's files.
/// </summary>
public sealed record PitrRecovery
{
    /// <summary>The delayed standby; stopped while the scratch server runs.</summary>
    public required PgServer Standby { get; init; }

    /// <summary>What it was made for; null when it was given a target by hand.</summary>
    public PgIncident? Incident { get; init; }

    /// <summary>Where it stopped.</summary>
    public required RecoveryTarget Target { get; init; }

    /// <summary>Where it stands.</summary>
    public required RecoveryState State { get; init; }

    /// <summary>The scratch server, which only its own host reaches.</summary>
    public PgServer? Scratch { get; init; }

    /// <summary>The last position that was replayed before the target; null before it is reached.</summary>
    public Lsn? RecoveredTo { get; init; }

    /// <summary>When it was begun, UTC, and by whom.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>user@machine.</summary>
    public string? StartedBy { get; init; }

    /// <summary>How long it took until it could be read.</summary>
    public TimeSpan? Elapsed { get; init; }

    /// <summary>Bytes of WAL that were replayed.</summary>
    public long? WalBytes { get; init; }

    /// <summary>Where the WAL came from: "pg_wal" or "pg_wal and archive".</summary>
    public string? WalSource { get; init; }

    /// <summary>Bytes that the layer takes on the standby's disk.</summary>
    public long? LayerBytes { get; init; }

    /// <summary>True when it exists only as a plan (-WhatIf).</summary>
    public bool IsPlanned { get; init; }
}
