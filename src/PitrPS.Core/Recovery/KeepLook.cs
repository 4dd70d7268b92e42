using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What was seen of a standby that recovers itself.</summary>
internal sealed record KeepLook
{
    private static readonly TimeSpan LookAgain = TimeSpan.FromMilliseconds(200);

    /// <summary>It is there; it need not take connections yet.</summary>
    public required bool IsRunning { get; init; }

    /// <summary>What it says of its replay; null while it takes no connections.</summary>
    public ReplayFacts? Facts { get; init; }

    /// <summary>The segment that is being replayed, by the title of its process; null where that does not tell.</summary>
    public string? Segment { get; init; }

    public static async Task<KeepLook> ReadAsync(PgServer standby, IFeedback feedback, CancellationToken cancel)
    {
        var probe = await ServerControl.ProbeAsync(standby, cancel).ConfigureAwait(false);
        if (probe.Readiness == Readiness.Accepting)
        {
            try
            {
                return new KeepLook { IsRunning = true, Facts = await ReplicationProbe.FactsAsync(standby, feedback, cancel).ConfigureAwait(false) };
            }
            catch (PitrException e) when (e.Id == "PitrPS.ServerUnavailable")
            {
                // It ended between the two questions.
                probe = await ServerControl.ProbeAsync(standby, cancel).ConfigureAwait(false);
            }
        }

        return new KeepLook { IsRunning = probe.IsRunning, Segment = probe.Pid is { } pid ? await SegmentAsync(standby, pid, cancel).ConfigureAwait(false) : null };
    }

    /// <summary>Looks until it is where it should be, as long as its replay moves on.</summary>
    /// <param name="standby">The standby.</param>
    /// <param name="record">Its recovery.</param>
    /// <param name="run">Whose step waits.</param>
    /// <param name="isThere">Whether it is; throws where it will never be.</param>
    /// <param name="stalled">The error for a replay that has stood still for too long.</param>
    public static async Task<KeepLook> UntilAsync(PgServer standby, RecoveryRecord record, StepRun run, Func<KeepLook, Task<bool>> isThere, Func<KeepLook, PitrException> stalled)
    {
        var progress = new ReplayProgress(run, record, record.WalFrom, standby.WalSegmentSize);
        var (since, stands) = (DateTimeOffset.UtcNow, "");
        while (true)
        {
            var look = await ReadAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
            if (await isThere(look).ConfigureAwait(false))
            {
                return look;
            }

            var here = $"{look.Facts?.Replayed}{look.Segment}";
            (since, stands) = here == stands ? (since, stands) : (DateTimeOffset.UtcNow, here);
            if (DateTimeOffset.UtcNow - since > ServerControl.StartLimit)
            {
                throw stalled(look);
            }

            progress.Tell(look.Facts?.Replayed, look.Segment);
            await Task.Delay(LookAgain, run.Cancel).ConfigureAwait(false);
        }
    }

    /// <summary>The server was started with this recovery's target.</summary>
    public bool IsBoundFor(RecoveryRecord record) => Facts is { } facts && string.Join(' ', facts.Targets) == string.Join('=', [KeepSettings.TargetOf(record).Name, KeepSettings.TargetOf(record).Value]);

    /// <summary>It has stopped where this recovery's target is. Nobody's pause on the way there counts.</summary>
    public bool IsAtTarget(RecoveryRecord record) => IsBoundFor(record) && Facts is { InRecovery: true, State: ReplayState.PausedAtTarget, Replayed: { } at } && IsTarget(record, at);

    // Between the end of a record and the start of the next one there is at most the header of a page, 40 bytes (src/include/access/xlog_internal.h, XLogLongPageHeaderData).
    private static bool IsTarget(RecoveryRecord record, Lsn at) => record.StopsAfter ? at > record.Stop : at <= record.Stop && record.Stop - at <= 40;

    private static async Task<string?> SegmentAsync(PgServer standby, int pid, CancellationToken cancel) =>
        (await standby.Host.RunCheckedAsync(RemoteCommand.Shell("""ps -o args= --ppid "$1" | sed -n 's/.*startup  *recovering  *\([0-9A-F]\{24\}\).*/\1/p'""", pid.ToString(System.Globalization.CultureInfo.InvariantCulture)), cancel)
            .ConfigureAwait(false)).Text is { Length: > 0 } name ? name : null;
}
