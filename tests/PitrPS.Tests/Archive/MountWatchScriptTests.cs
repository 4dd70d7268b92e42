using System.Diagnostics;

namespace PitrPS.Tests.Archive;

/// <summary>
/// pitrps-mount-watch with a real shell, a systemctl that only notes what it is asked for, and pauses that are noted and over at once:
/// what it may kill, and when it keeps its hands off.
/// </summary>
public sealed class MountWatchScriptTests : InFolder
{
    private const string Kill = "kill --signal=KILL mount.service";

    private readonly string _mount;

    public MountWatchScriptTests()
    {
        _ = new HostScript("pitrps-mount-watch.sh", Folder);
        _mount = Directory.CreateDirectory(In("the archive's mount")).FullName;
        Directory.CreateDirectory(In("run"));
        File.WriteAllText(Path.Combine(_mount, "pitrps-archive.id"), FakeWal.Marker());
        Mounted(true);
        File.WriteAllText(In("active"), "");
        foreach (var log in (string[])["asked of systemd", "pauses", "journal"])
        {
            File.WriteAllText(In(log), "");
        }

        Program("systemctl", $"echo \"$*\" >> '{Quoted(In("asked of systemd"))}'; [ \"$1\" != is-active ] || exec test -e '{Quoted(In("active"))}'");
        Program("sleep", $"[ \"$1\" = 0.1 ] || echo \"$1\" >> '{Quoted(In("pauses"))}'; exec /bin/sleep 0.01");
    }

    private string[] Asked => File.ReadAllLines(In("asked of systemd"));

    private string[] Pauses => File.ReadAllLines(In("pauses"));

    private string[] Journal => File.ReadAllLines(In("journal"));

    [ShellFact]
    public async Task An_archive_that_can_be_read_is_left_alone()
    {
        await WhileWatchingAsync(() => Pauses.Length >= 3);

        Assert.Empty(Asked);
        Assert.Empty(Journal);
        Assert.InRange(Directory.GetFiles(In("run")).Length, 0, 1);
        Assert.All(Pauses, p => Assert.Equal("7", p));
    }

    [ShellFact]
    public async Task A_mount_that_hangs_is_killed_by_its_units_name_and_then_less_and_less_often()
    {
        // Nobody writes: reading it waits for ever.
        Hang();
        await WhileWatchingAsync(() => Pauses.Length >= 4, limit: 1);

        Assert.Equal([.. Enumerable.Repeat((string[])["is-active --quiet mount.service", Kill], 4).SelectMany(a => a)], Asked[..8]);
        Assert.Equal(["7", "14", "28", "56"], Pauses[..4]);
        Assert.Equal($"<4>pitrps-mount-watch: {_mount} has not answered for 1 s though mount.service is active: it is killed, and systemd mounts again.", Journal[0]);
    }

