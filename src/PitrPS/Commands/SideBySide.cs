namespace PitrPS.Commands;

/// <summary>Work for many items at once.</summary>
internal static class SideBySide
{
    /// <summary>
    /// Runs it, for so many items at a time. What comes of an item, or its error, is told as soon as it and those before it are known; the others go on.
    /// </summary>
    public static async Task RunAsync<TItem, TResult>(
        IReadOnlyList<TItem> items, int limit, Func<TItem, CancellationToken, Task<TResult>> work, Action<TItem, TResult> tell, Action<TItem, PitrException> tellError, CancellationToken cancel)
    {
        var places = new SemaphoreSlim(limit);
        var running = items.Select(InTurnAsync).ToList();
        try
        {
            foreach (var (item, task) in items.Zip(running))
            {
                try
                {
                    tell(item, await task.ConfigureAwait(false));
                }
                catch (PitrException e)
                {
                    tellError(item, e);
                }
            }
        }
        finally
        {
            // After Ctrl+C each has a journal to write.
            await Task.WhenAll(running.Select(task => task.ContinueWith(_ => { }, TaskScheduler.Default))).ConfigureAwait(false);
        }

        async Task<TResult> InTurnAsync(TItem item)
        {
            await places.WaitAsync(cancel).ConfigureAwait(false);
            try
            {
                return await work(item, cancel).ConfigureAwait(false);
            }
            finally
            {
                places.Release();
            }
        }
    }
}
