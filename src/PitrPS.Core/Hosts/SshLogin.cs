using System.Net.Sockets;
using Renci.SshNet;
using Renci.SshNet.Common;
using Renci.SshNet.Messages.Transport;

namespace PitrPS.Hosts;

/// <summary>Makes connections: host key first, then the ways to log in.</summary>
internal sealed class SshLogin(HostLogin login)
{
    /// <summary>The host has this long to say that it is one, and again for each step of the login: so long may it be silent, not longer.</summary>
    public static readonly TimeSpan FirstLimit = TimeSpan.FromSeconds(9.5);

    /// <summary>The same after an old connection was found dead, which has already taken some of the 10 s that a lost host may cost.</summary>
    public static readonly TimeSpan AgainLimit = TimeSpan.FromSeconds(6.5);

    // What is left for a host behind others when these took long.
    private static readonly TimeSpan Least = TimeSpan.FromSeconds(2);

    // A host that answers each step, but so slowly, is too busy to work with.
    private static readonly TimeSpan WholeLimit = TimeSpan.FromSeconds(30);

    // SSH.NET's own limit for a single answer once we are connected; far above ours, because it is also how long a command may leave its input unread.
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(60);

    private readonly KnownHostsFiles _files = login.KnownHosts;
    private readonly SshLogin? _via = login.Via is { } via ? new SshLogin(via) : null;
    private IReadOnlyList<IPrivateKeySource>? _keys;

    /// <exception cref="PitrException">
    /// <c>PitrPS.HostUnreachable</c>, <c>PitrPS.HostKeyUnknown</c>, <c>PitrPS.HostKeyChanged</c>, <c>PitrPS.HostKeyRevoked</c>,
    /// <c>PitrPS.AuthenticationFailed</c>, <c>PitrPS.KeyFileNotFound</c>, <c>PitrPS.KeyPassphraseRequired</c>, <c>PitrPS.KeyPassphraseWrong</c>.
    /// </exception>
    public async Task<SshConnection> ConnectAsync(object target, TimeSpan limit, CancellationToken cancel)
    {
        _keys ??= await Task.Run(() => SshKeys.Find(login, target), cancel).ConfigureAwait(false);
        var known = _files.Read();
        var check = new HostKeyCheck(login, known, target);
        var watch = System.Diagnostics.Stopwatch.StartNew();
        if (_via is null)
        {
            string address;
            try
            {
                address = await HostAddress.ReachableAsync(login.Address, login.Port, login.AddressFamily, limit, cancel).ConfigureAwait(false);
            }
            catch (Exception e) when (e is SocketException or TimeoutException or ArgumentException)
            {
                throw Translate(e, check, limit, target);
            }

            return await ConnectToAsync(address, login.Port, null, check, limit, target, cancel).ConfigureAwait(false);
        }

        var jump = await SshJump.OpenAsync(_via, login.Address, login.Port, target, limit, cancel).ConfigureAwait(false);
        var left = limit - watch.Elapsed;
        try
        {
            return await ConnectToAsync("127.0.0.1", jump.LocalPort, jump, check, left > Least ? left : Least, target, cancel).ConfigureAwait(false);
        }
        catch
        {
            jump.Dispose();
            throw;
        }
    }

    private async Task<SshConnection> ConnectToAsync(string address, int port, SshJump? jump, HostKeyCheck check, TimeSpan limit, object target, CancellationToken cancel)
    {
        var client = new SshClient(Info(check, address, port, limit)) { KeepAliveInterval = Timeout.InfiniteTimeSpan };
        client.HostKeyReceived += check.OnHostKey;
        var identified = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        client.ServerIdentificationReceived += (_, _) => identified.TrySetResult();

        // Only the first part of SSH.NET's ConnectAsync heeds a token, so this runs by itself and is left behind when it takes too long.
        var connecting = SshConnection.OnItsOwnThread(() =>
        {
            client.Connect();
            return true;
        });
        try
        {
            await Task.WhenAny(connecting, identified.Task).WaitAsync(limit, cancel).ConfigureAwait(false);
            await connecting.WaitAsync(WholeLimit, cancel).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            _ = connecting.ContinueWith(_ => SshConnection.Quietly(client.Dispose), TaskScheduler.Default);
            cancel.ThrowIfCancellationRequested();
            throw check.Refusal ?? (jump is not null && e is SshConnectionException && !identified.Task.IsCompleted ? NotLedOn(e, target) : Translate(e, check, limit, target));
        }

        try
        {
            Remember(check);
        }
        catch (PitrException)
        {
            _ = SshConnection.OnItsOwnThread(() => SshConnection.Quietly(client.Dispose));
            throw;
        }

        client.ConnectionInfo.Timeout = AnswerLimit;
        return new SshConnection(client, jump);
    }

