using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What to recover.</summary>
/// <param name="Standby">The delayed standby.</param>
/// <param name="Target">Where to stop.</param>
/// <param name="Incident">What it is for; null for a target that was given by hand.</param>
internal sealed record RecoveryOptions(PgServer Standby, RecoveryTarget Target, PgIncident? Incident)
{
    /// <summary>How; null for the first way that is possible.</summary>
    public RecoveryWay? Way { get; init; }

    /// <summary>A scratch server that people of the host look into by themselves.</summary>
    public bool KeepRunning { get; init; }

    /// <summary>Where a standby that is promoted archives from then on.</summary>
    public string? ArchivePath { get; init; }

    /// <summary>Promote it although its primary answers.</summary>
    public bool Force { get; init; }

    public static RecoveryOptions Of(PgIncident incident) => new(incident.Standby, new RecoveryTarget.Lsn(incident.CommitLsn), incident);

    /// <summary>
    /// The same for a way that leaves the data on a server in recovery: there the tables of an incident are locked from the first LOCK on, so it stops before that.
    /// What others commit between the two is not in it.
    /// </summary>
    public RecoveryOptions BeforeFirstLock() => Incident is { LockLsn: { } locked } ? this with { Target = new RecoveryTarget.Lsn(locked) } : this;

    /// <summary>The same with the target where this way stops.</summary>
    public RecoveryOptions For(RecoveryWay way) => way == RecoveryWay.Keep ? BeforeFirstLock() : this;

    /// <exception cref="PitrException"><c>PitrPS.InclusiveIgnored</c></exception>
    public RecoveryOptions Checked() => Target is { Inclusive: true } and (RecoveryTarget.Name or RecoveryTarget.Immediate)
        ? throw new PitrException("PitrPS.InclusiveIgnored", ErrorKind.InvalidArgument, $"-Inclusive has no meaning with {(Target is RecoveryTarget.Name ? "-TargetName" : "-Immediate")}: PostgreSQL ignores recovery_target_inclusive there.",
            $"Leave it out. {(Target is RecoveryTarget.Name ? "A restore point's own record is always the last one that is applied." : "Nothing of the WAL that waits is applied.")}", Standby)
        : this;

    /// <summary>The one that all of these are: a standby is recovered to one point.</summary>
    /// <exception cref="PitrException"><c>PitrPS.AmbiguousIncident</c></exception>
    public static RecoveryOptions One(IReadOnlyList<RecoveryOptions> asked)
    {
        if (asked.DistinctBy(o => o.Target).Take(2).Count() < 2)
        {
            return asked[0];
        }

        var standby = asked[0].Standby;
        throw new PitrException("PitrPS.AmbiguousIncident", ErrorKind.InvalidArgument,
            $"There is more than one incident for {standby.Id}, and a standby is recovered to one point. Nothing was changed. They are:"
                + string.Concat(asked.Select(o => $"\n  {o.Incident?.ToString() ?? o.Target.ToString()}")),
            $"Choose one: … | Find-PgIncident … | Where-Object TransactionId -eq {asked[^1].Incident?.TransactionId ?? 0} | Invoke-PitrRecovery; the last one: … | Select-Object -Last 1 | …. "
                + "A recovery to before an earlier incident has what later ones destroyed, too.", standby);
    }
}

/// <summary>
/// Invoke-PitrRecovery: recovers a delayed standby to just before a target, in one of several ways. All that can be refused is refused before anything has been changed.
/// </summary>
internal static class RecoveryPlan
{
    public const string Operation = "Invoke-PitrRecovery";

    /// <exception cref="PitrException">
    /// <c>PitrPS.NotAStandby</c>, <c>PitrPS.RecoveryInProgress</c>, <c>PitrPS.NoWayPossible</c>, and what the way itself refuses.
    /// </exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryOptions options, IFeedback feedback, CancellationToken cancel)
    {
        if (options.Standby.IsPlanned)
        {
            var planned = options.Way ?? RecoveryWay.Scratch;
            return planned switch
            {
                RecoveryWay.Scratch => ScratchWay.OnPaper(options),
                RecoveryWay.Clone => CloneWay.OnPaper(options),
                RecoveryWay.Keep => KeepWay.OnPaper(options.For(planned)),
                RecoveryWay.Promote => PromoteWay.OnPaper(options),
                _ => throw Unknown(planned),
            };
        }

        options.Standby.Host.RequireRoot(Operation);
        var standby = await ServerDiscovery.RefreshAsync(options.Standby, feedback, cancel).ConfigureAwait(false);
        // A promotion that has come half way has made a primary of it.
        var record = await RecoveryRecord.ReadAsync(standby, cancel).ConfigureAwait(false);
        if (record is not { Way: RecoveryWay.Promote })
        {
            if (await PromoteWay.FinishedAsync(options, standby, cancel).ConfigureAwait(false) is { } finished)
            {
                return finished;
            }

            RequireStandby(standby);
        }

        ServerDiscovery.WarnOfManager(standby, feedback);
        if (await CloneWay.FindAsync(options, standby, cancel).ConfigureAwait(false) is { } clone)
        {
            return await BuildAsync(RecoveryWay.Clone, options, standby, clone, feedback, cancel).ConfigureAwait(false);
        }

        if (record is not null)
        {
            RequireSame(standby, record, options);
            return await BuildAsync(record.Way, options, standby, record, feedback, cancel).ConfigureAwait(false);
        }

        if (options.Way is { } asked)
        {
            return await BuildAsync(asked, options, standby, null, feedback, cancel).ConfigureAwait(false);
        }

        await using var wal = new SharedSurvey(standby, feedback, cancel);
        return await WayChoice.FirstAsync(standby, way => BuildAsync(way, options, standby, null, wal, feedback, cancel), feedback).ConfigureAwait(false);
    }

