namespace PitrPS.Tests.Archive;

/// <summary>pitrps-restore with a pgbackrest that says what the real one was seen to say.</summary>
public sealed class RestoreFromPgBackRestTests : InFolder
{
    private const string Name = "000000020000000A00000FFE";
    private const int There = 0;
    private const int Absent = 1;
    private const int Doubt = 200;

    private readonly HostScript _script;
    private readonly string _target;

    public RestoreFromPgBackRestTests()
    {
        _script = new HostScript("pitrps-restore.sh", Folder);
        Directory.CreateDirectory(In("data", "global"));
        Directory.CreateDirectory(In("data", "pg_wal"));
        Directory.CreateDirectory(In("repository"));
        File.WriteAllBytes(In("data", "global", "pg_control"), [.. BitConverter.GetBytes(FakeWal.Cluster), .. new byte[8184]]);
        File.WriteAllText(In("data", "PG_VERSION"), "15\n");
        _target = In("data", "pg_wal", "RECOVERYXLOG");
        Has(Name, FakeWal.Segment(Name, fill: 5));
        Program(Answers(Info(2)));
    }

    [ShellTheory]
    [InlineData("standby.signal")]
    [InlineData("recovery.signal")]
    public async Task A_good_segment_is_copied_and_nothing_else_is_asked(string signal)
    {
        Assert.Equal((There, ""), await RestoreAsync(signal));

        Assert.Equal(File.ReadAllBytes(In("repository", Name)), File.ReadAllBytes(_target));
        var asked = Assert.Single(File.ReadAllLines(In("asked")));
        Assert.Contains($"--pg1-path={In("data")} ", asked, StringComparison.Ordinal);
        Assert.EndsWith($" archive-get {Name} {_target}", asked, StringComparison.Ordinal);
        Assert.Equal(signal == "recovery.signal", asked.Contains("--no-archive-async", StringComparison.Ordinal));
    }

    /// <summary>The tool has its own way of reading ahead.</summary>
    [ShellFact]
    public async Task No_prefetcher_is_started()
    {
        File.WriteAllText(In("pitrps-prefetch.sh"), $"echo started > '{In("prefetched")}'\n");
        File.WriteAllBytes(In("data", "pg_wal", "000000020000000A00000FFD"), FakeWal.Segment("000000020000000A00000FFD"));

        Assert.Equal((There, ""), await RestoreAsync("standby.signal"));

        // What is started in the background is waited for by nobody; a second call takes longer than its start.
        Assert.Equal((There, ""), await RestoreAsync("standby.signal"));
        Assert.False(File.Exists(In("prefetched")));
    }

    [ShellTheory]
    [InlineData("standby.signal")]
    [InlineData("recovery.signal")]
    public async Task What_a_healthy_repository_does_not_have_is_absent(string signal)
    {
        Assert.Equal((Absent, ""), await RestoreAsync(signal, "000000020000000A00000FFF"));
        Assert.Equal((Absent, ""), await RestoreAsync(signal, "00000003.history"));
        Assert.False(File.Exists(_target));
    }

