using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>Where an operation that has not ended stands.</summary>
public enum PitrOperationState
{
    /// <summary>A client is at it now.</summary>
    Running,
    /// <summary>Its client is gone: killed, cut off or crashed.</summary>
    Abandoned,
    /// <summary>Somebody stopped it with Ctrl+C.</summary>
    Stopped,
    /// <summary>A step failed.</summary>
    Failed,
}

/// <summary>An operation on a host that was begun and has not ended, as its journal says.</summary>
public sealed record PitrOperation
{
    /// <summary>The host whose journal it is.</summary>
    public required PgHost Host { get; init; }

    /// <summary>The cmdlet, for example New-PgStandby.</summary>
    public required string Operation { get; init; }

    /// <summary>What it is done to, for example "standby:15/main".</summary>
    public required string Subject { get; init; }

    /// <summary>Where it stands.</summary>
    public required PitrOperationState State { get; init; }

    /// <summary>user@machine of the client that began it, or took it over last.</summary>
    public required string Client { get; init; }

    /// <summary>When it was begun, UTC.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    /// <summary>When its journal was last written, UTC.</summary>
    public required DateTimeOffset ChangedAt { get; init; }

    /// <summary>The step that it is at.</summary>
    public string? Step { get; init; }

    /// <summary>How many of its steps are done.</summary>
    public int StepsDone { get; init; }

    /// <summary>How many steps it has.</summary>
    public int StepsTotal { get; init; }

    /// <summary>What went wrong; null when nothing did.</summary>
    public string? Failure { get; init; }

    /// <summary>What it was begun with.</summary>
    public IReadOnlyDictionary<string, string> Parameters { get; init; } = new Dictionary<string, string>();

    /// <summary>How to go on.</summary>
    public required string GoOn { get; init; }

    /// <summary>How to take it back; null where running it again is the only way.</summary>
    public string? GoBack { get; init; }

    /// <summary>The operation and its subject.</summary>
    public override string ToString() => $"{Operation} on {Subject}: {State}";

    /// <summary>All unfinished operations whose journal is on this host.</summary>
    /// <exception cref="PitrException"><c>PitrPS.JournalUnreadable</c></exception>
    internal static async Task<IReadOnlyList<PitrOperation>> ReadAsync(PgHost host, CancellationToken cancel)
    {
        var journals = await Journal.AllAsync(host, cancel).ConfigureAwait(false);
        var held = await OperationLock.HeldAsync(host, cancel).ConfigureAwait(false);
        return [.. journals.OrderBy(j => j.StartedAt).Select(j => Of(host, j, held))];
    }

    internal static PitrOperation Of(PgHost host, Journal journal, IReadOnlyDictionary<string, string> held)
    {
        var at = journal.Steps.FirstOrDefault(s => s.State == StepState.Running) ?? journal.Steps.FirstOrDefault(s => s.State == StepState.Pending);
        var isHeld = held.GetValueOrDefault(HostPaths.FileName(journal.LockName ?? journal.Subject))?.EndsWith(" " + journal.Operation, StringComparison.Ordinal) == true;
        return new PitrOperation
        {
            Host = host,
            Operation = journal.Operation,
            Subject = journal.Subject,
            State = isHeld ? PitrOperationState.Running : journal.State switch
            {
                OperationState.Stopped => PitrOperationState.Stopped,
                OperationState.Failed => PitrOperationState.Failed,
                _ => PitrOperationState.Abandoned,
            },
            Client = journal.Client,
            StartedAt = journal.StartedAt,
            ChangedAt = journal.ChangedAt,
            Step = at?.Title,
            StepsDone = journal.Steps.Count(s => s.State == StepState.Done),
            StepsTotal = journal.Steps.Count,
            Failure = journal.Failure,
            Parameters = journal.Parameters,
            GoOn = isHeld ? $"{journal.Client} is at it; wait." : $"Run {journal.Operation} again with the same parameters: it goes on where it stopped.",
            GoBack = journal.WayBack,
        };
    }
}
