using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>What a plan would still do.</summary>
/// <param name="Plan">The plan.</param>
/// <param name="Done">The ids of the steps whose check says "yes".</param>
internal sealed record PlanPreview(Plan Plan, IReadOnlySet<string> Done)
{
    public bool NothingToDo => Plan.Steps.All(step => Done.Contains(step.Id));

    /// <summary>The full plan as -WhatIf and -Confirm print it.</summary>
    public string Render()
    {
        var lines = new List<string> { Plan.Title + (NothingToDo ? ": nothing to do, everything is as it should be." : "") };
        lines.AddRange(Plan.Announcements.Select(a => "  ! " + a));
        for (var i = 0; i < Plan.Steps.Count; i++)
        {
            var step = Plan.Steps[i];
            lines.Add($"  {i + 1,2}. [{(Done.Contains(step.Id) ? "done" : "to do")}] {step.Host.Name}: {step.Title}");
            if (!Done.Contains(step.Id))
            {
                lines.AddRange(step.Preview.SelectMany(p => p.TrimEnd('\n').Split('\n')).Select(p => "        " + p));
            }
        }

        return string.Join(Environment.NewLine, lines.Select(TerminalText.Clean));
    }
}

/// <summary>What running a plan did.</summary>
/// <param name="Changed">How many steps were carried out.</param>
/// <param name="AlreadyDone">How many were found done.</param>
internal sealed record PlanOutcome(int Changed, int AlreadyDone);

/// <summary>Runs plans: lock, journal, check, action, check again. There is no other way in which PitrPS changes a host.</summary>
internal sealed class PlanRunner(IFeedback feedback, string client)
{
    /// <summary>user@machine, as journals and locks name this client.</summary>
    public static string ThisClient => $"{Environment.UserName}@{Environment.MachineName}";

    /// <summary>Asks every check, changes nothing.</summary>
    public async Task<PlanPreview> PreviewAsync(Plan plan, CancellationToken cancel)
    {
        RequireRoot(plan);
        var done = new HashSet<string>();
        if (!plan.IsPlanned)
        {
            var journal = await Journal.FindAsync(plan.Home, plan.Operation, plan.Subject, cancel).ConfigureAwait(false)
                ?? Journal.For(plan, client, DateTimeOffset.UtcNow);
            foreach (var step in plan.Steps)
            {
                try
                {
                    if (await step.IsDone(new StepRun(step, plan, journal, feedback, cancel)).ConfigureAwait(false))
                    {
                        done.Add(step.Id);
                    }
                }
                catch (PitrException e) when (done.Count < plan.Steps.TakeWhile(s => s != step).Count())
                {
                    // A check cannot always be asked before the steps ahead of it are done (there is no server to ask yet).
                    feedback.Verbose($"'{step.Title}' can only be checked once the steps before it are done: {e.Message}");
                }
            }
        }

        return new PlanPreview(plan, done);
    }

