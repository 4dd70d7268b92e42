using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>What was destroyed.</summary>
public enum IncidentKind
{
    /// <summary>DROP TABLE, DROP SCHEMA or DROP … CASCADE that took tables with it.</summary>
    DropTable,
}

/// <summary>A relation that an incident destroyed, as the delayed standby's catalogs still name it.</summary>
/// <param name="Database">The database.</param>
/// <param name="Schema">The schema.</param>
/// <param name="Name">The name, unquoted.</param>
/// <param name="Oid">pg_class.oid.</param>
/// <param name="FirstLock">Where the WAL first locks it; null when no lock was logged.</param>
public sealed record IncidentTable(string Database, string Schema, string Name, uint Oid, Lsn? FirstLock)
{
    /// <summary>schema.name.</summary>
    public override string ToString() => $"{Schema}.{Name}";
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
    public required IReadOnlyList<IncidentTable> Tables { get; init; }

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

    /// <summary>The tables' names.</summary>
    public override string ToString() => $"{Kind} {string.Join(", ", Tables)} at {CommittedAt:u} (xid {TransactionId}, commit {CommitLsn})";
}
