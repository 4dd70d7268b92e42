using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Planning;

public class PlanRunnerTests
{
    private readonly FakeRemoteHost _home = new("standby");
    private readonly FakeRemoteHost _other = new("primary");
    private readonly List<string> _did = [];
    private readonly HashSet<string> _done = [];
    private readonly SilentFeedback _feedback = new();

    public PlanRunnerTests()
    {
        // Closing a journal moves it to the history.
        _home.On("mv -f --", c =>
        {
            _home.Files.Remove(c.Arguments[4]);
            return new CommandResult(0, "", "");
        });
        _other.On("rm -f --", c =>
        {
            _other.Files.Remove(c.Arguments[^1]);
            return new CommandResult(0, "", "");
        });
    }

    private static string JournalPath => Journal.PathOf("New-PgStandby", "standby:15/main");

    private Step Simple(string id, Action? also = null, Action? undo = null) => new(id, "Do " + id, _home.Host)
    {
        IsDone = _ => Task.FromResult(_done.Contains(id)),
        Do = _ =>
        {
            _did.Add(id);
            also?.Invoke();
            _done.Add(id);
            return Task.CompletedTask;
        },
        Undo = undo is null ? null : _ =>
        {
            undo();
            _done.Remove(id);
            return Task.CompletedTask;
        },
        Preview = [$"command of {id}"],
    };

    private Plan PlanOf(params Step[] steps) => new()
    {
        Operation = "New-PgStandby",
        Subject = "standby:15/main",
        Home = _home.Host,
        OtherHosts = [_other.Host],
        Steps = steps,
    };

    private Task<PlanOutcome> RunAsync(Plan plan, CancellationToken cancel = default) => new PlanRunner(_feedback, "me@here").RunAsync(plan, cancel);

    [Fact]
    public async Task Steps_are_done_in_their_order_and_the_journal_is_closed()
    {
        var outcome = await RunAsync(PlanOf(Simple("a"), Simple("b")));
        Assert.Equal(["a", "b"], _did);
        Assert.Equal(new PlanOutcome(2, 0), outcome);
        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
        Assert.Empty(_other.Files);
    }

    [Fact]
    public async Task What_an_operation_left_unfinished_is_closed_by_the_one_that_takes_it_back()
    {
        await Assert.ThrowsAsync<InvalidOperationException>(() => RunAsync(PlanOf(Simple("a", () => throw new InvalidOperationException()))));
        Assert.Contains(JournalPath, _home.Files.Keys);
        Assert.NotEmpty(_other.Files);

        await RunAsync(new Plan { Operation = "Remove-PgStandby", Subject = "standby:15/main", Home = _home.Host, OtherHosts = [_other.Host], Steps = [Simple("b")], TakesBack = ["New-PgStandby"] });

        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
        Assert.Empty(_other.Files);
    }

    [Fact]
    public async Task What_the_operation_is_run_again_by_goes_only_when_there_is_no_journal_any_more()
    {
        var isThere = true;
        var last = Simple("b", () => isThere = _home.Files.ContainsKey(JournalPath) || _other.Files.Count > 0) with { AfterJournal = true };
        await RunAsync(PlanOf(Simple("a"), last));
        Assert.False(isThere);
        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
    }

    [Fact]
    public async Task What_fails_when_the_journal_is_closed_leaves_none_and_is_done_by_the_next_run()
    {
        var fails = true;
        var last = Simple("b", () => _ = fails ? throw new InvalidOperationException() : true) with { AfterJournal = true };
        await Assert.ThrowsAsync<InvalidOperationException>(() => RunAsync(PlanOf(Simple("a"), last)));
        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
        fails = false;
        Assert.Equal(new PlanOutcome(1, 1), await RunAsync(PlanOf(Simple("a"), last)));
        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
    }

    [Fact]
    public async Task A_second_run_changes_nothing_and_writes_nothing()
    {
        _done.UnionWith(["a", "b"]);
        var outcome = await RunAsync(PlanOf(Simple("a"), Simple("b")));
        Assert.Equal(new PlanOutcome(0, 2), outcome);
        Assert.Empty(_did);
        Assert.Empty(_home.Written);
        Assert.Contains(_feedback.Verbosely, v => v.Contains("nothing to do", StringComparison.Ordinal));
    }

