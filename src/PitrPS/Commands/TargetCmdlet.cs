using System.Management.Automation;
using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>What takes an incident, or a standby with exactly one target.</summary>
public abstract class TargetCmdlet : PlanCmdlet
{
    private protected const string ByIncident = "Incident";
    private const string ByLsn = "Lsn";
    private const string ByTime = "Time";
    private const string ByXid = "Xid";
    private const string ByName = "Name";
    private const string AtOnce = "Immediate";

    /// <summary>The incident to recover from, as Find-PgIncident gives it: one for a standby.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = ByIncident)]
    public PgIncident? Incident { get; set; }

    /// <summary>The delayed standby, with a target given by hand.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = ByLsn)]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = ByTime)]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = ByXid)]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = ByName)]
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = AtOnce)]
    public PgServer? Standby { get; set; }

    /// <summary>Stop before the first record at or after this WAL position, for example 0/3D79CC8.</summary>
    [Parameter(Mandatory = true, ParameterSetName = ByLsn)]
    public Lsn TargetLsn { get; set; }

    /// <summary>
    /// Stop before the first commit at or after this time, by the primary's clock: '2026-11-23 14:05:00+01:00', or a [DateTimeOffset]. A time without an offset from UTC is refused, and so is one that came twice
    /// when the clocks were put back; the error shows the moments that it could be.
    /// </summary>
    [Parameter(Mandatory = true, ParameterSetName = ByTime)]
    [ValidateNotNull]
    public TargetTime? TargetTime { get; set; }

    /// <summary>Stop before the commit (or the rollback) of this transaction. The xid of a subtransaction stands for that of its top-level one.</summary>
    [Parameter(Mandatory = true, ParameterSetName = ByXid)]
    public uint TargetXid { get; set; }

    /// <summary>Stop at this restore point, which pg_create_restore_point made on the primary.</summary>
    [Parameter(Mandatory = true, ParameterSetName = ByName)]
    [ValidateNotNullOrEmpty]
    public string? TargetName { get; set; }

    /// <summary>Apply nothing of the WAL that the delay holds back: the data as the standby has them where its replay stands.</summary>
    [Parameter(Mandatory = true, ParameterSetName = AtOnce)]
    public SwitchParameter Immediate { get; set; }

    /// <summary>Apply what is named, too: stop just after the record at -TargetLsn or the commit of -TargetXid, and before the first commit that is later than -TargetTime. A restore point and -Immediate have no such choice.</summary>
    [Parameter(ParameterSetName = ByLsn)]
    [Parameter(ParameterSetName = ByTime)]
    [Parameter(ParameterSetName = ByXid)]
    [Parameter(ParameterSetName = ByName)]
    [Parameter(ParameterSetName = AtOnce)]
    public SwitchParameter Inclusive { get; set; }

    /// <summary>Follow this timeline. By default it is worked out from the histories: the newest one that the standby's own position leads to.</summary>
    [Parameter(ParameterSetName = ByLsn)]
    [Parameter(ParameterSetName = ByTime)]
    [Parameter(ParameterSetName = ByXid)]
    [Parameter(ParameterSetName = ByName)]
    [Parameter(ParameterSetName = AtOnce)]
    public uint? Timeline { get; set; }

    /// <summary>What was asked for.</summary>
    /// <exception cref="PitrException"><c>PitrPS.InclusiveIgnored</c>, and what <see cref="Recovery.TargetTime"/> refuses.</exception>
    private protected RecoveryOptions Options()
    {
        if (Incident is not null)
        {
            return RecoveryOptions.Of(Incident);
        }

        RecoveryTarget target = ParameterSetName switch
        {
            ByLsn => new RecoveryTarget.Lsn(TargetLsn),
            ByTime => new RecoveryTarget.Time(Await((_, cancel) => TargetTime!.RequireAsync(Standby!, TimeZoneInfo.Local, cancel))),
            ByXid => new RecoveryTarget.Xid(TargetXid),
            ByName => new RecoveryTarget.Name(TargetName!),
            _ => new RecoveryTarget.Immediate(),
        };
        return new RecoveryOptions(Standby!, target with { Inclusive = Inclusive, Timeline = Timeline }, null).Checked();
    }
}
