using System.Globalization;
using System.Management.Automation;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>A delayed standby that reads an archive of some segments, and what is wrong with them as each test has it.</summary>
public sealed class FilledArchiveHosts : PreparedHosts
{
    public FilledArchiveHosts()
        : base(Snapshots.Standby)
    {
        if (Lab.WhyNot() is null)
        {
            // No heartbeat and no timeout: segments come when a test says so.
            Run("$primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -HeartbeatInterval 0 -ArchiveTimeout 1.00:00:00 -Confirm:$false").ThrowOnError();
            Fill(10);

            // A mount that found no primary when the host came up is tried again every 5 s.
            AwaitMount();
            Lab.Shell(Lab.Primary, $"cp -a {TestWalArchiveTests.Directory} /var/tmp/archive-as-it-was");
        }
    }

    public void AwaitMount() => Assert.True(Waiting.Until(
        () => Lab.Shell(Lab.Standby, "timeout 10 cat /mnt/archive_wal_dir/pitrps-archive.id >/dev/null 2>&1 && echo there || echo gone").Trim() == "there", TimeSpan.FromSeconds(60)));

    /// <summary>So many finished segments, all of them archived.</summary>
    public string Fill(int segments)
    {
        var last = "";
        for (var i = 0; i < segments; i++)
        {
            Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
            last = Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
        }

        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Primary, $"SELECT last_archived_wal = '{last}' FROM pg_stat_archiver") == "t", TimeSpan.FromSeconds(60)), $"{last} was not archived.");
        return last;
    }
}

/// <summary>Test-WalArchive on a primary and through its standby's mount.</summary>
public sealed class TestWalArchiveTests(FilledArchiveHosts hosts) : IClassFixture<FilledArchiveHosts>
{
    public const string Directory = "/var/mnt/archive_wal_dir";

    [LabFact]
    public void A_good_archive_is_healthy_from_both_sides_and_nothing_is_touched()
    {
        Mend();
        var before = Tree();
        var start = DateTimeOffset.UtcNow;

        var primary = Test("$primary");

        Assert.Equal([], Warnings(primary));
        Assert.Equal(true, Of(primary, "IsHealthy"));
        Assert.Equal(0, Of(primary, "Missing"));
        Assert.Equal(Segments(), Names(primary, "Found"));
        Assert.Equal(Segments()[^1], Of(Nested(primary, "Archiver"), "LastArchived"));
        Assert.Equal(true, Of(Nested(primary, "Archiver"), "LastArchivedIsThere"));
        Assert.InRange((DateTimeOffset)Of(primary, "LastRecoverableTime")!, start.AddHours(-6), start);
        Assert.True((DateTimeOffset)Of(primary, "FirstRecoverableTime")! < (DateTimeOffset)Of(primary, "LastRecoverableTime")!);
        Assert.True((long)Of(primary, "DiskFree")! > 0);

        // The standby needs less, and gets the same of it. sshfs keeps what it has seen for 20 s.
        PSObject standby = null!;
        Assert.True(Waiting.Until(() => Of(standby = Test("$standby"), "IsHealthy") is true && Names(standby, "Found") is [.., var last] && last == Segments()[^1], TimeSpan.FromSeconds(60)));
        Assert.EndsWith(string.Join(' ', Names(standby, "Found")), string.Join(' ', Segments()));
        Assert.Equal([], Warnings(standby));
        Assert.Equal(Of(primary, "LastRecoverable"), Of(standby, "LastRecoverable"));
        Assert.Equal(Of(primary, "LastRecoverableTime"), Of(standby, "LastRecoverableTime"));
        Assert.NotNull(Of(standby, "NeededFrom"));
        Assert.Null(Of(standby, "Archiver"));
        Assert.Equal(before, Tree());
    }

