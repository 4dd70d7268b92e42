using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What to complete.</summary>
/// <param name="Recovery">The recovery.</param>
/// <param name="Restored">The tables that came down the pipeline with it and are proven to be back.</param>
/// <param name="Force">Throw it away, whether all is back or not.</param>
internal sealed record CompletionOptions(PitrRecovery Recovery, IReadOnlyList<ProvenTable> Restored, bool Force);

/// <summary>Complete-PitrRecovery: nothing of the recovery is left, and the standby goes on with the delay that it had.</summary>
internal static class CompletionPlan
{
    private const string Operation = "Complete-PitrRecovery";

    /// <exception cref="PitrException"><c>PitrPS.RestoreIncomplete</c> while a table of the incident is not proven to be back on the primary.</exception>
    public static async Task<Planned<PgServer>> BuildAsync(CompletionOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var standby = options.Recovery.Standby;
        if (options.Recovery.CloneId is { } clone)
        {
            return await OfCloneAsync(options, clone, feedback, cancel).ConfigureAwait(false);
        }

        if (options.Recovery.IsPlanned)
        {
            return Of(standby with { IsPlanned = true }, options.Recovery.Way, Steps(standby with { IsPlanned = true }, options.Recovery.Way, new ServerState(), null, options.Recovery), feedback);
        }

        var record = await RecoveryRecord.ReadAsync(standby, cancel).ConfigureAwait(false);
        if (record is null || record.StartedAt != options.Recovery.StartedAt)
        {
            // Completed before, by us or by somebody else; what the standby does now is none of this recovery's business.
            feedback.Verbose($"{standby.Id}: the recovery that was begun on {options.Recovery.StartedAt:u} is not there any more.");
            return Of(standby, options.Recovery.Way, [], feedback);
        }

        if (record.Way == RecoveryWay.Promote)
        {
            throw new PitrException("PitrPS.PromotionUnfinished", ErrorKind.InvalidOperation, $"{standby.Id} is being promoted, since {record.StartedAt:u}, by {record.StartedBy}: there is nothing to complete.",
                $"Run Invoke-PitrRecovery -Way Promote -ArchivePath {record.ArchivePath} again for the same target: it goes on.", standby);
        }

        if (!options.Force)
        {
            RequireRestored(standby, record, options);
        }

        // Of what the standby is, only whether it runs can have changed: somebody may have started it.
        standby = standby with { IsRunning = await ServerControl.IsRunningAsync(standby, cancel).ConfigureAwait(false) };
        var state = await ServerState.ReadAsync(standby.Host, standby.Name, cancel).ConfigureAwait(false);
        // Tables that would be brought back (-WhatIf) let the plan be shown, and never be carried out.
        return Of(standby with { IsPlanned = options.Restored.Any(r => r.IsPlanned) }, record.Way, Steps(standby, record.Way, state, record, options.Recovery), feedback);
    }

    private static async Task<Planned<PgServer>> OfCloneAsync(CompletionOptions options, string clone, IFeedback feedback, CancellationToken cancel)
    {
        if (options.Recovery.IsPlanned || options.Restored.Any(r => r.IsPlanned))
        {
            return CloneRemoval.OnPaper(Operation, options.Recovery, feedback);
        }

        var record = await RecoveryRecord.ReadAsync(options.Recovery.Standby, clone, cancel).ConfigureAwait(false);
        if (!options.Force && record is not null && record.StartedAt == options.Recovery.StartedAt)
        {
            RequireRestored(options.Recovery.Standby, record, options);
        }

        return await CloneRemoval.BuildAsync(Operation, options.Recovery, record, feedback, cancel).ConfigureAwait(false);
    }

    private static Planned<PgServer> Of(PgServer standby, RecoveryWay way, IReadOnlyList<Step> steps, IFeedback feedback) => new(
        new Plan
        {
            Operation = Operation,
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = standby.IsPlanned,
            TakesBack = [RecoveryPlan.Operation, MovePlan.Operation],
            Steps = steps,
            Announcements = steps.Count == 0 ? [] : [Announcement(way)],
        },
        c => ServerDiscovery.RefreshAsync(standby, feedback, c),
        () => standby with { IsFrozen = false, IsRunning = true, Role = ServerRole.Standby, IsPlanned = true });

    private static string Announcement(RecoveryWay way) => way switch
    {
        RecoveryWay.Scratch => "The scratch server is thrown away with all that it recovered; the standby goes on and applies what it held back when its delay is over.",
        RecoveryWay.Keep => "The standby is restarted, which ends the sessions on it, and goes on from the target; it applies what comes after when its delay is over.",
        _ => throw RecoveryPlan.Unknown(way),
    };

    private static IReadOnlyList<Step> Steps(PgServer standby, RecoveryWay way, ServerState state, RecoveryRecord? record, PitrRecovery recovery) =>
    [
        UnfinishedRestore.Step(standby, null),
        .. way switch
        {
            RecoveryWay.Scratch => ScratchWay.GiveBack(standby, state, record),
            RecoveryWay.Keep => KeepWay.GiveBack(standby, state, record ?? KeepWay.RecordOnPaper(standby, recovery.Target, recovery.Incident)),
            _ => throw RecoveryPlan.Unknown(way),
        },
        new Step("forget", "Forget the recovery", standby.Host)
        {
            IsDone = async run => await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false) is null,
            Do = run => RecoveryRecord.RemoveAsync(standby, null, run.Cancel),
            AfterJournal = true,
            Preview = [$"rm {RecoveryRecord.PathOf(standby.Name)}"],
        },
    ];

    private static void RequireRestored(PgServer standby, RecoveryRecord record, CompletionOptions options)
    {
        bool IsBack(IncidentTable table) => record.Restored.Any(r => r.Is(table))
            || options.Restored.Any(r => r.Table.Database == table.Database && r.Table.Oid == table.Oid);

        string[] missing = [.. (record.Incident?.Tables ?? []).Where(t => !IsBack(t)).Select(t => $"{t} (database {t.Database})")];
        if (missing.Length > 0)
        {
            throw new PitrException("PitrPS.RestoreIncomplete", ErrorKind.InvalidOperation,
                $"Not all that the incident destroyed is proven to be back on the primary: {string.Join(", ", missing)}. Once the recovery is completed, it cannot be read there any more.",
                "Bring it back first (Get-PitrRecovery | Restore-PgTable -To <primary>), then run the same command again; or, if it is not wanted, complete with -Force.", standby);
        }
    }
}
