using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Renci.SshNet.Common;

namespace PitrPS.Hosts;

/// <summary>The shell of root ended before a command had begun in it: the command has not run.</summary>
internal sealed class ShellEnded() : Exception("The shell ended.");

/// <summary>
/// A shell of root that stays on a connection and runs one command after another: a channel, a login shell and sudo for each would take
/// ten times as long, and several round trips instead of one. Each command is a process of its own as on a channel of its own; where its
/// output ends is told by a mark that nobody can guess.
/// </summary>
internal sealed class SshShell
{
    // A command comes as a line "MARK BYTES INPUT-BYTES", its script and its input. The script ends with the mark, as a comment: of one that has not come
    // whole (the connection was lost, or its reader was killed) nothing is run. What it leaves of its input is taken away. On standard output its exit
    // code is told once it has ended, and the end once nobody has that open any more, as on a channel of its own: what a process that it left behind
    // says must not be taken for another one's. Each fork costs milliseconds, so there are as few as can be.
    private const string Loop =
        """
        exec 3>&1
        carry() { (eval "$script") 3>&-; }
        while IFS=' ' read -r mark size input; do
          script=$(head -c "$size" 3>&-)
          case $script in *"#$mark") ;; *) exit ;; esac
          if [ "$input" = 0 ]; then
            { carry </dev/null; printf '\n%s %s\n' "$mark" "$?"; } | cat >&3
          else
            head -c "$input" | { carry; printf '\n%s %s\n' "$mark" "$?"; exec cat >/dev/null; } | cat >&3
          fi
          printf '\n%s .\n' "$mark" >&2
          printf '\n%s .\n' "$mark"
        done
        """;

    private static readonly TimeSpan Goodbye = TimeSpan.FromSeconds(3);

    private readonly SshExecution _execution;
    private readonly Lock _lock = new();
    private Task _ending = Task.CompletedTask;
    private Job? _job;
    private bool _ended;
    private bool _endedByHost;

    private SshShell(SshExecution execution) => _execution = execution;

    /// <summary>What starts it on a channel: a command of root that reads what it is to do.</summary>
    public static RemoteCommand Command { get; } = RemoteCommand.Shell(Loop).AsRoot() with { KeepsInput = true };

    /// <summary>True when the host has not ended it.</summary>
    public bool IsAlive => !_ended && !_execution.Ended.IsCompleted;

    /// <summary>Starts it; the place on the connection is the caller's, who gives it to this.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="line">The line for the login shell.</param>
    /// <param name="ahead">What sudo is to be given.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="NoChannelLeft">The host opens no further channel.</exception>
    public static async Task<SshShell> StartAsync(SshConnection connection, string line, ReadOnlyMemory<byte> ahead, CancellationToken cancel)
    {
        SshExecution? execution = null;
        try
        {
            execution = SshExecution.Start(connection, line);
            await execution.StartedAsync(cancel).ConfigureAwait(false);
        }
        catch
        {
            (execution is null ? (Action)connection.Leave : execution.Leave)();
            throw;
        }

        var shell = new SshShell(execution);
        shell._ending = Task.WhenAll(shell.ReadAsync(execution.Output, job => job.Output), shell.ReadAsync(execution.ErrorOutput, job => job.Errors), execution.Ended)
            .ContinueWith(shell.End, TaskScheduler.Default);
        if (!ahead.IsEmpty)
        {
            _ = execution.WriteAsync(ahead, close: false);
        }

        return shell;
    }

