using System.Text.Json;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// What a Restore-PgTable that was stopped or lost has left on the standby, so that a completed recovery leaves no key and no sender behind.
/// The names are here, below the restore itself, because the completion needs them too.
/// </summary>
internal static class UnfinishedRestore
{
    public const string Operation = "Restore-PgTable";

    /// <summary>Where the restore's journal keeps what it is about; its id and primary are read here.</summary>
    public const string NoteKey = "task";

    public static string NameOf(string id) => "pitrps-restore-" + id;

    /// <summary>On the primary: what the forced command reads. On the disk, because what was counted must outlive a power cut.</summary>
    public static string PrimaryFolder(string id) => "/var/lib/" + NameOf(id);

    /// <summary>On the standby: the private key is in memory only.</summary>
    public static string StandbyFolder(string id) => $"{HostPaths.Run}/{NameOf(id)}";

    public static Step Step(PgServer standby, string? clone) => StepOf(standby, RecoveryRecord.SubjectOf(standby, clone));

    private static Step StepOf(PgServer standby, string subject) => new("restore", "End a restore that was not finished, and take its key away", standby.Host)
    {
        IsDone = async run => await Journal.FindAsync(standby.Host, Operation, subject, run.Cancel).ConfigureAwait(false) is null,
        Do = async run =>
        {
            var journal = await Journal.FindAsync(standby.Host, Operation, subject, run.Cancel).ConfigureAwait(false);
            if (journal?.Notes.GetValueOrDefault(NoteKey) is { } note)
            {
                using var task = JsonDocument.Parse(note);
                var id = task.RootElement.GetProperty("id").GetString()!;
                await new RemoteUnit(standby.Host, NameOf(id)).ForgetAsync(run.Cancel).ConfigureAwait(false);
                await run.RunAsync(Hosts.RemoteCommand.Of("rm", "-rf", "--one-file-system", "--", StandbyFolder(id), StandbyFolder(id) + ".new").AsRoot()).ConfigureAwait(false);
                run.Feedback.Warning($"A restore that {journal.Client} began on {journal.StartedAt:u} was not finished. Its key is gone, and nothing of it opens anything any more; "
                    + $"on {task.RootElement.GetProperty("primary").GetString()} it may have left {PrimaryFolder(id)}, which can be removed.");
            }

            await run.RunAsync(Hosts.RemoteCommand.Of("rm", "-f", "--", Journal.PathOf(Operation, subject)).AsRoot()).ConfigureAwait(false);
        },
        Preview = [$"rm {Journal.PathOf(Operation, subject)}, after its unit, key and scripts"],
    };
}
