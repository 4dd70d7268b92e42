using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Get-PitrRecovery: the recovery that a standby's host records, and how it stands now.</summary>
internal static class RecoveryReader
{
    /// <summary>Null when no recovery is under way on this standby.</summary>
    public static async Task<PitrRecovery?> FindAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        if (server.IsPlanned || await RecoveryRecord.ReadAsync(server, cancel).ConfigureAwait(false) is not { } record)
        {
            return null;
        }

        var standby = await ServerDiscovery.RefreshAsync(server, feedback, cancel).ConfigureAwait(false);
        return Of(standby, record, await ScratchServer.Of(standby, record.Layer).LookAsync(0, cancel).ConfigureAwait(false));
    }

    internal static PitrRecovery Of(PgServer standby, RecoveryRecord record, ScratchLook look)
    {
        var state = StateOf(record, look);
        return new PitrRecovery
        {
            Standby = standby,
            Incident = record.Incident?.ToIncident(standby),
            Target = record.Target.ToTarget(),
            State = state,
            Scratch = state == RecoveryState.Ready ? ScratchServer.Of(standby, record.Layer).AsServer(record.ScratchTimeline) : null,
            RecoveredTo = state == RecoveryState.Ready ? record.RecoveredTo : null,
            StartedAt = record.StartedAt,
            StartedBy = record.StartedBy,
            Elapsed = state == RecoveryState.Ready ? record.Elapsed : null,
            WalBytes = state == RecoveryState.Ready ? record.WalBytes : null,
            WalSource = record.WalSource,
            LayerBytes = state == RecoveryState.Ready ? record.LayerBytes : null,
        };
    }

    private static RecoveryState StateOf(RecoveryRecord record, ScratchLook look) =>
        IsReady(record, look) ? RecoveryState.Ready
        : look.IsUnderWay || look.LaunchedAt is null ? RecoveryState.Recovering
        : RecoveryState.Lost;

    /// <summary>What the record says of a scratch server holds only for the one run of its unit that it names.</summary>
    public static bool IsReady(RecoveryRecord record, ScratchLook look) =>
        look.IsAnswering && !look.StandbyRuns && record.Invocation is not null && record.Invocation == look.Invocation;
}
