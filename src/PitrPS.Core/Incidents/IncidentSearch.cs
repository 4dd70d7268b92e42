using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>What Find-PgIncident looks for; an empty list is everything.</summary>
internal sealed record IncidentQuery
{
    public IReadOnlyList<TablePattern> Tables { get; init; } = [];

    public IReadOnlyList<Regex> Databases { get; init; } = [];

    public IReadOnlyList<IncidentKind> Kinds { get; init; } = [];

    public DateTimeOffset? Since { get; init; }

    public DateTimeOffset? Until { get; init; }

    public bool Wants(WalCommit commit) => (Since is null || commit.Time >= Since) && (Until is null || commit.Time <= Until);

    public bool WantsDatabase(string name) => Databases.Count == 0 || Databases.Any(d => d.IsMatch(name));

    public bool Wants(IncidentTable table) => Tables.Count == 0 || Tables.Any(t => t.Matches(table));

    public bool WantsKind(IncidentKind kind) => Kinds.Count == 0 || Kinds.Contains(kind);
}

/// <summary>Find-PgIncident: looks through the WAL that a delayed standby has and has not applied yet.</summary>
internal static class IncidentSearch
{
    /// <summary>The incidents, oldest first.</summary>
    /// <exception cref="PitrException"><c>PitrPS.NotAStandby</c>, <c>PitrPS.WalUnreadable</c>; of a stopped standby <c>PitrPS.CatalogUnreadable</c>.</exception>
    public static async Task<IReadOnlyList<PgIncident>> FindAsync(PgServer server, IncidentQuery query, IFeedback feedback, CancellationToken cancel)
    {
        var position = await StandbyPosition.ReadAsync(server, feedback, cancel).ConfigureAwait(false);
        // The standby's clock against ours, so that what is left is right at the end of a long search too.
        var clock = position.Time - DateTimeOffset.UtcNow;
        await using var range = await WalRange.ReadAsync(server, position, feedback, cancel).ConfigureAwait(false);
        var scan = new WalScan(range, feedback);
        var transactions = new WalTransactions();
        var end = await scan.ReadAsync(range.From, range.To, WalFilter.Of(server.Version, ["Transaction", "Standby"], WalRecords.Condition), transactions.Take, cancel).ConfigureAwait(false);
        Report(range, end, end.Problem is null || await scan.IsOrdinaryEndAsync(end.Reached, cancel).ConfigureAwait(false), feedback);

        var candidates = DropFinder.Candidates(transactions, server.Version).Where(query.Wants).ToList();
        var pending = candidates.Where(c => c.At >= position.Replayed).ToList();
        IStandbyCatalogs catalogs = position.IsRunning ? new StandbyCatalogs(server, feedback) : new StoppedCatalogs(server);
        var finder = new DropFinder(scan, catalogs, transactions, range.From, server, feedback);
        var drops = query.WantsKind(IncidentKind.DropTable) ? await finder.FindAsync(pending, query.WantsDatabase, cancel).ConfigureAwait(false) : [];

        var found = drops.Where(d => d.Tables.Any(query.Wants)).Select(d => Incident(server, range, d, DateTimeOffset.UtcNow + clock)).ToList();
        var others = drops.Where(d => !d.Tables.Any(query.Wants)).ToList();
        WarnOfUnknown(others, feedback);
        WarnOfStart(range, found, DateTimeOffset.UtcNow + clock, feedback);
        if (found.Count == 0)
        {
            WarnOfNewest(server, position, end, feedback);
            SayNothingFound(server, others, [.. candidates.Where(c => c.At < position.Replayed && c.Files.Count > 0)], position, feedback);
        }

        return found;
    }

    internal static PgIncident Incident(PgServer server, WalRange range, DroppedTables drop, DateTimeOffset now)
    {
        var applies = drop.Commit.Time + TimeSpan.FromMilliseconds(range.Position.DelayMilliseconds);
        var left = applies - now;
        return new PgIncident
        {
            Standby = server,
            Kind = IncidentKind.DropTable,
            Tables = drop.Tables,
            TransactionId = drop.Commit.TransactionId,
            LockLsn = drop.Tables.Select(t => t.FirstLock).Min(),
            CommitLsn = drop.Commit.At,
            CommittedAt = drop.Commit.Time,
            Timeline = range.TimelineAt(drop.Commit.At),
            AppliesAt = range.Position.IsFrozen ? null : applies,
            TimeLeft = range.Position.IsFrozen ? null : left > TimeSpan.Zero ? left : TimeSpan.Zero,
        };
    }

