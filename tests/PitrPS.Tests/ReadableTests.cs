namespace PitrPS.Tests;

public sealed class ReadableTests
{
    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1000, "1 KiB")]
    [InlineData(1536, "1.5 KiB")]
    [InlineData(16777216, "16 MiB")]
    [InlineData(1300000000, "1.2 GiB")]
    [InlineData(-2048, "-2 KiB")]
    [InlineData(long.MaxValue, "8192 PiB")]
    public void Sizes_have_the_unit_that_fits(long bytes, string expected) => Assert.Equal(expected, Readable.Size(bytes));

    [Theory]
    [InlineData("00:00:00", "0 s")]
    [InlineData("00:00:01.24", "1.2 s")]
    [InlineData("00:00:59.9", "59 s")]
    [InlineData("00:05:00", "5 min")]
    [InlineData("01:02:03", "1 h 2 min")]
    [InlineData("3.00:00:00", "3 d")]
    [InlineData("2.23:59:59", "2 d 23 h")]
    [InlineData("-00:05:00", "-5 min")]
    public void Durations_never_promise_more_time_than_there_is(string duration, string expected) =>
        Assert.Equal(expected, Readable.Duration(TimeSpan.Parse(duration, System.Globalization.CultureInfo.InvariantCulture)));

    [Theory]
    [InlineData(0, "2026-11-23 23:30:00 UTC")]
    [InlineData(-5, "2026-11-23 18:30:00 (23:30:00 UTC)")]
    [InlineData(1, "2026-11-24 00:30:00 (2026-11-23 23:30:00 UTC)")]
    public void Times_are_local_with_UTC_beside_them(int hours, string expected)
    {
        var zone = TimeZoneInfo.CreateCustomTimeZone("here", TimeSpan.FromHours(hours), "here", "here");
        Assert.Equal(expected, Readable.Time(new DateTimeOffset(2026, 11, 23, 23, 30, 0, TimeSpan.Zero), zone));
    }

    [Fact]
    public void What_is_not_known_is_not_shown()
    {
        Assert.Null(Readable.Size(null));
        Assert.Null(Readable.Duration(null));
        Assert.Null(Readable.Time((DateTimeOffset?)null));
    }
}
