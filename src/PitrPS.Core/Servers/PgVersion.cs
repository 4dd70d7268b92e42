namespace PitrPS.Servers;

/// <summary>All that differs between major versions of PostgreSQL, as data; nothing else compares a version. Source: the release notes of each.</summary>
internal static class PgVersion
{
    /// <summary>The oldest major that PitrPS works with.</summary>
    public const int Oldest = 13;

    /// <summary>The newest major that is known of; what is looked for where no version is asked for.</summary>
    public const int Newest = 18;

    /// <summary>Refuses a server of a version that is too old, whatever is to be done with it.</summary>
    /// <exception cref="PitrException"><c>PitrPS.VersionUnsupported</c></exception>
    public static void Require(PgServer server) => Require(server.Version, server);

    /// <exception cref="PitrException"><c>PitrPS.VersionUnsupported</c></exception>
    public static void Require(int major, object? target)
    {
        if (major < Oldest)
        {
            throw new PitrException("PitrPS.VersionUnsupported", ErrorKind.NotImplemented, $"{(target is PgServer server ? $"{server.Id} is PostgreSQL {major}, which" : $"PostgreSQL {major}")} is not supported; the oldest version that is, is {Oldest}. Nothing was changed.",
                $"Take version {Oldest} or newer. A server of an older version has to be upgraded first (pg_upgrade).", target);
        }
    }

    /// <summary>What a distribution calls itself, and the major version that it brings.</summary>
    public static IReadOnlyList<KeyValuePair<string, int>> OfDistributions { get; } =
    [
        new("Debian GNU/Linux 11", 13),
        new("Debian GNU/Linux 12", 15),
        new("Debian GNU/Linux 13", 17),
        new("Ubuntu 22.04", 14),
        new("Ubuntu 24.04", 16),
        new("Ubuntu 26.04", 18),
    ];

    /// <summary>pg_get_wal_replay_pause_state() tells 'pause requested' from 'paused'.</summary>
    public static bool HasReplayPauseState(int major) => major >= 14;

    /// <summary>stats_temp_directory, which can lead out of the data directory.</summary>
    public static bool HasStatsTempDirectory(int major) => major < 15;

    /// <summary>promote_trigger_file, at whose sight a server is promoted.</summary>
    public static bool HasPromoteTriggerFile(int major) => major < 16;

    /// <summary>pg_waldump takes -r more than once; before, only the last one counts.</summary>
    public static bool DumpsSeveralManagers(int major) => major >= 14;

    /// <summary>A COMMIT names the statistics that it drops, and with them each relation that it drops, by oid.</summary>
    public static bool CommitsDropStatistics(int major) => major >= 15;

    /// <summary>pg_rewind takes --config-file, without which it finds no restore_command where the configuration lies apart from the data.</summary>
    public static bool RewindsWithConfigFile(int major) => major >= 15;

    /// <summary>A page image in the WAL says which compression it has; before, there was only pglz.</summary>
    public static bool NamesImageCompression(int major) => major >= 15;

    /// <summary>Where relkind lies in a row of pg_class, in bytes; relpersistence is just before it. 18 has relallfrozen in front of them.</summary>
    public static int OffsetOfRelkind(int major) => major >= 18 ? 119 : 115;

    /// <summary>The magic number of a page of WAL; null for a version that is not known. (src/include/access/xlog_internal.h, XLOG_PAGE_MAGIC)</summary>
    public static int? WalMagic(int major) => major switch { 13 => 0xD106, 14 => 0xD10D, 15 => 0xD110, 16 => 0xD113, 17 => 0xD116, 18 => 0xD118, _ => null };

    /// <summary>READ_REPLICATION_SLOT says over a replication connection what a slot keeps.</summary>
    public static bool ReadsReplicationSlots(int major) => major >= 15;

    /// <summary>archive_library exists beside archive_command.</summary>
    public static bool HasArchiveLibrary(int major) => major >= 15;

    /// <summary>Publications can have row filters and column lists.</summary>
    public static bool HasPublicationFilters(int major) => major >= 15;

    /// <summary>Columns have a compression method (pg_attribute.attcompression).</summary>
    public static bool HasColumnCompression(int major) => major >= 14;

    /// <summary>pg_dump takes line breaks out of the names that it writes into comments (CVE-2025-8715). The version is the full number, 150018 for 15.18.</summary>
    public static bool SanitizesDumpComments(int version) =>
        version >= (version / 10000) switch { 13 => 130022, 14 => 140019, 15 => 150014, 16 => 160010, 17 => 170006, _ => 180000 };
}
