using System.Diagnostics;

namespace PitrPS.Planning;

/// <summary>How fast a number of bytes grows, over the last 10 s, and how long the rest will take.</summary>
internal sealed class TransferRate
{
    private static readonly TimeSpan Window = TimeSpan.FromSeconds(10);

    private readonly Queue<(TimeSpan At, long Bytes)> _notes = new();
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private long _last;

    public double BytesPerSecond { get; private set; }

    public void Note(long bytes) => Note(bytes, _clock.Elapsed);

    public void Note(long bytes, TimeSpan at)
    {
        _last = bytes;
        _notes.Enqueue((at, bytes));
        while (_notes.Count > 2 && at - _notes.Peek().At > Window)
        {
            _notes.Dequeue();
        }

        var (firstAt, firstBytes) = _notes.Peek();
        BytesPerSecond = at > firstAt ? (bytes - firstBytes) / (at - firstAt).TotalSeconds : 0;
    }

    /// <summary>Null while nothing is known.</summary>
    public TimeSpan? TimeLeft(long total) => BytesPerSecond > 0 ? TimeSpan.FromSeconds(Math.Max(0, total - _last) / BytesPerSecond) : null;
}
