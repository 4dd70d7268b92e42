using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>The way of a recovery for which none was asked: the first that is possible on the host. A promotion, which uses the standby up, is never chosen.</summary>
internal static class WayChoice
{
    private sealed record Choice(RecoveryWay Way, params string[] Impossible);

    // The errors of a way that say that this host cannot do it; all others would be the same in any way.
    private static readonly Choice[] Order =
    [
        new(RecoveryWay.Scratch, "PitrPS.LayerUnsupported", "PitrPS.LayerSpace"),
        new(RecoveryWay.Clone, "PitrPS.CloneUnsupported", "PitrPS.CloneSpace"),
        new(RecoveryWay.Keep, "PitrPS.HotStandbyInactive", "PitrPS.TargetUnsuitable", "PitrPS.TargetAlreadyReplayed"),
    ];

    /// <summary>Tries them in turn; the plan of the one that is taken says why those before it are not possible.</summary>
    /// <exception cref="PitrException"><c>PitrPS.NoWayPossible</c>, and what the plan of a possible way refuses.</exception>
    public static async Task<Planned<PitrRecovery>> FirstAsync(PgServer standby, Func<RecoveryWay, Task<Planned<PitrRecovery>>> build, IFeedback feedback)
    {
        var refused = new List<PitrException>();
        foreach (var choice in Order)
        {
            try
            {
                var planned = await build(choice.Way).ConfigureAwait(false);
                if (refused.Count == 0)
                {
                    return planned;
                }

                var why = $"{string.Join(" ", refused.Select(e => e.Message))} So the way is {choice.Way}.";
                feedback.Verbose(why);
                return planned with { Plan = planned.Plan with { Announcements = [why, .. planned.Plan.Announcements] } };
            }
            catch (PitrException e) when (choice.Impossible.Contains(e.Id))
            {
                refused.Add(e);
            }
        }

        throw new PitrException("PitrPS.NoWayPossible", ErrorKind.ResourceUnavailable,
            $"{standby.Id} can be recovered in no way that leaves it as it is: {string.Join(" ", refused.Select(e => e.Message))}",
            string.Join(" Or: ", refused.Select(e => e.NextStep).Distinct()), standby);
    }
}
