using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// Mount-WalArchive for a primary that archives to a repository: there is nothing to mount. The standby's own pgBackRest has to reach the same stanza, which is tried, and remembered
/// for New-PgStandby.
/// </summary>
internal static class RepositoryMountPlan
{
    /// <exception cref="PitrException"><c>PitrPS.ArchiveMountedElsewhere</c>, and what <see cref="PgBackRest.RequireAsync"/> throws.</exception>
    public static async Task<Planned<PgServer>> BuildAsync(MountOptions options, WalRepository repository, IFeedback feedback, CancellationToken cancel)
    {
        var (standby, primary) = (options.Standby, options.Primary);
        if (standby.ArchiveMountPoint is { } mountPoint)
        {
            throw new PitrException("PitrPS.ArchiveMountedElsewhere", ErrorKind.ResourceExists, $"{standby.Id} has an archive at {mountPoint}; its primary archives to {repository} now.",
                "Run Dismount-WalArchive first (with -Force where the standby reads from it), then the same command again.", standby);
        }

        var reached = new PgBackRest(standby, repository.Stanza);
        if (!standby.IsPlanned && !primary.IsPlanned)
        {
            await reached.RequireAsync(primary.SystemIdentifier, cancel).ConfigureAwait(false);
        }

        PrimaryLink LinkFrom(PrimaryLink? was) => new(options.PrimaryAddress ?? was?.Address ?? primary.Host.Address, primary.Port,
            options.PrimarySshPort ?? was?.SshPort ?? primary.Host.Port, was?.Slot, primary.Host.Name, primary.Name);
        ServerState Changed(ServerState state) => state with { RestoreStanza = repository.Stanza, Primary = LinkFrom(state.Primary) };
        var plan = new Plan
        {
            Operation = "Mount-WalArchive",
            Subject = standby.Id,
            Home = standby.Host,
            OtherHosts = [primary.Host],
            IsPlanned = standby.IsPlanned || primary.IsPlanned,
            Announcements = [$"{primary.Id} archives to {repository}: nothing is mounted, {standby.Id} reads WAL by its own host's pgbackrest."],
            Parameters = new Dictionary<string, string> { ["primary"] = primary.Id, ["stanza"] = repository.Stanza },
            WayBack = "Dismount-WalArchive",
            Steps =
            [
                new Step("stanza", $"See that {standby.OsUser} reaches the stanza '{repository.Stanza}' by pgbackrest, and that it is {primary.Id}'s", standby.Host)
                {
                    IsDone = async run => await reached.InfoAsync(run.Cancel).ConfigureAwait(false) is { IsMissing: false, Problem: null } info
                        && (primary.SystemIdentifier is not { } cluster || info.OtherThan(cluster) is null),
                    Do = run => reached.RequireAsync(primary.SystemIdentifier, run.Cancel),
                    Preview = [$"[{standby.OsUser}] pgbackrest --stanza={repository.Stanza} info"],
                },
                .. ArchiveScripts.InstallSteps(standby.Host),
                new Step("state", "Remember the stanza and the primary in PitrPS's state on the host", standby.Host)
                {
                    IsDone = async run => await ServerState.ReadAsync(standby.Host, standby.Name, run.Cancel).ConfigureAwait(false) is var state && Changed(state) == state,
                    Do = run => ServerState.UpdateAsync(standby.Host, standby.Name, Changed, run.Cancel),
                    Preview = [$"write {ServerState.PathOf(standby.Name)}"],
                },
            ],
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(standby, feedback, token),
            () => standby with { RestoreRepository = repository, Primary = LinkFrom(standby.Primary), IsPlanned = true });
    }

    /// <summary>Dismount-WalArchive where nothing is mounted: what is remembered, and what pitrps-restore has noted.</summary>
    public static IReadOnlyList<Step> RemovalSteps(PgServer standby) =>
    [
        Steps.Absent(standby.Host, "asked", "Remove what pitrps-restore has noted", standby.DataDirectory + "/pg_wal/pitrps-restore.asked"),
    ];
}
