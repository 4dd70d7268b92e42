using System.Diagnostics;
using System.Management.Automation;
using System.Security;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>From bare hosts to the table back on the primary, on hosts that are unlike the ones that such programs are written on.</summary>
public sealed class AwkwardHostsTests : IDisposable
{
    private const string Story =
        """
        $primary, $standby = $primaryHost, $standbyHost | Install-PgServer -Version 15 -Confirm:$false
        $primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false
        $standby = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false |
            New-PgStandby -Primary $primary -Confirm:$false
        """;

    private const string Recovery =
        """
        $primary = $primaryHost | Get-PgServer
        $standby = $standbyHost | Get-PgServer
        $null = $standby | Suspend-WalReplay
        $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Confirm:$false | Restore-PgTable -To $primary -Confirm:$false | Complete-PitrRecovery -Confirm:$false
        """;

    // Of the login shell and of sh, where they read something without being asked.
    private const string Noise =
        """
        for u in dba dbapw root; do
          home=$(getent passwd $u | cut -d: -f6)
          for f in .cshrc .tcshrc .zshenv .bashrc; do printf 'echo "Welcome! pitrps-begin"\n' > $home/$f; chown $u: $home/$f; done
        done
        echo 'Authorized use only. sudo: a password is required' > /etc/banner
        echo 'Banner /etc/banner' > /etc/ssh/sshd_config.d/00-awkward.conf
        for d in /tmp /var/tmp /dev/shm; do mountpoint -q $d || mount --bind $d $d; mount -o remount,bind,noexec $d; done
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("pitrps").FullName;
    private readonly BareHosts _hosts = new();
    private readonly PowerShellEngine _engine = new();

    public void Dispose()
    {
        _engine.Dispose();
        _hosts.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private Lab Lab => _hosts.Lab;

    private static IEnumerable<string> Both => [Lab.Primary, Lab.Standby];

    /// <summary>csh, noise, a banner, no program may be run in /tmp, sudo that asks for each command, and servers that speak German.</summary>
    [Trait("Category", "Long")]
    [FaultFact]
    public void The_story_works_where_sudo_always_asks_and_nothing_is_in_English()
    {
        foreach (var host in Both)
        {
            GiveShell(host, "/bin/tcsh", "dbapw");
            Lab.Shell(host, Noise);
            Lab.Shell(host, """
                echo 'de_DE.UTF-8 UTF-8' >> /etc/locale.gen; locale-gen >/dev/null
                printf 'LANG=de_DE.UTF-8\nLC_ALL=de_DE.UTF-8\nLANGUAGE=de\n' | tee /etc/default/locale >> /etc/environment
                echo 'Defaults:dbapw timestamp_timeout=0' > /etc/sudoers.d/zz-awkward
                systemctl restart ssh; until ss -ltn | grep -q ':22 '; do sleep 0.1; done
                """);
        }

        var password = new SecureString();
        foreach (var c in File.ReadAllText(_hosts.Primary.PasswordFile!).Trim())
        {
            password.AppendChar(c);
        }

        _engine.SetVariable("password", password);
        Get(string.Join('\n', new[] { _hosts.Primary, _hosts.Standby }.Select(h => $"${h.Name}Host = Connect-PgHost {(h with { User = h.PasswordUser! }).ConnectArguments} -SudoPassword $password -NoSshConfig")));
        Tell("de_DE.UTF-8");
    }

    /// <summary>zsh, root without sudo, and no address but IPv6.</summary>
    [FaultFact]
    public void The_story_works_as_root_over_IPv6()
    {
        var addresses = new Dictionary<string, string> { [Lab.Primary] = "fd77::10", [Lab.Standby] = "fd77::11" };
        var bridge = Program("ip", "-o", "route", "get", _hosts.Primary.Address).Split(" dev ")[1].Split(' ')[0];
        File.WriteAllText($"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6", "0");
        try
        {
            Program("ip", "-6", "addr", "add", "fd77::1/64", "dev", bridge, "nodad");
            var keys = "";
            foreach (var host in Both)
            {
                GiveShell(host, "/bin/zsh", "root");
                Lab.Shell(host, Noise);
                Lab.Shell(host, $"""
                    ip -6 addr add {addresses[host]}/64 dev eth0 nodad
                    mkdir -p -m 700 /root/.ssh; cp /home/dba/.ssh/authorized_keys /root/.ssh/; rm -f /etc/sudoers.d/dba; mv /usr/bin/sudo /usr/bin/sudo.gone
                    echo 'PermitRootLogin prohibit-password' >> /etc/ssh/sshd_config.d/00-awkward.conf
                    systemctl restart ssh; until ss -ltn | grep -q ':22 '; do sleep 0.1; done
                    """);
                keys += $"{addresses[host]} {Lab.Shell(host, "cat /etc/ssh/ssh_host_ed25519_key.pub")}";
            }

            File.WriteAllText(Path.Join(_folder, "known"), keys);
            Get(string.Join('\n', Both.Select(h => $"${h}Host = Connect-PgHost '[{addresses[h]}]' -UserName root -KeyFile '{_hosts.Primary.KeyFile}' -KnownHostsFile '{Path.Join(_folder, "known")}' -NoSshConfig")));

            // The link's own address, with its interface.
            var local = Lab.Shell(Lab.Primary, "ip -6 -o addr show dev eth0 scope link").Split("inet6 ")[1].Split('/')[0];
            Get($"Connect-PgHost 'fe80-of-primary' -Address '{local}%{bridge}' -UserName root -KeyFile '{_hosts.Primary.KeyFile}' -KnownHostsFile '{Path.Join(_folder, "known2")}' -AcceptNewHostKey -NoSshConfig | Get-PgHost");
            Tell("en_US.UTF-8");
            Assert.Contains("host=fd77::10 ", Lab.Psql(Lab.Standby, "SHOW primary_conninfo"), StringComparison.Ordinal);
            Assert.Contains("@[fd77::10]:/archive", Lab.Shell(Lab.Standby, "grep ' fuse.sshfs ' /proc/mounts"), StringComparison.Ordinal);
            Assert.Equal("fd77::11", Lab.Psql(Lab.Primary, "SELECT address FROM pg_hba_file_rules WHERE type = 'hostssl' AND user_name[1] LIKE 'pitrps%'"));
        }
        finally
        {
            File.WriteAllText($"/proc/sys/net/ipv6/conf/{bridge}/disable_ipv6", "1");
        }
    }

    private void Tell(string language)
    {
        Get(Story);
        Assert.Equal(language, Lab.Psql(Lab.Primary, "SHOW lc_messages"));
        Lab.Psql(Lab.Primary, "CREATE TABLE pitr2 AS SELECT i, md5(i::text) AS v FROM generate_series(1, 2000) i");
        var end = Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
        var giveUp = DateTimeOffset.UtcNow.AddSeconds(60);
        while (Lab.Psql(Lab.Standby, $"SELECT pg_last_wal_replay_lsn() >= '{end}'") != "t")
        {
            Assert.True(DateTimeOffset.UtcNow < giveUp, "The standby does not replay.");
        }

        Get("$standby = $standby | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false");
        Lab.Psql(Lab.Primary, "DROP TABLE pitr2");

        var server = Assert.Single(Get(Recovery));

        Assert.Equal("3.00:00:00", $"{server.Properties["ReplicationDelay"].Value}");
        Assert.Equal("2000", Lab.Psql(Lab.Primary, "SELECT count(*) FROM pitr2"));
        Assert.Equal("Replaying", $"{Get("($standby | Get-ReplicationStatus).Replay").Single()}");
        Assert.Empty(Get("$standbyHost, $primaryHost | Get-PitrOperation"));

        // What is wrong is told as what it is, whatever language it was said in.
        _engine.Run("$primary | New-PgStandby -Primary $standby -Confirm:$false").SingleError("PitrPS.NotAPrimary");
        _engine.Run("$standby | Find-PgIncident -Table pitr2").ThrowOnError();
        Assert.Contains("nothing to do", Nothing("$standby | New-PgStandby -Primary $primary -Confirm:$false"), StringComparison.Ordinal);
    }

    private string Nothing(string script)
    {
        var run = _engine.Run(script).ThrowOnError();
        return string.Join('\n', run.Information) + run.HostText;
    }

    private IReadOnlyList<PSObject> Get(string script) => _engine.Get(script);

    /// <summary>A login shell that the base does not have: the machine's own program, with the libraries of the same Debian.</summary>
    private void GiveShell(string host, string shell, string user)
    {
        var h = Lab.Host(host);
        Program("scp", "-q", "-i", h.KeyFile, "-P", $"{h.Port}", "-o", "IdentitiesOnly=yes", "-o", $"UserKnownHostsFile={h.KnownHosts}", "-o", "BatchMode=yes", shell, $"{h.User}@{h.Address}:shell");
        Lab.Shell(host, $"install -m 755 /home/{h.User}/shell {shell}; echo {shell} >> /etc/shells; usermod -s {shell} {user}; su -s {shell} {user} -c 'exec true'");
    }

    private static string Program(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, errors.Result);
        return output;
    }
}
