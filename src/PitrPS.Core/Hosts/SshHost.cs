using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Renci.SshNet;
using Renci.SshNet.Common;

namespace PitrPS.Hosts;

/// <summary>A host over SSH. Safe for many callers at once; connections are made when they are needed and again when they were lost.</summary>
internal sealed class SshHost(HostLogin login) : IRemoteHost
{
    // A connection that was silent for this long is asked before a command is trusted to it.
    // More than passes between two probes: a connection that is in use is asked by them.
    private static readonly TimeSpan Trusted = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan AskLimit = TimeSpan.FromSeconds(2.5);
    private static readonly TimeSpan Idle = TimeSpan.FromMinutes(5);

    // How long a command that was given up may take to be ended on the host.
    private static readonly TimeSpan EndingLimit = TimeSpan.FromSeconds(5);

    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly List<SshConnection> _connections = [];
    private readonly SshLogin _login = new(login);
    private (long At, PitrException Error)? _failure;
    private Timer? _idle;
    private volatile bool _closed;
    private volatile SudoWay _sudo = SudoWay.NoPassword;

    /// <summary>What errors name as their target: the host object, once there is one.</summary>
    public object Target { get; set; } = login.Name;

    public string Name => login.Name;

    /// <summary>False for a login that cannot become root: then what is only read is read as the login's own user.</summary>
    public bool HasRoot { get; set; } = true;

    public async Task<CommandResult> RunAsync(RemoteCommand command, CancellationToken cancel)
    {
        var (exitCode, output, errors) = await RunBytesAsync(command, null, cancel).ConfigureAwait(false);
        return new CommandResult(exitCode, Encoding.UTF8.GetString(output.Span), Encoding.UTF8.GetString(errors.Span));
    }

    public async Task<IRemoteProcess> StartAsync(RemoteCommand command, CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        command = Permitted(command) with { KeepsInput = true };
        while (true)
        {
            var way = _sudo;
            var execution = await SendAsync(command, way, cancel).ConfigureAwait(false);
            var process = new SshProcess(this, execution, command, way);
            try
            {
                await process.BegunAsync(command.Timeout, cancel).ConfigureAwait(false);
                CommandTrace.Tell(login.Name, command.Brief, watch.Elapsed, "started");
                return process;
            }
            catch (Exception e) when (e is NoChannelLeft || (e is SudoPasswordWanted wanted && UseSudoPassword(wanted.Next)))
            {
                await process.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception e)
            {
                await process.DisposeAsync().ConfigureAwait(false);
                throw Translate(e, command, watch, cancel);
            }
        }
    }

    public async Task<byte[]?> ReadFileAsync(string path, CancellationToken cancel)
    {
        var command = HasRoot ? RemoteFiles.Read(path) : RemoteFiles.ReadAsFarAsAllowed(path);
        var (exitCode, output, errors) = await RunBytesAsync(command, $"read {path}", cancel).ConfigureAwait(false);
        return exitCode switch
        {
            0 => output.ToArray(),
            RemoteFiles.NoSuchFile => null,
            RemoteFiles.NotAllowed => throw PgHost.RootRequired(login.Name, login.UserName, $"Reading {path}", Target),
            _ => throw RemoteFiles.Failed("read", path, login.Name, errors, Target),
        };
    }

    public async Task WriteFileAsync(RemoteFile file, CancellationToken cancel)
    {
        if (!HasRoot)
        {
            throw PgHost.RootRequired(login.Name, login.UserName, $"Writing {file.Path}", Target);
        }

        var (exitCode, _, errors) = await RunBytesAsync(RemoteFiles.Write(file), $"write {file.Path} ({file.Content.Length} bytes)", cancel).ConfigureAwait(false);
        if (exitCode != 0)
        {
            throw RemoteFiles.Failed("written", file.Path, login.Name, errors, Target);
        }
    }

