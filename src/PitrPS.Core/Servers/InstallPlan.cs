using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>What Install-PgServer was asked for.</summary>
/// <param name="Host">Where.</param>
/// <param name="Version">The major version; null for the one that is there or the newest that the host's package sources offer.</param>
/// <param name="Port">Null for 5432, or the port of a server that is there.</param>
/// <param name="Cluster">The name beside the version.</param>
internal sealed record InstallOptions(PgHost Host, int? Version, int? Port, string Cluster)
{
    /// <summary>Where the packages may come from.</summary>
    public PackageOrigin Packages { get; init; } = new();
}

/// <summary>
/// A server on a host: packages, cluster, service, firewall, the role that PitrPS logs in with.
/// A server of that name that is there is adopted: started if it is stopped, given the role, and otherwise left as it is, without a restart.
/// </summary>
internal static class InstallPlan
{
    public const string Operation = "Install-PgServer";

    private const int DefaultPort = 5432;

    private static readonly Dictionary<string, string?> Listening = new() { ["listen_addresses"] = "*" };

    // The note that tells a cluster that we are in the middle of making from one that somebody else made.
    private const string ClusterNote = "cluster";

    /// <exception cref="PitrException"><c>PitrPS.VersionUnsupported</c>, <c>PitrPS.PortInUse</c>, <c>PitrPS.ServerExists</c>, <c>PitrPS.ServerNotRunning</c>,
    /// <c>PitrPS.DirectoryNotEmpty</c>, <c>PitrPS.InvalidRepository</c>, <c>PitrPS.RepositoryKeyMissing</c>; when carried out <c>PitrPS.PackageMissing</c> and what <see cref="Steps.Source"/> throws.</exception>
    public static async Task<Planned<PgServer>> BuildAsync(InstallOptions options, IFeedback feedback, CancellationToken cancel)
    {
        if (options.Version is { } asked)
        {
            PgVersion.Require(asked, options.Host);
        }

        if (options.Cluster.Length == 0 || !options.Cluster.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.'))
        {
            throw new PitrException("PitrPS.InvalidText", ErrorKind.InvalidArgument, $"'{options.Cluster}' cannot be a cluster's name.",
                "Take letters, digits, '_' and '.' only: it becomes part of file and unit names.", options.Host);
        }

        options.Packages.Require(options.Host);
        var servers = await ServerDiscovery.GetAsync(options.Host, feedback, cancel).ConfigureAwait(false);
        var major = options.Version ?? await ChooseVersionAsync(options, servers, cancel).ConfigureAwait(false);
        var name = $"{major}/{options.Cluster}";
        var existing = servers.FirstOrDefault(s => s.Name == name);
        var unfinished = await Journal.FindAsync(options.Host, Operation, $"{options.Host.Name}:{name}", cancel).ConfigureAwait(false);
        var isNew = existing is null || unfinished?.Parameters.GetValueOrDefault("cluster") == "new";
        return isNew
            ? await NewAsync(options, major, servers, unfinished is not null, feedback, cancel).ConfigureAwait(false)
            : Adopt(options, existing!, feedback);
    }

    private static async Task<Planned<PgServer>> NewAsync(InstallOptions options, int major, IReadOnlyList<PgServer> servers, bool isBegun, IFeedback feedback, CancellationToken cancel)
    {
        var (host, platform) = (options.Host, options.Host.Facts.Platform);
        var port = options.Port ?? DefaultPort;
        var server = new PgServer
        {
            Host = host,
            Name = $"{major}/{options.Cluster}",
            Version = major,
            Port = port,
            DataDirectory = platform.DataDirectory(major, options.Cluster),
            ConfigDirectory = platform.ConfigDirectory(major, options.Cluster),
            BinDirectory = platform.BinDirectory(major),
            ServiceUnit = platform.ServiceUnit(major, options.Cluster),
        };
        var survey = await InstallSurvey.ReadAsync(host, port, server.DataDirectory, cancel).ConfigureAwait(false);
        RefuseWhatIsTaken(server, servers, survey, isBegun);

        var packages = platform.ServerPackages(major);
        var announcements = new List<string> { $"{server.Id} listens on all addresses; pg_hba.conf lets in local users only, until New-PgStandby adds its standby." };
        // A version that this module does not know of, the project may not have built.
        IReadOnlyList<PackageSource> sources = major > PgVersion.Newest && options.Packages.Uri is null ? [] : platform.ServerSources(major, options.Packages);
        if (sources.Count == 0 && !await host.TestAsync(platform.PackagesInstalled(packages), cancel).ConfigureAwait(false) && !await host.TestAsync(platform.PackagesAvailable(packages), cancel).ConfigureAwait(false))
        {
            announcements.Add($"The package lists of {host.Name} do not offer PostgreSQL {major} as they are; they are refreshed first.");
        }

        List<Step> steps =
        [
            .. sources.Select(s => Steps.Source(host, s, packages)),
            PackagesStep(host, packages, options.Packages.AllowUnsigned),
            CreateStep(server, options.Cluster, survey.Locale),
            .. platform.PackagesMakeCertificate ? [] : ServerCertificate.Steps(server, "certificate"),
            .. OwnedSettings.Steps(server, "settings", platform.PackagesMakeCertificate ? Listening : ServerCertificate.Settings(server, Listening), SettingsReach.Files),
            .. server.Port == DefaultPort ? [] : SelinuxSteps.Port(host, "selinux", server.Port, SelinuxSteps.DatabasePortType),
            ServerControl.StartStep(server, "start"),
            EnabledStep(server),
            .. survey.Firewall is { } firewall ? [FirewallStep(server, firewall)] : (Step[])[],
        ];

        steps.AddRange(ProvisionedRole.Steps(server, "role"));
        return Planned(server, steps, announcements, "new", feedback);
    }

    private static Planned<PgServer> Adopt(InstallOptions options, PgServer server, IFeedback feedback)
    {
        if (options.Port is { } port && port != server.Port)
        {
            throw new PitrException("PitrPS.ServerExists", ErrorKind.ResourceExists, $"{server.Id} is there and has port {server.Port}, not {port}.",
                $"Leave -Port out to take it as it is, or give another -Name for a second server.", server);
        }

        if (server is { IsStandby: true, IsRunning: false })
        {
            throw new PitrException("PitrPS.ServerNotRunning", ErrorKind.InvalidOperation, $"{server.Id} is a standby and does not run, perhaps because a recovery is under way.",
                "Look with Get-PitrRecovery and Get-PitrOperation. If nothing is, start it with its service, then run the same command again.", server);
        }

        List<Step> steps = [];
        if (!server.IsStandby)
        {
            steps.Add(ServerControl.StartStep(server, "start"));
        }

        if (server.ServiceUnit is not null)
        {
            steps.Add(EnabledStep(server));
        }

        // A standby's roles come from its primary.
        if (!server.IsStandby)
        {
            steps.AddRange(ProvisionedRole.Steps(server, "role"));
        }

        return Planned(server, steps, [$"{server.Id} is there and is taken as it is, without a restart."], "adopted", feedback);
    }

    private static Planned<PgServer> Planned(PgServer server, List<Step> steps, IReadOnlyList<string> announcements, string kind, IFeedback feedback) => new(
        new Plan
        {
            Operation = Operation,
            Subject = server.Id,
            Home = server.Host,
            Steps = steps,
            Announcements = announcements,
            Parameters = new Dictionary<string, string> { ["cluster"] = kind, ["port"] = server.Port.ToString(CultureInfo.InvariantCulture) },
        },
        cancel => ServerDiscovery.RefreshAsync(server, feedback, cancel),
        () => server with { IsPlanned = true, IsRunning = true, Role = server.IsStandby ? ServerRole.Standby : ServerRole.Primary });

    // What is there comes first, then the newest on offer, then (where the host has no package lists yet) what its distribution is known to bring.
    private static async Task<int> ChooseVersionAsync(InstallOptions options, IReadOnlyList<PgServer> servers, CancellationToken cancel)
    {
        int[] there = [.. servers.Where(s => s.Name.EndsWith("/" + options.Cluster, StringComparison.Ordinal) && s.Version >= PgVersion.Oldest).Select(s => s.Version)];
        if (there.Length > 0)
        {
            return there.Max();
        }

        for (var major = PgVersion.Newest; major >= PgVersion.Oldest; major--)
        {
            if (await options.Host.TestAsync(options.Host.Facts.Platform.PackagesAvailable(options.Host.Facts.Platform.ServerPackages(major)), cancel).ConfigureAwait(false))
            {
                return major;
            }
        }

        var known = options.Packages.HostsOwnOnly ? 0
            : options.Host.Facts.Platform.NewestMajor ?? PgVersion.OfDistributions.FirstOrDefault(d => options.Host.OperatingSystem.StartsWith(d.Key, StringComparison.Ordinal)).Value;
        return known > 0 ? known : throw new PitrException("PitrPS.PackageMissing", ErrorKind.ResourceUnavailable,
            $"The package lists of {options.Host.Name} ({options.Host.OperatingSystem}) offer no PostgreSQL from {PgVersion.Oldest} to {PgVersion.Newest}.",
            "Give the -Version to install; its package lists are then refreshed first.", options.Host);
    }

    private static void RefuseWhatIsTaken(PgServer server, IReadOnlyList<PgServer> servers, InstallSurvey survey, bool isBegun)
    {
        if (servers.FirstOrDefault(s => s.Port == server.Port && s.Name != server.Name) is { } other)
        {
            throw PortInUse(server, $"belongs to {other.Id}{(other.IsRunning ? "" : ", which does not run now")}");
        }

        // Once it was begun, what is there may be ours.
        if (isBegun)
        {
            return;
        }

        if (survey.IsPortTaken)
        {
            throw PortInUse(server, "is listened on by some other program");
        }

        if (survey.HasData)
        {
            throw new PitrException("PitrPS.DirectoryNotEmpty", ErrorKind.ResourceExists,
                $"On {server.Host.Name}, {server.DataDirectory} is not empty, and no server is known that it belongs to.",
                "Look whose data it is; move it away, or give another -Name. PitrPS never overwrites it.", server.Host);
        }
    }

    private static PitrException PortInUse(PgServer server, string why) =>
        new("PitrPS.PortInUse", ErrorKind.ResourceExists, $"On {server.Host.Name}, port {server.Port} {why}.", "Give another -Port.", server.Host);

    /// <summary>Packages, without a server that the packages' scripts make or start on their own.</summary>
    internal static Step PackagesStep(PgHost host, IReadOnlyList<string> packages, bool allowUnsigned = false)
    {
        var guards = host.Facts.Platform.FilesWhileInstalling;
        var install = Steps.Packages(host, "packages", packages, allowUnsigned);
        return install with
        {
            IsDone = async run => await install.IsDone(run).ConfigureAwait(false) && (await OurGuardsAsync(host, guards, run.Cancel).ConfigureAwait(false)).Count == 0,
            Do = async run =>
            {
                try
                {
                    foreach (var guard in guards)
                    {
                        if (await host.ReadTextAsync(guard.Path, run.Cancel).ConfigureAwait(false) is null)
                        {
                            await run.RunAsync(RemoteCommand.Of("mkdir", "-p", guard.Path[..guard.Path.LastIndexOf('/')]).AsRoot()).ConfigureAwait(false);
                            await host.Remote.WriteFileAsync(guard, run.Cancel).ConfigureAwait(false);
                        }
                    }

                    if (!await install.IsDone(run).ConfigureAwait(false))
                    {
                        await install.Do(run).ConfigureAwait(false);
                    }
                }
                finally
                {
                    // After Ctrl+C there is little time; what is left behind then, the next run takes away.
                    using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(run.Cancel.IsCancellationRequested ? 1 : 30));
                    foreach (var guard in await OurGuardsAsync(host, guards, limit.Token).ConfigureAwait(false))
                    {
                        await host.RunCheckedAsync(RemoteCommand.Shell(
                            """rm -f -- "$1"; rmdir --ignore-fail-on-non-empty -- "$(dirname -- "$1")" """, guard.Path).AsRoot(), limit.Token).ConfigureAwait(false);
                    }
                }
            },
            Preview = [.. install.Preview, .. guards.Select(g => $"meanwhile {g.Path}, so that the packages make and start no server themselves")],
        };
    }

