using System.Globalization;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>What to bring back.</summary>
/// <param name="Recovery">Where from.</param>
/// <param name="To">The primary.</param>
/// <param name="Tables">Names; none for all tables of the incident.</param>
/// <param name="Database">Null for the incident's.</param>
/// <param name="PrimaryAddress">The primary as the standby sees it; null for what the standby knows.</param>
/// <param name="PrimarySshPort">The same for its SSH port.</param>
internal sealed record RestoreOptions(PitrRecovery Recovery, PgServer To, IReadOnlyList<string> Tables, string? Database, string? PrimaryAddress, int? PrimarySshPort);

/// <summary>
/// Restore-PgTable: the standby sends the lost tables' rows to the primary, which makes the tables, takes the rows, counts them, and lets them be seen
/// in one transaction. Nothing on the primary is changed unless all rows are there.
/// </summary>
internal static partial class RestorePlan
{
    private const string Operation = UnfinishedRestore.Operation;
    private const string OutcomeNote = "outcome";

    public static async Task<Planned<IReadOnlyList<RestoredTable>>> BuildAsync(RestoreOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var (recovery, to) = (options.Recovery, options.To);
        if (recovery.IsPlanned || to.IsPlanned)
        {
            return OnlyPlanned(options);
        }

        var journal = await Journal.FindAsync(recovery.Standby.Host, Operation, recovery.Subject, cancel).ConfigureAwait(false);
        var earlier = journal?.Notes.GetValueOrDefault(UnfinishedRestore.NoteKey) is { } text ? RestoreTask.Parse(text) : null;
        if (earlier is not null && await IsToBeFinishedAsync(earlier, journal!, recovery.Standby, to, feedback, cancel).ConfigureAwait(false))
        {
            return await FinishAsync(earlier, options, journal!, feedback, cancel).ConfigureAwait(false);
        }

        if (recovery is not { State: RecoveryState.Ready, Scratch: { } scratch })
        {
            throw new PitrException("PitrPS.RecoveryNotReady", ErrorKind.InvalidOperation,
                $"The recovered server of {recovery.Standby.Id} cannot be read: the recovery is {recovery.State switch { RecoveryState.Recovering => "still under way", RecoveryState.Stopped => "there, but the clone does not run", _ => "lost (a reboot, or the standby was started)" }}.",
                "Run Invoke-PitrRecovery again as it was run before: it goes on, or makes the recovered server anew. Then run this command with what it emits.", recovery);
        }

        var database = RestoreSurvey.Database(recovery, options.Database);
        await RestoreSurvey.RequirePrimaryAsync(recovery, to, database, feedback, cancel).ConfigureAwait(false);
        await using var from = await ServerSql.OpenAsync(scratch, database, feedback, cancel).ConfigureAwait(false);
        await using var into = await ServerSql.OpenAsync(to, database, feedback, cancel).ConfigureAwait(false);
        var asked = await RestoreSurvey.TablesAsync(from, recovery, options.Tables, cancel).ConfigureAwait(false);
        var back = await AlreadyBackAsync(asked, recovery, to, into, cancel).ConfigureAwait(false);
        var wanted = asked.Where(t => !back.Any(b => b.Table.Oid == t.Oid)).ToList();
        if (wanted.Count == 0)
        {
            return Of(options, journal, earlier is null ? [] : Leftovers(earlier, recovery.Standby, to, await RestoreSurvey.AccountAsync(to, cancel).ConfigureAwait(false)), [], _ => Task.FromResult<IReadOnlyList<RestoredTable>>(back), () => back);
        }

        var link = recovery.Standby.Primary;
        var routing = PrimaryRoute.TryAsync(recovery.Standby.Host, to.Host, options.PrimaryAddress ?? link?.Address ?? to.Host.Address, options.PrimarySshPort ?? link?.SshPort ?? to.Host.Port, to.OsUser, cancel);
        var choosing = ChooseAsync(from, into, wanted, scratch, to, cancel);
        await Task.WhenAll(choosing, routing).ConfigureAwait(false);
        var (source, present, chosen) = await choosing.ConfigureAwait(false);
        var route = await routing.ConfigureAwait(false);
        var fitting = RestoreSurvey.RequireFitAsync(from, into, source, chosen, scratch, to, cancel);
        var hosting = RestoreSurvey.RequireHostsAsync(scratch, to, source.TotalBytes, cancel);
        var dumping = DumpAsync(scratch, database, chosen, cancel);
        await Task.WhenAll(fitting, hosting, dumping).ConfigureAwait(false);
        var (missingTablespaces, notes) = await fitting.ConfigureAwait(false);
        var account = await hosting.ConfigureAwait(false);
        var entries = await dumping.ConfigureAwait(false);
        var id = RandomNumberGenerator.GetHexString(12, lowercase: true);
        var script = RestoreScript.Compose(source, chosen, entries, present, missingTablespaces, UnfinishedRestore.PrimaryFolder(id) + "/outcome");
        var task = new RestoreTask
        {
            Id = id,
            Primary = to.Id,
            Database = database,
            Tables = [.. source.Tables.Select(t => new RestoredName(t.Schema, t.Name, t.Oid, [.. source.Leaves[t.Oid].Select(leaf => source.Carried.First(c => c.Oid == leaf).Number)], wanted.Any(w => w.Oid == t.Oid)))],
            Parts = script.Parts.ToDictionary(p => p.Number, p => p.Title),
            Notes = [.. chosen.Notes, .. notes],
            Began = DateTimeOffset.UtcNow,
        };
        return Anew(task, script, source, account, route, options with { Recovery = recovery }, scratch, journal, earlier, back);
    }

