using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>A table that was carried back, with the proof.</summary>
public sealed record RestoredTable
{
    /// <summary>The recovery it came from; Complete-PitrRecovery takes it from here.</summary>
    public required PitrRecovery Recovery { get; init; }

    /// <summary>The table.</summary>
    public required IncidentTable Table { get; init; }

    /// <summary>The primary that it is on again.</summary>
    public required PgServer To { get; init; }

    /// <summary>Rows on the recovered server.</summary>
    public required long RowsRecovered { get; init; }

    /// <summary>Rows on the primary, counted there before the table became visible.</summary>
    public required long RowsRestored { get; init; }

    /// <summary>Order-independent checksum of all rows on the recovered server.</summary>
    public required string ChecksumRecovered { get; init; }

    /// <summary>The same on the primary.</summary>
    public required string ChecksumRestored { get; init; }

    /// <summary>True when rows and checksums are the same on both sides.</summary>
    public bool IsProven => !IsPlanned && RowsRecovered == RowsRestored && ChecksumRecovered == ChecksumRestored;

    /// <summary>Indexes, constraints, triggers, grants that came back with it, and what could not.</summary>
    public IReadOnlyList<string> Notes { get; init => field = Listed.Of(value); } = [];

    /// <summary>How long it took.</summary>
    public TimeSpan? Elapsed { get; init; }

    /// <summary>True when it exists only as a plan (-WhatIf).</summary>
    public bool IsPlanned { get; init; }

    /// <summary>For the record of the recovery, and for the plan of its completion; null while it is not proven.</summary>
    internal ProvenTable? Proof => IsProven || IsPlanned ? new ProvenTable(Table, RowsRestored, ChecksumRestored, To) { Notes = Notes, IsPlanned = IsPlanned } : null;
}
