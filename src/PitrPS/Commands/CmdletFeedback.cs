using System.Collections.Concurrent;
using System.Management.Automation;

namespace PitrPS.Commands;

/// <summary>What running work says, kept until the pipeline thread writes it.</summary>
internal sealed class CmdletFeedback : IFeedback
{
    private readonly BlockingCollection<Action<Cmdlet>> _queue = [];

    public void Verbose(string text) => Add(c => c.WriteVerbose(TerminalText.Clean(text)));

    public void Warning(string text) => Add(c => c.WriteWarning(TerminalText.Clean(text)));

    public void Progress(ProgressNote note) => Add(c => c.WriteProgress(ProgressRecords.From(note)));

    /// <summary>Emits an object before the work has ended.</summary>
    public void Emit(object item) => Add(c => c.WriteObject(item));

    /// <summary>Writes an error about one item; the work goes on.</summary>
    public void Error(PitrException error, object? target = null) => Add(c => c.WriteError(PitrCmdlet.Record(error, target)));

    internal IEnumerable<Action<Cmdlet>> Drain(CancellationToken cancel) => _queue.GetConsumingEnumerable(cancel);

    internal void Close() => _queue.CompleteAdding();

    /// <summary>Anything else that must happen on the pipeline thread.</summary>
    public void Write(Action<Cmdlet> write) => Add(write);

    private void Add(Action<Cmdlet> write)
    {
        try
        {
            _queue.Add(write);
        }
        catch (InvalidOperationException)
        {
            // Work that was given up after Ctrl+C has nobody left to tell.
        }
    }
}

/// <summary>Progress as PowerShell draws it.</summary>
internal static class ProgressRecords
{
    public static ProgressRecord From(ProgressNote note)
    {
        var record = new ProgressRecord(note.Activity.GetHashCode(StringComparison.Ordinal) & 0x7FFFFFFF, TerminalText.OneLine(note.Activity), note.Status.Length > 0 ? TerminalText.OneLine(note.Status) : " ");
        if (note.Completed)
        {
            record.RecordType = ProgressRecordType.Completed;
        }

        if (note.Total is > 0)
        {
            record.PercentComplete = (int)Math.Clamp(note.Done * 100 / note.Total.Value, 0, 100);
        }

        if (note.TimeLeft is { } left)
        {
            record.SecondsRemaining = (int)left.TotalSeconds;
        }

        return record;
    }
}
