using PitrPS.Planning;

namespace PitrPS.Tests.Planning;

public class TransferRateTests
{
    [Fact]
    public void The_rate_is_that_of_the_last_ten_seconds()
    {
        var rate = new TransferRate();
        for (var second = 0; second <= 60; second++)
        {
            rate.Note(second <= 30 ? second * 1000L : 30_000 + ((second - 30) * 10L), TimeSpan.FromSeconds(second));
        }

        Assert.Equal(10, rate.BytesPerSecond, 3);
        Assert.Equal(TimeSpan.FromSeconds(10), rate.TimeLeft(30_300 + 100));
    }

    [Fact]
    public void Nothing_is_known_before_the_second_note()
    {
        var rate = new TransferRate();
        rate.Note(100, TimeSpan.Zero);
        Assert.Null(rate.TimeLeft(1000));
    }
}
