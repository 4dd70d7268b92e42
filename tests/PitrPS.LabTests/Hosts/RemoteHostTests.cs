using System.Diagnostics;
using System.Net.Sockets;
using System.Security;
using System.Text;
using PitrPS.Hosts;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>The seam over a real connection: the host object is the one that Connect-PgHost emitted.</summary>
public sealed class RemoteHostTests(BareHosts hosts) : IClassFixture<BareHosts>, IDisposable
{
    private readonly PowerShellEngine _engine = new();

    public void Dispose() => _engine.Dispose();

    private static readonly CancellationToken None = CancellationToken.None;

    /// <summary>Sets p to the shell that root's commands share: sudo's child.</summary>
    private const string SharedShell = "p=$PPID; until q=$(ps -o ppid= -p $p | tr -d ' '); [ \"$(ps -o comm= -p $q)\" = sudo ]; do p=$q; done; ";

    [LabFact]
    public async Task Tells_output_errors_and_exit_codes_apart()
    {
        var host = Dba();
        var result = await host.Remote.RunAsync(RemoteCommand.Shell("echo out; echo err >&2; exit 3"), None);
        Assert.Equal((3, "out\n", "err\n"), (result.ExitCode, result.Output, result.ErrorOutput));
        Assert.Equal(128 + 9, (await host.Remote.RunAsync(RemoteCommand.Shell("kill -9 $$"), None)).ExitCode);
        Assert.Equal(127, (await host.Remote.RunAsync(RemoteCommand.Of("no-such-program"), None)).ExitCode);
        Assert.Equal("", (await host.Remote.RunAsync(RemoteCommand.Of("cat"), None)).Output);
    }

    [LabTheory]
    [InlineData(null, "dba")]
    [InlineData("dba", "dba")]
    [InlineData("root", "root")]
    [InlineData("nobody", "nobody")]
    public async Task Runs_as_the_user_that_is_wanted_in_a_plain_environment(string? user, string who)
    {
        var command = RemoteCommand.Shell("id -un; pwd; echo \"$LC_ALL\"; umask; command -v useradd; echo \"$A\"") with { User = user, Environment = new Dictionary<string, string> { ["A"] = "b c'd" } };
        var lines = (await Dba().RunCheckedAsync(command, None)).Lines;
        Assert.Equal([who, "/", "C", "0022", "/usr/sbin/useradd", "b c'd"], lines);
    }

