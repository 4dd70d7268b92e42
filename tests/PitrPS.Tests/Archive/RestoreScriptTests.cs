namespace PitrPS.Tests.Archive;

/// <summary>pitrps-restore with a real shell: what it ends with decides whether PostgreSQL waits, opens or stops.</summary>
public sealed class RestoreScriptTests : InFolder
{
    private const string Name = "000000020000000A00000FFE";
    private const int There = 0;
    private const int Absent = 1;
    private const int Doubt = 200;

    private readonly HostScript _script;
    private readonly string _archive;
    private readonly string _target;

    public RestoreScriptTests()
    {
        _script = new HostScript("pitrps-restore.sh", Folder);
        _archive = Directory.CreateDirectory(In("the archive's mount")).FullName;
        File.WriteAllText(Path.Combine(_archive, "pitrps-archive.id"), FakeWal.Marker());
        Directory.CreateDirectory(In("data", "global"));
        Directory.CreateDirectory(In("data", "pg_wal"));
        File.WriteAllBytes(In("data", "global", "pg_control"), [.. BitConverter.GetBytes(FakeWal.Cluster), .. new byte[8184]]);
        File.WriteAllText(In("data", "PG_VERSION"), "15\n");
        _target = In("data", "pg_wal", "RECOVERYXLOG");
        Archive(Name, FakeWal.Segment(Name, fill: 5));
    }

    public enum Signal
    {
        Standby,
        Recovery,
        None,
        Both,
    }

    [ShellTheory]
    [InlineData(Signal.Standby)]
    [InlineData(Signal.Recovery)]
    [InlineData(Signal.None)]
    public async Task A_good_segment_is_copied(Signal signal)
    {
        Assert.Equal((There, ""), await RestoreAsync(signal));
        Assert.Equal(File.ReadAllBytes(Path.Combine(_archive, Name)), File.ReadAllBytes(_target));
    }

    [ShellTheory]
    [InlineData(Signal.Standby)]
    [InlineData(Signal.Recovery)]
    [InlineData(Signal.None)]
    public async Task A_file_that_a_healthy_archive_does_not_have_is_absent(Signal signal)
    {
        Assert.Equal((Absent, ""), await RestoreAsync(signal, "000000020000000A00000FFF"));
        Assert.Equal((Absent, ""), await RestoreAsync(signal, "00000003.history"));
        Assert.False(File.Exists(_target));
    }

    /// <summary>A promotion whose primary is gone: the server asks for the history of the timeline that it comes from, and would end if it got no answer.</summary>
    [ShellTheory]
    [InlineData("00000001.history", false, Absent)]
    [InlineData("00000002.history", true, Absent)]
    [InlineData("00000002.history", false, Doubt)]
    public async Task A_server_that_opens_reads_its_own_history_when_the_archive_is_gone(string name, bool hasItsOwn, int expected)
    {
        Directory.Delete(_archive, recursive: true);
        if (hasItsOwn)
        {
            Directory.CreateDirectory(In("data", "pg_wal"));
            File.WriteAllText(In("data", "pg_wal", name), "1\t0/5000148\tx\n");
        }

        Assert.Equal(expected, (await RestoreAsync(Signal.None, name)).ExitCode);
    }

    [ShellTheory]
    [InlineData(Signal.Standby, Absent)]
    [InlineData(Signal.Both, Absent)] // PostgreSQL is a standby then
    [InlineData(Signal.Recovery, Doubt)]
    [InlineData(Signal.None, Doubt)]
    public async Task A_mount_that_is_missing_is_in_doubt_even_for_an_absent_file(Signal signal, int expected)
    {
        File.Delete(Path.Combine(_archive, "pitrps-archive.id"));

        await ExpectAsync(signal, expected, "is it mounted?", "00000003.history");
        Directory.Delete(_archive, recursive: true);
        await ExpectAsync(signal, expected, "is it mounted?");
    }

    [ShellTheory]
    [InlineData(Signal.Standby, Absent)]
    [InlineData(Signal.Recovery, Doubt)]
    public async Task A_mount_that_goes_away_between_the_questions_is_in_doubt(Signal signal, int expected)
    {
        // The file is asked for when the mount has just become an empty directory, as sshfs without reconnect does.
        Program("stat", $"rm -f -- '{Quoted(_archive)}'/*; exec /usr/bin/stat \"$@\"");

        var (code, error) = await RestoreWithAsync($"PATH='{In("bin")}':$PATH", signal, Name);

        Assert.Equal(expected, code);
        Assert.Contains("is it mounted?", error);
    }

