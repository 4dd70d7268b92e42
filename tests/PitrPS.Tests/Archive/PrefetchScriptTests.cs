using System.Diagnostics;
using System.Globalization;

namespace PitrPS.Tests.Archive;

/// <summary>pitrps-prefetch and pitrps-restore together with a real shell, asked as a server asks that replays one segment after the other.</summary>
public sealed class PrefetchScriptTests : InFolder, IDisposable
{
    private const int There = 0;
    private const int Absent = 1;
    private const int Doubt = 200;

    /// <summary>What the prefetcher holds of segments of this size.</summary>
    private const int Ahead = 64;

    private readonly HostScript _restore;
    private readonly string _archive;
    private readonly string _spool;

    public PrefetchScriptTests()
    {
        _restore = new HostScript("pitrps-restore.sh", Folder);
        _ = new HostScript("pitrps-prefetch.sh", Folder);
        _archive = Directory.CreateDirectory(In("the archive's mount")).FullName;
        _spool = In("data", "pg_wal", "pitrps-spool");
        File.WriteAllText(Path.Combine(_archive, "pitrps-archive.id"), FakeWal.Marker());
        Directory.CreateDirectory(In("data", "global"));
        Directory.CreateDirectory(In("data", "pg_wal"));
        File.WriteAllBytes(In("data", "global", "pg_control"), [.. BitConverter.GetBytes(FakeWal.Cluster), .. new byte[8184]]);
        File.WriteAllText(In("data", "PG_VERSION"), "15\n");
        File.WriteAllText(In("data", "recovery.signal"), "");
        Running(started: 1);
    }

    /// <summary>Without its server the prefetcher ends, and takes its spool away.</summary>
    public new void Dispose()
    {
        File.Delete(In("data", "postmaster.pid"));
        Assert.True(Within(() => !Directory.Exists(_spool)), "The prefetcher lives on without its server.");
        base.Dispose();
    }

    [ShellFact]
    public async Task Brings_what_will_be_asked_for_next_so_that_it_is_there_when_the_archive_is_not()
    {
        Archive(1, 12);
        await AskedInARowAsync(1, 2);
        Await(() => Enumerable.Range(3, 10).All(InSpool), "segments 3 to 12 in the spool");
        Assert.Equal((UnixFileMode)0x1C0 /* 0700 */, Mode(_spool));

        Directory.Delete(_archive, recursive: true);
        await AskedInARowAsync([.. Enumerable.Range(3, 10)]);

        var (code, error) = await AskAsync(13);
        Assert.Equal(Doubt, code);
        Assert.Contains("is it mounted?", error);
    }

    [ShellFact]
    public async Task What_is_in_the_spool_takes_no_program_but_mv()
    {
        Archive(1, 4);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(3) && InSpool(4), "segments 3 and 4 in the spool");
        Directory.CreateDirectory(In("bin"));
        File.CreateSymbolicLink(In("bin", "mv"), "/bin/mv");

