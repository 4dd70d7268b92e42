using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// Mount-WalArchive by NFS, or of what others have mounted already: no account and no key on the primary, where only the retention learns of the standby.
/// It is held against the same proof as a mount over SSHFS.
/// </summary>
internal static class OtherMountPlan
{
    /// <exception cref="PitrException"><c>PitrPS.MountPointInUse</c>, <c>PitrPS.InvalidAddress</c>, <c>PitrPS.InvalidPath</c>, what <see cref="ArchiveMount.RequireLocalAsync"/> throws; when carried out also <c>PitrPS.CompressionUnavailable</c>, <c>PitrPS.MountNotWorking</c>.</exception>
    public static async Task<Planned<PgServer>> BuildAsync(MountOptions options, string directory, IFeedback feedback, CancellationToken cancel)
    {
        var (standby, primary, mountPoint) = (options.Standby, options.Primary, options.MountPoint!);
        var mount = new ArchiveMount(standby, mountPoint, options.Transport);
        var isNfs = options.Transport == WalTransport.Nfs;
        var address = options.PrimaryAddress ?? standby.Primary?.Address ?? primary.Host.Address;
        PrimaryRoute.RequireAddress(address, primary.Host);
        var source = isNfs ? NfsMount.SourceOf(options.ExportPath, address, directory, primary) : "";
        var compressions = await ArchiveCompression.InAsync(primary, cancel).ConfigureAwait(false);
        if (isNfs)
        {
            await MountPlan.RequireFreeAsync(standby, mountPoint, mount.Unit, cancel).ConfigureAwait(false);
        }
        else if (!standby.IsPlanned && !primary.IsPlanned)
        {
            await mount.RequireLocalAsync(primary.SystemIdentifier, primary.Id, cancel).ConfigureAwait(false);
        }

        PrimaryLink LinkFrom(PrimaryLink? was) => new(address, was?.Address == address ? was.Port : primary.Port, options.PrimarySshPort ?? was?.SshPort ?? primary.Host.Port, was?.Slot, primary.Host.Name, primary.Name);
        ServerState Changed(ServerState state) => state with { ArchiveMountPoint = mountPoint, ArchiveTransport = options.Transport, Primary = LinkFrom(state.Primary) };
        var plan = new Plan
        {
            Operation = "Mount-WalArchive",
            Subject = standby.Id,
            Home = standby.Host,
            OtherHosts = [primary.Host],
            IsPlanned = standby.IsPlanned || primary.IsPlanned,
            Announcements = isNfs ? [] : [$"Nothing is mounted: {mountPoint} is taken as it is, and nobody watches it. That it is there after a reboot is its owner's business."],
            Parameters = new Dictionary<string, string> { ["primary"] = primary.Id, ["mountPoint"] = mountPoint, ["transport"] = options.Transport.ToString(), ["source"] = source },
            WayBack = "Dismount-WalArchive",
            Steps =
            [
                .. ArchiveCompression.ProgramSteps(standby.Host, compressions),
                // Before it can read: what it needs must not go meanwhile.
                StandbyRegister.RegisterStep(primary, standby, standby.Primary?.Slot),
                .. isNfs ? new NfsMount(standby, mountPoint, source).Steps() : [],
                mount.ProofStep(primary.SystemIdentifier, primary.Id),
                .. ArchiveScripts.InstallSteps(standby.Host, mounts: isNfs),
                .. isNfs ? (Step[])[mount.WatchStep()] : [],
                new Step("state", "Remember the archive's place and the primary in PitrPS's state on the host", standby.Host)
                {
                    IsDone = async run => await ServerState.ReadAsync(standby.Host, standby.Name, run.Cancel).ConfigureAwait(false) is var state && Changed(state) == state,
                    Do = run => ServerState.UpdateAsync(standby.Host, standby.Name, Changed, run.Cancel),
                    Preview = [$"write {ServerState.PathOf(standby.Name)}"],
                },
            ],
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(standby, feedback, token),
            () => standby with { ArchiveMountPoint = mountPoint, ArchiveTransport = options.Transport, Primary = LinkFrom(standby.Primary), IsPlanned = true });
    }
}
