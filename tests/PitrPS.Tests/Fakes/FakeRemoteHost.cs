using System.Text;
using System.Threading.Channels;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Tests.Fakes;

/// <summary>
/// A host that exists only in memory: replies are scripted by what the command says, files are a dictionary, all that was sent is kept.
/// A command that nobody scripted fails the test, so that nothing passes by accident; <see cref="Otherwise"/> changes that.
/// </summary>
internal sealed class FakeRemoteHost : IRemoteHost
{
    private readonly List<(Func<RemoteCommand, bool> Match, Func<RemoteCommand, CommandResult> Reply)> _replies = [];
    private readonly List<(Func<RemoteCommand, bool> Match, Func<RemoteCommand, FakeProcess> Make)> _processes = [];

    public FakeRemoteHost(string name = "standby", IPlatform? platform = null) =>
        Host = new PgHost(name, "192.0.2.1", 22, "dba", new HostFacts(platform ?? new DebianPlatform(), "Debian GNU/Linux 12 (bookworm)", "0123456789abcdef0123456789abcdef"), this);

    /// <summary>The host object that this is behind.</summary>
    public PgHost Host { get; }

    /// <summary>All that was run or started, in order.</summary>
    public List<RemoteCommand> Commands { get; } = [];

    /// <summary>The same as it would be shown.</summary>
    public IEnumerable<string> Shown => Commands.Select(c => c.Display);

    /// <summary>What lies on the host. Written by <see cref="WriteFileAsync"/>, read by <see cref="ReadFileAsync"/>; put in what a test needs.</summary>
    public Dictionary<string, RemoteFile> Files { get; } = new(StringComparer.Ordinal);

    /// <summary>The paths that were written, in order.</summary>
    public List<string> Written { get; } = [];

    public List<int> Forwarded { get; } = [];

    public bool IsDisposed { get; private set; }

    /// <summary>What a command that nobody scripted gets; null (the usual) fails the test.</summary>
    public Func<RemoteCommand, CommandResult>? Otherwise { get; set; }

    /// <summary>When set, everything fails as if the host were gone.</summary>
    public bool IsUnreachable { get; set; }

    /// <summary>Commands whose <see cref="RemoteCommand.Display"/> holds this text get this reply. What was scripted last is looked at first.</summary>
    public FakeRemoteHost On(string part, string output = "", int exitCode = 0, string error = "") =>
        On(c => c.Display.Contains(part, StringComparison.Ordinal), _ => new CommandResult(exitCode, output, error));

    public FakeRemoteHost On(string part, Func<RemoteCommand, CommandResult> reply) =>
        On(c => c.Display.Contains(part, StringComparison.Ordinal), reply);

    public FakeRemoteHost On(Func<RemoteCommand, bool> match, Func<RemoteCommand, CommandResult> reply)
    {
        _replies.Insert(0, (match, reply));
        return this;
    }

    /// <summary>Started commands that match are this process.</summary>
    public FakeRemoteHost OnStart(string part, Func<RemoteCommand, FakeProcess> make)
    {
        _processes.Insert(0, (c => c.Display.Contains(part, StringComparison.Ordinal), make));
        return this;
    }

    public FakeRemoteHost WithFile(string path, string content, int mode = 0x1A4, string owner = "root", string group = "root")
    {
        Files[path] = RemoteFile.Text(path, content, mode, owner, group);
        return this;
    }

    public string TextOf(string path) => Encoding.UTF8.GetString(Files[path].Content.Span);

    public Task<CommandResult> RunAsync(RemoteCommand command, CancellationToken cancel)
    {
        Check(cancel);
        if (command == HostPaths.Prepare)
        {
            // A host in memory has every directory.
            return Task.FromResult(new CommandResult(0, "", ""));
        }

        Commands.Add(command);
        foreach (var (match, reply) in _replies)
        {
            if (match(command))
            {
                return Task.FromResult(reply(command));
            }
        }

        return Task.FromResult(Otherwise?.Invoke(command) ?? throw new InvalidOperationException($"Nothing was scripted for: {command.Display}"));
    }

    public Task<IRemoteProcess> StartAsync(RemoteCommand command, CancellationToken cancel)
    {
        Check(cancel);
        Commands.Add(command);
        foreach (var (match, make) in _processes)
        {
            if (match(command))
            {
                return Task.FromResult<IRemoteProcess>(make(command));
            }
        }

        // The lock of every plan; it is free unless a test says otherwise.
        return command.Display.Contains("flock", StringComparison.Ordinal)
            ? Task.FromResult<IRemoteProcess>(new FakeProcess("held"))
            : throw new InvalidOperationException($"No process was scripted for: {command.Display}");
    }

    public Task<byte[]?> ReadFileAsync(string path, CancellationToken cancel)
    {
        Check(cancel);
        return Task.FromResult(Files.TryGetValue(path, out var file) ? file.Content.ToArray() : null);
    }

    public Task WriteFileAsync(RemoteFile file, CancellationToken cancel)
    {
        Check(cancel);
        Files[file.Path] = file with { Content = file.Content.ToArray() };
        Written.Add(file.Path);
        return Task.CompletedTask;
    }

    public Task<IForwardedPort> ForwardAsync(int remotePort, CancellationToken cancel)
    {
        Check(cancel);
        Forwarded.Add(remotePort);
        return Task.FromResult<IForwardedPort>(new FakeForward(remotePort));
    }

    public ValueTask DisposeAsync()
    {
        IsDisposed = true;
        return ValueTask.CompletedTask;
    }

    private void Check(CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        if (IsUnreachable)
        {
            throw new PitrException("PitrPS.HostUnreachable", ErrorKind.ConnectionError, $"The connection to {Host.Name} was lost.", "Look whether it is up.", Host);
        }
    }

    private sealed record FakeForward(int LocalPort) : IForwardedPort
    {
        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}

/// <summary>A process that says these lines, and more as <see cref="Say"/> adds them; it ends when it is disposed or by <see cref="End"/>.</summary>
internal sealed class FakeProcess : IRemoteProcess
{
    private readonly Channel<string> _lines = Channel.CreateUnbounded<string>();
    private readonly TaskCompletionSource<CommandResult> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public FakeProcess(params string[] lines)
    {
        foreach (var line in lines)
        {
            Say(line);
        }
    }

    /// <summary>What was written to it.</summary>
    public List<string> Heard { get; } = [];

    /// <summary>Called with each line that is written to it.</summary>
    public Action<FakeProcess, string>? OnLine { get; init; }

    public Task<CommandResult> Completion => _ended.Task;

    public FakeProcess Say(string line)
    {
        _lines.Writer.TryWrite(line);
        return this;
    }

    public FakeProcess End(int exitCode = 0, string error = "")
    {
        _lines.Writer.TryComplete();
        _ended.TrySetResult(new CommandResult(exitCode, "", error));
        return this;
    }

    public Task WriteLineAsync(string line, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        lock (Heard)
        {
            Heard.Add(line);
        }

        OnLine?.Invoke(this, line);
        return Task.CompletedTask;
    }

    public async Task<string?> ReadLineAsync(CancellationToken cancel)
    {
        try
        {
            return await _lines.Reader.ReadAsync(cancel);
        }
        catch (ChannelClosedException)
        {
            return null;
        }
    }

    public ValueTask DisposeAsync()
    {
        End();
        return ValueTask.CompletedTask;
    }
}
