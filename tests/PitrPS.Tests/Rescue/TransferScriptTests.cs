using System.Diagnostics;
using PitrPS.Tests.Archive;

namespace PitrPS.Tests.Rescue;

/// <summary>The two ends of a restore, run by a real shell with programs of the test's own in the place of psql, ssh and runuser.</summary>
[System.Runtime.Versioning.UnsupportedOSPlatform("windows")]
public sealed class TransferScriptTests : InFolder
{
    private const string Mark = "pitrps-restore-0123456789ab";

    private readonly string _receive;
    private readonly string _keys;

    public TransferScriptTests()
    {
        Directory.CreateDirectory(In("op"));
        Directory.CreateDirectory(In("bin"));
        Directory.CreateDirectory(In("home", ".ssh"));
        _receive = Put("op/receive", Resource("pitrps-receive-tables.sh"));
        _keys = In("home", ".ssh", "authorized_keys");
        Put("op/settings", $"operation=0123456789ab\nmark={Mark}\nkeys='{_keys}'\nbin='{In("bin")}'\nsocket=/run/postgresql\nport=5432\ndatabase='dbname=shop'\n");
        foreach (var name in new[] { "op/begin", "op/finish", "op/end" })
        {
            Put(name, "SELECT 1");
        }

        Put("op/000001.copy", "COPY \"a\nb\" FROM STDIN");
        Put("op/000002.copy", "COPY pg_temp.pitrps_sent FROM STDIN");
        Program("bin/psql", $"for a; do printf '%s|' \"$a\"; done > '{In("psql-arguments")}'; cat > '{In("rows")}'; echo 'pitrps verified'");
    }

    [ShellTheory]
    [InlineData("")]
    [InlineData("id")]
    [InlineData("receive; id")]
    public async Task The_key_is_for_nothing_but_the_restore(string command)
    {
        File.WriteAllText(_keys, $"restrict ssh-ed25519 AAAA {Mark}\n");
        var run = await RunAsync("/bin/sh", command, "", _receive);
        Assert.Equal(64, run.ExitCode);
        Assert.Equal("", run.Output);
        Assert.False(File.Exists(In("psql-arguments")));
    }

    [ShellFact]
    public async Task A_greeting_leaves_the_key_where_it_is()
    {
        File.WriteAllText(_keys, $"restrict ssh-ed25519 AAAA {Mark}\n");
        var run = await RunAsync("/bin/sh", "hello", "", _receive);
        Assert.Equal((0, "pitrps ready 0123456789ab\n"), (run.ExitCode, run.Output));
        Assert.True(File.Exists(_keys));
    }

