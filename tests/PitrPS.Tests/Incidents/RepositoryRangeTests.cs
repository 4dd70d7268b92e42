using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Servers;
using PitrPS.Tests.Archive;

namespace PitrPS.Tests.Incidents;

/// <summary>WAL that only pgBackRest has, with a real shell and a pgbackrest that reads a folder.</summary>
public sealed class RepositoryRangeTests : InFolder
{
    private const int Size = 1 << 20;
    private const ulong Cluster = FakeWal.Cluster;
    private readonly PgServer _server;
    private readonly NoFeedback _feedback = new();

    public RepositoryRangeTests()
    {
        foreach (var folder in (string[])["data/pg_wal", "repository", "bin"])
        {
            Directory.CreateDirectory(In(folder));
        }

        File.WriteAllText(In("bin", "pgbackrest"),
            $$$"""
            #!/bin/sh
            repository='{{{In("repository")}}}'
            [ ! -e "$repository/down" ] || { echo 'ERROR: [103]: unable to find a valid repository' >&2; exit 103; }
            case " $* " in
              *' info '*) echo '[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":null,"min":null}],"db":[{"id":1,"repo-key":1,"system-id":{{{Cluster}}},"version":"15"}],"name":"main","repo":[{"key":1,"status":{"code":0,"message":"ok"}}]}]' ;;
              *' repo-ls archive/main/15-1 '*) cd "$repository" && for f in *; do case $f in *.history) echo "$f" ;; *) echo "0000000100000000/$f-0123456789abcdef0123456789abcdef01234567.gz" ;; esac; done ;;
              *' archive-get '*)
                for word; do name=$to to=$word; done
                echo "$name" >> '{{{In("got")}}}'
                [ -s "$repository/$name" ] || { echo "ERROR: [44]: $name is broken" >&2; exit 44; }
                cp "$repository/$name" "$to" ;;
            esac
            """);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(In("bin", "pgbackrest"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        var host = new PgHost("standby", "192.0.2.1", 22, "dba", new HostFacts(new DebianPlatform(), "Debian", "x"), new HostWithPrograms(In("bin"), Directory.CreateDirectory(In("scratch")).FullName));
        _server = TestServer.Of(15, new TestPlace(host, In("data"), In("bin"))) with { SystemIdentifier = Cluster, RestoreRepository = new WalRepository(WalRepositoryKind.PgBackRest, "main") };
    }

    [ShellFact]
    public async Task What_pg_wal_lacks_is_got_and_gone_afterwards()
    {
        Write("data/pg_wal", 3);
        Write("repository", 1, 2, 3);
        File.WriteAllBytes(In("repository", new WalSegment(2, 4, Size).Name), FakeWal.Segment(new WalSegment(2, 4, Size).Name));
        File.WriteAllText(In("repository", "00000002.history"), "1\t0/300200\treason\n");

        string folder;
        await using (var range = await RangeAsync(At(2)))
        {
            Assert.Equal([WalPlace.Archive, WalPlace.Archive, WalPlace.Archive], range.Pieces.Select(p => p.Place));
            Assert.Equal([2ul, 3, 4], range.Pieces.Select(p => p.Segment.Number));
            Assert.All(range.Pieces, p => Assert.Equal(Size, new FileInfo(p.Path).Length));
            Assert.Equal(2u, range.History.Timeline);
            Assert.Null(range.ArchiveProblem);
            Assert.Equal("the stanza 'main'", range.ArchiveName);
            folder = range.ArchiveDirectory!;
            Assert.Equal(Folder, Path.GetDirectoryName(folder));
            if (!OperatingSystem.IsWindows())
            {
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(folder));
            }
        }

        Assert.False(Directory.Exists(folder));
        // The first segment is older than the range.
        Assert.DoesNotContain(new WalSegment(1, 1, Size).Name, File.ReadAllLines(In("got")));
    }

    [ShellFact]
    public async Task Nothing_is_asked_for_where_pg_wal_has_it_all()
    {
        Write("data/pg_wal", 2, 3);
        Write("repository", 2, 3);

        await using var range = await RangeAsync(At(2), received: At(3) + 100);

        Assert.Equal([WalPlace.PgWal, WalPlace.PgWal], range.Pieces.Select(p => p.Place));
        Assert.False(File.Exists(In("got")));
    }

    [ShellFact]
    public async Task A_segment_that_cannot_be_had_is_missing_and_the_tools_words_are_kept()
    {
        Write("repository", 2, 4);
        File.WriteAllText(In("repository", new WalSegment(1, 3, Size).Name), "");

        await using var range = await RangeAsync(At(2));

        Assert.Equal([3ul], range.Missing.Select(s => s.Number));
        Assert.Contains("is broken", range.ArchiveProblem, StringComparison.Ordinal);
        Assert.Contains(_feedback.Warnings, w => w.Contains("is broken", StringComparison.Ordinal));
    }

    [ShellFact]
    public async Task Nothing_is_got_that_comes_long_after_what_is_needed()
    {
        Write("repository", 2, 3, 4, 5, 6, 7);

        await using var range = await WalRange.ReadAsync(_server, WalRangeTests.Position(At(2)), At(3) + 100, null, _feedback, CancellationToken.None);

        Assert.Equal([2ul, 3, 4, 5], range.Pieces.Select(p => p.Segment.Number));
        Assert.True(range.IsCompleteTo(At(3) + 200));
        Assert.Equal(4, File.ReadAllLines(In("got")).Length);
        Assert.Empty(_feedback.Warnings);
    }

    [ShellFact]
    public async Task A_repository_out_of_reach_leaves_pg_wal()
    {
        Write("data/pg_wal", 2);
        File.WriteAllText(In("repository", "down"), "");

        await using var range = await RangeAsync(At(2));

        Assert.Equal([WalPlace.PgWal], range.Pieces.Select(p => p.Place));
        Assert.Contains("unable to find a valid repository", range.ArchiveProblem, StringComparison.Ordinal);
        Assert.Empty(Directory.GetDirectories(Folder, ".pitrps-wal.*"));
    }

    [ShellFact]
    public async Task A_standby_that_others_set_up_names_its_stanza_in_its_restore_command()
    {
        Write("repository", 2);

        await using var range = await WalRange.ReadAsync(_server with { RestoreRepository = null }, WalRangeTests.Position(At(2)) with { RestoreCommand = "pgbackrest --stanza=main archive-get %f \"%p\"" }, _feedback, CancellationToken.None);

        Assert.Equal([2ul], range.Pieces.Select(p => p.Segment.Number));
    }

    private static Lsn At(int segment) => WalRangeTests.At(segment);

    private Task<WalRange> RangeAsync(Lsn redo, Lsn? received = null) =>
        WalRange.ReadAsync(_server, WalRangeTests.Position(redo, received, received is null ? null : 1u), _feedback, CancellationToken.None);

    private void Write(string folder, params int[] numbers)
    {
        foreach (var number in numbers)
        {
            var name = new WalSegment(1, (ulong)number, Size).Name;
            File.WriteAllBytes(Path.Combine(Folder, folder, name), FakeWal.Segment(name, fill: (byte)number));
        }
    }

    /// <summary>Runs commands here, with a folder of programs that goes before all others.</summary>
    private sealed class HostWithPrograms(string programs, string scratch) : IRemoteHost
    {
        private readonly ShellHost _shell = new(scratch);

        public Task<CommandResult> RunAsync(RemoteCommand command, CancellationToken cancel) => _shell.RunAsync(With(command), cancel);

        public Task<IRemoteProcess> StartAsync(RemoteCommand command, CancellationToken cancel) => _shell.StartAsync(With(command), cancel);

        public Task<byte[]?> ReadFileAsync(string path, CancellationToken cancel) => _shell.ReadFileAsync(path, cancel);

        public Task WriteFileAsync(RemoteFile file, CancellationToken cancel) => _shell.WriteFileAsync(file, cancel);

        public Task<IForwardedPort> ForwardAsync(int remotePort, CancellationToken cancel) => _shell.ForwardAsync(remotePort, cancel);

        public ValueTask DisposeAsync() => _shell.DisposeAsync();

        private RemoteCommand With(RemoteCommand command) =>
            command with { Environment = new Dictionary<string, string>(command.Environment) { ["PATH"] = $"{programs}:{Environment.GetEnvironmentVariable("PATH")}" } };
    }
}