    [LabFact]
    public async Task Carries_five_megabytes_of_anything_there_and_back()
    {
        var host = Dba();
        var bytes = new byte[5 * 1024 * 1024 + 7];
        new Random(1).NextBytes(bytes);
        await host.Remote.WriteFileAsync(new RemoteFile("/var/tmp/big", bytes, 0x180), None);
        Assert.Equal(bytes, await host.Remote.ReadFileAsync("/var/tmp/big", None));
        Assert.Equal("600 root root\n", hosts.Lab.Shell("primary", "stat -c '%a %U %G' /var/tmp/big"));
        var sum = await host.RunCheckedAsync(RemoteCommand.Of("sha256sum").AsRoot() with { Input = bytes }, None);
        Assert.StartsWith(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes)), sum.Output, StringComparison.Ordinal);
        Assert.Equal("", hosts.Lab.Shell("primary", "ls -A /var/tmp | grep '^[.]pitrps' || :"));
    }

    [LabFact]
    public async Task Reads_null_where_there_is_no_file_and_an_error_where_it_cannot_be_read()
    {
        Assert.Null(await Dba().Remote.ReadFileAsync("/etc/no such file", None));
        var error = await Assert.ThrowsAsync<PitrException>(() => Dba().Remote.ReadFileAsync("/etc", None));
        Assert.Equal("PitrPS.RemoteFileFailed", error.Id);
        error = await Assert.ThrowsAsync<PitrException>(() => Dba().Remote.WriteFileAsync(RemoteFile.Text("/no such directory/file", "x", 0x1A4), None));
        Assert.Contains("there is no directory /no such directory", error.Message, StringComparison.Ordinal);
    }

    [LabFact]
    public async Task Writes_below_a_folder_of_another_user_as_that_user_and_follows_no_link_that_lies_there()
    {
        var host = Dba();
        hosts.Lab.Shell("primary", "mkdir -p /home/dbapw/d; chown dbapw: /home/dbapw/d; ln -sfn /etc/hostname /home/dbapw/d/trap; echo kept > /etc/hostname");
        await host.Remote.WriteFileAsync(RemoteFile.Text("/home/dbapw/d/trap", "mine\n", 0x1A0, "dbapw", "dbapw"), None);
        Assert.Equal("regular file 640 dbapw\nmine\nkept\n", hosts.Lab.Shell("primary", "stat -c '%F %a %U' /home/dbapw/d/trap; cat /home/dbapw/d/trap /etc/hostname"));

        var error = await Assert.ThrowsAsync<PitrException>(() => host.Remote.WriteFileAsync(RemoteFile.Text("/home/dbapw/d/roots", "x", 0x180), None));
        Assert.Contains("belongs to dbapw", error.Message, StringComparison.Ordinal);
        Assert.Equal("trap\n", hosts.Lab.Shell("primary", "ls -A /home/dbapw/d"));
    }

    [LabFact]
    public async Task Says_that_a_disk_is_full_and_leaves_nothing_behind()
    {
        hosts.Lab.Shell("primary", "mkdir -p /mnt/small; mountpoint -q /mnt/small || mount -t tmpfs -o size=64k tmpfs /mnt/small");
        var error = await Assert.ThrowsAsync<PitrException>(() => Dba().Remote.WriteFileAsync(new RemoteFile("/mnt/small/big", new byte[256 * 1024], 0x180), None));
        Assert.Equal("PitrPS.DiskFull", error.Id);
        Assert.Equal("", hosts.Lab.Shell("primary", "ls -A /mnt/small; umount /mnt/small"));
    }

    /// <summary>A sudo that remembers, one that never does, and one that asks for nothing although a password is given.</summary>
    [LabTheory]
    [InlineData("")]
    [InlineData("Defaults:dbapw timestamp_timeout=0")]
    [InlineData("Defaults:dbapw timestamp_timeout=0, !tty_tickets, passwd_tries=1")]
    [InlineData("dbapw ALL=(ALL) NOPASSWD: ALL")]
    public async Task Passes_sudo_with_a_password_that_the_command_never_sees(string sudoers)
    {
        if (hosts.Primary.PasswordUser is null)
        {
            return;
        }

        hosts.Lab.Shell("primary", $"rm -f /etc/sudoers.d/zz-test; echo '{sudoers}' > /etc/sudoers.d/zz-rule; chmod 440 /etc/sudoers.d/zz-rule; visudo -cq");
        var (host, password) = PasswordUser();
        var bytes = new byte[3 * 1024 * 1024 + 1];
        new Random(2).NextBytes(bytes);
        await host.Remote.WriteFileAsync(new RemoteFile("/var/tmp/by-password", bytes, 0x180), None);
        Assert.Equal(bytes, await host.Remote.ReadFileAsync("/var/tmp/by-password", None));
        Assert.Equal("first\nsecond\n", (await host.RunCheckedAsync(RemoteCommand.Of("cat").AsRoot().WithInput("first\nsecond\n"), None)).Output);
        Assert.Equal("", (await host.RunCheckedAsync(RemoteCommand.Of("cat").AsRoot(), None)).Output);
        Assert.Equal("nobody", (await host.RunCheckedAsync(RemoteCommand.Of("id", "-un").As("nobody"), None)).Text);

        // A new session, of which nobody knows yet that its sudo asks: all at once, and none gets the password for its input.
        var at = hosts.Primary;
        await using var fresh = new SshHost(new HostLogin
        {
            Name = at.Name, Address = at.Address, Port = at.Port, UserName = at.PasswordUser!, KeyFiles = [at.KeyFile], KnownHostsFile = at.KnownHosts, SudoPassword = new Secret(password),
        });
        var echoed = await Task.WhenAll(Enumerable.Range(0, 12).Select(i => fresh.RunAsync(RemoteCommand.Of("cat").AsRoot().WithInput($"input {i}"), None)));
        Assert.Equal(Enumerable.Range(0, 12).Select(i => $"input {i}"), echoed.Select(r => r.Output));

        // A wrong password: the command does not run, and nobody reads its input.
        if (!sudoers.Contains("NOPASSWD", StringComparison.Ordinal))
        {
            await using var wrong = new SshHost(new HostLogin
            {
                Name = at.Name, Address = at.Address, Port = at.Port, UserName = at.PasswordUser!, KeyFiles = [at.KeyFile], KnownHostsFile = at.KnownHosts, SudoPassword = new Secret("not " + password),
            });
            var refused = await Assert.ThrowsAsync<PitrException>(() => wrong.RunAsync(RemoteCommand.Shell("cat > /var/tmp/never").AsRoot().WithInput(password + "\ndata"), None));
            Assert.Equal("PitrPS.SudoPasswordWrong", refused.Id);
            Assert.DoesNotContain(password, refused.ToString(), StringComparison.Ordinal);
            Assert.Equal("", hosts.Lab.Shell("primary", "ls /var/tmp/never 2>/dev/null || true"));
        }

        // While it runs, no process on the host has the password in its arguments or environment.
        var running = host.Remote.RunAsync(RemoteCommand.Shell("sleep 2").AsRoot().WithInput("data"), None);
        await using var process = await host.Remote.StartAsync(RemoteCommand.Of("cat").AsRoot(), None);
        var seen = hosts.Lab.Shell("primary", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'");
        Assert.Contains("sleep 2", seen, StringComparison.Ordinal);
        Assert.DoesNotContain(password, seen, StringComparison.Ordinal);
        await process.WriteLineAsync("hello", None);
        Assert.Equal("hello", await process.ReadLineAsync(None));
        await running;

        // No pipe is left.
        Assert.Equal("", hosts.Lab.Shell("primary", "find / -xdev -name '.pitrps-sudo.*' 2>/dev/null; find /run /dev/shm /tmp -name '.pitrps-sudo.*' 2>/dev/null; true"));
        hosts.Lab.Shell("primary", "rm /etc/sudoers.d/zz-rule");

        // sudo that stops asking, and starts again.
        hosts.Lab.Shell("primary", "echo 'dbapw ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/zz-test");
        Assert.Equal("data", (await host.RunCheckedAsync(RemoteCommand.Of("cat").AsRoot().WithInput("data"), None)).Output);
        Assert.Equal("data", (await PasswordUser().Host.RunCheckedAsync(RemoteCommand.Of("cat").AsRoot().WithInput("data"), None)).Output);
        var (late, _) = PasswordUser();
        hosts.Lab.Shell("primary", "rm /etc/sudoers.d/zz-test");
        Assert.Equal("data", (await late.RunCheckedAsync(RemoteCommand.Of("cat").AsRoot().WithInput("data"), None)).Output);
        Assert.Equal("data", (await host.RunCheckedAsync(RemoteCommand.Of("cat").AsRoot().WithInput("data"), None)).Output);
    }

    [LabFact]
    public async Task Speaks_to_a_process_line_by_line()
    {
        await using var process = await Dba().Remote.StartAsync(RemoteCommand.Shell("while read -r l; do [ \"$l\" = end ] && { echo bye >&2; exit 4; }; echo \"got $l\"; done").AsRoot(), None);
        foreach (var line in new[] { "one", "two words", "äöü€", "", "a\rb", new string('x', 100_000) })
        {
            await process.WriteLineAsync(line, None);
            Assert.Equal("got " + line, await process.ReadLineAsync(None));
        }

        await process.WriteLineAsync("end", None);
        Assert.Null(await process.ReadLineAsync(None));
        var result = await process.Completion;
        Assert.Equal((4, "bye\n"), (result.ExitCode, result.ErrorOutput));
        await Assert.ThrowsAsync<IOException>(() => process.WriteLineAsync("more", None));
    }

    [LabFact]
    public async Task Ends_a_process_on_the_host_when_it_is_let_go()
    {
        var process = await Dba().Remote.StartAsync(RemoteCommand.Shell("exec sleep 4711").AsRoot(), None);
        Assert.True(Runs("sleep 4711"));
        await process.DisposeAsync();
        await GoneAsync("sleep 4711");
    }

    [LabFact]
    public async Task Gives_a_command_up_when_its_time_is_over_and_ends_it_on_the_host()
    {
        var watch = Stopwatch.StartNew();
        var error = await Assert.ThrowsAsync<PitrException>(() =>
            Dba().Remote.RunAsync(RemoteCommand.Shell("sleep 4712").AsRoot().WithTimeout(TimeSpan.FromSeconds(1)), None));
        Assert.Equal("PitrPS.CommandTimeout", error.Id);
        Assert.InRange(watch.Elapsed.TotalSeconds, 0.9, 2.5);
        await GoneAsync("sleep 4712");
    }

    [LabFact]
    public async Task Gives_a_command_up_within_a_second_of_a_cancel_and_ends_it_on_the_host()
    {
        var host = Dba();
        using var cancel = new CancellationTokenSource();
        var running = host.Remote.RunAsync(RemoteCommand.Shell("sleep 4713").AsRoot(), cancel.Token);
        while (!Runs("sleep 4713"))
        {
            await Task.Delay(50);
        }

        var watch = Stopwatch.StartNew();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(1), $"took {watch.Elapsed}");
        await GoneAsync("sleep 4713");
        Assert.True(await host.TestAsync(RemoteCommand.Of("true"), None));
    }

    [LabFact]
    public async Task Runs_commands_side_by_side_more_than_one_connection_holds()
    {
        var host = Dba();
        var watch = Stopwatch.StartNew();
        var results = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => host.Remote.RunAsync(RemoteCommand.Shell("sleep 1; echo \"$1\"", $"{i}").AsRoot(), None)));
        Assert.Equal(Enumerable.Range(0, 20).Select(i => $"{i}"), results.Select(r => r.Text));
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(8), $"took {watch.Elapsed}");
    }

    [LabFact]
    public async Task Makes_do_with_fewer_sessions_than_OpenSSH_allows_by_default()
    {
        var knownHosts = Path.GetTempFileName();
        using var second = new SecondServer(hosts.Lab, "-o MaxSessions=2");
        var host = (PgHost)_engine.Get($"Connect-PgHost {(hosts.Primary with { Port = 2222, KnownHosts = knownHosts }).ConnectArguments} -AcceptNewHostKey")[0].BaseObject;
        var results = await Task.WhenAll(Enumerable.Range(0, 6).Select(i => host.Remote.RunAsync(RemoteCommand.Shell("sleep 4; echo \"$1\"", $"{i}").AsRoot(), None)));
        Assert.Equal(Enumerable.Range(0, 6).Select(i => $"{i}"), results.Select(r => r.Text));
        File.Delete(knownHosts);
    }

    [LabFact]
    public async Task A_shell_that_rests_makes_room_where_sessions_are_few()
    {
        var knownHosts = Path.GetTempFileName();
        using var second = new SecondServer(hosts.Lab, "-o MaxSessions=2");
        var host = (PgHost)_engine.Get($"Connect-PgHost {(hosts.Primary with { Port = 2222, KnownHosts = knownHosts }).ConnectArguments} -AcceptNewHostKey")[0].BaseObject;
        await using var process = await host.Remote.StartAsync(RemoteCommand.Of("cat").AsRoot(), None);
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal("root", (await host.RunCheckedAsync(RemoteCommand.Of("id", "-un").AsRoot(), None)).Text);
            Assert.Equal("dba", (await host.RunCheckedAsync(RemoteCommand.Of("id", "-un"), None)).Text);
        }

        File.Delete(knownHosts);
    }

    /// <summary>Root's commands share a shell: none may see anything of another one.</summary>
    [LabFact]
    public async Task Commands_that_share_a_shell_keep_apart()
    {
        var host = Dba();
        await host.RunCheckedAsync(RemoteCommand.Of("true").AsRoot(), None);
        var shells = new HashSet<string>();
        for (var i = 0; i < 5; i++)
        {
            // Neither the input that is left over nor a directory, variable, trap, open file or option goes on to the next one.
            var left = await host.Remote.RunAsync(RemoteCommand.Shell("head -n 1; cd /tmp; A=1; export A; exec 5<&0; trap 'echo trapped' EXIT; set -f; exit 3").AsRoot().WithInput("first\n" + new string('x', 300_000)), None);
            Assert.Equal((3, "first\ntrapped\n"), (left.ExitCode, left.Output));
            shells.Add((await host.RunCheckedAsync(RemoteCommand.Shell(SharedShell + "echo \"$p\"").AsRoot(), None)).Text);
            var clean = await host.Remote.RunAsync(RemoteCommand.Shell("pwd; echo \"[$A]\"; ls /proc/self/fd | wc -l; echo /et*; cat; printf 'no newline'").As("nobody"), None);
            Assert.Equal("/\n[]\n4\n/etc\nno newline", clean.Output);
            Assert.Equal("", clean.ErrorOutput);
        }

        Assert.Single(shells);
        Assert.Equal("\n", (await host.Remote.RunAsync(RemoteCommand.Of("echo").AsRoot(), None)).Output);
        Assert.Equal("\n\n  \n", (await host.Remote.RunAsync(RemoteCommand.Of("cat").AsRoot().WithInput("\n\n  \n"), None)).Output);
        Assert.Equal("pitrps-begin 1\nx", (await host.Remote.RunAsync(RemoteCommand.Of("printf", "%s", "pitrps-begin 1\nx").AsRoot(), None)).Output);

        // A process that is left behind and still holds the output belongs to the command that left it; one that does not is nobody's.
        Assert.Equal("said\nlate\n", (await host.RunCheckedAsync(RemoteCommand.Shell("(sleep 1; echo late) & echo said").AsRoot(), None)).Output);
        Assert.Equal("said\n", (await host.RunCheckedAsync(RemoteCommand.Shell("sleep 4714 >/dev/null 2>&1 & echo said").AsRoot(), None)).Output);
        await host.RunCheckedAsync(RemoteCommand.Of("pkill", "-f", "sleep 471[4]").AsRoot(), None);
    }

    [LabFact]
    public async Task A_shell_that_somebody_ends_costs_nothing_but_what_it_was_doing()
    {
        var host = Dba();
        await host.RunCheckedAsync(RemoteCommand.Of("true").AsRoot(), None);
        for (var i = 0; i < 3; i++)
        {
            var shell = (await host.RunCheckedAsync(RemoteCommand.Shell(SharedShell + "echo \"$p\"").AsRoot(), None)).Text;
            hosts.Lab.Shell("primary", $"kill -KILL {shell}; while [ -e /proc/{shell} ]; do :; done");
            Assert.Equal("well", (await host.RunCheckedAsync(RemoteCommand.Of("echo", "well").AsRoot(), None)).Text);
        }

        // What has begun in it is not begun again: nobody can know how far it came.
        hosts.Lab.Shell("primary", "rm -f /var/tmp/once");
        var error = await Assert.ThrowsAsync<PitrException>(() => host.Remote.RunAsync(RemoteCommand.Shell(SharedShell + "echo begun >> /var/tmp/once; kill -KILL \"$p\"; exec sleep 1").AsRoot(), None));
        Assert.Equal("PitrPS.HostUnreachable", error.Id);
        Assert.Equal("begun\n", (await host.RunCheckedAsync(RemoteCommand.Of("cat", "/var/tmp/once").AsRoot(), None)).Output);
    }

    [LabFact]
    public async Task A_file_whose_writing_is_stopped_leaves_nothing_behind()
    {
        var host = Dba();
        hosts.Lab.Shell("primary", "rm -rf /var/tmp/w; mkdir /var/tmp/w; echo old > /var/tmp/w/file");
        using var cancel = new CancellationTokenSource();
        var writing = host.Remote.WriteFileAsync(new RemoteFile("/var/tmp/w/file", new byte[200 * 1024 * 1024], 0x180), cancel.Token);
        while (!hosts.Lab.Shell("primary", "ls -A /var/tmp/w").Contains(".pitrps.", StringComparison.Ordinal))
        {
            Assert.False(writing.IsCompleted);
        }

        var watch = Stopwatch.StartNew();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => writing);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(1), $"took {watch.Elapsed}");
        watch.Restart();
        while (hosts.Lab.Shell("primary", "ls -A /var/tmp/w") != "file\n")
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(5), "The temporary file is still there.");
        }

        Assert.Equal("old\n", hosts.Lab.Shell("primary", "cat /var/tmp/w/file"));
    }

    [LabFact]
    public async Task Two_thousand_commands_leave_no_channel_and_no_process_behind()
    {
        var host = Dba();
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async worker =>
        {
            for (var i = 0; i < 250; i++)
            {
                var text = $"{worker} {i}";
                Assert.Equal(text, (await host.RunCheckedAsync(RemoteCommand.Of("echo", text), None)).Text);
            }
        }));
        await GoneAsync("echo");
        Assert.True(int.Parse(hosts.Lab.Shell("primary", "ps -C sshd -o args= | grep -c 'sshd: dba@' || :"), System.Globalization.CultureInfo.InvariantCulture) < 20);
    }

    [LabFact]
    public async Task Forwards_a_port_of_the_hosts_loopback()
    {
        var host = Dba();
        await using var forward = await host.Remote.ForwardAsync(22, None);
        await Task.WhenAll(Enumerable.Range(0, 6).Select(async _ =>
        {
            using var client = new TcpClient();
            await client.ConnectAsync("127.0.0.1", forward.LocalPort);
            var buffer = new byte[7];
            await client.GetStream().ReadExactlyAsync(buffer);
            Assert.Equal("SSH-2.0", Encoding.ASCII.GetString(buffer));
            Assert.True(await host.TestAsync(RemoteCommand.Of("true"), None));
        }));
    }

    [LabFact]
    public async Task Connects_again_between_commands_and_never_sends_one_twice()
    {
        var host = Dba();
        hosts.Lab.Shell("primary", "rm -f /var/tmp/count");
        var running = host.Remote.RunAsync(RemoteCommand.Shell("echo x >> /var/tmp/count; sleep 30").AsRoot(), None);
        while (hosts.Lab.Shell("primary", "cat /var/tmp/count 2>/dev/null || :").Length == 0)
        {
            await Task.Delay(50);
        }

        hosts.Lab.Shell("primary", "pkill -f '^sshd: dba'");
        var error = await Assert.ThrowsAsync<PitrException>(() => running);
        Assert.Equal("PitrPS.HostUnreachable", error.Id);
        Assert.Equal("x\n", (await host.RunCheckedAsync(RemoteCommand.Of("cat", "/var/tmp/count"), None)).Output);

        // Between two commands.
        hosts.Lab.Shell("primary", "pkill -f '^sshd: dba'");
        await Task.Delay(200);
        Assert.Equal("x\n", (await host.RunCheckedAsync(RemoteCommand.Of("cat", "/var/tmp/count"), None)).Output);
    }

    [FaultFact]
    public async Task Says_within_ten_seconds_that_a_host_is_gone_and_goes_on_when_it_is_back()
    {
        var host = Dba();
        await using var idle = await host.Remote.StartAsync(RemoteCommand.Of("cat"), None);
        await using var forward = await host.Remote.ForwardAsync(22, None);
        using var client = new TcpClient();
        await client.ConnectAsync("127.0.0.1", forward.LocalPort);
        var running = host.Remote.RunAsync(RemoteCommand.Of("sleep", "60"), None);
        await Task.Delay(500);
        hosts.Lab.PauseNetwork("primary");
        try
        {
            // One that runs, one that is waited for, and the forwarded connection.
            var watch = Stopwatch.StartNew();
            Assert.Equal("PitrPS.HostUnreachable", (await Assert.ThrowsAsync<PitrException>(() => running)).Id);
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), $"took {watch.Elapsed}");
            Assert.Equal("PitrPS.HostUnreachable", (await Assert.ThrowsAsync<PitrException>(() => idle.ReadLineAsync(None))).Id);
            var buffer = new byte[4096];
            while (await client.GetStream().ReadAsync(buffer).AsTask().WaitAsync(TimeSpan.FromSeconds(5)) > 0)
            {
            }

            // New ones, several at once, on a host that was lost already.
            watch.Restart();
            var errors = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Assert.ThrowsAsync<PitrException>(() => host.Remote.RunAsync(RemoteCommand.Of("true"), None))));
            Assert.All(errors, e => Assert.Equal("PitrPS.HostUnreachable", e.Id));
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10.5), $"took {watch.Elapsed}");

            // A cancel does not wait for any of that.
            using var cancel = new CancellationTokenSource(TimeSpan.FromSeconds(1));
            watch.Restart();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => host.Remote.RunAsync(RemoteCommand.Of("true"), cancel.Token));
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(2), $"took {watch.Elapsed}");
        }
        finally
        {
            hosts.Lab.ResumeNetwork("primary");
        }

        Assert.True(await host.TestAsync(RemoteCommand.Of("true"), None));
    }

    [FaultFact]
    public async Task Finds_an_idle_connection_dead_before_it_trusts_a_command_to_it()
    {
        var host = Dba();
        await Task.Delay(TimeSpan.FromSeconds(2.5));
        hosts.Lab.Kill("primary");
        var watch = Stopwatch.StartNew();
        Assert.Equal("PitrPS.HostUnreachable", (await Assert.ThrowsAsync<PitrException>(() => host.Remote.RunAsync(RemoteCommand.Of("true"), None))).Id);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), $"took {watch.Elapsed}");
        hosts.Lab.Start("primary");
        Assert.True(await host.TestAsync(RemoteCommand.Of("true"), None));
    }

    [FaultFact]
    public async Task Stops_at_once_when_the_user_presses_Ctrl_C_even_when_the_host_does_not_answer()
    {
        _engine.Get($"$h = Connect-PgHost {hosts.Primary.ConnectArguments}");
        hosts.Lab.PauseNetwork("primary");
        try
        {
            var running = _engine.Start("$h | Get-PgHost");
            await Task.Delay(500);
            Assert.False(running.HasEnded);
            Assert.True(running.Stop() < TimeSpan.FromSeconds(2));
        }
        finally
        {
            hosts.Lab.ResumeNetwork("primary");
        }
    }

    [LabFact]
    public async Task Refuses_commands_once_it_is_disconnected()
    {
        var host = Dba();
        var running = host.Remote.RunAsync(RemoteCommand.Of("sleep", "30"), None);
        await Task.Delay(300);
        await host.Remote.DisposeAsync();
        Assert.Equal("PitrPS.HostDisconnected", (await Assert.ThrowsAsync<PitrException>(() => running)).Id);
        Assert.Equal("PitrPS.HostDisconnected", (await Assert.ThrowsAsync<PitrException>(() => host.Remote.RunAsync(RemoteCommand.Of("true"), None))).Id);
    }

    private PgHost Dba() => (PgHost)_engine.Get($"Connect-PgHost {hosts.Primary.ConnectArguments}")[0].BaseObject;

    private (PgHost Host, string Password) PasswordUser()
    {
        var password = File.ReadAllText(hosts.Primary.PasswordFile!).Trim();
        var secret = new SecureString();
        foreach (var c in password)
        {
            secret.AppendChar(c);
        }

        var arguments = (hosts.Primary with { User = hosts.Primary.PasswordUser! }).ConnectArguments;
        return ((PgHost)_engine.Run($"Connect-PgHost {arguments} -SudoPassword $secret", ("secret", secret)).ThrowOnError().Output[0].BaseObject, password);
    }

    private bool Runs(string command) => hosts.Lab.Shell("primary", $"ps -eo args= | grep -x '{command}' || :").Length > 0;

    private async Task GoneAsync(string command)
    {
        var watch = Stopwatch.StartNew();
        while (Runs(command))
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(5), $"'{command}' still runs on the host.");
            await Task.Delay(100);
        }
    }
}
