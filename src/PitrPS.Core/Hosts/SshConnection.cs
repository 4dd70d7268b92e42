using Renci.SshNet;
using Renci.SshNet.Common;

namespace PitrPS.Hosts;

/// <summary>
/// One SSH connection. SSH.NET's calls block, for up to its timeout, when a link hangs, whatever a token says; so each runs on another thread
/// and is given up, not waited for. While anything is under way, a channel is opened every few seconds: a host that does not answer that is gone.
/// </summary>
internal sealed class SshConnection : IDisposable
{
    /// <summary>OpenSSH allows 10 sessions on a connection (MaxSessions); three are left: for the probe, for ending commands, and for a shell that rests.</summary>
    private const int MostCommands = 7;

    // Together less than the 10 s within which a lost host must be reported.
    private static readonly TimeSpan ProbeInterval = TimeSpan.FromSeconds(2.5);
    private static readonly TimeSpan ProbeLimit = TimeSpan.FromSeconds(6.5);

    private readonly SshClient _client;
    private readonly SshJump? _jump;
    private readonly TaskCompletionSource _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _lock = new();
    private int _users;
    private int _places = MostCommands;
    private bool _disposed;
    private volatile bool _hasOpened;
    private Task? _watch;
    private SshShell? _shell;
    private int _askedForShell;

    /// <param name="client">Connected.</param>
    /// <param name="jump">The way that it goes over, which ends with it; null for a direct connection.</param>
    public SshConnection(SshClient client, SshJump? jump = null)
    {
        _client = client;
        _jump = jump;
        LastHeard = DateTimeOffset.UtcNow;
        client.ErrorOccurred += (_, _) => Abandon();
        jump?.Lost.ContinueWith(_ => Abandon(), TaskScheduler.Default);
    }

    public SshClient Client => _client;

    /// <summary>Completes when the connection is lost or was given up.</summary>
    public Task Lost => _lost.Task;

    /// <summary>When the host last said anything: it opened a channel, or a command ended. That somebody gave a command up is nothing that it said.</summary>
    public DateTimeOffset LastHeard { get; private set; }

    public bool IsUsable
    {
        get
        {
            try
            {
                return !_lost.Task.IsCompleted && _client.IsConnected;
            }
            catch (ObjectDisposedException)
            {
                return false;
            }
        }
    }

    public int Users
    {
        get
        {
            lock (_lock)
            {
                return _users;
            }
        }
    }

    /// <summary>Takes a place on the connection; it is watched from now on until the last place is free again.</summary>
    public bool TryEnter()
    {
        lock (_lock)
        {
            if (_users >= _places || _disposed || _lost.Task.IsCompleted)
            {
                return false;
            }

            _users++;
            _watch ??= WatchAsync();

            return true;
        }
    }

    /// <summary>
    /// The host opened no further channel: it allows fewer than OpenSSH does by default, or commands that were let go of still hold theirs.
    /// True when another connection, or the same once more, helps: not where it never opened one.
    /// </summary>
    public async Task<bool> IsFullAsync()
    {
        SshShell? shell;
        lock (_lock)
        {
            _places = Math.Max(1, _users - 1);
            if (_users > 1 && _shell is null)
            {
                return true;
            }

            shell = _shell;
            NoShell();
        }

        if (shell is not null)
        {
            await shell.EndAsync().ConfigureAwait(false);
            return true;
        }

        if (_hasOpened)
        {
            // Nobody else is on it, and nobody can be.
            Abandon();
        }

        return _hasOpened;
    }

    /// <summary>The host has opened a channel on it.</summary>
    public void HasOpened()
    {
        _hasOpened = true;
        HasAnswered();
    }

    /// <summary>The host has said something.</summary>
    public void HasAnswered() => LastHeard = DateTimeOffset.UtcNow;

