using System.Diagnostics;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Planning;

namespace PitrPS.Tests.Archive;

/// <summary>What pgBackRest says and is told. The JSON is what 2.45 printed.</summary>
public sealed class PgBackRestTests : InFolder
{
    private const ulong Cluster = 7711558189065914424;

    private const string Healthy =
        """[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"000000010000000000000002","min":"000000010000000000000001"}],"backup":[],"cipher":"none","db":[{"id":1,"repo-key":1,"system-id":7711558189065914424,"version":"15"}],"name":"main","repo":[{"cipher":"none","key":1,"status":{"code":2,"message":"no valid backups"}}],"status":{"code":2,"lock":{"backup":{"held":false}},"message":"no valid backups"}}]""";

    private const string NoStanza =
        """[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"main","repo":[{"cipher":"none","key":1,"status":{"code":1,"message":"missing stanza path"}}],"status":{"code":1,"lock":{"backup":{"held":false}},"message":"missing stanza path"}}]""";

    private const string SecondIsDown =
        """[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"000000010000000000000002","min":"000000010000000000000001"}],"backup":[],"cipher":"none","db":[{"id":1,"repo-key":1,"system-id":7711558189065914424,"version":"15"}],"name":"main","repo":[{"cipher":"none","key":1,"status":{"code":2,"message":"no valid backups"}},{"cipher":"none","key":2,"status":{"code":99,"message":"[UnknownError] remote-0 process on '127.0.0.1' terminated unexpectedly [255]: ssh: connect to host 127.0.0.1 port 1: Connection refused"}}],"status":{"code":4,"lock":{"backup":{"held":false}},"message":"different across repos"}}]""";

    private readonly FakeRemoteHost _host = new("standby");

    private PgBackRest Repository => new(MountPlanTests.ServerOn(_host) with { SystemIdentifier = Cluster }, "main");

    [Fact]
    public void A_stanza_without_a_backup_is_healthy()
    {
        var info = PgBackRestInfo.Parse(Healthy, "main");

        Assert.False(info.IsMissing);
        Assert.Null(info.Problem);
        Assert.Null(info.OtherThan(Cluster));
        Assert.Equal(Cluster, info.OtherThan(1));
        Assert.Equal("15-1", Assert.Single(info.ArchivesOf(Cluster)).Id);
        Assert.Empty(info.ArchivesOf(1));
        Assert.True(info.HasReached(Cluster, "000000010000000000000002"));
        Assert.False(info.HasReached(Cluster, "000000010000000000000003"));
        Assert.False(info.HasReached(Cluster, "000000020000000000000001"));
    }

    [Fact]
    public void After_an_upgrade_the_newest_cluster_counts()
    {
        var info = PgBackRestInfo.Parse(Healthy.Replace("\"db\":[", "\"db\":[{\"id\":0,\"repo-key\":1,\"system-id\":5,\"version\":\"13\"},", StringComparison.Ordinal), "main");

        Assert.Null(info.OtherThan(Cluster));
        Assert.Equal(Cluster, info.OtherThan(5));
    }

