using PitrPS.Incidents;
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

    /// <summary>
    /// The incidents of a standby. While it is stopped for a recovery, that is the one that the recovery is for, so that the same pipeline can be run again after its client was lost.
    /// </summary>
    /// <exception cref="PitrException">What <see cref="IncidentSearch.FindAsync"/> throws.</exception>
    public static async Task<IReadOnlyList<PgIncident>> IncidentsAsync(PgServer server, IncidentQuery query, IFeedback feedback, CancellationToken cancel)
    {
        try
        {
            return await IncidentSearch.FindAsync(server, query, feedback, cancel).ConfigureAwait(false);
        }
        catch (PitrException e) when (e.Id == "PitrPS.ServerNotRunning")
        {
            if (await RecoveryRecord.ReadAsync(server, cancel).ConfigureAwait(false) is not { Incident: { } recorded } record)
            {
                throw;
            }

            feedback.Verbose($"{server.Id} is stopped for the recovery that {record.StartedBy} began on {record.StartedAt:u}; its incident is the one that is found.");
            var incident = recorded.ToIncident(server);
            return query.WantsKind(incident.Kind) && !(incident.CommittedAt < query.Since) && !(incident.CommittedAt > query.Until)
                && incident.Tables.Any(t => query.Wants(t) && query.WantsDatabase(t.Database)) ? [incident] : [];
        }
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
