using System.Management.Automation;
using PitrPS.Recovery;

namespace PitrPS.Commands;

/// <summary>Takes a recovery to another target, earlier or later: the scratch server is made anew on a new layer, so that one can walk to and fro in time until the data are right.</summary>
/// <remarks>
/// The standby stays where it is, stopped and frozen; its files are only read. What was changed on the scratch server is lost with its layer; tables that have been brought back stay noted, and so does the incident.
/// A target that the standby has applied already is refused, and so is one that is not in the WAL: then the scratch server stays as it is. A clone stays at its target; make another one beside it.
/// </remarks>
/// <example>
/// <code>$recovery = $recovery | Move-PitrRecovery -To '2026-11-23 14:05:00+01:00' -Confirm:$false</code>
/// <para>To just before the first commit at or after a time.</para>
/// </example>
/// <example>
/// <code>Get-PitrRecovery $standby | Move-PitrRecovery -To 'xid 741' -Inclusive</code>
/// <para>To just after a transaction.</para>
/// </example>
/// <example>
/// <code>Get-PitrRecovery $standby | Move-PitrRecovery -To 0/3D79CC8 -WhatIf</code>
/// <para>Shows what would be done, and whether that position can be reached at all.</para>
/// </example>
[Cmdlet(VerbsCommon.Move, "PitrRecovery", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PitrRecovery))]
public sealed class MovePitrRecoveryCommand : PlanCmdlet
{
    /// <summary>The recovery, as Invoke-PitrRecovery or Get-PitrRecovery gives it.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PitrRecovery Recovery { get; set; } = null!;

    /// <summary>
    /// Where to: a WAL position (0/3D79CC8), a time with its offset ('2026-11-23 14:05:00+01:00'), 'xid 741', the name of a restore point ('name 741' where it looks like something else), 'immediate',
    /// an incident of Find-PgIncident, or the Target of another recovery.
    /// </summary>
    [Parameter(Mandatory = true, Position = 1)]
    [ValidateNotNull]
    public object To { get; set; } = null!;

    /// <summary>Apply what is named, too: stop just after the record at a position, or after the commit of a transaction, and before the first commit that is later than a time.</summary>
    [Parameter]
    public SwitchParameter Inclusive { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() =>
    {
        var meaning = TargetText.Read(To is PSObject wrapped ? wrapped.BaseObject : To);
        var target = meaning.Target ?? new RecoveryTarget.Time(Await((_, cancel) => meaning.Time!.RequireAsync(Recovery.Standby, TimeZoneInfo.Local, cancel)));
        if (Inclusive)
        {
            target = target with { Inclusive = true };
        }

        if (Carry((feedback, cancel) => MovePlan.BuildAsync(Recovery, target, feedback, cancel)) is { } moved)
        {
            WriteObject(moved);
        }
    }, Recovery.Standby);
}
