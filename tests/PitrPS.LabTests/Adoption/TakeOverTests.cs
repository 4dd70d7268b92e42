using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Adoption;

/// <summary>A primary that archives in its owner's own way, and its delayed standby, are taken over as they run, and given back.</summary>
public abstract class TakeOverTests(ForeignHosts hosts)
{
    private const string Theirs = "test ! -f /srv/theirs/%f && cp %p /srv/theirs/%f";

    private string Primary(string sql) => hosts.Lab.Psql(Lab.Primary, sql);

    private string Standby(string sql) => hosts.Lab.Psql(Lab.Standby, sql);

    private string Started(string host) => hosts.Lab.Psql(host, "SELECT pg_postmaster_start_time()");

    private string Files(string host) => hosts.Lab.Shell(host, $"cd /; find {hosts.Config} {hosts.Data}/postgresql.auto.conf -type f ! -name start.conf | sort | xargs sha256sum; cat {hosts.Config}/pg_hba.conf");

    private void Wait(string what, string host, string sql)
    {
        var until = DateTimeOffset.UtcNow.AddSeconds(60);
        while (hosts.Lab.Psql(host, sql) != "t")
        {
            Assert.True(DateTimeOffset.UtcNow < until, $"It took too long: {what}.");
            Task.Delay(100).Wait();
        }
    }

    private void AreTakenOverAndGivenBack(bool standbyRestarts)
    {
        hosts.Lab.Shell(Lab.Primary,
            $"""
            install -d -o postgres /srv/theirs
            printf '%s\n' 'archive_mode = on' "archive_command = '{Theirs}'" 'archive_timeout = 77' > {hosts.Config}/conf.d/99-theirs.conf
            systemctl restart {hosts.ServiceUnit}
            """);
        hosts.Lab.Shell(Lab.Standby, $"printf '%s\\n' \"recovery_min_apply_delay = '2h'\" \"restore_command = 'cp /mnt/theirs/%f %p'\" >> {hosts.Config}/postgresql.conf; systemctl restart {hosts.ServiceUnit}");
        Wait("streaming", Lab.Standby, "SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'");
        var (primaryFiles, standbyFiles) = (Files(Lab.Primary), Files(Lab.Standby));
        var (primaryStarted, standbyStarted) = (Started(Lab.Primary), Started(Lab.Standby));

        hosts.Get("$primary = $primaryHost | Install-PgServer -Confirm:$false; $standby = $standbyHost | Install-PgServer -Confirm:$false");
        Assert.Equal("localhost *", $"{Standby("SHOW listen_addresses")} {Primary("SHOW listen_addresses")}");

        var refused = hosts.Run("$primary | Enable-WalArchive -Path /var/mnt/wal -Confirm:$false").SingleError("PitrPS.ArchiveCommandExists");
        Assert.Contains(Theirs, refused.Exception.Message, StringComparison.Ordinal);
        Assert.Contains("/usr/local/lib/pitrps/pitrps-archive /var/mnt/wal", refused.Exception.Message, StringComparison.Ordinal);
        Assert.Equal(Theirs, Primary("SHOW archive_command"));

        hosts.Get("$primary = $primary | Enable-WalArchive -Path /var/mnt/wal -Force -Confirm:$false");
        Assert.Contains("pitrps-archive /var/mnt/wal", Primary("SHOW archive_command"), StringComparison.Ordinal);
        hosts.Get("$standby = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/wal -Confirm:$false");
        Assert.Equal((primaryStarted, standbyStarted), (Started(Lab.Primary), Started(Lab.Standby)));

        hosts.Get("$standby = $standby | New-PgStandby -Primary $primary -Confirm:$false");
        Assert.Equal(primaryStarted, Started(Lab.Primary));
        Assert.Equal(standbyRestarts, standbyStarted != Started(Lab.Standby));
        Assert.Equal("t theirs 7200000", Standby("SELECT concat_ws(' ', pg_is_in_recovery(), current_setting('primary_slot_name'), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'))"));
        Assert.Contains("sslmode=verify-ca", Standby("SHOW primary_conninfo"), StringComparison.Ordinal);
        Assert.Contains("pitrps-restore", Standby("SHOW restore_command"), StringComparison.Ordinal);
        Assert.Equal("theirs", Primary("SELECT string_agg(slot_name, ' ') FROM pg_replication_slots"));
        // The connection it has goes on until it has applied what it holds back; a delayed standby asks for another one only then.
        Assert.Equal("2:00:00 Replaying", $"{hosts.Get("$standby | Get-ReplicationStatus").Select(s => $"{s.Properties["Delay"].Value} {s.Properties["Replay"].Value}").Single().TrimStart('0')}");

        // Twice is the same as once.
        var again = hosts.Run("$standby | New-PgStandby -Primary $primary -Confirm:$false").ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText, StringComparison.Ordinal);