    private void Remember(HostKeyCheck check)
    {
        if (check.ToRemember is { } key)
        {
            _files.Append(login.KeyName, login.KeyPort, key.Type, key.Blob);
            CommandTrace.Warn($"{login.Name}: its host key was not known and is now in {_files.Appended}: {key.Type} {KnownHosts.Fingerprint(key.Blob)}");
        }
    }

    private ConnectionInfo Info(HostKeyCheck check, string address, int port, TimeSpan limit)
    {
        var methods = new List<AuthenticationMethod>();
        if (_keys!.Count > 0)
        {
            methods.Add(new PrivateKeyAuthenticationMethod(login.UserName, [.. _keys]));
        }

        if (login.Password is { } password)
        {
            methods.Add(new PasswordAuthenticationMethod(login.UserName, password.Reveal()));
            var interactive = new KeyboardInteractiveAuthenticationMethod(login.UserName);
            interactive.AuthenticationPrompt += (_, e) =>
            {
                // Anything but one question for the password (a second factor, a new password) cannot be answered from here.
                if (e.Prompts.Count == 1 && !e.Prompts[0].IsEchoed)
                {
                    e.Prompts[0].Response = password.Reveal();
                }
            };
            methods.Add(interactive);
        }

        if (methods.Count == 0)
        {
            methods.Add(new NoneAuthenticationMethod(login.UserName));
        }

        var info = new ConnectionInfo(address, port, login.UserName, [.. methods]) { Timeout = limit, RetryAttempts = 1 };
        // As OpenSSH: nothing that rests on SHA-1 or on 64-bit blocks.
        foreach (var name in info.KeyExchangeAlgorithms.Keys.Where(n => n.EndsWith("-sha1", StringComparison.Ordinal)).ToList())
        {
            info.KeyExchangeAlgorithms.Remove(name);
        }

        info.Encryptions.Remove("3des-cbc");
        var supported = new Dictionary<string, Func<byte[], Renci.SshNet.Security.KeyHostAlgorithm>>(info.HostKeyAlgorithms);
        info.HostKeyAlgorithms.Clear();
        foreach (var name in check.Algorithms)
        {
            info.HostKeyAlgorithms.Add(name, supported[name]);
        }

        return info;
    }

    private PitrException Translate(Exception e, HostKeyCheck check, TimeSpan limit, object target) => e switch
    {
        PitrException known => known,
        SshConnectionException { DisconnectReason: DisconnectReason.KeyExchangeFailed } when e.Message.Contains("host key algorithm", StringComparison.Ordinal) => check.NoKnownType(e),
        _ when IsRefusal(e) => new PitrException("PitrPS.AuthenticationFailed", ErrorKind.AuthenticationError,
            $"{login.Name} does not let {login.UserName} log in{Tried()}: {e.Message}",
            "Give the right key with -KeyFile, load it into the SSH agent, or give a password with -Credential. Look at -UserName, too.", target, e),
        TimeoutException or SshOperationTimeoutException => Unreachable($"no answer within {limit.TotalSeconds:0.#} s", e, target),
        SocketException socket => Unreachable(socket.Message, e, target),
        _ => Unreachable(e.Message, e, target),
    };

    // After too many keys OpenSSH ends the connection instead of answering.
    private static bool IsRefusal(Exception e) =>
        e is SshAuthenticationException || (e is SshConnectionException && e.Message.Contains("authentication failures", StringComparison.Ordinal));

    private string Tried()
    {
        var tried = new List<string>();
        if (_keys!.Count > 0)
        {
            tried.Add($"{_keys.Count} key(s)");
        }

        if (login.Password is not null)
        {
            tried.Add("a password");
        }

        return tried.Count == 0 ? " (no key was found and no password was given)" : $" with {string.Join(" and ", tried)}";
    }

    // The jump host closed what we had opened through it; SSH.NET does not tell what it said.
    private PitrException NotLedOn(Exception e, object target) => new("PitrPS.HostUnreachable", ErrorKind.ConnectionError,
        $"{login.Via!.Name} does not lead on to {login.Name}: it opened no connection to {login.Address}, port {login.Port}.",
        $"Look whether {login.Via.Name} reaches that address and port, and whether its sshd allows forwarding (AllowTcpForwarding, PermitOpen).", target, e);

    private PitrException Unreachable(string why, Exception e, object target) => new(
        "PitrPS.HostUnreachable", ErrorKind.ConnectionError,
        $"{login.Name} cannot be reached at {login.Address}, port {login.Port}{(login.Via is null ? "" : $", through {login.Via.Name}")}: {why}",
        "Look at the name, the address and the port, whether the host is up, and whether a firewall lets SSH through.", target, e);
}
