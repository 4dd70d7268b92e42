using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What Dismount-WalArchive was asked for.</summary>
/// <param name="Standby">The server that has the mount.</param>
/// <param name="Primary">Where its key is; null when that host is not to be had any more.</param>
/// <param name="Force">Also while the standby's restore_command reads it.</param>
/// <param name="NeededBy">What needs the mount now, in words; null for nothing. Recoveries are asked for here, of which this folder knows nothing.</param>
internal sealed record DismountOptions(PgServer Standby, PgServer? Primary, bool Force, Func<CancellationToken, Task<string?>>? NeededBy = null);

/// <summary>Dismount-WalArchive: the mount, the key, and on the primary what let it in. The archive stays.</summary>
internal static class DismountPlan
{
    /// <exception cref="PitrException"><c>PitrPS.MountInUse</c></exception>
    public static async Task<Planned<PgServer>> BuildAsync(DismountOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var (standby, primary) = (options.Standby, options.Primary);
        var mountPoint = await ArchiveMount.FindAsync(standby, cancel).ConfigureAwait(false);
        var keyOwner = new ArchiveMount(standby, mountPoint ?? "").KeyOwner;
        var announcements = new List<string>();
        if (!standby.IsPlanned)
        {
            await RequireUnusedAsync(options, mountPoint, announcements, cancel).ConfigureAwait(false);
        }

        // Where a repository is read there was never a mount, nor anything on the primary.
        var isRepository = standby.RestoreRepository is not null && mountPoint is null;
        var steps = new List<Step>(isRepository ? RepositoryMountPlan.RemovalSteps(standby) : ArchiveMount.RemovalSteps(standby, mountPoint));
        if (isRepository)
        {
            primary = null;
        }
        else if (standby.ArchiveTransport is WalTransport.Nfs or WalTransport.Local)
        {
            // Who may read it there was never PitrPS's business.
            if (primary is not null)
            {
                steps.Add(StandbyRegister.UnregisterStep(primary, standby));
            }
            else
            {
                announcements.Add($"No -Primary is given: there, a retention of the archive goes on keeping what {standby.Id} needs, until its file in {StandbyRegister.Root} is removed.");
            }
        }
        else if (primary is not null)
        {
            var reader = ArchiveReader.Of(primary);
            steps.AddRange(reader.RemovalSteps(keyOwner, await SshdConfig.PlaceAsync(primary.Host, reader.Account, cancel).ConfigureAwait(false)));
            steps.Add(StandbyRegister.UnregisterStep(primary, standby));
        }
        else
        {
            announcements.Add($"No -Primary is given: there, the line that ends with '{keyOwner}' stays in {ArchiveReader.KeyFolder}, and a retention of the archive removes nothing while it is there; its private key is removed here.");
        }

        steps.Add(new Step("state", "Forget the mount in PitrPS's state on the host", standby.Host)
        {
            IsDone = async run => await ServerState.ReadAsync(standby.Host, standby.Name, run.Cancel).ConfigureAwait(false) is { ArchiveMountPoint: null, ArchiveTransport: null, RestoreStanza: null },
            Do = run => ServerState.UpdateAsync(standby.Host, standby.Name, state => state with { ArchiveMountPoint = null, ArchiveTransport = null, RestoreStanza = null }, run.Cancel),
            Preview = [$"write {ServerState.PathOf(standby.Name)}"],
        });
        var plan = new Plan
        {
            Operation = "Dismount-WalArchive",
            TakesBack = ["Mount-WalArchive"],
            Subject = standby.Id,
            Home = standby.Host,
            OtherHosts = primary is null ? [] : [primary.Host],
            IsPlanned = standby.IsPlanned || primary?.IsPlanned == true,
            Announcements = announcements,
            WayBack = "Mount-WalArchive",
            Steps = steps,
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(standby, feedback, token), () => standby with { ArchiveMountPoint = null, ArchiveTransport = null, RestoreRepository = null, IsPlanned = true });
    }

    private static async Task RequireUnusedAsync(DismountOptions options, string? mountPoint, List<string> announcements, CancellationToken cancel)
    {
        var standby = options.Standby;
        var source = mountPoint ?? standby.RestoreRepository?.ToString();
        if (options.NeededBy is { } needed && await needed(cancel).ConfigureAwait(false) is { } what)
        {
            throw new PitrException("PitrPS.MountInUse", ErrorKind.ResourceBusy, $"{source} on {standby.Host.Name} is needed by {what}.",
                "End that first (Complete-PitrRecovery); then run the same command again.", standby);
        }

        if (ArchiveScripts.RestoreCommandOf(standby with { ArchiveMountPoint = mountPoint }) is { } ours && standby.IsStandby
            && (await OwnedSettings.ReadAsync(standby, cancel).ConfigureAwait(false)).GetValueOrDefault("restore_command") == ours)
        {
            if (!options.Force)
            {
                throw new PitrException("PitrPS.MountInUse", ErrorKind.ResourceBusy,
                    $"{standby.Id} reads its primary's WAL from {source} when it cannot stream it; without it, a gap in the stream ends it as a standby.",
                    "Run Remove-PgStandby first if it is to be none any more, or use -Force.", standby);
            }

            announcements.Add($"{standby.Id} is left with streaming alone: what the primary removes before it is streamed cannot be replayed any more.");
        }
    }
}
