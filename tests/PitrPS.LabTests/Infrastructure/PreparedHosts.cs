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

    private protected PreparedHosts(string snapshot, int major = Snapshots.DefaultMajor)
    {
        Major = major;
        if (Lab.WhyNot() is null)
        {
            Snapshots.Restore(snapshot, major);
        }

        _engine = new Lazy<PowerShellEngine>(NewSession);
    }

    public Lab Lab => Lab.Shared;

    /// <summary>The major version of PostgreSQL that the hosts' distribution brings.</summary>
    public int Major { get; }

    /// <summary>The standby's data directory, and the primary's.</summary>
    public string Data => $"/var/lib/postgresql/{Major}/main";

    /// <summary>The directory of postgresql.conf on both.</summary>
    public string Config => $"/etc/postgresql/{Major}/main";

    /// <summary>The service that runs either server.</summary>
    public string ServiceUnit => $"postgresql@{Major}-main.service";

    /// <summary>Where the programs of this major are.</summary>
    public string Bin => $"/usr/lib/postgresql/{Major}/bin";

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

    private protected BareHosts(int major) : base(Snapshots.Bare, major)
    {
    }
}

/// <summary>Two hosts with a server each that Install-PgServer made.</summary>
public class InstalledHosts : PreparedHosts
{
    public InstalledHosts() : base(Snapshots.Installed)
    {
    }

    private protected InstalledHosts(int major) : base(Snapshots.Installed, major)
    {
    }
}

/// <summary>An archiving primary and its delayed standby (3 days), both running.</summary>
public class StandbyHosts : PreparedHosts
{
    public StandbyHosts() : base(Snapshots.Standby)
    {
    }

    private protected StandbyHosts(int major) : base(Snapshots.Standby, major)
    {
    }
}

/// <summary>As <see cref="InstalledHosts"/>, with PostgreSQL 13, on Debian 11.</summary>
public sealed class InstalledHosts13() : InstalledHosts(13);

/// <summary>As <see cref="InstalledHosts"/>, with PostgreSQL 17, on Debian 13.</summary>
public sealed class InstalledHosts17() : InstalledHosts(17);

/// <summary>As <see cref="StandbyHosts"/>, with PostgreSQL 13, on Debian 11.</summary>
public sealed class StandbyHosts13() : StandbyHosts(13);

/// <summary>As <see cref="StandbyHosts"/>, with PostgreSQL 17, on Debian 13.</summary>
public sealed class StandbyHosts17() : StandbyHosts(17);

/// <summary>The states that <see cref="PreparedHosts"/> come from.</summary>
internal static class Snapshots
{
    public const string Bare = "bare-pair";
    public const string Installed = "installed-pair";
    public const string Standby = "standby-pair";
    public const string Foreign = "foreign-pair";

    /// <summary>What most tests run on: Debian 12.</summary>
    public const int DefaultMajor = 15;

    // A distribution for each major.
    private static readonly Dictionary<int, string> Suites = new() { [13] = "bullseye", [15] = "bookworm", [17] = "trixie" };

    private static readonly Dictionary<string, string> Broken = [];

    /// <summary>Puts the hosts into this state, making it first if this run has not made it yet.</summary>
    public static void Restore(string snapshot, int major)
    {
        Ensure(snapshot, major);
        Lab.Shared.Restore(NameOf(snapshot, major));
    }

    private static string NameOf(string snapshot, int major) => major == DefaultMajor ? snapshot : $"{snapshot}-{major}";

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

    private static void Ensure(string snapshot, int major)
    {
        var name = NameOf(snapshot, major);
        if (Broken.TryGetValue(name, out var why))
        {
            throw new InvalidOperationException($"The hosts for this could not be prepared before: {why}");
        }

        if (Lab.Shared.HasSnapshot(name))
        {
            return;
        }

        try
        {
            Make(snapshot, major);
        }
        catch (Exception e)
        {
            Broken[name] = e.Message;
            throw;
        }
    }

    private static void Make(string snapshot, int major)
    {
        var lab = Lab.Shared;
        switch (snapshot)
        {
            case Bare:
                if (!lab.IsForeign)
                {
                    lab.Create(Suites[major]);
                }

                break;
            case Foreign:
                Restore(Bare, major);
                Adoption.ForeignHosts.Prepare(lab, major);
                break;
            case Installed:
                Restore(Bare, major);
                Prepare("""
                    $null = $primaryHost | Install-PgServer -Confirm:$false
                    $null = $standbyHost | Install-PgServer -Confirm:$false
                    """);
                break;
            case Standby:
                Restore(Installed, major);
                Prepare("""
                    $primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false
                    $null = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false |
                        New-PgStandby -Primary $primary -Confirm:$false | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false
                    """);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(snapshot), snapshot, "Unknown state.");
        }

        lab.Keep(NameOf(snapshot, major));
    }

    private static void Prepare(string script)
    {
        using var engine = new PowerShellEngine();
        engine.Run(ConnectScript(Lab.Shared) + Environment.NewLine + script).ThrowOnError();
    }
}