    [Fact]
    public async Task While_it_runs_the_journal_says_at_which_step_and_the_other_host_points_to_it()
    {
        Journal? seen = null;
        string? pointer = null;
        await RunAsync(PlanOf(Simple("a"), Simple("b", () =>
        {
            seen = Journal.Parse(_home.Host, JournalPath, _home.TextOf(JournalPath));
            pointer = _other.TextOf(Assert.Single(_other.Files.Keys));
        })));
        Assert.Equal([StepState.Done, StepState.Running], seen!.Steps.Select(s => s.State));
        Assert.Equal("me@here", seen.Client);
        Assert.Contains(JournalPath, pointer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_client_that_is_lost_within_a_step_leaves_the_journal_at_it_and_the_next_run_goes_on_there()
    {
        _home.IsUnreachable = false;
        var lost = Simple("b", () =>
        {
            _home.IsUnreachable = true;
            throw new PitrException("PitrPS.HostUnreachable", ErrorKind.ConnectionError, "gone", "wait");
        });
        await Assert.ThrowsAsync<PitrException>(() => RunAsync(PlanOf(Simple("a"), lost, Simple("c"))));
        _home.IsUnreachable = false;
        var journal = Journal.Parse(_home.Host, JournalPath, _home.TextOf(JournalPath));
        Assert.Equal(OperationState.Running, journal.State);
        Assert.Equal([StepState.Done, StepState.Running, StepState.Pending], journal.Steps.Select(s => s.State));

        _did.Clear();
        var outcome = await RunAsync(PlanOf(Simple("a"), Simple("b"), Simple("c")));
        Assert.Equal(["b", "c"], _did);
        Assert.Equal(new PlanOutcome(2, 1), outcome);
        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
    }

    [Fact]
    public async Task What_a_step_noted_is_there_for_the_next_run()
    {
        Step Noting(bool fails) => new("a", "Note", _home.Host)
        {
            IsDone = run => Task.FromResult(run.Recall("delay") == "7" && !fails),
            Do = async run =>
            {
                await run.RememberAsync("delay", "7");
                if (fails)
                {
                    throw new PitrException("PitrPS.Broken", ErrorKind.InvalidResult, "broken", "mend it");
                }
            },
        };
        await Assert.ThrowsAsync<PitrException>(() => RunAsync(PlanOf(Noting(true))));
        Assert.Equal(new PlanOutcome(0, 1), await RunAsync(PlanOf(Noting(false))));
    }

    [Fact]
    public async Task A_step_that_has_no_effect_is_an_error()
    {
        var step = new Step("a", "Do nothing", _home.Host) { IsDone = _ => Task.FromResult(false), Do = _ => Task.CompletedTask };
        Assert.Equal("PitrPS.StepNotEffective", (await Assert.ThrowsAsync<PitrException>(() => RunAsync(PlanOf(step)))).Id);
    }

    [Fact]
    public async Task A_failure_undoes_what_was_done_newest_first_where_the_plan_wants_it()
    {
        var undone = new List<string>();
        var failing = Simple("c", () => throw new PitrException("PitrPS.Broken", ErrorKind.InvalidResult, "broken", "mend it"), () => undone.Add("c"));
        var plan = new Plan
        {
            Operation = "New-PgStandby",
            Subject = "standby:15/main",
            Home = _home.Host,
            Steps = [Simple("a", undo: () => undone.Add("a")), Simple("b"), failing, Simple("d", undo: () => undone.Add("d"))],
            UndoOnFailure = true,
        };
        Assert.Equal("PitrPS.Broken", (await Assert.ThrowsAsync<PitrException>(() => RunAsync(plan))).Id);
        Assert.Equal(["c", "a"], undone);
        Assert.DoesNotContain(JournalPath, _home.Files.Keys);
    }

    [Fact]
    public async Task Once_a_step_without_way_back_is_done_a_failure_undoes_nothing_and_the_journal_stays()
    {
        var undone = new List<string>();
        var plan = new Plan
        {
            Operation = "New-PgStandby",
            Subject = "standby:15/main",
            Home = _home.Host,
            Steps = [Simple("a", undo: () => undone.Add("a")), Simple("b") with { NoWayBack = true }, Simple("c", () => throw new PitrException("PitrPS.Broken", ErrorKind.InvalidResult, "broken", "mend it"))],
            UndoOnFailure = true,
        };
        Assert.Equal("PitrPS.Broken", (await Assert.ThrowsAsync<PitrException>(() => RunAsync(plan))).Id);
        Assert.Empty(undone);
        Assert.Equal(OperationState.Failed, Journal.Parse(_home.Host, JournalPath, _home.TextOf(JournalPath)).State);
    }

    [Fact]
    public async Task What_was_begun_is_left_in_order_when_the_user_stops_it_and_nothing_is_done_where_nothing_was_begun()
    {
        using var stop = new CancellationTokenSource();
        var left = 0;
        Plan Leaving(params Step[] steps) => new()
        {
            Operation = "New-PgStandby",
            Subject = "standby:15/main",
            Home = _home.Host,
            Steps = steps,
            WhenStopped = _ =>
            {
                left++;
                return Task.CompletedTask;
            },
        };

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => RunAsync(Leaving(Simple("one", stop.Cancel), Simple("two")), stop.Token));
        Assert.Equal((1, "one"), (left, string.Join(' ', _did)));

        _home.Files.Clear();
        using var again = new CancellationTokenSource();
        var looked = Simple("one") with { IsDone = _ =>
        {
            again.Cancel();
            return Task.FromResult(true);
        } };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => RunAsync(Leaving(looked, Simple("two")), again.Token));
        Assert.Equal(1, left);
    }

