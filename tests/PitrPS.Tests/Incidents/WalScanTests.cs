using System.Diagnostics;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Servers;
using PitrPS.Tests.Archive;

namespace PitrPS.Tests.Incidents;

/// <summary>The scripts that run on a host, with a real shell and a pg_waldump that says what a test wants.</summary>
public sealed class WalScanTests : InFolder
{
    private const int Size = 1 << 20;
    private readonly PgServer _server;
    private readonly NoFeedback _feedback = new();

    public WalScanTests()
    {
        Directory.CreateDirectory(In("data", "pg_wal"));
        Directory.CreateDirectory(In("archive"));
        Directory.CreateDirectory(In("bin"));
        Directory.CreateDirectory(In("tmp"));
        var host = new PgHost("standby", "192.0.2.1", 22, "dba", new HostFacts(new DebianPlatform(), "Debian", "x"), new ShellHost(In("tmp")));
        _server = TestServer.Of(15, new TestPlace(host, In("data"), In("bin"))) with { ArchiveMountPoint = In("archive") };
    }

    [ShellFact]
    public async Task Links_segments_of_both_places_and_all_timelines_under_the_newest_timeline()
    {
        WriteSegments("data/pg_wal", (1, 2), (2, 3));
        WriteSegments("archive", (1, 1), (2, 4));
        File.WriteAllText(In("data", "pg_wal", "00000002.history"), "1\t0/300200\treason\n");
        // pg_waldump as the script sees it: where the links lead, and the options.
        PgWaldump("""echo "$@" >&2; for l in "$2"/*; do echo "rmgr: Transaction x, tx: 1, lsn: 0/00100028, prev 0/0, desc: COMMIT $(basename "$l") $(readlink "$l"); rels:"; done; exit 0""");

        var (lines, end) = await ReadAsync(await RangeAsync(At(1), received: null));

        Assert.Equal(
            [("000000020000000000000001", "archive/000000010000000000000001"), ("000000020000000000000002", "data/pg_wal/000000010000000000000002"),
             ("000000020000000000000003", "data/pg_wal/000000020000000000000003"), ("000000020000000000000004", "archive/000000020000000000000004")],
            lines.Select(l => l.Split("COMMIT ")[1].Replace(Folder + "/", "", StringComparison.Ordinal).Replace("; rels:", "", StringComparison.Ordinal).Split(' ')).Select(w => (w[0], w[1])));
        Assert.Equal((At(5), (string?)null), (end.Reached, end.Problem));
    }

    [ShellFact]
    public async Task Hands_on_only_what_matches_and_cuts_the_invalidation_messages()
    {
        WriteSegments("data/pg_wal", (1, 1));
        File.WriteAllLines(In("lines"), Samples.Lines("wal-15.txt"));
        PgWaldump($"""cat "{In("lines")}" """);

        var (lines, _) = await ReadAsync(await RangeAsync(At(1), received: At(2)));

        var all = Samples.Lines("wal-15.txt").ToList();
        Assert.Equal(
            all.Where(l => l.Contains("desc: LOCK", StringComparison.Ordinal) || (l.Contains("desc: COMMIT", StringComparison.Ordinal)
                && (l.Contains("; rels:", StringComparison.Ordinal) || l.Contains("; dropped stats:", StringComparison.Ordinal) || l.Contains("; inval msgs:", StringComparison.Ordinal))))
                .Select(l => l.Split("; inval msgs:")[0].TrimEnd()),
            lines.Select(l => l.TrimEnd()));
    }

    [ShellFact]
    public async Task Goes_over_the_WAL_once_for_each_manager_on_13_which_honours_only_the_last()
    {
        WriteSegments("data/pg_wal", (1, 1));
        PgWaldump($"""echo "$@" | sed 's/.* -s/-s/' >>"{In("calls")}" """);

        await new WalScan(await RangeAsync(At(1), received: At(1) + 100), _feedback).ReadAsync(At(1), At(2), WalFilter.Of(13, ["Transaction", "Standby"], "1"), _ => { }, CancellationToken.None);

        Assert.Equal(["-s 0/100000 -e 0/100064 -r Transaction", "-s 0/100000 -e 0/100064 -r Standby"], File.ReadAllLines(In("calls")));
        Assert.Single(WalFilter.Of(15, ["Transaction", "Standby"], "1").Passes, "-r Transaction -r Standby");
    }