    private static async Task<(RescueSource Source, PresentObjects Present, RescueSelection Chosen)> ChooseAsync(
        ISqlSession from, ISqlSession into, IReadOnlyList<IncidentTable> wanted, PgServer scratch, PgServer to, CancellationToken cancel)
    {
        var source = await RescueSource.ReadAsync(from, scratch.Version, wanted, cancel).ConfigureAwait(false);
        var present = await LostObjects.PresentAsync(into, source.Objects, cancel).ConfigureAwait(false);
        return (source, present, RescueSelection.Choose(source, present, to));
    }

    private static Planned<IReadOnlyList<RestoredTable>> Anew(
        RestoreTask task, RestoreScript script, RescueSource source, PrimaryAccount account, PrimaryRoute route, RestoreOptions options, PgServer scratch, Journal? journal, RestoreTask? earlier, IReadOnlyList<RestoredTable> back)
    {
        var (standby, to) = (options.Recovery.Standby, options.To);
        var transfer = new RestoreTransfer(task, standby, to);
        var results = new List<RestoredTable>();
        IReadOnlyList<Step> steps =
        [
            .. earlier is null ? (IEnumerable<Step>)[] : Leftovers(earlier, standby, to, account),
            transfer.DefinitionStep(script, account),
            transfer.KeyStep(script, route),
            transfer.AuthorizeStep(account, route),
            CarryStep(task, transfer, account, standby, to, source.Carried.Sum(t => t.Bytes), transfer.Send(scratch, route)),
            ProveStep(task, options, scratch, results),
            transfer.ClearPrimaryStep(HasOutcome, account),
            transfer.ClearStandbyStep(HasOutcome),
        ];
        string[] announcements =
        [
            $"{string.Join(", ", source.Tables)} of database {task.Database}: {source.TotalBytes >> 20} MiB with indexes, from {standby.Host.Name} to {route.Address} port {route.Port} over SSH; the primary writes about as much WAL.",
            .. task.Notes,
        ];
        return Of(options, journal, steps, announcements, _ => Task.FromResult<IReadOnlyList<RestoredTable>>([.. back, .. results]), () => [.. back, .. task.Tables.Select(t => Would(t.In(task.Database, options.Recovery), options))]);
    }