    private static async Task<IReadOnlyList<RemoteFile>> OurGuardsAsync(PgHost host, IReadOnlyList<RemoteFile> guards, CancellationToken cancel)
    {
        var ours = new List<RemoteFile>();
        foreach (var guard in guards)
        {
            if (await host.Remote.ReadFileAsync(guard.Path, cancel).ConfigureAwait(false) is { } content && content.AsSpan().SequenceEqual(guard.Content.Span))
            {
                ours.Add(guard);
            }
        }

        return ours;
    }

    // initdb as a unit: when the client or the link is lost it goes on, and the next run finds how it ended. What a power cut left half done is ours to remove:
    // the plan has made sure that there was nothing before.
    private static Step CreateStep(PgServer server, string cluster, string locale)
    {
        var create = server.Host.Facts.Platform.CreateCluster(server.Version, cluster, server.Port, locale);
        var unit = new RemoteUnit(server.Host, "pitrps-create-" + HostPaths.FileName(server.Name));
        return new Step("create", $"Make the cluster {server.Name} with data checksums", server.Host)
        {
            IsDone = async run => run.Recall(ClusterNote) != "begun" && await run.TestAsync(RemoteCommand.Shell(
                """[ -f "$1/postgresql.conf" ] && [ -f "$2/PG_VERSION" ]""", server.ConfigDirectory, server.DataDirectory).AsRoot()).ConfigureAwait(false),
            Do = async run =>
            {
                var state = await unit.StateAsync(run.Cancel).ConfigureAwait(false);
                if (!state.IsRunning && !(state.HasSucceeded && run.Recall(ClusterNote) == "begun"))
                {
                    await unit.ForgetAsync(run.Cancel).ConfigureAwait(false);
                    if (run.Recall(ClusterNote) == "begun")
                    {
                        await run.RunAsync(RemoteCommand.Of("rm", "-rf", "--one-file-system", "--", server.DataDirectory, server.ConfigDirectory).AsRoot()).ConfigureAwait(false);
                    }

                    await run.RememberAsync(ClusterNote, "begun").ConfigureAwait(false);
                    await unit.StartAsync(create, [], run.Cancel).ConfigureAwait(false);
                }

                state = await unit.WaitAsync(_ => Task.CompletedTask, run.Cancel).ConfigureAwait(false);
                if (!state.HasSucceeded)
                {
                    throw new PitrException("PitrPS.ClusterCreateFailed", ErrorKind.InvalidResult,
                        $"The cluster {server.Id} could not be made: {(await unit.OutputAsync(run.Cancel).ConfigureAwait(false))?.Trim()}",
                        "Mend what it says, and run the same command again: it begins this step anew.", server);
                }

                // In this order: whoever is killed between the two leaves nothing behind but a step that is begun anew.
                await unit.ForgetAsync(run.Cancel).ConfigureAwait(false);
                await run.RememberAsync(ClusterNote, "made").ConfigureAwait(false);
            },
            Preview = server.Host.Facts.Platform.CreateClusterPreview(server.Version, cluster, server.Port, locale),
        };
    }