    [ShellFact]
    public async Task A_reader_that_cannot_be_killed_is_left_behind()
    {
        Program("timeout", "exec /bin/sleep 120");
        var watch = Stopwatch.StartNew();

        await WhileWatchingAsync(() => Pauses.Length >= 1, limit: 1);

        Assert.Equal(Kill, Asked[1]);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(100));
    }

    [ShellTheory]
    [InlineData("hangs")]
    [InlineData("is not mounted")]
    public async Task A_unit_that_somebody_has_stopped_is_left_alone(string mount)
    {
        File.Delete(In("active"));
        if (mount == "hangs")
        {
            Hang();
        }
        else
        {
            Mounted(false);
            File.Delete(Path.Combine(_mount, "pitrps-archive.id"));
        }

        await WhileWatchingAsync(() => Pauses.Length >= 3, limit: mount == "hangs" ? 1 : 300);

        Assert.All(Asked, a => Assert.Equal("is-active --quiet mount.service", a));
        Assert.True(Asked.Length >= 2);
        Assert.Empty(Journal);
    }

    [ShellFact]
    public async Task A_unit_that_is_active_with_nothing_mounted_is_killed()
    {
        Mounted(false);
        File.Delete(Path.Combine(_mount, "pitrps-archive.id"));

        await WhileWatchingAsync(() => Pauses.Length >= 1);

        Assert.Equal(Kill, Asked[1]);
        Assert.Contains($"nothing is mounted at {_mount}", Journal[0]);
    }

    [ShellFact]
    public async Task A_mount_whose_sshfs_is_gone_is_killed_although_it_is_still_listed()
    {
        Program("cat", "case $* in *pitrps-archive.id) echo 'cat: x: Transport endpoint is not connected' >&2; exit 1 ;; esac; exec /bin/cat \"$@\"");

        await WhileWatchingAsync(() => Pauses.Length >= 1);

        Assert.Equal(Kill, Asked[1]);
        Assert.Contains($"{_mount} is dead", Journal[0]);
    }

    [ShellFact]
    public async Task A_primary_that_is_away_is_told_once_and_so_is_its_return()
    {
        var marker = Path.Combine(_mount, "pitrps-archive.id");
        File.Delete(marker);
        var pauses = 0;

        await WhileWatchingAsync(() =>
        {
            if (pauses == 0 && Pauses.Length >= 3)
            {
                pauses = Pauses.Length;
                File.WriteAllText(marker, FakeWal.Marker());
            }

            return pauses > 0 && Pauses.Length >= pauses + 3;
        });

        Assert.Empty(Asked);
        Assert.Equal(2, Journal.Length);
        Assert.Matches("^<4>.* cannot be read: .*No such file or directory; sshfs goes on trying.$", Journal[0]);
        Assert.Equal($"<5>pitrps-mount-watch: {_mount} is read again.", Journal[1]);
    }

    [ShellFact]
    public async Task Where_it_cannot_ask_it_does_not_take_the_mount_for_dead()
    {
        Hang();
        Directory.Delete(In("run"));

        await WhileWatchingAsync(() => Pauses.Length >= 3, limit: 1);

        Assert.Empty(Asked);
    }

    [ShellTheory]
    [InlineData("failed", "nothing is mounted at")]
    [InlineData("stale", "is stale")]
    [InlineData("hangs", "has not answered for 1 s")]
    public async Task A_mount_over_NFS_that_failed_went_stale_or_hangs_is_taken_away_and_started_again(string state, string why)
    {
        Program("umount", $"echo \"umount $*\" >> '{Quoted(In("asked of systemd"))}'");
        switch (state)
        {
            case "failed":
                File.Delete(In("active"));
                Mounted(false);
                File.Delete(Path.Combine(_mount, "pitrps-archive.id"));
                Program("systemctl", $"echo \"$*\" >> '{Quoted(In("asked of systemd"))}'; case $1 in is-active) exit 3 ;; esac");
                break;
            case "stale":
                Program("cat", "case $* in *pitrps-archive.id) echo 'cat: x: Stale file handle' >&2; exit 1 ;; esac; exec /bin/cat \"$@\"");
                break;
            default:
                Hang();
                break;
        }

        await WhileWatchingAsync(() => Asked.Contains("--no-block restart mnt-a.mount"), limit: state == "hangs" ? 1 : 300, unit: "mnt-a.mount");

        Assert.Equal([$"umount -f -l -- {_mount}", "reset-failed mnt-a.mount", "--no-block restart mnt-a.mount"], Asked.Where(a => !a.StartsWith("is-", StringComparison.Ordinal)).Take(3));
        Assert.Contains(why, Journal[0]);
        Assert.EndsWith(": it is mounted again.", Journal[0]);
    }

    [ShellFact]
    public async Task A_mount_over_NFS_that_somebody_has_stopped_is_left_alone()
    {
        File.Delete(In("active"));
        Mounted(false);
        File.Delete(Path.Combine(_mount, "pitrps-archive.id"));
        Program("systemctl", $"echo \"$*\" >> '{Quoted(In("asked of systemd"))}'; case $1 in is-active | is-failed) exit 3 ;; esac");

        await WhileWatchingAsync(() => Pauses.Length >= 3, unit: "mnt-a.mount");

        Assert.All(Asked, a => Assert.StartsWith("is-", a));
        Assert.Empty(Journal);
    }

    private void Hang()
    {
        File.Delete(Path.Combine(_mount, "pitrps-archive.id"));
        using var made = Process.Start("mkfifo", [Path.Combine(_mount, "pitrps-archive.id")]);
        made.WaitForExit();
        Assert.Equal(0, made.ExitCode);
    }

    // As the kernel lists it: blanks escaped.
    private void Mounted(bool isMounted) => File.WriteAllText(In("mountinfo"),
        "22 28 0:21 / /proc rw,nosuid - proc proc rw\n" + (isMounted ? $"80 28 0:60 / {_mount.Replace(" ", "\\040", StringComparison.Ordinal)} ro,nosuid - fuse.sshfs reader@primary:/archive ro\n" : ""));

    private async Task WhileWatchingAsync(Func<bool> until, int limit = 300, string unit = "mount.service")
    {
        var start = new ProcessStartInfo("/bin/sh")
        {
            ArgumentList =
            {
                "-c", "export PATH=\"$1:$PATH\" PITRPS_MOUNTINFO=\"$2\"; journal=$3; shift 3; exec /bin/sh \"$@\" > \"$journal\"", "sh",
                In("bin"), In("mountinfo"), In("journal"), In("pitrps-mount-watch.sh"), unit, _mount, In("run"), $"{limit}", "7",
            },
        };
        using var process = Process.Start(start)!;
        try
        {
            var since = Stopwatch.StartNew();
            while (!until())
            {
                Assert.False(process.HasExited, "The watchdog has ended.");
                Assert.True(since.Elapsed < TimeSpan.FromMinutes(3), $"It waits in vain; the journal: {string.Join('\n', Journal)}");
                await Task.Delay(20);
            }
        }
        finally
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
        }
    }

    private static string Quoted(string path) => path.Replace("'", "'\\''", StringComparison.Ordinal);

    private void Program(string name, string script)
    {
        Directory.CreateDirectory(In("bin"));
        File.WriteAllText(In("bin", name), "#!/bin/sh\n" + script + "\n");
        if (OperatingSystem.IsLinux())
        {
            File.SetUnixFileMode(In("bin", name), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }
    }
}