    /// <summary>An earlier client began it; its unit is at work or has ended, or the transaction has been committed: nothing is begun anew.</summary>
    private static async Task<Planned<IReadOnlyList<RestoredTable>>> FinishAsync(RestoreTask task, RestoreOptions options, Journal journal, IFeedback feedback, CancellationToken cancel)
    {
        var (standby, to) = (options.Recovery.Standby, options.To);
        if (task.Primary != to.Id || (options.Database is { } database && database != task.Database)
            || options.Tables.Any(n => !task.Tables.Any(t => n == t.Name || n == $"{t.Schema}.{t.Name}" || n == Sql.Qualified(t.Schema, t.Name))))
        {
            throw new PitrException("PitrPS.UnfinishedOperation", ErrorKind.ResourceBusy,
                $"{Operation} on {standby.Id} was begun on {journal.StartedAt:u} by {journal.Client} for {string.Join(", ", task.Tables.Where(t => t.Asked).Select(t => $"{t.Schema}.{t.Name}"))} to {task.Primary}, and is not finished.",
                "Run it again for these tables first: it goes on where it is.", standby);
        }

        feedback.Verbose($"{standby.Host.Name}: goes on with the restore that {journal.Client} began on {journal.StartedAt:u}.");
        var account = await RestoreSurvey.AccountAsync(to, cancel).ConfigureAwait(false);
        var transfer = new RestoreTransfer(task, standby, to);
        var results = new List<RestoredTable>();
        IReadOnlyList<Step> steps =
        [
            CarryStep(task, transfer, account, standby, to, null, null),
            ProveStep(task, options, options.Recovery.Scratch, results),
            transfer.ClearPrimaryStep(HasOutcome, account),
            transfer.ClearStandbyStep(HasOutcome),
        ];
        return Of(options, journal, steps, [$"Finishes the restore of {string.Join(", ", task.Tables.Select(t => $"{t.Schema}.{t.Name}"))} that {journal.Client} began on {journal.StartedAt:u}."],
            _ => Task.FromResult<IReadOnlyList<RestoredTable>>(results), () => [.. task.Tables.Select(t => Would(t.In(task.Database, options.Recovery), options))]);
    }

    private static async Task<bool> IsToBeFinishedAsync(RestoreTask task, Journal journal, PgServer standby, PgServer to, IFeedback feedback, CancellationToken cancel)
    {
        if (journal.Notes.ContainsKey(OutcomeNote))
        {
            return true;
        }

        var transfer = new RestoreTransfer(task, standby, to);
        var state = await transfer.Unit.StateAsync(cancel).ConfigureAwait(false);
        for (var tries = 0; state.IsRunning && (journal.State == OperationState.Stopped || state.ActiveState == "deactivating") && tries < 50; tries++)
        {
            // It was told to stop (Ctrl+C) and is at it.
            await Task.Delay(TimeSpan.FromMilliseconds(200), cancel).ConfigureAwait(false);
            state = await transfer.Unit.StateAsync(cancel).ConfigureAwait(false);
        }

        return state.IsRunning || await transfer.IsCommittedAsync(await transfer.OutcomeAsync(cancel).ConfigureAwait(false), feedback, cancel).ConfigureAwait(false) == true;
    }

    /// <summary>Takes away what an attempt left that came to nothing.</summary>
    private static IEnumerable<Step> Leftovers(RestoreTask earlier, PgServer standby, PgServer to, PrimaryAccount account)
    {
        var transfer = new RestoreTransfer(earlier, standby, to);
        yield return transfer.ClearStandbyStep(_ => true, "clear-earlier-standby", "Take away what an earlier attempt left on the standby");
        yield return transfer.ClearPrimaryStep(_ => true, account, isAbandoned: true);
    }

    private static bool HasOutcome(StepRun run) => run.Recall(OutcomeNote) is not null;

    private static Step CarryStep(RestoreTask task, RestoreTransfer transfer, PrimaryAccount account, PgServer standby, PgServer to, long? bytes, RemoteCommand? send) =>
        new("carry", "Send the rows; the primary makes, fills, indexes and counts the tables in one transaction", standby.Host)
        {
            NoWayBack = true,
            IsDone = run => Task.FromResult(HasOutcome(run)),
            Do = async run =>
            {
                var unit = transfer.Unit;
                if ((await unit.StateAsync(run.Cancel).ConfigureAwait(false)).IsAbsent && send is not null)
                {
                    await unit.StartAsync(send, ["TimeoutStopSec=3", "Description=PitrPS sends recovered tables to the primary"], run.Cancel).ConfigureAwait(false);
                }

                var rate = new TransferRate();
                var state = await unit.WaitAsync(async _ => Tell(run, bytes, rate, await unit.OutputAsync(run.Cancel).ConfigureAwait(false)), run.Cancel).ConfigureAwait(false);
                var outcome = await transfer.OutcomeAsync(run.Cancel).ConfigureAwait(false);
                var committed = await transfer.IsCommittedAsync(outcome, run.Feedback, run.Cancel).ConfigureAwait(false);
                if (committed is null)
                {
                    // The sender has gone, so nobody can say "go" any more: unless it has been said, the session only waits.
                    await transfer.EndSessionAsync(run.Feedback, run.Cancel).ConfigureAwait(false);
                    committed = await transfer.IsCommittedAsync(outcome, run.Feedback, run.Cancel).ConfigureAwait(false);
                }

                if (committed != true)
                {
                    throw Failed(task, to, state, await unit.OutputAsync(run.Cancel).ConfigureAwait(false) ?? "");
                }

                await run.RememberAsync(OutcomeNote, outcome).ConfigureAwait(false);
            },
            Undo = run => transfer.ClearAsync(account, run.Feedback, run.Cancel),
            Preview = send is null ? [] : [$"systemd-run --unit={task.Name} {send.Display}", "on the primary, by the key's forced command: psql -1 with the definitions and the rows"],
        };

