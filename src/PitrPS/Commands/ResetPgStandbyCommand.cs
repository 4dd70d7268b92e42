using System.Management.Automation;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Makes a standby again of a server that has gone its own way: an old primary after another server was promoted, or a standby that Invoke-PitrRecovery -Way Promote has made a primary.</para>
/// <para>It is stopped and wound back to where it left the primary's history, by pg_rewind where the server has data checksums or wal_log_hints and still has the WAL for it, otherwise by a base backup.
/// What it has and the primary has not is lost. Its own configuration files stay. Its reach back begins at 0.</para>
/// </summary>
/// <example>
/// <code>$old | Reset-PgStandby -Primary $promoted | Set-ReplicationDelay -Delay 3.00:00:00</code>
/// <para>The old primary follows the new one, three days behind.</para>
/// </example>
[Cmdlet(VerbsCommon.Reset, "PgStandby", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PgServer))]
public sealed class ResetPgStandbyCommand : PlanCmdlet
{
    /// <summary>The server that becomes a standby again, running or not.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <summary>The primary that it is to follow, of the same cluster.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    public PgServer Primary { get; set; } = null!;

    /// <summary>The primary's address as the standby sees it, when that is not the one this client uses.</summary>
    [Parameter]
    public string? PrimaryAddress { get; set; }

    /// <summary>The standby's address as the primary sees it, when it is not that of the standby's route to the primary.</summary>
    [Parameter]
    public string? StandbyAddress { get; set; }

    /// <summary>Also a server that takes writes while clients are connected to it.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var server in Server)
        {
            var options = new StandbyOptions(server, Primary) { PrimaryAddress = PrimaryAddress, StandbyAddress = StandbyAddress, Reset = true, Force = Force };
            CarryAndWrite((feedback, cancel) => StandbyPlan.BuildAsync(options, feedback, cancel), server);
        }
    }
}
