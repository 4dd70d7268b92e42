using System.Diagnostics;
using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The steps of a recovery in place. Their order is what makes it safe: whenever the server is started in between, by systemd at boot or by hand, it is either frozen as before or stops at the target.
/// </summary>
internal sealed class KeepSteps(PgServer standby, RecoveryRecord record)
{
    private readonly Stopwatch _watch = new();

    private string Words => record.StopsAfter ? $"just after {record.Stop}" : $"just before {record.Stop}";

    /// <summary>All of them.</summary>
    /// <param name="preparation">What was read before; null where an earlier client has come as far as setting the target.</param>
    public IReadOnlyList<Step> All(KeepPreparation? preparation) =>
    [
        RecoverySteps.Note(standby, record),
        .. preparation is null ? [] : ScratchWay.FreezeSteps(standby),
        .. Frame(),
        Stop(),
        .. Target(preparation),
        Start(),
        Recover(),
    ];

    /// <summary>The steps back to a standby that is frozen as before the recovery, and restarted without the target. Never by a resume: at a target that promotes.</summary>
    public IReadOnlyList<Step> Back() =>
    [
        .. OwnedSettings.Steps(standby, "keep-back", KeepSettings.NoTarget(record), SettingsReach.Files),
        .. OwnedSettings.Steps(standby, "keep-leave", KeepSettings.NoFrame, SettingsReach.Files),
        .. record.Raised.Count == 0 ? [] : (Step[])[Lower()],
        new Step("keep-restart", "Restart the standby without the target", standby.Host)
        {
            IsDone = async run => await LookAsync(run).ConfigureAwait(false) is { Facts.Targets.Count: 0 },
            Do = async run =>
            {
                await ServerControl.RestartAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
                await ServerState.UpdateAsync(run.Host, standby.Name, state => state with { LogFile = null }, run.Cancel).ConfigureAwait(false);
            },
            Preview = [ServerControl.Display(standby, "restart")],
        },
    ];

    /// <summary>For whoever gives up while the server is stopped or about to be: it is started again, and whatever its configuration says by now is safe. Without a unit nobody would wait for the stop.</summary>
    public Task GiveBackAsync(CancellationToken cancel) => record.StandbyRan && standby.ServiceUnit is { } unit
        ? standby.Host.RunCheckedAsync(RemoteCommand.Of("systemctl", "start", "--no-block", unit).AsRoot(), cancel)
        : Task.CompletedTask;

    public IReadOnlyList<Step> Frame() =>
    [
        .. record.Raised.Count == 0 ? [] : OwnedSettings.Steps(standby, "keep-raise", KeepSettings.Raised(record), SettingsReach.Files).Select(step => !IsFile(step) ? step : step with { Undo = LowerAsync }),
        .. WithUndo(standby, OwnedSettings.Steps(standby, "keep-frame", KeepSettings.Frame(record), SettingsReach.Files), KeepSettings.NoFrame),
    ];

    public Step Stop() => new("keep-stop", $"Stop {standby.Name} cleanly (its sessions are ended)", standby.Host)
    {
        IsDone = async run => await LookAsync(run).ConfigureAwait(false) is var look
            && (!look.IsRunning || (look.IsBoundFor(record) && await KeepSettings.IsSetAsync(standby, record, run.Cancel).ConfigureAwait(false))),
        Do = async run =>
        {
            _watch.Start();
            await RecoverySteps.RequireNotReplayedAsync(standby, record, run).ConfigureAwait(false);
            if (standby is { ServiceUnit: null, LogFile: { } log })
            {
                // Where its log goes is known only while it runs.
                await ServerState.UpdateAsync(run.Host, standby.Name, state => state with { LogFile = log }, run.Cancel).ConfigureAwait(false);
            }

            await ServerControl.StopAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
        },
        Undo = run => record.StandbyRan ? ServerControl.StartAsync(standby, run.Feedback, run.Cancel) : Task.CompletedTask,
        Preview = [ServerControl.Display(standby, "stop")],
    };

    // A server that runs without the target must never see the delay of 0: so it is looked at just before, and whoever has started it meanwhile finds it frozen.
    public IReadOnlyList<Step> Target(KeepPreparation? preparation)
    {
        var steps = OwnedSettings.Steps(standby, "keep-target", KeepSettings.Target(record), SettingsReach.Files);
        return [.. steps.Select(step => !IsFile(step) ? step : step with
        {
            Title = $"Set the target, {Words}, and with it, in one write, a delay of 0",
            Do = async run =>
            {
                await RequireStoppedAsync(run).ConfigureAwait(false);
                await RequireReachableAsync(preparation, run).ConfigureAwait(false);
                await step.Do(run).ConfigureAwait(false);
            },
            Undo = async run =>
            {
                await CarryAsync(standby, KeepSettings.NoTarget(record), run).ConfigureAwait(false);
                var look = await LookAsync(run).ConfigureAwait(false);
                if (look.Facts is { InRecovery: false })
                {
                    run.Feedback.Warning($"{standby.Id} takes writes now: it was promoted. It is left as it is.");
                }
                else if (look.IsRunning && (look.Facts is null || look.IsBoundFor(record)))
                {
                    await ServerControl.StopAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
                }
            },
        })];
    }