        hosts.Get("$standby = $standby | Remove-PgStandby -Primary $primary -Confirm:$false");
        hosts.Get("$null = $standby | Dismount-WalArchive -Primary $primary -Confirm:$false; $null = $primary | Disable-WalArchive -Confirm:$false");
        Assert.Equal((Theirs, "on", "77s"), (Primary("SHOW archive_command"), Primary("SHOW archive_mode"), Primary("SELECT setting || unit FROM pg_settings WHERE name = 'archive_timeout'")));
        Assert.Equal(primaryStarted, Started(Lab.Primary));
        Assert.Equal(standbyFiles, Files(Lab.Standby));

        // The role that Install-PgServer made stays, with its lines in pg_hba.conf; the rest is theirs.
        hosts.Lab.Shell(Lab.Primary, $"sed -i '/^# PitrPS begin pitrps$/,/^# PitrPS end pitrps$/d' {hosts.Config}/pg_hba.conf");
        Assert.Equal(primaryFiles, Files(Lab.Primary));
    }

    [Trait("Category", "Long")]
    public sealed class On13(ForeignHosts13 hosts) : TakeOverTests(hosts), IClassFixture<ForeignHosts13>
    {
        /// <summary>On 13 a restore_command counts from a restart on.</summary>
        [LabFact]
        public void Nothing_is_restarted_that_need_not_be_and_nothing_is_overwritten() => AreTakenOverAndGivenBack(standbyRestarts: true);
    }

    public sealed class On15(ForeignHosts hosts) : TakeOverTests(hosts), IClassFixture<ForeignHosts>
    {
        [LabFact]
        public void Nothing_is_restarted_and_nothing_is_overwritten() => AreTakenOverAndGivenBack(standbyRestarts: false);
    }

    /// <summary>From 15 on a library may archive in the place of a command.</summary>
    public sealed class OfALibrary(ForeignHosts hosts) : IClassFixture<ForeignHosts>
    {
        private string Primary(string sql) => hosts.Lab.Psql(Lab.Primary, sql);

        [LabFact]
        public void Gives_way_with_Force_without_a_restart_and_comes_back()
        {
            hosts.Lab.Shell(Lab.Primary,
                $"""
                install -d -o postgres /srv/library
                printf '%s\n' 'archive_mode = always' "archive_library = 'basic_archive'" "basic_archive.archive_directory = '/srv/library'" >> {hosts.Config}/postgresql.conf
                systemctl restart {hosts.ServiceUnit}
                """);
            var (started, file) = (Primary("SELECT pg_postmaster_start_time()"), hosts.Lab.Shell(Lab.Primary, $"sha256sum {hosts.Config}/postgresql.conf"));

            var refused = hosts.Run("$primary | Get-PgServer | Enable-WalArchive -Path /var/mnt/wal -Confirm:$false").SingleError("PitrPS.ArchiveCommandExists");
            Assert.Contains("archive_library 'basic_archive'", refused.Exception.Message, StringComparison.Ordinal);

            hosts.Get("$primary = $primary | Get-PgServer | Enable-WalArchive -Path /var/mnt/wal -Force -Confirm:$false");
            Assert.Equal("always|", Primary("SELECT current_setting('archive_mode'), current_setting('archive_library')"));
            Assert.NotEqual("", hosts.Lab.Shell(Lab.Primary, "ls /var/mnt/wal | grep '^0'"));

            hosts.Get("$primary | Disable-WalArchive -Confirm:$false");
            Assert.Equal("always|basic_archive|", Primary("SELECT current_setting('archive_mode'), current_setting('archive_library'), current_setting('archive_command')"));
            Assert.Equal((started, file), (Primary("SELECT pg_postmaster_start_time()"), hosts.Lab.Shell(Lab.Primary, $"sha256sum {hosts.Config}/postgresql.conf")));
        }
    }
}
