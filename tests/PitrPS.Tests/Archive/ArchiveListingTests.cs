using System.Globalization;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Planning;
using PitrPS.Tests.Recovery;

namespace PitrPS.Tests.Archive;

/// <summary>The two commands that read an archive, run with a real shell on a folder of this machine, and what makes of them a report or an error.</summary>
public sealed class ArchiveListingTests : InFolder
{
    private const string First = "000000010000000000000003";
    private const string Second = "000000010000000000000004";

    private readonly string _archive;
    private readonly FakeRemoteHost _host = new("primary");

    public ArchiveListingTests()
    {
        _archive = Directory.CreateDirectory(In("the archive")).FullName;
        Directory.CreateDirectory(In("data", "pg_wal", "archive_status"));
        File.WriteAllText(Path.Combine(_archive, ArchiveMarker.FileName), FakeWal.Marker());
        foreach (var name in new[] { First, Second })
        {
            File.WriteAllBytes(Path.Combine(_archive, name), FakeWal.Segment(name));
        }

        _host.On("pg_controldata", Control);
        _host.On(c => c.Arguments[0] == "/bin/sh", c => Shell.Run(c.Arguments[2], System.Text.Encoding.UTF8.GetString(c.Input.Span), null, [.. c.Arguments.Skip(4)]) is var (code, output)
            ? new CommandResult(code, output, code == 0 ? "" : "the shell's own words") : throw new InvalidOperationException());
    }

    private static string Control =>
        string.Create(CultureInfo.InvariantCulture, $"""
        Database system identifier:           {FakeWal.Cluster}
        Latest checkpoint's REDO location:    0/380000
        Latest checkpoint's TimeLineID:       1
        """);

    private PgServer Server => TestStandby.On(_host) with
    {
        IsStandby = false,
        IsRunning = false,
        Role = ServerRole.Unknown,
        DataDirectory = In("data"),
        BinDirectory = In("bin"),
        WalSegmentSize = FakeWal.SegmentSize,
        ArchiveDirectory = _archive,
        SystemIdentifier = FakeWal.Cluster,
    };

    [ShellFact]
    public async Task A_stopped_servers_archive_is_read_as_it_lies_there()
    {
        File.WriteAllText(Path.Combine(_archive, "00000002.history"), "1\t0/680000\tno recovery target specified\n");
        File.WriteAllText(Path.Combine(_archive, "00000003.history"), "");
        File.WriteAllText(Path.Combine(_archive, ".pitrps-archive.copy"), "half");
        File.WriteAllText(Path.Combine(_archive, First + " (1)"), "a file with a blank in its name");
        File.WriteAllBytes(Path.Combine(_archive, "000000010000000000000005"), []);
        File.CreateSymbolicLink(Path.Combine(_archive, "000000010000000000000006"), "/nowhere");
        File.CreateSymbolicLink(Path.Combine(_archive, "000000010000000000000007"), Second);
        File.WriteAllText(In("data", "pg_wal", "archive_status", "000000010000000000000008.ready"), "");
        File.WriteAllText(In("data", "pg_wal", "00000002.history"), "1\t0/700000\tno recovery target specified\n");
        Directory.CreateDirectory(Path.Combine(_archive, "00000001000000000000000A"));

        var report = await TestAsync();

        Assert.Equal(
            [(First, WalSegmentState.Found), (Second, WalSegmentState.Found), ("000000010000000000000005", WalSegmentState.Short), ("000000010000000000000007", WalSegmentState.Damaged)],
            report.Segments.Select(s => (s.Name, s.State)));
        Assert.Equal(FakeWal.SegmentSize, report.Segments[0].Size);
        Assert.InRange(report.Time, DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddMinutes(1));
        Assert.InRange(report.Segments[0].Time!.Value, DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddMinutes(1));
        Assert.True(report.DiskFree > 0);
        Assert.Contains(report.Warnings, w => w.Contains("00000002.history in the archive says another ancestry", StringComparison.Ordinal));
        Assert.Contains(report.Warnings, w => w.Contains("00000003.history: it names no ancestor", StringComparison.Ordinal));
        Assert.Equal([1u, 2u, 3u], report.Timelines.Select(t => t.Timeline));
        Assert.Null(report.Archiver);
        Assert.Equal((Lsn.Parse("0/300000"), Lsn.Parse("0/500000")), (report.FirstRecoverable, report.LastRecoverable));
        Assert.Empty(_host.Written);
    }

    [ShellFact]
    public async Task More_segments_than_fit_into_one_command_line_are_all_read()
    {
        for (var number = 5UL; number < 9000; number++)
        {
            var name = new WalSegment(1, number, FakeWal.SegmentSize).Name;
            using var file = File.Create(Path.Combine(_archive, name));
            file.Write(FakeWal.Segment(name, size: 40));
            file.SetLength(FakeWal.SegmentSize);
        }

        var report = await TestAsync();

        Assert.Empty(report.Warnings);
        Assert.Equal(8997, report.Found);
    }

    [ShellFact]
    public async Task The_time_of_the_last_commit_is_read_from_the_WAL()
    {
        Directory.CreateDirectory(In("bin"));
        var program = In("bin", "pg_waldump");
        File.WriteAllText(program, $$"""
            #!/bin/sh
            [ "$TZ$5" = "{{First}}" ] || exit 1
            echo 'rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/0300A2F8, prev 0/0300A2B8, desc: COMMIT 2026-11-22 19:23:12.010251 UTC; rels: base/5/16391'
            echo 'rmgr: Transaction len (rec/tot):     34/    34, tx:        736, lsn: 0/0300A2F9, prev 0/0300A2B8, desc: ABORT 2026-11-22 19:23:13.010251 UTC'
            echo 'rmgr: Transaction len (rec/tot):     34/    34, tx:        737, lsn: 0/0300A3F8, prev 0/0300A2B8, desc: COMMIT 2026-11-22 19:23:14 UTC'
            """);
        Assert.Equal(0, Shell.Run("chmod 755 \"$1\"", "", null, program).ExitCode);

        var report = await TestAsync();

        Assert.Equal(new DateTimeOffset(2026, 11, 22, 19, 23, 12, 10, 251, TimeSpan.Zero), report.FirstRecoverableTime);
        Assert.Equal(new DateTimeOffset(2026, 11, 22, 19, 23, 14, TimeSpan.Zero), report.LastRecoverableTime);
    }

