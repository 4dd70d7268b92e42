using System.Management.Automation;
using PitrPS.Hosts;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>ssh's configuration and jump hosts: the standby is the way to the primary.</summary>
public sealed class SshConfigTests : IClassFixture<BareHosts>, IDisposable
{
    private readonly BareHosts _hosts;
    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps").FullName;
    private readonly PowerShellEngine _engine = new();

    public SshConfigTests(BareHosts hosts)
    {
        _hosts = hosts;
        _engine.SetVariable("config", PathOf("config"));
    }

    public void Dispose()
    {
        _engine.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private LabHost Primary => _hosts.Primary;

    private LabHost Standby => _hosts.Standby;

    private string PathOf(string name) => Path.Join(_folder, name);

    private string KeyOf(string host) => string.Join(' ', _hosts.Lab.Shell(host, "cat /etc/ssh/ssh_host_ed25519_key.pub").Split(' ')[..2]);

    [LabFact]
    public void Connects_by_a_name_that_only_the_configuration_knows()
    {
        // ssh writes keys under what the name stands for.
        File.WriteAllText(PathOf("known"), $"{Primary.Address} {KeyOf("primary")}\n");
        Config($"""
            Include {PathOf("more")}/*.conf
            Host db-*
                HostName never
            """, ("more/10.conf", $"""
            Host db-one "db two"
                HostName {Primary.Address}
                Port {Primary.Port}
                User {Primary.User}
                IdentitiesOnly yes
                IdentityFile {Primary.KeyFile}
                UserKnownHostsFile {PathOf("known")}
                GlobalKnownHostsFile none
            """));
        var host = _engine.Get("Connect-PgHost db-one -SshConfigFile $config")[0];
        Assert.Equal(("db-one", Primary.Address, Primary.User), ($"{host.Properties["Name"].Value}", $"{host.Properties["Address"].Value}", $"{host.Properties["UserName"].Value}"));

        // The user's own file, where none is named, and none at all.
        Directory.CreateDirectory(PathOf(".ssh"));
        File.Copy(PathOf("config"), PathOf(".ssh/config"));
        var home = Environment.GetEnvironmentVariable("HOME");
        try
        {
            Environment.SetEnvironmentVariable("HOME", _folder);
            _engine.Get("Connect-PgHost 'db two'");
            Refused("Connect-PgHost db-one -NoSshConfig", "PitrPS.HostUnreachable");
        }
        finally
        {
            Environment.SetEnvironmentVariable("HOME", home);
        }

        // Another key under that name is a changed one; what StrictHostKeyChecking says is not heeded.
        File.WriteAllText(PathOf("known"), $"{Primary.Address} {KeyOf("standby")}\n");
        File.AppendAllText(PathOf("config"), "\nStrictHostKeyChecking no\n");
        Refused("Connect-PgHost db-one -SshConfigFile $config -AcceptNewHostKey", "PitrPS.HostKeyChanged");
        File.WriteAllText(PathOf("known"), "");
        Refused("Connect-PgHost db-one -SshConfigFile $config", "PitrPS.HostKeyUnknown");
    }

    [LabFact]
    public void Looks_the_key_up_under_an_alias_and_remembers_a_new_one_as_it_is_configured()
    {
        Config($"""
            Host db
                HostName {Primary.Address}
                User {Primary.User}
                IdentityFile {Primary.KeyFile}
                HostKeyAlias cluster-7
                UserKnownHostsFile {PathOf("known")}
            """);
        File.WriteAllText(PathOf("known"), $"{Primary.Address} {KeyOf("standby")}\n");
        Refused("Connect-PgHost db -SshConfigFile $config", "PitrPS.HostKeyUnknown");
        _engine.Get("Connect-PgHost db -SshConfigFile $config -AcceptNewHostKey");
        Assert.EndsWith($"\ncluster-7 {KeyOf("primary")}\n", File.ReadAllText(PathOf("known")), StringComparison.Ordinal);
        _engine.Get("Connect-PgHost db -SshConfigFile $config");
    }

    [LabFact]
    public void Says_what_it_does_not_follow_and_refuses_what_it_would_get_wrong()
    {
        Config($"""
            Host db
                HostName {Primary.Address}
                User {Primary.User}
                IdentityFile {Primary.KeyFile}
                BindAddress 127.0.0.1
                UserKnownHostsFile {PathOf("known")}
            Host other
                ProxyCommand nc %h %p
            """);
        Assert.Contains("bindaddress", Assert.Single(_engine.Run("Connect-PgHost db -SshConfigFile $config -AcceptNewHostKey").ThrowOnError().Warnings, w => !w.Contains("SHA256", StringComparison.Ordinal)), StringComparison.Ordinal);
        var run = _engine.Run("Connect-PgHost other, db -SshConfigFile $config");
        Assert.Equal(["PitrPS.SshConfigUnsupported"], run.ErrorIds);
        Assert.Equal("other", run.Errors[0].TargetObject);
        Assert.Single(run.Output);
    }

    [LabFact]
    public async Task Goes_over_a_jump_host_and_checks_both_keys_under_their_own_names()
    {
        HidePrimary();
        try
        {
            Refused($"Connect-PgHost {Primary.ConnectArguments} -NoSshConfig", "PitrPS.HostUnreachable");
            Config($"Host way\n HostName {Standby.Address}\n User {Standby.User}\n");
            File.WriteAllText(PathOf("known"), $"{Standby.Address} {KeyOf("standby")}\nprimary {KeyOf("primary")}\n");
            var arguments = $"-Name primary -Address {Primary.Address} -UserName {Primary.User} -KeyFile '{Primary.KeyFile}' -KnownHostsFile '{PathOf("known")}' -SshConfigFile $config";

            var host = _engine.Get($"$h = Connect-PgHost {arguments} -JumpHost way; $h")[0];
            Assert.Equal("way", Assert.Single((IEnumerable<string>)host.Properties["JumpHost"].Value));
            Assert.Empty(_engine.Get("$h | Get-PgServer"));
            await CarriesAsync(((PgHost)host.BaseObject).Remote);
            Assert.Contains($"over dba@{Standby.Address}", _engine.RunVerbose("$h | Disconnect-PgHost; Connect-PgHost " + arguments + " -JumpHost dba@way:22").ThrowOnError().HostText, StringComparison.Ordinal);

            // Each key is strict: the jump's, and the host's under its own name, not that of a port here.
            File.WriteAllText(PathOf("known"), $"primary {KeyOf("primary")}\n");
            Assert.Contains("way", Refused($"Connect-PgHost {arguments} -JumpHost way", "PitrPS.HostKeyUnknown").Exception.Message, StringComparison.Ordinal);
            File.WriteAllText(PathOf("known"), $"{Standby.Address} {KeyOf("primary")}\nprimary {KeyOf("primary")}\n");
            Refused($"Connect-PgHost {arguments} -JumpHost way -AcceptNewHostKey", "PitrPS.HostKeyChanged");
            File.WriteAllText(PathOf("known"), $"{Standby.Address} {KeyOf("standby")}\n");
            Refused($"Connect-PgHost {arguments} -JumpHost way", "PitrPS.HostKeyUnknown");
            File.WriteAllText(PathOf("known"), $"{Standby.Address} {KeyOf("standby")}\nprimary {KeyOf("standby")}\n");
            Refused($"Connect-PgHost {arguments} -JumpHost way -AcceptNewHostKey", "PitrPS.HostKeyChanged");
            File.WriteAllText(PathOf("known"), "");
            _engine.Get($"Connect-PgHost {arguments} -JumpHost way -AcceptNewHostKey");
            Assert.Equal($"{Standby.Address} {KeyOf("standby")}\nprimary {KeyOf("primary")}\n", File.ReadAllText(PathOf("known")));

            // By configuration alone, and over two: the first way is the host itself.
            Config($"Host way\n HostName {Standby.Address}\n User {Standby.User}\n IdentityFile {Standby.KeyFile}\nHost way2\n HostName 127.0.0.1\n HostKeyAlias {Standby.Address}\n User {Standby.User}\n"
                + $"Host db\n HostName {Primary.Address}\n HostKeyAlias primary\n User {Primary.User}\n ProxyJump way,way2\nHost *\n IdentityFile {Primary.KeyFile}\n UserKnownHostsFile {PathOf("known")}\n");
            Assert.Equal(["way", "way2"], (IEnumerable<string>)_engine.Get("Connect-PgHost db -SshConfigFile $config")[0].Properties["JumpHost"].Value);
            Refused("Connect-PgHost db -SshConfigFile $config -JumpHost none", "PitrPS.HostUnreachable");

            // A way that leads nowhere, and one that is shut.
            Assert.Contains("way does not lead on", Refused($"Connect-PgHost {arguments} -Port 9 -JumpHost way", "PitrPS.HostUnreachable").Exception.Message, StringComparison.Ordinal);
            Refused($"Connect-PgHost {arguments} -JumpHost dba@{Standby.Address}:9", "PitrPS.HostUnreachable");
            Refused($"Connect-PgHost {arguments} -JumpHost nobody-known@way", "PitrPS.AuthenticationFailed");
            _hosts.Lab.Shell("standby", "echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/00-test.conf; systemctl restart ssh; until ss -ltn | grep -q ':22 '; do sleep 0.1; done");
            Assert.Contains("AllowTcpForwarding", Refused($"Connect-PgHost {arguments} -JumpHost way", "PitrPS.HostUnreachable").ErrorDetails.RecommendedAction, StringComparison.Ordinal);
        }
        finally
        {
            _hosts.Lab.Shell("standby", "rm -f /etc/ssh/sshd_config.d/00-test.conf; systemctl reload ssh");
            ShowPrimary();
        }
    }

    [FaultFact]
    public async Task A_jump_host_that_is_lost_is_said_so_in_time_and_Ctrl_C_does_not_wait_for_it()
    {
        _engine.Get($"$h = Connect-PgHost {Primary.ConnectArguments} -NoSshConfig -JumpHost {Standby.User}@{Standby.Address}".Replace("-KnownHostsFile", "-AcceptNewHostKey -KnownHostsFile", StringComparison.Ordinal).Replace(Primary.KnownHosts, PathOf("known"), StringComparison.Ordinal));
        _hosts.Lab.PauseNetwork("standby");
        try
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            Refused("$h | Get-PgHost", "PitrPS.HostUnreachable");
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(11), $"took {watch.Elapsed}");
            var running = _engine.Start("$h | Get-PgHost");
            await Task.Delay(500);
            Assert.InRange(running.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
            running.Wait();
        }
        finally
        {
            _hosts.Lab.ResumeNetwork("standby");
        }

        _engine.Get("$h | Get-PgHost");
    }

