using System.Buffers.Binary;
using System.IO.Pipes;
using System.Net.Sockets;
using System.Text;
using Renci.SshNet;
using Renci.SshNet.Common;
using Renci.SshNet.Security;

namespace PitrPS.Hosts;

/// <summary>A key that the agent holds.</summary>
/// <param name="Blob">The public key as it goes over the wire.</param>
/// <param name="Comment">Usually the file that it came from.</param>
internal sealed record AgentIdentity(byte[] Blob, string Comment)
{
    /// <summary>The blob begins with its own type (RFC 4253, 6.6).</summary>
    public string Type => Encoding.ASCII.GetString(Blob, 4, BinaryPrimitives.ReadInt32BigEndian(Blob));
}

/// <summary>The SSH agent of the user (draft-miller-ssh-agent): lists its keys and lets it sign. Keys never leave it.</summary>
internal sealed class SshAgent
{
    private const byte RequestIdentities = 11;
    private const byte IdentitiesAnswer = 12;
    private const byte SignRequest = 13;
    private const byte SignResponse = 14;
    private const int LongestAnswer = 256 * 1024;
    private const string WindowsPipe = "openssh-ssh-agent";
    private const string PipePrefix = @"\\.\pipe\";
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(8);

    private readonly string _address;

    private SshAgent(string address) => _address = address;

    /// <summary>The agent that SSH_AUTH_SOCK names, on Windows also that of OpenSSH's service; null where there is none.</summary>
    public static SshAgent? Find() => Find(Environment.GetEnvironmentVariable("SSH_AUTH_SOCK"));

    public static SshAgent? Find(string? socket)
    {
        if (!string.IsNullOrEmpty(socket))
        {
            return new SshAgent(socket);
        }

        return OperatingSystem.IsWindows() && File.Exists(PipePrefix + WindowsPipe) ? new SshAgent(PipePrefix + WindowsPipe) : null;
    }

    /// <summary>The keys, in the agent's order; none when the agent does not answer, as ssh does it.</summary>
    public IReadOnlyList<AgentIdentity> Identities()
    {
        try
        {
            var answer = Ask([RequestIdentities]);
            if (answer.Length < 5 || answer[0] != IdentitiesAnswer)
            {
                return [];
            }

            var at = 1;
            var identities = new List<AgentIdentity>();
            for (var left = BinaryPrimitives.ReadUInt32BigEndian(Take(answer, ref at, 4)); left > 0; left--)
            {
                identities.Add(new AgentIdentity(TakeText(answer, ref at).ToArray(), Encoding.UTF8.GetString(TakeText(answer, ref at))));
            }

            return identities;
        }
        catch (Exception e) when (e is IOException or SocketException or TimeoutException or UnauthorizedAccessException or InvalidDataException)
        {
            return [];
        }
    }

    /// <summary>The signature as SSH wants it: its algorithm's name and its bytes.</summary>
    /// <exception cref="SshAuthenticationException">The agent refused, or did not answer.</exception>
    public byte[] Sign(AgentIdentity identity, byte[] data, uint flags)
    {
        try
        {
            var request = new byte[1 + 4 + identity.Blob.Length + 4 + data.Length + 4];
            request[0] = SignRequest;
            var at = 1;
            Put(request, ref at, identity.Blob);
            Put(request, ref at, data);
            BinaryPrimitives.WriteUInt32BigEndian(request.AsSpan(at), flags);
            var answer = Ask(request);
            if (answer.Length > 5 && answer[0] == SignResponse)
            {
                at = 1;
                return TakeText(answer, ref at).ToArray();
            }
        }
        catch (Exception e) when (e is IOException or SocketException or TimeoutException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new SshAuthenticationException($"The SSH agent did not sign with {identity.Comment}: {e.Message}", e);
        }

        throw new SshAuthenticationException($"The SSH agent refused to sign with {identity.Comment}.");
    }