    public async Task<IForwardedPort> ForwardAsync(int remotePort, CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        var connection = await EnterAsync(cancel).ConfigureAwait(false);
        var port = new ForwardedPortLocal("127.0.0.1", 0, "127.0.0.1", (uint)remotePort);
        try
        {
            RoomForForwards();
            await SshConnection.OnItsOwnThread(() =>
            {
                connection.Client.AddForwardedPort(port);
                port.Start();
                return true;
            }).WaitAsync(cancel).ConfigureAwait(false);
            CommandTrace.Tell(login.Name, $"port {remotePort} forwarded to 127.0.0.1:{port.BoundPort}", watch.Elapsed, "open");
            return new SshForward(connection, port);
        }
        catch (Exception e)
        {
            _ = new SshForward(connection, port).DisposeAsync();
            throw Translate(e, RemoteCommand.Of("forward", remotePort.ToString(System.Globalization.CultureInfo.InvariantCulture)), watch, cancel);
        }
    }

    public ValueTask DisposeAsync()
    {
        _closed = true;
        _idle?.Dispose();
        lock (_connections)
        {
            _connections.ForEach(c => c.Dispose());
            _connections.Clear();
        }

        return ValueTask.CompletedTask;
    }

    /// <summary>Ends a command on the host that nobody waits for any more, without making anybody wait for that. Best effort: a lost link cannot carry it.</summary>
    internal void EndBehind(RemoteCommand command, int processId)
    {
        _ = Task.Run(async () =>
        {
            using var limit = new CancellationTokenSource(EndingLimit);
            CommandTrace.ListenWith(null);
            try
            {
                await RunAsync(RemoteCommand.Shell("kill -TERM \"$1\"", processId.ToString(System.Globalization.CultureInfo.InvariantCulture)) with { User = command.User }, limit.Token).ConfigureAwait(false);
            }
            catch (Exception e) when (e is PitrException or OperationCanceledException)
            {
                // The time limit that it was started with ends it on the host.
            }
        });
    }

    private async Task<(int ExitCode, ReadOnlyMemory<byte> Output, ReadOnlyMemory<byte> Errors)> RunBytesAsync(RemoteCommand command, string? display, CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        command = Permitted(command);
        while (true)
        {
            // Read once: what is sent ahead of the input must be what the line that is sent reads.
            var way = _sudo;
            try
            {
                var (exitCode, output, errors) = await CarryAsync(command, way, watch, cancel).ConfigureAwait(false);
                var own = Own(way, exitCode, output, errors);
                CommandTrace.Tell(login.Name, display ?? command.Brief, watch.Elapsed, $"exit {exitCode}");
                return (exitCode, own.Output, own.Errors);
            }
            catch (Exception e) when (e is NoChannelLeft or ShellEnded)
            {
                // It has not been sent, or has not begun.
            }
            catch (SudoPasswordWanted wanted) when (UseSudoPassword(wanted.Next))
            {
                // It was not let in, so it has not run: this is the first time that it is really sent.
            }
            catch (Exception e)
            {
                CommandTrace.Tell(login.Name, display ?? command.Brief, watch.Elapsed, "not finished");
                throw Translate(e, command, watch, cancel);
            }
        }
    }

    // The host's own limit comes after ours, so that ours is the one that is reported.
    private async Task<(int ExitCode, byte[] Output, byte[] Errors)> CarryAsync(RemoteCommand command, SudoWay way, Stopwatch watch, CancellationToken cancel)
    {
        TimeSpan? hostLimit = command.Timeout == Timeout.InfiniteTimeSpan ? null : command.Timeout + TimeSpan.FromSeconds(2);
        var script = HasRoot && command.User is { } user && (user != login.UserName || user == "root") ? CommandLine.Script(command, "root", way, hostLimit) : null;
        var connection = await EnterAsync(cancel).ConfigureAwait(false);
        if (script is not null)
        {
            var (shell, isWanted) = connection.TakeShell();
            if (shell is not null || isWanted)
            {
                return await ByShellAsync(connection, shell, script, command, way, watch, cancel).ConfigureAwait(false);
            }
        }

        return await ByChannelAsync(connection, command, way, hostLimit, watch, cancel).ConfigureAwait(false);
    }

