using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What to recover.</summary>
/// <param name="Standby">The delayed standby.</param>
/// <param name="Target">Where to stop.</param>
/// <param name="Incident">What it is for; null for a target that was given by hand.</param>
internal sealed record RecoveryOptions(PgServer Standby, RecoveryTarget Target, PgIncident? Incident)
{
    public static RecoveryOptions Of(PgIncident incident) => new(incident.Standby, new RecoveryTarget.Lsn(incident.CommitLsn), incident);

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
/// Invoke-PitrRecovery: freezes the standby, and has a scratch server take its place on a throw-away layer over its files, recovered to just before the target.
/// All that can be refused is refused here, before anything has been changed.
/// </summary>
internal static class RecoveryPlan
{
    public const string Operation = "Invoke-PitrRecovery";

    /// <exception cref="PitrException">
    /// <c>PitrPS.NotAStandby</c>, <c>PitrPS.RecoveryInProgress</c>, <c>PitrPS.TargetLeftBehind</c>, <c>PitrPS.LayerUnsupported</c>, <c>PitrPS.LayerSpace</c>,
    /// and what <see cref="TargetFinder.FindAsync"/> refuses.
    /// </exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryOptions options, IFeedback feedback, CancellationToken cancel)
    {
        if (options.Standby.IsPlanned)
        {
            return OnPaper(options);
        }

        options.Standby.Host.RequireRoot("Invoke-PitrRecovery");
        var standby = await ServerDiscovery.RefreshAsync(options.Standby, feedback, cancel).ConfigureAwait(false);
        RequireStandby(standby);
        ServerDiscovery.WarnOfManager(standby, feedback);
        standby = StandIn.WithUnit(standby);
        var record = await RecoveryRecord.ReadAsync(standby, cancel).ConfigureAwait(false);
        if (record is not null)
        {
            RequireSame(standby, record, options.Target);
            var scratch = ScratchServer.Of(standby, record.Layer);
            if ((await scratch.LookAsync(0, cancel).ConfigureAwait(false)).IsUnderWay)
            {
                feedback.Verbose($"{standby.Host.Name}: the scratch server that {record.StartedBy} started on {record.StartedAt:u} is there; going on with it.");
                return Of(options, scratch, record, [], [RecoverySteps.Note(standby, record), RecoverySteps.Launched(scratch, record), RecoverySteps.Recover(scratch, null)], feedback);
            }
        }

        // A client that was lost before it had noted its recovery has changed nothing: its journal binds nobody.
        var isAnother = record is null && await Journal.FindAsync(standby.Host, Operation, standby.Id, cancel).ConfigureAwait(false) is not null;
        var preparation = await PrepareAsync(options, standby, feedback, cancel).ConfigureAwait(false);
        record = preparation.Record(options, record);
        Step[] steps =
        [
            RecoverySteps.Note(standby, record),
            .. FreezeSteps(standby),
            .. StandIn.IsFor(standby) ? [StandIn.WriteStep(standby)] : (Step[])[],
            RecoverySteps.Launch(preparation, record),
            RecoverySteps.Recover(preparation.Scratch, preparation.Range),
        ];
        return Of(options, preparation.Scratch, record, preparation.Announcements(), steps, feedback, isAnother);
    }

    private static Planned<PitrRecovery> Of(RecoveryOptions options, ScratchServer scratch, RecoveryRecord record, IReadOnlyList<string> announcements, IReadOnlyList<Step> steps, IFeedback feedback, bool isAnother = false)
    {
        var standby = scratch.Standby;
        var plan = new Plan
        {
            Operation = Operation,
            Subject = standby.Id,
            Home = standby.Host,
            Steps = steps,
            Announcements = announcements,
            Parameters = isAnother ? new Dictionary<string, string>() : new Dictionary<string, string> { ["target"] = record.Target.ToTarget().ToString()! },
            WayBack = "Get-PitrRecovery | Complete-PitrRecovery -Force",
            UndoOnFailure = true,
            // A client that is killed or cut off gives nothing back: the unit works on, and the next run finds it.
            WhenStopped = c => scratch.GiveBackAsync(record.StandbyRan, c),
        };
        return new Planned<PitrRecovery>(plan,
            async c => await RecoveryReader.FindAsync(standby, feedback, c).ConfigureAwait(false)
                ?? throw new PitrException("PitrPS.RecoveryGone", ErrorKind.ObjectNotFound, $"The recovery of {standby.Id} was completed by somebody else meanwhile.", "Look with Get-PitrRecovery.", standby),
            () => WouldBe(options, standby, record, scratch));
    }

