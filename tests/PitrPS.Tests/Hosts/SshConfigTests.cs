using System.Diagnostics;
using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

/// <summary>ssh_config(5), each file also read by ssh itself where there is one: both must come to the same.</summary>
public sealed class SshConfigTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>A file and what is asked of it.</summary>
    public static TheoryData<string, string> Files => new()
    {
        { "Host db*\n  HostName %h.example.com\n  Port 2222\n  User dba\n  IdentityFile ~/.ssh/%n-%r\nHost *\n  Port 99\n  User nobody\n  IdentityFile ~/.ssh/all", "db1" },
        { "Host db* !db1\n  Port 2222\nHost db1\n Port 33", "db1" },
        { "Host !db1 *\n  Port 2222", "db1" },
        { "Host db? x\n  Port 2222\n", "db12" },
        { "hOsT=db1\nPORT = 2222\n hostname=\"10.0.0.5\"\n# a comment\n\n   User \"d b\" # another", "db1" },
        { "HostName 10.0.0.%%h\nHost db1\n HostName never", "db1" },
        { "Host db1\n HostName fe80::1%%eth0", "db1" },
        { "Match host db1\n Port 1\nMatch originalhost db1 user dba\n Port 2\nMatch all\n Port 3", "db1" },
        { "Host db1\n HostName other\nMatch host other\n Port 5\nMatch originalhost other\n User x\nMatch !host db1\n ProxyJump a,b", "db1" },
        { "User dba\nMatch user dba,x\n Port 4\nMatch !user dba\n IdentitiesOnly yes", "db1" },
        { "Match localuser nobody-like-this\n Port 4\nMatch canonical\n Port 6\nMatch all\nUser x", "db1" },
        { "Host db1\n ProxyJump u@a:23,[fd00::1]:24\n ProxyCommand never\nHost d*\n ProxyJump z", "db1" },
        { "Host db1\n ProxyJump none\nHost *\n ProxyJump z", "db1" },
        { "UserKnownHostsFile ~/.ssh/a /tmp/%n.b\nGlobalKnownHostsFile /etc/ssh/x\nHostKeyAlias alias\nHashKnownHosts yes\nIdentitiesOnly yes\nIdentityAgent none\nAddressFamily inet6", "db1" },
        { "Include INC/*.conf\nHost db1\n Port 7", "db1" },
        { "Host other\n Include INC/*.conf\nHost db1\n Port 7", "db1" },
        { "Host db1\n Include INC/b.conf\n User after", "db1" },
        { "Include INC/nothing.conf\nCompression yes\nServerAliveInterval 5\nPort 8", "db1" },
    };

    [Theory]
    [MemberData(nameof(Files))]
    public void Comes_to_the_same_as_ssh(string text, string host)
    {
        Directory.CreateDirectory(Path.Combine(_folder, "inc"));
        File.WriteAllText(Path.Combine(_folder, "inc", "a.conf"), "Host db1\n Port 71\nHost other\n User fromother\n");
        File.WriteAllText(Path.Combine(_folder, "inc", "b.conf"), "Port 72\nUser fromb\nInclude " + Path.Combine(_folder, "inc", "c.txt") + "\n");
        File.WriteAllText(Path.Combine(_folder, "inc", "c.txt"), "IdentityFile /tmp/c\n");
        var file = Path.Combine(_folder, "config");
        File.WriteAllText(file, text.Replace("INC", Path.Combine(_folder, "inc"), StringComparison.Ordinal));
        var login = new LoginRequest { Config = new SshConfigFiles(file) }.For(host);

        var ssh = AsSshSees(file, host);
        if (ssh is null)
        {
            Assert.Equal(host, login.Name);
            return;
        }

        Assert.Equal(ssh["hostname"].Single(), login.Address);
        Assert.Equal(ssh["user"].Single(), login.UserName);
        Assert.Equal(ssh["port"].Single(), $"{login.Port}");
        if (login.ConfiguredKeyFiles is { } keys)
        {
            Assert.Equal(ssh["identityfile"].Select(f => f.Replace("~", Home, StringComparison.Ordinal).Replace("%n", host).Replace("%r", login.UserName)), keys);
        }

        Assert.Equal(ssh.GetValueOrDefault("proxyjump")?.Single(), login.Via is null ? null : string.Join(',', login.Jumps.Select(Written)));
        Assert.Equal(ssh["identitiesonly"].Single() == "yes", login.IdentitiesOnly);
        Assert.Equal(ssh.GetValueOrDefault("hostkeyalias")?.Single() ?? login.Address, login.KeyName);
        if (text.Contains("UserKnownHostsFile", StringComparison.Ordinal))
        {
            Assert.Equal(ssh["userknownhostsfile"].Single().Split(' ')[0], login.KnownHosts.Appended);
            Assert.Equal(("", "inet6", 22), (login.Agent, login.AddressFamily, login.KeyPort));
        }
    }

    [Theory]
    [InlineData("Match exec true\n Port 5", "PitrPS.SshConfigUnsupported")]
    [InlineData("Match final\n HostName x", "PitrPS.SshConfigUnsupported")]
    [InlineData("ProxyCommand nc %h %p", "PitrPS.SshConfigUnsupported")]
    [InlineData("CanonicalizeHostname yes", "PitrPS.SshConfigUnsupported")]
    [InlineData("RevokedHostKeys /etc/ssh/revoked", "PitrPS.SshConfigUnsupported")]
    [InlineData("IdentityFile ~/%C", "PitrPS.SshConfigUnsupported")]
    [InlineData("IdentityFile ${NO_SUCH_VARIABLE_HERE}/x", "PitrPS.SshConfigUnsupported")]
    [InlineData("Port many", "PitrPS.SshConfigInvalid")]
    [InlineData("Port", "PitrPS.SshConfigInvalid")]
    [InlineData("User \"open", "PitrPS.SshConfigInvalid")]
    [InlineData("Include CONFIG", "PitrPS.SshConfigInvalid")]
    [InlineData("Host db1 y\n ProxyJump x\nHost x\n ProxyJump y", "PitrPS.InvalidJumpHost")]
    [InlineData("ProxyJump a:b:c:", "PitrPS.InvalidJumpHost")]
    public void Refuses_what_it_would_get_wrong(string text, string id)
    {
        var file = Path.Combine(_folder, "config");
        File.WriteAllText(file, text.Replace("CONFIG", file, StringComparison.Ordinal));
        var error = Assert.Throws<PitrException>(() => new LoginRequest { Config = new SshConfigFiles(file) }.For("db1"));
        Assert.Equal(id, error.Id);
    }

    [Theory]
    [InlineData("Match exec true\n Compression yes\nHost other\n ProxyCommand x")]
    [InlineData("Port 5\nMatch exec true\n Port 6")]
    [InlineData("CanonicalizeHostname no\nRevokedHostKeys none\nProxyCommand none")]
    [InlineData("Host other\nMatch exec true host nobody\n HostName x")]
    public void Does_not_care_about_what_it_does_not_understand_where_it_does_not_matter(string text)
    {
        var login = Login(text);
        Assert.Equal("db1", login.Address);
        Assert.Empty(login.Warnings);
    }

    [Fact]
    public void Tells_what_it_does_not_follow()
    {
        var warnings = Login("CertificateFile ~/x\nBindAddress 10.0.0.1\nPrt 22\nKnownHostsCommand none").Warnings;
        Assert.Equal(["certificatefile is not followed", "bindaddress is not followed", "prt is not known"], warnings.Select(w => string.Join(' ', w.Split(' ').Skip(3).Take(4))).Select(w => w.Replace(" to", "", StringComparison.Ordinal)));
    }

    [Fact]
    public void What_is_given_goes_before_what_is_configured()
    {
        var file = Path.Combine(_folder, "config");
        File.WriteAllText(file, "HostName 10.0.0.5\nPort 2222\nUser dba\nProxyJump bastion\nIdentityFile /tmp/a");
        var login = new LoginRequest { Config = new SshConfigFiles(file), Address = "[fd00::5]", Port = 23, UserName = "root", JumpHosts = ["none"], KeyFiles = ["/tmp/b"] }.For("db1");
        Assert.Equal(("fd00::5", 23, "root", "db1", null), (login.Address, login.Port, login.UserName, login.KeyName, login.Via));
        Assert.Equal(["/tmp/b"], login.KeyFiles);
    }

    [Theory]
    [InlineData("ssh -W %h:%p ops@bastion", "ops", "bastion", 22)]
    [InlineData("/usr/bin/ssh -q -p 2222 -l ops bastion -W %h:%p", "ops", "bastion", 2222)]
    public void Understands_the_proxy_command_that_a_jump_was_written_as(string command, string user, string host, int port)
    {
        var via = Login("Host db1\n ProxyCommand " + command).Via!;
        Assert.Equal((user, host, port), (via.UserName, via.Address, via.Port));
    }

    [Fact]
    public void A_jump_host_has_its_own_settings_and_never_the_hosts_passwords()
    {
        var file = Path.Combine(_folder, "config");
        File.WriteAllText(file, "Host b\n HostName 10.0.0.9\n User ops\n IdentityFile /tmp/jump\n Port 24\n ProxyJump c\nHost db1\n ProxyJump b\nHost *\n Port 22");
        var login = new LoginRequest { Config = new SshConfigFiles(file), UserName = "dba", Password = new Secret("x"), SudoPassword = new Secret("y") }.For("db1");
        Assert.Equal(["c", "b"], login.Jumps.Select(j => j.Name));
        Assert.Equal(("ops", "10.0.0.9", 24, "10.0.0.9"), (login.Via!.UserName, login.Via.Address, login.Via.Port, login.Via.KeyName));
        var named = new LoginRequest { Config = new SshConfigFiles(file), KeyFiles = ["/tmp/host"] }.For("db1");
        Assert.Equal(["/tmp/host"], named.KeyFiles);
        Assert.Equal((0, "/tmp/jump", "/tmp/host"), (named.Via!.KeyFiles.Count, named.Via.ConfiguredKeyFiles![0], named.Via.ConfiguredKeyFiles[^1]));
        Assert.Contains(named.Via.Via!.ConfiguredKeyFiles!, f => f.EndsWith("id_ed25519", StringComparison.Ordinal));
        Assert.All(login.Jumps, j => Assert.True(j.Password is null && j.SudoPassword is null));
        Assert.NotNull(login.Password);

        Assert.Empty(new LoginRequest { Config = new SshConfigFiles(file) }.For("c").Jumps);
        Assert.Equal(["z"], Login("ProxyJump z").Jumps.Select(j => j.Name));
    }

    [Fact]
    public void Refuses_a_file_of_the_user_that_others_may_write()
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        Directory.CreateDirectory(Path.Combine(_folder, ".ssh"));
        var file = Path.Combine(_folder, ".ssh", "config");
        File.WriteAllText(file, "Host db1\n Port 26");
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupWrite);
        Assert.Equal("PitrPS.SshConfigUnsafe", Assert.Throws<PitrException>(() => new LoginRequest { Config = new SshConfigFiles(null, _folder) }.For("db1")).Id);
        File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.Equal(26, new LoginRequest { Config = new SshConfigFiles(null, _folder) }.For("db1").Port);
    }

    [Fact]
    public void A_new_host_is_written_hashed_where_that_is_configured()
    {
        var files = new KnownHostsFiles([Path.Combine(_folder, "known")], [], hashed: true);
        files.Append("db1", 2222, "ssh-ed25519", [1, 2, 3]);
        Assert.StartsWith("|1|", File.ReadAllText(files.Appended!), StringComparison.Ordinal);
        Assert.Equal(HostKeyVerdict.Trusted, files.Read().Check("db1", 2222, [1, 2, 3]));
        Assert.Equal(HostKeyVerdict.Unknown, files.Read().Check("db2", 2222, [1, 2, 3]));
    }

    private static string Home => Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);

    private static string Written(HostLogin jump) =>
        (jump.UserName == Environment.UserName ? "" : jump.UserName + "@") + (jump.Address.Contains(':') ? $"[{jump.Address}]" : jump.Address) + (jump.Port == 22 ? "" : $":{jump.Port}");

    private HostLogin Login(string text)
    {
        var file = Path.Combine(_folder, "config");
        File.WriteAllText(file, text);
        return new LoginRequest { Config = new SshConfigFiles(file) }.For("db1");
    }

    private static Dictionary<string, List<string>>? AsSshSees(string file, string host)
    {
        if (!File.Exists("/usr/bin/ssh"))
        {
            return null;
        }

        using var process = Process.Start(new ProcessStartInfo("/usr/bin/ssh", ["-G", "-F", file, host]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, errors.Result);
        return output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' ', 2)).Where(p => p.Length == 2)
            .GroupBy(p => p[0], p => p[1]).ToDictionary(g => g.Key, g => g.ToList());
    }
}
