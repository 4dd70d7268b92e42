using System.Diagnostics;
using System.Text;
using System.Threading.Channels;

namespace PitrPS.Hosts;

/// <summary>A command that is spoken to line by line.</summary>
internal sealed class SshProcess : IRemoteProcess
{
    private static readonly TimeSpan Goodbye = TimeSpan.FromMilliseconds(500);

    private readonly SshHost _host;
    private readonly SshExecution _execution;
    private readonly RemoteCommand _command;
    private readonly SudoWay _way;
    private readonly Channel<string> _lines = Channel.CreateUnbounded<string>(new UnboundedChannelOptions { SingleReader = false, SingleWriter = true });
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly TaskCompletionSource<int?> _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Stopwatch _watch = Stopwatch.StartNew();
    private Task<CommandResult>? _completion;
    private bool _told;

    public SshProcess(SshHost host, SshExecution execution, RemoteCommand command, SudoWay way)
    {
        _way = way;
        _host = host;
        _execution = execution;
        _command = command;
    }

    public Task<CommandResult> Completion => _completion ?? throw new InvalidOperationException("It has not begun.");

    /// <summary>Waits until the command was let in; throws when it was not.</summary>
    public async Task BegunAsync(TimeSpan limit, CancellationToken cancel)
    {
        await _execution.StartedAsync(cancel).ConfigureAwait(false);

        // A pipe of SSH.NET can only be read by waiting in it, so each process has a thread for that.
        _ = Task.Factory.StartNew(ReadLines, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        _completion = CompleteAsync();
        var ahead = _host.InputOf(_command, _way);
        if (!ahead.IsEmpty)
        {
            await _execution.GuardedAsync(_execution.WriteAsync(ahead, close: false), limit, cancel).ConfigureAwait(false);
        }

        await _execution.GuardedAsync(Task.WhenAny(_begun.Task, _execution.Ended), limit, cancel).ConfigureAwait(false);
        var begun = await _begun.Task.WaitAsync(limit, cancel).ConfigureAwait(false);
        if (begun is null)
        {
            var ended = await _completion.WaitAsync(limit, cancel).ConfigureAwait(false);
            throw _host.NotBegun(_way, ended.ExitCode, ended.ErrorOutput);
        }
    }

    public async Task WriteLineAsync(string line, CancellationToken cancel)
    {
        await _writing.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_execution.Ended.IsCompleted)
            {
                throw new IOException($"'{_command.Brief}' has ended.");
            }

            await _execution.GuardedAsync(_execution.WriteAsync(Encoding.UTF8.GetBytes(line + "\n"), close: false), Timeout.InfiniteTimeSpan, cancel).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not (OperationCanceledException or IOException))
        {
            throw _host.Translate(e, _command, Stopwatch.StartNew(), cancel);
        }
        finally
        {
            _writing.Release();
        }
    }

    public async Task<string?> ReadLineAsync(CancellationToken cancel)
    {
        try
        {
            return await _lines.Reader.ReadAsync(cancel).ConfigureAwait(false);
        }
        catch (ChannelClosedException)
        {
            // Told apart from an ordinary end, so that nobody takes a lost host for an empty answer.
            await Completion.WaitAsync(cancel).ConfigureAwait(false);
            return null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_execution.Ended.IsCompleted)
        {
            if (_execution.HasWritten)
            {
                _ = _execution.WriteAsync(ReadOnlyMemory<byte>.Empty, close: true);
                await Task.WhenAny(_execution.Ended, Task.Delay(Goodbye)).ConfigureAwait(false);
            }

            if (!_execution.Ended.IsCompleted && _begun.Task is { IsCompletedSuccessfully: true, Result: { } processId })
            {
                _host.EndBehind(_command, processId);
            }
        }

        if (!_told && _begun.Task is { IsCompletedSuccessfully: true, Result: not null })
        {
            _told = true;
            CommandTrace.Tell(_host.Name, _command.Brief, _watch.Elapsed, _execution.Ended.IsCompletedSuccessfully ? $"exit {_execution.ExitCode}" : "ended");
        }

        _execution.Leave();
    }

    private async Task<CommandResult> CompleteAsync()
    {
        try
        {
            await _execution.GuardedAsync(_execution.Ended, Timeout.InfiniteTimeSpan, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // SSH.NET tells the streams of a lost command nothing.
            _begun.TrySetResult(null);
            _lines.Writer.TryComplete();
            throw _host.Translate(e, _command, _watch, CancellationToken.None);
        }

        using var errors = new MemoryStream();
        await _execution.ErrorOutput.CopyToAsync(errors).ConfigureAwait(false);
        var text = errors.ToArray();
        return new CommandResult(_execution.ExitCode, "", Encoding.UTF8.GetString(text.AsSpan(CommandLine.FindBegin(text)?.Start ?? 0)));
    }

    private void Take(MemoryStream line)
    {
        var bytes = line.GetBuffer().AsSpan(0, (int)line.Length);
        if (_begun.Task.IsCompleted)
        {
            _lines.Writer.TryWrite(Encoding.UTF8.GetString(bytes.TrimEnd((byte)'\n')));
        }
        else if (CommandLine.FindBegin(bytes) is { } begin)
        {
            _begun.TrySetResult(begin.ProcessId);
        }

        line.SetLength(0);
    }

    private void ReadLines()
    {
        try
        {
            // Only a newline ends a line: a carriage return is data.
            using var line = new MemoryStream();
            var buffer = new byte[16384];
            for (var count = _execution.Output.Read(buffer); count > 0; count = _execution.Output.Read(buffer))
            {
                var rest = buffer.AsSpan(0, count);
                for (var end = rest.IndexOf((byte)'\n'); end >= 0; end = rest.IndexOf((byte)'\n'))
                {
                    line.Write(rest[..(end + 1)]);
                    Take(line);
                    rest = rest[(end + 1)..];
                }

                line.Write(rest);
            }

            if (line.Length > 0)
            {
                Take(line);
            }
        }
        catch (Exception e) when (e is ObjectDisposedException or IOException or InvalidOperationException)
        {
            // Given up: whoever still waits is told by Completion.
        }
        finally
        {
            _begun.TrySetResult(null);
            _lines.Writer.TryComplete();
        }
    }
}
