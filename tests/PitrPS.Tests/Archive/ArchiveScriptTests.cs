namespace PitrPS.Tests.Archive;

/// <summary>pitrps-archive with a real shell: there whole or not at all, and loud about everything else.</summary>
public sealed class ArchiveScriptTests : InFolder
{
    private const string Name = "000000010000000000000003";

    private readonly HostScript _script;
    private readonly string _archive;
    private readonly string _source;

    public ArchiveScriptTests()
    {
        _script = new HostScript("pitrps-archive.sh", Folder);
        _archive = Directory.CreateDirectory(In("the archive's folder")).FullName;
        File.WriteAllText(Path.Combine(_archive, "pitrps-archive.id"), FakeWal.Marker());
        Directory.CreateDirectory(In("data", "pg_wal"));
        _source = "pg_wal/" + Name;
        Write(Name, FakeWal.Segment(Name, fill: 7));
    }

    private string Archived => Path.Combine(_archive, Name);

    [ShellFact]
    public async Task Copies_a_segment_whole_readable_for_the_group_and_for_nobody_else()
    {
        var (code, error) = await ArchiveAsync();

        Assert.Equal((0, ""), (code, error));
        Assert.Equal(File.ReadAllBytes(In("data", _source)), File.ReadAllBytes(Archived));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead, Mode(Archived));
        Assert.Equal(["pitrps-archive.id", Name], FilesOf(_archive));
    }

    [ShellFact]
    public async Task The_same_content_again_is_a_success_and_touches_nothing()
    {
        await ArchiveAsync();
        var written = File.GetLastWriteTimeUtc(Archived);

        Assert.Equal((0, ""), await ArchiveAsync());
        Assert.Equal(written, File.GetLastWriteTimeUtc(Archived));
    }

    [ShellFact]
    public async Task Other_content_under_the_same_name_is_an_error_and_stays()
    {
        var other = FakeWal.Segment(Name, fill: 9);
        File.WriteAllBytes(Archived, other);

        var (code, error) = await ArchiveAsync();

        Assert.Equal(1, code);
        Assert.Contains("exists with other content and is not overwritten", error);
        Assert.Equal(other, File.ReadAllBytes(Archived));
    }

    [ShellFact]
    public async Task A_full_disk_leaves_nothing_and_the_next_try_succeeds()
    {
        // A file may have 256 KB here; with SIGXFSZ ignored, writing more is an error as on a full disk.
        var (code, error) = await _script.RunWithAsync("trap '' XFSZ; ulimit -f 512", In("data"), _archive, _source, Name);

        Assert.Equal(1, code);
        Assert.Contains($"{Name} cannot be copied", error);
        Assert.Equal(["pitrps-archive.id"], FilesOf(_archive));

        Assert.Equal((0, ""), await ArchiveAsync());
        Assert.Equal(File.ReadAllBytes(In("data", _source)), File.ReadAllBytes(Archived));
    }

    [ShellFact]
    public async Task What_a_crash_left_behind_does_not_block_and_is_cleaned_up()
    {
        File.WriteAllText(Path.Combine(_archive, ".pitrps-archive.copy"), "half of another segment");

        Assert.Equal((0, ""), await ArchiveAsync());
        Assert.Equal(["pitrps-archive.id", Name], FilesOf(_archive));
    }

    [ShellFact]
    public async Task A_run_that_is_killed_while_it_copies_leaves_no_file_of_that_name()
    {
        // cp says when it is half way, and waits to be killed.
        Program("cp", "head -c 1000 \"$3\" > \"$4\"; touch '" + In("half") + "'; exec sleep 60");
        var start = _script.RunWithAsync($"PATH='{In("bin")}':$PATH; echo $$ > '{In("pid")}'", In("data"), _archive, _source, Name);
        while (!File.Exists(In("half")))
        {
            await Task.Delay(20);
        }

        var copying = int.Parse(File.ReadAllText(In("pid")));
        foreach (var child in File.ReadAllText($"/proc/{copying}/task/{copying}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            System.Diagnostics.Process.GetProcessById(int.Parse(child)).Kill();
        }

        System.Diagnostics.Process.GetProcessById(copying).Kill();
        await start;
        Assert.False(File.Exists(Archived));

        Assert.Equal((0, ""), await ArchiveAsync());
        Assert.Equal(["pitrps-archive.id", Name], FilesOf(_archive));
    }

    [ShellFact]
    public async Task Runs_at_the_same_time_wait_for_each_other_and_all_succeed()
    {
        var names = Enumerable.Range(4, 4).Select(n => $"{Name[..^1]}{n}").ToArray();
        foreach (var name in names)
        {
            Write(name, FakeWal.Segment(name, fill: 3));
        }

        var runs = await Task.WhenAll(names.Concat(names).Select(n => _script.RunAsync(In("data"), _archive, "pg_wal/" + n, n)));

        Assert.All(runs, run => Assert.Equal((0, ""), run));
        Assert.All(names, name => Assert.Equal(File.ReadAllBytes(In("data", "pg_wal", name)), File.ReadAllBytes(Path.Combine(_archive, name))));
    }

    [ShellFact]
    public async Task Zeros_take_no_room()
    {
        Write(Name, FakeWal.Segment(Name));

        Assert.Equal((0, ""), await ArchiveAsync());
        Assert.Equal(FakeWal.SegmentSize, new FileInfo(Archived).Length);
        var blocks = await HostScript.RunAsync(Folder, "/dev/null", $"[ $(stat -c %b '{Archived.Replace("'", "'\\''")}') -le 64 ] || exit 9");
        Assert.Equal(0, blocks.ExitCode);
    }

    [ShellFact]
    public async Task Without_the_marker_nothing_is_written()
    {
        File.Delete(Path.Combine(_archive, "pitrps-archive.id"));

        var (code, error) = await ArchiveAsync();

        Assert.Equal(1, code);
        Assert.Contains("is no archive, or its filesystem is not mounted", error);
        Assert.Empty(FilesOf(_archive));
    }

    [ShellFact]
    public async Task Another_clusters_segment_is_refused_and_a_history_file_is_not()
    {
        Write(Name, FakeWal.Segment(Name, cluster: 42));
        Write("00000002.history", "1\t0/5000148\tno recovery target specified\n"u8.ToArray());

        var (code, error) = await ArchiveAsync();
        Assert.Equal(1, code);
        Assert.Contains("is of the cluster 42", error);

        Assert.Equal((0, ""), await _script.RunAsync(In("data"), _archive, "pg_wal/00000002.history", "00000002.history"));
        Assert.Equal(["00000002.history", "pitrps-archive.id"], FilesOf(_archive));
    }

    [ShellFact]
    public async Task A_disk_that_does_not_sync_is_an_error()
    {
        Program("sync", "exit 1");

        var (code, error) = await _script.RunWithAsync($"PATH='{In("bin")}':$PATH", In("data"), _archive, _source, Name);

        Assert.Equal(1, code);
        Assert.Contains("cannot be brought to the disk", error);
        Assert.Equal(["pitrps-archive.id"], FilesOf(_archive));
    }

    private Task<(int ExitCode, string Error)> ArchiveAsync() => _script.RunAsync(In("data"), _archive, _source, Name);

    private void Write(string name, byte[] content) => File.WriteAllBytes(In("data", "pg_wal", name), content);

    private void Program(string name, string script)
    {
        Directory.CreateDirectory(In("bin"));
        File.WriteAllText(In("bin", name), "#!/bin/sh\n" + script + "\n");
        if (OperatingSystem.IsLinux())
        {
            File.SetUnixFileMode(In("bin", name), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }
    }

    private static UnixFileMode Mode(string path) => OperatingSystem.IsLinux() ? File.GetUnixFileMode(path) : default;

    private static string[] FilesOf(string folder) =>
        [.. Directory.GetFiles(folder, "*", new EnumerationOptions { AttributesToSkip = 0 }).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal).OrderBy(f => f == Name)];
}
