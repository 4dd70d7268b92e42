using System.Globalization;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>The proof that a standby goes on as before its recovery.</summary>
internal static class DelayedAgain
{
    // 'No receiver' is no alarm: after a restart a standby goes on from pg_wal and the archive until it has applied what is there.
    public static Step Step(PgServer standby, ServerState state, RecoveryRecord record, string where) => new("see", $"See that the standby is delayed again, {where} and on its own timeline", standby.Host)
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
                        "What the recovery made is gone. Look with Get-ReplicationStatus and at the standby's log; then run the same command again.", standby);
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
}