    private static void Tell(StepRun run, long? bytes, TransferRate rate, string? output)
    {
        var lines = (output ?? "").Split('\n');
        var stage = lines.LastOrDefault(l => l.StartsWith("pitrps stage ", StringComparison.Ordinal))?["pitrps stage ".Length..];
        if (lines.LastOrDefault(l => l.StartsWith("pitrps bytes ", StringComparison.Ordinal)) is { } at && long.TryParse(at["pitrps bytes ".Length..], CultureInfo.InvariantCulture, out var done))
        {
            rate.Note(done);
            var left = stage == "copying" && bytes is { } total ? rate.TimeLeft(total) : null;
            run.Progress(stage == "copying"
                ? string.Create(CultureInfo.InvariantCulture, $"{done >> 20} MiB of rows, {rate.BytesPerSecond / (1 << 20):0} MiB/s")
                : $"{done >> 20} MiB of rows are there, {stage}", Math.Min(done, bytes ?? done), bytes, timeLeft: left);
        }
        else
        {
            run.Progress(stage ?? "connecting", 0, bytes);
        }
    }

    private static PitrException Failed(RestoreTask task, PgServer to, UnitState state, string output)
    {
        var lines = output.Split('\n').Where(l => l.Trim().Length > 0 && !l.StartsWith("pitrps ", StringComparison.Ordinal)).ToList();
        // PostgreSQL's own words come first; what follows from them, and the definition they are about, is long.
        var first = lines.FindIndex(l => l.Contains("ERROR:", StringComparison.Ordinal) || l.Contains("FATAL:", StringComparison.Ordinal));
        var said = TableByNumber().Replace(string.Join(" ", first < 0 ? lines.TakeLast(6) : lines.Skip(first).Take(4)), found =>
            task.Tables.Where(t => t.Numbers.Contains(int.Parse(found.Groups[1].Value, CultureInfo.InvariantCulture))).MinBy(t => t.Numbers.Count) is { } table ? $"table {table.Schema}.{table.Name}" : found.Value);
        const string untouched = "The transaction was rolled back: nothing was changed on the primary.";
        return said switch
        {
            _ when said.Contains("checksums differ", StringComparison.Ordinal) => new PitrException("PitrPS.ProofFailed", ErrorKind.InvalidData,
                $"What arrived on {to.Id} is not what the recovered server has. {untouched} {said}", "Run the same command again; if it happens again, look for hardware faults and for processes that write to the recovered server.", to),
            _ when said.Contains("No space left", StringComparison.Ordinal) || said.Contains("could not extend file", StringComparison.Ordinal) => new PitrException("PitrPS.DiskFull", ErrorKind.ResourceUnavailable,
                $"The disk of {to.Id} is full. {untouched} {said}", "Make room on the primary, then run the same command again.", to),
            _ => new PitrException("PitrPS.RestoreFailed", ErrorKind.InvalidResult,
                $"The tables could not be brought to {to.Id} ({(state.IsAbsent ? "the sender was stopped" : $"the sender ended with {state.ExitStatus}")}). {untouched} {said}",
                "Mend what it says, then run the same command again.", to),
        };
    }

    // A name could not be written into the transaction's own statement safely.
    [GeneratedRegex(@"table (\d{1,9}) of the restore")]
    private static partial Regex TableByNumber();

