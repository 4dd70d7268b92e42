using System.Globalization;

namespace PitrPS.Tests.Archive;

/// <summary>pitrps-retain with a real shell and a server that is made up: what is old goes, and nothing that anybody needs.</summary>
public sealed class RetainScriptTests : InFolder
{
    private const string Slot = "pitrps_standby_15_main_abcdef";
    private const string Redo = "000000010000000000000007";

    private readonly HostScript _script;
    private readonly string _archive;
    private readonly List<string> _report =
    [
        $"cluster {FakeWal.Cluster}", "recovery f", "backups 0", $"checkpoint 000000000B000100 {Segment(11)}", "complete 1",
    ];

    // Segments 1 to 12, archived one a day: 1 to 4 are older than a week.
    public RetainScriptTests()
    {
        _script = new HostScript("pitrps-retain.sh", Folder);
        _archive = Directory.CreateDirectory(In("the archive's folder")).FullName;
        Directory.CreateDirectory(In("state", "seen"));
        File.WriteAllText(In("the archive's folder", "pitrps-archive.id"), FakeWal.Marker());
        for (var n = 1; n <= 12; n++)
        {
            Archive(Segment(n), days: Math.Max(0.1, 11.5 - n));
        }
    }

    private static string Segment(int number, int timeline = 1) => string.Create(CultureInfo.InvariantCulture, $"{timeline:X8}{0:X8}{number:X8}");

    [ShellFact]
    public async Task What_is_older_goes_from_the_old_end_and_a_second_run_changes_nothing()
    {
        Archive("00000001.history", days: 100);
        Archive(Segment(1) + ".partial", days: 100);
        Archive(Segment(2) + ".gz", days: 100);
        Archive("thesis.txt", days: 100);
        Archive("000000010000000000000001.bak", days: 100);

        var said = await RunAsync();

        Assert.Equal($"removed 6 of 14 files, {Segment(1)} to {Segment(4)}, archived more than 604800 s ago", said);
        Assert.Equal([5, 6, 7, 8, 9, 10, 11, 12], Left());
        Assert.Equal(["00000001.history", "000000010000000000000001.bak", "pitrps-archive.id", "thesis.txt"], Others());

        Assert.Equal("removed nothing", await RunAsync());
        Assert.Equal([5, 6, 7, 8, 9, 10, 11, 12], Left());
    }

    [ShellFact]
    public async Task Compressed_segments_go_by_the_same_rule()
    {
        for (var n = 1; n <= 12; n++)
        {
            File.Move(Path.Combine(_archive, Segment(n)), Path.Combine(_archive, Segment(n) + (n % 2 == 0 ? ".zst" : ".lz4")));
        }

        Assert.Equal($"removed 4 of 12 files, {Segment(1)}.lz4 to {Segment(4)}.zst, archived more than 604800 s ago", await RunAsync());
        Assert.Equal(8, Directory.GetFiles(_archive, "*.zst").Length + Directory.GetFiles(_archive, "*.lz4").Length);
    }

    [ShellFact]
    public async Task No_gap_comes_to_be_where_a_younger_segment_is_among_older_ones()
    {
        Archive(Segment(2), days: 1);

        Assert.Contains($"removed 1 of 12 files, {Segment(1)} to {Segment(1)}", await RunAsync());
        Assert.Equal([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], Left());
    }

    [ShellFact]
    public async Task A_dry_run_says_it_and_changes_nothing()
    {
        Register("one", Slot);
        Streams(Slot, 9);
        History($"at-checkpoint {Ago(60)} 0000000003000100 {Segment(3)}", Seen(26, 5), Seen(25.1, 5), Seen(1, 8));
        var before = File.ReadAllText(In("state", "seen", "history"));

        var said = await RunAsync(dryRun: true);

        Assert.Contains($"would remove {Segment(1)}\nwould remove {Segment(2)}\nwould remove 2 of 12 files", said);
        Assert.Equal(12, Left().Length);
        Assert.Equal(before, File.ReadAllText(In("state", "seen", "history")));
        Assert.Equal(["history"], Directory.GetFiles(In("state", "seen")).Select(Path.GetFileName));
    }

