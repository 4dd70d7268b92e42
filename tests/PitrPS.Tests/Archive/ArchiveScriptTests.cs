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
        // dd says when it is half way, and waits to be killed.
        Program("dd", "head -c 1000 \"${1#if=}\" > \"${2#of=}\"; touch '" + In("half") + "'; exec sleep 60");
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
        // Of the directory; then of the file, which dd syncs.
        Program("sync", "exit 1");
        var (code, error) = await _script.RunWithAsync($"PATH='{In("bin")}':$PATH", In("data"), _archive, _source, Name);
        Assert.Equal(1, code);
        Assert.Contains("cannot be brought to the disk", error);
        File.Delete(Archived);

        Program("dd", "case $* in *conv=*fsync*) exec false ;; esac; exec /bin/dd \"$@\"");
        (code, error) = await _script.RunWithAsync($"PATH='{In("bin")}':$PATH", In("data"), _archive, _source, Name);
        Assert.Equal(1, code);
        Assert.Contains("cannot be copied", error);
        Assert.Equal(["pitrps-archive.id"], FilesOf(_archive));
    }

    [ShellTheory("zstd")]
    [InlineData("", "")]
    [InlineData("zstd", ".zst")]
    public async Task What_waits_behind_it_is_taken_along_and_the_next_runs_find_it_done(string compression, string suffix)
    {
        var names = Waiting(20);
        Waiting(3, timeline: 2);

        Assert.Equal((0, ""), await ArchiveAsync(compression));

        Assert.Equal(names[..15].Append(Name).Append("pitrps-archive.id").Select(n => n.Length == 24 ? n + suffix : n).Order(StringComparer.Ordinal),
            FilesOf(_archive).Where(f => f[0] != '.').Order(StringComparer.Ordinal));
        foreach (var name in names[..15])
        {
            Assert.Equal(File.ReadAllBytes(In("data", "pg_wal", name)), compression.Length == 0 ? File.ReadAllBytes(Path.Combine(_archive, name)) : await UnpackAsync(compression, Path.Combine(_archive, name + suffix)));
            Assert.Equal(Mode(Archived + suffix), Mode(Path.Combine(_archive, name + suffix)));
        }

        // They have to be older than the note by a second that every shell sees.
        Age(names);
        Program("flock", "echo 'it asks for the lock' >&2; exit 1");
        foreach (var name in names[..15])
        {
            Assert.Equal((0, ""), await WithProgramsAsync(name, compression));
        }

        Assert.Contains("it asks for the lock", (await WithProgramsAsync(names[15], compression)).Error);
    }

    [ShellFact]
    public async Task What_was_taken_along_and_has_changed_since_is_compared()
    {
        var names = Waiting(3);
        await ArchiveAsync();

        // The server's was written to; the archive's was written to; the archive's is gone.
        Age(names[1..]);
        File.WriteAllBytes(In("data", "pg_wal", names[0]), FakeWal.Segment(names[0], fill: 1));
        File.SetLastWriteTimeUtc(In("data", "pg_wal", names[0]), DateTime.UtcNow.AddMinutes(1));
        File.WriteAllBytes(Path.Combine(_archive, names[1]), FakeWal.Segment(names[1], fill: 1));
        File.SetLastWriteTimeUtc(Path.Combine(_archive, names[1]), DateTime.UtcNow.AddMinutes(1));
        File.Delete(Path.Combine(_archive, names[2]));

        foreach (var name in names[..2])
        {
            Assert.Contains("exists with other content", (await _script.RunAsync(In("data"), _archive, "pg_wal/" + name, name)).Error);
        }

        Assert.Equal((0, ""), await _script.RunAsync(In("data"), _archive, "pg_wal/" + names[2], names[2]));
        Assert.Equal(File.ReadAllBytes(In("data", "pg_wal", names[2])), File.ReadAllBytes(Path.Combine(_archive, names[2])));
    }

    [ShellFact]
    public async Task What_is_there_already_is_not_taken_along_and_a_failure_of_what_is_fails_nobody()
    {
        var names = Waiting(2);
        var other = FakeWal.Segment(names[0], fill: 1);
        File.WriteAllBytes(Path.Combine(_archive, names[0]), other);
        Program("dd", $"case $1 in *{names[1]}) echo 'no space' >&2; exit 1 ;; esac; exec /bin/dd \"$@\"");

        Assert.Equal((0, ""), await WithProgramsAsync(Name));

        Assert.Equal(other, File.ReadAllBytes(Path.Combine(_archive, names[0])));
        Assert.Equal(new[] { "pitrps-archive.id", Name, names[0] }.Order(StringComparer.Ordinal), FilesOf(_archive).Where(f => f != ".pitrps-archive.note").Order(StringComparer.Ordinal));
        Assert.Contains("exists with other content", (await _script.RunAsync(In("data"), _archive, "pg_wal/" + names[0], names[0])).Error);
    }

    [ShellTheory("zstd", "lz4")]
    [InlineData("zstd", ".zst")]
    [InlineData("lz4", ".lz4")]
    public async Task Compresses_segments_and_nothing_else(string program, string suffix)
    {
        Write("00000002.history", "1\t0/5000148\tno recovery target specified\n"u8.ToArray());
        Write(Name + ".partial", FakeWal.Segment(Name, fill: 7));

        Assert.Equal((0, ""), await ArchiveAsync(program));
        Assert.Equal((0, ""), await _script.RunAsync(In("data"), _archive, "pg_wal/00000002.history", "00000002.history", program));
        Assert.Equal((0, ""), await _script.RunAsync(In("data"), _archive, _source + ".partial", Name + ".partial", program));

        Assert.Equal(new[] { "00000002.history", Name + suffix, Name + ".partial", "pitrps-archive.id" }.Order(StringComparer.Ordinal), FilesOf(_archive));
        Assert.True(new FileInfo(Archived + suffix).Length < FakeWal.SegmentSize / 10);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead, Mode(Archived + suffix));
        Assert.Equal(File.ReadAllBytes(In("data", _source)), await UnpackAsync(program, Archived + suffix));
    }

    [ShellTheory("zstd", "lz4")]
    [InlineData("zstd", "")]
    [InlineData("zstd", "lz4")]
    [InlineData("", "zstd")]
    [InlineData("lz4", "lz4")]
    public async Task A_segment_that_was_archived_with_another_compression_is_there(string before, string now)
    {
        await ArchiveAsync(before);
        var there = FilesOf(_archive);

        Assert.Equal((0, ""), await ArchiveAsync(now));
        Assert.Equal(there, FilesOf(_archive));
    }

    [ShellTheory("zstd", "lz4")]
    [InlineData("zstd", "zstd", ".zst")]
    [InlineData("lz4", "", ".lz4")]
    [InlineData("", "zstd", "")]
    public async Task Other_content_under_any_of_its_names_is_an_error_and_stays(string before, string now, string suffix)
    {
        await ArchiveAsync(before);
        Write(Name, FakeWal.Segment(Name, fill: 9));
        var was = File.ReadAllBytes(Archived + suffix);

        var (code, error) = await ArchiveAsync(now);

        Assert.Equal(1, code);
        Assert.Contains($"{Name}{suffix} exists with other content", error);
        Assert.Equal(was, File.ReadAllBytes(Archived + suffix));
        Assert.Equal(2, FilesOf(_archive).Length);
    }

    [ShellTheory("zstd")]
    [InlineData(".zst")]
    public async Task A_damaged_compressed_segment_is_neither_taken_for_the_same_nor_overwritten(string suffix)
    {
        await ArchiveAsync("zstd");
        // The content is whole in it; what is missing is its end.
        File.WriteAllBytes(Archived + suffix, File.ReadAllBytes(Archived + suffix)[..^4]);

        var (code, error) = await ArchiveAsync("zstd");

        Assert.Equal(1, code);
        Assert.Contains("exists and cannot be compared", error);
    }

    [ShellTheory("zstd")]
    [InlineData("")]
    public async Task A_full_disk_leaves_nothing_compressed_either(string nothing)
    {
        var noise = FakeWal.Segment(Name);
        Random.Shared.NextBytes(noise.AsSpan(40));
        Write(Name, noise);

        var (code, error) = await _script.RunWithAsync("trap '' XFSZ; ulimit -f 512", In("data"), _archive, _source, Name, "zstd");

        Assert.Equal(1, code);
        Assert.Contains($"{Name} cannot be compressed by zstd and copied", error);
        Assert.Equal(["pitrps-archive.id"], FilesOf(_archive));
        Assert.Equal((0, nothing), await ArchiveAsync("zstd"));
    }

    [ShellFact]
    public async Task A_compression_that_is_not_installed_or_unknown_is_an_error()
    {
        Directory.CreateDirectory(In("bin"));
        foreach (var program in new[] { "sh", "cat", "sed", "od", "flock", "cmp", "dd", "mv", "rm", "sync", "id" })
        {
            File.CreateSymbolicLink(In("bin", program), new[] { "/bin/", "/usr/bin/" }.Select(d => d + program).First(File.Exists));
        }

        var (code, error) = await _script.RunWithAsync($"PATH='{In("bin")}'", In("data"), _archive, _source, Name, "zstd");
        Assert.Equal(1, code);
        Assert.Contains("zstd is not installed", error);

        (code, error) = await ArchiveAsync("bzip2");
        Assert.Equal(1, code);
        Assert.Contains("is no compression", error);
        Assert.Equal(["pitrps-archive.id"], FilesOf(_archive));
    }

    private Task<(int ExitCode, string Error)> ArchiveAsync(string compression = "") =>
        _script.RunAsync(In("data"), [_archive, _source, Name, .. compression.Length > 0 ? (string[])[compression] : []]);

    private async Task<byte[]> UnpackAsync(string program, string file)
    {
        var run = await HostScript.RunAsync(Folder, "/dev/null", $"{program} -d -c < '{file.Replace("'", "'\\''")}' > unpacked || exit 9");
        Assert.Equal((0, ""), run);
        return File.ReadAllBytes(In("unpacked"));
    }

    private Task<(int ExitCode, string Error)> WithProgramsAsync(string name, string compression = "") =>
        _script.RunWithAsync($"PATH='{In("bin")}':$PATH", In("data"), [_archive, "pg_wal/" + name, name, .. compression.Length > 0 ? (string[])[compression] : []]);

    // Segments behind the first one, finished and not archived.
    private string[] Waiting(int count, uint timeline = 1)
    {
        string[] names = [.. Enumerable.Range(1, count).Select(n => PitrPS.Archive.WalSegment.Parse(Name, FakeWal.SegmentSize) with { Timeline = timeline, Number = (ulong)(3 + n) }).Select(s => s.Name)];
        Directory.CreateDirectory(In("data", "pg_wal", "archive_status"));
        foreach (var name in names)
        {
            Write(name, FakeWal.Segment(name, fill: 5));
            File.WriteAllText(In("data", "pg_wal", "archive_status", name + ".ready"), "");
        }

        return names;
    }

    private void Age(string[] names)
    {
        foreach (var name in names)
        {
            File.SetLastWriteTimeUtc(In("data", "pg_wal", name), DateTime.UtcNow.AddMinutes(-1));
        }
    }

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
