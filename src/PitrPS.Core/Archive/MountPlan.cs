using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What Mount-WalArchive was asked for.</summary>
/// <param name="Standby">The standby, or what is going to be one.</param>
/// <param name="Primary">The server whose archive it is.</param>
/// <param name="MountPoint">On the standby's host; nothing where the primary archives to a repository.</param>
/// <param name="PrimaryAddress">The primary as the standby sees it; null for the address that the client uses.</param>
/// <param name="PrimarySshPort">Its SSH port as the standby sees it; null for the one that the client uses.</param>
/// <param name="Transport">How the archive gets there.</param>
/// <param name="ExportPath">With <see cref="WalTransport.Nfs"/>: the export, as PATH or HOST:PATH; null for the archive's directory on the primary.</param>
internal sealed record MountOptions(PgServer Standby, PgServer Primary, string? MountPoint, string? PrimaryAddress, int? PrimarySshPort, WalTransport Transport = WalTransport.Sshfs, string? ExportPath = null)
{
    /// <summary>Where sshfs may come from.</summary>
    public PackageOrigin Packages { get; init; } = new();
}

/// <summary>Mount-WalArchive: on the primary an account that can only read the archive, on the standby a key for it and a mount that heals.</summary>
internal static class MountPlan
{
    /// <exception cref="PitrException">
    /// <c>PitrPS.MountPointRequired</c>, <c>PitrPS.InvalidPath</c>, <c>PitrPS.InvalidTransport</c>, <c>PitrPS.NoArchive</c>, <c>PitrPS.ArchiveMountedElsewhere</c>, <c>PitrPS.MountPointInUse</c>,
    /// <c>PitrPS.InvalidRepository</c>, <c>PitrPS.RepositoryKeyMissing</c>,
    /// and what <see cref="PrimaryRoute.TryAsync"/> throws; when carried out also <c>PitrPS.CompressionUnavailable</c>, <c>PitrPS.MountNotWorking</c> and what <see cref="Steps.Source"/> throws.
    /// </exception>
    public static async Task<Planned<PgServer>> BuildAsync(MountOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var (standby, primary) = (options.Standby, options.Primary);
        if (primary.ArchiveRepository is { } repository)
        {
            return await RepositoryMountPlan.BuildAsync(options, repository, feedback, cancel).ConfigureAwait(false);
        }

        if (standby.RestoreRepository is { } other)
        {
            throw new PitrException("PitrPS.ArchiveMountedElsewhere", ErrorKind.ResourceExists, $"{standby.Id} reads WAL out of {other}.",
                "Run Dismount-WalArchive first (with -Force where the standby restores from it), then the same command again.", standby);
        }

        if (options.MountPoint is not { } mountPoint)
        {
            throw new PitrException("PitrPS.MountPointRequired", ErrorKind.InvalidArgument, $"No -MountPoint is given for the archive of {primary.Id}.",
                "Give a directory on the standby's host that does not exist yet or is empty, for example -MountPoint /mnt/archive_wal_dir.", standby);
        }

        mountPoint = mountPoint.Length > 1 ? mountPoint.TrimEnd('/') : mountPoint;
        ArchiveScripts.RequirePath(mountPoint, "The mount point", standby);
        if (primary.ArchiveDirectory is not { } directory)
        {
            throw new PitrException("PitrPS.NoArchive", ErrorKind.InvalidOperation, $"{primary.Id} has no archive that PitrPS set up.",
                "Run Enable-WalArchive on the primary first, and give its result (or what Get-PgServer reads afterwards) as -Primary.", primary);
        }

        if (standby.ArchiveMountPoint is { } now && now != mountPoint)
        {
            throw new PitrException("PitrPS.ArchiveMountedElsewhere", ErrorKind.ResourceExists, $"{standby.Id} has its primary's archive at {now} already.",
                $"Use that mount point, or run Dismount-WalArchive first.", standby);
        }

        if (standby.ArchiveTransport is { } by && by != options.Transport)
        {
            throw new PitrException("PitrPS.ArchiveMountedElsewhere", ErrorKind.ResourceExists, $"{standby.Id} has its primary's archive at {mountPoint} by {by}, not by {options.Transport}.",
                $"Use -Transport {by}, or run Dismount-WalArchive first (with -Force where the standby restores from it).", standby);
        }

        options.Packages.Require(standby.Host);
        if (options.Packages.Uri is not null && options.Transport != WalTransport.Sshfs)
        {
            throw new PitrException("PitrPS.InvalidTransport", ErrorKind.InvalidArgument, $"-RepositoryUri is for the packages of sshfs, and -Transport {options.Transport} needs none.",
                "Leave -RepositoryUri out.", standby);
        }

        if (options.ExportPath is not null && options.Transport != WalTransport.Nfs)
        {
            throw new PitrException("PitrPS.InvalidTransport", ErrorKind.InvalidArgument, $"-ExportPath {options.ExportPath} means nothing with -Transport {options.Transport}.",
                "Give -Transport Nfs, or leave -ExportPath out.", standby);
        }

        if (options.Transport != WalTransport.Sshfs)
        {
            return await OtherMountPlan.BuildAsync(options with { MountPoint = mountPoint }, directory, feedback, cancel).ConfigureAwait(false);
        }

        var mount = new ArchiveMount(standby, mountPoint);
        var reader = ArchiveReader.Of(primary);
        await RequireFreeAsync(standby, mountPoint, mount.Unit, cancel).ConfigureAwait(false);
        var compressions = await ArchiveCompression.InAsync(primary, cancel).ConfigureAwait(false);
        var route = await PrimaryRoute.TryAsync(standby.Host, primary.Host, options.PrimaryAddress ?? primary.Host.Address, options.PrimarySshPort ?? primary.Host.Port, reader.Account, cancel).ConfigureAwait(false);
        var sshdConfig = await SshdConfig.PlaceAsync(primary.Host, reader.Account, cancel).ConfigureAwait(false);

        PrimaryLink LinkFrom(PrimaryLink? was) => new(route.Address, was?.Address == route.Address ? was.Port : primary.Port, route.Port, was?.Slot, primary.Host.Name, primary.Name);
        ServerState Changed(ServerState state) => state with { ArchiveMountPoint = mountPoint, ArchiveTransport = null, Primary = LinkFrom(state.Primary) };

        var plan = new Plan
        {
            Operation = "Mount-WalArchive",
            Subject = standby.Id,
            Home = standby.Host,
            OtherHosts = [primary.Host],
            IsPlanned = standby.IsPlanned || primary.IsPlanned,
            Announcements = [$"sshd on {primary.Host.Name} reads its configuration again; sessions go on."],
            Parameters = new Dictionary<string, string>
            {
                ["primary"] = primary.Id,
                ["mountPoint"] = mountPoint,
                ["address"] = string.Create(CultureInfo.InvariantCulture, $"{route.Address} port {route.Port}"),
            },
            WayBack = "Dismount-WalArchive",
            Steps =
            [
                .. ArchiveCompression.ProgramSteps(standby.Host, compressions),
                .. mount.KeySteps(options.Packages),
                .. reader.PrimarySteps(directory, sshdConfig),
                // Before it can read: what it needs must not go meanwhile.
                StandbyRegister.RegisterStep(primary, standby, standby.Primary?.Slot),
                reader.AuthorizeStep(mount.PublicKeyAsync, mount.KeyOwner),
                .. mount.MountSteps(route, reader),
                mount.ProofStep(primary.SystemIdentifier, primary.Id),
                .. ArchiveScripts.InstallSteps(standby.Host, mounts: true),
                mount.WatchStep(),
                new Step("state", "Remember the mount and the primary in PitrPS's state on the host", standby.Host)
                {
                    IsDone = async run => await ServerState.ReadAsync(standby.Host, standby.Name, run.Cancel).ConfigureAwait(false) is var state && Changed(state) == state,
                    Do = run => ServerState.UpdateAsync(standby.Host, standby.Name, Changed, run.Cancel),
                    Preview = [$"write {ServerState.PathOf(standby.Name)}"],
                },
            ],
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(standby, feedback, token),
            () => standby with { ArchiveMountPoint = mountPoint, ArchiveTransport = WalTransport.Sshfs, Primary = LinkFrom(standby.Primary), IsPlanned = true });
    }

