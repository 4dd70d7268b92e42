using System.Diagnostics;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Planning;

public sealed class StepsTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pitrps-steps").FullName;

    public void Dispose() => Directory.Delete(_directory, true);

    private static int RunHere(RemoteCommand command)
    {
        using var process = Process.Start(new ProcessStartInfo(command.Arguments[0], command.Arguments.Skip(1)) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode;
    }

    [Fact]
    public void A_files_check_asks_for_content_mode_and_owner()
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        var path = _directory + "/a file";
        var file = RemoteFile.Text(path, "text\n", 0x1A0 /* 0640 */, Environment.UserName, Environment.UserName);
        Assert.NotEqual(0, RunHere(Steps.FileIsExactly(file)));
        File.WriteAllText(path, "text\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        Assert.Equal(0, RunHere(Steps.FileIsExactly(file)));
        File.WriteAllText(path, "other\n");
        Assert.NotEqual(0, RunHere(Steps.FileIsExactly(file)));
        File.WriteAllText(path, "text\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        Assert.NotEqual(0, RunHere(Steps.FileIsExactly(file)));
    }

    [Fact]
    public void A_secret_files_content_is_in_no_preview_and_no_command()
    {
        var file = RemoteFile.Text("/etc/x", "hunter2", 0x180) with { Secret = true };
        var step = Steps.File(new FakeRemoteHost().Host, "x", "Write x", file);
        Assert.DoesNotContain("hunter2", string.Join('\n', step.Preview), StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", Steps.FileIsExactly(file).Display, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_package_that_no_source_has_is_named_before_anything_is_installed()
    {
        var host = new FakeRemoteHost();
        host.On("dpkg-query", exitCode: 1).On("apt-cache", "postgresql-99\n", 1).On("apt-get update");
        var step = Steps.Packages(host.Host, "p", ["postgresql-99"]);
        var plan = new Plan { Operation = "Install-PgServer", Subject = "x", Home = host.Host, Steps = [step] };
        var run = new StepRun(step, plan, Journal.For(plan, "me", DateTimeOffset.UtcNow), new SilentFeedback(), default);
        var error = await Assert.ThrowsAsync<PitrException>(() => step.Do(run));
        Assert.Equal("PitrPS.PackageMissing", error.Id);
        Assert.DoesNotContain(host.Shown, c => c.Contains("apt-get install", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(0x1A4, "644")]
    [InlineData(0x180, "600")]
    [InlineData(0x1ED, "755")]
    public void A_mode_is_written_as_stat_prints_it(int mode, string text) => Assert.Equal(text, Steps.Octal(mode));
}
