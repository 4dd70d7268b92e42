using System.Management.Automation;
using PitrPS.Recovery;
using PitrPS.Rescue;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Ends a recovery: the scratch server and its layer are thrown away, and the delayed standby goes on from where it was; in place, it is restarted without the target.</summary>
/// <remarks>
/// It waits for the last object of the pipeline and then acts once for each recovery. While a table of the incident is not proven to be back on the primary, it refuses;
/// -Force throws the recovery away all the same. Nothing of the recovery is left on the host.
/// </remarks>
/// <example>
/// <code>Get-PitrRecovery $standby | Restore-PgTable -To $primary | Complete-PitrRecovery</code>
/// <para>Brings the tables back and lets the standby go on.</para>
/// </example>
/// <example>
/// <code>Get-PitrRecovery $standby | Complete-PitrRecovery -Force -Confirm:$false</code>
/// <para>Throws the scratch server away without bringing anything back.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Complete, "PitrRecovery", DefaultParameterSetName = "Recovery", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(PgServer))]
public sealed class CompletePitrRecoveryCommand : PlanCmdlet
{
    private readonly List<(PitrRecovery Recovery, RestoredTable? Table)> _given = [];

    /// <summary>The recovery, as Invoke-PitrRecovery or Get-PitrRecovery gives it.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Recovery")]
    public PitrRecovery? Recovery { get; set; }

    /// <summary>A table that Restore-PgTable brought back; the recovery it came from is completed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Restored")]
    public RestoredTable? RestoredTable { get; set; }

    /// <summary>Also when not all that the incident destroyed is proven to be back on the primary.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => _given.Add(ParameterSetName == "Restored" ? (RestoredTable!.Recovery, RestoredTable) : (Recovery!, null));

    /// <inheritdoc/>
    protected override void EndProcessing()
    {
        foreach (var one in _given.GroupBy(g => (g.Recovery.Standby.Id, g.Recovery.StartedAt)))
        {
            var recovery = one.First().Recovery;
            var options = new CompletionOptions(recovery, [.. one.Select(g => g.Table?.Proof).OfType<ProvenTable>()], Force);
            CarryAndWrite((feedback, cancel) => CompletionPlan.BuildAsync(options, feedback, cancel), recovery.Standby);
        }
    }
}
