using System.Management.Automation;
using System.Reflection;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Commands;

/// <summary>
/// What all cmdlets share: work runs off the pipeline thread, what it says is written on the pipeline thread, Ctrl+C gives up within 2 s,
/// errors become records with an id and a next step, and a plan is asked about once.
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

    /// <summary>True under -WhatIf, given or inherited.</summary>
    private protected bool IsWhatIf =>
        MyInvocation.BoundParameters.TryGetValue("WhatIf", out var bound)
            ? LanguagePrimitives.IsTrue(bound)
            : LanguagePrimitives.IsTrue(GetVariableValue("WhatIfPreference", false));

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
        Await(async (feedback, cancel) =>
        {
            var places = new SemaphoreSlim(limit);
            var running = items.Select(InTurnAsync).ToList();
            try
            {
                foreach (var (item, task) in items.Zip(running))
                {
                    try
                    {
                        var result = await task.ConfigureAwait(false);
                        feedback.Write(_ => write(item, result));
                    }
                    catch (PitrException e)
                    {
                        feedback.Error(e, target?.Invoke(item) ?? item);
                    }
                }
            }
            finally
            {
                // After Ctrl+C each has a journal to write.
                await Task.WhenAll(running.Select(task => task.ContinueWith(_ => { }, TaskScheduler.Default))).ConfigureAwait(false);
            }

            async Task<TResult> InTurnAsync(TItem item)
            {
                await places.WaitAsync(cancel).ConfigureAwait(false);
                try
                {
                    return await work(item, feedback, cancel).ConfigureAwait(false);
                }
                finally
                {
                    places.Release();
                }
            }
        });

    /// <summary>
    /// The way of every cmdlet that changes something: build the plan (which refuses bad input before anything has changed), ask once, run it, emit the result.
    /// Under -WhatIf the plan is printed and the result is emitted as it would be.
    /// </summary>
    private protected T? Carry<T>(Func<IFeedback, CancellationToken, Task<Planned<T>>> build)
        where T : class
    {
        var (planned, preview) = Await((feedback, cancel) => PrepareAsync(build, MustShow, feedback, cancel));
        return IsWhatIf ? Shown(planned, preview!) : Agreed(planned, preview) ? Await((feedback, cancel) => RunAsync(planned, feedback, cancel)) : null;
    }

    /// <summary>
    /// As <see cref="CarryAndWrite{T}"/> for many items side by side: all plans are built, each is asked about once, in the order of the items, and those that are agreed to run, so many at a time.
    /// </summary>
    private protected void CarryEach<TItem, T>(IReadOnlyList<TItem> items, int limit, Func<TItem, IFeedback, CancellationToken, Task<Planned<T>>> build)
        where TItem : notnull
        where T : class
    {
        var mustShow = MustShow;
        var agreed = new List<(TItem Item, Planned<T> Planned)>();
        AwaitEach(items, limit, (item, feedback, cancel) => PrepareAsync((f, c) => build(item, f, c), mustShow, feedback, cancel), (item, prepared) => Attempt(() =>
        {
            if (IsWhatIf)
            {
                WriteObject(Shown(prepared.Planned, prepared.Preview!));
            }
            else if (Agreed(prepared.Planned, prepared.Preview))
            {
                agreed.Add((item, prepared.Planned));
            }
        }, item));
        AwaitEach(agreed, limit, (one, feedback, cancel) => RunAsync(one.Planned, feedback, cancel), (_, result) => WriteObject(result), one => one.Item);
    }

    private bool MustShow => IsWhatIf || WouldPrompt();

    private static async Task<(Planned<T> Planned, PlanPreview? Preview)> PrepareAsync<T>(
        Func<IFeedback, CancellationToken, Task<Planned<T>>> build, bool mustShow, IFeedback feedback, CancellationToken cancel)
        where T : class
    {
        var planned = await build(feedback, cancel).ConfigureAwait(false);
        return (planned, mustShow ? await Runner(feedback).PreviewAsync(planned.Plan, cancel).ConfigureAwait(false) : null);
    }

    private static PlanRunner Runner(IFeedback feedback) => new(feedback, PlanRunner.ThisClient);

    private T Shown<T>(Planned<T> planned, PlanPreview preview)
        where T : class
    {
        ShouldProcess(preview.Render(), preview.Render(), planned.Plan.Title);
        return planned.AsPlanned();
    }

    // With a preview there may be a question; without one PowerShell would ask nothing.
    private bool Agreed<T>(Planned<T> planned, PlanPreview? preview)
        where T : class
    {
        if (preview is null)
        {
            return ShouldProcess(planned.Plan.Subject, planned.Plan.Operation);
        }

        if (preview.NothingToDo)
        {
            return true;
        }

        RefuseToAskNobody(planned.Plan);
        return ShouldProcess(preview.Render(), preview.Render() + Environment.NewLine + "Go on?", planned.Plan.Title);
    }

    private static async Task<T> RunAsync<T>(Planned<T> planned, CmdletFeedback feedback, CancellationToken cancel)
        where T : class
    {
        var outcome = await Runner(feedback).RunAsync(planned.Plan, cancel).ConfigureAwait(false);
        if (outcome.Changed == 0)
        {
            feedback.Write(c => c.WriteInformation(new HostInformationMessage { Message = $"{planned.Plan.Title}: nothing to do, everything is as it should be." }, ["PSHOST"]));
        }

        return await planned.Result(cancel).ConfigureAwait(false);
    }

    /// <summary>As <see cref="Carry{T}"/>, and writes what comes out; an error is written instead.</summary>
    private protected void CarryAndWrite<T>(Func<IFeedback, CancellationToken, Task<Planned<T>>> build, object? target = null)
        where T : class =>
        Attempt(() =>
        {
            if (Carry(build) is { } result)
            {
                WriteObject(result);
            }
        }, target);

    /// <summary>The record of an error, with its id, category, target and next step.</summary>
    internal static ErrorRecord Record(PitrException e, object? target = null) =>
        new(e, e.Id, Enum.Parse<ErrorCategory>(e.Kind.ToString()), e.Target ?? target)
        {
            ErrorDetails = new ErrorDetails(e.Message) { RecommendedAction = e.NextStep },
        };

    // PowerShell asks when the impact reaches the preference, or -Confirm was given; it has no way to say so beforehand.
    private bool WouldPrompt()
    {
        if (IsWhatIf)
        {
            return false;
        }

        if (MyInvocation.BoundParameters.TryGetValue("Confirm", out var confirm))
        {
            return LanguagePrimitives.IsTrue(confirm);
        }

        var impact = GetType().GetCustomAttribute<CmdletAttribute>()!.ConfirmImpact;
        var preference = LanguagePrimitives.ConvertTo<ConfirmImpact>(GetVariableValue("ConfirmPreference", ConfirmImpact.High));
        return preference != ConfirmImpact.None && impact >= preference;
    }

    private void RefuseToAskNobody(Plan plan)
    {
        if (Host?.UI is null || Host.UI.RawUI is null || Console.IsInputRedirected || IsNonInteractive())
        {
            throw new PitrException("PitrPS.ConfirmationRequired", ErrorKind.InvalidOperation,
                $"{plan.Title} has to be confirmed, and there is nobody to ask.",
                "Look at the plan with -WhatIf, then run it with -Confirm:$false.", plan.Home);
        }
    }

    private static bool IsNonInteractive() =>
        Environment.GetCommandLineArgs().Skip(1).Any(a => a.Length > 3 && "-noninteractive".StartsWith(a.ToLowerInvariant().Replace("--", "-", StringComparison.Ordinal), StringComparison.Ordinal));

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
