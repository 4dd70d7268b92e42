using System.Globalization;
using Renci.SshNet;
using Renci.SshNet.Common;

namespace PitrPS.Hosts;

/// <summary>The host opened no channel for a command, which has not run; on a connection of its own it may.</summary>
internal sealed class NoChannelLeft(Exception inner) : Exception(inner.Message, inner);

/// <summary>
/// One command on a connection, from being sent to its end. It holds a place on the connection until it has ended or was given up;
/// nobody who waits for it waits for SSH.NET.
/// </summary>
internal sealed class SshExecution
{
    private readonly SshConnection _connection;
    private readonly SshCommand _command;
    private readonly Task _started;
    private int _left;
    private volatile bool _rests;
    private Stream? _input;

    private SshExecution(SshConnection connection, SshCommand command)
    {
        _connection = connection;
        _command = command;
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Ended = ended.Task;
        _started = SshConnection.OnItsOwnThread(() =>
        {
            try
            {
                // Blocks until the host has opened the channel and taken the command.
                _command.ExecuteAsync().ContinueWith(
                    t =>
                    {
                        if (!t.IsCompletedSuccessfully)
                        {
                            ended.TrySetException(t.Exception?.InnerException ?? new ObjectDisposedException(nameof(SshCommand)));
                            return;
                        }

                        connection.HasAnswered();
                        ended.TrySetResult();
                    },
                    TaskScheduler.Default);
                return true;
            }
            catch (Exception e)
            {
                ended.TrySetException(e);
                throw;
            }
        });
    }

    /// <summary>Completes when the command has ended; fails when the connection broke.</summary>
    public Task Ended { get; }

    /// <summary>SSH.NET sends the end of input only where there was some.</summary>
    public bool HasWritten { get; private set; }

    public Stream Output => _command.OutputStream;

    public Stream ErrorOutput => _command.ExtendedOutputStream;

    /// <summary>As a shell says it: 128 + signal for a command that a signal ended. 255 when the host did not tell.</summary>
    public int ExitCode => _command.ExitStatus ?? 128 + SignalNumber(_command.ExitSignal);

    /// <summary>Sends the line. The place on the connection was taken by the caller and is given back by this.</summary>
    public static SshExecution Start(SshConnection connection, string line) => new(connection, connection.Client.CreateCommand(line));

    /// <summary>Waits until the host has taken the command.</summary>
    /// <exception cref="NoChannelLeft">It has not, and may later.</exception>
    public async Task StartedAsync(CancellationToken cancel)
    {
        try
        {
            await GuardedAsync(_started, Timeout.InfiniteTimeSpan, cancel).ConfigureAwait(false);
            _connection.HasOpened();
        }
        catch (SshException e) when (e.GetType() == typeof(SshException))
        {
            if (await _connection.IsFullAsync().WaitAsync(cancel).ConfigureAwait(false))
            {
                throw new NoChannelLeft(e);
            }

            throw;
        }
    }

    /// <summary>Waits for a task of this command, but not past a cancel, a lost connection or its time.</summary>
    /// <exception cref="TimeoutException">The time is over.</exception>
    /// <exception cref="SshConnectionException">The connection is lost.</exception>
    public async Task GuardedAsync(Task task, TimeSpan limit, CancellationToken cancel)
    {
        var first = await Task.WhenAny(task, _connection.Lost).WaitAsync(limit, cancel).ConfigureAwait(false);
        if (first != task && !task.IsCompletedSuccessfully)
        {
            throw new SshConnectionException("The host does not answer any more.");
        }

        await task.ConfigureAwait(false);
    }

    /// <summary>Writes input in the background of the command; a command that ends without reading it all is no error.</summary>
    public Task WriteAsync(ReadOnlyMemory<byte> data, bool close) => SshConnection.OnItsOwnThread(() =>
    {
        try
        {
            _input ??= _command.CreateInputStream();
            HasWritten |= !data.IsEmpty;
            var bytes = data.ToArray();
            for (var at = 0; at < bytes.Length && !Ended.IsCompleted; at += 32768)
            {
                _input.Write(bytes, at, Math.Min(32768, bytes.Length - at));
            }

            if (close)
            {
                _input.Dispose();
            }

            return true;
        }
        catch (Exception e) when (e is InvalidOperationException or ObjectDisposedException or SshException or System.Net.Sockets.SocketException or NullReferenceException)
        {
            // It has ended, or the connection has: both are told by the end of the command.
            return false;
        }
    });

    /// <summary>Gives its place on the connection back although it goes on.</summary>
    public void Rest()
    {
        _rests = true;
        _connection.Leave();
    }

    /// <summary>Takes a place again: the caller's.</summary>
    public void Wake() => _rests = false;

    /// <summary>Lets go of the command, without waiting: its channel is closed behind the caller's back, and then its place is free.</summary>
    public void Leave()
    {
        if (Interlocked.Exchange(ref _left, 1) != 0)
        {
            return;
        }

        _ = SshConnection.OnItsOwnThread(() =>
        {
            var quiet = SshConnection.Quietly(_command.Dispose);
            if (!_rests)
            {
                _connection.Leave();
            }

            return quiet;
        });
    }

    private static int SignalNumber(string? name) => name switch
    {
        "HUP" => 1, "INT" => 2, "QUIT" => 3, "ILL" => 4, "ABRT" => 6, "FPE" => 8, "KILL" => 9, "SEGV" => 11, "PIPE" => 13, "ALRM" => 14, "TERM" => 15, "USR1" => 10, "USR2" => 12,
        _ => int.TryParse(name, CultureInfo.InvariantCulture, out var number) ? number : 127,
    };
}
