using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>What was destroyed.</summary>
public enum IncidentKind
{
    /// <summary>DROP TABLE, DROP SCHEMA or DROP … CASCADE that took tables with it.</summary>
    DropTable,
}

/// <summary>
/// A relation that an incident destroyed, under the name that the delayed standby's catalogs have for it. What identifies it is the oid:
/// a table that was renamed between the standby's position and the incident has its later name in a recovery.
/// </summary>
/// <param name="Database">The database.</param>
/// <param name="Schema">The schema.</param>
/// <param name="Name">The name, unquoted.</param>
/// <param name="Oid">pg_class.oid.</param>
/// <param name="FirstLock">Where the WAL first locks it; null when no lock was logged.</param>
public sealed record IncidentTable(string Database, string Schema, string Name, uint Oid, Lsn? FirstLock)
{
    /// <summary>True for an unlogged table: a recovery brings its definition back and no rows, because the WAL never had them.</summary>
    public bool IsUnlogged { get; init; }

    /// <summary>True when the table was created after the position at which the standby stands: the standby itself does not have it yet, a recovery to just before the incident does.</summary>
    public bool IsNewerThanStandby { get; init; }

    /// <summary>False when neither the catalogs nor the WAL gave the name; then only the oid is right, and it may be an index or another relation with storage.</summary>
    public bool IsNameKnown { get; init; } = true;

    /// <summary>schema.name.</summary>
    public override string ToString() => Schema.Length > 0 ? $"{Schema}.{Name}" : Name;
}

/// <summary>
/// A committed transaction that destroyed something, found in the WAL of a delayed standby.
/// Source of the records: src/backend/access/rmgrdesc/xactdesc.c and standbydesc.c.
/// </summary>
public sealed record PgIncident
{
    /// <summary>The delayed standby that still has what was destroyed.</summary>
    public required PgServer Standby { get; init; }

    /// <summary>What happened.</summary>
    public required IncidentKind Kind { get; init; }

    /// <summary>What it happened to.</summary>
    public required IReadOnlyList<IncidentTable> Tables { get; init => field = Listed.Of(value); }

    /// <summary>The top-level transaction.</summary>
    public required uint TransactionId { get; init; }

    /// <summary>The first record that locks one of the tables; from here on replay holds the lock. Null when no lock was logged.</summary>
    public Lsn? LockLsn { get; init; }

    /// <summary>Where the COMMIT record starts: recovery to just before it loses nothing else.</summary>
    public required Lsn CommitLsn { get; init; }

    /// <summary>The primary's clock at the COMMIT.</summary>
    public required DateTimeOffset CommittedAt { get; init; }

    /// <summary>The timeline that the COMMIT is on.</summary>
    public required uint Timeline { get; init; }

    /// <summary>When the standby applies it unless it is frozen; null while it is frozen.</summary>
    public DateTimeOffset? AppliesAt { get; init; }

    /// <summary>How long is left until then; null while it is frozen, zero when it has been applied.</summary>
    public TimeSpan? TimeLeft { get; init; }

    /// <summary>The tables' names, as a terminal may show them.</summary>
    public override string ToString() => $"{Kind} {TerminalText.OneLine(string.Join(", ", Tables))} at {CommittedAt:u} (xid {TransactionId}, commit {CommitLsn})";
}
