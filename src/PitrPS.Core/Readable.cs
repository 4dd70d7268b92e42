using System.Globalization;

namespace PitrPS;

/// <summary>Sizes, times, durations and what servers say, as the format views show them.</summary>
public static class Readable
{
    private static readonly string[] Units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

    /// <summary>Bytes in the unit that leaves one to four digits, "1.5 GiB"; nothing for null.</summary>
    /// <param name="bytes">Bytes.</param>
    public static string? Size(long? bytes)
    {
        if (bytes is not { } rest)
        {
            return null;
        }

        var value = (double)rest;
        var unit = 0;
        while (Math.Abs(value) >= 1000 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{(unit > 0 && Math.Abs(value) < 10 ? Math.Round(value, 1) : Math.Round(value))} {Units[unit]}");
    }

    /// <summary>A time in this computer's zone, with UTC beside it where that differs: "2026-11-23 16:58:54 (15:58:54 UTC)"; nothing for null.</summary>
    /// <param name="time">The time.</param>
    public static string? Time(DateTimeOffset? time) => time is { } at ? Time(at, TimeZoneInfo.Local) : null;

    /// <summary>A duration by its two largest units, "2 d 23 h"; nothing for null.</summary>
    /// <param name="duration">The duration.</param>
    public static string? Duration(TimeSpan? duration)
    {
        if (duration is not { } rest)
        {
            return null;
        }

        var sign = rest < TimeSpan.Zero ? "-" : "";
        rest = rest.Duration();
        return sign + rest switch
        {
            { TotalDays: >= 1 } => rest.Hours == 0 ? $"{rest.Days} d" : $"{rest.Days} d {rest.Hours} h",
            { TotalHours: >= 1 } => rest.Minutes == 0 ? $"{rest.Hours} h" : $"{rest.Hours} h {rest.Minutes} min",
            { TotalMinutes: >= 1 } => rest.Seconds == 0 ? $"{rest.Minutes} min" : $"{rest.Minutes} min {rest.Seconds} s",
            { TotalSeconds: >= 10 } => $"{rest.Seconds} s",
            _ => string.Create(CultureInfo.InvariantCulture, $"{Math.Round(rest.TotalSeconds, 1)} s"),
        };
    }

    /// <summary>A name or a message of a server on one line, without what a terminal would obey; nothing for null.</summary>
    /// <param name="said">What has it.</param>
    public static string? Text(object? said) => said is null ? null : TerminalText.OneLine($"{said}");

    internal static string Time(DateTimeOffset time, TimeZoneInfo zone)
    {
        var here = TimeZoneInfo.ConvertTime(time, zone);
        var utc = time.ToUniversalTime();
        var there = here.Offset == TimeSpan.Zero ? "UTC" : here.Date == utc.Date ? $"({utc:HH:mm:ss} UTC)" : $"({utc:yyyy-MM-dd HH:mm:ss} UTC)";
        return string.Create(CultureInfo.InvariantCulture, $"{here:yyyy-MM-dd HH:mm:ss} {there}");
    }
}