    /// <summary>Nothing of somebody else's is at the mount point.</summary>
    internal static async Task RequireFreeAsync(PgServer standby, string mountPoint, string unit, CancellationToken cancel)
    {
        var looked = await standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            if mountpoint -q -- "$1"; then
              [ -e "$3/$2" ] && grep -qF -- "$1" "$3/$2" || findmnt -n -o SOURCE,FSTYPE --target "$1"
              exit 0
            fi
            [ -e "$1" ] || [ -L "$1" ] || exit 0
            # A dead sshfs is neither a mount point nor a directory that can be read.
            timeout 30 stat -- "$1" >/dev/null 2>&1 || { [ -e "$3/$2" ] || echo "a mount that is dead"; exit 0; }
            [ -d "$1" ] && [ ! -L "$1" ] || { echo "something that is no directory"; exit 0; }
            [ -z "$(ls -A -- "$1")" ] || echo "a directory with files in it"
            """, mountPoint, unit, UnitSteps.Directory).AsRoot(), cancel).ConfigureAwait(false);
        if (looked.Text.Length > 0)
        {
            throw new PitrException("PitrPS.MountPointInUse", ErrorKind.ResourceExists, $"{mountPoint} on {standby.Host.Name} is taken: {looked.Text}.",
                "Choose another mount point, or unmount or empty this one (and take it out of /etc/fstab).", standby);
        }
    }
}