    [ShellFact]
    public async Task The_key_is_gone_as_soon_as_it_is_used_and_other_keys_stay()
    {
        File.WriteAllText(_keys, $"ssh-rsa BBBB somebody@else\nrestrict ssh-ed25519 AAAA {Mark}");
        File.SetUnixFileMode(_keys, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Assert.Equal(0, (await RunAsync("/bin/sh", "receive", "1\n\\.\n", _receive)).ExitCode);
        Assert.Equal("ssh-rsa BBBB somebody@else\n", File.ReadAllText(_keys));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_keys));
        Assert.Single(Directory.GetFiles(In("home", ".ssh")));
    }

    [ShellFact]
    public async Task A_file_that_held_only_that_key_goes_with_it()
    {
        File.WriteAllText(_keys, $"restrict ssh-ed25519 AAAA {Mark}\n");
        await RunAsync("/bin/sh", "receive", "", _receive);
        Assert.False(Directory.Exists(In("home", ".ssh")));
    }

    [ShellFact]
    public async Task All_runs_in_one_transaction_and_what_comes_in_is_only_read_by_copy()
    {
        var run = await RunAsync("/bin/sh", "receive", "\\! id\n\\.\n", _receive);
        Assert.Equal("pitrps ready 0123456789ab\npitrps verified\npitrps committed\n", run.Output);
        Assert.Equal("\\! id\n\\.\n", File.ReadAllText(In("rows")));
        var arguments = File.ReadAllText(In("psql-arguments"));
        Assert.Contains("|-1|-v|ON_ERROR_STOP=1|", arguments, StringComparison.Ordinal);
        Assert.EndsWith($"|-f|{In("op")}/begin|-c|COPY \"a\nb\" FROM STDIN|-c|COPY pg_temp.pitrps_sent FROM STDIN|-f|{In("op")}/finish|-c|COPY pg_temp.pitrps_go FROM STDIN|-f|{In("op")}/end|", arguments, StringComparison.Ordinal);
    }

    [ShellFact]
    public async Task A_transaction_that_failed_is_not_called_committed()
    {
        Program("bin/psql", "echo 'ERROR: no' >&2; exit 3");
        var run = await RunAsync("/bin/sh", "receive", "", _receive);
        Assert.Equal((3, "pitrps ready 0123456789ab\n"), (run.ExitCode, run.Output));
    }

    [ShellFact]
    public async Task When_nobody_listens_any_more_the_transaction_is_given_up()
    {
        Program("bin/psql", $"trap 'echo stopped > \"{In("stopped")}\"; exit 2' INT TERM; while :; do sleep 0.1; done");
        var watch = Stopwatch.StartNew();
        await RunAsync("/bin/sh", "receive", "", "-c", $"/bin/sh '{_receive}' | head -n 1");
        while (!File.Exists(In("stopped")))
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60), "psql was not stopped.");
            await Task.Delay(50);
        }
    }

    [ShellTheory]
    [InlineData("yes", true, 0)]
    [InlineData("the proofs fail", false, 143)]
    public async Task The_standby_says_go_only_when_the_primary_has_verified_and_the_key_is_gone_before(string proofs, bool goes, int exitCode)
    {
        Directory.CreateDirectory(In("send"));
        var send = Put("send/send", Resource("pitrps-send-tables.sh"));
        Put("send/key", "secret");
        Put("send/rows", "rows");
        Put("send/proofs", "proofs");
        // The other end: says that it is ready, and that it has verified once the counts are there.
        Program("bin/ssh",
            $$"""
            echo "pitrps ready 0123456789ab"
            counts=
            while IFS= read -r line; do
              echo "$line" >> '{{In("sent")}}'
              case $line in
                '1 of 1') counts=yes ;;
                '\.') [ -z "$counts" ] || { counts=; [ ! -e '{{In("send", "key")}}' ] || echo 'the key is still there' >> '{{In("sent")}}'; echo 'pitrps verified'; } ;;
              esac
            done
            """);
        Program("bin/psql", $"case $(cat) in rows) printf 'row\\n'; printf '%s\\n' '\\.' ;; proofs) {(proofs == "yes" ? "echo '1 of 1'" : "exit 3")} ;; esac");
        Program("bin/runuser", "shift 3; exec \"$@\"");
        var run = await RunAsync("/bin/sh", "", "", "-c", $"PATH='{In("bin")}':$PATH exec /bin/sh \"$@\"", "sh", send, In("send"), "/run/scratch", "5433", "dbname=shop", "postgres", In("bin"), "postgres", "192.0.2.1", "22");
        Assert.Equal(exitCode, run.ExitCode);
        if (goes)
        {
            Assert.Equal("row\n\\.\n1 of 1\n\\.\ngo\n\\.\n", File.ReadAllText(In("sent")));
        }
        else
        {
            // How much of the rows the other end still reads before its connection is cut is open; that it never reads more is not.
            Assert.StartsWith(File.Exists(In("sent")) ? File.ReadAllText(In("sent")) : "", "row\n\\.\n", StringComparison.Ordinal);
        }

        Assert.False(File.Exists(In("send", "key")));
        Assert.False(File.Exists(In("send", "in")));
    }

    private string Put(string name, string text)
    {
        var path = In(name.Split('/'));
        File.WriteAllText(path, text);
        return path;
    }

    private void Program(string name, string script)
    {
        var path = Put(name, "#!/bin/sh\n" + script + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private static string Resource(string name)
    {
        using var reader = new StreamReader(typeof(PitrException).Assembly.GetManifestResourceStream(name)!);
        return reader.ReadToEnd();
    }

    private static async Task<(int ExitCode, string Output, string Error)> RunAsync(string program, string command, string input, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["SSH_ORIGINAL_COMMAND"] = command;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        return (process.ExitCode, await output, await error);
    }
}