    [ShellFact]
    public async Task Says_where_it_broke_off()
    {
        WriteSegments("data/pg_wal", (1, 1), (1, 2));
        PgWaldump("""echo 'pg_waldump: error: error in WAL record at 0/1A0000: invalid record length at 0/1A0078: wanted 24, got 0' >&2; exit 1""");

        var range = await RangeAsync(At(1), received: null);
        var (_, end) = await ReadAsync(range);

        Assert.Equal(new Lsn(0x1A0000), end.Reached);
        Assert.Contains("invalid record length", end.Problem, StringComparison.Ordinal);
        Assert.Equal(new Lsn(0x1A0000), (await new WalScan(range, _feedback).FirstBreakAsync(At(2), CancellationToken.None))!.Reached);
    }

    [ShellFact]
    public async Task Says_so_where_a_segment_is_gone_since_it_was_listed()
    {
        WriteSegments("data/pg_wal", (1, 1), (1, 2), (1, 3));
        PgWaldump("""echo 'pg_waldump: error: could not find file "000000010000000000000002": No such file or directory' >&2; exit 1""");

        Assert.Equal(At(2), (await ReadAsync(await RangeAsync(At(1), received: At(3) + 100))).End.Reached);
    }

    [ShellFact]
    public async Task Tells_the_end_of_the_WAL_from_a_break_in_its_middle()
    {
        WriteSegments("data/pg_wal", (1, 1), (1, 2), (1, 3));
        var unknownEnd = await RangeAsync(At(1), received: null);
        var knownEnd = await RangeAsync(At(1), received: At(3) + 100);

        // The last segment has records: what broke off before it is a break.
        PgWaldump("""echo 'rmgr: XLOG x, tx: 0, lsn: 0/00300028, prev 0/0, desc: NOOP' """);
        Assert.True(await new WalScan(unknownEnd, _feedback).IsOrdinaryEndAsync(At(3) + 50, CancellationToken.None));
        Assert.False(await new WalScan(unknownEnd, _feedback).IsOrdinaryEndAsync(At(2) + 50, CancellationToken.None));
        Assert.False(await new WalScan(knownEnd, _feedback).IsOrdinaryEndAsync(At(3) + 50, CancellationToken.None));

        // It holds nothing but the rest of a record that never got whole.
        PgWaldump("""echo 'pg_waldump: error: could not find a valid record after 0/300000' >&2; exit 1""");
        Assert.True(await new WalScan(unknownEnd, _feedback).IsOrdinaryEndAsync(At(2) + 50, CancellationToken.None));
        Assert.False(await new WalScan(unknownEnd, _feedback).IsOrdinaryEndAsync(At(1) + 50, CancellationToken.None));
    }

    [ShellFact]
    public async Task Finds_the_first_gap_without_reading_up_to_it()
    {
        WriteSegments("data/pg_wal", (1, 1), (1, 3));
        PgWaldump("exit 99");

        var end = await new WalScan(await RangeAsync(At(1), received: At(3) + 100), _feedback).FirstBreakAsync(At(3), CancellationToken.None);

        Assert.Equal(At(2), end!.Reached);
        Assert.Contains("000000010000000000000002", end.Problem, StringComparison.Ordinal);
    }

    [ShellFact]
    public async Task Knows_whether_a_record_starts_at_a_position()
    {
        WriteSegments("data/pg_wal", (1, 1));
        PgWaldump("""echo 'first record is after 0/100030, at 0/100060, skipping over 48 bytes'; echo 'rmgr: Heap  len (rec/tot): 59/59, tx: 7, lsn: 0/00100060, prev 0/00100028, desc: INSERT off 1' """);
        var scan = new WalScan(await RangeAsync(At(1), received: At(2)), _feedback);

        Assert.True(await scan.RecordStartsAtAsync(new Lsn(0x100060), CancellationToken.None));
        Assert.False(await scan.RecordStartsAtAsync(new Lsn(0x100030), CancellationToken.None));
    }