    [ShellTheory]
    [InlineData("another cluster")]
    [InlineData("a stanza that was never made")]
    [InlineData("a second repository out of reach, by its warning")]
    [InlineData("a second repository out of reach, by the state of the stanza")]
    [InlineData("no stanza of that name")]
    [InlineData("info that fails")]
    [InlineData("info that says nothing")]
    [InlineData("no repository at all")]
    [InlineData("no program")]
    public async Task Not_found_is_no_proof_where_the_repository_is_not_whole(string what)
    {
        var down = "{\"key\":2,\"status\":{\"code\":99,\"message\":\"[UnknownError] remote-0 process terminated\"}}";
        switch (what)
        {
            case "another cluster":
                Program(Answers(Info(0, cluster: FakeWal.Cluster / 10)));
                break;
            case "a stanza that was never made":
                Program(Answers(Info(1)));
                break;
            case "a second repository out of reach, by its warning":
                Program("case $* in *archive-get*) echo \"WARN: repo2: [UnknownError] remote-0 process terminated\" >&2; exit 1 ;; esac\n" + Answers(Info(0)));
                break;
            case "a second repository out of reach, by the state of the stanza":
                Program(Answers(Info(0).Replace("],\"status\":{\"code\":0", $",{down}],\"status\":{{\"code\":4", StringComparison.Ordinal)));
                break;
            case "no stanza of that name":
                Program(Answers("[]"));
                break;
            case "info that fails":
                Program("case $* in *info*) exit 55 ;; esac\n" + Answers(""));
                break;
            case "info that says nothing":
                Program(Answers(""));
                break;
            case "no repository at all":
                Program("echo 'ERROR: [103]: unable to find a valid repository' >&2; exit 103");
                break;
            case "no program":
                Program("exit 127");
                break;
        }

        var (code, error) = await RestoreAsync("recovery.signal", "000000020000000A00000FFF");
        Assert.Equal(Doubt, code);
        Assert.StartsWith("pitrps-restore: 000000020000000A00000FFF: ", error, StringComparison.Ordinal);
        Assert.Equal(Absent, (await RestoreAsync("standby.signal", "000000020000000A00000FFF")).ExitCode);
    }

    [ShellTheory]
    [InlineData("zeros", "is not WAL of this version")]
    [InlineData("short", "a segment has 1048576")]
    [InlineData("another cluster", "it is of the cluster")]
    [InlineData("another address", "its name says")]
    [InlineData("a later timeline", "is of timeline 3")]
    public async Task A_segment_is_checked_as_one_from_a_directory(string what, string why)
    {
        Has(Name, what switch
        {
            "zeros" => new byte[FakeWal.SegmentSize],
            "short" => FakeWal.Segment(Name)[..(FakeWal.SegmentSize / 2)],
            "another cluster" => FakeWal.Segment(Name, cluster: 7),
            "another address" => FakeWal.Segment(Name, address: 0x1000),
            _ => FakeWal.Segment(Name, timeline: 3),
        });

        var (code, error) = await RestoreAsync("recovery.signal");
        Assert.Equal(Doubt, code);
        Assert.Contains(why, error, StringComparison.Ordinal);
        Assert.False(File.Exists(_target));
        Assert.Equal(Absent, (await RestoreAsync("standby.signal")).ExitCode);
    }

    private static string Info(int code, ulong cluster = FakeWal.Cluster) =>
        "[{\"archive\":[],\"backup\":[],\"cipher\":\"none\",\"db\":[{\"id\":1,\"repo-key\":1,\"system-id\":" + cluster + ",\"version\":\"15\"}],\"name\":\"main\",\"repo\":[{\"cipher\":\"none\",\"key\":1,\"status\":{\"code\":" + code
        + ",\"message\":\"x\"}}],\"status\":{\"code\":" + code + ",\"lock\":{\"backup\":{\"held\":false}},\"message\":\"x\"}}]";

    private string Answers(string info) =>
        $$"""
        echo "$*" >> '{{In("asked")}}'
        case $* in *' info '*) echo '{{info}}'; exit 0 ;; esac
        for word; do name=$to to=$word; done
        [ -f '{{In("repository")}}'/"$name" ] || exit 1
        cat '{{In("repository")}}'/"$name" > "$to"
        """;

    private void Has(string name, byte[] content) => File.WriteAllBytes(In("repository", name), content);

    private void Program(string script)
    {
        Directory.CreateDirectory(In("bin"));
        File.WriteAllText(In("bin", "pgbackrest"), "#!/bin/sh\nto=\n" + script + "\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(In("bin", "pgbackrest"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private Task<(int ExitCode, string Error)> RestoreAsync(string signal, string name = Name)
    {
        File.Delete(In("data", "standby.signal"));
        File.Delete(In("data", "recovery.signal"));
        File.WriteAllText(In("data", signal), "");
        return _script.RunWithAsync($"PATH='{In("bin")}':$PATH", In("data"), "pgbackrest:main", name, "pg_wal/RECOVERYXLOG");
    }
}
