using System.Globalization;
using System.Management.Automation;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>Enable- and Disable-WalArchive on a primary that Install-PgServer made. Each test leaves the primary without an archive.</summary>
public sealed class WalArchiveTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>, IDisposable
{
    private const string Directory = "/var/mnt/archive_wal_dir";

    public void Dispose()
    {
        if (Lab.WhyNot() is null)
        {
            hosts.Run("$primary | Disable-WalArchive -Confirm:$false").ThrowOnError();
            hosts.Lab.Shell(Lab.Primary, "rm -rf /var/mnt");
        }
    }

    [LabFact]
    public void WhatIf_shows_the_plan_and_changes_nothing()
    {
        var run = hosts.Run($"$primary | Enable-WalArchive -Path '{Directory}' -WhatIf").ThrowOnError();

        Assert.Equal(true, Of(run.Single(), "IsPlanned"));
        Assert.Equal(Directory, Of(run.Single(), "ArchiveDirectory"));
        Assert.Contains($"make directory {Directory} (2750, postgres:pitrps-archive-15-main)", run.HostText);
        Assert.Contains("archive_command = '/usr/local/lib/pitrps/pitrps-archive /var/mnt/archive_wal_dir \"%p\" \"%f\"'", run.HostText);
        Assert.Contains("OnUnitActiveSec=60", run.HostText);
        Assert.Contains("archive_timeout = '60s'", run.HostText);
        Assert.Contains("is restarted, and its sessions are ended, because of archive_mode", run.HostText);
        Assert.Equal("off", Setting("archive_mode"));
        Assert.Equal("absent", hosts.Lab.Shell(Lab.Primary, $"[ -e {Directory} ] || getent group pitrps-archive-15-main || [ -e /usr/local/lib/pitrps ] || echo absent").Trim());
    }

    [LabFact]
    public void Archives_durably_for_the_readers_group_alone_and_a_second_run_finds_all_done()
    {
        var server = Server("$primary | Enable-WalArchive $path -HeartbeatInterval 00:00:01 -ArchiveTimeout 00:02:00 -Confirm:$false");

        Assert.Equal(Directory, Of(server, "ArchiveDirectory"));
        Assert.Equal(false, Of(server, "IsPlanned"));
        Assert.Equal("on replica 120", hosts.Lab.Psql(Lab.Primary, "SELECT concat_ws(' ', current_setting('archive_mode'), current_setting('wal_level'), extract(epoch FROM current_setting('archive_timeout')::interval)::int)"));
        Assert.Equal("2750 postgres pitrps-archive-15-main", hosts.Lab.Exec(Lab.Primary, "stat", "-c", "%a %U %G", Directory).Trim());
        var segment = hosts.Lab.Psql(Lab.Primary, "SELECT last_archived_wal FROM pg_stat_archiver");
        Assert.Equal("640 postgres pitrps-archive-15-main 16777216", hosts.Lab.Exec(Lab.Primary, "stat", "-c", "%a %U %G %s", $"{Directory}/{segment}").Trim());
        foreach (var user in new[] { "nobody", "dba" })
        {
            Assert.Equal("refused", hosts.Lab.Shell(Lab.Primary, $"runuser -u {user} -- ls {Directory} 2>/dev/null || runuser -u {user} -- cat {Directory}/{segment} 2>/dev/null || echo refused").Trim());
        }

        Assert.Contains($"system_identifier={Of(server, "SystemIdentifier")}\n", hosts.Lab.Exec(Lab.Primary, "cat", $"{Directory}/pitrps-archive.id"));

        // The heartbeat: transactions happen although nobody writes.
        Assert.True(Waiting.Until(() => Xid() >= 3 + FirstXid()));

        // And a segment of little more than that takes little room.
        hosts.Lab.Psql(Lab.Primary, "SELECT pg_switch_wal()");
        var xid = Xid();
        Assert.True(Waiting.Until(() => Xid() > xid));
        var beat = hosts.Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
        Assert.True(Waiting.Until(() => hosts.Lab.Psql(Lab.Primary, $"SELECT last_archived_wal >= '{beat}' FROM pg_stat_archiver") == "t"));
        var (size, blocks) = hosts.Lab.Exec(Lab.Primary, "stat", "-c", "%s %b", $"{Directory}/{beat}").Trim().Split(' ') is [var all, var used] ? (all, int.Parse(used, CultureInfo.InvariantCulture)) : default;
        Assert.Equal("16777216", size);
        Assert.InRange(blocks * 512, 1, 128 * 1024);

        var again = hosts.Run($"$primary | Enable-WalArchive '{Directory}' -HeartbeatInterval 00:00:01 -ArchiveTimeout 00:02:00 -Confirm:$false").ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText);
        Assert.Equal(beat, hosts.Lab.Psql(Lab.Primary, "SELECT last_archived_wal FROM pg_stat_archiver"));