    [ShellFact]
    public async Task Reads_raw_bytes_across_segments_and_places()
    {
        WriteSegments("data/pg_wal", (1, 1));
        WriteSegments("archive", (1, 2));
        var scan = new WalScan(await RangeAsync(At(1), received: At(2) + 100), _feedback);

        var bytes = await scan.BytesAsync([(At(2) + -3, 8), (At(1) + 50, 2), (At(2) + 500, 0)], CancellationToken.None);

        // Segment n is filled with n behind its header.
        Assert.Equal([1, 1, 1, .. File.ReadAllBytes(In("archive", new WalSegment(1, 2, Size).Name))[..5]], bytes[0]);
        Assert.Equal([1, 1], bytes[1]);
        Assert.Empty(bytes[2]);
    }

    [ShellFact]
    public async Task Leaves_recycled_segments_out_and_asks_the_archive_only_when_it_must()
    {
        WriteSegments("data/pg_wal", (1, 1), (1, 2));
        File.WriteAllBytes(In("data", "pg_wal", new WalSegment(1, 3, Size).Name), FakeWal.Segment(new WalSegment(1, 1, Size).Name));
        Directory.Delete(In("archive"));

        var streaming = await RangeAsync(At(1), received: At(2) + 100);
        Assert.Null(streaming.ArchiveProblem);
        Assert.Empty(_feedback.Warnings);

        var alone = await RangeAsync(At(1), received: null);
        Assert.Equal(At(3), alone.To);
        Assert.NotNull(alone.ArchiveProblem);
        Assert.Contains(In("archive"), Assert.Single(_feedback.Warnings), StringComparison.Ordinal);
    }

    [ShellFact]
    public async Task An_error_of_pg_waldump_is_an_error_with_an_id_and_leaves_no_directory_behind()
    {
        WriteSegments("data/pg_wal", (1, 1));
        PgWaldump($"""echo "$2" >"{In("where")}"; echo 'pg_waldump: error: could not open file "000000010000000000000001": Permission denied' >&2; exit 1""");

        var error = await Assert.ThrowsAsync<PitrException>(async () => await ReadAsync(await RangeAsync(At(1), received: At(2))));

        Assert.Equal("PitrPS.WalUnreadable", error.Id);
        Assert.Contains("Permission denied", error.Message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(File.ReadAllText(In("where")).Trim()));
    }

    [ShellTheory("zstd", "lz4")]
    [InlineData("zstd -q --rm", 1)]
    [InlineData("lz4 -q -m --rm", 2)]
    public async Task Compressed_segments_are_there_for_pg_waldump_one_after_the_other_and_never_all_at_once(string compress, int passes)
    {
        const int last = 200;
        WriteSegments("archive", [.. Enumerable.Range(1, last).Where(n => n != 7).Select(n => (1u, n))]);
        await CompressAsync(compress);
        WriteSegments("data/pg_wal", (1, 7));
        var names = string.Join(' ', Enumerable.Range(1, last).Select(n => new WalSegment(1, (ulong)n, Size).Name));

        // As the real one: it opens one after the other, waits for one that is not there yet, and says nothing of what it reads.
        PgWaldump($$"""
            for n in {{names}}; do
              exec 3<&-
              tries=0
              until [ -e "$2/$n" ]; do tries=$((tries + 1)); [ $tries -le 100 ] || { echo "pg_waldump: error: could not find file \"$n\"" >&2; exit 1; }; sleep 0.1; done
              exec 3<"$2/$n"
              dd bs=5000 skip=1 count=1 <&3 2>/dev/null | head -c 1 >>"{{In("read")}}"
              ls "$2" | grep -c . >>"{{In("there")}}"
            done
            echo "rmgr: Transaction x, tx: 1, lsn: 0/00100028, prev 0/0, desc: COMMIT; rels:"
            """);

        var range = await RangeAsync(At(1), received: null);
        Assert.Empty(range.Missing);
        var lines = new List<string>();
        var end = await new WalScan(range, _feedback).ReadAsync(range.From, range.To, WalFilter.Of(passes == 1 ? 15 : 13, ["Transaction", "Standby"], "1"), lines.Add, CancellationToken.None);

        Assert.Equal((At(last + 1), (string?)null), (end.Reached, end.Problem));
        Assert.Equal(passes, lines.Count);
        Assert.Equal(Enumerable.Repeat(Enumerable.Range(1, last).Select(n => (byte)n), passes).SelectMany(n => n), File.ReadAllBytes(In("read")));
        // 128 of 1 MiB, the one in pg_wal, and what a wait let in beyond that.
        Assert.InRange(File.ReadAllLines(In("there")).Max(int.Parse), 1, 180);
        Assert.Empty(Scratch());
    }

