using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using PitrPS.Hosts;
using Renci.SshNet.Common;

namespace PitrPS.Tests.Hosts;

/// <summary>The agent's protocol: against an agent that answers what a test says, and against ssh-agent itself.</summary>
public sealed class SshAgentTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps").FullName;
    private readonly List<IDisposable> _open = [];

    public void Dispose()
    {
        _open.ForEach(o => o.Dispose());
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void Lists_the_keys_with_their_types_and_comments()
    {
        byte[] ed = [.. Text("ssh-ed25519"), .. Text("key")];
        byte[] rsa = [.. Text("ssh-rsa"), .. Text("key")];
        var agent = Answering([12, 0, 0, 0, 2, .. Text(ed), .. Text("dba@client"), .. Text(rsa), .. Text("äöü")], out var asked);
        var identities = agent.Identities();
        Assert.Equal([("ssh-ed25519", "dba@client"), ("ssh-rsa", "äöü")], identities.Select(i => (i.Type, i.Comment)));
        Assert.Equal(ed, identities[0].Blob);
        Assert.Equal([11], asked.Single());
    }

    [Fact]
    public void Asks_for_SHA2_signatures_of_RSA_keys_only()
    {
        byte[] rsa = [.. Text("ssh-rsa"), .. Text("key")];
        byte[] signature = [.. Text("rsa-sha2-512"), .. Text("signed")];
        var agent = Answering([14, .. Text(signature)], out var asked);
        var algorithm = new AgentKeySource(agent, new AgentIdentity(rsa, "dba")).HostKeyAlgorithms.Single();
        Assert.Equal("rsa-sha2-512", algorithm.Name);
        Assert.Equal(rsa, algorithm.Data);
        Assert.Equal(signature, algorithm.Sign("data"u8.ToArray()));
        Assert.Equal([13, .. Text(rsa), .. Text("data"), 0, 0, 0, 4], asked.Single());

        byte[] ed = [.. Text("ssh-ed25519"), .. Text("key")];
        new AgentKeySource(agent, new AgentIdentity(ed, "dba")).HostKeyAlgorithms.Single().Sign("data"u8.ToArray());
        Assert.Equal([13, .. Text(ed), .. Text("data"), 0, 0, 0, 0], asked.Last());
    }

    [Theory]
    [InlineData(new byte[] { 5 })]
    [InlineData(new byte[] { 12, 0, 0, 0, 1, 0, 0, 1 })]
    [InlineData(new byte[] { 12, 255, 255, 255, 255 })]
    [InlineData(new byte[] { 12, 0, 0, 0, 1, 255, 255, 255, 255 })]
    [InlineData(new byte[] { })]
    public void Takes_an_answer_that_makes_no_sense_for_no_keys(byte[] answer) => Assert.Empty(Answering(answer, out _).Identities());

    [Fact]
    public void An_agent_that_is_gone_has_no_keys() => Assert.Empty(SshAgent.Find(Path.Join(_folder, "gone"))!.Identities());

    [Fact]
    public void Says_so_when_the_agent_refuses_to_sign()
    {
        var agent = Answering([5], out _);
        Assert.Throws<SshAuthenticationException>(() => agent.Sign(new AgentIdentity([.. Text("ssh-ed25519")], "dba"), [1], 0));
    }

    [Theory]
    [InlineData("ed25519")]
    [InlineData("ecdsa")]
    [InlineData("rsa")]
    public void Signs_with_a_real_agent(string type)
    {
        var socket = Path.Join(_folder, "agent");
        using var daemon = Process.Start(new ProcessStartInfo("ssh-agent", ["-D", "-a", socket]) { RedirectStandardOutput = true })!;
        try
        {
            Assert.NotNull(daemon.StandardOutput.ReadLine());
            Run("ssh-keygen", "-q", "-t", type, "-N", "", "-C", "of the test", "-f", Path.Join(_folder, "key"));
            Run("ssh-add", "-q", Path.Join(_folder, "key"));
            var agent = SshAgent.Find(socket)!;
            var identity = Assert.Single(agent.Identities());
            Assert.Equal("of the test", identity.Comment);
            Assert.Equal(File.ReadAllText(Path.Join(_folder, "key.pub")).Split(' ')[1], Convert.ToBase64String(identity.Blob));

            using var file = new Renci.SshNet.PrivateKeyFile(Path.Join(_folder, "key"));
            var signer = new AgentKeySource(agent, identity).HostKeyAlgorithms.Single();
            var verifier = file.HostKeyAlgorithms.Single(a => a.Name == signer.Name);
            var data = Encoding.UTF8.GetBytes("what is signed");
            Assert.True(verifier.VerifySignature(data, signer.Sign(data)));
        }
        finally
        {
            daemon.Kill();
            daemon.WaitForExit();
        }

        void Run(string program, params string[] arguments)
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { Environment = { ["SSH_AUTH_SOCK"] = socket }, RedirectStandardError = true })!;
            process.WaitForExit();
            Assert.Equal(0, process.ExitCode);
        }
    }

    private SshAgent Answering(byte[] answer, out List<byte[]> asked)
    {
        var path = Path.Join(_folder, $"fake{_open.Count}");
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        _open.Add(listener);
        var heard = asked = [];
        _ = Task.Run(async () =>
        {
            while (true)
            {
                using var client = await listener.AcceptAsync();
                await using var stream = new NetworkStream(client);
                var length = new byte[4];
                await stream.ReadExactlyAsync(length);
                var request = new byte[BinaryPrimitives.ReadInt32BigEndian(length)];
                await stream.ReadExactlyAsync(request);
                heard.Add(request);
                await stream.WriteAsync(Text(answer));
            }
        });
        return SshAgent.Find(path)!;
    }

    private static byte[] Text(string text) => Text(Encoding.UTF8.GetBytes(text));

    private static byte[] Text(byte[] bytes)
    {
        var framed = new byte[4 + bytes.Length];
        BinaryPrimitives.WriteInt32BigEndian(framed, bytes.Length);
        bytes.CopyTo(framed, 4);
        return framed;
    }
}
