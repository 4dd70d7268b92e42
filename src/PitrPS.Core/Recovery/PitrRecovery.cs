using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// Where recovery stops: just before the record that is named, or with <see cref="Inclusive"/> just after it. Each maps to exactly one recovery_target_* setting.
/// Source: PostgreSQL documentation, "Recovery Target"; src/backend/access/transam/xlogrecovery.c (recoveryStopsBefore, recoveryStopsAfter).
/// </summary>
public abstract record RecoveryTarget
{
    private RecoveryTarget()
    {
    }

    /// <summary>What is named is applied, too. Always false for a restore point and for <see cref="Immediate"/>, where PostgreSQL ignores it.</summary>
    public bool Inclusive { get; init; }

    /// <summary>The timeline to follow; null when it is worked out from the ancestry.</summary>
    public uint? Timeline { get; init; }

    /// <summary>"before LSN 0/3D79CC8", "through transaction 725 on timeline 2".</summary>
    public sealed override string ToString() => Named + (Timeline is { } timeline ? $" on timeline {timeline}" : "");

    /// <summary>The target without its timeline.</summary>
    private protected abstract string Named { get; }

    private string Side => Inclusive ? "through" : "before";

    /// <summary>The first record at or after this position. recovery_target_lsn.</summary>
    /// <param name="Position">The position.</param>
    public sealed record Lsn(Servers.Lsn Position) : RecoveryTarget
    {
        private protected override string Named => $"{Side} LSN {Position}";
    }

    /// <summary>The first commit at or after this time; inclusive, the first after it. recovery_target_time.</summary>
    /// <param name="At">The time; sent as UTC.</param>
    public sealed record Time(DateTimeOffset At) : RecoveryTarget
    {
        private protected override string Named => $"{Side} {At.ToUniversalTime():yyyy-MM-dd HH:mm:ss.ffffff}+00";
    }

    /// <summary>The commit of this transaction; of a subtransaction, that of its top-level one. recovery_target_xid.</summary>
    /// <param name="TransactionId">The xid.</param>
    public sealed record Xid(uint TransactionId) : RecoveryTarget
    {
        private protected override string Named => $"{Side} transaction {TransactionId}";
    }

    /// <summary>A restore point made by pg_create_restore_point. recovery_target_name.</summary>
    /// <param name="Value">Its name.</param>
    public sealed record Name(string Value) : RecoveryTarget
    {
        private protected override string Named => $"restore point {Value}";
    }

    /// <summary>
    /// As soon as the data are consistent: on a delayed standby's files that is where its replay stands, so nothing of the WAL that waits is applied. recovery_target = 'immediate'.
    /// </summary>
    public sealed record Immediate : RecoveryTarget
    {
        private protected override string Named => "where its replay stands";
    }
}

/// <summary>Where a recovery stands.</summary>
public enum RecoveryState
{
    /// <summary>It was begun and is not readable yet (its client may be gone).</summary>
    Recovering,
    /// <summary>The recovered server is at the target and can be read.</summary>
    Ready,
    /// <summary>The recovered server is not there any more (a reboot); running Invoke-PitrRecovery again makes it anew. A standby that was recovered in place comes back to its target by itself.</summary>
    Lost,
    /// <summary>The clone is there and does not run; running Invoke-PitrRecovery again starts it.</summary>
    Stopped,
    /// <summary>The standby has become a primary.</summary>
    Promoted,
}

/// <summary>
/// A recovery of a delayed standby: the recovered server, on a throw-away layer over the stopped standby's files, or on a copy of them; or the standby itself, paused at the target.
/// </summary>
public sealed record PitrRecovery
{
    /// <summary>The delayed standby; stopped while a scratch server runs, while it goes on beside a clone.</summary>
    public required PgServer Standby { get; init; }

    /// <summary>What it was made for; null when it was given a target by hand.</summary>
    public PgIncident? Incident { get; init; }

    /// <summary>Where it stopped.</summary>
    public required RecoveryTarget Target { get; init; }

    /// <summary>How.</summary>
    public RecoveryWay Way { get; init; }

    /// <summary>Where it stands.</summary>
    public required RecoveryState State { get; init; }

    /// <summary>The server to read from: the scratch server or the clone, which only its own host reaches, or in place the standby itself.</summary>
    public PgServer? Scratch { get; init; }

    /// <summary>The id of a clone, of which a standby may have several: the position that it was recovered to. Null for the other ways.</summary>
    public string? CloneId { get; init; }

    /// <summary>What gets a person into the recovered server, on the standby's host; null while it cannot be read.</summary>
    public string? Connect { get; init; }

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

    /// <summary>Bytes that the layer, or the copy, takes on the standby's disk; null where files are copied by reference and nobody can say.</summary>
    public long? LayerBytes { get; init; }

    /// <summary>True when it exists only as a plan (-WhatIf).</summary>
    public bool IsPlanned { get; init; }

    /// <summary>What journals of it are about.</summary>
    internal string Subject => RecoveryRecord.SubjectOf(Standby, CloneId);
}
