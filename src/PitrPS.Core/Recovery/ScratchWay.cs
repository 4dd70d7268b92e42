using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The way that uses nothing up: the standby is frozen and stopped, and a scratch server takes its place on a throw-away layer over its files, recovered to just before the target.
/// </summary>
internal static class ScratchWay
{
    /// <exception cref="PitrException">
    /// <c>PitrPS.TargetLeftBehind</c>, <c>PitrPS.LayerUnsupported</c>, <c>PitrPS.LayerSpace</c>, and what <see cref="TargetFinder.FindAsync"/> refuses.
    /// </exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryOptions options, PgServer standby, RecoveryRecord? noted, SharedSurvey wal, IFeedback feedback, CancellationToken cancel)
    {
        standby = StandIn.WithUnit(standby);
        if (noted is not null)
        {
            var scratch = ScratchServer.Of(standby, noted.Layer);
            if ((await scratch.LookAsync(0, cancel).ConfigureAwait(false)).IsUnderWayFor(noted))
            {
                WarnOfAccess(options, scratch with { IsOpen = noted.KeepsRunning }, feedback);
                feedback.Verbose($"{standby.Host.Name}: the scratch server that {noted.StartedBy} started on {noted.StartedAt:u} is there; going on with it.");
                return Of(options, scratch, noted, [], [RecoverySteps.Note(standby, noted), RecoverySteps.Launched(scratch, noted), RecoverySteps.Recover(scratch, null)],
                    await RecoveryPlan.ParametersAsync(standby, noted, noted, cancel).ConfigureAwait(false), feedback);
            }
        }

        var preparation = await PrepareAsync(options, standby, wal, feedback, cancel).ConfigureAwait(false);
        var record = preparation.Record(options, noted);
        Step[] steps =
        [
            RecoverySteps.Note(standby, record),
            .. FreezeSteps(standby),
            .. StandIn.IsFor(standby) ? [StandIn.WriteStep(standby)] : (Step[])[],
            RecoverySteps.Launch(preparation, record),
            RecoverySteps.Recover(preparation.Scratch, preparation.Range),
        ];
        return Of(options, preparation.Scratch, record, preparation.Announcements(), steps, await RecoveryPlan.ParametersAsync(standby, noted, record, cancel).ConfigureAwait(false), feedback);
    }

    /// <summary>The same recovery at another target, on a new layer: all that can be refused is, before the scratch server that is there is ended.</summary>
    /// <exception cref="PitrException">What <see cref="BuildAsync"/> refuses.</exception>
    public static async Task<Planned<PitrRecovery>> MoveAsync(RecoveryOptions options, PgServer standby, RecoveryRecord noted, SharedSurvey wal, IFeedback feedback, CancellationToken cancel)
    {
        if (noted.IsFor(options.Target))
        {
            var same = await BuildAsync(options, standby, noted, wal, feedback, cancel).ConfigureAwait(false);
            return same with { Plan = same.Plan with { Operation = MovePlan.Operation, Parameters = new Dictionary<string, string>() } };
        }

        standby = StandIn.WithUnit(standby);
        var preparation = await PrepareAsync(options, standby, wal, feedback, cancel, noted).ConfigureAwait(false);
        // What was seen of the scratch server at the earlier target says nothing of the next one.
        var record = preparation.Record(options, noted) with { Target = RecordedTarget.Of(options.Target) };
        IReadOnlyList<Step> steps =
        [
            RecoverySteps.Note(standby, record) with { Undo = run => (noted with { Invocation = null }).WriteAsync(standby, run.Cancel) },
            .. FreezeSteps(standby),
            .. StandIn.IsFor(standby) ? [StandIn.WriteStep(standby)] : (Step[])[],
            RecoverySteps.Launch(preparation, record),
            RecoverySteps.Recover(preparation.Scratch, preparation.Range),
        ];
        var planned = Of(options, preparation.Scratch, record,
            [$"The scratch server at {noted.Target.ToTarget()} is thrown away, with all that was changed on it.", .. preparation.Announcements()], steps, new Dictionary<string, string>(), feedback);
        return planned with { Plan = planned.Plan with { Operation = MovePlan.Operation } };
    }

    private static void WarnOfAccess(RecoveryOptions options, ScratchServer scratch, IFeedback feedback)
    {
        if (options.KeepRunning && !scratch.IsOpen)
        {
            feedback.Warning($"The scratch server of {scratch.Standby.Id} was made without -KeepRunning: only {scratch.Standby.OsUser} gets in. To open it, throw it away (Complete-PitrRecovery -Force) and run this again.");
        }
    }

