using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>
/// A primary whose archive is compressed by zstd, and a delayed standby that was stopped before a table was dropped: what its recovery needs is in the archive alone.
/// </summary>
public sealed class CompressedHosts : PreparedHosts
{
    public const string Directory = "/var/mnt/archive_wal_dir";
    public const string MountPoint = "/mnt/archive_wal_dir";

    public CompressedHosts()
        : base(Snapshots.Installed)
    {
        if (Lab.WhyNot() is not null)
        {
            return;
        }

        Assert.Equal("no zstd", Lab.Shell(Lab.Primary, "command -v zstd || echo no zstd").Trim());
        Run($"""
            $primary = $primary | Enable-WalArchive -Path {Directory} -Compression Zstd -HeartbeatInterval 0 -Confirm:$false
            $standby = $standby | Mount-WalArchive -Primary $primary -MountPoint {MountPoint} -Confirm:$false | New-PgStandby -Primary $primary -Confirm:$false
            """).ThrowOnError();
        Lab.Psql(Lab.Primary, "CREATE TABLE pitr2 AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 20000) g");
        Waiting.For("replay", () => Lab.Psql(Lab.Standby, "SELECT to_regclass('pitr2') IS NOT NULL") == "t");
        Run("$standby = $standby | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false").ThrowOnError();
    }

    /// <summary>Finishes a segment with something in it, and waits until it is archived; its name.</summary>
    public string Switch()
    {
        Lab.Psql(Lab.Primary, "INSERT INTO filling SELECT md5(g::text) FROM generate_series(1, 5000) g");
        var segment = Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
        Waiting.For($"{segment} in the archive", () => string.CompareOrdinal(Lab.Psql(Lab.Primary, "SELECT last_archived_wal FROM pg_stat_archiver"), segment) >= 0);
        return segment;
    }
}

/// <summary>Enable-WalArchive -Compression: what is written, what everything that reads makes of it, and the whole way back of a table.</summary>
public sealed class CompressedArchiveTests(CompressedHosts hosts) : IClassFixture<CompressedHosts>
{
    private Lab Lab => hosts.Lab;

    [LabFact]
    public void Segments_of_all_kinds_lie_side_by_side_and_a_table_comes_back_out_of_them()
    {
        Lab.Psql(Lab.Primary, "CREATE TABLE filling (v text)");
        Written_compressed_readable_as_before_and_kept_as_set();
        Refused_before_anything_changes_where_the_program_is_not_to_be_had();

        // The standby is gone meanwhile, and the primary's pg_wal forgets nothing: so what it lacks is read from the archive because it does not stream.
        Lab.Shell(Lab.Standby, $"systemctl stop {hosts.ServiceUnit}");
        var zstd = hosts.Switch();
        hosts.Run($"$primary = $primary | Enable-WalArchive {CompressedHosts.Directory} -Compression Lz4 -HeartbeatInterval 0 -Confirm:$false").ThrowOnError();
        Lab.Psql(Lab.Primary, "DROP TABLE pitr2");
        var lz4 = hosts.Switch();
        hosts.Run($"$primary = $primary | Enable-WalArchive {CompressedHosts.Directory} -Compression None -HeartbeatInterval 0 -Confirm:$false").ThrowOnError();
        var plain = hosts.Switch();
        Assert.Equal([zstd + ".zst", lz4 + ".lz4", plain], Files().Where(f => f.StartsWith(zstd, StringComparison.Ordinal) || f.StartsWith(lz4, StringComparison.Ordinal) || f == plain));
        Assert.Equal("/usr/bin/lz4", OnStandby("command -v lz4 || { apt-get -q update && apt-get -q -y install lz4; } >/dev/null 2>&1; command -v lz4"));
        Said_by_Test_WalArchive(zstd, lz4, plain);

        // Through the mount, out of compressed segments, and nothing of them is left.
        var incident = Assert.Single(hosts.Get("$standby = $standbyHost | Get-PgServer; $incident = $standby | Find-PgIncident -Table pitr2; $incident"));
        Assert.Equal("DropTable", $"{incident.Properties["Kind"].Value}");
        Assert.Equal("", OnStandby("ls -d /tmp/pitrps-wal.* /tmp/tmp.* 2>/dev/null; true"));
        Assert.Equal("", OnStandby($"ls {hosts.Data}/pg_wal | grep {lz4}; true"));

        var restored = hosts.Get("$incident | Invoke-PitrRecovery -Confirm:$false | Restore-PgTable -To $primary -Confirm:$false | ForEach-Object { $_; $_ | Complete-PitrRecovery -Confirm:$false | Out-Null }");
        Assert.Equal("20000", $"{restored[0].Properties["RowsRestored"].Value}");
        Assert.Equal("20000", Lab.Psql(Lab.Primary, "SELECT count(*) FROM pitr2"));
    }