    [ShellTheory]
    [InlineData(Signal.Standby, Absent)]
    [InlineData(Signal.Recovery, Doubt)]
    public async Task An_error_of_the_mount_is_in_doubt(Signal signal, int expected)
    {
        Program("stat", "echo \"stat: cannot statx '$5': Input/output error\" >&2; exit 1");

        var (code, error) = await RestoreWithAsync($"PATH='{In("bin")}':$PATH", signal, Name);

        Assert.Equal(expected, code);
        Assert.Contains("Input/output error", error);
    }

    [ShellTheory]
    [InlineData("cat", Signal.Standby, Absent)]
    [InlineData("cat", Signal.Recovery, Doubt)]
    [InlineData("stat", Signal.Recovery, Doubt)]
    [InlineData("cp", Signal.Standby, Absent)]
    [InlineData("cp", Signal.Recovery, Doubt)]
    public async Task A_read_that_outlives_its_time_is_in_doubt(string program, Signal signal, int expected)
    {
        // What `timeout` does when the time is up, without the wait.
        Program("timeout", "shift 3; [ \"$1\" != " + program + " ] || exit 124; exec \"$@\"");

        var (code, _) = await RestoreWithAsync($"PATH='{In("bin")}':$PATH", signal, Name);

        Assert.Equal(expected, code);
        Assert.False(File.Exists(_target));
    }

    [ShellFact]
    public async Task To_unpack_what_does_not_come_has_an_end_too()
    {
        File.Delete(Path.Combine(_archive, Name));
        ArchivePacked(".zst", FakeWal.Segment(Name));
        Program("zstd", "exec sleep 60");
        Program("timeout", "shift 3; [ \"$1\" != zstd ] || exit 124; exec \"$@\"");

        var (code, error) = await RestoreWithAsync($"PATH='{In("bin")}':$PATH", Signal.Recovery, Name);

        Assert.Equal(Doubt, code);
        Assert.Contains("cannot be unpacked", error);
    }

    public static TheoryData<string, byte[]> BadSegments => new()
    {
        { "its first page is not WAL of this version", new byte[FakeWal.SegmentSize] },
        { "its first page is not WAL of this version", FakeWal.Segment(Name, magic: 0xD113) },
        { "it is of the cluster 42", FakeWal.Segment(Name, cluster: 42) },
        { "its first page is the one at 0000000000300000", FakeWal.Segment(Name, address: 0x300000) },
        { "its first page is of timeline 3", FakeWal.Segment(Name, timeline: 3) },
        { "its first page is of timeline 0", FakeWal.Segment(Name, timeline: 0) },
        { "it has 8192 bytes", FakeWal.Segment(Name, size: 8192) },
        { "it has 0 bytes", [] },
        { "it has 1048577 bytes", FakeWal.Segment(Name, size: FakeWal.SegmentSize + 1) },
    };

    [ShellTheory]
    [MemberData(nameof(BadSegments), DisableDiscoveryEnumeration = true)] // serializing whole segments for the discovery takes minutes
    public async Task A_segment_that_is_not_what_its_name_says_is_in_doubt(string why, byte[] content)
    {
        Archive(Name, content);

        await ExpectAsync(Signal.Recovery, Doubt, why);
        await ExpectAsync(Signal.Standby, Absent, why);
        Assert.False(File.Exists(_target));
    }

    [ShellFact]
    public async Task The_first_segment_of_a_timeline_may_begin_as_a_copy_of_its_ancestors()
    {
        Archive(Name, FakeWal.Segment(Name, timeline: 1));

        Assert.Equal((There, ""), await RestoreAsync(Signal.Recovery));
    }

    [ShellFact]
    public async Task An_archive_of_another_cluster_is_in_doubt()
    {
        File.WriteAllText(Path.Combine(_archive, "pitrps-archive.id"), FakeWal.Marker(cluster: 42));

        await ExpectAsync(Signal.Recovery, Doubt, "is the archive of the cluster 42", "00000003.history");
        await ExpectAsync(Signal.Standby, Absent, "is the archive of the cluster 42", "00000003.history");
    }

    [ShellFact]
    public async Task A_damaged_marker_is_in_doubt()
    {
        File.WriteAllText(Path.Combine(_archive, "pitrps-archive.id"), "");

        await ExpectAsync(Signal.Recovery, Doubt, "is damaged", "00000003.history");
    }

    [ShellFact]
    public async Task A_full_disk_of_the_server_is_in_doubt_and_leaves_nothing()
    {
        var (code, _) = await RestoreWithAsync("trap '' XFSZ; ulimit -f 512", Signal.Recovery, Name);

        Assert.Equal(Doubt, code);
        Assert.False(File.Exists(_target));
    }