    private async Task<(int ExitCode, byte[] Output, byte[] Errors)> ByChannelAsync(SshConnection connection, RemoteCommand command, SudoWay way, TimeSpan? hostLimit, Stopwatch watch, CancellationToken cancel)
    {
        var execution = Start(connection, command, way, hostLimit, cancel);
        try
        {
            await execution.StartedAsync(cancel).ConfigureAwait(false);
            var input = InputOf(command, way);
            var writing = input.IsEmpty ? Task.CompletedTask : execution.WriteAsync(input, close: true);
            await execution.GuardedAsync(execution.Ended, Left(command, watch), cancel).ConfigureAwait(false);
            if (!writing.IsCompleted)
            {
                // It did not want all of its input. What came after the end of its channel may cost the connection, which the next command must not find out.
                await Task.WhenAny(writing, Task.Delay(AskLimit, cancel)).ConfigureAwait(false);
                await LeaveIfDeadAsync(connection).ConfigureAwait(false);
            }

            return (execution.ExitCode, ReadAll(execution.Output), ReadAll(execution.ErrorOutput));
        }
        catch (Exception e) when (e is OperationCanceledException or TimeoutException && CommandLine.FindBegin(Peek(execution.Output)) is { } begun)
        {
            EndBehind(command, begun.ProcessId);
            throw;
        }
        finally
        {
            execution.Leave();
        }
    }

    private async Task<(int ExitCode, byte[] Output, byte[] Errors)> ByShellAsync(SshConnection connection, SshShell? shell, string script, RemoteCommand command, SudoWay way, Stopwatch watch, CancellationToken cancel)
    {
        var isNew = shell is null;
        try
        {
            shell ??= await SshShell.StartAsync(connection, CommandLine.For(SshShell.Command, login.UserName, way, null), InputOf(SshShell.Command, way), cancel).ConfigureAwait(false);
            var result = await shell.RunAsync(script, command.Input, Left(command, watch), cancel).ConfigureAwait(false);
            connection.GiveBack(shell);
            return result;
        }
        catch (Exception e)
        {
            if (e is OperationCanceledException or TimeoutException && shell is not null && CommandLine.FindBegin(shell.Peek()) is { } begun)
            {
                EndBehind(command, begun.ProcessId);
            }

            shell?.Leave();
            if (isNew && e is ShellEnded or NoChannelLeft)
            {
                connection.NoShell();
            }
            else
            {
                connection.LoseShell();
            }

            if (e is ShellEnded)
            {
                await LeaveIfDeadAsync(connection).ConfigureAwait(false);
            }

            throw;
        }
    }

    private async Task LeaveIfDeadAsync(SshConnection connection)
    {
        if (!await connection.AnswersAsync(AskLimit).ConfigureAwait(false))
        {
            Forget(connection);
        }
    }

    private static TimeSpan Left(RemoteCommand command, Stopwatch watch) =>
        command.Timeout == Timeout.InfiniteTimeSpan ? command.Timeout : TimeSpan.FromTicks(Math.Max(0, (command.Timeout - watch.Elapsed).Ticks));

    private RemoteCommand Permitted(RemoteCommand command) => HasRoot || command.User is null || command.User == login.UserName ? command
        : command.User == "root" ? command with { User = null }
        : throw PgHost.RootRequired(login.Name, login.UserName, $"A command of the user {command.User}", Target);

    private async Task<SshExecution> SendAsync(RemoteCommand command, SudoWay way, CancellationToken cancel) =>
        Start(await EnterAsync(cancel).ConfigureAwait(false), command, way, null, cancel);

    private SshExecution Start(SshConnection connection, RemoteCommand command, SudoWay way, TimeSpan? hostLimit, CancellationToken cancel)
    {
        try
        {
            return SshExecution.Start(connection, CommandLine.For(command, login.UserName, way, hostLimit));
        }
        catch (Exception e)
        {
            connection.Leave();
            throw Translate(e, command, Stopwatch.StartNew(), cancel);
        }
    }