    private static Planned<PitrRecovery> Of(RecoveryOptions options, ScratchServer scratch, RecoveryRecord record, IReadOnlyList<string> announcements, IReadOnlyList<Step> steps, IReadOnlyDictionary<string, string> parameters, IFeedback feedback)
    {
        var standby = scratch.Standby;
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = standby.Id,
            Home = standby.Host,
            Steps = steps,
            Announcements = announcements,
            Parameters = parameters,
            WayBack = "Get-PitrRecovery | Complete-PitrRecovery -Force",
            UndoOnFailure = true,
            // A client that is killed or cut off gives nothing back: the unit works on, and the next run finds it.
            WhenStopped = c => scratch.GiveBackAsync(record.StandbyRan, c),
        };
        return new Planned<PitrRecovery>(plan, c => RecoveryPlan.ResultAsync(standby, null, feedback, c), () => WouldBe(options, standby, record, scratch));
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
    public static Planned<PitrRecovery> OnPaper(RecoveryOptions options, string operation = RecoveryPlan.Operation)
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
            Operation = operation,
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = true,
            Steps = [RecoverySteps.Note(standby, record), .. Freeze.FreezeSteps(standby), RecoverySteps.LaunchOnPaper(scratch, options.Target), RecoverySteps.Recover(scratch, null)],
        };
        return new Planned<PitrRecovery>(plan, _ => throw new InvalidOperationException("A plan on paper has no result."), () => WouldBe(options, standby, record, scratch));
    }

    /// <summary>The steps of the completion: the standby runs again, the layer is gone, and the standby has its delay.</summary>
    public static IReadOnlyList<Step> GiveBack(PgServer standby, ServerState state, RecoveryRecord? record)
    {
        var scratch = ScratchServer.Of(standby, record?.Layer ?? standby.DataDirectory + ".pitrps-scratch");
        IReadOnlyList<Step> see = record is null ? [] : [DelayedAgain.Step(standby, state, record, "where it was")];
        if (StandIn.IsFor(standby))
        {
            // A standby that no unit runs is started as it was before, of which systemd knows nothing: so the scratch server goes first.
            return [Discard(standby, scratch), .. Freeze.ThawSteps(standby, state, Start(StandIn.WithoutUnit(standby))), StandIn.RemoveStep(standby), .. see];
        }

        // What takes the standby back to its work comes first. Where the configuration lies among the data, nothing there changes until the standby itself has them again.
        var isInside = standby.ConfigDirectory == standby.DataDirectory;
        return standby.IsRunning || isInside
            ? [Start(standby), .. Freeze.ThawSteps(standby, state), .. see, Discard(standby, scratch)]
            : [.. Freeze.ThawSteps(standby, state, Start(standby)), .. see, Discard(standby, scratch)];
    }

    private static Step Start(PgServer standby) => new("standby", $"Start the standby again{(standby.ServiceUnit is null ? "" : "; systemd ends the scratch server first")}", standby.Host)
    {
        IsDone = async run => (await ServerControl.ProbeAsync(standby, run.Cancel).ConfigureAwait(false)) is { IsRunning: true, Readiness: Readiness.Accepting },
        Do = run => ServerControl.StartAsync(standby, run.Feedback, run.Cancel),
        Preview = [ServerControl.Display(standby, "start")],
    };

    private static Step Discard(PgServer standby, ScratchServer scratch) => new("discard", "Remove the layer, and all that there is of the scratch server", standby.Host)
    {
        IsDone = run => scratch.IsGoneAsync(run.Cancel),
        Do = run => scratch.DiscardAsync(run.Cancel),
        Preview = [$"systemctl stop {scratch.Unit}", $"rm -r {scratch.Layer}"],
    };

    private static async Task<RecoveryPreparation> PrepareAsync(RecoveryOptions options, PgServer standby, SharedSurvey shared, IFeedback feedback, CancellationToken cancel, RecoveryRecord? replaced = null)
    {
        // The host is looked at, and a layer tried, while the WAL is read.
        var trying = TryLayerAsync(standby, cancel);
        TargetSurvey wal;
        try
        {
            wal = await shared.ReadAsync(options).ConfigureAwait(false);
        }
        catch
        {
            await ((Task)trying).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        var (survey, scratch, reflink, byHand) = await trying.ConfigureAwait(false);
        scratch = scratch with { IsOpen = options.KeepRunning || replaced?.KeepsRunning == true };
        survey = await survey.WithAsync(standby, wal.Target.Tablespaces, cancel).ConfigureAwait(false);
        // The layer that is replaced is gone before the new one needs room.
        survey = survey with { FreeBytes = survey.FreeBytes + (replaced?.LayerBytes ?? 0) };
        survey.RequireNoTarget(standby);
        var estimate = await LayerEstimate.ReadAsync(standby, wal.Range, wal.Target, survey, reflink, feedback, cancel).ConfigureAwait(false);
        var readers = standby.IsRunning ? await ReadersAsync(standby, feedback, cancel).ConfigureAwait(false) : 0;
        return new RecoveryPreparation(scratch, survey, wal, estimate, reflink, byHand, readers,
            scratch.IsOpen ? await ServerAccess.ReadAsync(standby, survey, cancel).ConfigureAwait(false) : null);
    }

    private static async Task<(HostSurvey Survey, ScratchServer Scratch, bool Reflink, bool ByHand)> TryLayerAsync(PgServer standby, CancellationToken cancel)
    {
        var probe = await ServerControl.ProbeAsync(standby, cancel).ConfigureAwait(false);
        var survey = await HostSurvey.ReadAsync(standby, cancel).ConfigureAwait(false);
        var scratch = ScratchServer.Of(standby, survey.Layer);
        return (survey, scratch, await scratch.TryAsync(survey.Data, cancel).ConfigureAwait(false), probe is { IsRunning: true, Unit: { } unit } && !unit.StartsWith("activ", StringComparison.Ordinal));
    }

    public static async Task<long> ReadersAsync(PgServer standby, IFeedback feedback, CancellationToken cancel) =>
        (await ServerSql.QueryAsync(standby, "postgres", "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()", feedback, cancel)
            .ConfigureAwait(false))[0].Number(0);

    // A standby that was stopped to gain time must not run on when the host boots.
    public static IReadOnlyList<Step> FreezeSteps(PgServer standby) => standby.IsRunning
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
}

