using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Planning;

namespace PitrPS.Replication;

/// <summary>What pg_basebackup -P says of itself: "12345/67890 kB (18%), 0/1 tablespace".</summary>
internal static partial class BaseBackupProgress
{
    public static (long Done, long Total)? Read(string? output)
    {
        var match = output is null ? null : Line().Matches(output).LastOrDefault();
        return match is null ? null : (Kilobytes(match.Groups[1]), Kilobytes(match.Groups[2]));
    }

    public static void Tell(StepRun run, TransferRate rate, string? output)
    {
        if (Read(output) is not { } read)
        {
            return;
        }

        rate.Note(read.Done);
        run.Progress($"{read.Done >> 20:N0} of {read.Total >> 20:N0} MiB, {rate.BytesPerSecond / 1048576:N0} MiB/s", read.Done, read.Total, "bytes", rate.TimeLeft(read.Total));
    }

    /// <summary>The last line that is not progress: the error, when there is one.</summary>
    public static string LastWords(string? output) =>
        output?.Split(['\n', '\r'], StringSplitOptions.RemoveEmptyEntries).LastOrDefault(l => !Line().IsMatch(l))?.Trim() ?? "it said nothing";

    private static long Kilobytes(Group group) => long.Parse(group.Value, CultureInfo.InvariantCulture) * 1024;

    [GeneratedRegex(@"(\d+)/(\d+) kB \(\d+%\)")]
    private static partial Regex Line();
}
