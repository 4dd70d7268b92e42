using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>Disable-WalArchive: settings and heartbeat as they were before Enable-WalArchive, and no retention any more; what is archived stays.</summary>
internal static class ArchiveRemovalPlan
{
    // wal_level stays: a standby may stream without an archive.
    private static Dictionary<string, string?> SettingsOf(PgServer server)
    {
        var settings = new Dictionary<string, string?> { ["archive_mode"] = null, ["archive_command"] = null, ["archive_timeout"] = null };
        if (PgVersion.HasArchiveLibrary(server.Version))
        {
            settings["archive_library"] = null;
        }

        return settings;
    }

    /// <exception cref="PitrException"><c>PitrPS.NotAPrimary</c>, <c>PitrPS.ServerUnavailable</c></exception>
    public static async Task<Planned<PgServer>> BuildAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        var settings = SettingsOf(server);
        var announcements = new List<string>();
        if (!server.IsPlanned)
        {
            ArchivePrimary.Require(server);
            announcements.AddRange(await OwnedSettings.AnnouncementsAsync(server, settings, feedback, cancel).ConfigureAwait(false));
            if (server.ArchiveDirectory is { } directory)
            {
                announcements.Add($"What is in {directory} stays there. Standbys that read it get no more WAL from it: what they have not streamed is lost to them.");
            }
        }

        if (server.ArchiveRepository is { } repository)
        {
            announcements.Add($"What {repository} has stays there.");
        }

        var plan = new Plan
        {
            Operation = "Disable-WalArchive",
            TakesBack = ["Enable-WalArchive"],
            Subject = server.Id,
            Home = server.Host,
            IsPlanned = server.IsPlanned,
            Announcements = announcements,
            WayBack = "Enable-WalArchive",
            Steps = [Heartbeat.GoneStep(server), .. Retention.GoneSteps(server), .. OwnedSettings.Steps(server, "settings", settings), Forget(server)],
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(server, feedback, token), () => server with { ArchiveDirectory = null, ArchiveRepository = null, ArchiveRetention = null, ArchiveCompression = WalCompression.None, IsPlanned = true });
    }

    private static Step Forget(PgServer server) => new("state", "Forget the archive in PitrPS's state on the host", server.Host)
    {
        IsDone = async run => await ServerState.ReadAsync(server.Host, server.Name, run.Cancel).ConfigureAwait(false) is { ArchiveDirectory: null, ArchiveStanza: null, HeartbeatSeconds: null, RetainSeconds: null, ArchiveCompression: null },
        Do = run => ServerState.UpdateAsync(server.Host, server.Name, state => state with { ArchiveDirectory = null, ArchiveStanza = null, HeartbeatSeconds = null, RetainSeconds = null, ArchiveCompression = null }, run.Cancel),
        Preview = [$"write {ServerState.PathOf(server.Name)}"],
    };
}
