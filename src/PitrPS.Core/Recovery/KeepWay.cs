using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// In place, for hosts where neither a layer nor a copy is possible: the standby itself replays up to the target, pauses there, and can be read. It goes back to its delay when the recovery is completed;
/// but what it held back before the target has been applied for good.
/// </summary>
internal static class KeepWay
{
    /// <exception cref="PitrException">
    /// <c>PitrPS.HotStandbyInactive</c>, <c>PitrPS.TargetLeftBehind</c>, and what <see cref="TargetFinder.FindAsync"/> refuses.
    /// </exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryOptions options, PgServer standby, RecoveryRecord? noted, SharedSurvey wal, IFeedback feedback, CancellationToken cancel)
    {
        if (noted is not null && await KeepSettings.IsSetAsync(standby, noted, cancel).ConfigureAwait(false))
        {
            feedback.Verbose($"{standby.Id} has the target that {noted.StartedBy} set on {noted.StartedAt:u}; going on with it.");
            return Of(options, standby, noted, [], null, await RecoveryPlan.ParametersAsync(standby, noted, noted, cancel).ConfigureAwait(false), feedback);
        }

        var preparation = await KeepPreparation.ReadAsync(options, standby, wal, feedback, cancel).ConfigureAwait(false);
        var record = preparation.Record(options, noted);
        return Of(options, standby, record, preparation.Announcements(options.Incident), preparation, await RecoveryPlan.ParametersAsync(standby, noted, record, cancel).ConfigureAwait(false), feedback);
    }

    /// <summary>For a standby that exists only as a plan nothing can be read, so the plan says what will be done, without figures.</summary>
    public static Planned<PitrRecovery> OnPaper(RecoveryOptions options)
    {
        var standby = options.Standby;
        var record = RecordOnPaper(standby, options.Target, options.Incident);
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = true,
            Steps = [RecoverySteps.Note(standby, record), .. Freeze.FreezeSteps(standby), .. new KeepSteps(standby, record).All(null).Skip(1)],
            Announcements = [Cost(standby, record)],
        };
        return new Planned<PitrRecovery>(plan, _ => throw new InvalidOperationException("A plan on paper has no result."), () => WouldBe(options, standby, record));
    }

    /// <summary>What a record that no host holds would say.</summary>
    public static RecoveryRecord RecordOnPaper(PgServer standby, RecoveryTarget target, PgIncident? incident) => new()
    {
        Target = RecordedTarget.Of(target),
        Way = RecoveryWay.Keep,
        Stop = (target as RecoveryTarget.Lsn)?.Position ?? default,
        Timeline = incident?.Timeline ?? standby.Timeline ?? 1,
        StartedAt = DateTimeOffset.UtcNow,
        StartedBy = PlanRunner.ThisClient,
    };

    /// <summary>The recovery that is recorded, as it stands now.</summary>
    public static PitrRecovery Recovery(PgServer standby, RecoveryRecord record, KeepLook look)
    {
        var state = record.RecoveredTo is null ? RecoveryState.Recovering
            : look.IsAtTarget(record) ? RecoveryState.Ready
            : !look.IsRunning || (look.Facts is not null && !look.IsBoundFor(record)) ? RecoveryState.Lost
            : RecoveryState.Recovering;
        var ready = state == RecoveryState.Ready;
        return new PitrRecovery
        {
            Standby = standby,
            Incident = record.Incident?.ToIncident(standby),
            Target = record.Target.ToTarget(),
            Way = RecoveryWay.Keep,
            State = state,
            Scratch = ready ? standby : null,
            RecoveredTo = ready ? record.RecoveredTo : null,
            StartedAt = record.StartedAt,
            StartedBy = record.StartedBy,
            Elapsed = ready ? record.Elapsed : null,
            WalBytes = ready ? record.WalBytes : null,
            WalSource = record.WalSource,
        };
    }

    /// <summary>The steps of the completion: the target out and the delay raised again, in one write, then a restart, then the delay that it had.</summary>
    public static IReadOnlyList<Step> GiveBack(PgServer standby, ServerState state, RecoveryRecord record) =>
    [
        // A client that was lost before it had frozen the standby has changed nothing.
        .. standby.IsPlanned || state.FrozenAt is not null ? new KeepSteps(standby, record).Back() : [],
        .. Freeze.ThawSteps(standby, state),
        .. standby.IsPlanned ? (Step[])[] : [DelayedAgain.Step(standby, state, record, "from the target on")],
    ];

    public static string Cost(PgServer standby, RecoveryRecord record) =>
        $"{standby.Id} itself is recovered, in place. Its reach back before {(record.Stop == default ? record.Target.ToTarget().ToString() : record.Stop)} is lost until its delay{(standby.ReplicationDelay is { } delay ? $" of {delay:c}" : "")} has passed again: "
        + "what it holds back before that is applied for good, and it cannot be recovered to an earlier target any more. -Way Scratch has no such cost.";

    private static Planned<PitrRecovery> Of(RecoveryOptions options, PgServer standby, RecoveryRecord record, IReadOnlyList<string> announcements, KeepPreparation? preparation, IReadOnlyDictionary<string, string> parameters, IFeedback feedback)
    {
        var steps = new KeepSteps(standby, record);
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = standby.Id,
            Home = standby.Host,
            Steps = steps.All(preparation),
            Announcements = announcements,
            Parameters = parameters,
            WayBack = "Get-PitrRecovery | Complete-PitrRecovery -Force",
            UndoOnFailure = true,
            // The target stays: the server goes on to it, or is frozen as before. It is only not left stopped.
            WhenStopped = steps.GiveBackAsync,
        };
        return new Planned<PitrRecovery>(plan, c => RecoveryPlan.ResultAsync(standby, null, feedback, c), () => WouldBe(options, standby, record));
    }

    private static PitrRecovery WouldBe(RecoveryOptions options, PgServer standby, RecoveryRecord record)
    {
        var planned = standby with { IsFrozen = true, IsRunning = true, IsPlanned = true };
        return new PitrRecovery
        {
            Standby = planned,
            Incident = options.Incident ?? record.Incident?.ToIncident(standby),
            Target = options.Target,
            Way = RecoveryWay.Keep,
            State = RecoveryState.Ready,
            Scratch = planned,
            StartedAt = record.StartedAt,
            StartedBy = record.StartedBy,
            WalSource = record.WalSource,
            IsPlanned = true,
        };
    }
}

