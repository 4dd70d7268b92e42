using System.Management.Automation;
using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Recovers a delayed standby to just before an incident, on a scratch server that runs on a throw-away layer over the standby's files.</summary>
/// <remarks>
/// The standby is frozen and stopped cleanly, and a second server takes its place: it reads the standby's files, writes only to the layer, replays the WAL up to the target,
/// and is promoted there. The standby's files are never written. Complete-PitrRecovery throws the scratch server away, and the standby goes on from where it was.
/// Run again after a lost connection, a killed client or a power cut, it goes on or begins anew.
/// </remarks>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery | Restore-PgTable -To $primary | Complete-PitrRecovery</code>
/// <para>The whole way: the table is on the primary again, and the standby is the same delayed standby.</para>
/// </example>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -WhatIf</code>
/// <para>Shows what would be done: WAL to replay, time and disk space that it takes, each step.</para>
/// </example>
/// <example>
/// <code>$recovery = Invoke-PitrRecovery -Standby $standby -BeforeTime '2026-11-23 14:05:00+00' -Confirm:$false</code>
/// <para>Recovers to just before the first commit after a point in time.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Invoke, "PitrRecovery", DefaultParameterSetName = "Incident", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PitrRecovery))]
public sealed class InvokePitrRecoveryCommand : PitrCmdlet
{
    private readonly List<RecoveryOptions> _asked = [];

    /// <summary>The incident to recover from, as Find-PgIncident gives it: one for a standby.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Incident")]
    public PgIncident? Incident { get; set; }

    /// <summary>The delayed standby, with a target given by hand.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Lsn")]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Time")]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Transaction")]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "RestorePoint")]
    public PgServer? Standby { get; set; }

    /// <summary>Stop before the record at this WAL position, for example 0/3D79CC8.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Lsn")]
    public Lsn BeforeLsn { get; set; }

    /// <summary>Stop before the first commit at or after this time, by the primary's clock. Without a zone it is this computer's local time.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Time")]
    public DateTimeOffset BeforeTime { get; set; }

    /// <summary>Stop before the commit of this top-level transaction.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "Transaction")]
    public uint BeforeTransaction { get; set; }

    /// <summary>Stop at this restore point, which pg_create_restore_point made on the primary.</summary>
    [Parameter(Mandatory = true, ParameterSetName = "RestorePoint")]
    [ValidateNotNullOrEmpty]
    public string? RestorePoint { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => _asked.Add(ParameterSetName switch
    {
        "Lsn" => new RecoveryOptions(Standby!, new RecoveryTarget.Lsn(BeforeLsn), null),
        "Time" => new RecoveryOptions(Standby!, new RecoveryTarget.Time(BeforeTime), null),
        "Transaction" => new RecoveryOptions(Standby!, new RecoveryTarget.Xid(BeforeTransaction), null),
        "RestorePoint" => new RecoveryOptions(Standby!, new RecoveryTarget.Name(RestorePoint!), null),
        _ => RecoveryOptions.Of(Incident!),
    });

    /// <inheritdoc/>
    protected override void EndProcessing()
    {
        foreach (var asked in _asked.GroupBy(o => o.Standby.Id))
        {
            Attempt(() =>
            {
                var options = RecoveryOptions.One([.. asked]);
                if (Carry((feedback, cancel) => RecoveryPlan.BuildAsync(options, feedback, cancel)) is { } recovery)
                {
                    WriteObject(recovery);
                }
            }, asked.First().Standby);
        }
    }
}
