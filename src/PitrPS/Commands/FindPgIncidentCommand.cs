using System.Management.Automation;
using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// Finds what was destroyed on the primary, in the WAL that a delayed standby has and has not applied yet: transactions that dropped tables, by name.
/// It runs pg_waldump on the standby's host, as the database's OS user and with low priority, on pg_wal and, for what pg_wal does not have, on the archive that is mounted there.
/// It changes nothing. Each transaction is one object, the oldest first: the transaction id, the first record that locks a table, the start and the time of its COMMIT,
/// and how long is left until the standby would apply it.
/// </summary>
/// <remarks>
/// <para>The names are those of the standby's own catalogs. A table that was created after the position at which the standby stands, and dropped again, is named from the WAL
/// (IsNewerThanStandby). A table that was renamed after that position is found under its old name; its Oid stays the same.
/// A relation whose name is nowhere to be found is emitted with its Oid when no -Table is given, and mentioned in a warning when one is.</para>
/// <para>Rolled back transactions and savepoints, temporary tables, TRUNCATE, VACUUM FULL, CLUSTER, REFRESH and ALTER TABLE are no incidents.
/// What the standby has applied already is none either: it is too late for that on this standby, and a warning says so when nothing else is found.</para>
/// <para>TimeLeft goes by the standby's clock, because that is what its delay goes by. It is empty while replay is frozen.
/// Suspend-WalReplay first: it stops the clock.</para>
/// </remarks>
/// <example>
/// <code>$standby | Suspend-WalReplay | Find-PgIncident -Table pitr2</code>
/// <para>Freezes the standby and finds the transactions that dropped a table of that name, in any schema and database.</para>
/// </example>
/// <example>
/// <code>$standby | Find-PgIncident -Table 'sales.order*', '"Odd.Name"' -Since (Get-Date).AddHours(-2)</code>
/// <para>Every table of schema sales that begins with order, and the table Odd.Name, dropped in the last two hours.</para>
/// </example>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Select-Object -Last 1 | Invoke-PitrRecovery</code>
/// <para>Recovers to just before the latest of several.</para>
/// </example>
[Cmdlet(VerbsCommon.Find, "PgIncident")]
[OutputType(typeof(PgIncident))]
public sealed class FindPgIncidentCommand : PitrCmdlet
{
    /// <summary>The delayed standby.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    [Alias("Standby")]
    [ValidateNotNull]
    public PgServer[] Server { get; set; } = [];

    /// <summary>Tables as name or schema.name, with wildcards; a part in double quotes is taken exactly, and without them letters match in either case. A transaction is found when it dropped one of them, and is emitted with all that it dropped.</summary>
    [Parameter(Position = 0)]
    [SupportsWildcards]
    public string[] Table { get; set; } = [];

    /// <summary>Only in these databases; wildcards are allowed.</summary>
    [Parameter]
    [SupportsWildcards]
    public string[] Database { get; set; } = [];

    /// <summary>Only incidents of these kinds.</summary>
    [Parameter]
    public IncidentKind[] Kind { get; set; } = [];

    /// <summary>Only what was committed at or after this time, by the primary's clock.</summary>
    [Parameter]
    public DateTimeOffset? Since { get; set; }

    /// <summary>Only what was committed at or before this time, by the primary's clock.</summary>
    [Parameter]
    public DateTimeOffset? Until { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var standby in Server)
        {
            Attempt(() => WriteObject(Await((feedback, cancel) => RecoveryReader.IncidentsAsync(standby, Query(), feedback, cancel)), enumerateCollection: true), standby);
        }
    }

    private IncidentQuery Query() => new()
    {
        Tables = [.. Table.Select(TablePattern.Parse)],
        Databases = [.. Database.Select(TablePattern.Name)],
        Kinds = Kind,
        Since = Since,
        Until = Until,
    };
}
