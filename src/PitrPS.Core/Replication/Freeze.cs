using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>
/// Freezing a standby's replay and letting it go on. A freeze is a pause, which lives in shared memory and dies with the server, and the delay raised to its maximum,
/// which does not. The delay is never lowered while replay is paused, except by the resume itself, back to what it was.
/// Source: src/backend/access/transam/xlogrecovery.c, recoveryApplyDelay and recoveryPausesHere.
/// </summary>
internal static class Freeze
{
    public const string DelaySetting = "recovery_min_apply_delay";

    private static readonly TimeSpan StandstillLimit = TimeSpan.FromSeconds(30);

    public static async Task<Planned<PgServer>> SuspendAsync(PgServer standby, IFeedback feedback, CancellationToken cancel)
    {
        if (!standby.IsPlanned)
        {
            ServerDiscovery.WarnOfManager(standby, feedback);
            RefuseStops(standby, await RequireStandbyAsync(standby, feedback, cancel).ConfigureAwait(false), "Suspend-WalReplay");
        }

        return Of(standby, "Suspend-WalReplay", FreezeSteps(standby), standby with { IsFrozen = true, IsPlanned = true }, "Resume-WalReplay", feedback);
    }

    public static async Task<Planned<PgServer>> ResumeAsync(PgServer standby, IFeedback feedback, CancellationToken cancel)
    {
        var state = new ServerState();
        if (!standby.IsPlanned)
        {
            ServerDiscovery.WarnOfManager(standby, feedback);
            RefuseStops(standby, await RequireStandbyAsync(standby, feedback, cancel).ConfigureAwait(false), "Resume-WalReplay");
            state = await ServerState.ReadAsync(standby.Host, standby.Name, cancel).ConfigureAwait(false);
        }

        return Of(standby, "Resume-WalReplay", ThawSteps(standby, state), standby with { IsFrozen = false, IsPlanned = true }, "Suspend-WalReplay", feedback);
    }