    /// <summary>Files and forwarded ports as on a direct connection.</summary>
    private static async Task CarriesAsync(IRemoteHost remote)
    {
        var bytes = new byte[2 * 1024 * 1024 + 3];
        new Random(3).NextBytes(bytes);
        await remote.WriteFileAsync(new RemoteFile("/var/tmp/over-the-way", bytes, 0x180), default);
        Assert.Equal(bytes, await remote.ReadFileAsync("/var/tmp/over-the-way", default));
        await using var forward = await remote.ForwardAsync(22, default);
        using var client = new System.Net.Sockets.TcpClient();
        await client.ConnectAsync("127.0.0.1", forward.LocalPort);
        var hello = new byte[7];
        await client.GetStream().ReadExactlyAsync(hello);
        Assert.Equal("SSH-2.0"u8.ToArray(), hello);
    }

    // The client's packets to the primary's sshd go nowhere; those of the standby arrive.
    private void HidePrimary() => _hosts.Lab.Shell("primary", $"ip route add blackhole {Gateway}/32");

    private void ShowPrimary() => _hosts.Lab.Shell("primary", $"ip route del blackhole {Gateway}/32");

    private string Gateway => Primary.Address[..Primary.Address.LastIndexOf('.')] + ".1";

    private void Config(string text, params (string Name, string Text)[] more)
    {
        File.WriteAllText(PathOf("config"), text);
        foreach (var (name, its) in more)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(PathOf(name))!);
            File.WriteAllText(PathOf(name), its);
        }
    }

    private ErrorRecord Refused(string script, string id) => _engine.Run(script).SingleError(id);
}