    /// <summary>Takes a place on a connection that answers, making one where there is none.</summary>
    private async Task<SshConnection> EnterAsync(CancellationToken cancel)
    {
        var asked = Stopwatch.GetTimestamp();
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_failure is { } failed && failed.At > asked)
            {
                // Whoever waited while the host was found to be gone need not find out again.
                throw failed.Error;
            }

            if (_closed)
            {
                throw Disconnected(null);
            }

            var limit = SshLogin.FirstLimit;
            foreach (var connection in Snapshot())
            {
                if (!connection.IsUsable)
                {
                    Forget(connection);
                    continue;
                }

                if (!connection.TryEnter())
                {
                    continue;
                }

                if (await IsTrustedAsync(connection, cancel).ConfigureAwait(false))
                {
                    return connection;
                }

                connection.Abandon();
                Forget(connection);
                limit = SshLogin.AgainLimit;
            }

            var watch = Stopwatch.StartNew();
            var made = await _login.ConnectAsync(Target, limit, cancel).ConfigureAwait(false);
            CommandTrace.Tell(login.Name, $"connected to {login.Address}, port {login.Port}, as {login.UserName}{string.Concat(login.Jumps.Select(j => $", over {j.UserName}@{j.Address}"))}", watch.Elapsed, $"host key {made.Client.ConnectionInfo.CurrentHostKeyAlgorithm}");
            if (!made.TryEnter())
            {
                throw Translate(new SshConnectionException("It was closed as soon as it was made."), RemoteCommand.Of("true"), Stopwatch.StartNew(), cancel);
            }

            lock (_connections)
            {
                _connections.Add(made);
                _idle ??= new Timer(_ => CloseIdle(), null, Idle, Idle);
            }

            if (_closed)
            {
                made.Dispose();
            }

