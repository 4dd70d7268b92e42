namespace PitrPS.LabTests.Infrastructure;

/// <summary>Waits for what comes about by itself. To ask costs processor time that what is waited for needs, so there is a pause between two questions.</summary>
public static class Waiting
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);

    /// <summary>Whether it is so within this time, or a minute.</summary>
    public static bool Until(Func<bool> isSo, TimeSpan? limit = null)
    {
        ArgumentNullException.ThrowIfNull(isSo);
        var end = DateTimeOffset.UtcNow + (limit ?? TimeSpan.FromMinutes(1));
        while (!isSo())
        {
            if (DateTimeOffset.UtcNow > end)
            {
                return false;
            }

            Task.Delay(Pause).Wait();
        }

        return true;
    }

    /// <summary>Fails when it is not so within this time.</summary>
    public static void For(string what, Func<bool> isSo, int seconds = 60) => Assert.True(Until(isSo, TimeSpan.FromSeconds(seconds)), $"It took too long: {what}.");
}
