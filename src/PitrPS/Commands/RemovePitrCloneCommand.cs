using System.Management.Automation;
using PitrPS.Recovery;

namespace PitrPS.Commands;

/// <summary>Removes a clone that Invoke-PitrRecovery -Way Clone made: the server is stopped, and its unit and its files are gone.</summary>
/// <remarks>
/// The standby that it was copied from is not touched. It removes the clone whether its tables have been brought back or not, and the standby may have applied meanwhile what the clone was made for;
/// Complete-PitrRecovery does the same, and refuses while a table of the incident is not proven to be back. A clone that is removed already is nothing to do.
/// </remarks>
/// <example>
/// <code>Get-PitrRecovery $standby | Where-Object Way -eq Clone | Remove-PitrClone</code>
/// <para>Removes all clones of a standby.</para>
/// </example>
/// <example>
/// <code>Get-PitrRecovery $standby | Where-Object CloneId -eq 0-3D79CC8 | Remove-PitrClone -Confirm:$false</code>
/// <para>Removes one of them without asking.</para>
/// </example>
[Cmdlet(VerbsCommon.Remove, "PitrClone", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(void))]
public sealed class RemovePitrCloneCommand : PlanCmdlet
{
    /// <summary>The clone, as Invoke-PitrRecovery -Way Clone or Get-PitrRecovery gives it.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PitrRecovery Recovery { get; set; } = null!;

    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() => Carry((feedback, cancel) => CloneRemoval.BuildAsync(Recovery, feedback, cancel)), Recovery.Standby);
}