    /// <summary>The steps that freeze a running standby; also the first steps of a recovery.</summary>
    public static IReadOnlyList<Step> FreezeSteps(PgServer standby) =>
    [
        new("freeze-remember", "Note the delay that is in force, so that it can be put back", standby.Host)
        {
            IsDone = async run => (await ServerState.ReadAsync(run.Host, standby.Name, run.Cancel).ConfigureAwait(false)).FrozenAt is not null,
            Do = async run =>
            {
                var facts = await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
                var ours = (await OwnedSettings.ReadAsync(standby, run.Cancel).ConfigureAwait(false)).ContainsKey(DelaySetting);
                await ServerState.UpdateAsync(run.Host, standby.Name,
                    state => state with { FrozenAt = facts.Time, DelayMilliseconds = facts.DelayMilliseconds, DelayIsOurs = ours, SocketRole = standby.SocketRole }, run.Cancel).ConfigureAwait(false);
            },
            Preview = [$"write {ServerState.PathOf(standby.Name)}"],
        },
        new("freeze-pause", "Pause replay", standby.Host)
        {
            IsDone = async run => (await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false)).IsPaused,
            Do = run => QueryAsync(standby, "SELECT pg_wal_replay_pause()", run),
            Preview = ["SELECT pg_wal_replay_pause()"],
        },
        .. OwnedSettings.Steps(standby, "freeze", DelayOf(ReplayFacts.LargestDelay), SettingsReach.Reload),
        new("freeze-standstill", "See that replay stands still", standby.Host)
        {
            IsDone = async run => IsFrozen(await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false)),
            Do = run => WaitAsync(standby, run, IsFrozen,
                facts => new PitrException("PitrPS.FreezeNotEffective", ErrorKind.OperationTimeout,
                    $"Replay on {standby.Id} does not stand still: pause state '{facts.PauseState}', startup process {facts.StartupWait ?? "at work"}, delay {facts.DelayMilliseconds} ms.",
                    "Run Suspend-WalReplay again. If time is short, stop the server: Invoke-PitrRecovery works from a stopped standby too.", standby)),
        },
    ];

    /// <summary>The steps that let a frozen standby go on with the delay that it had: the delay first, the pause last.</summary>
    public static IReadOnlyList<Step> ThawSteps(PgServer standby, ServerState state) => [.. DelayBack(standby, state, SettingsReach.Reload), .. GoOn(standby, state)];

    /// <summary>The same for a frozen standby that is stopped, around the step that starts it: it comes up with its delay at once.</summary>
    public static IReadOnlyList<Step> ThawSteps(PgServer standby, ServerState state, Step start) => [.. DelayBack(standby, state, SettingsReach.Files), start, .. GoOn(standby, state)];

    /// <summary>recovery_min_apply_delay in milliseconds, with the unit, as the file has it.</summary>
    public static Dictionary<string, string?> DelayOf(long milliseconds) =>
        new() { [DelaySetting] = milliseconds.ToString(CultureInfo.InvariantCulture) + "ms" };

    private static bool HasDelay(ServerState state) => state is { FrozenAt: not null, DelayMilliseconds: not null };

    private static IReadOnlyList<Step> DelayBack(PgServer standby, ServerState state, SettingsReach reach) => HasDelay(state)
        ? OwnedSettings.Steps(standby, "thaw", state.DelayIsOurs == true ? DelayOf(state.DelayMilliseconds!.Value) : new Dictionary<string, string?> { [DelaySetting] = null }, reach)
        : [];

    private static IReadOnlyList<Step> GoOn(PgServer standby, ServerState state) =>
    [
        .. HasDelay(state) ? (IReadOnlyList<Step>)[new Step("thaw-delay", $"See that the delay of {state.DelayMilliseconds} ms is in force", standby.Host)
        {
            IsDone = async run => (await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false)).DelayMilliseconds == state.DelayMilliseconds,
            Do = run => WaitAsync(standby, run, facts => facts.DelayMilliseconds == state.DelayMilliseconds,
                facts => new PitrException("PitrPS.DelayNotInForce", ErrorKind.InvalidResult,
                    $"{standby.Id} still has a delay of {facts.DelayMilliseconds} ms in force instead of {state.DelayMilliseconds} ms, so replay stays frozen.",
                    $"Look where else {DelaySetting} is set (pg_file_settings), then run the same command again.", standby)),
        }] : [],
        new("thaw-resume", "Resume replay", standby.Host)
        {
            IsDone = async run => !(await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false)).IsPaused,
            Do = async run =>
            {
                // Asked again at the last moment: resuming at a target promotes, with standby.signal too.
                RefuseStops(standby, await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false), run.Plan.Operation);
                await QueryAsync(standby, "SELECT pg_wal_replay_resume()", run).ConfigureAwait(false);
            },
            Preview = ["SELECT pg_wal_replay_resume()"],
        },
        new("thaw-forget", "Note that it is not frozen any more", standby.Host)
        {
            IsDone = async run => (await ServerState.ReadAsync(run.Host, standby.Name, run.Cancel).ConfigureAwait(false)).FrozenAt is null,
            Do = run => ServerState.UpdateAsync(run.Host, standby.Name, was => was with { FrozenAt = null, DelayIsOurs = null, SocketRole = null }, run.Cancel),
            Preview = [$"write {ServerState.PathOf(standby.Name)}"],
        },
    ];

    /// <summary>The facts of what must be a running standby.</summary>
    /// <exception cref="PitrException"><c>PitrPS.NotAStandby</c>, <c>PitrPS.ServerNotRunning</c></exception>
    public static async Task<ReplayFacts> RequireStandbyAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        if (!server.IsRunning)
        {
            throw new PitrException("PitrPS.ServerNotRunning", ErrorKind.InvalidOperation, $"{server.Id} is not running.",
                $"Start it ({server.ServiceUnit ?? "pg_ctl"}), then run the same command again.", server);
        }

        var facts = await ReplicationProbe.FactsAsync(server, feedback, cancel).ConfigureAwait(false);
        if (!facts.InRecovery)
        {
            throw new PitrException("PitrPS.NotAStandby", ErrorKind.InvalidOperation, $"{server.Id} is a primary: it takes writes and replays nothing.",
                "Give the standby.", server);
        }

        return facts;
    }

    private static bool IsFrozen(ReplayFacts facts) => facts.IsPaused && facts.StandsStill && facts.DelayIsRaised;

    private static void RefuseStops(PgServer standby, ReplayFacts facts, string operation)
    {
        if (facts.State == ReplayState.PausedAtTarget)
        {
            throw new PitrException("PitrPS.PausedAtTarget", ErrorKind.InvalidOperation,
                $"{standby.Id} stands at a recovery target ({string.Join(", ", facts.Targets)}); to resume would promote it.",
                $"If a recovery in place has brought it there (Get-PitrRecovery), complete that: Get-PitrRecovery | Complete-PitrRecovery. Otherwise take the recovery_target settings out of its configuration and restart it; then {operation} is safe.", standby);
        }

        if (facts.State == ReplayState.PausedForSettings)
        {
            throw new PitrException("PitrPS.PausedForSettings", ErrorKind.InvalidOperation,
                $"{standby.Id} stands because its settings are lower than the primary's: {string.Join(", ", facts.TooLow)}; to resume would shut it down.",
                $"Raise them to the primary's values and restart it; then run {operation} again.", standby);
        }
    }

    private static Planned<PgServer> Of(PgServer standby, string operation, IReadOnlyList<Step> steps, PgServer wouldBe, string wayBack, IFeedback feedback) =>
        new(new Plan { Operation = operation, Subject = standby.Id, Home = standby.Host, Steps = steps, WayBack = wayBack, IsPlanned = standby.IsPlanned },
            cancel => ServerDiscovery.RefreshAsync(standby, feedback, cancel), () => wouldBe);

    private static Task QueryAsync(PgServer standby, string statement, StepRun run) =>
        ServerSql.QueryAsync(standby, "postgres", statement, run.Feedback, run.Cancel);

    private static async Task WaitAsync(PgServer standby, StepRun run, Func<ReplayFacts, bool> isSo, Func<ReplayFacts, PitrException> otherwise)
    {
        var giveUp = DateTimeOffset.UtcNow + StandstillLimit;
        while (true)
        {
            var facts = await ReplicationProbe.FactsAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
            if (isSo(facts))
            {
                return;
            }

            if (DateTimeOffset.UtcNow > giveUp)
            {
                throw otherwise(facts);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(200), run.Cancel).ConfigureAwait(false);
        }
    }
}