        Assert.Equal((There, ""), await AskAsync(3, $"PATH='{In("bin")}'"));
    }

    [ShellFact]
    public async Task Whoever_asks_now_and_then_has_nothing_brought()
    {
        Archive(1, 4);
        await AskedInARowAsync(1);
        // Asked for a minute later.
        File.SetLastWriteTimeUtc(In("data", "pg_wal", Name(1)), DateTime.UtcNow.AddMinutes(-1));
        await AskedInARowAsync(2);

        Assert.False(Directory.Exists(_spool));
    }

    [ShellFact]
    public async Task Follows_the_server_to_another_timeline_and_forgets_what_it_has_left()
    {
        Archive(1, 8);
        Archive(5, 8, timeline: 3);
        await AskedInARowAsync(1, 2);
        Await(() => Enumerable.Range(3, 6).All(InSpool), "segments 3 to 8 in the spool");
        await AskedInARowAsync(3, 4);

        Assert.Equal((There, ""), await AskAsync(Name(5, timeline: 3)));

        Await(() => Enumerable.Range(6, 3).All(n => File.Exists(Path.Combine(_spool, Name(n, timeline: 3)))), "the other timeline's in the spool");
        Await(() => Directory.Exists(_spool) && Directory.GetFiles(_spool, "00000002*").Length == 0, "nothing of the timeline that was left");
        File.Delete(Path.Combine(_archive, Name(6, timeline: 3)));
        Assert.Equal((There, ""), await AskAsync(Name(6, timeline: 3)));
        Assert.Equal(FakeWal.Segment(Name(6, timeline: 3), fill: 6), File.ReadAllBytes(Target));
    }

    public static TheoryData<string, byte[]> BadSegments => new()
    {
        { "its first page is not WAL of this version", new byte[FakeWal.SegmentSize] },
        { "it is of the cluster 42", FakeWal.Segment(Name(4), cluster: 42) },
        { "its first page is the one at", FakeWal.Segment(Name(3)) },
        { "it has 8192 bytes", FakeWal.Segment(Name(4), size: 8192) },
    };

    [ShellTheory]
    [MemberData(nameof(BadSegments), DisableDiscoveryEnumeration = true)]
    public async Task What_is_not_what_its_name_says_does_not_come_into_the_spool(string why, byte[] content)
    {
        Archive(1, 5);
        File.WriteAllBytes(Path.Combine(_archive, Name(4)), content);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(3) && File.Exists(Path.Combine(_spool, Name(4) + ".rest")), "segment 3 in the spool, 4 refused");

        await AskedInARowAsync(3);
        var (code, error) = await AskAsync(4);

        Assert.Equal(Doubt, code);
        Assert.Contains(why, error);
    }

    [ShellFact]
    public async Task At_the_end_of_the_archive_it_is_still_the_archive_that_proves_a_segment_absent()
    {
        Archive(1, 3);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(3), "segment 3 in the spool");
        await AskedInARowAsync(3);

        Assert.Equal((Absent, ""), await AskAsync(4));
        Archive(4, 4);
        Assert.Equal((There, ""), await AskAsync(4));
    }

    [ShellTheory]
    [InlineData("1 1 {archive}")] // another process
    [InlineData("{pid} 0 {archive}")] // the same number, another start
    [InlineData("{pid} 1 /another")] // restore_command was changed
    public async Task What_another_run_of_the_server_has_left_is_removed_and_not_used(string owner)
    {
        Archive(1, 2);
        Directory.CreateDirectory(_spool);
        File.WriteAllText(Path.Combine(_spool, "owner"), owner.Replace("{pid}", Pid).Replace("{archive}", _archive) + "\n999999999\n");
        // As a power cut leaves it, but that does not show in the first page.
        File.WriteAllBytes(Path.Combine(_spool, Name(1)), FakeWal.Segment(Name(1), fill: 99));

        await AskedInARowAsync(1);

        Assert.False(Directory.Exists(_spool));
    }

    [ShellFact]
    public async Task It_ends_with_its_server_and_takes_the_spool_away()
    {
        Archive(1, 4);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(4), "segment 4 in the spool");

        Running(started: 2);

        Await(() => !Directory.Exists(_spool), "no spool");
    }

    [ShellFact]
    public async Task It_ends_when_the_server_has_opened()
    {
        Archive(1, 4);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(4), "segment 4 in the spool");

        File.Delete(In("data", "recovery.signal"));

        Await(() => !Directory.Exists(_spool), "no spool");
    }

    [ShellFact]
    public async Task It_ends_when_it_is_told_to_and_is_started_again_when_it_is_needed()
    {
        Archive(1, 8);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(8), "segment 8 in the spool");
        Signal("TERM", Prefetcher()!);
        Await(() => !Directory.Exists(_spool), "no spool");

        await AskedInARowAsync(3, 4);

        Await(() => InSpool(8), "segment 8 in the spool again");
    }

    [ShellFact]
    public async Task One_that_was_killed_makes_things_slower_and_nothing_else()
    {
        await KilledAsync();
        await AnotherOneComesAsync();
    }

    [ShellFact]
    public async Task One_that_was_killed_and_whose_parent_has_not_noticed_makes_things_slower_and_nothing_else()
    {
        // What the shell has started it leaves to a program that asks after nobody.
        using var heedless = Process.Start(new ProcessStartInfo("sh", ["-c", "sleep 600 & echo $!; exec sleep 600"]) { RedirectStandardOutput = true })!;
        try
        {
            var ended = heedless.StandardOutput.ReadLine()!;
            Await(() => File.ReadAllText($"/proc/{heedless.Id}/cmdline").StartsWith("sleep", StringComparison.Ordinal), "the program that asks after nobody");
            Signal("KILL", ended);
            Await(() => File.ReadAllText($"/proc/{ended}/stat").Contains(") Z ", StringComparison.Ordinal), "the end of what the shell started");
            await KilledAsync();
            var owner = Path.Combine(_spool, "owner");
            File.WriteAllText(owner, File.ReadAllText(owner).Replace(Prefetcher()!, ended, StringComparison.Ordinal));
            await AnotherOneComesAsync();
        }
        finally
        {
            heedless.Kill();
        }
    }

    [ShellFact]
    public async Task A_full_disk_of_the_spool_makes_things_slower_and_nothing_else()
    {
        Archive(1, 5);
        Directory.CreateDirectory(In("bin"));
        File.WriteAllText(In("bin", "cp"), "#!/bin/sh\ncase $3 in *.part) echo No space left on device >&2; exit 1 ;; esac\nexec /bin/cp \"$@\"\n");
        Executable(In("bin", "cp"));
        await AskedInARowAsync(1);
        Assert.Equal((There, ""), await AskAsync(2, $"PATH='{In("bin")}':$PATH"));
        Keep(2);
        Await(() => File.Exists(Path.Combine(_spool, Name(3) + ".rest")), "segment 3, which found no room");

        await AskedInARowAsync(3, 4, 5);
    }

    [ShellFact]
    public async Task What_could_not_be_brought_to_the_disk_does_not_come_into_the_spool()
    {
        Archive(1, 4);
        Directory.CreateDirectory(In("bin"));
        File.WriteAllText(In("bin", "dd"), "#!/bin/sh\necho Input/output error >&2; exit 1\n");
        Executable(In("bin", "dd"));
        await AskedInARowAsync(1);
        Assert.Equal((There, ""), await AskAsync(2, $"PATH='{In("bin")}':$PATH"));
        Keep(2);
        Await(() => File.Exists(Path.Combine(_spool, Name(3) + ".rest")), "segment 3, which is not on the disk");

        Assert.Equal(0, Segments());
        await AskedInARowAsync(3, 4);
    }

    [ShellFact]
    public async Task There_is_never_more_than_its_share()
    {
        Archive(1, Ahead + 10);
        await AskedInARowAsync(1, 2);

        Await(() => Segments() == Ahead && InSpool(Ahead + 2), $"segments 3 to {Ahead + 2} in the spool");
        await AskedInARowAsync(3);
        Await(() => Segments() == Ahead && InSpool(Ahead + 3), $"segments 4 to {Ahead + 3} in the spool");
    }

    [ShellFact]
    public async Task A_recovery_on_a_layer_has_brought_only_what_it_lacks()
    {
        Archive(1, 8);
        File.WriteAllLines(In("data", "pitrps-scratch.fetch"), [Name(1), Name(2), Name(3), Name(5)]);
        await AskedInARowAsync(1, 2);

        Await(() => InSpool(3) && InSpool(5), "segments 3 and 5 in the spool");
        Assert.Equal([Name(3), Name(5)], Directory.GetFiles(_spool).Select(f => Path.GetFileName(f)).Where(f => f.Length == 24).Order());
    }

    [ShellFact]
    public async Task After_the_last_of_a_log_file_comes_the_first_of_the_next()
    {
        Archive(4094, 4099);
        await AskedInARowAsync(4094, 4095);

        Await(() => InSpool(4099), "segments of the next log file in the spool");
        await AskedInARowAsync(4096, 4097);
    }

    private static string Pid => Environment.ProcessId.ToString(CultureInfo.InvariantCulture);

    private string Target => In("data", "pg_wal", "RECOVERYXLOG");

    // 4,096 segments of 1 MiB are one "log file" in the name.
    private static string Name(int number, int timeline = 2) => string.Create(CultureInfo.InvariantCulture, $"{timeline:X8}{0xA + (number / 4096):X8}{number % 4096:X8}");

    private static bool Within(Func<bool> isSo)
    {
        var watch = Stopwatch.StartNew();
        while (!isSo())
        {
            if (watch.Elapsed > TimeSpan.FromSeconds(60))
            {
                return false;
            }

            Task.Delay(20).Wait();
        }

        return true;
    }

    private static void Await(Func<bool> isSo, string what) => Assert.True(Within(isSo), $"It took too long: {what}.");

    private static UnixFileMode Mode(string path) => OperatingSystem.IsLinux() ? File.GetUnixFileMode(path) : default;

    private static void Executable(string path)
    {
        if (OperatingSystem.IsLinux())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }
    }

    private int Segments() => Directory.Exists(_spool) ? Directory.GetFiles(_spool).Count(f => Path.GetFileName(f).Length == 24) : 0;

    private bool InSpool(int number) => File.Exists(Path.Combine(_spool, Name(number)));

    private void Archive(int first, int last, int timeline = 2)
    {
        for (var number = first; number <= last; number++)
        {
            File.WriteAllBytes(Path.Combine(_archive, Name(number, timeline)), FakeWal.Segment(Name(number, timeline), fill: (byte)number));
        }
    }

    // As the server writes it: number, directory, time of its start.
    private void Running(int started)
    {
        File.WriteAllText(In("data", "postmaster.new"), $"{Pid}\n{In("data")}\n{started}\n5432\n");
        File.Move(In("data", "postmaster.new"), In("data", "postmaster.pid"), overwrite: true);
    }

    private static void Signal(string signal, string process)
    {
        using var kill = Process.Start("kill", ["-s", signal, process]);
        kill.WaitForExit();
    }

    private string? Prefetcher() => File.Exists(Path.Combine(_spool, "owner")) ? File.ReadAllLines(Path.Combine(_spool, "owner")).ElementAtOrDefault(1) : null;

    private async Task KilledAsync()
    {
        Archive(1, 6);
        await AskedInARowAsync(1, 2);
        Await(() => InSpool(3), "segment 3 in the spool");
        Signal("KILL", Prefetcher()!);
    }

    private async Task AnotherOneComesAsync()
    {
        var killed = Prefetcher();
        Archive(7, 60);
        var number = 3;
        do
        {
            await AskedInARowAsync(number++);
        }
        while (number < 50 && Prefetcher() is var now && (now is null || now == killed));

        Await(() => InSpool(60), "segment 60 in the spool of the next one");
    }

    /// <summary>Each is there, has its own content, and is kept as the server keeps it.</summary>
    private async Task AskedInARowAsync(params int[] numbers)
    {
        foreach (var number in numbers)
        {
            Assert.Equal((There, ""), await AskAsync(number));
            Assert.Equal(FakeWal.Segment(Name(number), fill: (byte)number), File.ReadAllBytes(Target));
            Keep(number);
        }
    }

    private void Keep(int number) => File.Move(Target, In("data", "pg_wal", Name(number)), overwrite: true);

    private Task<(int ExitCode, string Error)> AskAsync(int number, string prelude = "") => AskAsync(Name(number), prelude);

    private Task<(int ExitCode, string Error)> AskAsync(string name, string prelude = "") => _restore.RunWithAsync(prelude, In("data"), _archive, name, "pg_wal/RECOVERYXLOG");
}
