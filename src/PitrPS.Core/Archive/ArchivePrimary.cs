using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>How a primary archives now.</summary>
/// <param name="Mode">archive_mode.</param>
/// <param name="Command">archive_command.</param>
/// <param name="Library">archive_library; empty before 15.</param>
/// <param name="WalLevel">wal_level.</param>
internal sealed record ArchiveSettings(string Mode, string Command, string Library, string WalLevel)
{
    /// <summary>Somebody else's archiving is at work.</summary>
    public bool IsForeign => Mode != "off" && (Library.Length > 0 || (Command.Length > 0 && !ArchiveScripts.IsOurs(Command)));
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
}
