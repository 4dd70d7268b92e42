using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>
/// The lock of a subject on its home host: a kernel lock (flock) held by a process on our own connection, so that it is free
/// the moment the client is killed, and 20 s after a link was cut, because the process waits for a sign of life that long.
/// </summary>
internal sealed class OperationLock : IAsyncDisposable
{
    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(5);

    // sshd may need a moment to notice that a client was killed.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan AskAgain = TimeSpan.FromSeconds(0.5);

    // A line is a sign of life. Exit code 75 of flock: somebody else has it. Then the holder's own line and the age of its last sign of life are printed.
    internal const string HoldScript =
        """
        umask 077; mkdir -p "$1" || exit 70
        file="$1/$2"; : >> "$file" || exit 70
        exec 9<>"$file"
        if ! flock -n 9; then
          printf 'taken %s ' "$(( $(date +%s) - $(stat -c %Y "$file") ))"; head -n 1 "$file"
          exit 75
        fi
        printf '%s\n' "$3" > "$file"
        echo held
        while timeout 20 head -c 1 9>&- | grep -q '' 9>&-; do touch "$file" 9>&-; done
        """;

    private readonly IRemoteProcess _process;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _beating;

    private OperationLock(IRemoteProcess process)
    {
        _process = process;
        _beating = BeatAsync();
    }

    /// <summary>Who holds it no longer: the connection was cut, or the process was ended on the host. Then somebody else may have it.</summary>
    /// <exception cref="PitrException"><c>PitrPS.LockLost</c></exception>
    public void RequireHeld(Plan plan)
    {
        if (_process.Completion.IsCompleted)
        {
            throw new PitrException("PitrPS.LockLost", ErrorKind.ConnectionError,
                $"{plan.Title} does not hold its lock on {plan.Home.Name} any more: its connection was cut, or its process was ended there.",
                "Nothing more was done. Run the same command again: it goes on where it stopped.", plan.Home);
        }
    }

    /// <summary>Takes the lock, waiting up to 25 s for one whose holder gives no sign of life.</summary>
    /// <exception cref="PitrException"><c>PitrPS.OperationInProgress</c>: who holds it, and how to take over.</exception>
    public static async Task<OperationLock> TakeAsync(PgHost home, string name, string operation, string client, IFeedback feedback, CancellationToken cancel)
    {
        var asked = DateTimeOffset.UtcNow;
        var giveUp = asked + TimeSpan.FromSeconds(25);
        var holder = $"{client} {DateTimeOffset.UtcNow:yyyy-MM-dd'T'HH:mm:ss'Z'} {operation}";
        while (true)
        {
            var process = await home.Remote.StartAsync(
                RemoteCommand.Shell(HoldScript, HostPaths.Locks, HostPaths.FileName(name), holder).AsRoot(), cancel).ConfigureAwait(false);
            var line = await process.ReadLineAsync(cancel).ConfigureAwait(false);
            if (line == "held")
            {
                return new OperationLock(process);
            }

            var ended = await process.Completion.WaitAsync(cancel).ConfigureAwait(false);
            await process.DisposeAsync().ConfigureAwait(false);
            if (ended.ExitCode != 75 || line is null)
            {
                throw new PitrException("PitrPS.LockFailed", ErrorKind.ResourceUnavailable,
                    $"The lock for {name} cannot be taken on {home.Name}: {ended.ErrorOutput.Trim()}",
                    "Look at the directory " + HostPaths.Locks + " on the host: is the disk full, or is flock missing?", home);
            }

            var words = line.Split(' ', 3);
            var silence = words.Length > 1 && int.TryParse(words[1], out var seconds) ? seconds : 0;
            var who = words.Length > 2 ? words[2] : "somebody";
            if (DateTimeOffset.UtcNow > (silence <= Beat.TotalSeconds + 2 ? asked + Grace : giveUp))
            {
                throw new PitrException("PitrPS.OperationInProgress", ErrorKind.ResourceBusy,
                    $"Another PitrPS is at work on {name}: {who}.",
                    "Wait until it has ended. To take over, stop that client (Ctrl+C, or end its process): the lock is free at once, or 20 s after its link was cut. Then run the same command again.", home);
            }

            feedback.Verbose($"{home.Name}: the lock on {name} is held by {who}, silent for {silence} s; asking again.");
            await Task.Delay(AskAgain, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Who holds which lock on this host now: the lock's file name, and the holder's own line, which ends with the operation.</summary>
    public static async Task<IReadOnlyDictionary<string, string>> HeldAsync(PgHost home, CancellationToken cancel)
    {
        var said = await home.RunCheckedAsync(RemoteCommand.Shell(HeldScript, HostPaths.Locks).AsRoot(), cancel).ConfigureAwait(false);
        return said.Lines.Select(l => l.Split(' ', 2)).Where(w => w.Length == 2).ToDictionary(w => w[0], w => w[1]);
    }

    // Somebody who wants it in just this moment asks again. (/proc/locks hides it in a container: the program that took it has ended.)
    internal const string HeldScript =
        """
        cd "$1" 2>/dev/null || exit 0
        for file in *; do
          [ ! -f "$file" ] || flock -n -s "$file" true || echo "$file $(head -n 1 "$file")"
        done
        """;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _beating.ConfigureAwait(false);
        await _process.DisposeAsync().ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task BeatAsync()
    {
        try
        {
            while (true)
            {
                await _process.WriteLineAsync("", _stop.Token).ConfigureAwait(false);
                await Task.Delay(Beat, _stop.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException or PitrException)
        {
            // The connection is gone or we are done: either way the lock ends with the process that holds it.
        }
    }
}