/// <summary>All that was read before a recovery in place.</summary>
internal sealed record KeepPreparation(TargetSurvey Wal, HotStandbyWal HotStandby, RaisedSettings Raised, long Readers)
{
    // What a start reads, whether the server runs or not.
    private static readonly string[] Asked = ["hot_standby", "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid"];

    public PgServer Standby => Wal.Standby;

    public static async Task<KeepPreparation> ReadAsync(RecoveryOptions options, PgServer standby, SharedSurvey shared, IFeedback feedback, CancellationToken cancel)
    {
        if (options.Target is RecoveryTarget.Immediate)
        {
            throw new PitrException("PitrPS.TargetUnsuitable", ErrorKind.InvalidArgument, $"{standby.Id} cannot be recovered in place to {options.Target}: a standby that is started so takes no connections yet, and would be promoted.",
                "Suspend-WalReplay is enough to read it where it stands. For a server that takes writes: -Way Scratch.", standby);
        }

        var settings = await SettingsAsync(standby, cancel).ConfigureAwait(false);
        HostSurvey.RequireNoTarget(standby, [.. settings.Where(s => s.Key.StartsWith("recovery_target", StringComparison.Ordinal) && s.Value.Length > 0).Select(s => s.Key)]);
        if (settings.GetValueOrDefault("hot_standby") is "off")
        {
            throw Inactive(standby, "hot_standby is off in its configuration");
        }

        var wal = await SurveyAsync(options, standby, shared).ConfigureAwait(false);
        var hotStandby = await HotStandbyWal.ReadAsync(wal.Range, wal.Target.Stop, feedback, cancel).ConfigureAwait(false);
        hotStandby.RequireActive(standby, hotStandby.LatestRedo(wal.Range.From, wal.Position.Replayed), wal.Target.Stop);
        return new KeepPreparation(wal, hotStandby, await RaisedSettings.ReadAsync(standby, wal.Target, cancel).ConfigureAwait(false), standby.IsRunning ? await ScratchWay.ReadersAsync(standby, feedback, cancel).ConfigureAwait(false) : 0);
    }

