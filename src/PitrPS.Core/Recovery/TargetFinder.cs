using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Finds a target in the WAL that a standby has, and refuses one that cannot be reached, before anything is stopped.</summary>
internal sealed partial class TargetFinder(PgServer standby, StandbyPosition position, WalRange range, IFeedback feedback)
{
    private readonly WalScan _scan = new(range, feedback);

    /// <exception cref="PitrException">
    /// <c>PitrPS.TargetAlreadyReplayed</c>, <c>PitrPS.TargetBeyondWal</c>, <c>PitrPS.TargetNotFound</c>, <c>PitrPS.WalMissing</c> or <c>PitrPS.WalUnreadable</c>.
    /// </exception>
    public async Task<ResolvedTarget> FindAsync(RecoveryTarget target, CancellationToken cancel)
    {
        var resolved = target switch
        {
            RecoveryTarget.Lsn lsn => await AtPositionAsync(target, lsn.Position, cancel).ConfigureAwait(false),
            RecoveryTarget.Time time => await AtFirstAsync(target, TimeCondition(time.At), _ => true, cancel).ConfigureAwait(false),
            RecoveryTarget.Xid xid => await AtFirstAsync(target, CommitCondition(xid.TransactionId), _ => true, cancel).ConfigureAwait(false),
            RecoveryTarget.Name point => await AtFirstAsync(target, "/ desc: RESTORE_POINT /", line => NameOf(line) == point.Value, cancel).ConfigureAwait(false) with { RestorePoint = point.Value },
            _ => throw new ArgumentOutOfRangeException(nameof(target)),
        };
        // Every record up to there is read, whatever is asked for; and a tablespace that is made in that WAL needs a layer, too.
        var tablespaces = new List<string>();
        var end = await _scan.ReadAsync(range.From, resolved.Stop, WalFilter.Of(standby.Version, ["Tablespace"], "/ desc: CREATE /"), line => tablespaces.AddRange(TablespaceOf(line)), cancel).ConfigureAwait(false);
        if (end.Problem is { } problem)
        {
            throw new PitrException("PitrPS.WalUnreadable", ErrorKind.InvalidData,
                $"The WAL of {standby.Id} cannot be read up to {resolved.Stop}: at {end.Reached}, {problem}.",
                $"See whether the archive has a good copy of segment {range.PieceAt(end.Reached)?.Segment.Name}, and put it in the place of the bad one; or recover to before {end.Reached}. The standby runs on and has not been touched.", standby);
        }

        return resolved with { Tablespaces = tablespaces };
    }

    /// <summary>The awk condition for the first commit or abort at or after this time. pg_waldump prints both with the same number of digits, so text compares as time does.</summary>
    internal static string TimeCondition(DateTimeOffset at) => string.Create(CultureInfo.InvariantCulture,
        $$"""!found && / desc: (COMMIT|ABORT)/ && match($0, /[0-9]+-[0-9][0-9]-[0-9][0-9] [0-9:.]+ UTC/) && substr($0, RSTART, 26) >= "{{at.ToUniversalTime():yyyy-MM-dd HH:mm:ss.ffffff}}" && (found = 1)""");

    /// <summary>The awk condition for the commit of a top-level transaction, prepared or not.</summary>
    internal static string CommitCondition(uint xid) => string.Create(CultureInfo.InvariantCulture, $"/, tx: +{xid}, .* desc: COMMIT [0-9]/ || / desc: COMMIT_PREPARED {xid}: /");

    /// <summary>The name in a line of pg_waldump about a restore point.</summary>
    internal static string? NameOf(string line) => RestorePointName().Match(line) is { Success: true } match ? match.Groups[1].Value : null;

    /// <summary>The bytes of a record with its header, as pg_waldump prints them.</summary>
    internal static long LengthOf(string line) => long.Parse(TotalLength().Match(line).Groups[1].Value, CultureInfo.InvariantCulture);