    public Step Start() => new("keep-start", $"Start {standby.Name} with the target", standby.Host)
    {
        // One that is there was started after the target had been set: before, it was stopped.
        IsDone = async run => await LookAsync(run).ConfigureAwait(false) is { IsRunning: true } look && (look.Facts is null || look.IsBoundFor(record)),
        Do = async run =>
        {
            if (await ServerControl.IsRunningAsync(standby, run.Cancel).ConfigureAwait(false))
            {
                await ServerControl.StopAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
            }

            await ServerControl.StartAsync(standby, run.Feedback, run.Cancel, until: Readiness.Rejecting).ConfigureAwait(false);
        },
        Preview = [ServerControl.Display(standby, "start")],
    };

    private Step Recover() => new("recover", "Replay up to the target, and see that replay has paused there and that it can be read", standby.Host)
    {
        IsDone = async run => await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false) is { RecoveredTo: not null } noted && (await LookAsync(run).ConfigureAwait(false)).IsAtTarget(noted),
        Do = async run =>
        {
            if (await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false) is not { } noted)
            {
                throw new PitrException("PitrPS.RecoveryGone", ErrorKind.ObjectNotFound, $"The recovery of {standby.Id} is not recorded any more: {RecoveryRecord.PathOf(standby.Name)} was removed.",
                    "Run the same command again: it begins anew.", standby);
            }

