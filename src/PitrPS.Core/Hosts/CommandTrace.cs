using System.Globalization;

namespace PitrPS.Hosts;

/// <summary>
/// Who hears of every remote command: the feedback of the cmdlet whose work this is. It flows with the asynchronous work itself,
/// so two pipelines that share a host each hear of their own commands only. Only <see cref="RemoteCommand.Brief"/> is told, never input.
/// </summary>
internal static class CommandTrace
{
    private static readonly AsyncLocal<IFeedback?> Current = new();

    /// <summary>Sets the listener for all work that is started from here on in this flow.</summary>
    public static void ListenWith(IFeedback? feedback) => Current.Value = feedback;

    public static void Warn(string text) => Current.Value?.Warning(text);

    public static void Tell(string host, string what, TimeSpan took, string outcome) =>
        Current.Value?.Verbose(string.Create(CultureInfo.InvariantCulture, $"{host}: {what} ({outcome}, {took.TotalMilliseconds:0} ms)"));
}
