using System.Management.Automation;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Gets the recovery that is under way on a standby, and its clones, whoever started them.</summary>
/// <remarks>What it gives can be piped on to Restore-PgTable and Complete-PitrRecovery, in any session. Nothing comes out where no recovery is under way and no clone stands.</remarks>
/// <example>
/// <code>Connect-PgHost standby -UserName dba | Get-PgServer | Get-PitrRecovery</code>
/// <para>A new session finds the recovery that another one began, with its state: Recovering, Ready, Lost, or of a clone Stopped.</para>
/// </example>
/// <example>
/// <code>Get-PitrRecovery $standby | Complete-PitrRecovery -Force</code>
/// <para>Throws a recovery away; the standby goes on as it was.</para>
/// </example>
[Cmdlet(VerbsCommon.Get, "PitrRecovery")]
[OutputType(typeof(PitrRecovery))]
public sealed class GetPitrRecoveryCommand : PitrCmdlet
{
    /// <summary>The standby.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PgServer? Standby { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() =>
        WriteObject(Await((feedback, cancel) => RecoveryReader.AllAsync(Standby!, feedback, cancel)), enumerateCollection: true), Standby);
}
