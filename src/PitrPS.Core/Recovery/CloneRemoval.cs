using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Remove-PitrClone, and Complete-PitrRecovery of a recovery by a clone: nothing is left of the clone. The standby is not touched.</summary>
internal static class CloneRemoval
{
    private const string Operation = "Remove-PitrClone";

    /// <exception cref="PitrException"><c>PitrPS.NotAClone</c>, <c>PitrPS.OperationInProgress</c></exception>
    public static async Task<Planned<PgServer>> BuildAsync(PitrRecovery recovery, IFeedback feedback, CancellationToken cancel)
    {
        if (recovery.CloneId is null)
        {
            throw new PitrException("PitrPS.NotAClone", ErrorKind.InvalidArgument, $"The recovery of {recovery.Standby.Id} to {recovery.Target} is no clone: its way is {recovery.Way}.",
                "End it with Complete-PitrRecovery (-Force, if nothing is to be brought back). The clones alone: Get-PitrRecovery | Where-Object Way -eq Clone | Remove-PitrClone.", recovery);
        }

        if (recovery.IsPlanned)
        {
            return OnPaper(Operation, recovery, feedback);
        }

        var record = await RecoveryRecord.ReadAsync(recovery.Standby, recovery.CloneId, cancel).ConfigureAwait(false);
        return await BuildAsync(Operation, recovery, record, feedback, cancel).ConfigureAwait(false);
    }

    /// <param name="operation">The cmdlet.</param>
    /// <param name="recovery">What was given.</param>
    /// <param name="record">What the host says of it; another one, or none, when it has been removed before.</param>
    /// <param name="feedback">Where to say what is found.</param>
    /// <param name="cancel">Cancels.</param>
    public static async Task<Planned<PgServer>> BuildAsync(string operation, PitrRecovery recovery, RecoveryRecord? record, IFeedback feedback, CancellationToken cancel)
    {
        var standby = await ServerDiscovery.RefreshAsync(recovery.Standby, feedback, cancel).ConfigureAwait(false);
        if (record is null || record.StartedAt != recovery.StartedAt)
        {
            feedback.Verbose($"{standby.Id}: the clone {recovery.CloneId} that was begun on {recovery.StartedAt:u} is not there any more.");
            return Of(operation, recovery, standby, [], [], feedback);
        }

        if (record.Invocation is null)
        {
            await RequireNobodyAtItAsync(standby, record, cancel).ConfigureAwait(false);
        }

        var clone = CloneWay.ServerOf(standby, record);
        string[] announcements =
        [
            $"The clone {clone.Name} is removed with all that is in it.",
            .. (record.Incident?.Tables ?? []).Where(t => !record.Restored.Any(r => r.Is(t))) is var missing && missing.Any()
                ? (string[])[$"Not proven to be back on the primary: {string.Join(", ", missing)}."] : [],
        ];
        return Of(operation, recovery, standby, Steps(standby, clone), announcements, feedback);
    }

    public static Planned<PgServer> OnPaper(string operation, PitrRecovery recovery, IFeedback feedback)
    {
        var standby = recovery.Standby with { IsPlanned = true };
        var folder = CloneServer.FolderOnPaper(standby, recovery.CloneId!);
        return Of(operation, recovery, standby, Steps(standby, CloneServer.Of(standby, recovery.CloneId!, folder, recovery.Scratch?.Port ?? 0)), [], feedback);
    }

    private static Planned<PgServer> Of(string operation, PitrRecovery recovery, PgServer standby, IReadOnlyList<Step> steps, IReadOnlyList<string> announcements, IFeedback feedback) => new(
        new Plan
        {
            Operation = operation,
            Subject = RecoveryRecord.SubjectOf(standby, recovery.CloneId),
            Home = standby.Host,
            IsPlanned = standby.IsPlanned,
            TakesBack = [RecoveryPlan.Operation],
            Steps = steps,
            Announcements = announcements,
        },
        c => ServerDiscovery.RefreshAsync(standby, feedback, c),
        () => standby with { IsPlanned = true });

    private static IReadOnlyList<Step> Steps(PgServer standby, CloneServer clone) =>
    [
        UnfinishedRestore.Step(standby, clone.Id),
        new Step("discard", "Stop the clone, and remove its unit and its files", standby.Host)
        {
            IsDone = run => clone.IsGoneAsync(run.Cancel),
            Do = run => clone.DiscardAsync(run.Cancel),
            Preview = [$"systemctl stop {clone.CopyUnit} {clone.Unit}", $"rm {clone.UnitFile}", $"rm -r {clone.Folder}"],
        },
        new Step("forget", "Forget the clone", standby.Host)
        {
            IsDone = async run => await RecoveryRecord.ReadAsync(standby, clone.Id, run.Cancel).ConfigureAwait(false) is null,
            Do = run => RecoveryRecord.RemoveAsync(standby, clone.Id, run.Cancel),
            AfterJournal = true,
            Preview = [$"rm {RecoveryRecord.PathOf(standby.Name, clone.Id)}"],
        },
    ];

    // While it is being made, its client holds the lock of the standby, not that of the clone.
    private static async Task RequireNobodyAtItAsync(PgServer standby, RecoveryRecord record, CancellationToken cancel)
    {
        var held = await OperationLock.HeldAsync(standby.Host, cancel).ConfigureAwait(false);
        if (held.GetValueOrDefault(HostPaths.FileName(standby.Id)) is { } who && who.EndsWith(" " + RecoveryPlan.Operation, StringComparison.Ordinal))
        {
            throw new PitrException("PitrPS.OperationInProgress", ErrorKind.ResourceBusy, $"Another PitrPS is at work on {standby.Id}: {who}; the clone {record.CloneId} is not finished.",
                "Wait until it has ended, or stop that client (Ctrl+C, or end its process). Then run the same command again.", standby);
        }
    }
}