    /// <summary>Compares the catalogs, makes what is emitted, and records it for Complete-PitrRecovery.</summary>
    private static Step ProveStep(RestoreTask task, RestoreOptions options, PgServer? scratch, List<RestoredTable> results) =>
        new("prove", "Compare the catalogs of both servers, and record that the tables are back", options.Recovery.Standby.Host)
        {
            IsDone = _ => Task.FromResult(results.Count > 0),
            Do = async run =>
            {
                var outcome = RestoreOutcome.Parse(run.Recall(OutcomeNote));
                var tables = task.Tables.Select(t => t.In(task.Database, options.Recovery)).ToList();
                var notes = await NotesAsync(task, outcome, tables, options.To, scratch, run.Feedback, run.Cancel).ConfigureAwait(false);
                var proven = new List<RestoredTable>();
                foreach (var (name, table) in task.Tables.Zip(tables))
                {
                    var sum = name.Numbers.Select(n => outcome.Tables[n]).Aggregate((Sent: default(RowProof), Found: default(RowProof)), (a, b) => (a.Sent + b.Sent, a.Found + b.Found));
                    var restored = new RestoredTable
                    {
                        Recovery = options.Recovery,
                        Table = table,
                        To = options.To,
                        RowsRecovered = sum.Sent.Rows,
                        RowsRestored = sum.Found.Rows,
                        ChecksumRecovered = sum.Sent.Checksum,
                        ChecksumRestored = sum.Found.Checksum,
                        Notes = notes[table.ToString()],
                        Elapsed = DateTimeOffset.UtcNow - task.Began,
                    };
                    proven.Add(restored);
                }

                await RecoveryRecord.MarkRestoredAsync(options.Recovery.Standby, options.Recovery.CloneId, [.. proven.Select(r => r.Proof).OfType<ProvenTable>()], run.Cancel).ConfigureAwait(false);
                results.AddRange(proven);
            },
            Preview = ["read the catalogs of both servers", $"write {RecoveryRecord.PathOf(options.Recovery.Standby.Name, options.Recovery.CloneId)}"],
        };

    private static async Task<Dictionary<string, IReadOnlyList<string>>> NotesAsync(
        RestoreTask task, RestoreOutcome outcome, IReadOnlyList<IncidentTable> tables, PgServer to, PgServer? scratch, IFeedback feedback, CancellationToken cancel)
    {
        var failures = outcome.Failures(task).ToList();
        string[] said = [.. task.Notes, .. failures];

        // A note goes to the tables that it names, and to the first one when it names none.
        string[] General(IncidentTable table) => [.. said.Where(n => n.Contains(table.Name, StringComparison.Ordinal) || (table == tables[0] && !tables.Any(t => n.Contains(t.Name, StringComparison.Ordinal))))];
        if (scratch is null)
        {
            return tables.ToDictionary(t => t.ToString(), t => (IReadOnlyList<string>)[.. General(t), "the recovered server is gone, so the catalogs were not compared"]);
        }

        await using var from = await ServerSql.OpenAsync(scratch, task.Database, feedback, cancel).ConfigureAwait(false);
        await using var into = await ServerSql.OpenAsync(to, task.Database, feedback, cancel).ConfigureAwait(false);
        var was = await TableCatalog.ReadAsync(from, scratch.Version, tables, cancel).ConfigureAwait(false);
        var differences = TableCatalog.Compare(was, await TableCatalog.ReadAsync(into, to.Version, tables, cancel).ConfigureAwait(false));
        return tables.ToDictionary(t => t.ToString(), t => (IReadOnlyList<string>)
        [
            TableCatalog.Summary(was, differences, t.ToString()),
            .. General(t),
            // What a failure has said already is not said again.
            .. differences.Where(d => d.Was.Table == t.ToString() && !(d.Was.Name.Length > 0 && said.Any(g => g.Contains(d.Was.Name.Split(' ')[0], StringComparison.Ordinal)))).Select(d => d.ToString()),
        ]);
    }

    /// <summary>The tables that the record says are back, and that the primary still has.</summary>
    private static async Task<IReadOnlyList<RestoredTable>> AlreadyBackAsync(IReadOnlyList<IncidentTable> asked, PitrRecovery recovery, PgServer to, ISqlSession primary, CancellationToken cancel)
    {
        var record = await RecoveryRecord.ReadAsync(recovery.Standby, recovery.CloneId, cancel).ConfigureAwait(false);
        var marks = record?.Restored.Where(r => r.To == to.Id && asked.Any(r.Is)).ToList() ?? [];
        if (marks.Count == 0)
        {
            return [];
        }

        var names = string.Join(", ", marks.Select(m => Sql.Literal(Sql.Qualified(m.Schema, m.Name))));
        var there = (await primary.QueryAsync($"SELECT n, to_regclass(n) IS NOT NULL FROM unnest(ARRAY[{names}]::text[]) n", cancel).ConfigureAwait(false)).Where(r => r.Flag(1)).Select(r => r.Text(0)).ToHashSet(StringComparer.Ordinal);
        return [.. marks.Where(m => there.Contains(Sql.Qualified(m.Schema, m.Name))).Select(m => new RestoredTable
        {
            Recovery = recovery,
            Table = asked.First(m.Is),
            To = to,
            RowsRecovered = m.Rows,
            RowsRestored = m.Rows,
            ChecksumRecovered = m.Checksum,
            ChecksumRestored = m.Checksum,
            Notes = [.. m.Notes ?? [], $"it has been back since {m.At:u}"],
        })];
    }

