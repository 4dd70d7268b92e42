using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// What the scratch server's log says of its recovery. lc_messages is C and log_line_prefix '%m [%p] ' there.
/// Source of the messages: src/backend/access/transam/xlogrecovery.c (xlog.c before 15).
/// </summary>
internal sealed partial record ScratchLog(IReadOnlyList<string> Lines)
{
    /// <summary>Where replay began.</summary>
    public Lsn? RedoFrom => Find(RedoStarts()) is { } match ? Lsn.Parse(match.Groups[1].Value) : null;

    /// <summary>It stopped at its target and not merely where the WAL ended.</summary>
    public bool StoppedAtTarget => Find(Stopping()) is not null;

    /// <summary>What it says of where it stopped: "before WAL location (LSN) "0/3D79CC8"", "at restore point "noon", time …", "after reaching consistency".</summary>
    public string? StoppedWhere => Find(Stopping())?.Groups[1].Value;

    /// <summary>The timeline that the promotion chose.</summary>
    public uint? NewTimeline => Find(NewTimelineId()) is { } match ? uint.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) : null;

    /// <summary>When it took connections.</summary>
    public DateTimeOffset? ReadyAt => Find(Accepting()) is { } match
        ? DateTimeOffset.ParseExact(match.Groups[1].Value, "yyyy-MM-dd HH:mm:ss.fff", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal)
        : null;

    /// <summary>Replay would have to stop before the standby's files are consistent.</summary>
    public bool TargetIsTooEarly => Lines.Any(l => l.Contains("requested recovery stop point is before consistent recovery point", StringComparison.Ordinal));

    /// <summary>The WAL ended before the target.</summary>
    public bool EndedBeforeTarget => Lines.Any(l => l.Contains("recovery ended before configured recovery target was reached", StringComparison.Ordinal));

    /// <summary>Why it ended, in its own words.</summary>
    public string Failure =>
        Lines.LastOrDefault(l => l.StartsWith("pitrps-scratch: ", StringComparison.Ordinal) || FatalLine().IsMatch(l)) is { } line
            ? FatalLine().Replace(line, "$1: ")
            : Lines.Count > 0 ? Lines[^1] : "it left no log";

    private Match? Find(Regex regex) => Lines.Select(l => regex.Match(l)).FirstOrDefault(m => m.Success);

    [GeneratedRegex(@"LOG:  redo starts at ([0-9A-F]+/[0-9A-F]+)")]
    private static partial Regex RedoStarts();

    [GeneratedRegex("LOG:  recovery stopping ((?:before|after|at restore point) .*)$")]
    private static partial Regex Stopping();

    [GeneratedRegex(@"LOG:  selected new timeline ID: (\d+)")]
    private static partial Regex NewTimelineId();

    [GeneratedRegex(@"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) UTC \[\d+\] LOG:  database system is ready to accept connections")]
    private static partial Regex Accepting();

    [GeneratedRegex(@"^\S+ \S+ UTC \[\d+\] (FATAL|PANIC): +")]
    private static partial Regex FatalLine();
}