    [LabFact]
    public void Every_fault_is_called_by_its_name_on_the_primary_and_through_the_mount()
    {
        Mend();
        var s = Segments()[^10..];
        OnPrimary($"""
            rm {s[1]}
            truncate -s 0 {s[2]} && truncate -s 16777216 {s[2]}
            truncate -s 1000000 {s[3]}
            printf '\001\002\003\004\005\006\007\010' | dd of={s[4]} bs=1 seek=24 conv=notrunc
            printf '\007' | dd of={s[5]} bs=1 seek=4 conv=notrunc
            cp {s[6]} {s[6]}.partial
            gzip -k {s[7]}
            cp {s[8]} {s[9]}
            """);
        string[] expected =
        [
            $"{s[1]} Missing", $"{s[2]} Zeroed", $"{s[3]} Short", $"{s[4]} WrongCluster", $"{s[5]} WrongTimeline", $"{s[6]} Duplicate", $"{s[7]} Duplicate", $"{s[9]} Damaged",
        ];

        var report = Test("$primary");

        Assert.Equal(expected, Problems(report));
        Assert.Equal(false, Of(report, "IsHealthy"));
        Assert.Contains(Warnings(report), w => w.Contains("it is of the cluster 578437695752307201", StringComparison.Ordinal));
        Assert.Contains($"2 segments are there twice, {s[6]} to {s[7]}: also as {s[6]}.partial (the first).", Warnings(report));
        Assert.Equal(Start(s[6]), Of(report, "FirstRecoverable")!.ToString());

        // sshfs keeps what it has seen for 20 s.
        Assert.True(Waiting.Until(() => Problems(Test("$standby")).SequenceEqual(expected), TimeSpan.FromSeconds(60)));
    }

