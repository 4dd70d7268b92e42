using System.Management.Automation;
using PitrPS.Recovery;
using PitrPS.Rescue;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Brings tables back from a recovered server to the primary, and proves that what arrived is what was there.</summary>
/// <remarks>
/// The standby's host sends the rows to the primary's over SSH, with a key that is made for this one restore and may run one script. The primary makes the tables, takes the rows,
/// builds the indexes, counts and compares in one transaction: until all rows are there, nobody sees anything. Owner, grants, constraints, triggers, policies, sequences and comments come back,
/// and so do views, foreign keys and publications that depended on a table and went with it; what could not is in the Notes.
/// A table that is on the primary already is refused, and nothing is changed. Run again after a lost connection or a killed client, it finishes what was begun.
/// </remarks>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery | Restore-PgTable -To $primary | Complete-PitrRecovery</code>
/// <para>The whole way from the incident to the delayed standby.</para>
/// </example>
/// <example>
/// <code>Get-PitrRecovery $standby | Restore-PgTable -To $primary -Table sales.orders -WhatIf</code>
/// <para>Shows what would be done on both hosts for one table.</para>
/// </example>
[Cmdlet(VerbsData.Restore, "PgTable", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(RestoredTable))]
public sealed class RestorePgTableCommand : PlanCmdlet
{
    /// <summary>The recovery, as Invoke-PitrRecovery or Get-PitrRecovery gives it.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PitrRecovery Recovery { get; set; } = null!;

    /// <summary>The primary, as Get-PgServer gives it.</summary>
    [Parameter(Mandatory = true, Position = 1)]
    public PgServer To { get; set; } = null!;

    /// <summary>The tables: name or schema.name. Without it, all tables of the incident. A partitioned table brings its partitions.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string[] Table { get; set; } = [];

    /// <summary>The database; needed only when the recovery was not made for an incident.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? Database { get; set; }

    /// <summary>The primary's address as the standby sees it. Default: what the standby follows.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? PrimaryAddress { get; set; }

    /// <summary>The primary's SSH port as the standby sees it.</summary>
    [Parameter]
    [ValidateRange(1, 65535)]
    public int PrimarySshPort { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() =>
    {
        var options = new RestoreOptions(Recovery, To, Table, Database, PrimaryAddress, PrimarySshPort == 0 ? null : PrimarySshPort);
        WriteObject(Carry((feedback, cancel) => RestorePlan.BuildAsync(options, feedback, cancel)), enumerateCollection: true);
    }, To);
}
