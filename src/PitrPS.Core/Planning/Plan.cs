using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>
/// An operation that changes hosts, as ordered checked steps. It is built from what was read, before anything is changed;
/// -WhatIf prints it; <see cref="PlanRunner"/> runs it under a lock and with a journal on its home host.
/// </summary>
internal sealed record Plan
{
    /// <summary>The cmdlet, for example New-PgStandby.</summary>
    public required string Operation { get; init; }

    /// <summary>What it is done to, for example "standby:15/main"; with the operation it names the journal.</summary>
    public required string Subject { get; init; }

    /// <summary>The host whose journal and lock count.</summary>
    public required PgHost Home { get; init; }

    /// <summary>What the lock is held for: all operations on one server exclude each other. By default the subject.</summary>
    public string? LockName { get; init; }

    /// <summary>Further hosts that it touches; they hold a pointer to the journal meanwhile.</summary>
    public IReadOnlyList<PgHost> OtherHosts { get; init; } = [];

    public required IReadOnlyList<Step> Steps { get; init; }

    /// <summary>What the user must know before saying yes: restarts, disconnected readers, bytes and time expected.</summary>
    public IReadOnlyList<string> Announcements { get; init; } = [];

    /// <summary>What a later run must find the same to go on from an unfinished journal; shown by Get-PitrOperation. No secrets.</summary>
    public IReadOnlyDictionary<string, string> Parameters { get; init; } = new Dictionary<string, string>();

    /// <summary>The cmdlet that undoes the whole operation, as Get-PitrOperation shows it.</summary>
    public string? WayBack { get; init; }

    /// <summary>Operations on the same subject that this one takes back: a journal that one of them left unfinished is closed when this plan is done.</summary>
    public IReadOnlyList<string> TakesBack { get; init; } = [];

    /// <summary>
    /// What Ctrl+C does beside leaving the journal at its step, for an operation whose work goes on on the host or that has taken something away meanwhile.
    /// Not called where no step has been begun. The prompt does not wait for it longer than for anything else.
    /// </summary>
    public Func<CancellationToken, Task>? WhenStopped { get; init; }

    /// <summary>When a step fails, undo the steps done before it, newest first, and close the journal.</summary>
    public bool UndoOnFailure { get; init; }

    /// <summary>The plan is for a server that is itself only planned: its checks are not run, every step counts as to be done.</summary>
    public bool IsPlanned { get; init; }

    public string Title => $"{Operation} on {Subject}";
}

/// <summary>A plan and what comes out of it.</summary>
/// <typeparam name="T">What the cmdlet emits.</typeparam>
/// <param name="Plan">The steps.</param>
/// <param name="Result">Reads the result back from the hosts after the steps are done.</param>
/// <param name="WouldBe">The result as it would be; what -WhatIf emits so that the next cmdlet can print its own plan.</param>
internal sealed record Planned<T>(Plan Plan, Func<CancellationToken, Task<T>> Result, Func<T> WouldBe)
{
    /// <summary>The result as it would be.</summary>
    public T AsPlanned() => WouldBe();
}
