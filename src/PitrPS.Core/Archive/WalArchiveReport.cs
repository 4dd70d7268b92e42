using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What a segment of an archive is.</summary>
public enum WalSegmentState
{
    /// <summary>It is there, and its size and first page are what its name says.</summary>
    Found,
    /// <summary>It is not there, and nothing says that it is still to come.</summary>
    Missing,
    /// <summary>It is finished and not archived yet: the primary still has it in pg_wal. Seen from a standby: it is newer than all that is there.</summary>
    Waiting,
    /// <summary>It has fewer bytes than a segment.</summary>
    Short,
    /// <summary>It has more bytes than a segment.</summary>
    Long,
    /// <summary>It was written by another cluster (system identifier).</summary>
    WrongCluster,
    /// <summary>Its first page, or its name, is of a timeline that does not lead to the server's own at this position.</summary>
    WrongTimeline,
    /// <summary>Its first page is zeros.</summary>
    Zeroed,
    /// <summary>Its first page is no WAL of this version, or the page of another position.</summary>
    Damaged,
    /// <summary>It is there and cannot be read.</summary>
    Unreadable,
    /// <summary>It is good, and there a second time: compressed and not, or with a .partial beside it.</summary>
    Duplicate,
}

/// <summary>One segment that an archive has or should have.</summary>
public sealed record WalArchiveSegment
{
    /// <summary>The segment's name, or the file's where that is longer: "000000010000000000000003", "000000010000000000000003.zst".</summary>
    public required string Name { get; init; }

    /// <summary>The timeline in its name.</summary>
    public required uint Timeline { get; init; }

    /// <summary>Where it begins in the WAL.</summary>
    public required Lsn Start { get; init; }

    /// <summary>What it is.</summary>
    public required WalSegmentState State { get; init; }

    /// <summary>Bytes of the file; null when there is none.</summary>
    public long? Size { get; init; }

    /// <summary>Bytes that it takes on the disk, fewer where it is sparse; null when there is no file.</summary>
    public long? DiskSize { get; init; }

    /// <summary>When the file was last written, UTC; null when there is none.</summary>
    public DateTimeOffset? Time { get; init; }

    /// <summary>What is wrong with it, or what else there is of it; null when there is nothing to say.</summary>
    public string? Detail { get; init; }

    /// <summary>Whether a server that needs it gets it.</summary>
    public bool IsRecoverable => State is WalSegmentState.Found or WalSegmentState.Duplicate;

    /// <summary>The name and the state.</summary>
    public override string ToString() => $"{Name} {State}";
}

/// <summary>One timeline of which an archive has anything, or that its server descends from.</summary>
/// <param name="Timeline">Its number.</param>
/// <param name="Parent">The timeline that it was left from; null for the first, and where no history says it.</param>
/// <param name="ForkedAt">Where it was left; null where there is no parent.</param>
/// <param name="Segments">How many segment files of it are in the archive.</param>
/// <param name="HasHistory">Whether its history file is in the archive; timeline 1 has none.</param>
/// <param name="IsFollowed">It is the server's own timeline or one of its ancestors.</param>
public sealed record WalArchiveTimeline(uint Timeline, uint? Parent, Lsn? ForkedAt, int Segments, bool HasHistory, bool IsFollowed)
{
    /// <summary>"2 (from 1 at 0/5000148)".</summary>
    public override string ToString() => Parent is null ? $"{Timeline}" : $"{Timeline} (from {Parent} at {ForkedAt})";
}

/// <summary>What a primary's archiver says of itself. Source: PostgreSQL documentation, "pg_stat_archiver"; it counts what archive_command claimed, not what arrived.</summary>
public sealed record WalArchiverClaim
{
    /// <summary>The file that it archived last; null for none since <see cref="Since"/>.</summary>
    public string? LastArchived { get; init; }

    /// <summary>When, UTC.</summary>
    public DateTimeOffset? LastArchivedAt { get; init; }

    /// <summary>Whether that file is in the archive.</summary>
    public bool? LastArchivedIsThere { get; init; }

    /// <summary>How many files it archived.</summary>
    public long Archived { get; init; }

    /// <summary>How many attempts failed.</summary>
    public long Failed { get; init; }

    /// <summary>The file whose attempt failed last; null for none.</summary>
    public string? LastFailed { get; init; }

    /// <summary>When, UTC.</summary>
    public DateTimeOffset? LastFailedAt { get; init; }