    public RecoveryRecord Record(RecoveryOptions options, RecoveryRecord? earlier) => Raised.On(new()
    {
        Target = earlier?.Target ?? RecordedTarget.Of(options.Target),
        Way = RecoveryWay.Keep,
        Stop = Wal.Target.Stop,
        Timeline = Wal.Target.Timeline,
        Incident = options.Incident is { } incident ? RecordedIncident.Of(incident) : earlier?.Incident,
        StartedAt = earlier?.StartedAt ?? DateTimeOffset.UtcNow,
        StartedBy = earlier?.StartedBy ?? PlanRunner.ThisClient,
        // One that is down only because an earlier attempt stopped it is to be started again, too.
        StandbyRan = Standby.IsRunning || earlier?.StandbyRan == true,
        WalSource = Wal.Source,
        WalFrom = Wal.Range.From,
        Replayed = Wal.Position.Replayed,
        Restored = earlier?.Restored ?? [],
    }, earlier);

    /// <summary>What the user must know before saying yes.</summary>
    public IReadOnlyList<string> Announcements(PgIncident? incident)
    {
        var bytes = Wal.Range.BytesTo(Wal.Target.Stop);
        return
        [
            KeepWay.Cost(Standby, Record(new RecoveryOptions(Standby, new RecoveryTarget.Lsn(Wal.Target.Stop), null), null)),
            Standby.IsRunning
                ? $"It is frozen and restarted with the target, and restarted again when the recovery is completed; {(Readers == 0 ? "nobody is connected to it now" : Readers == 1 ? "the one session on it is ended" : $"the {Readers} sessions on it are ended")}."
                : "It is stopped, is started with the target, and runs on when the recovery is completed.",
            .. incident is { LockLsn: { } first } && first < incident.CommitLsn
                ? [$"It stops before the first lock, at {first}, and not before the COMMIT at {incident.CommitLsn}, where the table could not be read: what others committed in between is not in it."] : (string[])[],
            .. Raised.Announcements(Standby),
            .. Wal.Target.Notes,
            $"WAL to replay, from the last restartpoint at {Wal.Range.From} to {Wal.Target.Stop}: at most {ByteSize.Words(bytes)}, from {Wal.Source}.",
        ];
    }

    public static PitrException Inactive(PgServer standby, string why) => new("PitrPS.HotStandbyInactive", ErrorKind.InvalidOperation,
        $"{standby.Id} cannot be recovered in place: {why}. Without connections it would not pause at the target but be promoted there.",
        "Use -Way Scratch, which needs no hot standby. The standby runs on and has not been touched.", standby);

    private static async Task<TargetSurvey> SurveyAsync(RecoveryOptions options, PgServer standby, SharedSurvey shared)
    {
        try
        {
            return await shared.ReadAsync(options).ConfigureAwait(false);
        }
        catch (PitrException e) when (e.Id == "PitrPS.TargetAlreadyReplayed" && options.Incident is { LockLsn: { } first } incident && first < incident.CommitLsn)
        {
            // The primary was idle before it: the delay holds back COMMITs only.
            throw new PitrException("PitrPS.TargetAlreadyReplayed", ErrorKind.InvalidOperation,
                $"{standby.Id} cannot be recovered in place: the lock at {first} that keeps {string.Join(", ", incident.Tables)} from being read has been replayed already.",
                $"Use -Way Scratch, which stops before the COMMIT at {incident.CommitLsn}, where the table is whole. The standby runs on and has not been touched.", standby, e);
        }
    }

    private static async Task<IReadOnlyDictionary<string, string>> SettingsAsync(PgServer standby, CancellationToken cancel)
    {
        var said = await standby.Host.RunCheckedAsync(RemoteCommand.Shell("""postgres=$1 config=$2; shift 2; for name; do value=$("$postgres" -C "$name" -D "$config" 2>/dev/null) && echo "$name $value"; done; exit 0""",
            [standby.Program("postgres"), standby.ConfigDirectory, .. Asked]).As(standby.OsUser), cancel).ConfigureAwait(false);
        return said.Lines.Select(l => l.Split(' ', 2)).Where(w => w.Length == 2).ToDictionary(w => w[0], w => w[1]);
    }
}
