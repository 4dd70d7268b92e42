using System.Text;

namespace PitrPS.Hosts;

/// <summary>What callers of the seam ask for again and again.</summary>
internal static class RemoteHostExtensions
{
    /// <summary>Runs the command and throws <c>PitrPS.RemoteCommandFailed</c> unless it exits with 0.</summary>
    public static async Task<CommandResult> RunCheckedAsync(this PgHost host, RemoteCommand command, CancellationToken cancel)
    {
        var result = await host.Remote.RunAsync(command, cancel).ConfigureAwait(false);
        if (!result.Succeeded)
        {
            throw Failed(host, command, result);
        }

        return result;
    }

    /// <summary>Runs the command and says whether it exited with 0; for checks.</summary>
    public static async Task<bool> TestAsync(this PgHost host, RemoteCommand command, CancellationToken cancel) =>
        (await host.Remote.RunAsync(command, cancel).ConfigureAwait(false)).Succeeded;

    public static async Task<string?> ReadTextAsync(this PgHost host, string path, CancellationToken cancel) =>
        await host.Remote.ReadFileAsync(path, cancel).ConfigureAwait(false) is { } bytes ? Encoding.UTF8.GetString(bytes) : null;

    public static PitrException Failed(PgHost host, RemoteCommand command, CommandResult result)
    {
        var said = result.ErrorOutput.Trim().Length > 0 ? result.ErrorOutput.Trim() : result.Text;
        return new PitrException("PitrPS.RemoteCommandFailed", ErrorKind.InvalidResult,
            $"On {host.Name}, '{command.Brief}' ended with {result.ExitCode}: {said}",
            "Read what the command said, mend it on the host, and run the same cmdlet again: it goes on where it stopped.", host);
    }
}