    [ShellTheory("zstd")]
    [InlineData("zstd -q --rm")]
    public async Task A_compressed_segment_that_is_damaged_is_where_the_reading_ends(string compress)
    {
        WriteSegments("archive", (1, 1), (1, 2), (1, 3));
        await CompressAsync(compress);
        var damaged = In("archive", new WalSegment(1, 2, Size).Name + ".zst");
        File.WriteAllBytes(damaged, File.ReadAllBytes(damaged)[..^4]);
        PgWaldump("""
            until [ -e "$2/000000010000000000000003" ]; do sleep 0.1; done
            [ ! -e "$2/000000010000000000000002" ] || exit 0
            echo 'pg_waldump: error: could not find file "000000010000000000000002": No such file or directory' >&2
            exit 1
            """);

        var (_, end) = await ReadAsync(await RangeAsync(At(1), received: null));

        Assert.Equal(At(2), end.Reached);
        Assert.Empty(Scratch());
    }

    [ShellTheory("zstd")]
    [InlineData("zstd -q --rm")]
    public async Task When_nobody_listens_any_more_it_ends_and_leaves_nothing(string compress)
    {
        WriteSegments("archive", [.. Enumerable.Range(1, 200).Select(n => (1u, n))]);
        await CompressAsync(compress);
        PgWaldump($"""exec 3<"$2/000000010000000000000001"; exec sleep 60""");
        var links = string.Concat(Enumerable.Range(1, 200).Select(n => $"{new WalSegment(1, (ulong)n, Size).Name} {In("archive", new WalSegment(1, (ulong)n, Size).Name)}.zst\n")) + "=\n.\n";
        File.WriteAllText(In("links"), links);
        File.WriteAllText(In("scan.sh"), WalScan.Script);

        // Whoever reads both streams leaves at once, as when a client is killed.
        var watch = Stopwatch.StartNew();
        var run = await HostScript.RunAsync(Folder, "/dev/null", $"TMPDIR='{In("tmp")}'; export TMPDIR; {{ /bin/sh ./scan.sh '{In("bin", "pg_waldump")}' 1 0/100000 0/C900000 1 128 '-r Transaction' <links 2>&1; echo $? >ended; }} | true; until [ -e ended ]; do sleep 0.1; done");

        Assert.Equal((0, ""), run);
        Assert.InRange(watch.Elapsed.TotalSeconds, 0, 50);
        Assert.NotEqual("0\n", File.ReadAllText(In("ended")));
        Assert.Empty(Scratch());
    }

    [ShellTheory("zstd")]
    [InlineData("zstd -q --rm")]
    public async Task Reads_raw_bytes_of_compressed_segments(string compress)
    {
        WriteSegments("archive", (1, 1), (1, 2));
        await CompressAsync(compress);
        var scan = new WalScan(await RangeAsync(At(1), received: null), _feedback);

        var bytes = await scan.BytesAsync([(At(2) + -3, 8), (At(1) + 50, 2)], CancellationToken.None);

        Assert.Equal([1, 1, 1, .. FakeWal.Segment(new WalSegment(1, 2, Size).Name)[..5]], bytes[0]);
        Assert.Equal([1, 1], bytes[1]);
    }

