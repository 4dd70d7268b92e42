using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The settings of a recovered server, on its command line, where they win over every file that it shares with the standby.
/// Source: PostgreSQL documentation, "Recovery Target", "Archive Recovery"; src/backend/access/transam/xlogrecovery.c.
/// </summary>
internal static class ScratchSettings
{
    public const string HbaFile = "pitrps-scratch.hba";

    /// <summary>In the scratch server's data directory: the names of the files that its restore_command gets from the archive, one a line.</summary>
    public const string FetchFile = "pitrps-scratch.fetch";

    // They start work of their own in a server that has been promoted: jobs that change rows, connections to other servers.
    private static readonly string[] Workers = ["pg_cron", "pg_partman_bgw", "pg_net", "pg_squeeze", "pglogical", "spock", "bdr", "repmgr"];

    /// <summary>"name=value" for each setting.</summary>
    public static IReadOnlyList<string> Of(RecoveredServer server, ResolvedTarget target, HostSurvey survey, string restoreCommand)
    {
        var standby = server.Standby;
        var prepared = int.TryParse(survey.Settings.GetValueOrDefault("max_prepared_transactions"), NumberStyles.None, CultureInfo.InvariantCulture, out var set) ? set : 0;
        var settings = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["config_file"] = server.OwnConfig + "/postgresql.conf",
            ["data_directory"] = server.OwnData,
            ["hba_file"] = $"{server.OwnData}/{HbaFile}",
            ["external_pid_file"] = server.SocketDirectory + "/pid",
            ["port"] = server.Port.ToString(CultureInfo.InvariantCulture),
            ["unix_socket_directories"] = server.SocketDirectory,
            ["unix_socket_group"] = "",
            ["ssl"] = "off",
            ["bonjour"] = "off",

            // Nothing of it is archived, streamed or cleaned away, and it asks no other server for anything.
            ["archive_mode"] = "off",
            ["archive_cleanup_command"] = "",
            ["recovery_end_command"] = "",
            ["primary_conninfo"] = "",
            ["primary_slot_name"] = "",
            ["max_wal_senders"] = "0",
            ["synchronous_standby_names"] = "",
            ["max_logical_replication_workers"] = "0",

            // The target, in the same start as the delay of 0: with the delay it is not reached, and lowered later it would let a record through.
            ["recovery_min_apply_delay"] = "0",
            ["restore_command"] = restoreCommand,
            ["recovery_target_action"] = "promote",

            // Without hot standby it takes no locks for the primary's sessions, and settings that are lower than the primary's do not stop it; but it takes over what was prepared there.
            ["hot_standby"] = "off",
            ["max_prepared_transactions"] = Math.Max(Math.Max(256, 2 * prepared), target.RequiredSettings.GetValueOrDefault("max_prepared_transactions")).ToString(CultureInfo.InvariantCulture),

            // No work of its own in the background.
            ["wal_recycle"] = "off",
            ["wal_init_zero"] = "off",
            ["wal_keep_size"] = "0",
            ["autovacuum"] = "off",
            ["timescaledb.max_background_workers"] = "0",

            // Its log is read.
            ["log_destination"] = "stderr",
            ["logging_collector"] = "off",
            ["log_line_prefix"] = "%m [%p] ",
            ["log_timezone"] = "UTC",
            ["log_min_messages"] = "warning",
            ["log_min_error_statement"] = "panic",
            ["log_min_duration_statement"] = "-1",
            ["log_statement"] = "none",
            ["log_connections"] = "off",
            ["log_disconnections"] = "off",
            ["log_error_verbosity"] = "default",
            ["lc_messages"] = "C",
            ["update_process_title"] = "on",
        };
        foreach (var (name, value) in target.Settings)
        {
            settings[name] = value;
        }

        if (PgVersion.HasStatsTempDirectory(standby.Version))
        {
            settings["stats_temp_directory"] = "pg_stat_tmp";
        }

        if (PgVersion.HasPromoteTriggerFile(standby.Version))
        {
            settings["promote_trigger_file"] = "";
        }

        if (PgVersion.HasArchiveLibrary(standby.Version))
        {
            settings["archive_library"] = "";
        }

        var libraries = survey.Settings.GetValueOrDefault("shared_preload_libraries", "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        string[] quiet = [.. libraries.Where(l => !Workers.Contains(l.Trim('"').Split('/')[^1], StringComparer.OrdinalIgnoreCase))];
        if (quiet.Length < libraries.Length)
        {
            settings["shared_preload_libraries"] = string.Join(", ", quiet);
        }

        foreach (var (name, value) in server.OwnSettings(survey).Where(s => s.Value is not null))
        {
            settings[name] = value!;
        }

        return [.. settings.Select(s => $"{s.Key}={s.Value}")];
    }

    /// <summary>
    /// The restore_command. PostgreSQL asks it before it looks into pg_wal, where reading is several times faster: so it says "not there" of all
    /// that is not on the list of what pg_wal lacks, and runs the standby's own command for the rest. recovery.signal wants one in any case.
    /// </summary>
    /// <param name="standbys">The standby's own restore_command.</param>
    /// <param name="archive">The archive's directory, for a standby that has no restore_command.</param>
    /// <param name="fetched">What pg_wal lacks.</param>
    public static string RestoreCommand(string standbys, string? archive, IReadOnlyCollection<string> fetched) =>
        fetched.Count == 0 ? "false"
        : $"grep -qxF \"%f\" {FetchFile} && {{ {(standbys.Trim().TrimEnd(';') is { Length: > 0 } own ? own : $"cp \"{archive}/%f\" \"%p\"")}; }}";
}