    private static Step EnabledStep(PgServer server) => new("enabled", $"Start {server.Name} with the host", server.Host)
    {
        IsDone = run => run.TestAsync(IsEnabled(server)),
        Do = async run =>
        {
            // Where a generator of the distribution enables it, it only has to look again.
            await run.RunAsync(RemoteCommand.Of("systemctl", "daemon-reload").AsRoot()).ConfigureAwait(false);
            if (!await run.TestAsync(IsEnabled(server)).ConfigureAwait(false))
            {
                await run.RunAsync(RemoteCommand.Of("systemctl", "enable", server.ServiceUnit!).AsRoot()).ConfigureAwait(false);
            }
        },
        Preview = [$"systemctl enable {server.ServiceUnit}, unless the distribution does it by itself"],
    };

    private static RemoteCommand IsEnabled(PgServer server) => RemoteCommand.Shell(
        """case $(systemctl is-enabled "$1" 2>/dev/null) in enabled|enabled-runtime|static|indirect|generated|alias) ;; *) exit 1 ;; esac""", server.ServiceUnit!).AsRoot();

    private static Step FirewallStep(PgServer server, string firewall)
    {
        var rule = $"{server.Port}/tcp";
        var (check, allow) = firewall == "firewalld"
            ? (RemoteCommand.Shell("""firewall-cmd --quiet --query-port="$1" && firewall-cmd --quiet --permanent --query-port="$1" """, rule),
                (RemoteCommand[])[RemoteCommand.Of("firewall-cmd", "--quiet", "--permanent", "--add-port=" + rule), RemoteCommand.Of("firewall-cmd", "--quiet", "--add-port=" + rule)])
            : (RemoteCommand.Shell("""ufw status | awk -v r="$1" '$1 == r && /ALLOW/ { found = 1 } END { exit !found }'""", rule), [RemoteCommand.Of("ufw", "allow", rule)]);
        return Steps.Command(server.Host, "firewall", $"Let {rule} through the firewall ({firewall})", check.AsRoot(), [.. allow.Select(c => c.AsRoot())]);
    }
}
