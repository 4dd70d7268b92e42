using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// A point in time as it was written. PowerShell would give a text without an offset the one of the client's computer and say nothing; three in the morning is no time to guess,
/// so what was written is kept, and one that could mean several moments is refused with all of them shown.
/// </summary>
public sealed partial class TargetTime
{
    private readonly DateTime? _clock;
    private readonly TimeZoneInfo? _zone;

    /// <summary>Reads "2026-11-23 14:05:00+01:00", with T or a blank in it; the offset may also be Z, UTC, GMT or the name of a zone such as Europe/Berlin.</summary>
    /// <param name="text">The text. One that says no offset, or is no time at all, is refused when it is used.</param>
    public TargetTime(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        Text = text.Trim();
        if (Written().Match(Text) is not { Success: true } match || ClockOf(match) is not { } clock)
        {
            return;
        }

        var zone = match.Groups["zone"].Value;
        if (zone.Length == 0)
        {
            _clock = clock;
        }
        else if (OffsetOf(zone) is { } offset)
        {
            At = new DateTimeOffset(clock, offset);
        }
        else if (zone.Contains('/', StringComparison.Ordinal) && TimeZoneInfo.TryFindSystemTimeZoneById(zone, out _zone))
        {
            _clock = clock;
            At = _zone.IsInvalidTime(clock) || _zone.IsAmbiguousTime(clock) ? null : new DateTimeOffset(clock, _zone.GetUtcOffset(clock));
        }
    }

    /// <summary>A moment that is one whoever reads it.</summary>
    /// <param name="at">The moment.</param>
    public TargetTime(DateTimeOffset at)
    {
        At = at;
        Text = at.ToString("yyyy-MM-dd HH:mm:ss.FFFFFFzzz", CultureInfo.InvariantCulture);
    }

    /// <summary>A time that says its offset only where it is one in UTC.</summary>
    /// <param name="time">The time.</param>
    public TargetTime(DateTime time)
    {
        Text = time.ToString("yyyy-MM-dd HH:mm:ss.FFFFFF", CultureInfo.InvariantCulture) + (time.Kind == DateTimeKind.Utc ? "Z" : "");
        _clock = DateTime.SpecifyKind(time, DateTimeKind.Unspecified);
        At = time.Kind == DateTimeKind.Utc ? new DateTimeOffset(time) : null;
    }

    /// <summary>What was written.</summary>
    public string Text { get; }

    /// <summary>It is a time, of one moment or of several.</summary>
    internal bool IsUnderstood => At is not null || _clock is not null;

    /// <summary>The moment; null where what was written is not exactly one.</summary>
    public DateTimeOffset? At { get; }

    /// <summary>What was written.</summary>
    public override string ToString() => Text;

    /// <summary>The moment.</summary>
    /// <param name="standby">Its host is asked for the zone of the server's log, where what was written says none.</param>
    /// <param name="client">The zone of the client's computer.</param>
    /// <param name="cancel">Gives it up.</param>
    /// <exception cref="PitrException"><c>PitrPS.TimeNotUnderstood</c>, <c>PitrPS.TimeWithoutOffset</c>, <c>PitrPS.TimeAmbiguous</c></exception>
    internal async Task<DateTimeOffset> RequireAsync(PgServer standby, TimeZoneInfo client, CancellationToken cancel) =>
        At ?? throw (_clock is null ? NotUnderstood(standby)
            : _zone is not null ? Ambiguous(standby)
            : WithoutOffset(client, await ServerZoneAsync(standby, cancel).ConfigureAwait(false), standby));

    /// <summary>The error for a time without an offset, with each moment that it could be.</summary>
    internal PitrException WithoutOffset(TimeZoneInfo client, string? serverZone, PgServer standby)
    {
        var clock = _clock!.Value;
        var server = serverZone is not null && TimeZoneInfo.TryFindSystemTimeZoneById(serverZone, out var found) ? found : null;
        string[] readings =
        [
            $"by this computer's clock ({client.Id}): {Reading(clock, client)}",
            serverZone is null ? $"by the log of {standby.Id}: its zone could not be read"
                : $"by the log of {standby.Id} ({serverZone}): {(server is null ? "its offset at that time is not known here" : Reading(clock, server))}",
            $"UTC: {Reading(clock, TimeZoneInfo.Utc)}",
        ];
        return new PitrException("PitrPS.TimeWithoutOffset", ErrorKind.InvalidArgument,
            $"'{Text}' says no offset from UTC, so it can be several moments:" + string.Concat(readings.Select(r => "\n  " + r)),
            $"Write the one that you mean, for example -TargetTime '{(client.IsInvalidTime(clock) ? Moment(clock, TimeSpan.Zero) : Moments(clock, client)[0])}'. Nothing has been changed.", standby);
    }