            return made;
        }
        catch (PitrException e)
        {
            _failure = (Stopwatch.GetTimestamp(), e);
            throw;
        }
        finally
        {
            _gate.Release();
        }
    }

    private PitrException Disconnected(Exception? inner) => new(
        "PitrPS.HostDisconnected", ErrorKind.InvalidOperation, $"{login.Name} was disconnected.", "Connect to it again with Connect-PgHost.", Target, inner);

    // Every connection through a forwarded port keeps a thread of the pool; with two processors the pool would hesitate for each.
    private static void RoomForForwards()
    {
        ThreadPool.GetMinThreads(out var workers, out var ports);
        if (workers < 16)
        {
            ThreadPool.SetMinThreads(16, ports);
        }
    }

    private SshConnection[] Snapshot()
    {
        lock (_connections)
        {
            return [.. _connections];
        }
    }

    private void Forget(SshConnection connection)
    {
        lock (_connections)
        {
            _connections.Remove(connection);
        }

        connection.Dispose();
    }

    /// <summary>Whether a command may be trusted to a connection that we have entered; leaves it where not.</summary>
    private static async Task<bool> IsTrustedAsync(SshConnection connection, CancellationToken cancel)
    {
        var trusted = DateTimeOffset.UtcNow - connection.LastHeard <= Trusted;
        try
        {
            return trusted = trusted || await connection.AnswersAsync(AskLimit).WaitAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            if (!trusted)
            {
                connection.Leave();
            }
        }
    }

    // A host object that nobody holds any more must not hold a connection open for ever; the next command makes a new one.
    private void CloseIdle()
    {
        foreach (var connection in Snapshot().Where(c => c.Users == 0 && DateTimeOffset.UtcNow - c.LastHeard > Idle))
        {
            Forget(connection);
        }

        lock (_connections)
        {
            if (_connections.Count == 0)
            {
                _idle?.Dispose();
                _idle = null;
            }
        }
    }

    /// <summary>What the host reads: the sudo password in a line of its own where the line that was sent reads one, then the command's input.</summary>
    internal ReadOnlyMemory<byte> InputOf(RemoteCommand command, SudoWay way)
    {
        if (way == SudoWay.NoPassword || !CommandLine.NeedsSudo(command, login.UserName))
        {
            return command.Input;
        }

        return (byte[])[.. Encoding.UTF8.GetBytes(login.SudoPassword!.Reveal()), (byte)'\n', .. command.Input.Span];
    }

    private bool UseSudoPassword(SudoWay next)
    {
        if (login.SudoPassword is null)
        {
            return false;
        }

        // Another command may have got further meanwhile.
        if (_sudo < next)
        {
            _sudo = next;
        }

        return true;
    }

    /// <summary>What the command itself printed; what login scripts printed before it is dropped. Throws when the command was not let in.</summary>
    private (ReadOnlyMemory<byte> Output, ReadOnlyMemory<byte> Errors) Own(SudoWay way, int exitCode, byte[] output, byte[] errors)
    {
        if (CommandLine.FindBegin(output) is { } begin)
        {
            return (output.AsMemory(begin.Start), errors.AsMemory(CommandLine.FindBegin(errors)?.Start ?? 0));
        }

        throw NotBegun(way, exitCode, Encoding.UTF8.GetString(errors));
    }

    /// <summary>Why a command did not begin: sudo refused it, or the account has no shell.</summary>
    internal Exception NotBegun(SudoWay way, int exitCode, string errors)
    {
        if (errors.IndexOf(CommandLine.BeforeSudo, StringComparison.Ordinal) is >= 0 and var sudo)
        {
            return SudoRefusal.From(login, Target, way, errors[(sudo + CommandLine.BeforeSudo.Length)..]);
        }

        return new PitrException("PitrPS.NoShell", ErrorKind.PermissionDenied,
            $"{login.UserName} on {login.Name} cannot run commands (exit code {exitCode}): {errors.Trim()}",
            "Log in as a user with an ordinary login shell and no forced command.", Target);
    }

    internal Exception Translate(Exception e, RemoteCommand command, Stopwatch watch, CancellationToken cancel) => e switch
    {
        PitrException => e,
        not OperationCanceledException when _closed => Disconnected(e),
        SudoPasswordWanted wanted => wanted.Error,
        OperationCanceledException when cancel.IsCancellationRequested => e,
        TimeoutException => new PitrException("PitrPS.CommandTimeout", ErrorKind.OperationTimeout,
            $"On {login.Name}, '{command.Brief}' has not ended after {watch.Elapsed.TotalSeconds:0} s.",
            "Look at what it waits for on the host, then run the same cmdlet again.", Target, e),
        SshException or SocketException or ObjectDisposedException or InvalidOperationException or NullReferenceException or OperationCanceledException => new PitrException(
            "PitrPS.HostUnreachable", ErrorKind.ConnectionError,
            $"The connection to {login.Name} ({login.Address}, port {login.Port}) was lost: {e.Message}",
            "Look whether the host and the network are up, then run the same cmdlet again: it goes on where it stopped.", Target, e),
        _ => e,
    };

    private static byte[] ReadAll(Stream stream)
    {
        using var all = new MemoryStream();
        stream.CopyTo(all);
        return all.ToArray();
    }

    // Only what is there already: reading more would wait.
    private static byte[] Peek(Stream stream)
    {
        var buffer = new byte[(int)Math.Min(stream.Length, 65536)];
        return buffer.Length == 0 ? buffer : buffer[..stream.Read(buffer, 0, buffer.Length)];
    }
}

/// <summary>A forwarded port and its place on the connection.</summary>
internal sealed class SshForward(SshConnection connection, ForwardedPortLocal port) : IForwardedPort
{
    private int _closed;

    public int LocalPort { get; } = (int)port.BoundPort;

    public ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _closed, 1) == 0)
        {
            _ = SshConnection.OnItsOwnThread(() =>
            {
                SshConnection.Quietly(() => connection.Client.RemoveForwardedPort(port));
                var quiet = SshConnection.Quietly(port.Dispose);
                connection.Leave();
                return quiet;
            });
        }

        return ValueTask.CompletedTask;
    }
}