    [ShellTheory]
    [InlineData("cluster", "cluster 42", "the server is of the cluster 42")]
    [InlineData("recovery", "recovery t", "the server is a standby now")]
    [InlineData("complete", "", "has not answered everything")]
    public async Task A_server_that_is_not_the_archives_primary_is_refused(string line, string said, string error)
    {
        _report[_report.FindIndex(l => l.StartsWith(line, StringComparison.Ordinal))] = said;

        Assert.Contains(error, await FailAsync());
    }

    [ShellFact]
    public async Task Without_the_marker_the_server_or_a_sensible_time_nothing_is_removed()
    {
        _report.Add("exit 2");
        Assert.Contains("the server cannot be asked", await FailAsync());
        _report.Remove("exit 2");
        Assert.Contains("less than an hour", await FailAsync("3599"));
        Assert.Contains("is no number of seconds", await FailAsync("7 days"));
        File.Delete(In("the archive's folder", "pitrps-archive.id"));
        Assert.Contains("is no archive, or its filesystem is not mounted", await FailAsync());
    }

    [ShellFact]
    public async Task Nothing_goes_while_a_base_backup_is_taken()
    {
        _report[2] = "backups 1";

        Assert.Equal("kept everything: a base backup is being taken\nremoved nothing", await RunAsync());
        Assert.Equal(12, Left().Length);
    }

    [ShellFact]
    public async Task Nothing_goes_when_everything_is_old()
    {
        for (var n = 1; n <= 12; n++)
        {
            Archive(Segment(n), days: 30);
        }

        Assert.Contains("does the server archive, and is the clock right?", await RunAsync());
        Assert.Equal(12, Left().Length);
    }

    [ShellTheory]
    [InlineData("1/20 2/10 6/6", 2)] // the newest that is old enough
    [InlineData("3/1 5/1", 3)] // all are young: then the first
    [InlineData("1/20 3/9/PitrPS_standby_x", 1)]
    [InlineData("2/9/PitrPS_standby_x", 5)] // made a standby, which says itself what it needs
    public async Task A_base_backup_and_what_it_needs_is_kept(string backups, int first)
    {
        foreach (var backup in backups.Split(' ').Select(b => b.Split('/')))
        {
            var name = $"{Segment(int.Parse(backup[0], CultureInfo.InvariantCulture))}.00000028.backup";
            Archive(name, double.Parse(backup[1], CultureInfo.InvariantCulture), $"START WAL LOCATION: 0/1000028\nLABEL: {backup.ElementAtOrDefault(2)?.Replace('_', ' ') ?? "nightly"}\n");
        }

        var said = await RunAsync();

        Assert.Equal(Enumerable.Range(first, 13 - first), Left());
        Assert.Equal(first != 5, said.Contains("the base backup", StringComparison.Ordinal));
    }

    [ShellFact]
    public async Task Another_timelines_segments_count_by_their_position()
    {
        Archive(Segment(2, timeline: 2), days: 9);
        Archive(Segment(9, timeline: 2), days: 9);
        Register("one", Slot);
        Streams(Slot, 9);
        History($"safe {Slot} {Segment(3)}", Seen(1, 8));

        await RunAsync();

        Assert.Equal([3, 4, 5, 6, 7, 8, 9, 9, 10, 11, 12], Left());
    }

    [ShellFact]
    public async Task A_standby_that_is_new_keeps_everything_until_it_has_streamed_for_a_day()
    {
        Register("one", Slot);
        Streams(Slot, 12);

        Assert.Equal($"kept everything: one ({Slot}) has not been seen streaming for 25 hours yet\nremoved nothing", await RunAsync());

        History($"at-checkpoint {Ago(24.9)} 0000000007000100 {Redo}", Seen(24.9, 9), Seen(1, 10));
        Assert.Contains("has not been seen streaming", await RunAsync());
        Assert.Equal(12, Left().Length);
    }

    [ShellFact]
    public async Task A_standby_keeps_from_the_last_checkpoint_on_that_it_had_replayed_a_day_ago()
    {
        Register("one", Slot);
        Streams(Slot, 12);
        History(
            $"at-checkpoint {Ago(60)} 0000000002000100 {Segment(2)}",
            // Its redo point is in the segment before it; by then the replay was at the checkpoint's own beginning, and not past it.
            $"at-checkpoint {Ago(50)} 0000000004000100 {Segment(3)}",
            $"at-checkpoint {Ago(40)} 0000000005000100 {Segment(5)}",
            $"seen {Slot} {Ago(26)} 0000000004000101", $"seen {Slot} {Ago(25.1)} 0000000005000100", $"seen {Slot} {Ago(24)} 0000000006000000", Seen(1, 11));

        var said = await RunAsync();

        Assert.StartsWith($"kept from there on: the standby one ({Slot}) may start again from {Segment(3)}\nremoved 2 of 12 files", said);
        Assert.Equal(3, Left()[0]);
        Assert.Contains($"safe {Slot} {Segment(3)}\n", File.ReadAllText(In("state", "seen", "history")));
        Assert.DoesNotContain($"seen {Slot} {Ago(26)} 0000000004000101", File.ReadAllText(In("state", "seen", "history")));
    }

