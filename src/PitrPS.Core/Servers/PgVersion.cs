namespace PitrPS.Servers;

/// <summary>All that differs between major versions of PostgreSQL, as data; nothing else compares a version. Source: the release notes of each.</summary>
internal static class PgVersion
{
    /// <summary>The oldest major that PitrPS works with.</summary>
    public const int Oldest = 13;

    /// <summary>pg_get_wal_replay_pause_state() tells 'pause requested' from 'paused'.</summary>
    public static bool HasReplayPauseState(int major) => major >= 14;
}