    private byte[] Ask(byte[] request)
    {
        using var stream = Open();
        var framed = new byte[4 + request.Length];
        BinaryPrimitives.WriteInt32BigEndian(framed, request.Length);
        request.CopyTo(framed, 4);
        using var limit = new CancellationTokenSource(AnswerLimit);
        try
        {
            // Waited for here: SSH.NET asks for signatures from a thread of its own, and has no asynchronous way.
            return Task.Run(async () =>
            {
                await stream.WriteAsync(framed, limit.Token).ConfigureAwait(false);
                await stream.FlushAsync(limit.Token).ConfigureAwait(false);
                var length = new byte[4];
                await stream.ReadExactlyAsync(length, limit.Token).ConfigureAwait(false);
                var size = BinaryPrimitives.ReadUInt32BigEndian(length);
                if (size > LongestAnswer)
                {
                    throw new InvalidDataException($"The SSH agent announced an answer of {size} bytes.");
                }

                var answer = new byte[size];
                await stream.ReadExactlyAsync(answer, limit.Token).ConfigureAwait(false);
                return answer;
            }).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException e)
        {
            throw new TimeoutException($"The SSH agent did not answer within {AnswerLimit.TotalSeconds:0} s.", e);
        }
    }

    private Stream Open()
    {
        if (OperatingSystem.IsWindows() && _address.StartsWith(PipePrefix, StringComparison.OrdinalIgnoreCase))
        {
            var pipe = new NamedPipeClientStream(".", _address[PipePrefix.Length..], PipeDirection.InOut, PipeOptions.Asynchronous);
            pipe.Connect(AnswerLimit);
            return pipe;
        }

        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(_address));
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception e)
        {
            socket.Dispose();
            throw e is ArgumentException ? new IOException($"'{_address}' is not the address of an agent.", e) : e;
        }
    }

    private static ReadOnlySpan<byte> Take(byte[] from, ref int at, int length)
    {
        if (length < 0 || length > from.Length - at)
        {
            throw new InvalidDataException("The SSH agent's answer ends too early.");
        }

        at += length;
        return from.AsSpan(at - length, length);
    }

    private static ReadOnlySpan<byte> TakeText(byte[] from, ref int at)
    {
        var length = BinaryPrimitives.ReadInt32BigEndian(Take(from, ref at, 4));
        return Take(from, ref at, length);
    }

    private static void Put(byte[] into, ref int at, byte[] text)
    {
        BinaryPrimitives.WriteInt32BigEndian(into.AsSpan(at), text.Length);
        text.CopyTo(into, at + 4);
        at += 4 + text.Length;
    }
}

/// <summary>A key of the agent as SSH.NET takes it. RSA keys sign with SHA-512, once: every offer counts against the server's limit.</summary>
internal sealed class AgentKeySource(SshAgent agent, AgentIdentity identity) : IPrivateKeySource
{
    public byte[] Blob => identity.Blob;

    public IReadOnlyCollection<HostAlgorithm> HostKeyAlgorithms { get; } = [new AgentKey(agent, identity)];

    private sealed class AgentKey(SshAgent agent, AgentIdentity identity) : HostAlgorithm(AlgorithmOf(identity.Type).Name)
    {
        public override byte[] Data => identity.Blob;

        public override byte[] Sign(byte[] data) => agent.Sign(identity, data, AlgorithmOf(identity.Type).Flags);

        public override bool VerifySignature(byte[] data, byte[] signature) => throw new NotSupportedException("A key of the agent only signs.");

        // SSH_AGENT_RSA_SHA2_512 = 4
        private static (string Name, uint Flags) AlgorithmOf(string type) => type switch
        {
            "ssh-rsa" => ("rsa-sha2-512", 4),
            "ssh-rsa-cert-v01@openssh.com" => ("rsa-sha2-512-cert-v01@openssh.com", 4),
            _ => (type, 0),
        };
    }
}