        using var tomorrow = hosts.NewSession();
        Assert.Equal(Directory, Of(tomorrow.Get("$primary")[0], "ArchiveDirectory"));

        // No heartbeat any more, nothing else changed: no restart.
        var started = hosts.Lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()");
        Server("$primary | Enable-WalArchive $path -HeartbeatInterval 0 -ArchiveTimeout 00:02:00 -Confirm:$false");
        Assert.Equal("", hosts.Lab.Shell(Lab.Primary, "ls /etc/systemd/system | grep heartbeat; systemctl is-active --quiet pitrps-heartbeat-15-main.timer && echo active; true").Trim());
        Assert.Equal(started, hosts.Lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()"));
    }

    [LabFact]
    public void A_full_disk_loses_nothing_and_archiving_goes_on_by_itself()
    {
        hosts.Lab.Shell(Lab.Primary, $"mkdir -p {Directory} && mount -t tmpfs -o size=40m tmpfs {Directory}");
        try
        {
            Server("$primary | Enable-WalArchive $path -HeartbeatInterval 0 -Confirm:$false");
            hosts.Lab.Shell(Lab.Primary, $"head -c 40M /dev/zero > {Directory}/filler 2>/dev/null; true");
            hosts.Lab.Psql(Lab.Primary, "CREATE TABLE filling AS SELECT md5(i::text) FROM generate_series(1, 100000) i; SELECT pg_switch_wal()");
            Assert.True(Waiting.Until(() => hosts.Lab.Psql(Lab.Primary, "SELECT failed_count > 0 FROM pg_stat_archiver") == "t"));
            var failed = hosts.Lab.Psql(Lab.Primary, "SELECT last_failed_wal FROM pg_stat_archiver");
            Assert.Equal("pitrps-archive.id", hosts.Lab.Shell(Lab.Primary, $"cd {Directory} && ls -A | grep -v -e filler -e '^0'").Trim());

            var error = hosts.Run("$primary | Enable-WalArchive $path -HeartbeatInterval 0 -Confirm:$false").SingleError("PitrPS.ArchiveNotWorking");
            Assert.Contains("No space left on device", error.Exception.Message);

            // Begun with one directory and not ended: not gone on with another one in silence.
            hosts.Run("$primary | Enable-WalArchive -Path /var/mnt/other -HeartbeatInterval 0 -Confirm:$false").SingleError("PitrPS.UnfinishedOperation");

            hosts.Lab.Shell(Lab.Primary, $"rm {Directory}/filler");
            Server("$primary | Enable-WalArchive $path -HeartbeatInterval 0 -Confirm:$false");
            Assert.Equal("same", hosts.Lab.Shell(Lab.Primary, $"[ $(stat -c %s {Directory}/{failed}) = 16777216 ] && ! ls {Directory}/.pitrps-archive.copy* 2>/dev/null && echo same").Trim());
        }
        finally
        {
            hosts.Run("$primary | Disable-WalArchive -Confirm:$false");
            hosts.Lab.Shell(Lab.Primary, $"umount -l {Directory}");
        }
    }

