using System.Management.Automation;
using System.Management.Automation.Runspaces;
using System.Net;
using PitrPS.Tests.Architecture;

namespace PitrPS.Tests.Runbooks;

/// <summary>
/// A session with functions in the place of the module's cmdlets: a healthy pair, $standby and $primary with $standbyStatus and $primaryStatus, which a test may spoil.
/// What was called is in $calls, in its order, and with which parameters Connect-PgHost was is in $logins.
/// </summary>
public sealed class RunbookSession : IDisposable
{
    private const string Fakes =
        """
        $calls = [Collections.Generic.List[string]]::new()
        $logins = [Collections.Generic.List[object]]::new()
        $down = @()
        $operations = @()
        $recovery = $null
        $incidents = @()
        $broken = @()
        $now = [DateTimeOffset]::UtcNow
        function Fail([string] $Id, [string] $Message) {
            $record = [Management.Automation.ErrorRecord]::new([InvalidOperationException]::new($Message), $Id, 'InvalidOperation', $null)
            $record.ErrorDetails = [Management.Automation.ErrorDetails]::new($Message)
            $record.ErrorDetails.RecommendedAction = 'Do this next.'
            throw $record
        }
        function Note([string] $Call) {
            $global:calls.Add($Call)
            if ($global:broken -contains $Call) { Fail "PitrPS.Broken" "$Call broke." }
        }
        function New-Server([string] $Name, [bool] $IsStandby) {
            $server = [PSCustomObject] @{ Host = [PSCustomObject] @{ Name = $Name; Address = $Name; UserName = 'dba'; OperatingSystem = 'Debian'; HasRoot = $true }; Id = "${Name}:15/main"; Name = '15/main'; Version = 15; VersionNumber = 150008; Port = 5432
                IsStandby = $IsStandby; IsRunning = $true; SystemIdentifier = 7; Timeline = 1; ArchiveMountPoint = $(if ($IsStandby) { '/mnt/archive' }); ArchiveDirectory = $(if (-not $IsStandby) { '/var/archive' }); ReplicationDelay = [timespan] '3.00:00:00' }
            $server.PSObject.Methods.Add([Management.Automation.PSScriptMethod]::new('ToString', { $this.Id }))
            $server
        }
        $global:standby = New-Server db2 $true
        $global:primary = New-Server db1 $false
        $global:standbyStatus = [PSCustomObject] @{ Role = 'Standby'; Time = $global:now; Replay = 'Replaying'; Received = 5000; Replayed = 4000; ReplayedUpTo = $global:now.AddDays(-3).AddMinutes(-1); HeldBackBytes = 1000; Delay = [timespan] '3.00:00:00'; EffectiveDelay = [timespan] '3.00:00:00'
            Receiver = 'streaming'; ArchiveMounted = $true; Warnings = @() }
        $global:primaryStatus = [PSCustomObject] @{ Role = 'Primary'; Time = $global:now; Current = 5100; LastArchived = '000000010000000000000002'; LastArchivedAt = $global:now.AddMinutes(-1); ArchiveFailing = $null; Warnings = @() }
        function New-Incident([uint32] $Id, [string] $Name) {
            $incident = [PSCustomObject] @{ TransactionId = $Id; Standby = $global:standby; Tables = @($Name); TimeLeft = [timespan] '2.01:00:00' }
            $incident.PSObject.Methods.Add([Management.Automation.PSScriptMethod]::new('ToString', { "DropTable $($this.Tables) (xid $($this.TransactionId))" }))
            $incident
        }

        function Connect-PgHost {
            [CmdletBinding()]
            param($Name, $Address, $Port, $UserName, $JumpHost, $KnownHostsFile, $KeyFile, $Credential, $KeyPassphrase, $SudoPassword)
            $global:logins.Add($PSBoundParameters)
            Note "connect $Name"
            if ($global:down -contains $Name) { Fail PitrPS.HostUnreachable "$Name is not reachable." }
            if ($Name -eq 'db1') { $global:primary.Host } else { $global:standby.Host }
        }
        function Disconnect-PgHost { [CmdletBinding()] param($PgHost) Note "disconnect $($PgHost.Name)" }
        function Get-PgServer {
            [CmdletBinding()]
            param($On, $PgServer, $Name)
            if ($PgServer) { $PgServer } elseif ($On.Name -eq 'db1') { $global:primary } else { $global:standby }
        }
        function Get-PitrOperation { [CmdletBinding()] param($On) if ($On.Name -eq 'db2') { $global:operations } }
        function Get-PitrRecovery { [CmdletBinding()] param($On) $global:recovery }
        function Get-ReplicationStatus { [CmdletBinding()] param($Server) if ($Server.IsStandby) { $global:standbyStatus } else { $global:primaryStatus } }
        function Suspend-WalReplay {
            [CmdletBinding()]
            param($Server)
            Note freeze
            if (-not $Server.IsRunning) { Fail PitrPS.ServerNotRunning 'It is not running.' }
            $global:standbyStatus.Replay = 'Frozen'
            $Server
        }
        function Find-PgIncident { [CmdletBinding()] param($Server, $Table, $Database, $Since, $Until) Note "find $($Table -join '+')"; $global:incidents | Where-Object { -not $Table -or $Table -contains $_.Tables[0] } }
        function Invoke-PitrRecovery {
            [CmdletBinding()]
            param($Incident)
            $global:standbyStatus.Replay = 'Replaying'
            Note recover
            [PSCustomObject] @{ Target = "before $($Incident.TransactionId)"; State = 'Ready'; WalSource = 'pg_wal'; Elapsed = [timespan] '0:0:2'; Standby = $global:standby }
        }
        function Restore-PgTable { [CmdletBinding()] param($Recovery, $To, $PrimaryAddress, $PrimarySshPort) Note "restore to $($To.Id) $PrimaryAddress".Trim(); [PSCustomObject] @{ Table = 'public.lost'; RowsRecovered = 5; RowsRestored = 5; IsProven = $true; IsPlanned = $false; Notes = @() } }
        function Complete-PitrRecovery { [CmdletBinding()] param([Parameter(ValueFromPipeline)] $Restored) end { Note complete; $global:standby } }
        """;

