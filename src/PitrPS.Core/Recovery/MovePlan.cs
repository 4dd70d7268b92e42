using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Move-PitrRecovery: another target for a recovery on a layer, earlier or later, which is a new layer. What the recovery is for stays, and so does what has been brought back.</summary>
internal static class MovePlan
{
    public const string Operation = "Move-PitrRecovery";

    /// <exception cref="PitrException"><c>PitrPS.MoveUnsupported</c>, <c>PitrPS.RecoveryGone</c>, and what <see cref="ScratchWay"/> refuses, before the scratch server that is there is touched.</exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(PitrRecovery recovery, RecoveryTarget target, IFeedback feedback, CancellationToken cancel)
    {
        if (recovery.Way != RecoveryWay.Scratch)
        {
            throw new PitrException("PitrPS.MoveUnsupported", ErrorKind.InvalidOperation, $"The recovery of {recovery.Standby.Id} to {recovery.Target} is no scratch server ({recovery.Way}): it stays at its target.",
                recovery.Way == RecoveryWay.Clone
                    ? "Make another clone beside it: Invoke-PitrRecovery -Way Clone with the other target. Remove-PitrClone ends the one that is not needed any more."
                    : "Complete it (Complete-PitrRecovery -Force) and recover anew to the other target.", recovery);
        }

        var options = new RecoveryOptions(recovery.Standby, target, null).Checked() with { Way = RecoveryWay.Scratch };
        if (recovery.IsPlanned)
        {
            return ScratchWay.OnPaper(options with { Incident = recovery.Incident }, Operation);
        }

        recovery.Standby.Host.RequireRoot(Operation);
        var standby = await ServerDiscovery.RefreshAsync(recovery.Standby, feedback, cancel).ConfigureAwait(false);
        if (await RecoveryRecord.ReadAsync(standby, cancel).ConfigureAwait(false) is not { } record || record.StartedAt != recovery.StartedAt)
        {
            throw new PitrException("PitrPS.RecoveryGone", ErrorKind.ObjectNotFound, $"The recovery of {standby.Id} that was begun on {recovery.StartedAt:u} is not there any more.",
                "Look with Get-PitrRecovery; to recover anew: Invoke-PitrRecovery.", standby);
        }

        await using var wal = new SharedSurvey(standby, feedback, cancel);
        return await ScratchWay.MoveAsync(options, standby, record, wal, feedback, cancel).ConfigureAwait(false);
    }
}