    [ShellFact]
    public async Task A_disk_of_the_server_without_any_room_is_not_taken_for_an_archive_out_of_reach()
    {
        var (code, error) = await RestoreWithAsync("trap '' XFSZ; ulimit -f 0", Signal.Recovery, Name);

        Assert.Equal(Doubt, code);
        Assert.Contains("nothing can be written to pg_wal/RECOVERYXLOG: is the disk full?", error);
    }

    [ShellFact]
    public async Task A_history_file_is_copied_and_an_empty_one_is_in_doubt()
    {
        Archive("00000002.history", "1\t0/5000148\tx\n"u8.ToArray());
        Archive("00000003.history", []);

        Assert.Equal((There, ""), await RestoreAsync(Signal.Recovery, "00000002.history"));
        await ExpectAsync(Signal.Recovery, Doubt, "it is empty", "00000003.history");
    }

    [ShellTheory]
    [InlineData("../../etc/passwd")]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("0000000200000000000000")]
    public async Task A_name_that_no_server_asks_for_is_in_doubt(string name)
    {
        Archive("0000000200000000000000", new byte[10]);

        await ExpectAsync(Signal.Recovery, Doubt, "not the name of a WAL file", name);
    }

    [ShellFact]
    public async Task The_data_directory_may_be_another_than_the_current_one()
    {
        File.WriteAllText(In("data", "standby.signal"), "");
        File.Delete(Path.Combine(_archive, "pitrps-archive.id"));

        Assert.Equal(Absent, (await _script.RunAsync(Folder, _archive, Name, _target, In("data"))).ExitCode);
        Assert.Equal(Doubt, (await _script.RunAsync(Folder, _archive, Name, _target)).ExitCode);
    }

    /// <summary>The unpacker is a stand-in that knows base64: what is proven is who is called for which file, and what becomes of his answer.</summary>
    [ShellTheory]
    [InlineData("zstd", ".zst")]
    [InlineData("lz4", ".lz4")]
    public async Task A_compressed_segment_is_unpacked_and_checked_like_any_other(string program, string suffix)
    {
        Program(program, "shift $(($# - 1)); exec base64 -d -- \"$1\"");
        File.Delete(Path.Combine(_archive, Name));
        ArchivePacked(suffix, FakeWal.Segment(Name, fill: 7));
        Assert.Equal((There, ""), await RestoreWithAsync($"PATH='{In("bin")}':$PATH", Signal.Recovery, Name));
        Assert.Equal(FakeWal.Segment(Name, fill: 7), File.ReadAllBytes(_target));

        ArchivePacked(suffix, FakeWal.Segment(Name, cluster: 42));
        var (code, error) = await RestoreWithAsync($"PATH='{In("bin")}':$PATH", Signal.Recovery, Name);
        Assert.Equal(Doubt, code);
        Assert.Contains("it is of the cluster 42", error);
    }

    [ShellTheory]
    [InlineData("zstd", ".zst", "cannot be unpacked")]
    [InlineData("lz4", ".lz4", "cannot be unpacked")]
    public async Task A_compressed_segment_that_is_damaged_is_in_doubt(string program, string suffix, string why)
    {
        Program(program, "exit 1");
        File.Delete(Path.Combine(_archive, Name));
        ArchivePacked(suffix, FakeWal.Segment(Name));

        foreach (var (signal, expected) in new[] { (Signal.Recovery, Doubt), (Signal.Standby, Absent) })
        {
            var (code, error) = await RestoreWithAsync($"PATH='{In("bin")}':$PATH", signal, Name);
            Assert.Equal(expected, code);
            Assert.Contains(why, error);
            Assert.False(File.Exists(_target));
        }
    }

    [ShellFact]
    public async Task A_segment_that_lies_there_twice_is_taken_as_it_was_written()
    {
        Program("zstd", "exit 1");
        ArchivePacked(".zst", FakeWal.Segment(Name));

        Assert.Equal((There, ""), await RestoreWithAsync($"PATH='{In("bin")}':$PATH", Signal.Recovery, Name));
    }

    [ShellFact]
    public async Task A_history_file_is_never_taken_for_compressed()
    {
        Archive("00000002.history.zst", "1"u8.ToArray());

        Assert.Equal((Absent, ""), await RestoreAsync(Signal.Recovery, "00000002.history"));
    }

    /// <summary>Who reads a mount that hangs may be impossible to kill, and holds open whatever he was given to write to.</summary>
    [ShellTheory]
    [InlineData("cat")]
    [InlineData("stat")]
    [InlineData("cp")]
    public async Task Nobody_waits_for_a_reader_that_lives_on_when_its_time_is_up(string program)
    {
        Program("timeout", $"shift 3; [ \"$1\" != {program} ] || {{ sleep 90 & echo $! >> '{Quoted(In("left"))}'; exit 137; }}; exec \"$@\"");
        var watch = System.Diagnostics.Stopwatch.StartNew();
        try
        {
            // The server's log is a pipe as well, for which nobody waits; here the test would.
            var (code, _) = await RestoreWithAsync($"exec 2>/dev/null; PATH='{In("bin")}':$PATH", Signal.Recovery, Name);

            Assert.Equal(Doubt, code);
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60), $"It took {watch.Elapsed}.");
        }
        finally
        {
            foreach (var pid in File.ReadAllLines(In("left")))
            {
                System.Diagnostics.Process.GetProcessById(int.Parse(pid, System.Globalization.CultureInfo.InvariantCulture)).Kill();
            }
        }
    }

    private const string Next = "000000020000000A00000FFF";
    private const string AfterNext = "000000020000000B00000000";

    [ShellTheory]
    [InlineData(Name, Next)]
    [InlineData(Next, AfterNext)] // 4,096 segments of 1 MiB are one "log file" in the name
    public async Task A_standby_is_told_to_read_from_pg_wal_what_is_whole_there(string name, string next)
    {
        Local(name, FakeWal.Segment(name));
        Local(next, FakeWal.Segment(next));
        Archive(name, FakeWal.Segment(name, fill: 5));

        Assert.Equal((Absent, ""), await RestoreAsync(Signal.Standby, name));
        Assert.False(File.Exists(_target));
    }

    [ShellTheory]
    [InlineData(Signal.Recovery)]
    [InlineData(Signal.None)]
    public async Task A_recovery_gets_what_it_asks_for(Signal signal)
    {
        Local(Name, FakeWal.Segment(Name));
        Local(Next, FakeWal.Segment(Next));

        Assert.Equal((There, ""), await RestoreAsync(signal));
    }

    [ShellFact]
    public async Task What_a_standby_could_not_read_from_pg_wal_comes_from_the_archive()
    {
        Local(Name, FakeWal.Segment(Name));
        Local(Next, FakeWal.Segment(Next));

        Assert.Equal((Absent, ""), await RestoreAsync(Signal.Standby));
        Assert.Equal((There, ""), await RestoreAsync(Signal.Standby));
    }

    public static TheoryData<string, byte[], byte[]> NotWhole => new()
    {
        { "there is no next one, so the receiver may still be at it", FakeWal.Segment(Name), [] },
        { "the next one waits to be written over", FakeWal.Segment(Name), FakeWal.Segment(Next, address: 0x300000) },
        { "it waits to be written over", FakeWal.Segment(Name, address: 0x300000), FakeWal.Segment(Next) },
        { "it is of another cluster", FakeWal.Segment(Name, cluster: 42), FakeWal.Segment(Next) },
        { "it is zeros", new byte[FakeWal.SegmentSize], FakeWal.Segment(Next) },
        { "it is cut off", FakeWal.Segment(Name, size: 8192), FakeWal.Segment(Next) },
    };

    [ShellTheory]
    [MemberData(nameof(NotWhole), DisableDiscoveryEnumeration = true)]
    public async Task What_is_not_whole_in_pg_wal_comes_from_the_archive(string why, byte[] own, byte[] next)
    {
        Local(Name, own);
        Local(Next, next);

        Assert.True((There, "") == await RestoreAsync(Signal.Standby), why);
    }

    private void Local(string name, byte[] content) => File.WriteAllBytes(In("data", "pg_wal", name), content);

    private async Task ExpectAsync(Signal signal, int expected, string said, string name = Name)
    {
        var (code, error) = await RestoreAsync(signal, name);
        Assert.Equal(expected, code);
        Assert.Contains(said, error);
    }

    private Task<(int ExitCode, string Error)> RestoreAsync(Signal signal, string name = Name) => RestoreWithAsync("", signal, name);

    private Task<(int ExitCode, string Error)> RestoreWithAsync(string prelude, Signal signal, string name)
    {
        File.Delete(In("data", "standby.signal"));
        File.Delete(In("data", "recovery.signal"));
        if (signal is Signal.Standby or Signal.Both)
        {
            File.WriteAllText(In("data", "standby.signal"), "");
        }

        if (signal is Signal.Recovery or Signal.Both)
        {
            File.WriteAllText(In("data", "recovery.signal"), "");
        }

        return _script.RunWithAsync(prelude, In("data"), _archive, name, "pg_wal/RECOVERYXLOG");
    }

    private void Archive(string name, byte[] content) => File.WriteAllBytes(Path.Combine(_archive, name), content);

    private void ArchivePacked(string suffix, byte[] content) => File.WriteAllText(Path.Combine(_archive, Name + suffix), Convert.ToBase64String(content));

    private static string Quoted(string path) => path.Replace("'", "'\\''");

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
