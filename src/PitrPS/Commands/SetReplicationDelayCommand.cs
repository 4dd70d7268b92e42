using System.Management.Automation;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Sets how long a standby holds COMMITs back (recovery_min_apply_delay).</para>
/// <para>The setting takes effect by a reload, without a restart. While the standby is frozen only the delay that it goes back to is changed.</para>
/// </summary>
/// <example>
/// <code>$standby | Set-ReplicationDelay -Delay 3.00:00:00</code>
/// <para>Three days: whatever is destroyed on the primary can be brought back for that long.</para>
/// </example>
[Cmdlet(VerbsCommon.Set, "ReplicationDelay", SupportsShouldProcess = true)]
[OutputType(typeof(PgServer))]
public sealed class SetReplicationDelayCommand : PlanCmdlet
{
    /// <summary>The standby.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <summary>The delay, less than 24.8 days; days.hours:minutes:seconds. Zero turns it off.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    public TimeSpan Delay { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var server in Server)
        {
            CarryAndWrite((feedback, cancel) => DelayPlan.BuildAsync(server, Delay, feedback, cancel), server);
        }
    }
}
