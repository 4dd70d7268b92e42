using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Finds a target in the WAL that a standby has, and refuses one that cannot be reached, before anything is stopped.</summary>
internal sealed partial class TargetFinder(PgServer standby, StandbyPosition position, WalRange range, IFeedback feedback)
{
    private readonly WalScan _scan = new(range, feedback);

    /// <summary>With the conditions, which take one or (on 13) three more passes through the WAL.</summary>
    /// <exception cref="PitrException">What <see cref="FindAsync"/> refuses.</exception>
    public async Task<(ResolvedTarget Target, TargetConditions Conditions)> FindWithConditionsAsync(RecoveryTarget target, CancellationToken cancel)
    {
        var lines = new List<string>();
        var found = await ResolveAsync(target, lines, cancel).ConfigureAwait(false);
        return (found, await TargetConditions.ReadAsync(standby, position, _scan, found, lines, feedback, cancel).ConfigureAwait(false));
    }

    /// <exception cref="PitrException">
    /// <c>PitrPS.TargetAlreadyReplayed</c>, <c>PitrPS.TargetBeyondWal</c>, <c>PitrPS.TargetNotFound</c>, <c>PitrPS.WalMissing</c>, <c>PitrPS.WalUnreadable</c> or <c>PitrPS.WalMinimal</c>.
    /// </exception>
    public Task<ResolvedTarget> FindAsync(RecoveryTarget target, CancellationToken cancel) => ResolveAsync(target, null, cancel);

    private async Task<ResolvedTarget> ResolveAsync(RecoveryTarget target, List<string>? running, CancellationToken cancel)
    {
        var resolved = target switch
        {
            RecoveryTarget.Lsn lsn => await AtPositionAsync(target, lsn.Position, cancel).ConfigureAwait(false),
            RecoveryTarget.Time time => await AtFirstAsync(target, TimeCondition(time.At, time.Inclusive), _ => true, cancel).ConfigureAwait(false),
            RecoveryTarget.Xid xid => await AtFirstAsync(target, EndCondition(xid.TransactionId), _ => true, cancel).ConfigureAwait(false),
            RecoveryTarget.Name point => await AtFirstAsync(target, "/ desc: RESTORE_POINT /", line => NameOf(line) == point.Value, cancel).ConfigureAwait(false) with { RestorePoint = point.Value },
            RecoveryTarget.Immediate => await AtOnceAsync(target, cancel).ConfigureAwait(false),
            _ => throw new ArgumentOutOfRangeException(nameof(target)),
        };
        // Every record up to there is read, whatever is asked for; and a tablespace that is made in that WAL needs a layer, too.
        var tablespaces = new List<string>();
        var settings = position.RequiredSettings.ToDictionary();
        string? minimal = null;
        void Take(string line)
        {
            tablespaces.AddRange(TablespaceOf(line));
            foreach (var (name, value) in ParametersOf(line))
            {
                settings[name] = Math.Max(settings.GetValueOrDefault(name), value);
            }

            minimal ??= line.Contains(" wal_level=minimal", StringComparison.Ordinal) ? line : null;
            running?.Add(line);
        }

        var filter = running is null
            ? WalFilter.Of(standby.Version, ["Tablespace", "XLOG"], "/^rmgr: Tablespace .* desc: CREATE / || / desc: PARAMETER_CHANGE /")
            : WalFilter.Of(standby.Version, ["Tablespace", "XLOG", "Standby"], RecoveryLocks.Condition + " || /^rmgr: Tablespace .* desc: CREATE /");
        var end = await _scan.ReadAsync(range.From, resolved.StopsAfter ? resolved.Stop + 1 : resolved.Stop, filter, Take, cancel).ConfigureAwait(false);
        if (end.Problem is { } problem)
        {
            throw new PitrException("PitrPS.WalUnreadable", ErrorKind.InvalidData,
                $"The WAL of {standby.Id} cannot be read up to {resolved.Stop}: at {end.Reached}, {problem}.",
                $"See whether the archive has a good copy of segment {range.PieceAt(end.Reached)?.Segment.Name}, and put it in the place of the bad one; or recover to before {end.Reached}. The standby runs on and has not been touched.", standby);
        }

        if (minimal is not null && Lsn.Parse(RecordLsn().Match(minimal).Groups[1].Value) is var at)
        {
            throw new PitrException("PitrPS.WalMinimal", ErrorKind.InvalidData,
                $"At {at} the primary of {standby.Id} was started with wal_level = minimal. The WAL after that does not hold all changes, and no recovery goes past it.",
                $"Recover to before it: -TargetLsn {at}. What came later is only on the primary. The standby runs on and has not been touched.", standby);
        }

        return resolved with { Tablespaces = tablespaces, RequiredSettings = settings };
    }

    /// <summary>
    /// The awk condition for the first commit or abort at or after this time; inclusive, the first after it. pg_waldump prints both with the same number of digits, so text compares as time does.
    /// </summary>
    internal static string TimeCondition(DateTimeOffset at, bool inclusive = false) => string.Create(CultureInfo.InvariantCulture,
        $$"""!found && / desc: (COMMIT|ABORT)/ && match($0, /[0-9]+-[0-9][0-9]-[0-9][0-9] [0-9:.]+ UTC/) && substr($0, RSTART, 26) {{(inclusive ? ">" : ">=")}} "{{at.ToUniversalTime():yyyy-MM-dd HH:mm:ss.ffffff}}" && (found = 1)""");