    private void Written_compressed_readable_as_before_and_kept_as_set()
    {
        var segment = hosts.Switch();
        Assert.Equal("640 postgres pitrps-archive-15-main", Lab.Shell(Lab.Primary, $"stat -c '%a %U %G' {CompressedHosts.Directory}/{segment}.zst").Trim());
        Assert.Contains("SUCCESS", Lab.Shell(Lab.Primary, $"cd {CompressedHosts.Directory} && zstd -dqc {segment}.zst | cmp - /var/lib/postgresql/15/main/pg_wal/{segment} && echo SUCCESS"));
        Assert.Equal("", Lab.Shell(Lab.Primary, $"ls -A {CompressedHosts.Directory} | grep -v -e '^[0-9A-F]*\\.zst$' -e '\\.backup$' -e '^pitrps-archive.id$'; true").Trim());
        Assert.Equal("refused", Lab.Shell(Lab.Primary, $"runuser -u nobody -- cat {CompressedHosts.Directory}/{segment}.zst 2>/dev/null || echo refused").Trim());

        using var tomorrow = hosts.NewSession();
        Assert.Equal("Zstd", tomorrow.Get("$primary.ArchiveCompression")[0].ToString());
        var again = tomorrow.Run($"$primary | Enable-WalArchive {CompressedHosts.Directory} -HeartbeatInterval 0 -Confirm:$false").ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText);
    }

    private void Refused_before_anything_changes_where_the_program_is_not_to_be_had()
    {
        Lab.Shell(Lab.Primary, "mv /etc/apt/sources.list.d /etc/apt/sources.away && mkdir /etc/apt/sources.list.d && rm -rf /var/lib/apt/lists && apt-get -q update >/dev/null 2>&1");
        var before = State();
        try
        {
            var error = hosts.Run($"$primary | Enable-WalArchive {CompressedHosts.Directory} -Compression Lz4 -HeartbeatInterval 0 -Confirm:$false").SingleError("PitrPS.CompressionUnavailable");
            Assert.Contains("package lz4", error.ErrorDetails.RecommendedAction);
            Assert.Equal(before, State());
        }
        finally
        {
            Lab.Shell(Lab.Primary, "rm -rf /etc/apt/sources.list.d && mv /etc/apt/sources.away /etc/apt/sources.list.d && apt-get -q update >/dev/null 2>&1");
        }

        string State() => Lab.Shell(Lab.Primary, "cat /etc/postgresql/15/main/conf.d/50-pitrps.conf /var/lib/pitrps/servers/*; ls -l --full-time /usr/local/lib/pitrps");
    }

    private void Said_by_Test_WalArchive(string zstd, string lz4, string plain)
    {
        var report = hosts.Get("$primary | Test-WalArchive")[0];
        Assert.True(report.Properties["IsHealthy"].Value is true, string.Join('\n', (IEnumerable<string>)report.Properties["Warnings"].Value));
        foreach (var server in new[] { "$primary", "($standbyHost | Get-PgServer)" })
        {
            var said = string.Join('\n', hosts.Get($"$r = {server} | Test-WalArchive; $r.Segments | ForEach-Object {{ \"$_\" }}; $r.Problems; $r.Warnings | Where-Object {{ $_ -notmatch 'does not run' }}").Select(s => s.ToString()));
            Assert.Contains($"{zstd}.zst Found\n{lz4}.lz4 Found\n{plain} Found", said);
            Assert.DoesNotContain("looked into", said);
        }

        // The times of the first and the last COMMIT come out of segments, not off their files.
        Assert.InRange((DateTimeOffset)report.Properties["LastRecoverableTime"].Value, (DateTimeOffset)report.Properties["FirstRecoverableTime"].Value, DateTimeOffset.UtcNow);

        // A second one of the same name, and one that is damaged.
        Lab.Shell(Lab.Primary, $"cd {CompressedHosts.Directory} && runuser -u postgres -- zstd -q -d -k {zstd}.zst && runuser -u postgres -- sh -c 'cp -p {lz4}.lz4 kept && head -c 60 kept > {lz4}.lz4'");
        var problems = string.Join('\n', hosts.Get("($primary | Test-WalArchive).Problems").Select(s => $"{s}: {s.Properties["Detail"].Value}"));
        Assert.Contains($"{zstd} Duplicate: also as {zstd}.zst", problems);
        Assert.Contains($"{lz4}.lz4 Damaged: it cannot be decompressed", problems);
        Lab.Shell(Lab.Primary, $"cd {CompressedHosts.Directory} && rm {zstd} && mv kept {lz4}.lz4");
    }

    private string[] Files() => Lab.Shell(Lab.Primary, $"ls {CompressedHosts.Directory}").Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private string OnStandby(string script) => Lab.Shell(Lab.Standby, script).Trim();
}
