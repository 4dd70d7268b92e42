using System.Management.Automation;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Makes an installed, empty server the standby of a primary.</para>
/// <para>On the primary: a role that may only replicate, a replication slot, one hostssl line in pg_hba.conf. On the standby: a base backup with progress,
/// standby.signal, and the connection, whose certificate is verified; where the archive is mounted, it is the restore_command's source.
/// A cluster that holds anything is never replaced. A standby that follows this primary already is taken over as it runs: it keeps its data, its slot and its delay,
/// and is restarted only where a changed setting needs it (restore_command, on PostgreSQL 13); Remove-PgStandby puts its owner's settings back.</para>
/// </summary>
/// <example>
/// <code>Connect-PgHost standby -UserName dba | Install-PgServer -Version 15 |
///     Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir | New-PgStandby -Primary $primary</code>
/// <para>From a bare host to a standby that streams.</para>
/// </example>
[Cmdlet(VerbsCommon.New, "PgStandby", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PgServer))]
public sealed class NewPgStandbyCommand : PlanCmdlet
{
    /// <summary>The server that becomes the standby.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <summary>Its primary.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    public PgServer Primary { get; set; } = null!;

    /// <summary>The primary's address as the standby sees it, when that is not the one this client uses.</summary>
    [Parameter]
    public string? PrimaryAddress { get; set; }

    /// <summary>The primary's SSH port as the standby sees it.</summary>
    [Parameter]
    [ValidateRange(1, 65535)]
    public int PrimarySshPort { get; set; }

    /// <summary>The standby's address as the primary sees it, when it is not that of the standby's route to the primary.</summary>
    [Parameter]
    public string? StandbyAddress { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var server in Server)
        {
            var options = new StandbyOptions(server, Primary)
            {
                PrimaryAddress = PrimaryAddress,
                PrimarySshPort = PrimarySshPort == 0 ? null : PrimarySshPort,
                StandbyAddress = StandbyAddress,
            };
            CarryAndWrite((feedback, cancel) => StandbyPlan.BuildAsync(options, feedback, cancel), server);
        }
    }
}
