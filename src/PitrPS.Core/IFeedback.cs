namespace PitrPS;

/// <summary>How far a piece of work has come. <paramref name="Done"/> and <paramref name="Total"/> are in <paramref name="Unit"/> (usually bytes).</summary>
/// <param name="Activity">What is being done.</param>
/// <param name="Status">Where it stands, in words.</param>
/// <param name="Done">How much is done.</param>
/// <param name="Total">How much there is; null where nobody knows.</param>
/// <param name="Unit">bytes, rows or steps.</param>
/// <param name="TimeLeft">Expected time to the end; null where nobody knows.</param>
internal sealed record ProgressNote(string Activity, string Status, long Done = 0, long? Total = null, string Unit = "steps", TimeSpan? TimeLeft = null)
{
    /// <summary>True for the last note of an activity.</summary>
    public bool Completed { get; init; }
}

/// <summary>Where work below the cmdlets says what it does. Calls may come from any thread; nothing passed in may hold a secret.</summary>
internal interface IFeedback
{
    /// <summary>One remote command, decision or finding, for -Verbose.</summary>
    void Verbose(string text);

    /// <summary>Something that the user must know but that does not stop the work.</summary>
    void Warning(string text);

    /// <summary>Progress of anything that may take longer than 2 s.</summary>
    void Progress(ProgressNote note);
}