    /// <summary>
    /// Does what is left of the plan. A step that is done already is left alone; after each action its check is asked again.
    /// When the client is stopped, the journal stays at the step; when a step fails, the journal says so, or, where the plan wants it, what was done is undone.
    /// </summary>
    public async Task<PlanOutcome> RunAsync(Plan plan, CancellationToken cancel)
    {
        if (plan.IsPlanned)
        {
            throw new PitrException("PitrPS.PlannedObject", ErrorKind.InvalidOperation,
                $"{plan.Subject} exists only as a plan: it came from a command that ran with -WhatIf.",
                "Run the commands before this one without -WhatIf.", plan.Home);
        }

        RequireRoot(plan);
        await using var held = await OperationLock.TakeAsync(plan.Home, plan.LockName ?? plan.Subject, plan.Operation, client, feedback, cancel).ConfigureAwait(false);
        var journal = await Journal.FindAsync(plan.Home, plan.Operation, plan.Subject, cancel).ConfigureAwait(false);
        if (journal is not null)
        {
            RequireSameParameters(plan, journal);
            feedback.Verbose($"{plan.Title}: goes on from the journal of {journal.StartedAt:u}, begun by {journal.Client}.");
            journal.Client = client;
            journal.State = OperationState.Running;
            journal.Failure = null;
        }

        journal ??= Journal.For(plan, client, DateTimeOffset.UtcNow);
        var changed = 0;
        var alreadyDone = 0;
        var begun = false;
        var closed = false;
        try
        {
            foreach (var (step, index) in plan.Steps.Select((step, index) => (step, index)))
            {
                cancel.ThrowIfCancellationRequested();
                held.RequireHeld(plan);
                feedback.Progress(new ProgressNote(plan.Title, $"{step.Host.Name}: {step.Title}", index, plan.Steps.Count));
                var run = new StepRun(step, plan, journal, feedback, cancel);
                if (await step.IsDone(run).ConfigureAwait(false))
                {
                    alreadyDone++;
                    feedback.Verbose($"{step.Host.Name}: already done: {step.Title}");
                    continue;
                }

                if (!begun)
                {
                    begun = true;
                    await plan.Home.RunCheckedAsync(HostPaths.Prepare, cancel).ConfigureAwait(false);
                    await PointAsync(plan, cancel).ConfigureAwait(false);
                }

                feedback.Verbose($"{step.Host.Name}: {step.Title}");
                if (step.AfterJournal)
                {
                    journal.Mark(step, StepState.Running);
                    await CloseAsync(plan, journal, begun, cancel).ConfigureAwait(false);
                    closed = true;
                }
                else
                {
                    await journal.MarkAsync(step, StepState.Running, cancel).ConfigureAwait(false);
                }

                await step.Do(run).ConfigureAwait(false);
                if (!await step.IsDone(run).ConfigureAwait(false))
                {
                    throw new PitrException("PitrPS.StepNotEffective", ErrorKind.InvalidResult,
                        $"On {step.Host.Name}, '{step.Title}' was carried out, but its check still says that it is not done.",
                        "Something on the host works against it. Look with -Verbose at what the step did, then run the same command again.", step.Host);
                }

                journal.Mark(step, StepState.Done);
                changed++;
            }
        }
        catch (Exception e) when (!closed)
        {
            await EndBadlyAsync(plan, journal, e, cancel).ConfigureAwait(false);
            throw;
        }
        finally
        {
            feedback.Progress(new ProgressNote(plan.Title, "") { Completed = true });
        }

        if (!closed)
        {
            await CloseAsync(plan, journal, begun, cancel).ConfigureAwait(false);
        }

        if (changed == 0)
        {
            feedback.Verbose($"{plan.Title}: nothing to do, everything is as it should be.");
        }

        return new PlanOutcome(changed, alreadyDone);
    }

    private async Task CloseAsync(Plan plan, Journal journal, bool begun, CancellationToken cancel)
    {
        // A journal that an earlier run left is closed too when this run found all of its steps done.
        if (begun || await Journal.FindAsync(plan.Home, plan.Operation, plan.Subject, cancel).ConfigureAwait(false) is not null)
        {
            await UnpointAsync(plan, plan.Operation, cancel).ConfigureAwait(false);
            await journal.CloseAsync(OperationState.Done, cancel).ConfigureAwait(false);
        }

        await CloseTakenBackAsync(plan, cancel).ConfigureAwait(false);
    }

    private static void RequireRoot(Plan plan)
    {
        foreach (var host in plan.OtherHosts.Prepend(plan.Home))
        {
            host.RequireRoot(plan.Title);
        }
    }

    private static void RequireSameParameters(Plan plan, Journal journal)
    {
        var other = plan.Parameters.FirstOrDefault(p => journal.Parameters.TryGetValue(p.Key, out var was) && was != p.Value);
        if (other.Key is not null)
        {
            throw new PitrException("PitrPS.UnfinishedOperation", ErrorKind.ResourceBusy,
                $"{plan.Title} was begun on {journal.StartedAt:u} by {journal.Client} with {other.Key} {journal.Parameters[other.Key]}, and has not ended; now {other.Key} is {other.Value}.",
                $"Run it again as it was begun, or take it back first with {journal.WayBack ?? "the cmdlet that Get-PitrOperation names"}.", plan.Home);
        }
    }

