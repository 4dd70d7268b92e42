using System.Management.Automation;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Takes a standby out of service and removes what New-PgStandby made for it on the primary.</para>
/// <para>The standby is stopped and stays stopped; its slot, its role and its line in pg_hba.conf are gone from the primary, so that nothing is left to fill the primary's disk.
/// Its data directory is left as it is.</para>
/// </summary>
/// <example>
/// <code>$standby | Remove-PgStandby -Primary $primary</code>
/// <para>Asks, then removes it.</para>
/// </example>
[Cmdlet(VerbsCommon.Remove, "PgStandby", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PgServer))]
public sealed class RemovePgStandbyCommand : PlanCmdlet
{
    /// <summary>The standby.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <summary>Its primary.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    public PgServer Primary { get; set; } = null!;

    /// <summary>Removes it even while it is frozen.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var server in Server)
        {
            CarryAndWrite((feedback, cancel) => StandbyRemoval.BuildAsync(server, Primary, Force, feedback, cancel), server);
        }
    }
}
