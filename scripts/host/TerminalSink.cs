using System.Management.Automation;

namespace PitrPS.ScriptHost;

/// <summary>The terminal that the program runs in. Progress is one line that is drawn over, and nothing at all where there is no terminal.</summary>
internal sealed class TerminalSink : ITextSink
{
    private readonly Lock _lock = new();
    private int _progressLength;

    public int Width { get; } = Console.IsOutputRedirected ? 160 : Math.Max(Console.WindowWidth, 80);

    public bool CanAsk => !Console.IsInputRedirected;

    public void Write(string text)
    {
        lock (_lock)
        {
            Clear();
            Console.Out.Write(text);
        }
    }

    public void WriteError(string line)
    {
        lock (_lock)
        {
            Clear();
            Console.Error.WriteLine(line);
        }
    }

    public void WriteProgress(ProgressRecord record)
    {
        if (Console.IsErrorRedirected)
        {
            return;
        }

        lock (_lock)
        {
            Clear();
            if (record.RecordType == ProgressRecordType.Completed)
            {
                return;
            }

            var percent = record.PercentComplete >= 0 ? $" {record.PercentComplete}%" : "";
            var left = record.SecondsRemaining >= 0 ? $" ({TimeSpan.FromSeconds(record.SecondsRemaining):g} left)" : "";
            var text = $"{record.Activity}:{percent} {record.StatusDescription}{left}";
            text = text.Length < Width ? text : text[..(Width - 1)];
            Console.Error.Write(text);
            _progressLength = text.Length;
        }
    }

    public string? ReadLine() => Console.In.ReadLine();

    public void ClearProgress()
    {
        lock (_lock)
        {
            Clear();
        }
    }

    private void Clear()
    {
        if (_progressLength > 0)
        {
            Console.Error.Write("\r" + new string(' ', _progressLength) + "\r");
            _progressLength = 0;
        }
    }
}
