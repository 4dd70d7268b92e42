using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>
/// One checked step of a plan. The check only reads, and answers "no" where an earlier step has not been done yet.
/// The action may be killed anywhere and run again: after it the check must answer "yes".
/// </summary>
/// <param name="Id">Stable within its operation; what a journal says about it is found again by this.</param>
/// <param name="Title">What it does, as a user reads it: an imperative sentence without the host.</param>
/// <param name="Host">Where it happens.</param>
internal sealed record Step(string Id, string Title, PgHost Host)
{
    /// <summary>Is it done already?</summary>
    public required Func<StepRun, Task<bool>> IsDone { get; init; }

    public required Func<StepRun, Task> Do { get; init; }

    /// <summary>The way back when a later step fails (not when the client is stopped or lost). Must be safe to run twice and when the step was half done.</summary>
    public Func<StepRun, Task>? Undo { get; init; }

    /// <summary>Once this step is done, a failure of a later one undoes nothing: the journal stays, and the next run goes on from there.</summary>
    public bool NoWayBack { get; init; }

    /// <summary>
    /// It takes away what the operation is run again by, so the journal is closed before it: nobody could go on from a journal that is left when this is done.
    /// Only for the last step.
    /// </summary>
    public bool AfterJournal { get; init; }

    /// <summary>The commands and file changes, a line each, as -WhatIf prints them. No secrets.</summary>
    public IReadOnlyList<string> Preview { get; init; } = [];
}

/// <summary>What a step has at hand while it is checked, done or undone.</summary>
internal sealed class StepRun(Step step, Plan plan, Journal journal, IFeedback feedback, CancellationToken cancel)
{
    public Plan Plan { get; } = plan;

    public Step Step { get; } = step;

    public PgHost Host => Step.Host;

    public IFeedback Feedback { get; } = feedback;

    public CancellationToken Cancel { get; } = cancel;

    /// <summary>What an earlier step, or an earlier run of the same operation, has noted; null if nothing.</summary>
    public string? Recall(string key) => journal.Notes.GetValueOrDefault(key);

    /// <summary>Notes a fact in the journal, on the host, before this returns. Never a secret.</summary>
    public Task RememberAsync(string key, string value) => journal.NoteAsync(key, value, Cancel);

    public Task<CommandResult> RunAsync(RemoteCommand command) => Host.RunCheckedAsync(command, Cancel);

    public Task<bool> TestAsync(RemoteCommand command) => Host.TestAsync(command, Cancel);

    public void Progress(string status, long done = 0, long? total = null, string unit = "bytes", TimeSpan? timeLeft = null) =>
        Feedback.Progress(new ProgressNote(Plan.Title, $"{Step.Title}: {status}", done, total, unit, timeLeft));
}