    private static async Task<IReadOnlyList<DumpEntry>> DumpAsync(PgServer scratch, string database, RescueSelection chosen, CancellationToken cancel)
    {
        var command = DumpArguments.Command(scratch, database, chosen.DumpOnly);
        var dump = await scratch.Host.Remote.RunAsync(command, cancel).ConfigureAwait(false);
        return dump.Succeeded ? DumpText.Parse(dump.Output) : throw new PitrException("PitrPS.DumpFailed", ErrorKind.InvalidResult,
            $"pg_dump cannot read the definitions from the recovered server: {string.Join(" ", dump.ErrorOutput.Split('\n').Where(l => l.Contains("error", StringComparison.OrdinalIgnoreCase)).TakeLast(3))}",
            "Nothing was changed. Mend what it says, then run the same command again.", scratch);
    }

    private static Planned<IReadOnlyList<RestoredTable>> Of(
        RestoreOptions options, Journal? journal, IEnumerable<Step> steps, IReadOnlyList<string> announcements, Func<CancellationToken, Task<IReadOnlyList<RestoredTable>>> result, Func<IReadOnlyList<RestoredTable>> wouldBe) => new(
        new Plan
        {
            Operation = Operation,
            Subject = options.Recovery.Subject,
            Home = options.Recovery.Standby.Host,
            OtherHosts = [options.To.Host],
            Steps = [.. steps],
            Announcements = announcements,
            // What an unfinished journal is about was looked at here, more closely than by its parameters.
            Parameters = journal?.Parameters ?? new Dictionary<string, string> { ["To"] = options.To.Id, ["Table"] = options.Tables.Count == 0 ? "(all of the incident)" : string.Join(", ", options.Tables) },
            UndoOnFailure = true,
            WayBack = "Complete-PitrRecovery",
            IsPlanned = options.Recovery.IsPlanned || options.To.IsPlanned,
        },
        result, wouldBe);

    /// <summary>The plan for a recovery or primary that is itself only planned.</summary>
    private static Planned<IReadOnlyList<RestoredTable>> OnlyPlanned(RestoreOptions options)
    {
        var (standby, to) = (options.Recovery.Standby, options.To);
        Step Would(string id, string title, PgHost host) => new(id, title, host) { IsDone = _ => Task.FromResult(false), Do = _ => throw new InvalidOperationException("A planned step is not carried out.") };
        var tables = options.Recovery.Incident?.Tables.Where(t => options.Tables.Count == 0 || options.Tables.Any(n => n == t.Name || n == t.ToString())).ToList() ?? [];
        return Of(options, null,
        [
            Would("definition", "Put the definitions and the script that receives the rows on the primary", to.Host),
            Would("key", "Make a key for this one restore on the standby, and put the script that sends the rows there", standby.Host),
            Would("authorize", $"Let that key run the receiving script as {to.OsUser}, once and within 15 minutes, and nothing else", to.Host),
            Would("carry", $"Send the rows of {(tables.Count == 0 ? "the tables" : string.Join(", ", tables))}; the primary makes, fills, indexes and counts the tables in one transaction", standby.Host),
            Would("prove", "Compare the catalogs of both servers, and record that the tables are back", standby.Host),
            Would("clear-primary", "Take the key's line and the scripts away from the primary", to.Host),
            Would("clear-standby", "Take the key and the scripts away from the standby", standby.Host),
        ], ["The recovered server is only planned, so what the tables need on the primary is looked at when it is there."],
            _ => throw new InvalidOperationException("A planned restore has no result."), () => [.. tables.Select(t => RestorePlan.Would(t, options))]);
    }

    private static RestoredTable Would(IncidentTable table, RestoreOptions options) => new()
    {
        Recovery = options.Recovery,
        Table = table,
        To = options.To,
        RowsRecovered = 0,
        RowsRestored = 0,
        ChecksumRecovered = "",
        ChecksumRestored = "",
        IsPlanned = true,
    };
}