    /// <summary>Runs one command; there must be no other one.</summary>
    /// <param name="script">For /bin/sh.</param>
    /// <param name="input">What it reads.</param>
    /// <param name="limit">How long this waits for it.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="ShellEnded">It has not run.</exception>
    public async Task<(int ExitCode, byte[] Output, byte[] Errors)> RunAsync(string script, ReadOnlyMemory<byte> input, TimeSpan limit, CancellationToken cancel)
    {
        var job = new Job();
        lock (_lock)
        {
            _job = !_ended ? job : throw new ShellEnded();
        }

        var bytes = Encoding.UTF8.GetBytes($"{script}\n#{job.Mark}");
        var head = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{job.Mark} {bytes.Length} {input.Length}\n"));
        var writing = _execution.WriteAsync((byte[])[.. head, .. bytes, .. input.Span], close: false);
        try
        {
            await _execution.GuardedAsync(Task.WhenAll(job.Output.Ended, job.Errors.Ended), limit, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is ShellEnded or SshConnectionException)
        {
            // What SSH.NET sends just when the host closes the channel may come after its own goodbye, and for that sshd ends the whole connection.
            await Task.WhenAny(Task.WhenAll(writing, _ending), Task.Delay(Goodbye, cancel)).ConfigureAwait(false);
            if (HasNotBegun(job))
            {
                throw new ShellEnded();
            }

            throw;
        }

        return (job.Output.ExitCode, job.Output.Content(), job.Errors.Content());
    }

    /// <summary>What the command that is under way has printed so far.</summary>
    public byte[] Peek()
    {
        lock (_lock)
        {
            return _job?.Output.Content() ?? [];
        }
    }

    /// <summary>Gives the place on the connection back while nobody needs this.</summary>
    public void Rest() => _execution.Rest();

    /// <summary>Takes the place on the connection that the caller has.</summary>
    public void Wake() => _execution.Wake();

    /// <summary>Lets go of it. A command that is under way goes on, as it would on a channel that is closed.</summary>
    public void Leave() => _execution.Leave();

    /// <summary>Ends one that rests, and waits until its channel is free, but not for long.</summary>
    public async Task EndAsync()
    {
        _ = _execution.WriteAsync(ReadOnlyMemory<byte>.Empty, close: true);
        await Task.WhenAny(_execution.Ended, Task.Delay(Goodbye)).ConfigureAwait(false);
        Leave();
    }

    private Task ReadAsync(Stream stream, Func<Job, Part> part) => Task.Factory.StartNew(
        () =>
        {
            try
            {
                using var ahead = new MemoryStream();
                var begun = false;
                var buffer = new byte[32768];
                for (var count = stream.Read(buffer); count > 0; count = stream.Read(buffer))
                {
                    var said = buffer.AsSpan(0, count);
                    if (!begun)
                    {
                        // Login scripts talk, and the shell itself says that it begins.
                        ahead.Write(said);
                        var all = ahead.GetBuffer().AsSpan(0, (int)ahead.Length);
                        if (CommandLine.FindBegin(all) is not { } begin)
                        {
                            continue;
                        }

                        begun = true;
                        said = all[begin.Start..];
                    }

                    lock (_lock)
                    {
                        // Between two commands nobody has anything to say.
                        if (_job is { } job)
                        {
                            part(job).Add(said, job.Mark);
                        }
                    }
                }
            }
            catch (Exception e) when (e is ObjectDisposedException or IOException or InvalidOperationException)
            {
                // Given up, or the connection is.
            }
        },
        CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private void End(Task ending)
    {
        lock (_lock)
        {
            _ended = true;
            _endedByHost = ending.IsCompletedSuccessfully;
            if (_job is { } job)
            {
                Exception why = HasNotBegun(job) ? new ShellEnded() : new SshConnectionException("The shell that ran it was ended.");
                job.Output.End(why);
                job.Errors.End(why);
            }
        }
    }

    // Sure only when the host itself has ended the shell and all that it said has been read.
    private bool HasNotBegun(Job job)
    {
        lock (_lock)
        {
            return _endedByHost && CommandLine.FindBegin(job.Output.Content()) is null;
        }
    }

    private sealed class Job
    {
        public string Mark { get; } = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));

        public Part Output { get; } = new();

        public Part Errors { get; } = new();
    }

    /// <summary>One of a command's two outputs, up to its end.</summary>
    private sealed class Part
    {
        private readonly MemoryStream _bytes = new();
        private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private bool _isWhole;

        public Task Ended => _ended.Task;

        /// <summary>Told on standard output. A command that was killed with the shell around it has told none.</summary>
        public int ExitCode { get; private set; } = 137;

        public byte[] Content() => _bytes.ToArray();

        public void Add(ReadOnlySpan<byte> more, string mark)
        {
            if (_isWhole)
            {
                return;
            }

            // The mark may have come in two pieces.
            var from = Math.Max(0, (int)_bytes.Length - mark.Length - 16);
            _bytes.Write(more);
            while (Cut(from, mark) is { } said)
            {
                if (said == ".")
                {
                    _isWhole = true;
                    _ended.TrySetResult();
                    return;
                }

                ExitCode = int.Parse(said, NumberStyles.None, CultureInfo.InvariantCulture);
            }
        }

        public void End(Exception why) => _ended.TrySetException(why);

        // Takes the next line with the mark out, and after the last one whatever follows; returns what the line says.
        private string? Cut(int from, string mark)
        {
            var all = _bytes.GetBuffer().AsSpan(0, (int)_bytes.Length);
            var sought = Encoding.ASCII.GetBytes("\n" + mark + " ");
            if (all[from..].IndexOf(sought) is not (>= 0 and var at) || all[(from + at + sought.Length)..].IndexOf((byte)'\n') is not (>= 0 and var length))
            {
                return null;
            }

            var start = from + at;
            var said = Encoding.ASCII.GetString(all.Slice(start + sought.Length, length));
            var rest = said == "." ? [] : all[(start + sought.Length + length + 1)..];
            rest.CopyTo(all[start..]);
            _bytes.SetLength(start + rest.Length);
            return said;
        }
    }
}