    [LabFact]
    public void Somebody_elses_archiving_is_not_taken_away_without_Force_and_comes_back()
    {
        hosts.Lab.Psql(Lab.Primary, "ALTER SYSTEM SET archive_mode = on");
        hosts.Lab.Psql(Lab.Primary, "ALTER SYSTEM SET archive_command = 'cp %p /srv/theirs/%f'");
        hosts.Lab.Exec(Lab.Primary, "systemctl", "restart", "postgresql@15-main");
        try
        {
            var error = hosts.Run("$primary | Enable-WalArchive $path -Confirm:$false", ("path", Directory)).SingleError("PitrPS.ArchiveCommandExists");
            Assert.Contains("cp %p /srv/theirs/%f", error.Exception.Message);
            Assert.Contains("pitrps-archive /var/mnt/archive_wal_dir", error.Exception.Message);
            Assert.Equal("cp %p /srv/theirs/%f", Setting("archive_command"));

            Server("$primary | Enable-WalArchive $path -Force -Confirm:$false");
            Assert.StartsWith("/usr/local/lib/pitrps/pitrps-archive ", Setting("archive_command"));

            Assert.Null(Of(Server("$primary | Disable-WalArchive -Confirm:$false"), "ArchiveDirectory"));
            Assert.Equal("cp %p /srv/theirs/%f", Setting("archive_command"));
            Assert.Equal("on", Setting("archive_mode"));
        }
        finally
        {
            hosts.Lab.Psql(Lab.Primary, "ALTER SYSTEM RESET archive_mode");
            hosts.Lab.Psql(Lab.Primary, "ALTER SYSTEM RESET archive_command");
            hosts.Lab.Exec(Lab.Primary, "systemctl", "restart", "postgresql@15-main");
        }
    }

    [LabFact]
    public void Refuses_what_cannot_be_before_anything_has_changed()
    {
        hosts.Lab.Shell(Lab.Primary, "mkdir -p /var/mnt/full /var/mnt/other && echo x > /var/mnt/full/thesis.txt && printf 'format=1\\nsystem_identifier=42\\nwal_segment_size=16777216\\n' > /var/mnt/other/pitrps-archive.id");

        foreach (var (arguments, id) in new[]
        {
            ("-Path relative", "PitrPS.InvalidPath"),
            ("-Path /var/lib/postgresql/15/main/archive", "PitrPS.InvalidPath"),
            ("-Path /var/mnt/full", "PitrPS.ArchiveDirectoryInUse"),
            ("-Path /var/mnt/other -Force", "PitrPS.ArchiveOfAnotherCluster"),
            ("-Path /var/mnt/x -HeartbeatInterval 60", "PitrPS.InvalidInterval"), // 60 ticks
            ("-Path /var/mnt/x -ArchiveTimeout 0", "PitrPS.InvalidInterval"),
        })
        {
            hosts.Run($"$primary | Enable-WalArchive {arguments} -Confirm:$false").SingleError(id);
        }

        hosts.Run($"$primary | Enable-WalArchive -Path {Directory} -WhatIf | Enable-WalArchive -Path {Directory} -Confirm:$false").SingleError("PitrPS.PlannedObject");
        hosts.Run($"$primary | Enable-WalArchive -Path {Directory}").SingleError("PitrPS.ConfirmationRequired");
        Assert.Equal("off", Setting("archive_mode"));
        Assert.Equal("x", hosts.Lab.Shell(Lab.Primary, "ls -A /var/mnt/full | tr -d '\\n' | grep -x thesis.txt >/dev/null && cat /var/mnt/full/thesis.txt").Trim());
    }

    private int _first;

    private int FirstXid() => _first == 0 ? _first = Xid() : _first;

    private int Xid() => int.Parse(hosts.Lab.Psql(Lab.Primary, "SELECT pg_snapshot_xmax(pg_current_snapshot())"), CultureInfo.InvariantCulture);

    private PSObject Server(string script) => hosts.Run(script, ("path", Directory)).Single();

    private static object? Of(PSObject server, string property) => server.Properties[property].Value;

    private string Setting(string name) => hosts.Lab.Psql(Lab.Primary, $"SHOW {name}");
}
