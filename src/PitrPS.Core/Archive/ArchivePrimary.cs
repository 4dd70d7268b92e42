using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>How a primary archives now.</summary>
/// <param name="Mode">archive_mode.</param>
/// <param name="Command">archive_command.</param>
/// <param name="Library">archive_library; empty before 15.</param>
/// <param name="WalLevel">wal_level.</param>
internal sealed record ArchiveSettings(string Mode, string Command, string Library, string WalLevel)
{
    /// <summary>Other archiving than the one that is wanted is at work.</summary>
    public bool IsForeign(Func<string, bool> isWanted) => Mode != "off" && (Library.Length > 0 || (Command.Length > 0 && !isWanted(Command)));
}

/// <summary>What pg_stat_archiver says.</summary>
internal sealed record ArchiverState(long Archived, string? Last, long Failed, string? LastFailed, bool IsFailing)
{
    public static async Task<ArchiverState> ReadAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        var row = (await ServerSql.QueryAsync(server, "postgres",
            """
            SELECT archived_count, last_archived_wal, failed_count, last_failed_wal,
                   coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL) FROM pg_catalog.pg_stat_archiver
            """, feedback, cancel).ConfigureAwait(false))[0];
        return new ArchiverState(row.Number(0), row[1], row.Number(2), row[3], row.Flag(4));
    }
}

/// <summary>What both Enable- and Disable-WalArchive ask of the server.</summary>
internal static class ArchivePrimary
{
    /// <exception cref="PitrException"><c>PitrPS.NotAPrimary</c>, <c>PitrPS.ServerUnavailable</c></exception>
    public static void Require(PgServer server)
    {
        if (!server.IsRunning)
        {
            throw new PitrException("PitrPS.ServerUnavailable", ErrorKind.ResourceUnavailable, $"{server.Id} does not run.",
                $"Start it ({(server.ServiceUnit is { } unit ? "systemctl start " + unit : "pg_ctl start")}), read it again with Get-PgServer, and run the same command again.", server);
        }

        if (server.IsStandby || server.Role != ServerRole.Primary)
        {
            throw new PitrException("PitrPS.NotAPrimary", ErrorKind.InvalidOperation, $"{server.Id} is a standby; the archive is filled by its primary.",
                "Give this cmdlet the primary. A standby gets at the archive by Mount-WalArchive.", server);
        }
    }

    public static async Task<ArchiveSettings> SettingsAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        var row = (await ServerSql.QueryAsync(server, "postgres",
            """
            SELECT pg_catalog.current_setting('archive_mode'), pg_catalog.current_setting('archive_command'),
                   coalesce(pg_catalog.current_setting('archive_library', true), ''), pg_catalog.current_setting('wal_level')
            """, feedback, cancel).ConfigureAwait(false))[0];
        var mode = row.Text(0);

        // With archive_mode off the server shows "(disabled)" whatever the command is.
        return new ArchiveSettings(mode, mode == "off" ? "" : row.Text(1), row.Text(2), row.Text(3));
    }

    /// <summary>
    /// Completes the settings that archiving needs by what the server has now: leaves alone what is enough, takes the place of an archive_library.
    /// </summary>
    /// <returns>How it archives now.</returns>
    /// <exception cref="PitrException"><c>PitrPS.ArchiveCommandExists</c></exception>
    public static async Task<ArchiveSettings> SettleAsync(PgServer server, Dictionary<string, string?> settings, bool force, Func<string, bool> isWanted, List<string> announcements, IFeedback feedback, CancellationToken cancel)
    {
        var now = await SettingsAsync(server, feedback, cancel).ConfigureAwait(false);

        // 'always' is 'on' for a primary; to change it would restart the server for nothing.
        if (now.Mode == "always")
        {
            settings["archive_mode"] = "always";
        }

        // Left alone where it is enough: what is not set need not be given back.
        if (now.WalLevel == "minimal")
        {
            settings["wal_level"] = "replica";
        }

        // 15 ignores archive_command in silence beside an archive_library, 16 and later refuse both together.
        if (now.Library.Length > 0)
        {
            settings["archive_library"] = "";
        }

        if (now.IsForeign(isWanted))
        {
            var theirs = now.Library.Length > 0 ? $"archive_library '{now.Library}'" : $"archive_command '{now.Command}'";
            if (!force)
            {
                throw new PitrException("PitrPS.ArchiveCommandExists", ErrorKind.ResourceExists,
                    $"{server.Id} already archives its WAL, with {theirs}; PitrPS would set archive_command '{settings["archive_command"]}'.",
                    "If nobody needs that archive any more, use -Force: the old setting stays where it is, without effect, and Disable-WalArchive gives it its effect back.", server);
            }

            announcements.Add($"{server.Id} archives with {theirs} now; from then on it does so no more. Disable-WalArchive gives that setting its effect back.");
        }

        return now;
    }

    /// <exception cref="PitrException"><c>PitrPS.InvalidInterval</c></exception>
    public static void RequireIntervals(PgServer server, TimeSpan heartbeat, TimeSpan timeout)
    {
        RequireSeconds(heartbeat, "The heartbeat's interval", 0);
        RequireSeconds(timeout, "archive_timeout", 1);

        void RequireSeconds(TimeSpan time, string what, int least)
        {
            const int most = 86_400;
            if (time.TotalSeconds < least || time.TotalSeconds > most || time.Ticks % TimeSpan.TicksPerSecond != 0)
            {
                throw new PitrException("PitrPS.InvalidInterval", ErrorKind.InvalidArgument, $"{what} is {time}, and has to be a whole number of seconds from {least} to {most}.",
                    "Give a TimeSpan such as 00:01:00, or a number of seconds with New-TimeSpan -Seconds.", server);
            }
        }
    }
}
