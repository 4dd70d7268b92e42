using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>What a standby says of its replay, in one query; everything that decides about a freeze is decided from this.</summary>
internal sealed record ReplayFacts
{
    /// <summary>The largest value of recovery_min_apply_delay in milliseconds: an int, 24.8 days. (src/backend/utils/misc/guc_tables.c)</summary>
    public const long LargestDelay = int.MaxValue;

    public required bool InRecovery { get; init; }

    public required DateTimeOffset Time { get; init; }

    /// <summary>'not paused', 'pause requested' or 'paused'; 13 knows only the first and the last.</summary>
    public required string PauseState { get; init; }

    /// <summary>What the startup process waits for, for example RecoveryApplyDelay; null when it works.</summary>
    public string? StartupWait { get; init; }

    public required long DelayMilliseconds { get; init; }

    public Lsn? Received { get; init; }

    public Lsn? Replayed { get; init; }

    public DateTimeOffset? ReplayedUpTo { get; init; }

    public string? Receiver { get; init; }

    /// <summary>The recovery_target_* settings that have a value, name=value.</summary>
    public IReadOnlyList<string> Targets { get; init; } = [];

    public string TargetAction { get; init; } = "pause";

    /// <summary>Settings that are lower than the primary's, as pg_control knows them, name (ours &lt; theirs).</summary>
    public IReadOnlyList<string> TooLow { get; init; } = [];

    /// <summary>What the state file says about the freeze.</summary>
    public DateTimeOffset? FrozenAt { get; init; }

    public bool IsPaused => PauseState != "not paused";

    /// <summary>
    /// Nothing is applied any more: the pause is in force, or it was asked for and the startup process stands in the delay or waits for WAL;
    /// it looks at the pause before it applies the next record.
    /// </summary>
    public bool StandsStill => IsStopped
        || (PauseState == "pause requested" && StartupWait is "RecoveryApplyDelay" or "RecoveryWalStream" or "RecoveryRetrieveRetryInterval");

    public bool DelayIsRaised => DelayMilliseconds == LargestDelay;

    public ReplayState State
    {
        get
        {
            if (!InRecovery)
            {
                return ReplayState.None;
            }

            // Only a real stop counts for these two: while replay is held in the delay it cannot be at a target.
            if (IsStopped && TooLow.Count > 0)
            {
                return ReplayState.PausedForSettings;
            }

            if (IsStopped && Targets.Count > 0 && TargetAction == "pause")
            {
                return ReplayState.PausedAtTarget;
            }

            return (IsPaused, DelayIsRaised && FrozenAt is not null) switch
            {
                (true, true) => ReplayState.Frozen,
                (true, false) => ReplayState.PausedByHand,
                (false, true) => ReplayState.PauseLost,
                _ => ReplayState.Replaying,
            };
        }
    }

    /// <summary>The startup process itself has stopped. 13 does not tell 'requested' from 'paused'; there its wait does.</summary>
    public bool IsStopped => PauseState == "paused" || (IsPaused && StartupWait == "RecoveryPause");

    // lock_timeout and the empty search_path are the session's own; pg_get_wal_replay_pause_state exists from 14 on.
    public static string Query(int major) =>
        $"""
        SELECT pg_is_in_recovery(),
               extract(epoch FROM clock_timestamp()),
               CASE WHEN NOT pg_is_in_recovery() THEN 'not paused' ELSE {(PgVersion.HasReplayPauseState(major)
                   ? "pg_get_wal_replay_pause_state()"
                   : "CASE WHEN pg_is_wal_replay_paused() THEN 'pause requested' ELSE 'not paused' END")} END,
               (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup' LIMIT 1),
               (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'),
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END,
               extract(epoch FROM pg_last_xact_replay_timestamp()),
               (SELECT status FROM pg_stat_wal_receiver),
               (SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
                 WHERE name IN ('recovery_target', 'recovery_target_lsn', 'recovery_target_name', 'recovery_target_time', 'recovery_target_xid') AND setting <> ''),
               (SELECT setting FROM pg_settings WHERE name = 'recovery_target_action')
        """;

    public static ReplayFacts From(SqlRow row, DateTimeOffset? frozenAt) => new()
    {
        InRecovery = row.Flag(0),
        Time = Epoch(row.Text(1)),
        PauseState = row.Text(2),
        StartupWait = row[3],
        DelayMilliseconds = row.Number(4),
        Received = row[5] is { } received ? Lsn.Parse(received) : null,
        Replayed = row[6] is { } replayed ? Lsn.Parse(replayed) : null,
        ReplayedUpTo = row[7] is { } at ? Epoch(at) : null,
        Receiver = row[8],
        Targets = row[9]?.Split(' ') ?? [],
        TargetAction = row[10] ?? "pause",
        FrozenAt = frozenAt,
    };

    public static DateTimeOffset Epoch(string seconds) =>
        DateTimeOffset.UnixEpoch.AddTicks((long)(decimal.Parse(seconds, CultureInfo.InvariantCulture) * TimeSpan.TicksPerSecond));
}
