using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Get-PitrRecovery: the recovery that a standby's host records, and how it stands now.</summary>
internal static class RecoveryReader
{
    /// <summary>The recovery that is under way on this standby, and its clones.</summary>
    public static async Task<IReadOnlyList<PitrRecovery>> AllAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        if (server.IsPlanned)
        {
            return [];
        }

        IReadOnlyList<RecoveryRecord> records = await RecoveryRecord.ReadAsync(server, cancel).ConfigureAwait(false) is { } own ? [own] : [];
        records = [.. records, .. await RecoveryRecord.ClonesAsync(server, cancel).ConfigureAwait(false)];
        if (records.Count == 0)
        {
            return [];
        }

        var standby = await ServerDiscovery.RefreshAsync(server, feedback, cancel).ConfigureAwait(false);
        var found = new List<PitrRecovery>();
        foreach (var record in records)
        {
            found.Add(await ReadAsync(standby, record, feedback, cancel).ConfigureAwait(false));
        }

        return found;
    }

    /// <summary>Null when no recovery is under way on this standby, or there is no such clone of it.</summary>
    public static async Task<PitrRecovery?> FindAsync(PgServer server, string? clone, IFeedback feedback, CancellationToken cancel)
    {
        if (server.IsPlanned || await RecoveryRecord.ReadAsync(server, clone, cancel).ConfigureAwait(false) is not { } record)
        {
            return null;
        }

        return await ReadAsync(await ServerDiscovery.RefreshAsync(server, feedback, cancel).ConfigureAwait(false), record, feedback, cancel).ConfigureAwait(false);
    }

    private static async Task<PitrRecovery> ReadAsync(PgServer standby, RecoveryRecord record, IFeedback feedback, CancellationToken cancel)
    {
        switch (record.Way)
        {
            case RecoveryWay.Scratch:
                return Of(standby, record, await ScratchServer.Of(standby, record.Layer).LookAsync(0, cancel).ConfigureAwait(false));
            case RecoveryWay.Clone:
                var clone = CloneWay.ServerOf(standby, record);
                return Of(standby, record, await clone.CopyLookAsync(0, cancel).ConfigureAwait(false), await clone.LookAsync(0, cancel).ConfigureAwait(false));
            case RecoveryWay.Keep:
                return KeepWay.Recovery(standby, record, await KeepLook.ReadAsync(standby, feedback, cancel).ConfigureAwait(false));
            case RecoveryWay.Promote:
                return PromoteWay.Recovery(standby, record);
            default:
                throw RecoveryPlan.Unknown(record.Way);
        }
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

    internal static PitrRecovery Of(PgServer standby, RecoveryRecord record, ScratchLook look) =>
        Of(ScratchServer.Of(standby, record.Layer), record, StateOf(record, look));

    internal static PitrRecovery Of(PgServer standby, RecoveryRecord record, CopyLook copy, ScratchLook look) =>
        Of(CloneWay.ServerOf(standby, record), record, StateOf(record, copy, look));

    private static PitrRecovery Of(RecoveredServer server, RecoveryRecord record, RecoveryState state)
    {
        var standby = server.Standby;
        return new PitrRecovery
        {
            Standby = standby,
            Incident = record.Incident?.ToIncident(standby),
            Target = record.Target.ToTarget(),
            Way = record.Way,
            State = state,
            Scratch = state == RecoveryState.Ready ? server.AsServer(record.ScratchTimeline) : null,
            CloneId = record.CloneId,
            Connect = state == RecoveryState.Ready ? server.ConnectCommand : null,
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

    private static RecoveryState StateOf(RecoveryRecord record, CopyLook copy, ScratchLook look) =>
        copy.IsDoubtful ? RecoveryState.Lost
        : record.Invocation is null ? (copy.IsOfUse || !copy.IsBegun ? RecoveryState.Recovering : RecoveryState.Lost)
        : !copy.IsCopied ? RecoveryState.Lost
        : look.IsAnswering ? RecoveryState.Ready
        : RecoveryState.Stopped;

    /// <summary>What the record says of a scratch server holds only for the one run of its unit that it names.</summary>
    public static bool IsReady(RecoveryRecord record, ScratchLook look) =>
        look.IsAnswering && !look.StandbyRuns && record.Invocation is not null && record.Invocation == look.Invocation;
}