    private static PitrRecovery WouldBe(RecoveryOptions options, PgServer standby, RecoveryRecord record, ScratchServer scratch) => new()
    {
        Standby = standby with { IsFrozen = true, IsRunning = false, IsPlanned = true },
        Incident = options.Incident ?? record.Incident?.ToIncident(standby),
        Target = options.Target,
        State = RecoveryState.Ready,
        Scratch = scratch.AsServer() with { IsPlanned = true },
        StartedAt = record.StartedAt,
        StartedBy = record.StartedBy,
        WalSource = record.WalSource,
        IsPlanned = true,
    };

    // For a standby that exists only as a plan nothing can be read, so the plan says what will be done, without figures.
    private static Planned<PitrRecovery> OnPaper(RecoveryOptions options)
    {
        var standby = StandIn.WithUnit(options.Standby);
        var scratch = ScratchServer.Of(standby, standby.DataDirectory + ".pitrps-scratch");
        var record = new RecoveryRecord
        {
            Target = RecordedTarget.Of(options.Target),
            Stop = (options.Target as RecoveryTarget.Lsn)?.Position ?? default,
            Timeline = options.Incident?.Timeline ?? standby.Timeline ?? 1,
            StartedAt = DateTimeOffset.UtcNow,
            StartedBy = PlanRunner.ThisClient,
            Layer = scratch.Layer,
        };
        var plan = new Plan
        {
            Operation = Operation,
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = true,
            Steps = [RecoverySteps.Note(standby, record), .. Freeze.FreezeSteps(standby), RecoverySteps.LaunchOnPaper(scratch, options.Target), RecoverySteps.Recover(scratch, null)],
        };
        return new Planned<PitrRecovery>(plan, _ => throw new InvalidOperationException("A plan on paper has no result."), () => WouldBe(options, standby, record, scratch));
    }

