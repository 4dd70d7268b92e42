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

    private protected PreparedHosts(string snapshot)
    {
        if (Lab.WhyNot() is null)
        {
            Snapshots.Restore(snapshot);
        }

        _engine = new Lazy<PowerShellEngine>(NewSession);
    }

    public Lab Lab => Lab.Shared;

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
public sealed class BareHosts() : PreparedHosts(Snapshots.Bare);

/// <summary>Two hosts with a server each that Install-PgServer made.</summary>
public sealed class InstalledHosts() : PreparedHosts(Snapshots.Installed);

/// <summary>An archiving primary and its delayed standby (3 days), both running.</summary>
public sealed class StandbyHosts() : PreparedHosts(Snapshots.Standby);

/// <summary>The states that <see cref="PreparedHosts"/> come from.</summary>
internal static class Snapshots
{
    public const string Bare = "bare-pair";
    public const string Installed = "installed-pair";
    public const string Standby = "standby-pair";

    private static readonly Dictionary<string, string> Broken = [];

    /// <summary>Puts the hosts into this state, making it first if this run has not made it yet.</summary>
    public static void Restore(string snapshot)
    {
        Ensure(snapshot);
        Lab.Shared.Restore(snapshot);
    }

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

    private static void Ensure(string snapshot)
    {
        if (Broken.TryGetValue(snapshot, out var why))
        {
            throw new InvalidOperationException($"The hosts for this could not be prepared before: {why}");
        }

        if (Lab.Shared.HasSnapshot(snapshot))
        {
            return;
        }

        try
        {
            Make(snapshot);
        }
        catch (Exception e)
        {
            Broken[snapshot] = e.Message;
            throw;
        }
    }

    private static void Make(string snapshot)
    {
        var lab = Lab.Shared;
        switch (snapshot)
        {
            case Bare:
                if (!lab.IsForeign)
                {
                    lab.Create();
                }

                break;
            case Installed:
                Restore(Bare);
                Prepare("""
                    $null = $primaryHost | Install-PgServer -Confirm:$false
                    $null = $standbyHost | Install-PgServer -Confirm:$false
                    """);
                break;
            case Standby:
                Restore(Installed);
                Prepare("""
                    $primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false
                    $null = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false |
                        New-PgStandby -Primary $primary -Confirm:$false | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false
                    """);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(snapshot), snapshot, "Unknown state.");
        }

        lab.Keep(snapshot);
    }

    private static void Prepare(string script)
    {
        using var engine = new PowerShellEngine();
        engine.Run(ConnectScript(Lab.Shared) + Environment.NewLine + script).ThrowOnError();
    }
}