    [Fact]
    public void One_repository_of_two_that_cannot_be_read_is_a_problem_although_the_other_can()
    {
        var info = PgBackRestInfo.Parse(SecondIsDown, "main");

        Assert.False(info.IsMissing);
        Assert.StartsWith("repo2: [UnknownError] remote-0 process on '127.0.0.1'", info.Problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("pgbackrest --stanza=main archive-push %p", "main")]
    [InlineData("/usr/bin/pgbackrest --config=/etc/x.conf --stanza=shop-1 archive-push \"%p\"", "shop-1")]
    [InlineData("pgbackrest --stanza main archive-push %p", "main")]
    [InlineData("pgbackrest --stanza=main archive-get %f %p", null)]
    [InlineData("pgbackrest archive-push %p", null)]
    [InlineData("pgbackrest --stanza=main archive-push %p && touch /tmp/x", null)]
    [InlineData("cp %p /srv/pgbackrest/%f", null)]
    [InlineData("", null)]
    public void An_archive_command_of_pgBackRest_names_its_stanza(string command, string? stanza) =>
        Assert.Equal(stanza, PgBackRest.StanzaOfArchiveCommand(command));

    [Fact]
    public void A_restore_command_names_its_stanza_whether_it_is_the_tools_or_ours()
    {
        Assert.Equal("main", PgBackRest.StanzaOfRestoreCommand("pgbackrest --stanza=main archive-get %f \"%p\""));
        Assert.Equal("main", PgBackRest.StanzaOfRestoreCommand(ArchiveScripts.RestoreCommand(Repository)));
        Assert.Null(PgBackRest.StanzaOfRestoreCommand(ArchiveScripts.RestoreCommand(Repository.Server, "/mnt/archive")));
        Assert.Null(PgBackRest.StanzaOfRestoreCommand("cp /mnt/archive/%f %p"));

        Assert.Equal("own", PgBackRest.Of(Repository.Server with { RestoreRepository = new WalRepository(WalRepositoryKind.PgBackRest, "own") }, "")?.Stanza);
        Assert.Equal("main", PgBackRest.Of(Repository.Server, "pgbackrest --stanza=main archive-get %f %p")?.Stanza);
        Assert.Null(PgBackRest.Of(Repository.Server with { ArchiveMountPoint = "/mnt/a" }, "pgbackrest --stanza=main archive-get %f %p"));
    }

    [Theory]
    [InlineData(127, "", "PitrPS.PgBackRestMissing")]
    [InlineData(55, "", "PitrPS.RepositoryUnreachable")]
    [InlineData(0, "no json", "PitrPS.RepositoryUnreachable")]
    [InlineData(0, NoStanza, "PitrPS.StanzaNotFound")]
    [InlineData(0, "[]", "PitrPS.StanzaNotFound")]
    [InlineData(0, SecondIsDown, "PitrPS.RepositoryUnreachable")]
    public async Task What_cannot_be_relied_on_is_refused(int exitCode, string output, string id)
    {
        _host.On("info --output=json", output, exitCode, "ERROR: what it says");

        Assert.Equal(id, (await Assert.ThrowsAsync<PitrException>(() => Repository.RequireAsync(Cluster, default))).Id);
    }

    [Fact]
    public async Task A_stanza_of_another_cluster_is_refused()
    {
        _host.On("info --output=json", Healthy);

        await Repository.RequireAsync(Cluster, default);
        Assert.Equal("PitrPS.StanzaOfAnotherCluster", (await Assert.ThrowsAsync<PitrException>(() => Repository.RequireAsync(1, default))).Id);
    }

    [Fact]
    public async Task The_listing_tells_what_is_there_lost_or_there_twice()
    {
        _host.On("date -u", "clock 1795487100.5\nready 000000010000000000000006.ready\n");
        _host.On("repo-ls", """
            {".":{"type":"path"},"0000000100000000":{"type":"path"},
             "0000000100000000/000000010000000000000001-f81ea1a7441bb6c70ac2c9f4076153ad8a7e7db9.gz":{"type":"file","size":1430956,"time":1795487058},
             "0000000100000000/000000010000000000000002-93ab4d5038a87d07bdb0d11a70e8c4812a4e45cd":{"type":"file","size":16777216,"time":1795487059},
             "0000000100000000/000000010000000000000004-93ab4d5038a87d07bdb0d11a70e8c4812a4e45cd.bz2":{"type":"file","size":5,"time":1795487060},
             "0000000100000000/000000010000000000000004-0000000038a87d07bdb0d11a70e8c4812a4e45cd.bz2":{"type":"file","size":5,"time":1795487060},
             "0000000100000000/000000010000000000000005-93ab4d5038a87d07bdb0d11a70e8c4812a4e45cd.zst":{"type":"file","size":0,"time":1795487061},
             "0000000100000000/000000010000000000000001.00000028.backup":{"type":"file","size":300,"time":1795487061}}
            """);

        var listing = await Repository.ListingAsync(PgBackRestInfo.Parse(Healthy, "main"), Cluster, new SilentFeedback(), default);
        var report = ArchiveCheck.Of(new ArchiveFacts { Server = Repository.Server, Path = Repository.Source, Listing = listing, Cluster = Cluster, Timeline = 1, End = Lsn.Parse("0/7000028"), IsListedOnly = true });

        Assert.Equal([WalSegmentState.Found, WalSegmentState.Found, WalSegmentState.Missing, WalSegmentState.Duplicate, WalSegmentState.Short, WalSegmentState.Waiting], report.Segments.Select(s => s.State));
        Assert.False(report.IsHealthy);
        Assert.Equal(1430956, report.Segments[0].DiskSize);
        Assert.Null(report.DiskFree);
    }

    [Fact]
    public void What_is_no_listing_is_an_error() =>
        Assert.Equal("PitrPS.UnexpectedOutput", Assert.Throws<PitrException>(() => PgBackRestInfo.ParseFiles("[]", 1 << 24)).Id);

    [Theory]
    [InlineData("main", true)]
    [InlineData("shop_1.eu-west", true)]
    [InlineData("", false)]
    [InlineData("-x", false)]
    [InlineData("a b", false)]
    [InlineData("a'b", false)]
    [InlineData("a\n", false)]
    public void A_stanza_has_a_plain_name(string stanza, bool isOne)
    {
        var error = Record.Exception(() => PgBackRest.RequireStanza(stanza, this));

        Assert.Equal(isOne, error is null);
        Assert.True(isOne || error is PitrException { Id: "PitrPS.InvalidStanza" });
    }

    [ShellFact]
    public async Task The_listing_has_plain_names_from_the_first_that_is_needed_on()
    {
        Fake("""
            printf '%s\n' 00000002.history 0000000100000000 0000000100000000/0000000100000000000000FE-f81ea1a7441bb6c70ac2c9f4076153ad8a7e7db9.gz \
              0000000100000000/0000000100000000000000FF-93ab4d5038a87d07bdb0d11a70e8c4812a4e45cd 0000000100000000/0000000100000000000000FF.partial-93ab4d5038a87d07bdb0d11a70e8c4812a4e45cd.gz \
              0000000100000000/0000000100000000000000FF.00000028.backup 0000000200000001/000000020000000100000000-93ab4d5038a87d07bdb0d11a70e8c4812a4e45cd.zst
            """);

        var (code, output) = await RunAsync(PgBackRest.ListScript, "", "1", "archive/main/15-1", "00000000000000FF");

        Assert.Equal((0, "00000002.history\n0000000100000000000000FF\n000000020000000100000000\n"), (code, output));
    }

    [ShellFact]
    public async Task A_listing_that_fails_is_no_empty_one()
    {
        Fake("echo 'ERROR: [125]: no host' >&2; exit 125");

        Assert.Equal((125, ""), await RunAsync(PgBackRest.ListScript, "", "1", "archive/main/15-1", "0000000000000000"));
    }

    [ShellFact]
    public async Task What_is_fetched_is_told_and_what_fails_leaves_nothing()
    {
        Fake("""
            for word; do name=$to to=$word; done
            case $name in
              *1) echo "$*" > "$to" ;;
              *2) exit 1 ;;
              *) : > "$to"; echo 'ERROR: [103]: unable to find' >&2; echo 'a valid repository' >&2; exit 103 ;;
            esac
            """);
        Directory.CreateDirectory(In("to"));

        var (code, output) = await RunAsync(PgBackRest.FetchScript, "A1\nA2\nA3\n.\nA11\n", "main", "/srv/the data", In("to"), "1");

        Assert.Equal(0, code);
        Assert.Equal(["got A1", "failed A2: it is not in the repository", "failed A3: ERROR: [103]: unable to find a valid repository"], output.TrimEnd().Split('\n').Select(l => l.TrimEnd()));
        Assert.Equal([In("to", "A1")], Directory.GetFiles(In("to")));
        Assert.StartsWith("--stanza=main --pg1-path=/srv/the data --no-archive-async ", File.ReadAllText(In("to", "A1")), StringComparison.Ordinal);
    }

    private void Fake(string script)
    {
        Directory.CreateDirectory(In("bin"));
        File.WriteAllText(In("bin", "pgbackrest"), "#!/bin/sh\n" + script);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(In("bin", "pgbackrest"), (UnixFileMode)0b111_101_101);
        }
    }

    private async Task<(int Code, string Output)> RunAsync(string script, string input, params string[] parameters)
    {
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardInput = true, RedirectStandardOutput = true };
        start.Environment["PATH"] = $"{In("bin")}:{Environment.GetEnvironmentVariable("PATH")}";
        foreach (var argument in RemoteCommand.Shell(script, parameters).Arguments.Skip(1))
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, output);
    }
}
