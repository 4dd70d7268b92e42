using System.Management.Automation;
using System.Security;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>Connect-, Get- and Disconnect-PgHost against a real sshd.</summary>
public sealed class ConnectTests(BareHosts hosts) : IClassFixture<BareHosts>, IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps").FullName;
    private readonly PowerShellEngine _engine = new();

    public void Dispose()
    {
        _engine.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private LabHost Host => hosts.Primary;

    private string PathOf(string name) => Path.Join(_folder, name);

    [LabFact]
    public void Connects_with_a_key_file_and_finds_out_what_the_host_is()
    {
        var host = Assert.Single(_engine.Get($"Connect-PgHost {Host.ConnectArguments}"));
        Assert.Equal("PitrPS.Hosts.PgHost", host.BaseObject.GetType().FullName);
        Assert.Equal("primary", host.Properties["Name"].Value);
        Assert.Equal(Host.Address, host.Properties["Address"].Value);
        Assert.Equal("debian", host.Properties["Family"].Value);
        Assert.Contains("Debian", (string)host.Properties["OperatingSystem"].Value, StringComparison.Ordinal);
        Assert.Equal(true, host.Properties["IsConnected"].Value);
    }

    [LabFact]
    public void Connects_many_hosts_from_objects_in_their_order_and_one_that_fails_does_not_stop_the_others()
    {
        string[] rows = [.. new[] { Host, Host with { Name = "nobody", Address = "192.0.2.1", Port = 1 }, hosts.Standby }
            .Select(h => $"[pscustomobject]@{{ name = '{h.Name}'; address = '{h.Address}'; port = {h.Port}; user = '{h.User}'; keyFile = '{h.KeyFile}'; knownHosts = '{h.KnownHosts}' }}")];
        var run = _engine.Run($"{string.Join(", ", rows)} | Connect-PgHost");
        Assert.Equal(["primary", "standby"], run.Output.Select(o => o.Properties["Name"].Value));
        Assert.Equal("PitrPS.HostUnreachable", Assert.Single(run.Errors).FullyQualifiedErrorId.Split(',')[0]);
        Assert.Equal("nobody", run.Errors[0].TargetObject);
    }

    [LabFact]
    public void Refuses_an_unknown_host_key_and_shows_its_fingerprint()
    {
        File.WriteAllText(PathOf("known_hosts"), "");
        var error = Refused($"Connect-PgHost {Arguments(Host with { KnownHosts = PathOf("known_hosts") })}", "PitrPS.HostKeyUnknown", ErrorCategory.SecurityError);
        var fingerprint = hosts.Lab.Shell("primary", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").Split(' ')[1];
        Assert.Contains($"ssh-ed25519 {fingerprint}", error.Exception.Message, StringComparison.Ordinal);
        Assert.Contains("-AcceptNewHostKey", error.ErrorDetails.RecommendedAction, StringComparison.Ordinal);
        Assert.Equal("", File.ReadAllText(PathOf("known_hosts")));
    }

    [LabFact]
    public void Accepts_and_remembers_a_new_host_key_when_told_to()
    {
        var strict = Arguments(Host with { KnownHosts = PathOf("known_hosts") });
        Assert.Contains("SHA256:", Assert.Single(_engine.Run($"Connect-PgHost {strict} -AcceptNewHostKey").ThrowOnError().Warnings), StringComparison.Ordinal);
        var key = string.Join(' ', hosts.Lab.Shell("primary", "cat /etc/ssh/ssh_host_ed25519_key.pub").Split(' ')[..2]);
        Assert.Equal($"primary {key}\n", File.ReadAllText(PathOf("known_hosts")));
        _engine.Get($"Connect-PgHost {strict}");
    }

    [LabFact]
    public void Refuses_a_changed_host_key_whatever_it_is_told()
    {
        var before = $"primary {string.Join(' ', hosts.Lab.Shell("standby", "cat /etc/ssh/ssh_host_ed25519_key.pub").Split(' ')[..2])}\n";
        File.WriteAllText(PathOf("known_hosts"), before);
        var error = Refused($"Connect-PgHost {Arguments(Host with { KnownHosts = PathOf("known_hosts") })} -AcceptNewHostKey", "PitrPS.HostKeyChanged", ErrorCategory.SecurityError);
        Assert.Contains(PathOf("known_hosts"), error.Exception.Message, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllText(PathOf("known_hosts")));
    }

    [LabTheory]
    [InlineData("rsa", "3072")]
    [InlineData("ecdsa", "384")]
    public void A_host_known_by_a_key_of_another_type_counts_as_changed(string type, string bits)
    {
        Program("ssh-keygen", "-q", "-t", type, "-b", bits, "-N", "", "-f", PathOf("other"));
        File.WriteAllText(PathOf("known_hosts"), "primary " + File.ReadAllText(PathOf("other.pub")));
        Refused($"Connect-PgHost {Arguments(Host with { KnownHosts = PathOf("known_hosts") })} -AcceptNewHostKey", "PitrPS.HostKeyChanged", ErrorCategory.SecurityError);
    }

    [LabTheory]
    [InlineData("ed25519")]
    [InlineData("ecdsa")]
    [InlineData("rsa")]
    public void Asks_the_host_for_a_key_of_the_type_that_is_known(string type)
    {
        File.WriteAllText(PathOf("known_hosts"), "primary " + hosts.Lab.Shell("primary", $"cat /etc/ssh/ssh_host_{type}_key.pub"));
        _engine.Get($"Connect-PgHost {Arguments(Host with { KnownHosts = PathOf("known_hosts") })}");
    }

    [LabFact]
    public void Knows_hosts_by_hashed_names()
    {
        File.WriteAllText(PathOf("known_hosts"), "primary " + hosts.Lab.Shell("primary", "cat /etc/ssh/ssh_host_ed25519_key.pub"));
        Program("ssh-keygen", "-q", "-H", "-f", PathOf("known_hosts"));
        Assert.StartsWith("|1|", File.ReadAllText(PathOf("known_hosts")), StringComparison.Ordinal);
        _engine.Get($"Connect-PgHost {Arguments(Host with { KnownHosts = PathOf("known_hosts") })}");
    }

    [LabFact]
    public void Refuses_a_revoked_host_key()
    {
        var key = hosts.Lab.Shell("primary", "cat /etc/ssh/ssh_host_ed25519_key.pub");
        File.WriteAllText(PathOf("known_hosts"), $"primary {key}@revoked * {key}");
        Refused($"Connect-PgHost {Arguments(Host with { KnownHosts = PathOf("known_hosts") })} -AcceptNewHostKey", "PitrPS.HostKeyRevoked", ErrorCategory.SecurityError);
    }

    [LabFact]
    public void Connects_to_another_port_under_its_own_entry()
    {
        using var second = new SecondServer(hosts.Lab, "");
        var there = Host with { Port = 2222, KnownHosts = PathOf("known_hosts") };
        Refused($"Connect-PgHost {Arguments(there)}", "PitrPS.HostKeyUnknown", ErrorCategory.SecurityError);
        _engine.Get($"Connect-PgHost {Arguments(there)} -AcceptNewHostKey");
        Assert.StartsWith("[primary]:2222 ssh-ed25519 ", File.ReadAllText(PathOf("known_hosts")), StringComparison.Ordinal);
        Assert.Equal(2222, _engine.Get($"Connect-PgHost {Arguments(there)}")[0].Properties["Port"].Value);
    }

    [LabTheory]
    [InlineData("ed25519", "RFC4716")]
    [InlineData("ecdsa", "RFC4716")]
    [InlineData("ecdsa", "PEM")]
    [InlineData("ecdsa", "PKCS8")]
    [InlineData("rsa", "RFC4716")]
    [InlineData("rsa", "PEM")]
    [InlineData("rsa", "PKCS8")]
    public void Logs_in_with_keys_of_every_type_and_format_also_encrypted(string type, string format)
    {
        foreach (var passphrase in new[] { "", "correct horse" })
        {
            var file = PathOf($"key{passphrase.Length}");
            Program("ssh-keygen", "-q", "-t", type, "-b", type == "rsa" ? "2048" : "256", "-m", format, "-N", passphrase, "-f", file);
            Authorize(file + ".pub");
            var arguments = Arguments(Host with { KeyFile = file });
            if (passphrase.Length == 0)
            {
                _engine.Get($"Connect-PgHost {arguments}");
                continue;
            }

            _engine.Run($"Connect-PgHost {arguments} -KeyPassphrase $secret", ("secret", Secret(passphrase))).ThrowOnError();
            Refused($"Connect-PgHost {arguments}", "PitrPS.KeyPassphraseRequired", ErrorCategory.AuthenticationError);
            Refused($"Connect-PgHost {arguments} -KeyPassphrase $secret", "PitrPS.KeyPassphraseWrong", ErrorCategory.AuthenticationError, ("secret", Secret("wrong horse")));
        }
    }

    [LabFact]
    public void Says_what_is_wrong_with_a_key()
    {
        Program("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", PathOf("stranger"));
        Refused($"Connect-PgHost {Arguments(Host with { KeyFile = PathOf("stranger") })}", "PitrPS.AuthenticationFailed", ErrorCategory.AuthenticationError);
        Refused($"Connect-PgHost {Arguments(Host with { KeyFile = PathOf("stranger.pub") })}", "PitrPS.KeyFileInvalid", ErrorCategory.InvalidData);
        Refused($"Connect-PgHost {Arguments(Host with { KeyFile = PathOf("absent") })}", "PitrPS.KeyFileNotFound", ErrorCategory.ObjectNotFound);
    }

    [LabFact]
    public void Logs_in_with_the_agent_and_with_the_usual_files()
    {
        var home = Environment.GetEnvironmentVariable("HOME");
        var socket = PathOf("agent");
        Program("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", PathOf("agents"));
        Program("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", PathOf("encrypted"));
        Authorize(PathOf("agents.pub"));
        using var agent = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("ssh-agent", ["-D", "-a", socket]) { RedirectStandardOutput = true })!;
        try
        {
            Assert.NotNull(agent.StandardOutput.ReadLine());
            Directory.CreateDirectory(PathOf(".ssh"));
            Environment.SetEnvironmentVariable("HOME", _folder);
            Environment.SetEnvironmentVariable("SSH_AUTH_SOCK", socket);
            var anyKey = $"-Name primary -Address {Host.Address} -Port {Host.Port} -UserName {Host.User} -KnownHostsFile '{Host.KnownHosts}'";
            var error = Refused($"Connect-PgHost {anyKey}", "PitrPS.AuthenticationFailed", ErrorCategory.AuthenticationError);
            Assert.Contains("no key was found", error.Exception.Message, StringComparison.Ordinal);

            File.Copy(Host.KeyFile, PathOf(".ssh/id_ed25519"));
            _engine.Get($"Connect-PgHost {anyKey}");
            File.Delete(PathOf(".ssh/id_ed25519"));

            Program("ssh-add", "-q", PathOf("agents"));
            _engine.Get($"Connect-PgHost {anyKey}");

            // Without -KnownHostsFile: the file in ~/.ssh.
            File.Copy(Host.KnownHosts, PathOf(".ssh/known_hosts"));
            _engine.Get($"Connect-PgHost -Name primary -Address {Host.Address} -Port {Host.Port} -UserName {Host.User}");

            // An encrypted key that was named, and that the agent has open.
            Authorize(PathOf("encrypted.pub"));
            Refused($"Connect-PgHost {Arguments(Host with { KeyFile = PathOf("encrypted") })}", "PitrPS.KeyPassphraseRequired", ErrorCategory.AuthenticationError);
            File.WriteAllText(PathOf("askpass"), "#!/bin/sh\necho secret\n");
            Program("chmod", "700", PathOf("askpass"));
            Environment.SetEnvironmentVariable("SSH_ASKPASS", PathOf("askpass"));
            Environment.SetEnvironmentVariable("SSH_ASKPASS_REQUIRE", "force");
            Program("ssh-add", "-q", PathOf("encrypted"));
            _engine.Get($"Connect-PgHost {Arguments(Host with { KeyFile = PathOf("encrypted") })}");
        }
        finally
        {
            Environment.SetEnvironmentVariable("HOME", home);
            foreach (var name in new[] { "SSH_AUTH_SOCK", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE" })
            {
                Environment.SetEnvironmentVariable(name, null);
            }

            agent.Kill();
            agent.WaitForExit();
        }
    }

    [LabFact]
    public void Logs_in_with_a_password_and_passes_sudo_with_it()
    {
        if (Host.PasswordUser is not { } user || Host.PasswordFile is not { } file)
        {
            return;
        }

        var password = File.ReadAllText(file).Trim();
        var arguments = $"-Name primary -Address {Host.Address} -Port {Host.Port} -KnownHostsFile '{Host.KnownHosts}' -Credential $login";
        var right = ("login", (object?)new PSCredential(user, Secret(password)));
        var run = _engine.RunVerbose($"$h = Connect-PgHost {arguments} -SudoPassword $secret; $h; [Management.Automation.PSSerializer]::Serialize($h, 5)", right, ("secret", Secret(password)));
        run.ThrowOnError();
        Assert.Equal(user, run.Output[0].Properties["UserName"].Value);
        Assert.DoesNotContain(password, run.Output[1].ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(password, run.HostText, StringComparison.Ordinal);
        Assert.Contains("primary: ", run.HostText, StringComparison.Ordinal);

        Refused($"Connect-PgHost {arguments}", "PitrPS.SudoPasswordRequired", ErrorCategory.AuthenticationError, right);
        Refused($"Connect-PgHost {arguments} -SudoPassword $secret", "PitrPS.SudoPasswordWrong", ErrorCategory.AuthenticationError, right, ("secret", Secret("wrong")));
        Refused($"Connect-PgHost {arguments}", "PitrPS.AuthenticationFailed", ErrorCategory.AuthenticationError, ("login", new PSCredential(user, Secret("wrong"))));
        hosts.Lab.Shell("primary", $"echo 'Defaults:{user} timestamp_timeout=0' > /etc/sudoers.d/zz-test");
        _engine.Run($"Connect-PgHost {arguments} -SudoPassword $secret", right, ("secret", Secret(password))).ThrowOnError();
        Refused($"Connect-PgHost {arguments} -SudoPassword $secret", "PitrPS.SudoPasswordWrong", ErrorCategory.AuthenticationError, right, ("secret", Secret("wrong")));
        hosts.Lab.Shell("primary", "rm /etc/sudoers.d/zz-test");
        Assert.DoesNotContain(password, hosts.Lab.Shell("primary", "journalctl --no-pager -o cat; cat /var/log/auth.log 2>/dev/null || :"), StringComparison.Ordinal);
    }

    [LabFact]
    public void Logs_in_where_the_host_asks_for_the_password_by_keyboard_interactive()
    {
        if (Host.PasswordUser is not { } user || Host.PasswordFile is not { } file)
        {
            return;
        }

        using var second = new SecondServer(hosts.Lab, "-o PasswordAuthentication=no -o KbdInteractiveAuthentication=yes -o UsePAM=yes");
        var password = File.ReadAllText(file).Trim();
        _engine.Run($"Connect-PgHost -Name primary -Address {Host.Address} -Port 2222 -KnownHostsFile '{PathOf("known_hosts")}' -AcceptNewHostKey -Credential $login -SudoPassword $secret",
            ("login", new PSCredential(user, Secret(password))), ("secret", Secret(password))).ThrowOnError();
    }

    [LabFact]
    public void Refuses_a_user_without_sudo_and_one_without_a_shell()
    {
        var key = string.Join(' ', File.ReadAllText(Host.KeyFile + ".pub").Split(' ')[..2]).Trim();
        hosts.Lab.Shell("primary", $"""
            for u in plain shellless; do
              id $u >/dev/null 2>&1 || useradd -m -s /bin/bash $u
              mkdir -p /home/$u/.ssh; echo '{key}' > /home/$u/.ssh/authorized_keys; chown -R $u: /home/$u/.ssh
            done
            usermod -s /usr/sbin/nologin shellless
            """);
        hosts.Lab.Shell("primary", "echo plain:known | chpasswd");
        Refused($"Connect-PgHost {Arguments(Host with { User = "plain" })} -SudoPassword $secret", "PitrPS.SudoRefused", ErrorCategory.PermissionDenied, ("secret", Secret("known")));
        Refused($"Connect-PgHost {Arguments(Host with { User = "shellless" })}", "PitrPS.NoShell", ErrorCategory.PermissionDenied);
    }

    [LabFact]
    public void Works_where_login_scripts_print_and_the_server_shows_a_banner()
    {
        hosts.Lab.Shell("primary", "echo 'Hands off!' > /etc/banner; cp /home/dba/.bashrc /home/dba/.bashrc.kept; sed -i '1i echo noise; echo noise >&2' /home/dba/.bashrc");
        using var second = new SecondServer(hosts.Lab, "-o Banner=/etc/banner");
        try
        {
            var host = _engine.Get($"Connect-PgHost {Arguments(Host with { Port = 2222, KnownHosts = PathOf("known_hosts") })} -AcceptNewHostKey")[0];
            Assert.StartsWith("Debian", (string)host.Properties["OperatingSystem"].Value, StringComparison.Ordinal);
        }
        finally
        {
            hosts.Lab.Shell("primary", "mv /home/dba/.bashrc.kept /home/dba/.bashrc");
        }
    }

    [LabFact]
    public void Says_at_once_that_a_host_is_not_there()
    {
        var watch = System.Diagnostics.Stopwatch.StartNew();
        Refused($"Connect-PgHost {Arguments(Host with { Port = 9 })}", "PitrPS.HostUnreachable", ErrorCategory.ConnectionError);
        Refused($"Connect-PgHost {Arguments(Host with { Address = "no-such-host.invalid" })}", "PitrPS.HostUnreachable", ErrorCategory.ConnectionError);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), $"took {watch.Elapsed}");
    }

    [LabFact]
    public void Shows_the_connected_hosts_and_forgets_those_that_are_disconnected()
    {
        _engine.Get($"$a = Connect-PgHost {Host.ConnectArguments}; $b = Connect-PgHost {hosts.Standby.ConnectArguments}");
        Assert.Equal(["primary", "standby"], _engine.Get("Get-PgHost | ForEach-Object Name").Select(o => o.ToString()));
        Assert.Equal(["standby"], _engine.Get("Get-PgHost s*, stand[b]y | ForEach-Object Name").Select(o => o.ToString()).Distinct());
        Assert.Equal("primary", _engine.Get("$a | Get-PgHost")[0].Properties["Name"].Value);
        Refused("Get-PgHost nobody", "PitrPS.HostNotConnected", ErrorCategory.ObjectNotFound);

        _engine.Get("$a | Disconnect-PgHost");
        Assert.Equal(["standby"], _engine.Get("Get-PgHost | ForEach-Object Name").Select(o => o.ToString()));
        Refused("$a | Get-PgHost", "PitrPS.HostDisconnected", ErrorCategory.InvalidOperation);
        _engine.Get("$a | Disconnect-PgHost; $b | Disconnect-PgHost");
        Assert.Empty(_engine.Get("Get-PgHost"));
    }

    [LabFact]
    public void Shows_each_remote_command_when_asked_to()
    {
        _engine.Get($"$h = Connect-PgHost {Host.ConnectArguments}");
        Assert.Matches(@"primary: true \(exit 0, \d+ ms\)", _engine.RunVerbose("$h | Get-PgHost").ThrowOnError().HostText);
        Assert.DoesNotContain("primary: true", _engine.Run("$h | Get-PgHost").ThrowOnError().HostText, StringComparison.Ordinal);
    }

    private static string Arguments(LabHost host) => host.ConnectArguments;

    private ErrorRecord Refused(string script, string id, ErrorCategory category, params (string Name, object? Value)[] variables)
    {
        var run = _engine.Run(script, variables);
        Assert.Empty(run.Output);
        var error = Assert.Single(run.Errors);
        Assert.Equal(id, error.FullyQualifiedErrorId.Split(',')[0]);
        Assert.Equal(category, error.CategoryInfo.Category);
        Assert.False(string.IsNullOrEmpty(error.ErrorDetails.RecommendedAction));
        return error;
    }

    private void Authorize(string publicKeyFile) =>
        hosts.Lab.Shell("primary", $"echo '{File.ReadAllText(publicKeyFile).Trim()}' >> /home/dba/.ssh/authorized_keys");

    private static SecureString Secret(string text)
    {
        var secret = new SecureString();
        foreach (var c in text)
        {
            secret.AppendChar(c);
        }

        return secret;
    }

    private static void Program(string program, params string[] arguments)
    {
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true })!;
        process.StandardInput.Close();
        var said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, said);
    }
}