    private static async Task<RecoveryPreparation> PrepareAsync(RecoveryOptions options, PgServer standby, IFeedback feedback, CancellationToken cancel)
    {
        // The host is looked at, and a layer tried, while the WAL is read.
        var trying = TryLayerAsync(standby, cancel);
        WalRange? range = null;
        StandbyPosition position;
        ResolvedTarget target;
        try
        {
            position = await StandbyPosition.ReadAsync(standby, feedback, cancel).ConfigureAwait(false);
            range = await WalRange.ReadAsync(standby, position, (options.Target as RecoveryTarget.Lsn)?.Position, feedback, cancel).ConfigureAwait(false);
            target = await new TargetFinder(standby, position, range, feedback).FindAsync(options.Target, cancel).ConfigureAwait(false);
        }
        catch
        {
            await (range?.DisposeAsync() ?? ValueTask.CompletedTask).ConfigureAwait(false);
            await ((Task)trying).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        await using var read = range;
        var (survey, scratch, reflink, byHand) = await trying.ConfigureAwait(false);
        survey = await survey.WithAsync(standby, target.Tablespaces, cancel).ConfigureAwait(false);
        if (options.Incident is { } incident && target.Stop != incident.CommitLsn)
        {
            throw new PitrException("PitrPS.TargetNotFound", ErrorKind.ObjectNotFound, $"No record starts at {incident.CommitLsn} in the WAL of {standby.Id}, where the incident's COMMIT should be.",
                "The incident was found on another standby, or this one follows another timeline now. Run Find-PgIncident again.", standby);
        }

        if (survey.LeftTargets.Count > 0)
        {
            throw new PitrException("PitrPS.TargetLeftBehind", ErrorKind.InvalidOperation, $"{standby.Id} has a recovery target in its configuration: {string.Join(", ", survey.LeftTargets)}. With a second one, no server starts.",
                $"Take it out of the files in {standby.ConfigDirectory}; the standby would stop there, too. Then run the same command again.", standby);
        }

        var estimate = await LayerEstimate.ReadAsync(standby, range, target, survey, reflink, feedback, cancel).ConfigureAwait(false);
        var readers = standby.IsRunning ? await ReadersAsync(standby, feedback, cancel).ConfigureAwait(false) : 0;
        var fetched = await FetchedAsync(standby, range, target, cancel).ConfigureAwait(false);
        return new RecoveryPreparation(scratch, survey, range, position, target, fetched, estimate, reflink, byHand, readers);
    }

    private static async Task<(HostSurvey Survey, ScratchServer Scratch, bool Reflink, bool ByHand)> TryLayerAsync(PgServer standby, CancellationToken cancel)
    {
        var probe = await ServerControl.ProbeAsync(standby, cancel).ConfigureAwait(false);
        var survey = await HostSurvey.ReadAsync(standby, cancel).ConfigureAwait(false);
        var scratch = ScratchServer.Of(standby, survey.Layer);
        return (survey, scratch, await scratch.TryAsync(survey.Data, cancel).ConfigureAwait(false), probe is { IsRunning: true, Unit: { } unit } && !unit.StartsWith("activ", StringComparison.Ordinal));
    }

    private static async Task<long> ReadersAsync(PgServer standby, IFeedback feedback, CancellationToken cancel) =>
        (await ServerSql.QueryAsync(standby, "postgres", "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()", feedback, cancel)
            .ConfigureAwait(false))[0].Number(0);

    // What pg_wal lacks of the WAL, and of the ancestry of its timeline.
    private static async Task<IReadOnlyList<string>> FetchedAsync(PgServer standby, WalRange range, ResolvedTarget target, CancellationToken cancel)
    {
        List<string> fetched = [.. range.FromArchiveBefore(target.ReadTo).Select(p => p.Segment.Name)];
        var history = Archive.TimelineHistory.FileName(target.Timeline);
        if (target.Timeline > 1 && range.ArchiveDirectory is not null
            && !await standby.Host.TestAsync(RemoteCommand.Of("test", "-f", $"{standby.DataDirectory}/pg_wal/{history}").As(standby.OsUser), cancel).ConfigureAwait(false))
        {
            fetched.Add(history);
        }

        return fetched;
    }

    // A standby that was stopped to gain time must not run on when the host boots.
    private static IReadOnlyList<Step> FreezeSteps(PgServer standby) => standby.IsRunning
        ? Freeze.FreezeSteps(standby)
        : standby.IsFrozen ? [] :
        [
            new Step("freeze-remember", "Note the delay that is in force, so that it can be put back", standby.Host)
            {
                IsDone = async run => (await ServerState.ReadAsync(run.Host, standby.Name, run.Cancel).ConfigureAwait(false)).FrozenAt is not null,
                Do = async run =>
                {
                    var ours = (await OwnedSettings.ReadAsync(standby, run.Cancel).ConfigureAwait(false)).ContainsKey(Freeze.DelaySetting);
                    await ServerState.UpdateAsync(run.Host, standby.Name, state => state with
                    {
                        FrozenAt = DateTimeOffset.UtcNow,
                        DelayMilliseconds = (long)(standby.ReplicationDelay ?? TimeSpan.Zero).TotalMilliseconds,
                        DelayIsOurs = ours,
                    }, run.Cancel).ConfigureAwait(false);
                },
                Preview = [$"write {ServerState.PathOf(standby.Name)}"],
            },
            .. OwnedSettings.Steps(standby, "freeze", Freeze.DelayOf(StandbyPosition.LargestDelay), SettingsReach.Files),
        ];

    private static void RequireStandby(PgServer standby)
    {
        if (standby.Role == ServerRole.Primary || !standby.IsStandby)
        {
            throw new PitrException("PitrPS.NotAStandby", ErrorKind.InvalidOperation,
                $"{standby.Id} is {(standby.Role == ServerRole.Primary ? "a primary" : "not a standby")}: it cannot be recovered to a point in time without a base backup.",
                "Give the delayed standby: Connect-PgHost <standby> | Get-PgServer.", standby);
        }
    }

    private static void RequireSame(PgServer standby, RecoveryRecord record, RecoveryTarget target)
    {
        if (!record.IsFor(target))
        {
            throw new PitrException("PitrPS.RecoveryInProgress", ErrorKind.ResourceBusy,
                $"{standby.Id} is being recovered to {record.Target.ToTarget()} since {record.StartedAt:u}, by {record.StartedBy}; now {target} is asked for.",
                "Bring back what that recovery is for and complete it (Get-PitrRecovery | Restore-PgTable, Complete-PitrRecovery), or throw it away (Get-PitrRecovery | Complete-PitrRecovery -Force). Then run this again.", standby);
        }
    }
}

/// <summary>All that was read and tried before a recovery.</summary>
internal sealed record RecoveryPreparation(
    ScratchServer Scratch, HostSurvey Survey, WalRange Range, StandbyPosition Position, ResolvedTarget Target, IReadOnlyList<string> Fetched, LayerEstimate Layer, bool Reflink, bool StandbyRunsByHand, long Readers)
{
    public PgServer Standby => Scratch.Standby;

    public string WalSource => Fetched.Count == 0 ? "pg_wal" : "pg_wal and archive";

    /// <summary>What pg_wal lacks is got out of a repository, before the standby is stopped.</summary>
    public bool IsFromRepository => Range.Repository is not null && Fetched.Count > 0;

    public IReadOnlyList<string> Settings => ScratchSettings.Of(Standby, Scratch, Target, Survey, IsFromRepository
        ? ScratchSettings.RestoreCommand("", Scratch.WalFolder, Fetched)
        : ScratchSettings.RestoreCommand(Restores, Range.ArchiveDirectory, Fetched));

    // A standby that has a mount of PitrPS and no restore_command has at least the script.
    private string Restores => Position.RestoreCommand.Trim().Length == 0 && Standby.ArchiveMountPoint is { } mountPoint ? Archive.ArchiveScripts.RestoreCommand(Standby, mountPoint) : Position.RestoreCommand;

    public string Description => $"PitrPS: scratch server of {Standby.Name}, recovered to {Target.Words}";

    public RecoveryRecord Record(RecoveryOptions options, RecoveryRecord? earlier) => new()
    {
        Target = earlier?.Target ?? RecordedTarget.Of(options.Target),
        Stop = Target.Stop,
        Timeline = Target.Timeline,
        Incident = options.Incident is { } incident ? RecordedIncident.Of(incident) : earlier?.Incident,
        StartedAt = earlier?.StartedAt ?? DateTimeOffset.UtcNow,
        StartedBy = earlier?.StartedBy ?? PlanRunner.ThisClient,
        Layer = Scratch.Layer,
        // One that is down only because an earlier attempt stopped it is to be started again, too.
        StandbyRan = Standby.IsRunning || earlier?.StandbyRan == true,
        WalSource = WalSource,
        Restored = earlier?.Restored ?? [],
    };

    /// <summary>What the user must know before saying yes.</summary>
    public IReadOnlyList<string> Announcements()
    {
        var wal = Range.BytesTo(Target.Stop);
        var fetched = Fetched.Count * Standby.WalSegmentSize;
        return
        [
            Standby.IsRunning
                ? $"{Standby.Id} is frozen and stopped; {(Readers == 0 ? "nobody is connected to it" : Readers == 1 ? "the one session on it is ended" : $"the {Readers} sessions on it are ended")}. It is started again when the recovery is completed, or fails."
                : $"{Standby.Id} is stopped already, and stays so until the recovery is completed.",
            $"WAL to replay, from the last restartpoint at {Range.From} to {Target.Stop}: at most {ByteSize.Words(wal)}, from {WalSource}{(fetched > 0 ? $" ({ByteSize.Words(fetched)} of it from {Range.ArchiveName})" : "")}. Expected time: about {Expected(wal, fetched):0} s.",
            $"The layer in {Scratch.Layer} takes {Layer.Words}{(Reflink ? " (files are copied by reference)" : "")}; {ByteSize.Words(Survey.FreeBytes)} are free there.",
        ];
    }

    // Measured: replay from pg_wal some 200 MB/s, through an archive's mount some 80; files are copied up with some 500 MB/s; stop and start take 2 s.
    private double Expected(long wal, long fetched) =>
        2 + (Math.Max(0, wal - fetched) / 200e6) + (fetched / 80e6) + (Reflink ? 0 : Math.Min(Survey.DatabaseBytes, 2 * wal) / 500e6);
}