            var at = await WaitAsync(run).ConfigureAwait(false);
            await WarnOfLocksAsync(run).ConfigureAwait(false);
            await (noted with
            {
                RecoveredTo = at,
                Elapsed = _watch.IsRunning ? _watch.Elapsed : noted.Elapsed,
                WalBytes = noted.WalFrom is { } from ? at - from : null,
            }).WriteAsync(standby, run.Cancel).ConfigureAwait(false);
        },
        Preview = ["SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), the pause, until replay stands at the target", $"write {RecoveryRecord.PathOf(standby.Name)}"],
    };

    private Step Lower() => new("keep-lower", "Put back what was raised for the recovery, unless the standby has replayed what needs it", standby.Host)
    {
        IsDone = async run =>
        {
            var lowered = await LoweredAsync(run).ConfigureAwait(false);
            var owned = await OwnedSettings.ReadAsync(standby, run.Cancel).ConfigureAwait(false);
            return lowered.All(l => owned.GetValueOrDefault(l.Key) == l.Value);
        },
        Do = LowerAsync,
        Preview = [.. record.Raised.Select(r => $"{r.Name}, which is {r.Needed} and was {r.Has}, in {OwnedSettings.PathOf(standby)}")],
    };

    private async Task LowerAsync(StepRun run)
    {
        if (await LoweredAsync(run).ConfigureAwait(false) is { Count: > 0 } lowered)
        {
            await CarryAsync(standby, lowered, run).ConfigureAwait(false);
        }
    }

    private async Task<IReadOnlyDictionary<string, string?>> LoweredAsync(StepRun run) =>
        KeepSettings.Lowered(record, (await ControlData.ReadAsync(standby, run.Cancel).ConfigureAwait(false)).Settings);

    private Task<KeepLook> LookAsync(StepRun run) => KeepLook.ReadAsync(standby, run.Feedback, run.Cancel);

    private async Task RequireStoppedAsync(StepRun run)
    {
        if (await ServerControl.IsRunningAsync(standby, run.Cancel).ConfigureAwait(false))
        {
            throw new PitrException("PitrPS.StandbyStarted", ErrorKind.ResourceBusy, $"Somebody started {standby.Id} while it was stopped for its recovery.",
                "It is frozen as before. See that nobody and nothing starts it (a cluster manager, a monitoring tool), then run the same command again.", standby);
        }
    }

    // What only a stopped server says for certain: from where it will replay, and that it need not go past the target to be consistent.
    private async Task RequireReachableAsync(KeepPreparation? preparation, StepRun run)
    {
        var position = await Incidents.StandbyPosition.ReadAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
        if (position.Replayed > record.Stop)
        {
            throw TargetFinder.AlreadyReplayed(standby, record.Target.ToTarget(), record.Stop, position.Replayed);
        }

        preparation?.HotStandby.RequireActive(standby, position.Redo, record.Stop);
    }

    private async Task<Lsn> WaitAsync(StepRun run) => (await KeepLook.UntilAsync(standby, record, run, async look =>
    {
        await RequireOnItsWayAsync(look, run).ConfigureAwait(false);
        return look.IsAtTarget(record);
    }, Stalled).ConfigureAwait(false)).Facts!.Replayed!.Value;

    private async Task RequireOnItsWayAsync(KeepLook look, StepRun run)
    {
        if (!look.IsRunning)
        {
            var log = await ServerControl.LogTailAsync(standby, run.Cancel).ConfigureAwait(false);
            throw new PitrException("PitrPS.KeepFailed", ErrorKind.ResourceUnavailable, $"{standby.Id} ended before it stood {Words}.{(log.Length > 0 ? "\nIts log ends with:\n" + log : "")}",
                "Its configuration is as it was, and it is frozen; what it has replayed by then stays replayed. Mend what the log says and run the same command again.", standby);
        }

        if (look.Facts is { InRecovery: false })
        {
            throw new PitrException("PitrPS.TargetMissed", ErrorKind.InvalidResult, $"{standby.Id} does not stand {Words}: it has been promoted.",
                "Somebody or something promoted it. What it has is still there: bring the tables back from it by hand, and make a standby anew (New-PgStandby).", standby);
        }

        if (look.Facts is { State: ReplayState.PausedForSettings, TooLow: var low })
        {
            throw new PitrException("PitrPS.SettingsTooLow", ErrorKind.InvalidOperation, $"{standby.Id} stands before its target, because its settings are lower than the primary's: {string.Join(", ", low)}.",
                "Its configuration is as it was, and it is frozen. Raise them there, restart it, and run the same command again.", standby);
        }

        if (look.Facts is { } facts && (!look.IsBoundFor(record) || facts.DelayMilliseconds > 0))
        {
            throw new PitrException("PitrPS.SettingOverridden", ErrorKind.ResourceBusy,
                $"{standby.Id} has not taken over what {OwnedSettings.PathOf(standby)} says: its target is {(facts.Targets.Count == 0 ? "none" : string.Join(' ', facts.Targets))}, its delay {facts.DelayMilliseconds} ms.",
                "Look where else these settings are (pg_settings.sourcefile, options of the command line), take them away, and run the same command again. Its configuration is as it was, and it is frozen.", standby);
        }
    }

    private PitrException Stalled(KeepLook look) => new("PitrPS.ReplayStalled", ErrorKind.OperationTimeout,
        $"Replay on {standby.Id} has stood still for {ServerControl.StartLimit.TotalMinutes:0} minutes, at {look.Facts?.Replayed?.ToString() ?? look.Segment ?? "its beginning"}, before it came to {Words}"
            + (look.Facts is { } facts ? facts.IsPaused ? ": it is paused." : $": it waits for {facts.StartupWait ?? "nothing"}." : "."),
        "See whether a reader holds it up (pg_stat_activity), whether the archive can be read (Get-ReplicationStatus), and what its log says. Its configuration is as it was, and it is frozen; run the same command again.", standby);

    // Locks of transactions that were under way at the target stay, because nothing is replayed that would end them.
    private async Task WarnOfLocksAsync(StepRun run)
    {
        var rows = await ServerSql.QueryAsync(standby, "postgres",
            """
            SELECT d.datname, l.relation FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
            WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted AND l.pid = (SELECT pid FROM pg_catalog.pg_stat_activity WHERE backend_type = 'startup')
            ORDER BY 1, 2
            """, run.Feedback, run.Cancel).ConfigureAwait(false);
        foreach (var database in rows.GroupBy(r => r.Text(0)))
        {
            var names = await ServerSql.QueryAsync(standby, database.Key,
                $"SELECT c.oid::regclass FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'm') AND c.oid IN ({string.Join(", ", database.Select(r => r.Number(1).ToString(CultureInfo.InvariantCulture)))}) ORDER BY 1",
                run.Feedback, run.Cancel).ConfigureAwait(false);
            if (names.Count > 0)
            {
                run.Feedback.Warning($"{standby.Id}: at the target a transaction that was under way locks {string.Join(", ", names.Select(n => n.Text(0)))} in {database.Key}: it cannot be read here. With -Way Scratch it can.");
            }
        }
    }

    private static async Task CarryAsync(PgServer standby, IReadOnlyDictionary<string, string?> settings, StepRun run)
    {
        foreach (var step in OwnedSettings.Steps(standby, "undo", settings, SettingsReach.Files))
        {
            if (!await step.IsDone(run).ConfigureAwait(false))
            {
                await step.Do(run).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Steps of <see cref="OwnedSettings"/> that are undone to these settings.</summary>
    public static IReadOnlyList<Step> WithUndo(PgServer standby, IReadOnlyList<Step> steps, IReadOnlyDictionary<string, string?> before) =>
        [.. steps.Select(step => !IsFile(step) ? step : step with { Undo = run => CarryAsync(standby, before, run) })];

    private static bool IsFile(Step step) => step.Id.EndsWith(".file", StringComparison.Ordinal);
}