    [Fact]
    public async Task Ctrl_C_undoes_nothing_and_leaves_the_journal()
    {
        using var stop = new CancellationTokenSource();
        var undone = new List<string>();
        var plan = new Plan
        {
            Operation = "New-PgStandby",
            Subject = "standby:15/main",
            Home = _home.Host,
            Steps = [Simple("a", stop.Cancel, () => undone.Add("a")), Simple("b")],
            UndoOnFailure = true,
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => RunAsync(plan, stop.Token));
        Assert.Empty(undone);
        Assert.Equal(OperationState.Stopped, Journal.Parse(_home.Host, JournalPath, _home.TextOf(JournalPath)).State);
    }

    [Fact]
    public async Task An_unfinished_operation_is_not_taken_over_with_another_parameter()
    {
        Plan For(string target, Step step) => new()
        {
            Operation = "New-PgStandby",
            Subject = "standby:15/main",
            Home = _home.Host,
            Steps = [step],
            Parameters = new Dictionary<string, string> { ["Primary"] = target },
        };
        await Assert.ThrowsAsync<PitrException>(() => RunAsync(For("a:5432", Simple("x", () => throw new PitrException("PitrPS.Broken", ErrorKind.InvalidResult, "broken", "mend it")))));
        var error = await Assert.ThrowsAsync<PitrException>(() => RunAsync(For("b:5432", Simple("x"))));
        Assert.Equal("PitrPS.UnfinishedOperation", error.Id);
        Assert.Contains("a:5432", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lock_that_somebody_holds_is_an_error_that_says_who()
    {
        _home.OnStart("flock", _ => new FakeProcess("taken 2 her@there 2026-11-23T03:00:00Z Invoke-PitrRecovery").End(75));
        var error = await Assert.ThrowsAsync<PitrException>(() => RunAsync(PlanOf(Simple("a"))));
        Assert.Equal("PitrPS.OperationInProgress", error.Id);
        Assert.Contains("her@there", error.Message, StringComparison.Ordinal);
        Assert.Empty(_did);
    }

    [Fact]
    public async Task A_lock_that_is_lost_in_the_middle_ends_the_operation_and_the_next_run_goes_on()
    {
        var held = new FakeProcess("held");
        _home.OnStart("flock", _ => held);
        var error = await Assert.ThrowsAsync<PitrException>(() => RunAsync(PlanOf(Simple("a", () => held.End()), Simple("b"))));
        Assert.Equal(("PitrPS.LockLost", ErrorKind.ConnectionError), (error.Id, error.Kind));
        Assert.Equal(["a"], _did);

        _home.OnStart("flock", _ => new FakeProcess("held"));
        await RunAsync(PlanOf(Simple("a"), Simple("b")));
        Assert.Equal(["a", "b"], _did);
    }

    [Fact]
    public async Task A_planned_object_is_refused()
    {
        var plan = new Plan { Operation = "New-PgStandby", Subject = "standby:15/main", Home = _home.Host, Steps = [Simple("a")], IsPlanned = true };
        Assert.Equal("PitrPS.PlannedObject", (await Assert.ThrowsAsync<PitrException>(() => RunAsync(plan))).Id);
        Assert.Empty(_did);
    }

    [Fact]
    public async Task A_preview_shows_every_step_with_its_commands_and_changes_nothing()
    {
        _done.Add("a");
        var text = (await new PlanRunner(_feedback, "me@here").PreviewAsync(PlanOf(Simple("a"), Simple("b")), default)).Render();
        Assert.Contains("[done] standby: Do a", text, StringComparison.Ordinal);
        Assert.Contains("[to do] standby: Do b", text, StringComparison.Ordinal);
        Assert.Contains("command of b", text, StringComparison.Ordinal);
        Assert.DoesNotContain("command of a", text, StringComparison.Ordinal);
        Assert.Empty(_did);
        Assert.Empty(_home.Written);
    }

    [Fact]
    public async Task In_a_preview_a_check_may_fail_for_want_of_an_earlier_step_but_not_otherwise()
    {
        var failing = new Step("b", "Ask the server", _home.Host)
        {
            IsDone = _ => throw new PitrException("PitrPS.ServerUnavailable", ErrorKind.ResourceUnavailable, "no server", "start it"),
            Do = _ => Task.CompletedTask,
        };
        var preview = await new PlanRunner(_feedback, "me@here").PreviewAsync(PlanOf(Simple("a"), failing), default);
        Assert.Empty(preview.Done);
        await Assert.ThrowsAsync<PitrException>(() => new PlanRunner(_feedback, "me@here").PreviewAsync(PlanOf(failing, Simple("a")), default));
    }

    [Fact]
    public void A_journal_of_a_newer_format_is_not_guessed_at()
    {
        var error = Assert.Throws<PitrException>(() => Journal.Parse(_home.Host, "/j", """{"format":2,"operation":"x","subject":"y","client":"z","startedAt":"2026-11-23T00:00:00Z"}"""));
        Assert.Equal("PitrPS.JournalUnreadable", error.Id);
    }
}

internal sealed class SilentFeedback : IFeedback
{
    public List<string> Verbosely { get; } = [];

    public List<string> Warnings { get; } = [];

    public void Verbose(string text) => Verbosely.Add(text);

    public void Warning(string text) => Warnings.Add(text);

    public void Progress(ProgressNote note)
    {
    }
}
