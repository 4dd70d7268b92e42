using System.Management.Automation;
using PitrPS.Hosts;

namespace PitrPS.Commands;

/// <summary>
/// What all cmdlets share: work runs off the pipeline thread, what it says is written on the pipeline thread, Ctrl+C gives up within 2 s,
/// and errors become records with an id and a next step.
/// </summary>
public abstract class PitrCmdlet : PSCmdlet, IDisposable
{
    // What a cancelled task gets to close its connections and write its journal before it is given up.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(1.5);

    private readonly CancellationTokenSource _stop = new();

    /// <inheritdoc/>
    protected override void StopProcessing() => _stop.Cancel();

    /// <inheritdoc/>
    public void Dispose()
    {
        // Not disposed: work that was given up may still look at the token.
        GC.SuppressFinalize(this);
    }

    /// <summary>Runs the action; a <see cref="PitrException"/> becomes an error record, and the next item goes on.</summary>
    /// <returns>False when it failed.</returns>
    private protected bool Attempt(Action action, object? target = null)
    {
        try
        {
            action();
            return true;
        }
        catch (PitrException e)
        {
            WriteError(Record(e, target));
            return false;
        }
    }

    /// <summary>Runs asynchronous work and drains what it says on the pipeline thread.</summary>
    private protected T Await<T>(Func<CmdletFeedback, CancellationToken, Task<T>> work)
    {
        var feedback = new CmdletFeedback();
        var task = Task.Run(() =>
        {
            CommandTrace.ListenWith(feedback);
            return work(feedback, _stop.Token);
        });
        task.ContinueWith(_ => feedback.Close(), TaskScheduler.Default);
        try
        {
            foreach (var write in feedback.Drain(_stop.Token))
            {
                write(this);
            }
        }
        catch (OperationCanceledException)
        {
            WaitQuietly(task, Grace);
            throw new PipelineStoppedException();
        }
        catch (PipelineStoppedException)
        {
            _stop.Cancel();
            WaitQuietly(task, Grace);
            throw;
        }

        try
        {
            return task.GetAwaiter().GetResult();
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            throw new PipelineStoppedException();
        }
    }

    /// <summary>Runs asynchronous work that has no result.</summary>
    private protected void Await(Func<CmdletFeedback, CancellationToken, Task> work) =>
        Await(async (feedback, cancel) =>
        {
            await work(feedback, cancel).ConfigureAwait(false);
            return true;
        });

    /// <summary>
    /// Runs work for many items side by side, so many at a time. What comes of an item is written as soon as it and those before it are known;
    /// its error is written in its place, and the others go on.
    /// </summary>
    private protected void AwaitEach<TItem, TResult>(IReadOnlyList<TItem> items, int limit, Func<TItem, CmdletFeedback, CancellationToken, Task<TResult>> work, Action<TItem, TResult> write, Func<TItem, object>? target = null)
        where TItem : notnull =>
        Await((feedback, cancel) => SideBySide.RunAsync(items, limit, (item, c) => work(item, feedback, c),
            (item, result) => feedback.Write(_ => write(item, result)), (item, e) => feedback.Error(e, target?.Invoke(item) ?? item), cancel));

    /// <summary>The record of an error, with its id, category, target and next step.</summary>
    internal static ErrorRecord Record(PitrException e, object? target = null) =>
        new(e, e.Id, Enum.Parse<ErrorCategory>(e.Kind.ToString()), e.Target ?? target)
        {
            ErrorDetails = new ErrorDetails(e.Message) { RecommendedAction = e.NextStep },
        };

    private static void WaitQuietly(Task task, TimeSpan time)
    {
        try
        {
            task.Wait(time);
        }
        catch (AggregateException)
        {
            // Whatever it says now, the user has already stopped it.
        }
    }
}