    [ShellFact]
    public async Task A_standby_that_is_not_there_keeps_everything_and_afterwards_what_was_sure_before()
    {
        Register("one", Slot);
        History($"safe {Slot} {Segment(3)}", $"at-checkpoint {Ago(60)} 0000000006000100 {Segment(6)}", Seen(26, 8), Seen(25.1, 8), Seen(1, 9));

        Assert.Equal($"kept everything: one ({Slot}) does not stream from this server\nremoved nothing", await RunAsync());
        Assert.Equal(12, Left().Length);

        // It is back, and its replay a day ago says nothing any more: it may have been down since.
        Streams(Slot, 12);
        Assert.Contains($"may start again from {Segment(3)}", await RunAsync());
        Assert.Equal(3, Left()[0]);
    }

    [ShellFact]
    public async Task A_time_without_runs_is_no_time_in_which_the_standby_was_seen()
    {
        Register("one", Slot);
        Streams(Slot, 12);
        History($"at-checkpoint {Ago(60)} 0000000006000100 {Segment(6)}", Seen(26, 8), Seen(3.1, 9));

        Assert.Contains("has not been seen streaming", await RunAsync());
        Assert.Equal(12, Left().Length);
    }

    [ShellFact]
    public async Task A_standby_whose_replay_stands_still_keeps_everything_unless_it_has_replayed_all()
    {
        Register("one", Slot);
        string[] history = [$"safe {Slot} {Segment(3)}", $"seen {Slot} {Ago(1)} 0000000009000000"];
        History(history);
        Streams(Slot, 9);

        Assert.Equal($"kept everything: one ({Slot}) stands still in its replay\nremoved nothing", await RunAsync());
        Assert.Equal(12, Left().Length);

        History(history);
        Streams(Slot, 9, hasAll: true);
        Assert.Contains("removed 2 of 12 files", await RunAsync());
    }

    [ShellFact]
    public async Task Of_a_standby_or_a_server_that_was_set_back_nothing_is_known_any_more()
    {
        Register("one", Slot);
        string[] history = [$"at-checkpoint {Ago(60)} 0000000006000100 {Segment(6)}", $"safe {Slot} {Segment(6)}", Seen(26, 8), Seen(1, 9)];
        History(history);
        Streams(Slot, 8);
        Assert.Contains("has not been seen streaming", await RunAsync());

        History(history);
        Streams(Slot, 10);
        _report[3] = $"checkpoint 000000000B000100 {Segment(11, timeline: 2)}";
        Assert.Contains("has not been seen streaming", await RunAsync());

        History(history);
        _report[3] = $"checkpoint 0000000005000100 {Segment(5)}";
        Assert.Contains("has not been seen streaming", await RunAsync());
        Assert.Equal(12, Left().Length);
    }

    [ShellFact]
    public async Task The_one_that_is_farthest_behind_counts()
    {
        Register("one", Slot);
        Register("two", "other");
        Streams(Slot, 12);
        Streams("other", 12);
        History($"safe {Slot} {Segment(4)}", "safe other " + Segment(2), Seen(1, 9));

        Assert.Contains($"removed 1 of 12 files, {Segment(1)}", await RunAsync());
    }

    [ShellFact]
    public async Task Of_whom_nothing_can_be_seen_nothing_is_taken()
    {
        Register("one", slot: null);
        Assert.Contains("one reads the archive, but has no slot", await RunAsync());

        Register("one", Slot);
        Streams(Slot, 12);
        History($"safe {Slot} {Segment(4)}");
        File.WriteAllText(In("keys"), "restrict ssh-ed25519 AAAA one\nrestrict ssh-ed25519 BBBB pitrps:1:15-main\n");
        Assert.Contains("pitrps:1:15-main reads the archive, but has no slot", await RunAsync());
        Assert.Equal(12, Left().Length);

        File.WriteAllText(In("keys"), "restrict ssh-ed25519 AAAA one\n");
        Streams(Slot, 13);
        Assert.Contains("removed 3 of 12 files", await RunAsync());
    }