    /// <summary>The files that a commit removes.</summary>
    internal static IReadOnlyList<string> FilesOf(string line) =>
        RemovedFiles().Match(line) is { Success: true } match ? match.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries) : [];

    /// <summary>The directory in a line about the making of a tablespace.</summary>
    internal static IEnumerable<string> TablespaceOf(string line) =>
        TablespaceDirectory().Match(line) is { Success: true } match ? [match.Groups[1].Value] : [];

    private async Task<ResolvedTarget> AtPositionAsync(RecoveryTarget target, Lsn lsn, CancellationToken cancel)
    {
        RequireNotReplayed(target, lsn);
        RequireComplete(lsn + 1);
        if (lsn >= range.To || await _scan.FirstRecordAsync(lsn, cancel).ConfigureAwait(false) is not { Start: { } start, Line: { } line })
        {
            throw Beyond(target, $"the WAL that the standby has ends at {range.To}");
        }

        return Resolved(start, line);
    }

    private async Task<ResolvedTarget> AtFirstAsync(RecoveryTarget target, string condition, Func<string, bool> isIt, CancellationToken cancel)
    {
        string? found = null;
        var managers = target is RecoveryTarget.Name ? "XLOG" : "Transaction";
        var end = await _scan.ReadAsync(range.From, range.ContinuousTo, WalFilter.Of(standby.Version, [managers], condition), line => found ??= isIt(line) ? line : null, cancel).ConfigureAwait(false);
        if (found is null)
        {
            // A gap may be where it is.
            RequireComplete(range.To);
            throw target is RecoveryTarget.Time
                ? Beyond(target, $"no transaction ended after that time in the WAL that the standby has, which is readable up to {end.Reached}")
                : new PitrException("PitrPS.TargetNotFound", ErrorKind.ObjectNotFound,
                    $"There is no {(target is RecoveryTarget.Name ? target.ToString() : $"commit of a top-level {target.ToString()![7..]}")} in the WAL that {standby.Id} has, from {range.From} to {end.Reached}.",
                    "It may be older than that, not have arrived yet, or have another name; a subtransaction is named by its top-level one. Find-PgIncident shows what there is.", standby);
        }

        var start = Lsn.Parse(RecordLsn().Match(found).Groups[1].Value);
        RequireNotReplayed(target, start);
        return Resolved(start, found);
    }

    private ResolvedTarget Resolved(Lsn start, string line)
    {
        // Each page of 8 KiB that the record reaches into has a header of up to 40 bytes.
        var length = LengthOf(line);
        var readTo = start + (length + (((length / 8192) + 2) * 40));
        RequireComplete(readTo < range.To ? readTo : range.To);
        return new ResolvedTarget(start, range.TimelineAt(start), readTo) { Files = FilesOf(line) };
    }

    private void RequireNotReplayed(RecoveryTarget target, Lsn at)
    {
        if (at < position.Replayed)
        {
            throw AlreadyReplayed(standby, target, at, position.Replayed);
        }
    }

    public static PitrException AlreadyReplayed(PgServer standby, RecoveryTarget target, Lsn at, Lsn replayed) =>
        new("PitrPS.TargetAlreadyReplayed", ErrorKind.InvalidOperation,
            $"{standby.Id} cannot be recovered to {target}: it has applied the WAL up to {replayed} already, {(at < replayed ? $"which is past {at}" : "so nothing is left to stop before")}.",
            "If a table is locked here but its drop is not committed yet, give the COMMIT as the target, as Find-PgIncident does. What is committed is gone from this standby: only an older base backup, or a standby with a longer delay, still has it.", standby);

    private PitrException Beyond(RecoveryTarget target, string why) =>
        new("PitrPS.TargetBeyondWal", ErrorKind.InvalidOperation,
            $"{standby.Id} cannot be recovered to {target}: {why}.",
            "Wait until more WAL has arrived (pg_switch_wal() on the primary sends the rest of the segment to the archive), or give a target that is in the WAL. The standby runs on and has not been touched.", standby);

    private void RequireComplete(Lsn to)
    {
        string[] missing = [.. range.MissingBefore(to).Select(s => s.Name)];
        if (missing.Length == 0)
        {
            return;
        }

        var named = string.Join(", ", missing.Take(8)) + (missing.Length > 8 ? $" and {missing.Length - 8} more" : "");
        throw new PitrException("PitrPS.WalMissing", ErrorKind.ObjectNotFound,
            $"{standby.Id} has not all of the WAL that is needed: {named} {(missing.Length == 1 ? "is" : "are")} neither in pg_wal nor in {range.ArchiveName ?? "an archive, of which it knows none"}"
                + (range.ArchiveProblem is { } problem ? $", which cannot be read: {problem}" : "."),
            range.ArchiveProblem is null
                ? "Bring these segments back into the archive or the standby's pg_wal; or see with Get-ReplicationStatus how far its WAL goes. The standby runs on and has not been touched."
                : $"Mend {(range.Repository is null ? "the mount of the archive (Mount-WalArchive)" : "what it says of the repository")}, then run the same command again. The standby runs on and has not been touched.", standby);
    }

    [GeneratedRegex(@" desc: RESTORE_POINT (.*)$")]
    private static partial Regex RestorePointName();

    [GeneratedRegex(@"len \(rec/tot\): +\d+/ *(\d+),")]
    private static partial Regex TotalLength();

    [GeneratedRegex(@", lsn: ([0-9A-F]+/[0-9A-F]+), ")]
    private static partial Regex RecordLsn();

    [GeneratedRegex("^rmgr: Tablespace .* desc: CREATE \\d+ \"(.*)\"$")]
    private static partial Regex TablespaceDirectory();

    [GeneratedRegex(@"; rels: ([^;]*)")]
    private static partial Regex RemovedFiles();
}
