using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Archive;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class ScratchServerTests
{
    // PostgreSQL 15.18, as the script that looks hands it on.
    private static readonly string[] Log =
    [
        "2026-11-23 08:00:02.840 UTC [1933] LOG:  database system was shut down in recovery at 2026-11-23 15:43:15 UTC",
        "2026-11-23 08:00:02.843 UTC [1933] LOG:  redo starts at 0/2000028",
        "2026-11-23 08:00:03.148 UTC [1933] LOG:  recovery stopping before WAL location (LSN) \"0/3D79CC8\"",
        "2026-11-23 08:00:03.151 UTC [1933] LOG:  selected new timeline ID: 12",
        "2026-11-23 08:00:03.186 UTC [1901] LOG:  database system is ready to accept connections",
    ];

    private readonly FakeRemoteHost _host = new();

    private ScratchServer Scratch => ScratchServer.Of(TestStandby.On(_host), TestStandby.Survey.Layer);

    [Fact]
    public void Its_unit_conflicts_with_the_standbys_and_starts_it_again_when_it_fails()
    {
        var properties = Scratch.UnitProperties(standbyRan: true);
        Assert.Contains("Conflicts=postgresql@15-main.service", properties);
        Assert.Contains("After=postgresql@15-main.service", properties);
        Assert.Contains("OnFailure=postgresql@15-main.service", properties);
        Assert.DoesNotContain(Scratch.UnitProperties(standbyRan: false), p => p.StartsWith("OnFailure", StringComparison.Ordinal));
    }

    [Fact]
    public void Only_the_layer_can_be_written_and_nothing_outside_of_the_host_reached()
    {
        var properties = Scratch.UnitProperties(standbyRan: true);
        Assert.Contains("PrivateMounts=yes", properties);
        Assert.Contains("ProtectSystem=strict", properties);
        Assert.Contains("PrivateNetwork=yes", properties);
        Assert.Equal(["ReadWritePaths=\"/var/lib/postgresql/15/main.pitrps-scratch\""], properties.Where(p => p.StartsWith("ReadWritePaths", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_dollar_in_a_path_is_no_variable_to_systemd()
    {
        var scratch = ScratchServer.Of(TestStandby.On(_host), "/srv/$data.pitrps-scratch");
        Assert.Equal(["/bin/sh", "/srv/$$data.pitrps-scratch/pitrps-scratch", "run", "/srv/$$data.pitrps-scratch"], scratch.StartArguments(true, "d").SkipWhile(a => a != "--").Skip(1));
    }

    [Fact]
    public void The_script_is_valid_for_a_POSIX_shell()
    {
        var (code, _) = Shell.Run("exec sh -n", ScratchServer.Script);
        Assert.Equal(0, code);
        Assert.DoesNotContain('\r', ScratchServer.Script);
        Assert.Contains("version 1", ScratchServer.Script.Split('\n')[1], StringComparison.Ordinal);
    }

    /// <summary>The script that makes the layer, in a real shell, on a host that seems to have SELinux.</summary>
    [ShellFact]
    public async Task With_SELinux_the_layer_and_all_that_the_server_writes_in_it_has_the_context_of_the_standbys_files()
    {
        var folder = Directory.CreateTempSubdirectory("pitrps-layer").FullName;
        try
        {
            Directory.CreateDirectory(Path.Join(folder, "data"));
            Directory.CreateDirectory(Path.Join(folder, "space"));
            _host.On("systemd-run");
            var scratch = ScratchServer.Of(TestStandby.On(_host), Path.Join(folder, "data.pitrps-scratch"));
            await scratch.LaunchAsync(Path.Join(folder, "data"), [Path.Join(folder, "data"), Path.Join(folder, "space")], ["port=1"], [], new RecoveryTarget.Lsn(default), null, standbyRan: true, "d", default);
            var arguments = _host.Commands.Single().Arguments;

            // What chcon finds there: all that is made later inherits the context.
            var programs = Directory.CreateDirectory(Path.Join(folder, "programs")).FullName;
            foreach (var (name, does) in new[] { ("chcon", "echo \"chcon $* with $(ls -A . | paste -sd, -)\""), ("stat", "echo '0 700'"), ("systemctl", ""), ("systemd-run", "echo started") })
            {
                File.WriteAllText(Path.Join(programs, name), $"#!/bin/sh\n{does}\n");
                if (!OperatingSystem.IsWindows())
                {
                    File.SetUnixFileMode(Path.Join(programs, name), (UnixFileMode)0x1ED);
                }
            }

            var (code, output) = Shell.Run($"PATH='{programs}':$PATH\n" + arguments[2].Replace("/sys/fs/selinux/enforce", "/dev/null", StringComparison.Ordinal), "", null, [.. arguments.Skip(4)]);

            Assert.Equal(0, code);
            Assert.Equal(
                [
                    $"chcon --reference={folder}/data . with ",
                    $"chcon --reference={folder}/data 0/upper 0/work with 0,facts,files,pitrps-scratch,settings",
                    $"chcon --reference={folder}/space 1/upper 1/work with 0,1,facts,files,pitrps-scratch,settings",
                    "started",
                ], output.TrimEnd('\n').Split('\n'));
            Assert.Contains("chcon --reference=\"$data\" \"$sockets\"", ScratchServer.Script, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task Says_why_a_layer_cannot_be_laid()
    {
        _host.On("systemd-run", exitCode: 70, error: "mount: wrong fs type, bad option, bad superblock on pitrps-scratch\npitrps-scratch: no layer\n");
        var error = await Assert.ThrowsAsync<PitrException>(() => Scratch.TryAsync("/var/lib/postgresql/15/main", default));
        Assert.Equal("PitrPS.LayerUnsupported", error.Id);
        Assert.Contains("wrong fs type", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("reflink yes\n", true)]
    [InlineData("reflink no\n", false)]
    public async Task Tells_whether_files_are_copied_by_reference(string said, bool expected)
    {
        _host.On("systemd-run", said);
        Assert.Equal(expected, await Scratch.TryAsync("/var/lib/postgresql/15/main", default));
    }

    [Fact]
    public void Sees_where_the_recovery_stopped()
    {
        var look = TestStandby.Look(log: Log);
        Assert.True(look.IsAnswering);
        Assert.True(look.Log.StoppedAtTarget);
        Assert.Equal(Lsn.Parse("0/2000028"), look.Log.RedoFrom);
        Assert.Equal(12u, look.Log.NewTimeline);
        Assert.Equal(TimeSpan.FromMilliseconds(1686), look.Log.ReadyAt - look.LaunchedAt);
    }

    [Fact]
    public void The_end_of_the_WAL_is_not_the_target()
    {
        var look = TestStandby.Look(ready: false, log:
            [Log[1], "2026-11-23 08:00:03.148 UTC [1933] LOG:  redo done at 0/3D00000 system usage: CPU: user: 0.22 s, system: 0.04 s, elapsed: 0.30 s",
             "2026-11-23 08:00:03.150 UTC [1933] FATAL:  recovery ended before configured recovery target was reached",
             "2026-11-23 08:00:03.160 UTC [1901] LOG:  startup process (PID 1933) exited with exit code 1"]);
        Assert.False(look.Log.StoppedAtTarget);
        Assert.True(look.Log.EndedBeforeTarget);
        Assert.Equal("FATAL: recovery ended before configured recovery target was reached", look.Log.Failure);
    }

    [Fact]
    public void What_the_script_says_before_the_server_starts_is_the_reason_too() =>
        Assert.Equal("pitrps-scratch: a server still runs in /d", TestStandby.Look(active: "failed", ready: false, log: "pitrps-scratch: a server still runs in /d").Log.Failure);

    [Theory]
    [InlineData("active", null, false, true)]
    [InlineData("inactive", "1234", false, true)]
    [InlineData("inactive", "1234", true, true)]
    [InlineData("inactive", null, false, false)]
    [InlineData("failed", null, true, false)]
    [InlineData("active", null, true, false)]
    public void Is_under_way_while_its_unit_is_and_the_standby_is_not(string active, string? job, bool standbyRuns, bool expected) =>
        Assert.Equal(expected, TestStandby.Look(active, job: job, standbyRuns: standbyRuns, ready: false).IsUnderWay);
}