    private readonly Runspace _runspace;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("pitrps-runbook-");

    public RunbookSession()
    {
        var state = InitialSessionState.CreateDefault2();
        state.Variables.Add(new SessionStateVariableEntry("PSModuleAutoLoadingPreference", PSModuleAutoLoadingPreference.None, ""));
        _runspace = RunspaceFactory.CreateRunspace(state);
        _runspace.Open();
    }

    /// <summary>Everything as it is at the beginning, for the next test.</summary>
    public RunbookSession Begin(string script = "")
    {
        Invoke(Fakes + "\n" + script);
        if (Invoke("$ExecutionContext.InvokeProvider.Item.Exists('function:Get-Secret')") is [{ BaseObject: true }])
        {
            Invoke("$ExecutionContext.InvokeProvider.Item.Remove('function:Get-Secret', $false)");
        }

        Inventory("@{ Name = 'shop'; Primary = 'db1'; Standby = 'db2'; Delay = '3.00:00:00'; UserName = 'dba'; KeyFile = 'keys/dba' }");
        return this;
    }

    /// <summary>The folder with hosts.psd1.</summary>
    public string Folder => _folder.FullName;

    /// <summary>What was called, in its order.</summary>
    public IReadOnlyList<string> Calls => [.. Invoke("$calls").Select(c => $"{c}")];

    /// <summary>Makes the inventory of these pairs.</summary>
    public void Inventory(string pairs, string defaults = "@{}") => InventoryText($"@{{ Defaults = {defaults}; Pairs = @({pairs}) }}");

    public void InventoryText(string text) => File.WriteAllText(Path.Join(Folder, "hosts.psd1"), text);

    /// <summary>Puts a secret into the fake SecretManagement, which is not there until then.</summary>
    public void Keep(string name, string? user, string secret)
    {
        var secure = new NetworkCredential("", secret).SecurePassword;
        _runspace.SessionStateProxy.SetVariable($"kept_{name}", user is null ? secure : new PSCredential(user, secure));
        Invoke("function Get-Secret { [CmdletBinding()] param($Name, $Vault) Note \"secret $Name $Vault\".Trim(); $ExecutionContext.SessionState.PSVariable.GetValue(\"kept_$Name\") }");
    }

    public IReadOnlyList<PSObject> Invoke(string script) => Run(script).Objects;

    /// <summary>Runs one of the runbooks with the inventory of this session.</summary>
    public RunbookRun Runbook(string name, string arguments = "") =>
        Run($"& '{Path.Join(Code.Root, "scripts", "runbooks", name)}.ps1' -Inventory '{Path.Join(Folder, "hosts.psd1")}' {arguments}");

    public void Dispose()
    {
        _runspace.Dispose();
        _folder.Delete(recursive: true);
    }

    private RunbookRun Run(string script)
    {
        using var shell = PowerShell.Create(_runspace);
        shell.AddScript(script, useLocalScope: false);
        var objects = shell.Invoke();
        return new RunbookRun([.. objects], _runspace.SessionStateProxy.GetVariable("LASTEXITCODE") as int? ?? -1,
            [.. shell.Streams.Error.Select(e => $"{e}")], [.. shell.Streams.Warning.Select(w => w.Message)]);
    }
}

/// <summary>What a runbook said.</summary>
public sealed record RunbookRun(IReadOnlyList<PSObject> Objects, int Code, IReadOnlyList<string> Errors, IReadOnlyList<string> Warnings)
{
    /// <summary>One property of each object.</summary>
    public IReadOnlyList<string> Each(string property) => [.. Objects.Select(o => $"{o.Properties[property].Value}")];

    /// <summary>The objects with another status than OK, as "Check: Status".</summary>
    public IReadOnlyList<string> NotOk(string name) => [.. Objects.Where(o => $"{o.Properties["Status"].Value}" != "OK").Select(o => $"{o.Properties[name].Value}: {o.Properties["Status"].Value}")];

    /// <summary>All that it said, as text.</summary>
    public string Text => string.Join('\n', Objects.SelectMany(o => o.Properties.Select(p => $"{p.Name}={p.Value}")).Concat(Errors).Concat(Warnings));
}