    private string[] Scratch() => Directory.GetDirectories(In("tmp"));

    private async Task CompressAsync(string compress) =>
        Assert.Equal(0, (await HostScript.RunAsync(In("archive"), "/dev/null", $"{compress} -- * || exit 9")).ExitCode);

    private static Lsn At(int segment) => WalRangeTests.At(segment);

    private Task<WalRange> RangeAsync(Lsn redo, Lsn? received) =>
        WalRange.ReadAsync(_server, WalRangeTests.Position(redo, received, received is null ? null : 1u), _feedback, CancellationToken.None);

    private async Task<(List<string> Lines, WalScanEnd End)> ReadAsync(WalRange range)
    {
        var lines = new List<string>();
        var end = await new WalScan(range, _feedback).ReadAsync(range.From, range.To, WalFilter.Of(15, ["Transaction", "Standby"], WalRecords.Condition), lines.Add, CancellationToken.None);
        return (lines, end);
    }

    private void WriteSegments(string folder, params (uint Timeline, int Number)[] segments)
    {
        foreach (var (timeline, number) in segments)
        {
            var name = new WalSegment(timeline, (ulong)number, Size).Name;
            File.WriteAllBytes(Path.Combine(Folder, folder, name), FakeWal.Segment(name, fill: (byte)number));
        }
    }

    private void PgWaldump(string script)
    {
        var path = In("bin", "pg_waldump");
        File.WriteAllText(path, "#!/bin/sh\n" + script + "\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }
}

/// <summary>Runs commands here, as whoever runs the tests.</summary>
internal sealed class ShellHost(string scratch) : IRemoteHost
{
    public async Task<CommandResult> RunAsync(RemoteCommand command, CancellationToken cancel)
    {
        await using var process = (ShellProcess)await StartAsync(command, cancel);
        return await process.RunAsync(command.Input);
    }

    public Task<IRemoteProcess> StartAsync(RemoteCommand command, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(command.Arguments[0]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        command.Arguments.Skip(1).ToList().ForEach(start.ArgumentList.Add);
        start.Environment["LC_ALL"] = "C";
        start.Environment["TMPDIR"] = scratch;
        foreach (var (name, value) in command.Environment)
        {
            start.Environment[name] = value;
        }

        return Task.FromResult<IRemoteProcess>(new ShellProcess(Process.Start(start)!));
    }

    public Task<byte[]?> ReadFileAsync(string path, CancellationToken cancel) => throw new NotSupportedException();

    public Task WriteFileAsync(RemoteFile file, CancellationToken cancel) => throw new NotSupportedException();

    public Task<IForwardedPort> ForwardAsync(int remotePort, CancellationToken cancel) => throw new NotSupportedException();

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    private sealed class ShellProcess : IRemoteProcess
    {
        private readonly Process _process;
        private readonly Task<string> _errors;

        public ShellProcess(Process process)
        {
            _process = process;
            _errors = process.StandardError.ReadToEndAsync();
            Completion = EndAsync();
        }

        public Task<CommandResult> Completion { get; }

        public async Task<CommandResult> RunAsync(ReadOnlyMemory<byte> input)
        {
            await _process.StandardInput.BaseStream.WriteAsync(input);
            _process.StandardInput.Close();
            var output = await _process.StandardOutput.ReadToEndAsync();
            return await Completion with { Output = output };
        }

        public async Task WriteLineAsync(string line, CancellationToken cancel)
        {
            await _process.StandardInput.WriteAsync(line + "\n");
            await _process.StandardInput.FlushAsync(cancel);
        }

        public async Task<string?> ReadLineAsync(CancellationToken cancel) => await _process.StandardOutput.ReadLineAsync(cancel);

        public ValueTask DisposeAsync()
        {
            _process.Dispose();
            return ValueTask.CompletedTask;
        }

        private async Task<CommandResult> EndAsync()
        {
            await _process.WaitForExitAsync();
            return new CommandResult(_process.ExitCode, "", await _errors);
        }
    }
}
