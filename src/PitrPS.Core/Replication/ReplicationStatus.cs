using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>What a standby's replay is doing.</summary>
public enum ReplayState
{
    /// <summary>Not a standby, or not running.</summary>
    None,
    /// <summary>It replays, holding COMMITs back for the delay.</summary>
    Replaying,
    /// <summary>Paused by Suspend-WalReplay, and the delay is raised so that a crash does not thaw it.</summary>
    Frozen,
    /// <summary>It was frozen, but the pause is gone (a restart or crash forgets it); the raised delay still holds every COMMIT back. Suspend-WalReplay pauses it again.</summary>
    PauseLost,
    /// <summary>Somebody paused it by hand; the delay is not raised, so a restart would thaw it.</summary>
    PausedByHand,
    /// <summary>Paused at a recovery target: resuming would promote it.</summary>
    PausedAtTarget,
    /// <summary>Paused because settings are lower than the primary's (PostgreSQL 14 and newer): resuming would shut it down.</summary>
    PausedForSettings,
}

/// <summary>A standby as its primary sees it.</summary>
/// <param name="Name">application_name.</param>
/// <param name="Address">The client's address.</param>
/// <param name="State">streaming, catchup, backup.</param>
/// <param name="Sent">Up to where WAL has been sent.</param>
/// <param name="Replayed">Up to where the standby says it has replayed.</param>
/// <param name="Slot">Its slot, if any.</param>
public sealed record ConnectedStandby(string Name, string? Address, string State, Lsn? Sent, Lsn? Replayed, string? Slot);

/// <summary>
/// Where a server stands in its replication. All times are read on the server; positions are WAL positions, lags are bytes.
/// Source: PostgreSQL documentation, "Recovery Control Functions", "pg_stat_wal_receiver", "pg_stat_replication", "pg_stat_archiver".
/// </summary>
public sealed record ReplicationStatus
{
    /// <summary>The server that was asked.</summary>
    public required PgServer Server { get; init; }

    /// <summary>Primary or Standby.</summary>
    public required ServerRole Role { get; init; }

    /// <summary>The server's clock when it was asked, UTC.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>What replay is doing.</summary>
    public ReplayState Replay { get; init; }

    /// <summary>On a primary: the end of its WAL.</summary>
    public Lsn? Current { get; init; }

    /// <summary>On a standby: the end of the WAL that was streamed to it since it was started; null where none was.</summary>
    public Lsn? Received { get; init; }

    /// <summary>On a standby: up to where it has replayed.</summary>
    public Lsn? Replayed { get; init; }

    /// <summary>On a standby: the primary's time of the last COMMIT that was replayed.</summary>
    public DateTimeOffset? ReplayedUpTo { get; init; }

    /// <summary>Bytes that were received and not replayed.</summary>
    public long? HeldBackBytes { get; init; }

    /// <summary>The delay that is set, or, while frozen or recovered in place, the one that Resume-WalReplay or Complete-PitrRecovery puts back.</summary>
    public TimeSpan? Delay { get; init; }

    /// <summary>The delay in force now: while frozen the largest there is, 24.8 days.</summary>
    public TimeSpan? EffectiveDelay { get; init; }

    /// <summary>At least so long until the next COMMIT that is held back is applied; null while replay is paused.</summary>
    public TimeSpan? TimeLeft { get; init; }

    /// <summary>The WAL receiver: streaming, waiting, or none. None is no alarm after a restart: the standby goes on from the archive.</summary>
    public string? Receiver { get; init; }

    /// <summary>The last segment that archive_command finished on this server, by pg_stat_archiver.</summary>
    public string? LastArchived { get; init; }

    /// <summary>When that was.</summary>
    public DateTimeOffset? LastArchivedAt { get; init; }

    /// <summary>The last segment that failed, when it failed after the last success.</summary>
    public string? ArchiveFailing { get; init; }

    /// <summary>On a standby: whether the archive's marker could be read through the mount, or the repository by its tool; null when there is neither.</summary>
    public bool? ArchiveMounted { get; init; }

    /// <summary>On a primary: who streams from it.</summary>
    public IReadOnlyList<ConnectedStandby> Standbys { get; init => field = Listed.Of(value); } = [];

    /// <summary>What somebody should look at, a sentence each.</summary>
    public IReadOnlyList<string> Warnings { get; init => field = Listed.Of(value); } = [];
}