    [ShellTheory]
    [InlineData("no marker", "PitrPS.ArchiveMarkerMissing")]
    [InlineData("damaged marker", "PitrPS.ArchiveMarkerMissing")]
    [InlineData("other cluster", "PitrPS.ArchiveOfAnotherCluster")]
    [InlineData("no directory", "PitrPS.ArchiveMarkerMissing")]
    [InlineData("a hanging mount", "PitrPS.ArchiveUnreachable")]
    public async Task What_is_no_archive_of_this_server_is_an_error_and_no_report(string what, string id)
    {
        var marker = Path.Combine(_archive, ArchiveMarker.FileName);
        switch (what)
        {
            case "no marker":
                File.Delete(marker);
                break;
            case "damaged marker":
                File.WriteAllText(marker, "format=");
                break;
            case "other cluster":
                File.WriteAllText(marker, FakeWal.Marker(cluster: 42));
                break;
            case "no directory":
                Directory.Delete(_archive, recursive: true);
                id = "PitrPS.ArchiveUnreachable";
                break;
            default:
                _host.On("pitrps-archive.id", exitCode: 70, error: $"{_archive} does not answer");
                break;
        }

        var error = await Assert.ThrowsAsync<PitrException>(() => TestAsync());

        Assert.Equal(id, error.Id);
        Assert.NotEmpty(error.NextStep);
        Assert.Equal(Server.Id, ((PgServer)error.Target!).Id);
    }

    [ShellFact]
    public async Task A_directory_that_was_given_needs_no_marker()
    {
        File.Delete(Path.Combine(_archive, ArchiveMarker.FileName));

        Assert.Equal(2, (await TestAsync(Server with { ArchiveDirectory = null }, _archive + "/")).Found);
    }

    [ShellTheory("zstd", "lz4")]
    [InlineData("zstd -q", ".zst")]
    [InlineData("lz4 -q -m", ".lz4")]
    public async Task Looks_into_compressed_segments(string compress, string suffix)
    {
        var next = WalSegment.Parse(First, FakeWal.SegmentSize).Next.Next;
        File.WriteAllBytes(Path.Combine(_archive, next.Name), FakeWal.Segment(next.Name, fill: 3));
        File.WriteAllBytes(Path.Combine(_archive, next.Next.Name), FakeWal.Segment(next.Name, fill: 3));
        Assert.Equal((0, ""), await HostScript.RunAsync(_archive, "/dev/null", $"{compress} -- {next.Name} {next.Next.Name} || exit 9; rm -f {next.Name} {next.Next.Name}; head -c 9 {next.Name}{suffix} > {next.Next.Next.Name}{suffix}"));

        var report = await TestAsync();

        Assert.Equal([(next.Name + suffix, WalSegmentState.Found), (next.Next.Name + suffix, WalSegmentState.Damaged), (next.Next.Next.Name + suffix, WalSegmentState.Damaged)],
            report.Segments.Where(s => s.Name.EndsWith(suffix, StringComparison.Ordinal)).Select(s => (s.Name, s.State)));
        Assert.Contains("its first page is the one at", report.Segments.Single(s => s.Name == next.Next.Name + suffix).Detail, StringComparison.Ordinal);
        Assert.Equal("it cannot be decompressed", report.Segments.Single(s => s.Name == next.Next.Next.Name + suffix).Detail);
    }

    [Fact]
    public async Task Refuses_what_has_no_archive_or_is_only_planned()
    {
        Assert.Equal("PitrPS.NoArchive", (await Assert.ThrowsAsync<PitrException>(() => TestAsync(Server with { ArchiveDirectory = null }))).Id);
        Assert.Equal("PitrPS.NoArchive", (await Assert.ThrowsAsync<PitrException>(() => TestAsync(Server with { IsStandby = true }))).Id);
        Assert.Equal("PitrPS.InvalidPath", (await Assert.ThrowsAsync<PitrException>(() => TestAsync(Server, "relative"))).Id);
        Assert.Equal("PitrPS.PlannedObject", (await Assert.ThrowsAsync<PitrException>(() => TestAsync(Server with { IsPlanned = true }))).Id);
        Assert.Empty(_host.Commands);
    }

    [Fact]
    public void A_beginning_that_looks_like_the_end_of_a_name_shifts_nothing()
    {
        var bytes = Enumerable.Repeat((byte)'\n', 40).ToArray();
        byte[] printed = [.. "==> A <==\n"u8, .. bytes, .. "\n==> B <==\n"u8, .. "==> C <==\n"u8, .. FakeWal.Segment(First, size: 40)];

        var heads = ArchiveListing.ParseHeads(Convert.ToBase64String(printed, Base64FormattingOptions.InsertLineBreaks));

        Assert.Equal(bytes, heads["A"]);
        Assert.Empty(heads["B"]);
        Assert.Equal(FakeWal.Segment(First, size: 40), heads["C"]);
    }

    private Task<WalArchiveReport> TestAsync(PgServer? server = null, string? path = null) =>
        WalArchiveProbe.ReportAsync(new ArchiveProbeOptions(server ?? Server, path), new SilentFeedback(), CancellationToken.None);
}
