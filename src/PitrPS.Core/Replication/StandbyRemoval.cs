using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>
/// Takes away all that New-PgStandby made on the primary and for the connection, so that no slot is left to fill the primary's disk.
/// The standby's data stay where they are: they may be the last copy of something.
/// </summary>
internal static class StandbyRemoval
{
    // All that New-PgStandby sets; what somebody else had set before it counts again.
    private static readonly Dictionary<string, string?> Given = new()
    {
        ["primary_conninfo"] = null, ["primary_slot_name"] = null, ["hot_standby"] = null, ["hot_standby_feedback"] = null, ["restore_command"] = null,
    };

    /// <exception cref="PitrException"><c>PitrPS.NotAStandby</c>, <c>PitrPS.WrongPrimary</c>, <c>PitrPS.StandbyFrozen</c></exception>
    public static async Task<Planned<PgServer>> BuildAsync(PgServer standby, PgServer primary, bool force, IFeedback feedback, CancellationToken cancel)
    {
        var isPlanned = standby.IsPlanned || primary.IsPlanned;
        if (!isPlanned)
        {
            await RefuseAsync(standby, primary, force, cancel).ConfigureAwait(false);
        }

        var names = StandbyNames.Of(standby);
        var plan = new Plan
        {
            Operation = "Remove-PgStandby",
            TakesBack = ["New-PgStandby"],
            Subject = standby.Id,
            Home = standby.Host,
            OtherHosts = [primary.Host],
            IsPlanned = isPlanned,
            WayBack = "New-PgStandby, with a new base backup",
            Announcements =
            [
                $"{standby.Id} is stopped and stays stopped. Its data directory {standby.DataDirectory} is left as it is.",
                .. standby.Primary?.Slot is { } slot && slot != names.Slot ? (string[])[$"The slot {slot} on {primary.Id} was there before PitrPS and stays; it keeps WAL until somebody drops it or the standby streams again."] : [],
            ],
            Steps =
            [
                ServerControl.StopStep(standby, "remove-stop"),
                BootStart.Off(standby, "remove-disable"),
                Query(primary, "remove-slot", $"Drop the replication slot {names.Slot}",
                    $"SELECT 1 FROM pg_replication_slots WHERE slot_name = {Sql.Literal(names.Slot)}",
                    $"SELECT pg_drop_replication_slot({Sql.Literal(names.Slot)})"),
                .. HbaFile.Steps(primary, "remove", names.Role, []),
                Query(primary, "remove-role", $"Drop the role {names.Role}",
                    $"SELECT 1 FROM pg_roles WHERE rolname = {Sql.Literal(names.Role)}",
                    $"DROP ROLE {Sql.Identifier(names.Role)}"),
                StandbyRegister.UnregisterStep(primary, standby),
                Steps.Absent(standby.Host, "remove-files", "Remove the password and the certificate", names.Passfile, names.Certificate),
                .. OwnedSettings.Steps(standby, "remove", Given, SettingsReach.Files),
                new Step("remove-state", "Note that it has no primary any more", standby.Host)
                {
                    IsDone = async run => (await ServerState.ReadAsync(run.Host, standby.Name, run.Cancel).ConfigureAwait(false)).Primary?.Slot is null,
                    Do = run => ServerState.UpdateAsync(run.Host, standby.Name, state => state with { Primary = state.Primary is { } link ? link with { Slot = null } : null }, run.Cancel),
                    Preview = [$"write {ServerState.PathOf(standby.Name)}"],
                },
            ],
        };
        return new Planned<PgServer>(plan, c => ServerDiscovery.RefreshAsync(standby, feedback, c),
            () => standby with { IsPlanned = true, IsRunning = false, Primary = null });
    }

    private static async Task RefuseAsync(PgServer standby, PgServer primary, bool force, CancellationToken cancel)
    {
        if (!standby.IsStandby)
        {
            throw new PitrException("PitrPS.NotAStandby", ErrorKind.InvalidArgument, $"{standby.Id} is no standby.", "Give the standby that is to be removed.", standby);
        }

        if (standby.SystemIdentifier != primary.SystemIdentifier)
        {
            throw new PitrException("PitrPS.WrongPrimary", ErrorKind.InvalidArgument, $"{standby.Id} is not a standby of {primary.Id}: their system identifiers differ.",
                "Give its own primary as -Primary.", standby);
        }

        var state = await ServerState.ReadAsync(standby.Host, standby.Name, cancel).ConfigureAwait(false);
        if (state.FrozenAt is { } since && !force)
        {
            throw new PitrException("PitrPS.StandbyFrozen", ErrorKind.InvalidOperation, $"{standby.Id} has been frozen since {since:u}: somebody is about to recover something from it.",
                "Let it go on with Resume-WalReplay when that is over, or remove it all the same with -Force.", standby);
        }
    }

    private static Step Query(PgServer primary, string id, string title, string present, string statement) => new(id, title, primary.Host)
    {
        IsDone = async run => (await RunAsync(primary, present, run).ConfigureAwait(false)).Count == 0,
        Do = run => RunAsync(primary, statement, run),
        Preview = [statement],
    };

    private static Task<IReadOnlyList<SqlRow>> RunAsync(PgServer primary, string statement, StepRun run) =>
        ServerSql.QueryAsync(primary, "postgres", statement, run.Feedback, run.Cancel);
}