    /// <summary>The awk condition for the record with which a transaction ends, prepared or not: its own, or the commit of the top-level one that it is a part of.</summary>
    internal static string EndCondition(uint xid) => string.Create(CultureInfo.InvariantCulture,
        $"/, tx: +{xid}, .* desc: (COMMIT|ABORT) [0-9]/ || / desc: (COMMIT|ABORT)_PREPARED {xid}: / || / desc: COMMIT(_PREPARED [0-9]+:)? [0-9].*; subxacts:[ 0-9]* {xid}( |;|$)/");

    /// <summary>The transaction that ends with this line; of a prepared one the one that was prepared.</summary>
    internal static uint TransactionOf(string line) =>
        EndedTransaction().Match(line) is { Success: true } match ? uint.Parse(match.Groups["prepared"] is { Success: true } prepared ? prepared.Value : match.Groups["tx"].Value, CultureInfo.InvariantCulture) : 0;

    /// <summary>The name in a line of pg_waldump about a restore point.</summary>
    internal static string? NameOf(string line) => RestorePointName().Match(line) is { Success: true } match ? match.Groups[1].Value : null;

    /// <summary>The bytes of a record with its header, as pg_waldump prints them.</summary>
    internal static long LengthOf(string line) => long.Parse(TotalLength().Match(line).Groups[1].Value, CultureInfo.InvariantCulture);

    /// <summary>The files that a commit removes.</summary>
    internal static IReadOnlyList<string> FilesOf(string line) =>
        RemovedFiles().Match(line) is { Success: true } match ? match.Groups[1].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries) : [];

    /// <summary>The settings in a line about those of the primary.</summary>
    internal static IEnumerable<(string Name, long Value)> ParametersOf(string line) =>
        line.Contains(" desc: PARAMETER_CHANGE ", StringComparison.Ordinal)
            ? Parameter().Matches(line).Select(m => (ControlData.SettingOf(m.Groups[1].Value), long.Parse(m.Groups[2].Value, CultureInfo.InvariantCulture)))
            : [];

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

        return Resolved(target, start, line);
    }

    // Recovery begins at the restartpoint and stops when it has applied what the standby had applied: it needs one record to begin with.
    private async Task<ResolvedTarget> AtOnceAsync(RecoveryTarget target, CancellationToken cancel)
    {
        RequireComplete(position.Replayed);
        return await _scan.FirstRecordAsync(range.From + 1, cancel).ConfigureAwait(false) is { Start: not null }
            ? new ResolvedTarget(position.Replayed, range.TimelineAt(position.Replayed + -1), position.Replayed) { IsImmediate = true }
            : throw Beyond(target, $"the WAL that the standby has ends at its last restartpoint, {range.From}, and PostgreSQL recovers nothing without a record after that");
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
                    $"{(target is RecoveryTarget.Xid { TransactionId: var xid } ? $"No transaction {xid} ends" : $"There is no {target}")} in the WAL that {standby.Id} has, from {range.From} to {end.Reached}.",
                    "It may be older than that, not have arrived yet, or have another name. Find-PgIncident shows what there is.", standby);
        }

        var start = Lsn.Parse(RecordLsn().Match(found).Groups[1].Value);
        RequireNotReplayed(target, start);
        var resolved = Resolved(target, start, found);
        return target is RecoveryTarget.Xid { TransactionId: var asked } ? resolved with { Notes = NotesOn(asked, found, start) } : resolved;
    }

    /// <summary>What the line with which a transaction ends says beyond that.</summary>
    internal static IReadOnlyList<string> NotesOn(uint xid, string line, Lsn start)
    {
        var top = TransactionOf(line);
        var rolledBack = line.Contains(" desc: ABORT", StringComparison.Ordinal);
        return
        [
            .. top == xid ? (string[])[] : [$"Transaction {xid} is a subtransaction of {top}, which ends at {start}."],
            .. rolledBack ? (string[])[$"Transaction {top} was rolled back at {start}."] : [],
        ];
    }

    private ResolvedTarget Resolved(RecoveryTarget target, Lsn start, string line)
    {
        // Each page of 8 KiB that the record reaches into has a header of up to 40 bytes.
        var length = LengthOf(line);
        var readTo = start + (length + (((length / 8192) + 2) * 40));
        RequireComplete(readTo < range.To ? readTo : range.To);
        // Of a time, inclusive has found the first commit that is later; that one is not applied.
        return new ResolvedTarget(start, range.TimelineAt(start), readTo) { Files = FilesOf(line), Inclusive = target is { Inclusive: true } and not RecoveryTarget.Time };
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

    [GeneratedRegex(@", tx: +(?<tx>\d+), .* desc: (?:COMMIT|ABORT)(?:_PREPARED (?<prepared>\d+):)? ")]
    private static partial Regex EndedTransaction();

    [GeneratedRegex(@", lsn: ([0-9A-F]+/[0-9A-F]+), ")]
    private static partial Regex RecordLsn();

    [GeneratedRegex("^rmgr: Tablespace .* desc: CREATE \\d+ \"(.*)\"$")]
    private static partial Regex TablespaceDirectory();

    [GeneratedRegex(@" (max_\w+)=(\d+)")]
    private static partial Regex Parameter();

    [GeneratedRegex(@"; rels: ([^;]*)")]
    private static partial Regex RemovedFiles();
}
