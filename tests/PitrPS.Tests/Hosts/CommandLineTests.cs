using System.Diagnostics;
using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

/// <summary>What is sent to a host, run by real shells.</summary>
public class CommandLineTests
{
    private static readonly string[] Nasty =
    [
        "plain", "", " ", "two words", "'", "''", "\"", "\\", "\\\\", "\\'", "a\\0b", "\\0101", "$HOME", "$(id)", "`id`", "!", "!!", "a!b", "*", "~", "~root", "-n", "--",
        "{a,b}", "[x]", "a;b", "a|b", "a&b", "<", ">", "#x", "%s", "%%", "line\nbreak", "\n", "tab\tstop", "\r\n", "äöü€", "日本", "trailing\\", "a'b\"c\\d$e`f!g", "^", "=x", "@", "(", ")",
    ];

    public static TheoryData<string> Shells => [.. new[] { "/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/zsh", "/usr/bin/fish", "/usr/bin/tcsh", "/usr/bin/ksh", "/bin/busybox" }.Where(File.Exists)];

    [Fact]
    public void Quotes_every_word_for_a_POSIX_shell()
    {
        var (exit, output) = Run("/bin/sh", "printf '%s\\0' " + ShellQuoting.Join(Nasty));
        Assert.Equal(0, exit);
        Assert.Equal(Nasty, output.Split('\0')[..^1]);
    }

    [Theory]
    [MemberData(nameof(Shells))]
    public void Hands_arguments_through_any_login_shell_unchanged(string shell)
    {
        var line = CommandLine.For(new RemoteCommand(["printf", "%s\\0", .. Nasty]), "dba", SudoWay.NoPassword, null);
        var (exit, output) = Run(shell, line);
        Assert.Equal(0, exit);
        var begin = CommandLine.FindBegin(System.Text.Encoding.UTF8.GetBytes(output));
        Assert.NotNull(begin);
        Assert.Equal(Nasty, output[begin.Value.Start..].Split('\0')[..^1]);
    }

    [Fact]
    public void Sends_nothing_that_shells_disagree_about()
    {
        var line = ShellQuoting.LoginLine(string.Concat(Nasty));
        var payload = line[(line.LastIndexOf(" '", StringComparison.Ordinal) + 2)..^1];
        Assert.DoesNotContain(payload, c => !char.IsAsciiLetterOrDigit(c) && !"_-./:,+@%= \\".Contains(c));
    }

    [Fact]
    public void Runs_every_command_in_English_and_with_the_system_programs_in_reach()
    {
        var (_, output) = Run("/bin/sh", CommandLine.For(RemoteCommand.Shell("echo \"$LC_ALL $PATH $(pwd) $(umask)\""), "dba", SudoWay.NoPassword, null));
        Assert.EndsWith("C /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin / 0022\n", output);
    }

    [Fact]
    public void Ends_a_command_on_the_host_when_its_time_is_over()
    {
        var watch = Stopwatch.StartNew();
        var (exit, _) = Run("/bin/sh", CommandLine.For(RemoteCommand.Of("sleep", "30"), "dba", SudoWay.NoPassword, TimeSpan.FromSeconds(1)));
        Assert.Equal(124, exit);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10));
    }

    [Fact]
    public void Drops_what_login_scripts_print_before_the_command()
    {
        var output = "Welcome!\npitrps-begin soon\nmore pitrps-begin 4711\nmine\n"u8.ToArray();
        var begin = CommandLine.FindBegin(output);
        Assert.Equal(4711, begin!.Value.ProcessId);
        Assert.Equal("mine\n", System.Text.Encoding.UTF8.GetString(output[begin.Value.Start..]));
    }

    [Fact]
    public void Finds_no_beginning_where_nothing_was_let_in()
    {
        Assert.Null(CommandLine.FindBegin("This account is currently not available.\n"u8));
        Assert.Null(CommandLine.FindBegin("pitrps-begin 12"u8));
    }

    [Fact]
    public void Needs_no_sudo_for_root_or_for_the_user_himself()
    {
        Assert.False(CommandLine.NeedsSudo(RemoteCommand.Of("id"), "dba"));
        Assert.False(CommandLine.NeedsSudo(RemoteCommand.Of("id").As("dba"), "dba"));
        Assert.False(CommandLine.NeedsSudo(RemoteCommand.Of("id").As("postgres"), "root"));
        Assert.True(CommandLine.NeedsSudo(RemoteCommand.Of("id").As("postgres"), "dba"));
        Assert.True(CommandLine.NeedsSudo(RemoteCommand.Of("id").AsRoot(), "dba"));
    }

    [Fact]
    public void Refuses_a_NUL_character() =>
        Assert.Equal("PitrPS.InvalidText", Assert.Throws<PitrException>(() => CommandLine.For(RemoteCommand.Of("echo", "a\0b"), "dba", SudoWay.NoPassword, null)).Id);

    private static (int Exit, string Output) Run(string shell, string line)
    {
        var start = new ProcessStartInfo(shell) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        if (shell.EndsWith("busybox", StringComparison.Ordinal))
        {
            start.ArgumentList.Add("sh");
        }

        start.ArgumentList.Add("-c");
        start.ArgumentList.Add(line);
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