/// <summary>All that was read and tried before a recovery.</summary>
internal sealed record RecoveryPreparation(
    ScratchServer Scratch, HostSurvey Survey, TargetSurvey Wal, LayerEstimate Layer, bool Reflink, bool StandbyRunsByHand, long Readers, ServerAccess? Access = null)
{
    public PgServer Standby => Scratch.Standby;

    public WalRange Range => Wal.Range;

    public ResolvedTarget Target => Wal.Target;

    public IReadOnlyList<string> Fetched => Wal.Fetched;

    /// <summary>What pg_wal lacks is got out of a repository, before the standby is stopped.</summary>
    public bool IsFromRepository => Range.Repository is not null && Fetched.Count > 0;

    public IReadOnlyList<string> Settings => ScratchSettings.Of(Scratch, Target, Survey, IsFromRepository
        ? ScratchSettings.RestoreCommand("", Scratch.WalFolder, Fetched)
        : ScratchSettings.RestoreCommand(Wal.Restores, Range.ArchiveDirectory, Fetched));

    public string Description => $"PitrPS: scratch server of {Standby.Name}, recovered to {Target.Words}";

    public RecoveryRecord Record(RecoveryOptions options, RecoveryRecord? earlier) => new()
    {
        Target = earlier?.Target ?? RecordedTarget.Of(options.Target),
        Way = RecoveryWay.Scratch,
        Stop = Target.Stop,
        Timeline = Target.Timeline,
        Incident = options.Incident is { } incident ? RecordedIncident.Of(incident) : earlier?.Incident,
        StartedAt = earlier?.StartedAt ?? DateTimeOffset.UtcNow,
        StartedBy = earlier?.StartedBy ?? PlanRunner.ThisClient,
        Layer = Scratch.Layer,
        // One that is down only because an earlier attempt stopped it is to be started again, too.
        StandbyRan = Standby.IsRunning || earlier?.StandbyRan == true,
        WalSource = Wal.Source,
        KeepsRunning = Scratch.IsOpen,
        ExpectedLayerBytes = Layer.Bytes,
        Restored = earlier?.Restored ?? [],
    };

    /// <summary>What the user must know before saying yes.</summary>
    public IReadOnlyList<string> Announcements()
    {
        var (wal, fetched) = (Wal.WalBytes, Wal.FetchedBytes);
        return
        [
            .. Target.Notes,
            Standby.IsRunning
                ? $"{Standby.Id} is frozen and stopped; {(Readers == 0 ? "nobody is connected to it" : Readers == 1 ? "the one session on it is ended" : $"the {Readers} sessions on it are ended")}. It is started again when the recovery is completed, or fails."
                : $"{Standby.Id} is stopped already, and stays so until the recovery is completed.",
            $"WAL to replay, from the last restartpoint at {Range.From} to {Target.Stop}: at most {ByteSize.Words(wal)}, from {Wal.Source}{(fetched > 0 ? $" ({ByteSize.Words(fetched)} of it from {Range.ArchiveName})" : "")}. Expected time: about {(Wal.ExpectedTime + CopyTime).TotalSeconds:0} s.",
            .. Scratch.IsOpen ? (string[])[$"Whoever the standby's pg_hba.conf lets in by a socket gets into the scratch server, in {Scratch.SocketDirectory}, port {Scratch.Port}; it has no network."] : [],
            $"The layer in {Scratch.Layer} takes {Layer.Words}{(Reflink ? " (files are copied by reference)" : "")}; {ByteSize.Words(Survey.FreeBytes)} are free there.",
        ];
    }

    // Measured: files are copied up with some 500 MB/s.
    private TimeSpan CopyTime => TimeSpan.FromSeconds(Reflink ? 0 : Math.Min(Survey.DatabaseBytes, 2 * Wal.WalBytes) / 500e6);
}