    private async Task EndBadlyAsync(Plan plan, Journal journal, Exception error, CancellationToken cancel)
    {
        // The connection may be what failed: then the journal already says at which step, and nothing more can be done from here.
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(cancel.IsCancellationRequested ? 1 : 30));
        try
        {
            if (cancel.IsCancellationRequested)
            {
                journal.State = OperationState.Stopped;
                var stopping = WhenStoppedAsync(plan, journal);
                await SaveIfBegunAsync(journal, limit.Token).ConfigureAwait(false);
                await stopping.ConfigureAwait(false);
                return;
            }

            journal.State = OperationState.Failed;
            journal.Failure = error.Message;
            await SaveIfBegunAsync(journal, limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is PitrException or OperationCanceledException)
        {
            feedback.Verbose($"{plan.Title}: the journal on {plan.Home.Name} stays as it was at the last step: {e.Message}");
            return;
        }

        var pastReturn = plan.Steps.Any(step => step.NoWayBack && journal.Steps.Any(s => s.Id == step.Id && s.State == StepState.Done));
        if (plan.UndoOnFailure && !pastReturn && error is PitrException { Kind: not ErrorKind.ConnectionError })
        {
            await UndoAsync(plan, journal, cancel).ConfigureAwait(false);
        }
    }

    private static Task SaveIfBegunAsync(Journal journal, CancellationToken cancel) =>
        IsBegun(journal) ? journal.SaveAsync(cancel) : Task.CompletedTask;

    private static bool IsBegun(Journal journal) => journal.Steps.Any(s => s.State != StepState.Pending);

    private static async Task WhenStoppedAsync(Plan plan, Journal journal)
    {
        if (plan.WhenStopped is not null && IsBegun(journal))
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            await plan.WhenStopped(limit.Token).ConfigureAwait(false);
        }
    }

    private async Task UndoAsync(Plan plan, Journal journal, CancellationToken cancel)
    {
        foreach (var step in plan.Steps.Reverse())
        {
            if (step.Undo is null || journal.Steps.FirstOrDefault(s => s.Id == step.Id)?.State is not (StepState.Running or StepState.Done))
            {
                continue;
            }

            feedback.Verbose($"{step.Host.Name}: undo: {step.Title}");
            await step.Undo(new StepRun(step, plan, journal, feedback, cancel)).ConfigureAwait(false);
            await journal.MarkAsync(step, StepState.Undone, cancel).ConfigureAwait(false);
        }

        await UnpointAsync(plan, plan.Operation, cancel).ConfigureAwait(false);
        await journal.CloseAsync(OperationState.Undone, cancel).ConfigureAwait(false);
    }

    private async Task CloseTakenBackAsync(Plan plan, CancellationToken cancel)
    {
        foreach (var operation in plan.TakesBack)
        {
            if (await Journal.FindAsync(plan.Home, operation, plan.Subject, cancel).ConfigureAwait(false) is { } journal)
            {
                feedback.Verbose($"{plan.Title}: takes back the {operation} of {journal.StartedAt:u} that was not finished.");
                await UnpointAsync(plan, operation, cancel).ConfigureAwait(false);
                await journal.CloseAsync(OperationState.Undone, cancel).ConfigureAwait(false);
            }
        }
    }

    private static string PointerOf(Plan plan, string operation) => $"{HostPaths.Pointers}/{HostPaths.FileName(operation)}--{HostPaths.FileName(plan.Subject)}";

    private static async Task PointAsync(Plan plan, CancellationToken cancel)
    {
        foreach (var host in plan.OtherHosts)
        {
            await host.RunCheckedAsync(HostPaths.Prepare, cancel).ConfigureAwait(false);
            await host.Remote.WriteFileAsync(
                RemoteFile.Text(PointerOf(plan, plan.Operation), $"{plan.Title}: the journal is on {plan.Home.Name} ({plan.Home.Address}), {Journal.PathOf(plan.Operation, plan.Subject)}\n", 0x180), cancel).ConfigureAwait(false);
        }
    }

    private static async Task UnpointAsync(Plan plan, string operation, CancellationToken cancel)
    {
        foreach (var host in plan.OtherHosts)
        {
            await host.RunCheckedAsync(RemoteCommand.Of("rm", "-f", "--", PointerOf(plan, operation)).AsRoot(), cancel).ConfigureAwait(false);
        }
    }
}