    /// <summary>Its last attempt failed.</summary>
    public bool IsFailing { get; init; }

    /// <summary>From when on it counts, UTC.</summary>
    public DateTimeOffset? Since { get; init; }
}

/// <summary>
/// What is in a WAL archive, checked against what should be there. Sizes are bytes, times UTC by the host's clock.
/// The checks are those that decide whether a server takes a segment: size, and on the first page magic, address, system identifier, segment size and timeline;
/// of a compressed segment the first page is decompressed for that, and its size is not known.
/// Source: src/include/access/xlog_internal.h (XLogLongPageHeaderData), src/backend/access/transam/timeline.c.
/// </summary>
public sealed record WalArchiveReport
{
    /// <summary>The server whose archive it is: the primary, or a standby that reads it through its mount.</summary>
    public required PgServer Server { get; init; }

    /// <summary>The directory on that server's host.</summary>
    public required string Path { get; init; }

    /// <summary>When it was looked at.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>How long that took.</summary>
    public TimeSpan Elapsed { get; init; }

    /// <summary>The cluster's system identifier.</summary>
    public ulong? SystemIdentifier { get; init; }

    /// <summary>The server's timeline.</summary>
    public uint Timeline { get; init; }

    /// <summary>Every segment that is there or should be, in the order of the WAL; of a standby those from <see cref="NeededFrom"/> on.</summary>
    public IReadOnlyList<WalArchiveSegment> Segments { get; init => field = Listed.Of(value); } = [];

    /// <summary>Those of them that are neither found nor waiting.</summary>
    public IReadOnlyList<WalArchiveSegment> Problems { get; init => field = Listed.Of(value); } = [];

    /// <summary>How many segments can be restored.</summary>
    public int Found { get; init; }

    /// <summary>How many are missing.</summary>
    public int Missing { get; init; }

    /// <summary>How many are finished and not archived yet.</summary>
    public int Waiting { get; init; }

    /// <summary>The timelines, by number.</summary>
    public IReadOnlyList<WalArchiveTimeline> Timelines { get; init => field = Listed.Of(value); } = [];

    /// <summary>On a standby: where its replay begins after a restart; the archive has to have everything from there on that pg_wal lacks.</summary>
    public Lsn? NeededFrom { get; init; }

    /// <summary>Where the unbroken WAL begins that leads to <see cref="LastRecoverable"/>; null when nothing can be recovered.</summary>
    public Lsn? FirstRecoverable { get; init; }

    /// <summary>The time of the first COMMIT there, or the file's own where there is none near.</summary>
    public DateTimeOffset? FirstRecoverableTime { get; init; }

    /// <summary>
    /// Up to where a recovery gets by the archive alone: of a primary the end of the last segment that is there, of a standby the end of the unbroken WAL that it needs.
    /// </summary>
    public Lsn? LastRecoverable { get; init; }

    /// <summary>The time of the last COMMIT before that, or the file's own where there is none near.</summary>
    public DateTimeOffset? LastRecoverableTime { get; init; }

    /// <summary>On a running primary: what pg_stat_archiver claims.</summary>
    public WalArchiverClaim? Archiver { get; init; }

    /// <summary>Bytes on the disk of all that was looked at.</summary>
    public long DiskSize { get; init; }

    /// <summary>The time that the growth was taken over: at most the last 7 days; null where the archive is younger than an hour.</summary>
    public TimeSpan? GrowthPeriod { get; init; }

    /// <summary>Segments a day over that time.</summary>
    public double? SegmentsPerDay { get; init; }

    /// <summary>Bytes on the disk a day over that time.</summary>
    public long? BytesPerDay { get; init; }

    /// <summary>Bytes that are free on the archive's filesystem.</summary>
    public long? DiskFree { get; init; }

    /// <summary>When the disk is full, if the archive grows on like this and nothing is removed; null where that cannot be told, or is more than 100 years away.</summary>
    public DateTimeOffset? DiskFullAt { get; init; }

    /// <summary>No problem, no gap, and an archiver that does not fail.</summary>
    public bool IsHealthy { get; init; }

    /// <summary>What somebody should look at, a sentence each.</summary>
    public IReadOnlyList<string> Warnings { get; init => field = Listed.Of(value); } = [];

    /// <summary>The path and what was found.</summary>
    public override string ToString() =>
        string.Create(CultureInfo.InvariantCulture, $"{Server.Id} {Path}: {Found} found, {Missing} missing, {Problems.Count} problems");
}
