using PitrPS.Archive;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Test-RecoveryTarget: all that Invoke-PitrRecovery would ask of the WAL, as an object. A target that cannot be reached is an answer, no error.</summary>
internal static class TargetReport
{
    // What is wrong with a target, as opposed to what keeps anybody from finding out.
    private static readonly string[] Answers =
        ["PitrPS.TargetAlreadyReplayed", "PitrPS.TargetBeyondWal", "PitrPS.TargetNotFound", "PitrPS.TimelineUnreachable", "PitrPS.WalMissing", "PitrPS.WalUnreadable", "PitrPS.WalMinimal"];

    /// <exception cref="PitrException"><c>PitrPS.NotAStandby</c>, <c>PitrPS.PlannedObject</c>, and what keeps the host or the server from being asked.</exception>
    public static async Task<RecoveryTargetReport> ReadAsync(RecoveryOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var position = await StandbyPosition.ReadAsync(options.Standby, feedback, cancel).ConfigureAwait(false);
        var standby = await ServerDiscovery.RefreshAsync(options.Standby, feedback, cancel).ConfigureAwait(false);
        var blank = new RecoveryTargetReport
        {
            Standby = standby, Incident = options.Incident, Target = options.Target, IsReachable = false, RedoLsn = position.Redo, ReplayedLsn = position.Replayed,
        };
        WalRange range;
        try
        {
            range = await TargetSurvey.RangeAsync(options, standby, position, feedback, cancel).ConfigureAwait(false);
        }
        catch (PitrException e) when (Answers.Contains(e.Id))
        {
            return blank with { Problems = [Problem(e)] };
        }

        await using var read = range;
        try
        {
            return Reachable(blank, await TargetSurvey.OfAsync(options, position, range, conditions: true, feedback, cancel).ConfigureAwait(false));
        }
        catch (PitrException e) when (Answers.Contains(e.Id))
        {
            var primary = e.Id is "PitrPS.TargetBeyondWal" or "PitrPS.WalMissing" ? await PrimaryWal.AskAsync(standby, feedback, cancel).ConfigureAwait(false) : null;
            return Unreachable(blank, range, primary?.Explain(e, options.Target, range) ?? e, primary);
        }
    }

    internal static RecoveryTargetReport Reachable(RecoveryTargetReport report, TargetSurvey survey)
    {
        var (target, conditions) = (survey.Target, survey.Conditions!);
        return report with
        {
            IsReachable = true,
            StopLsn = target.Stop,
            StopTime = conditions.StopTime,
            Timeline = target.Timeline,
            WalEndLsn = survey.Range.To,
            WalBytes = survey.WalBytes,
            WalSource = survey.Source,
            Segments = Segments(survey.Range, target.ReadTo, null),
            IsReadableInPlace = conditions.Locked.Count == 0,
            LockedTables = [.. conditions.Locked.Select(l => Named(l, report.Incident))],
            IsHotStandbyActive = conditions.NoHotStandby is null,
            SettingsToRaise = conditions.Settings,
            ExpectedTime = survey.ExpectedTime,
            Notes = [.. target.Notes, .. conditions.NoHotStandby is { } why ? (string[])[$"Hot standby is not active there: {why}. A pause at this target would promote."] : []],
        };
    }

    // What was made after the position at which the standby stands is in no catalog of its; the incident has its name from the WAL.
    private static LockedTable Named(LockedTable locked, PgIncident? incident) =>
        locked.Schema is null && incident?.Tables.FirstOrDefault(t => t.Oid == locked.Oid && (locked.Database is null || locked.Database == t.Database)) is { } table
            ? locked with { Database = table.Database, Schema = table.Schema, Name = table.Name }
            : locked;

    internal static RecoveryTargetReport Unreachable(RecoveryTargetReport report, WalRange range, PitrException why, PrimaryWal? primary) => report with
    {
        WalEndLsn = range.To,
        PrimaryLsn = primary?.Written,
        Segments = Segments(range, range.To, primary),
        Problems = [Problem(why)],
    };

    private static RecoveryTargetProblem Problem(PitrException e) => new(e.Id, e.Message, e.NextStep);

    private static IReadOnlyList<RecoveryWalSegment> Segments(WalRange range, Lsn to, PrimaryWal? primary) =>
    [
        .. range.Pieces.Where(p => p.Segment.Start < to).Select(p => (p.Segment, Place: p.Place == WalPlace.PgWal ? RecoveryWalPlace.PgWal : RecoveryWalPlace.Archive))
            .Concat(range.MissingBefore(to).Select(s => (Segment: s, Place: primary?.Keeps(s) == true ? RecoveryWalPlace.Primary : RecoveryWalPlace.Missing)))
            .OrderBy(s => s.Segment.Number).Select(s => new RecoveryWalSegment(s.Segment.Name, s.Place)),
    ];
}