    /// <summary>
    /// The shell of root that rests on this connection; the caller's place is the shell's then. <c>IsWanted</c> where there is none and it would be worth it:
    /// once a command of root has run, a second one is likely, and sudo is known to let us in. The caller then starts one, or says <see cref="NoShell"/>.
    /// </summary>
    public (SshShell? Shell, bool IsWanted) TakeShell()
    {
        lock (_lock)
        {
            if (_shell is { } shell)
            {
                _shell = null;
                if (shell.IsAlive)
                {
                    shell.Wake();
                    return (shell, false);
                }

                shell.Leave();
                _askedForShell = 1;
            }

            return (null, _askedForShell++ == 1);
        }
    }

    /// <summary>A shell whose command has ended, for the next one.</summary>
    public void GiveBack(SshShell shell)
    {
        lock (_lock)
        {
            if (_disposed)
            {
                shell.Leave();
                return;
            }

            _shell = shell;
        }

        HasAnswered();
        shell.Rest();
    }

    /// <summary>The one that was taken is gone: the next command may have a new one.</summary>
    public void LoseShell()
    {
        lock (_lock)
        {
            _askedForShell = 1;
        }
    }

    /// <summary>None is to be had here any more.</summary>
    public void NoShell()
    {
        lock (_lock)
        {
            _shell = null;
            _askedForShell = 2;
        }
    }

    public void Leave()
    {
        lock (_lock)
        {
            _users--;
        }
    }

    /// <summary>Asks the host to open a channel, and says whether it answered in time. A refusal is an answer.</summary>
    public async Task<bool> AnswersAsync(TimeSpan limit)
    {
        var asked = OnItsOwnThread(Ask);
        try
        {
            if (await asked.WaitAsync(limit).ConfigureAwait(false))
            {
                HasAnswered();
                return true;
            }

            return false;
        }
        catch (Exception e) when (e is TimeoutException or ObjectDisposedException or InvalidOperationException or System.Net.Sockets.SocketException)
        {
            return false;
        }
    }

    /// <summary>For calls that block: a thread of the pool each would leave none for the rest.</summary>
    public static Task<T> OnItsOwnThread<T>(Func<T> call) =>
        Task.Factory.StartNew(call, CancellationToken.None, TaskCreationOptions.LongRunning | TaskCreationOptions.DenyChildAttach, TaskScheduler.Default);

    private bool Ask()
    {
        var command = _client.CreateCommand("exec true");
        try
        {
            // Returns once the host has opened the channel.
            _ = command.ExecuteAsync();
            return true;
        }
        catch (Exception e) when (e is SshConnectionException or SshOperationTimeoutException)
        {
            return false;
        }
        catch (SshException)
        {
            return true;
        }
        finally
        {
            _ = OnItsOwnThread(() => Quietly(command.Dispose));
        }
    }

    /// <summary>For goodbyes: on a link that is gone there is nobody to say goodbye to, and SSH.NET's objects say so in many ways.</summary>
    internal static bool Quietly(Action goodbye)
    {
        try
        {
            goodbye();
            return true;
        }
        catch (Exception e) when (e is SshException or ObjectDisposedException or InvalidOperationException or NullReferenceException or System.Net.Sockets.SocketException or AggregateException)
        {
            return false;
        }
    }

    /// <summary>Gives the connection up without waiting for anything. Everything that runs on it is told that the host is gone.</summary>
    public void Abandon()
    {
        if (_lost.TrySetResult())
        {
            Dispose();
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        _lost.TrySetResult();
        _ = OnItsOwnThread(() =>
        {
            var quiet = Quietly(_client.Dispose);
            _jump?.Dispose();
            return quiet;
        });
    }

    private async Task WatchAsync()
    {
        while (!_lost.Task.IsCompleted)
        {
            await Task.WhenAny(_lost.Task, Task.Delay(ProbeInterval)).ConfigureAwait(false);
            lock (_lock)
            {
                if (_users == 0)
                {
                    _watch = null;
                    return;
                }
            }

            if (!_lost.Task.IsCompleted && !await AnswersAsync(ProbeLimit).ConfigureAwait(false))
            {
                Abandon();
            }
        }
    }
}
