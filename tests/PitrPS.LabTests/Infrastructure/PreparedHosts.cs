using System.Collections.Concurrent;
using System.Management.Automation;

[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace PitrPS.LabTests.Infrastructure;

/// <summary>
/// Two hosts in a known state, for the tests of one class (IClassFixture). The states are made once in a run, by our own cmdlets,
/// each out of the one before; a class then gets them from a snapshot in seconds.
/// </summary>
public abstract class PreparedHosts : IDisposable
{
    private readonly Lazy<PowerShellEngine> _engine;

    private protected PreparedHosts(string snapshot, HostSystem? system = null)
    {
        System = Lab.WhyNot() is null && Lab.IsForeign ? HostSystem.Of(Lab.Host(Lab.Primary)) : system ?? HostSystem.Debian12;
        if (Lab.WhyNot() is null)
        {
            Snapshots.Restore(snapshot, System);
        }

        _engine = new Lazy<PowerShellEngine>(NewSession);
    }

    public Lab Lab => Lab.Shared;

    /// <summary>What both hosts run.</summary>
    public HostSystem System { get; }

    /// <summary>The major version of PostgreSQL that the hosts' distribution brings.</summary>
    public int Major => System.Major;

    /// <summary>The standby's data directory, and the primary's.</summary>
    public string Data => System.IsRhel ? $"/var/lib/pgsql/{Major}/data" : $"/var/lib/postgresql/{Major}/main";

    /// <summary>The directory of postgresql.conf on both.</summary>
    public string Config => System.IsRhel ? Data : $"/etc/postgresql/{Major}/main";

    /// <summary>The service that runs either server.</summary>
    public string ServiceUnit => System.IsRhel ? $"postgresql-{Major}.service" : $"postgresql@{Major}-main.service";

    /// <summary>Where the programs of this major are.</summary>
    public string Bin => System.IsRhel ? $"/usr/pgsql-{Major}/bin" : $"/usr/lib/postgresql/{Major}/bin";

    public LabHost Primary => Lab.Host(Lab.Primary);

    public LabHost Standby => Lab.Host(Lab.Standby);

    /// <summary>A session with $primaryHost and $standbyHost connected, and $primary and $standby read where there are servers.</summary>
    public PowerShellEngine Engine => _engine.Value;

    /// <summary>Another session, as a user has the next day.</summary>
    public PowerShellEngine NewSession()
    {
        var engine = new PowerShellEngine();
        engine.Run(Snapshots.ConnectScript(Lab)).ThrowOnError();
        return engine;
    }

    public EngineRun Run(string script, params (string Name, object? Value)[] variables) => Engine.Run(script, variables);

    public EngineRun RunVerbose(string script, params (string Name, object? Value)[] variables) => Engine.RunVerbose(script, variables);

    public IReadOnlyList<PSObject> Get(string script, params (string Name, object? Value)[] variables) => Engine.Get(script, variables);

    public void Dispose()
    {
        if (_engine.IsValueCreated)
        {
            _engine.Value.Dispose();
        }

        GC.SuppressFinalize(this);
    }
}

/// <summary>Two hosts without PostgreSQL.</summary>
public class BareHosts : PreparedHosts
{
    public BareHosts() : base(Snapshots.Bare)
    {
    }

    private protected BareHosts(HostSystem system) : base(Snapshots.Bare, system)
    {
    }
}

/// <summary>Two hosts with a server each that Install-PgServer made.</summary>
public class InstalledHosts : PreparedHosts
{
    public InstalledHosts() : base(Snapshots.Installed)
    {
    }

    private protected InstalledHosts(HostSystem system) : base(Snapshots.Installed, system)
    {
    }
}

/// <summary>An archiving primary and its delayed standby (3 days), both running.</summary>
public class StandbyHosts : PreparedHosts
{
    public StandbyHosts() : base(Snapshots.Standby)
    {
    }

    private protected StandbyHosts(HostSystem system) : base(Snapshots.Standby, system)
    {
    }
}

/// <summary>As <see cref="InstalledHosts"/>, with PostgreSQL 13, on Debian 11.</summary>
public sealed class InstalledHosts13() : InstalledHosts(HostSystem.Debian11);

/// <summary>As <see cref="InstalledHosts"/>, with PostgreSQL 17, on Debian 13.</summary>
public sealed class InstalledHosts17() : InstalledHosts(HostSystem.Debian13);

/// <summary>As <see cref="StandbyHosts"/>, with PostgreSQL 13, on Debian 11.</summary>
public sealed class StandbyHosts13() : StandbyHosts(HostSystem.Debian11);

/// <summary>As <see cref="StandbyHosts"/>, with PostgreSQL 17, on Debian 13.</summary>
public sealed class StandbyHosts17() : StandbyHosts(HostSystem.Debian13);

/// <summary>Two hosts of RHEL shape without PostgreSQL.</summary>
public sealed class RhelBareHosts() : BareHosts(HostSystem.CentOS7);

/// <summary>Two hosts of RHEL shape with a server each, by PGDG's packages.</summary>
public sealed class RhelInstalledHosts() : InstalledHosts(HostSystem.CentOS7);

/// <summary>An archiving primary and its delayed standby of RHEL shape, with PostgreSQL 13.</summary>
public sealed class RhelStandbyHosts() : StandbyHosts(HostSystem.CentOS7);

/// <summary>The same on the shape of release 8, with PostgreSQL 15.</summary>
public sealed class Rhel8StandbyHosts() : StandbyHosts(HostSystem.Rocky8);

/// <summary>The same on the shape of release 10, with PostgreSQL 17.</summary>
public sealed class Rhel10StandbyHosts() : StandbyHosts(HostSystem.Alma10);

/// <summary>What the lab's hosts can run.</summary>
/// <param name="Suite">As the lab calls it.</param>
/// <param name="Major">The major version of PostgreSQL.</param>
/// <param name="IsRhel">Laid out as the RHEL family is.</param>
public sealed record HostSystem(string Suite, int Major, bool IsRhel = false)
{
    /// <summary>What most tests run on.</summary>
    public static HostSystem Debian12 { get; } = new("bookworm", 15);

    public static HostSystem Debian11 { get; } = new("bullseye", 13);

    public static HostSystem Debian13 { get; } = new("trixie", 17);

    public static HostSystem CentOS7 { get; } = new("centos7", 13, IsRhel: true);

    public static HostSystem Rocky8 { get; } = new("rocky8", 15, IsRhel: true);

    public static HostSystem Alma10 { get; } = new("alma10", 17, IsRhel: true);

    /// <summary>What a host of the user's own runs, as its lab.json says.</summary>
    public static HostSystem Of(LabHost host) => new("", host.PostgresMajor, host.Family == "rhel");
}

/// <summary>The states that <see cref="PreparedHosts"/> come from.</summary>
internal static class Snapshots
{
    public const string Bare = "bare-pair";
    public const string Installed = "installed-pair";
    public const string Standby = "standby-pair";
    public const string Foreign = "foreign-pair";

    private static readonly ConcurrentDictionary<(Lab Lab, string Snapshot), string> Broken = [];

    /// <summary>Puts the hosts into this state, making it first if this run has not made it yet.</summary>
    public static void Restore(string snapshot, HostSystem system) => Restore(snapshot, system, Lab.Shared);

    public static void Restore(string snapshot, HostSystem system, Lab lab)
    {
        if (lab.IsForeign)
        {
            // Nobody has kept their states: each way begins at bare hosts.
            Make(snapshot, system, lab);
            return;
        }

        Ensure(snapshot, system, lab);
        lab.Restore(NameOf(snapshot, system));
        if (snapshot == Standby)
        {
            // A test that takes the mount away at once would take what the standby still reads while it starts.
            Waiting.For("the standby to answer", () => lab.Answers(Lab.Standby));
        }
    }

    private static string NameOf(string snapshot, HostSystem system) => system == HostSystem.Debian12 ? snapshot : $"{snapshot}-{system.Suite}";

    /// <summary>Connects both hosts and reads the servers that are on them.</summary>
    public static string ConnectScript(Lab lab) =>
        $$"""
        $ErrorActionPreference = 'Stop'
        $primaryHost = Connect-PgHost {{lab.Host(Lab.Primary).ConnectArguments}}
        $standbyHost = Connect-PgHost {{lab.Host(Lab.Standby).ConnectArguments}}
        $primary = $primaryHost | Get-PgServer
        $standby = $standbyHost | Get-PgServer
        $ErrorActionPreference = 'Continue'
        """;

    private static void Ensure(string snapshot, HostSystem system, Lab lab)
    {
        var name = NameOf(snapshot, system);
        if (Broken.TryGetValue((lab, name), out var why))
        {
            throw new InvalidOperationException($"The hosts for this could not be prepared before: {why}");
        }

        if (lab.HasSnapshot(name))
        {
            return;
        }

        try
        {
            Make(snapshot, system, lab);
        }
        catch (Exception e)
        {
            Broken[(lab, name)] = e.Message;
            throw;
        }
    }

    private static void Make(string snapshot, HostSystem system, Lab lab)
    {
        switch (snapshot)
        {
            case Bare:
                if (lab.IsForeign)
                {
                    lab.Reset();
                }
                else
                {
                    lab.Create(system.Suite);
                }

                break;
            case Foreign:
                Restore(Bare, system, lab);
                Adoption.ForeignHosts.Prepare(lab, system);
                break;
            case Installed:
                Restore(Bare, system, lab);
                // What stands in for PGDG in the lab signs with a key of its own.
                var pgdg = system.IsRhel && !lab.IsForeign ? $"-RepositoryKey '{lab.FetchPgdgKey(Lab.Primary)}'" : "";
                Prepare(lab, system.IsRhel ? $"""
                    $null = $primaryHost, $standbyHost | Install-PgServer -Version {system.Major} {pgdg} -Confirm:$false
                    """ : """
                    $null = $primaryHost, $standbyHost | Install-PgServer -Confirm:$false
                    """);
                break;
            case Standby:
                Restore(Installed, system, lab);
                Prepare(lab, """
                    $primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false
                    $null = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false |
                        New-PgStandby -Primary $primary -Confirm:$false | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false
                    """);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(snapshot), snapshot, "Unknown state.");
        }

        lab.Keep(NameOf(snapshot, system));
    }

    private static void Prepare(Lab lab, string script)
    {
        using var engine = new PowerShellEngine();
        engine.Run(ConnectScript(lab) + Environment.NewLine + script).ThrowOnError();
    }
}