    private PitrException Ambiguous(PgServer standby) => new("PitrPS.TimeAmbiguous", ErrorKind.InvalidArgument,
        $"'{Text}' is not one moment, because the clocks were changed then: in {_zone!.Id} it {Reading(_clock!.Value, _zone)}.",
        (_zone.IsInvalidTime(_clock.Value) ? "Write another time" : $"Write the offset of the one that you mean, for example -TargetTime '{Moments(_clock.Value, _zone)[0]}'") + ". Nothing has been changed.", standby);

    private PitrException NotUnderstood(PgServer standby) => new("PitrPS.TimeNotUnderstood", ErrorKind.InvalidArgument, $"'{Text}' is not a time that can be read in one way only.",
        "Write year, month, day, time and the offset from UTC: -TargetTime '2026-11-23 14:05:00+01:00'. Abbreviations of zones mean different things in different places; UTC, Z and names such as Europe/Berlin are understood.", standby);

    private static string Reading(DateTime clock, TimeZoneInfo zone) =>
        zone.IsInvalidTime(clock) ? "does not exist there: the clock was put forward over it"
        : zone.IsAmbiguousTime(clock) ? "came twice there: " + string.Join(" and ", Moments(clock, zone))
        : Moments(clock, zone)[0];

    // The earlier one first.
    private static string[] Moments(DateTime clock, TimeZoneInfo zone) =>
        [.. (zone.IsAmbiguousTime(clock) ? zone.GetAmbiguousTimeOffsets(clock).OrderDescending() : (IEnumerable<TimeSpan>)[zone.GetUtcOffset(clock)]).Select(o => Moment(clock, o))];

    private static string Moment(DateTime clock, TimeSpan offset) => new DateTimeOffset(clock, offset).ToString("yyyy-MM-dd HH:mm:ss.FFFFFFzzz", CultureInfo.InvariantCulture);

    // What people read times from is the server's log.
    private static async Task<string?> ServerZoneAsync(PgServer standby, CancellationToken cancel)
    {
        if (standby.IsPlanned)
        {
            return null;
        }

        var said = await standby.Host.Remote.RunAsync(RemoteCommand.Of(standby.Program("postgres"), "-D", standby.ConfigDirectory, "-C", "log_timezone").As(standby.OsUser), cancel).ConfigureAwait(false);
        return said.Succeeded && said.Text.Length > 0 ? said.Text : null;
    }

    private static DateTime? ClockOf(Match match)
    {
        var time = match.Groups["time"].Value.Replace(',', '.');
        string[] formats = ["yyyy-MM-dd H:mm", "yyyy-MM-dd H:mm:ss", "yyyy-MM-dd H:mm:ss.FFFFFFF"];
        return DateTime.TryParseExact($"{match.Groups["date"].Value} {(time.Length == 0 ? "0:00" : time)}", formats, CultureInfo.InvariantCulture, DateTimeStyles.None, out var clock) ? clock : null;
    }

    private static TimeSpan? OffsetOf(string zone)
    {
        if (zone.ToUpperInvariant() is "Z" or "UTC" or "GMT")
        {
            return TimeSpan.Zero;
        }

        if (Offset().Match(zone) is not { Success: true } match)
        {
            return null;
        }

        var minutes = (60 * Number(match.Groups["hours"])) + Number(match.Groups["minutes"]);
        return minutes <= 14 * 60 && Number(match.Groups["minutes"]) < 60 ? TimeSpan.FromMinutes(match.Groups["sign"].Value == "-" ? -minutes : minutes) : null;
    }

    private static int Number(Group digits) => digits.Length == 0 ? 0 : int.Parse(digits.ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture);

    // A date alone may be followed by a zone only after a blank: 2026-11-23-05 looks like a date with too much in it.
    [GeneratedRegex(@"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})(?:(?:[Tt]| +)(?<time>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,7})?)?) *(?<zone>[A-Za-z+-][A-Za-z0-9/_:+-]*)?| +(?<zone>[A-Za-z+-][A-Za-z0-9/_:+-]*)|(?<zone>[Zz]))?$")]
    private static partial Regex Written();

    [GeneratedRegex("^(?<sign>[+-])(?<hours>[0-9]{1,2})(?::?(?<minutes>[0-9]{2}))?$")]
    private static partial Regex Offset();
}
