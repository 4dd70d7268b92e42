using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>How long a standby holds COMMITs back.</summary>
internal static class DelayPlan
{
    public static readonly TimeSpan Longest = TimeSpan.FromMilliseconds(ReplayFacts.LargestDelay);

    /// <exception cref="PitrException"><c>PitrPS.DelayOutOfRange</c>, <c>PitrPS.NotAStandby</c>, <c>PitrPS.ReplayPaused</c></exception>
    public static async Task<Planned<PgServer>> BuildAsync(PgServer standby, TimeSpan delay, IFeedback feedback, CancellationToken cancel)
    {
        var milliseconds = (long)delay.TotalMilliseconds;
        if (delay < TimeSpan.Zero || milliseconds >= ReplayFacts.LargestDelay)
        {
            throw new PitrException("PitrPS.DelayOutOfRange", ErrorKind.InvalidArgument,
                $"A delay of {delay} cannot be set: PostgreSQL keeps it as milliseconds in an int, less than {Longest:d\\.hh\\:mm\\:ss} (24.8 days).",
                "Give a shorter delay, for example -Delay 3.00:00:00 for three days.", standby);
        }

        var frozen = standby.IsFrozen;
        List<string> announcements = [];
        if (!standby.IsPlanned)
        {
            ServerDiscovery.WarnOfManager(standby, feedback);
            (frozen, var now) = await RequireChangeableAsync(standby, delay, feedback, cancel).ConfigureAwait(false);
            if (!frozen && delay < now)
            {
                announcements.Add($"The delay gets shorter, from {now:c} to {delay:c}: what was committed on the primary before that is applied at once, and this standby cannot bring back any more what it destroyed.");
            }
        }

        if (frozen)
        {
            announcements.Add("The standby is frozen: the delay in force stays raised, the new one holds from Resume-WalReplay on.");
        }

        var remember = new Step("delay-remember", frozen ? "Note the delay that the standby goes back to when it is resumed" : "Note the delay", standby.Host)
        {
            IsDone = async run => await ServerState.ReadAsync(run.Host, standby.Name, run.Cancel).ConfigureAwait(false) is var state
                && state.DelayMilliseconds == milliseconds && (!frozen || state.DelayIsOurs == true),
            Do = run => ServerState.UpdateAsync(run.Host, standby.Name,
                state => state with { DelayMilliseconds = milliseconds, DelayIsOurs = frozen ? true : null }, run.Cancel),
            Preview = [$"write {ServerState.PathOf(standby.Name)}"],
        };
        var plan = new Plan
        {
            Operation = "Set-ReplicationDelay",
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = standby.IsPlanned,
            WayBack = "Set-ReplicationDelay with the delay that it had",
            Announcements = announcements,
            // Lowering the delay while replay is paused would let the record that is held back through at the resume.
            Steps = frozen ? [remember] : [.. OwnedSettings.Steps(standby, "delay", Freeze.DelayOf(milliseconds), SettingsReach.Reload), remember],
        };
        return new Planned<PgServer>(plan, c => ServerDiscovery.RefreshAsync(standby, feedback, c),
            () => standby with { ReplicationDelay = delay, IsPlanned = true });
    }

    private static async Task<(bool IsFrozen, TimeSpan Delay)> RequireChangeableAsync(PgServer standby, TimeSpan delay, IFeedback feedback, CancellationToken cancel)
    {
        var facts = await Freeze.RequireStandbyAsync(standby, feedback, cancel).ConfigureAwait(false);
        if (facts.State is ReplayState.PausedByHand or ReplayState.PausedAtTarget or ReplayState.PausedForSettings
            && delay < TimeSpan.FromMilliseconds(facts.DelayMilliseconds))
        {
            throw new PitrException("PitrPS.ReplayPaused", ErrorKind.InvalidOperation,
                $"Replay on {standby.Id} is paused, not by Suspend-WalReplay; with a lower delay the COMMIT that is held back would be applied at the resume, at once.",
                "Freeze it with Suspend-WalReplay, or resume it first.", standby);
        }

        // A recovery in place goes back to the delay that is noted, as a freeze does.
        return (facts.State is ReplayState.Frozen or ReplayState.PauseLost || (facts.State == ReplayState.PausedAtTarget && facts.FrozenAt is not null), TimeSpan.FromMilliseconds(facts.DelayMilliseconds));
    }
}
