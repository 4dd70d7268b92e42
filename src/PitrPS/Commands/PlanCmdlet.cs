using System.Management.Automation;
using PitrPS.Planning;

namespace PitrPS.Commands;

/// <summary>What the cmdlets share that change something: the plan is built, shown under -WhatIf, asked about once, and run.</summary>
public abstract class PlanCmdlet : PitrCmdlet
{
    /// <summary>True under -WhatIf, given or inherited.</summary>
    private protected bool IsWhatIf => Confirmation.IsWhatIf;

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

    private Confirmation Confirmation => new(this);

    private bool MustShow => IsWhatIf || Confirmation.WouldPrompt;

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
        ShouldProcess(preview.Render(), preview.Render(), TerminalText.OneLine(planned.Plan.Title));
        return planned.AsPlanned();
    }

    // With a preview there may be a question; without one PowerShell would ask nothing.
    private bool Agreed<T>(Planned<T> planned, PlanPreview? preview)
        where T : class
    {
        if (preview is null)
        {
            return ShouldProcess(TerminalText.OneLine(planned.Plan.Subject), planned.Plan.Operation);
        }

        if (preview.NothingToDo)
        {
            return true;
        }

        Confirmation.RequireSomebody(planned.Plan);
        return ShouldProcess(preview.Render(), preview.Render() + Environment.NewLine + "Go on?", TerminalText.OneLine(planned.Plan.Title));
    }

    private static async Task<T> RunAsync<T>(Planned<T> planned, CmdletFeedback feedback, CancellationToken cancel)
        where T : class
    {
        var outcome = await Runner(feedback).RunAsync(planned.Plan, cancel).ConfigureAwait(false);
        if (outcome.Changed == 0)
        {
            feedback.Write(c => c.WriteInformation(new HostInformationMessage { Message = TerminalText.OneLine($"{planned.Plan.Title}: nothing to do, everything is as it should be.") }, ["PSHOST"]));
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
}