    [ShellFact]
    public async Task Thirty_thousand_segments_are_looked_at_in_a_moment()
    {
        for (var n = 13; n <= 30_000; n++)
        {
            File.WriteAllBytes(Path.Combine(_archive, Segment(n)), []);
        }

        var old = DateTime.UtcNow.AddDays(-8);
        for (var n = 5; n <= 20_000; n++)
        {
            File.SetLastWriteTimeUtc(Path.Combine(_archive, Segment(n)), old);
        }

        Assert.Contains($"removed 20000 of 30000 files, {Segment(1)} to {Segment(20_000)}", await RunAsync());
        Assert.Equal(10_000, Left().Length);
    }

    private static string Ago(double hours) => DateTimeOffset.UtcNow.AddHours(-hours).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);

    private static string Seen(double hoursAgo, int segment) => $"seen {Slot} {Ago(hoursAgo)} {segment:X10}000000";

    private void Archive(string name, double days, string content = "")
    {
        File.WriteAllText(Path.Combine(_archive, name), content);
        File.SetLastWriteTimeUtc(Path.Combine(_archive, name), DateTime.UtcNow.AddDays(-days));
    }

    private void History(params string[] lines) => File.WriteAllLines(In("state", "seen", "history"), lines);

    private void Register(string name, string? slot)
    {
        Directory.CreateDirectory(In("state", "standbys"));
        File.WriteAllText(In("state", "standbys", name), $"# a comment\nowner={name}\n{(slot is null ? "" : $"slot={slot}\n")}");
    }

    private void Streams(string slot, int segment, bool hasAll = false)
    {
        _report.RemoveAll(l => l.StartsWith($"streams {slot} ", StringComparison.Ordinal));
        _report.Insert(4, $"streams {slot} {segment:X10}000000 {(hasAll ? 't' : 'f')}");
    }

    private async Task<string> RunAsync(bool dryRun = false)
    {
        var (code, output, error) = await RunAsync("604800", dryRun);
        Assert.Equal((0, ""), (code, error));
        return output;
    }

    private async Task<string> FailAsync(string seconds = "604800")
    {
        var (code, output, error) = await RunAsync(seconds, dryRun: false);
        Assert.Equal((1, "", 12), (code, output, Left().Length));
        return error;
    }

    // The server's answers come from a program in the place of psql; "exit N" ends it so.
    private async Task<(int Code, string Output, string Error)> RunAsync(string seconds, bool dryRun)
    {
        File.WriteAllText(In("psql"), "#!/bin/sh\ncat > /dev/null\n[ \"$1 $2\" = '-h a b' ] || exit 9\n"
            + string.Concat(_report.Select(l => l.StartsWith("exit", StringComparison.Ordinal) ? l + "\n" : $"echo '{l}'\n")));
        if (OperatingSystem.IsLinux())
        {
            File.SetUnixFileMode(In("psql"), UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.UserWrite);
        }

        var (code, error) = await _script.RunWithAsync($"exec > '{In("output")}'", Folder, [.. dryRun ? ["-n"] : (string[])[], _archive, seconds, In("state"), In("keys"), In("psql"), "-h", "a b"]);
        return (code, (await File.ReadAllTextAsync(In("output"))).TrimEnd(), error);
    }

    private int[] Left() => [.. Directory.GetFiles(_archive).Select(f => Path.GetFileName(f)).Where(IsWal).Order(StringComparer.Ordinal)
        .Select(n => int.Parse(n.AsSpan(16, 8), NumberStyles.HexNumber, CultureInfo.InvariantCulture)).Order()];

    private string[] Others() => [.. Directory.GetFiles(_archive).Select(f => Path.GetFileName(f)).Where(n => !IsWal(n)).Order(StringComparer.Ordinal)];

    private static bool IsWal(string name) => name.Length >= 24 && name.AsSpan(0, 24).IndexOfAnyExcept("0123456789ABCDEF") < 0 && !name.EndsWith(".backup", StringComparison.Ordinal) && !name.EndsWith(".bak", StringComparison.Ordinal);
}