    private static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryWay way, RecoveryOptions options, PgServer standby, RecoveryRecord? noted, IFeedback feedback, CancellationToken cancel)
    {
        await using var wal = new SharedSurvey(standby, feedback, cancel);
        return await BuildAsync(way, options, standby, noted, wal, feedback, cancel).ConfigureAwait(false);
    }

    private static Task<Planned<PitrRecovery>> BuildAsync(RecoveryWay way, RecoveryOptions options, PgServer standby, RecoveryRecord? noted, SharedSurvey wal, IFeedback feedback, CancellationToken cancel) => way switch
    {
        RecoveryWay.Scratch => ScratchWay.BuildAsync(options, standby, noted, wal, feedback, cancel),
        RecoveryWay.Clone => CloneWay.BuildAsync(options, standby, noted, wal, feedback, cancel),
        RecoveryWay.Keep => KeepWay.BuildAsync(options.For(way), standby, noted, wal, feedback, cancel),
        RecoveryWay.Promote => PromoteWay.BuildAsync(options, standby, noted, wal, feedback, cancel),
        _ => throw Unknown(way),
    };

    /// <summary>The parameters of the journal. A client that was lost before it had noted its recovery has changed nothing: its journal binds nobody.</summary>
    public static async Task<IReadOnlyDictionary<string, string>> ParametersAsync(PgServer standby, RecoveryRecord? noted, RecoveryRecord record, CancellationToken cancel) =>
        noted is null && await Journal.FindAsync(standby.Host, Operation, RecoveryRecord.SubjectOf(standby, record.CloneId), cancel).ConfigureAwait(false) is not null
            ? new Dictionary<string, string>()
            : new Dictionary<string, string> { ["target"] = record.Target.ToTarget().ToString()! };

    /// <summary>What a recovery that was carried out came to.</summary>
    public static async Task<PitrRecovery> ResultAsync(PgServer standby, string? clone, IFeedback feedback, CancellationToken cancel) =>
        await RecoveryReader.FindAsync(standby, clone, feedback, cancel).ConfigureAwait(false)
            ?? throw new PitrException("PitrPS.RecoveryGone", ErrorKind.ObjectNotFound, $"The recovery of {standby.Id} was completed by somebody else meanwhile.", "Look with Get-PitrRecovery.", standby);

    /// <summary>A way that the code lacks.</summary>
    public static Exception Unknown(RecoveryWay way) => new ArgumentOutOfRangeException(nameof(way), way, "Unknown way.");

    private static void RequireStandby(PgServer standby)
    {
        if (standby.Role == ServerRole.Primary || !standby.IsStandby)
        {
            throw new PitrException("PitrPS.NotAStandby", ErrorKind.InvalidOperation,
                $"{standby.Id} is {(standby.Role == ServerRole.Primary ? "a primary" : "not a standby")}: it cannot be recovered to a point in time without a base backup.",
                "Give the delayed standby: Connect-PgHost <standby> | Get-PgServer.", standby);
        }
    }

    private static void RequireSame(PgServer standby, RecoveryRecord record, RecoveryOptions options)
    {
        var way = options.Way ?? record.Way;
        if (!record.IsFor(options.For(record.Way).Target) || way != record.Way)
        {
            throw new PitrException("PitrPS.RecoveryInProgress", ErrorKind.ResourceBusy,
                $"{standby.Id} is being recovered to {record.Target.ToTarget()} ({record.Way}) since {record.StartedAt:u}, by {record.StartedBy}; now {options.For(way).Target} ({way}) is asked for.",
                "Bring back what that recovery is for and complete it (Get-PitrRecovery | Restore-PgTable, Complete-PitrRecovery), or throw it away (Get-PitrRecovery | Complete-PitrRecovery -Force). Then run this again. To look at another point in time within it: Move-PitrRecovery -To.", standby);
        }
    }
}