    [LabFact]
    public void What_the_archiver_cannot_archive_waits_and_is_not_missing()
    {
        Mend();

        // At a boundary the name would be that of the segment before.
        hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
        var next = hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())");
        OnPrimary($"echo 'somebody was here' > {next}");
        try
        {
            var first = hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
            Assert.Equal(next, first);
            hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
            var second = hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
            Assert.True(Waiting.Until(() => hosts.Lab.Psql(Lab.Primary, $"SELECT last_failed_wal = '{first}' FROM pg_stat_archiver") == "t", TimeSpan.FromSeconds(60)));

            Assert.Contains($"pitrps-archive: {Directory}/{first} exists with other content and is not overwritten", hosts.Lab.Shell(Lab.Primary, "cat /var/log/postgresql/postgresql-15-main.log"), StringComparison.Ordinal);

            var report = Test("$primary");

            Assert.Equal([$"{first} Short"], Problems(report));
            Assert.Equal([second], Names(report, "Waiting"));
            Assert.Contains(Warnings(report), w => w.StartsWith($"archive_command fails for {first}", StringComparison.Ordinal));
            Assert.Equal(Start(first), Of(report, "LastRecoverable")!.ToString());
        }
        finally
        {
            Mend();
            hosts.Fill(1);
            OnPrimary($"rm -rf /var/tmp/archive-as-it-was && cp -a {Directory} /var/tmp/archive-as-it-was");
        }
    }

    [LabFact]
    public void Thirty_thousand_segments_are_a_matter_of_seconds()
    {
        var cluster = hosts.Lab.Shell(Lab.Primary, $"od -A n -t u1 -N 8 {hosts.Data}/global/pg_control").Trim();
        hosts.Lab.Shell(Lab.Primary, $$"""
            install -d -o postgres -g postgres /srv/many && cd /srv/many || exit
            LC_ALL=C awk -v id='{{cluster}}' 'BEGIN {
              split(id, c, " ")
              for (n = 1; n <= 30000; n++) {
                f = sprintf("00000001%08X%08X", int(n / 256), n % 256)
                printf "%c%c%c%c%c%c%c%c", 16, 209, 2, 0, 1, 0, 0, 0 > f
                printf "%c%c%c%c%c%c%c%c%c%c%c%c%c%c%c%c", 0, 0, 0, n % 256, int(n / 256), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 > f
                for (i = 1; i <= 8; i++) printf "%c", c[i] > f
                printf "%c%c%c%c%c%c%c%c", 0, 0, 0, 1, 0, 32, 0, 0 > f
                close(f)
              }
            }' && find . -type f -print0 | xargs -0 truncate -s 16M && rm 000000010000005000000007 && chown -R postgres . && find . -type f | wc -l
            """);
        try
        {
            var report = Test("$primary", "-Path /srv/many");

            Assert.Equal(29_999, Of(report, "Found"));
            Assert.Equal(["000000010000005000000007 Missing"], Problems(report));
            Assert.Equal("75/31000000", Of(report, "LastRecoverable")!.ToString());
            Assert.InRange((TimeSpan)Of(report, "Elapsed")!, TimeSpan.Zero, TimeSpan.FromSeconds(30));
        }
        finally
        {
            hosts.Lab.Shell(Lab.Primary, "rm -rf /srv/many");
        }
    }

    [LabFact]
    public void What_cannot_be_tested_is_an_error_with_a_next_step()
    {
        Mend();
        OnPrimary("mv pitrps-archive.id /var/tmp/marker");
        try
        {
            hosts.Run("$primary | Test-WalArchive").SingleError("PitrPS.ArchiveMarkerMissing");
            Assert.Equal(0, Of(Test("$primary", $"-Path {Directory}"), "Missing"));
        }
        finally
        {
            OnPrimary("mv /var/tmp/marker pitrps-archive.id");
        }

        var error = hosts.Run("$primary | Test-WalArchive -Path /no/such/directory").SingleError("PitrPS.ArchiveUnreachable");
        Assert.Contains("No such file or directory", error.Exception.Message);
        hosts.Run("$primary | Test-WalArchive -Path relative").SingleError("PitrPS.InvalidPath");
        hosts.Run("$standby | Test-WalArchive -Path /tmp").ThrowOnError();
    }

    [LabFact]
    public void A_mount_that_hangs_is_an_error_and_not_waited_for()
    {
        hosts.Lab.Shell(Lab.Standby, "kill -STOP $(systemctl show -p MainPID --value pitrps-archive-15-main.service)");
        try
        {
            var error = hosts.Run("$standby | Test-WalArchive").SingleError("PitrPS.ArchiveUnreachable");
            Assert.Contains("/mnt/archive_wal_dir does not answer", error.Exception.Message);
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, "kill -CONT $(systemctl show -p MainPID --value pitrps-archive-15-main.service)");
            hosts.AwaitMount();
        }
    }

    [LabFact]
    public void A_view_says_first_whether_it_can_be_trusted()
    {
        Mend();
        OnPrimary($"rm {Segments()[^3]}");

        var table = hosts.Engine.Render("$primary | Test-WalArchive");

        Assert.Matches(@"primary:15/main\s+False\s+\d+\s+1\s+1\s+0\s+20\d\d-", table);
        Assert.Contains($"{Segments()[^2]}", hosts.Engine.Render("($primary | Test-WalArchive).Segments"));
    }

    private PSObject Test(string server, string arguments = "") => hosts.Run($"{server} | Test-WalArchive {arguments}").Single();

    private static object? Of(PSObject report, string property) => report.Properties[property].Value;

    private static PSObject Nested(PSObject report, string property) => PSObject.AsPSObject(Of(report, property)!);

    private static string[] Warnings(PSObject report) => [.. ((IEnumerable<string>)Of(report, "Warnings")!)];

    private static string[] Problems(PSObject report) => [.. ((IEnumerable<object>)Of(report, "Problems")!).Select(p => p.ToString()!)];

    private static string[] Names(PSObject report, string state) =>
        [.. ((IEnumerable<object>)Of(report, "Segments")!).Select(PSObject.AsPSObject).Where(s => Of(s, "State")!.ToString() == state).Select(s => (string)Of(s, "Name")!)];

    private static string Start(string segment) =>
        string.Create(CultureInfo.InvariantCulture, $"{uint.Parse(segment[8..16], NumberStyles.HexNumber):X}/{ulong.Parse(segment[16..], NumberStyles.HexNumber) << 24:X}");

    private void OnPrimary(string script) => hosts.Lab.Shell(Lab.Primary, $"cd {Directory} && set -e\n{script}");

    private string[] Segments() => hosts.Lab.Shell(Lab.Primary, $"ls {Directory} | grep -x '[0-9A-F]*'").Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private string Tree() => hosts.Lab.Shell(Lab.Primary, $"find {Directory} -printf '%p %s %T@ %C@ %m %u\\n' | sort");

    private void Mend() => hosts.Lab.Shell(Lab.Primary, $"cd {Directory} && find . -maxdepth 1 -name '0*' -delete && cp -a /var/tmp/archive-as-it-was/0* .");
}
