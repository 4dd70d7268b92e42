using System.Globalization;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What to complete.</summary>
/// <param name="Recovery">The recovery.</param>
/// <param name="Restored">The tables that came down the pipeline with it and are proven to be back.</param>
/// <param name="Force">Throw it away, whether all is back or not.</param>
internal sealed record CompletionOptions(PitrRecovery Recovery, IReadOnlyList<ProvenTable> Restored, bool Force);

/// <summary>Complete-PitrRecovery: the scratch server and its layer are gone, and the standby goes on from where it was, with the delay that it had.</summary>
internal static class CompletionPlan
{
    private const string Operation = "Complete-PitrRecovery";

    /// <exception cref="PitrException"><c>PitrPS.RestoreIncomplete</c> while a table of the incident is not proven to be back on the primary.</exception>
    public static async Task<Planned<PgServer>> BuildAsync(CompletionOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var standby = options.Recovery.Standby;
        if (options.Recovery.IsPlanned)
        {
            return Of(standby with { IsPlanned = true }, Steps(standby, ScratchServer.Of(standby, standby.DataDirectory + ".pitrps-scratch"), new ServerState(), null), feedback);
        }

        var record = await RecoveryRecord.ReadAsync(standby, cancel).ConfigureAwait(false);
        if (record is null || record.StartedAt != options.Recovery.StartedAt)
        {
            // Completed before, by us or by somebody else; what the standby does now is none of this recovery's business.
            feedback.Verbose($"{standby.Id}: the recovery that was begun on {options.Recovery.StartedAt:u} is not there any more.");
            return Of(standby, [], feedback);
        }

        if (!options.Force)
        {
            RequireRestored(standby, record, options);
        }

        standby = await ServerDiscovery.RefreshAsync(standby, feedback, cancel).ConfigureAwait(false);
        var state = await ServerState.ReadAsync(standby.Host, standby.Name, cancel).ConfigureAwait(false);
        // Tables that would be brought back (-WhatIf) let the plan be shown, and never be carried out.
        return Of(standby with { IsPlanned = options.Restored.Any(r => r.IsPlanned) }, Steps(standby, ScratchServer.Of(standby, record.Layer), state, record), feedback);
    }

    private static Planned<PgServer> Of(PgServer standby, IReadOnlyList<Step> steps, IFeedback feedback) => new(
        new Plan
        {
            Operation = Operation,
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = standby.IsPlanned,
            TakesBack = [RecoveryPlan.Operation],
            Steps = steps,
            Announcements = steps.Count == 0 ? [] : ["The scratch server is thrown away with all that it recovered; the standby goes on and applies what it held back when its delay is over."],
        },
        c => ServerDiscovery.RefreshAsync(standby, feedback, c),
        () => standby with { IsFrozen = false, IsRunning = true, Role = ServerRole.Standby, IsPlanned = true });

    private static IReadOnlyList<Step> Steps(PgServer standby, ScratchServer scratch, ServerState state, RecoveryRecord? record) =>
    [
        UnfinishedRestore.Step(standby),
        // A standby that no unit runs is started as it was before, of which systemd knows nothing: so the scratch server goes first.
        .. StandIn.IsFor(standby) ? [Discard(standby, scratch), Start(StandIn.WithoutUnit(standby)), StandIn.RemoveStep(standby)] : (Step[])[Start(standby), Discard(standby, scratch)],
        .. Freeze.ThawSteps(standby, state),
        .. record is null ? (IEnumerable<Step>)[] : [See(standby, state, record)],
        new Step("forget", "Forget the recovery", standby.Host)
        {
            IsDone = async run => await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false) is null,
            Do = run => RecoveryRecord.RemoveAsync(standby, run.Cancel),
            Preview = [$"rm {RecoveryRecord.PathOf(standby.Name)}"],
        },
    ];

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

    // 'No receiver' is no alarm: after a restart a standby goes on from pg_wal and the archive until it has applied what is there.
    private static Step See(PgServer standby, ServerState state, RecoveryRecord record) => new("see", "See that the standby is delayed again, where it was and on its own timeline", standby.Host)
    {
        IsDone = async run => await ProblemAsync(standby, state, record, run).ConfigureAwait(false) is null,
        Do = async run =>
        {
            var until = DateTimeOffset.UtcNow + TimeSpan.FromSeconds(60);
            var wait = TimeSpan.FromMilliseconds(50);
            while (await ProblemAsync(standby, state, record, run).ConfigureAwait(false) is { } problem)
            {
                if (DateTimeOffset.UtcNow > until)
                {
                    throw new PitrException("PitrPS.StandbyNotAsBefore", ErrorKind.InvalidResult, $"{standby.Id} runs again, but not as before the recovery: {problem}.",
                        "The scratch server is gone and the standby's files were only read. Look with Get-ReplicationStatus and at the standby's log; then run the same command again.", standby);
                }

                await Task.Delay(wait, run.Cancel).ConfigureAwait(false);
                wait = TimeSpan.FromMilliseconds(Math.Min(1000, wait.TotalMilliseconds * 2));
            }
        },
        Preview = ["SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), recovery_min_apply_delay, the timeline"],
    };

    private static async Task<string?> ProblemAsync(PgServer standby, ServerState state, RecoveryRecord record, StepRun run)
    {
        var row = (await ServerSql.QueryAsync(standby, "postgres",
            """
            SELECT pg_catalog.pg_is_in_recovery(), CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() END,
                   (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'recovery_min_apply_delay'),
                   (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())
            """, run.Feedback, run.Cancel).ConfigureAwait(false))[0];
        return !row.Flag(0) ? "it is a primary"
            : record.Replayed is { } was && (row[1] is not { } at || Lsn.Parse(at) < was) ? $"it has replayed up to {row[1] ?? "nothing"}, before it was {was}"
            : standby.Timeline is { } timeline && row.Number(3) != timeline ? $"it is on timeline {row[3]}, before it was {timeline}"
            : state.FrozenAt is not null && state.DelayMilliseconds is { } delay && row.Number(2) != delay ? $"its delay is {row[2]} ms, before it was {delay.ToString(CultureInfo.InvariantCulture)} ms"
            : null;
    }

    private static void RequireRestored(PgServer standby, RecoveryRecord record, CompletionOptions options)
    {
        bool IsBack(IncidentTable table) => record.Restored.Any(r => r.Is(table))
            || options.Restored.Any(r => r.Table.Database == table.Database && r.Table.Oid == table.Oid);

        string[] missing = [.. (record.Incident?.Tables ?? []).Where(t => !IsBack(t)).Select(t => $"{t} (database {t.Database})")];
        if (missing.Length > 0)
        {
            throw new PitrException("PitrPS.RestoreIncomplete", ErrorKind.InvalidOperation,
                $"Not all that the incident destroyed is proven to be back on the primary: {string.Join(", ", missing)}. Once the recovery is completed, the scratch server that has it is gone.",
                "Bring it back first (Get-PitrRecovery | Restore-PgTable -To <primary>), then run the same command again; or, if it is not wanted, complete with -Force.", standby);
        }
    }
}