    private static void Report(WalRange range, WalScanEnd end, bool isOrdinaryEnd, IFeedback feedback)
    {
        var archived = range.FromArchiveBefore(range.To).Count();
        feedback.Verbose(string.Create(CultureInfo.InvariantCulture,
            $"{range.Server.Id}: searched the WAL from {range.From} to {end.Reached} on timeline {range.History.Timeline}: {end.Bytes} bytes in {end.Elapsed.TotalSeconds:0.0} s, {range.Pieces.Count - archived} segments from pg_wal, {archived} from the archive."));
        if (range.Missing.Count > 0)
        {
            var more = range.Missing.Count == 1 ? "" : $" and {range.Missing.Count - 1} more";
            feedback.Warning($"{range.Server.Id}: the WAL has a gap: segment {range.Missing[0].Name}{more} is neither in pg_wal nor in {range.ArchiveName ?? "an archive (none is known)"}. Nothing after {range.ContinuousTo} was searched{Because(range)}.");
        }
        else if (!isOrdinaryEnd)
        {
            feedback.Warning($"{range.Server.Id}: the WAL cannot be read beyond {end.Reached}, though there is more, up to {range.To}; what comes after it was not searched. {end.Problem}");
        }
    }

    // After a restart a delayed standby gets its WAL from the archive alone, where the newest segment arrives only once it is finished.
    private static void WarnOfNewest(PgServer server, StandbyPosition position, WalScanEnd end, IFeedback feedback)
    {
        if (position.StreamingTimeline is null)
        {
            feedback.Warning($"{server.Id} does not stream now, so the newest WAL that it has ends at {end.Reached}; what was committed since then is not here yet. Run Find-PgIncident again when the primary has archived its next segment (after archive_timeout, or at once with pg_switch_wal() on the primary).");
        }
    }

    // A stopped standby's delay runs on: whoever starts it then loses at once what he came for.
    internal static void WarnOfStart(WalRange range, IReadOnlyList<PgIncident> found, DateTimeOffset now, IFeedback feedback)
    {
        var delay = TimeSpan.FromMilliseconds(range.Position.DelayMilliseconds);
        if (!range.Position.IsRunning && found.FirstOrDefault(i => i.CommittedAt + delay <= now) is { } first)
        {
            feedback.Warning(string.Create(CultureInfo.InvariantCulture,
                $"{range.Server.Id} is stopped, and its delay for transaction {first.TransactionId} ran out at {first.CommittedAt + delay:yyyy-MM-dd HH:mm:ss} UTC: do not start it, it would apply that at once. Invoke-PitrRecovery works on the stopped standby."));
        }
    }

    private static string Because(WalRange range) => range.ArchiveProblem is null ? "" : ", because the archive cannot be read";

    // Nothing is hidden: a relation without a name may be the one that is looked for.
    private static void WarnOfUnknown(IEnumerable<DroppedTables> notWanted, IFeedback feedback)
    {
        foreach (var drop in notWanted.Where(d => d.Tables.Any(t => !t.IsNameKnown)))
        {
            feedback.Warning(string.Create(CultureInfo.InvariantCulture,
                $"Transaction {drop.Commit.TransactionId}, committed {drop.Commit.Time:yyyy-MM-dd HH:mm:ss} UTC at {drop.Commit.At}, dropped relations that are younger than the standby's catalogs and whose names could not be read: {string.Join(", ", drop.Tables.Where(t => !t.IsNameKnown).Select(t => t.Name))} in database {drop.Tables[0].Database}. Run Find-PgIncident without -Table to get it as an object."));
        }
    }

    private static void SayNothingFound(PgServer server, IReadOnlyList<DroppedTables> others, IReadOnlyList<WalCommit> applied, StandbyPosition position, IFeedback feedback)
    {
        feedback.Verbose($"{server.Id}: nothing found.");
        if (others.Count > 0)
        {
            feedback.Warning($"{server.Id}: no table of that name was dropped, but {others.Count} transaction(s) dropped others: {string.Join(", ", others.SelectMany(o => o.Tables).Take(10))}{(others.Sum(o => o.Tables.Count) > 10 ? ", …" : "")}. A table that was renamed since {position.Replayed} is found under its old name.");
        }

        if (applied.Count > 0)
        {
            feedback.Warning(string.Create(CultureInfo.InvariantCulture,
                $"{server.Id} has already replayed up to {position.Replayed}. In the WAL before that, {applied.Count} transaction(s) removed or rewrote relations, the latest at {applied[^1].Time:yyyy-MM-dd HH:mm:ss} UTC (transaction {applied[^1].TransactionId}). If what you look for was dropped there, it is too late for this standby; an older base backup and the archive can bring it back."));
        }
    }
}
