using System.Globalization;
using PitrPS.Recovery;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class TargetTimeTests
{
    private static readonly TimeZoneInfo Berlin = TimeZoneInfo.FindSystemTimeZoneById("Europe/Berlin");
    private readonly FakeRemoteHost _host = new();

    [Theory]
    [InlineData("2026-11-23 14:05:00+01:00", "2026-11-23T13:05:00.0000000Z")]
    [InlineData("2026-11-23T14:05:00.5-0330", "2026-11-23T17:35:00.5000000Z")]
    [InlineData("2026-11-23 14:05 +1", "2026-11-23T13:05:00.0000000Z")]
    [InlineData("2026-11-23 14:05:07.123456+00", "2026-11-23T14:05:07.1234560Z")]
    [InlineData("2026-11-23 14:05:07,123 UTC", "2026-11-23T14:05:07.1230000Z")]
    [InlineData("  2026-11-23T14:05:07z ", "2026-11-23T14:05:07.0000000Z")]
    [InlineData("2026-11-23 4:05 GMT", "2026-11-23T04:05:00.0000000Z")]
    [InlineData("2026-11-23Z", "2026-11-23T00:00:00.0000000Z")]
    [InlineData("2026-11-23 +05:45", "2026-11-22T18:15:00.0000000Z")]
    [InlineData("2026-07-23 14:05 Europe/Berlin", "2026-07-23T12:05:00.0000000Z")]
    [InlineData("2026-11-23 14:05 Europe/Berlin", "2026-11-23T13:05:00.0000000Z")]
    [InlineData("2026-10-25 02:30:00+02:00", "2026-10-25T00:30:00.0000000Z")]
    public void Reads_a_time_that_says_its_offset(string text, string utc) => InAStrangeCulture(() => Assert.Equal(utc, new TargetTime(text).At!.Value.UtcDateTime.ToString("O")));

    [Theory]
    [InlineData("23.11.2026 14:05+01:00")]
    [InlineData("11/23/2026 14:05Z")]
    [InlineData("2026-11-23-05")]
    [InlineData("2026-13-01 00:00Z")]
    [InlineData("2026-11-31 00:00Z")]
    [InlineData("2026-11-23 24:30Z")]
    [InlineData("2026-11-23 14:05 CET")]
    [InlineData("2026-11-23 14:05 Middle/Earth")]
    [InlineData("2026-11-23 14:05+15:00")]
    [InlineData("2026-11-23 14:05+01:75")]
    [InlineData("14:05Z")]
    [InlineData("yesterday")]
    [InlineData("")]
    public async Task Refuses_what_can_be_read_in_more_than_one_way_or_none(string text)
    {
        var error = await Refused(new TargetTime(text));
        Assert.Equal("PitrPS.TimeNotUnderstood", error.Id);
        Assert.Empty(_host.Commands);
    }

    [Theory]
    [InlineData("2026-11-23 14:05")]
    [InlineData("2026-11-23T14:05:00")]
    public async Task A_time_without_an_offset_is_refused_with_the_three_that_it_could_be(string text)
    {
        _host.On("log_timezone", "America/New_York\n");
        var error = await Refused(new TargetTime(text));
        Assert.Equal("PitrPS.TimeWithoutOffset", error.Id);
        Assert.Equal(
            [
                $"'{text}' says no offset from UTC, so it can be several moments:",
                "  by this computer's clock (Europe/Berlin): 2026-11-23 14:05:00+01:00",
                $"  by the log of {_host.Host.Name}:15/main (America/New_York): 2026-11-23 14:05:00-05:00",
                "  UTC: 2026-11-23 14:05:00+00:00",
            ], error.Message.Split('\n'));
        Assert.Contains("-TargetTime '2026-11-23 14:05:00+01:00'", error.NextStep, StringComparison.Ordinal);
    }

    [Fact]
    public void A_clock_reading_that_came_twice_or_never_is_shown_as_such_in_each_zone()
    {
        Assert.Contains("by this computer's clock (Europe/Berlin): came twice there: 2026-10-25 02:30:00+02:00 and 2026-10-25 02:30:00+01:00",
            new TargetTime("2026-10-25 02:30").WithoutOffset(Berlin, "Etc/UTC", TestStandby.On(_host)).Message, StringComparison.Ordinal);
        var never = new TargetTime("2026-03-29 02:30").WithoutOffset(Berlin, "Europe/Berlin", TestStandby.On(_host));
        Assert.Contains("15/main (Europe/Berlin): does not exist there", never.Message, StringComparison.Ordinal);
        Assert.Contains("-TargetTime '2026-03-29 02:30:00+00:00'", never.NextStep, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("2026-10-25 02:30 Europe/Berlin", "came twice there: 2026-10-25 02:30:00+02:00 and 2026-10-25 02:30:00+01:00")]
    [InlineData("2026-03-29 02:30 Europe/Berlin", "does not exist there")]
    public async Task An_hour_that_a_clock_change_makes_ambiguous_is_refused(string text, string why)
    {
        var error = await Refused(new TargetTime(text));
        Assert.Equal("PitrPS.TimeAmbiguous", error.Id);
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("<+03>-3", "(<+03>-3): its offset at that time is not known here")]
    [InlineData(null, "its zone could not be read")]
    public void A_zone_of_the_server_that_is_not_known_here_is_named(string? zone, string said) =>
        Assert.Contains(said, new TargetTime("2026-11-23 14:05").WithoutOffset(Berlin, zone, TestStandby.On(_host)).Message, StringComparison.Ordinal);

    [Fact]
    public async Task Takes_a_DateTimeOffset_and_a_DateTime_of_UTC_as_they_are_and_no_other_DateTime()
    {
        var at = new DateTimeOffset(2026, 11, 23, 14, 5, 0, TimeSpan.FromHours(1));
        Assert.Equal((at, "2026-11-23 14:05:00+01:00"), (new TargetTime(at).At, new TargetTime(at).Text));
        Assert.Equal(at, new TargetTime(at.UtcDateTime).At);
        _host.On("log_timezone", "Etc/UTC");
        foreach (var kind in new[] { DateTimeKind.Unspecified, DateTimeKind.Local })
        {
            Assert.Equal("PitrPS.TimeWithoutOffset", (await Refused(new TargetTime(DateTime.SpecifyKind(at.DateTime, kind)))).Id);
        }
    }

    private Task<PitrException> Refused(TargetTime time) => Assert.ThrowsAsync<PitrException>(() => time.RequireAsync(TestStandby.On(_host), Berlin, default));

    private static void InAStrangeCulture(Action test)
    {
        var before = CultureInfo.CurrentCulture;
        try
        {
            var strange = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            (strange.DateTimeFormat.DateSeparator, strange.DateTimeFormat.TimeSeparator, strange.NumberFormat.NumberDecimalSeparator) = (".", ".", ",");
            strange.DateTimeFormat.ShortDatePattern = "dd.MM.yyyy";
            CultureInfo.CurrentCulture = strange;
            test();
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
    }
}
