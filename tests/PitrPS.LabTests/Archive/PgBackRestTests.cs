using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>A pair of servers, and a third host with the repository of Debian's pgbackrest, over SSH: installed and configured as a site does it, without PitrPS.</summary>
public sealed class PgBackRestHosts : IDisposable
{
    public const string Repository = "repository";

    private const string Stanza = "main";

    public PgBackRestHosts()
    {
        Hosts = new InstalledHosts();
        if (Lab.WhyNot() is not null || Lab.IsForeign)
        {
            return;
        }

        Lab.Add(Repository, Hosts.System.Suite);
        foreach (var host in (string[])[Repository, Lab.Primary, Lab.Standby])
        {
            Lab.Shell(host,
                """
                set -e
                apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install pgbackrest
                install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/.ssh
                runuser -u postgres -- ssh-keygen -q -t ed25519 -N '' -f /var/lib/postgresql/.ssh/id_ed25519
                """);
        }

        Trust(Lab.Primary, Repository);
        Trust(Lab.Standby, Repository);
        Trust(Repository, Lab.Primary);
        foreach (var host in (string[])[Lab.Primary, Lab.Standby])
        {
            Configure(host, $"[global]\nrepo1-host={Lab.Host(Repository).Address}\nrepo1-host-user=postgres\n\n[{Stanza}]\npg1-path={Hosts.Data}\n");
        }

        Configure(Repository, $"[global]\nrepo1-path=/var/lib/pgbackrest\nrepo1-retention-full=2\n\n[{Stanza}]\npg1-host={Lab.Host(Lab.Primary).Address}\npg1-path={Hosts.Data}\n");
    }

    public InstalledHosts Hosts { get; }

    public Lab Lab => Hosts.Lab;

    public void MakeStanza() => Lab.Shell(Repository, $"runuser -u postgres -- pgbackrest --stanza={Stanza} stanza-create");

    public string OnPrimary(string script) => Lab.Shell(Lab.Primary, script).Trim();

    public string OnStandby(string script) => Lab.Shell(Lab.Standby, script).Trim();

    public string Primary(string sql) => Lab.Psql(Lab.Primary, sql);

    public string Standby(string sql) => Lab.Psql(Lab.Standby, sql);

    public void Dispose()
    {
        Hosts.Dispose();
        if (Lab.WhyNot() is null && !Lab.IsForeign)
        {
            Lab.Destroy(Repository);
        }
    }

    // postgres of the one logs in as postgres of the other; the host's key is known, not asked for.
    private void Trust(string from, string to)
    {
        var key = Lab.Shell(from, "cat /var/lib/postgresql/.ssh/id_ed25519.pub").Trim();
        var hostKey = Lab.Shell(to, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").Trim();
        Lab.Shell(to, $"echo '{key}' >> /var/lib/postgresql/.ssh/authorized_keys; chown postgres:postgres /var/lib/postgresql/.ssh/authorized_keys; chmod 600 /var/lib/postgresql/.ssh/authorized_keys");
        Lab.Shell(from, $"echo '{Lab.Host(to).Address} {hostKey}' >> /var/lib/postgresql/.ssh/known_hosts; chown postgres:postgres /var/lib/postgresql/.ssh/known_hosts");
    }

    private void Configure(string host, string text) => Lab.Shell(host, $"printf '%s' '{text}' > /etc/pgbackrest.conf; chown postgres:postgres /etc/pgbackrest.conf; chmod 640 /etc/pgbackrest.conf");
}

/// <summary>Enable-WalArchive -Repository PgBackRest and all that reads from there, from the first refusal to the last trace.</summary>
public sealed class PgBackRestTests(PgBackRestHosts hosts) : IClassFixture<PgBackRestHosts>
{
    private const string Data = "/var/lib/postgresql/15/main";
    private const string Enable = "$primary = $primary | Enable-WalArchive -Repository PgBackRest -Stanza main -Confirm:$false; $primary";
    private const string Owned = "/etc/postgresql/15/main/conf.d/50-pitrps.conf";

    private Lab Lab => hosts.Lab;

    [Trait("Category", "Long")]
    [FaultFact]
    public void A_site_with_pgBackRest_archives_recovers_and_is_left_as_it_was()
    {
        Refuses();
        hosts.MakeStanza();
        Archives();
        IsFollowed();
        BringsBackWhatOnlyTheRepositoryHas();
        SurvivesTheRepository();
        IsLeft();
        IsAdopted();
    }

    private void Refuses()
    {
        hosts.Hosts.Run("$primary | Enable-WalArchive -Repository PgBackRest -Stanza main -Confirm:$false").SingleError("PitrPS.StanzaNotFound");
        hosts.Hosts.Run("$primary | Enable-WalArchive -Repository PgBackRest -Stanza main -RetainFor 1.00:00:00 -Confirm:$false").SingleError("PitrPS.NotWithRepository");
        Assert.Equal("off", hosts.Primary("SHOW archive_mode"));
    }

    private void Archives()
    {
        var primary = hosts.Hosts.Run(Enable).Single();

        Assert.Equal("PgBackRest main", $"{primary.Properties["ArchiveRepository"].Value}");
        Assert.Null(primary.Properties["ArchiveDirectory"].Value);
        Assert.Equal("on|pgbackrest --stanza=main archive-push %p|1min", hosts.Primary("SELECT concat_ws('|', current_setting('archive_mode'), current_setting('archive_command'), current_setting('archive_timeout'))"));
        Assert.Equal("active", hosts.OnPrimary("systemctl is-active pitrps-heartbeat-15-main.timer"));
        Assert.Equal("", hosts.OnPrimary("ls -d /usr/local/lib/pitrps /etc/systemd/system/pitrps-retain* 2>/dev/null || true"));
        var again = hosts.Hosts.Run(Enable).ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText);
        Assert.Equal("pgbackrest:main True 0", $"{hosts.Hosts.Get("$report = $primary | Test-WalArchive; '{0} {1} {2}' -f $report.Path, $report.IsHealthy, $report.Missing").Single()}");
    }

    private void IsFollowed()
    {
        var standby = hosts.Hosts.Run(
            """
            $standby = $standby | Mount-WalArchive -Primary $primary -Confirm:$false | New-PgStandby -Primary $primary -Confirm:$false
            $standby
            """).Single();

        Assert.Equal("PgBackRest main", $"{standby.Properties["RestoreRepository"].Value}");
        Assert.Null(standby.Properties["ArchiveMountPoint"].Value);
        Assert.Equal("/usr/local/lib/pitrps/pitrps-restore pgbackrest:main \"%f\" \"%p\"", hosts.Standby("SHOW restore_command"));
        Assert.Equal("", hosts.OnStandby("grep sshfs /proc/mounts || true"));
        Assert.Equal("True", $"{hosts.Hosts.Get("($standby | Get-ReplicationStatus).ArchiveMounted").Single()}");
    }

    private void BringsBackWhatOnlyTheRepositoryHas()
    {
        hosts.Primary("CREATE TABLE pitr2 (id bigint PRIMARY KEY, content text NOT NULL); INSERT INTO pitr2 SELECT i, md5(i::text) FROM generate_series(1, 20000) i");
        Until("the standby to have it", () => hosts.Standby($"SELECT pg_last_wal_replay_lsn() >= '{hosts.Primary("SELECT pg_current_wal_lsn()")}'") == "t");
        hosts.Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false");

        // What is written while the standby is stopped it does not stream afterwards: it waits at the first commit, and all that follows is in the repository alone.
        hosts.OnStandby("systemctl stop postgresql@15-main.service");
        hosts.Primary("CREATE TABLE first AS SELECT 1 AS i");
        Assert.Equal("t", hosts.Primary("SELECT pg_switch_wal() > '0/0'"));
        hosts.Primary("INSERT INTO first SELECT i FROM generate_series(2, 1000) i");
        hosts.Primary("DROP TABLE pitr2");
        hosts.Primary("CREATE TABLE later AS SELECT i FROM generate_series(1, 1000) i");
        var last = hosts.Primary("SELECT pg_walfile_name(pg_switch_wal())");
        Until("the archiver", () => hosts.Primary($"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver") == "t");
        hosts.OnStandby("systemctl start postgresql@15-main.service");
        Until("the standby to wait at the first commit", () => hosts.OnStandby("runuser -u postgres -- psql -XAtc \"SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'\" 2>/dev/null || true") == "RecoveryApplyDelay");
        Assert.Equal("0", hosts.Standby("SELECT count(*) FROM pg_stat_wal_receiver"));

        var found = hosts.Hosts.RunVerbose("$incident = $standby | Find-PgIncident -Table pitr2; $incident").Single();
        Assert.Equal("public.pitr2", $"{((System.Collections.IEnumerable)found.Properties["Tables"].Value).Cast<object>().Single()}");
        Assert.Equal("", hosts.OnStandby("ls -d /var/lib/postgresql/15/.pitrps-wal.* /var/tmp/.pitrps-wal.* 2>/dev/null || true"));

        hosts.Hosts.Run("$recovery = $incident | Invoke-PitrRecovery -Confirm:$false").ThrowOnError();
        Assert.Equal("pg_wal and archive", $"{hosts.Hosts.Get("$recovery.WalSource").Single()}");
        Assert.Equal("700 postgres", hosts.OnStandby($"stat -c '%a %U' {Data}.pitrps-scratch.wal"));
        hosts.Hosts.Run("$recovery | Restore-PgTable -To $primary -Confirm:$false | Complete-PitrRecovery -Confirm:$false").ThrowOnError();

        Assert.Equal("20000 1000 1000", hosts.Primary("SELECT concat_ws(' ', (SELECT count(*) FROM pitr2), (SELECT count(*) FROM first), (SELECT count(*) FROM later))"));
        Assert.Equal("", hosts.OnStandby("ls -d /var/lib/postgresql/15/*pitrps* /var/lib/postgresql/15/.pitrps* /var/lib/pitrps/recoveries/* /run/pitrps-scratch* 2>/dev/null || true"));
    }

    private void SurvivesTheRepository()
    {
        const string nowhere = "0000000100000000000000F0";

        // A server that recovers is told the truth while the repository is there.
        hosts.OnStandby(
            $"""
            rm -rf /tmp/recovering && install -d -o postgres -m 0700 /tmp/recovering /tmp/recovering/global /tmp/recovering/pg_wal
            install -o postgres -m 0600 {Data}/global/pg_control /tmp/recovering/global/ && install -o postgres -m 0600 {Data}/PG_VERSION /tmp/recovering/ && install -o postgres /dev/null /tmp/recovering/recovery.signal
            """);
        var there = Segments().First();
        Assert.Equal("0", Restore("/tmp/recovering", there));
        Assert.Equal("1", Restore("/tmp/recovering", nowhere));
        Assert.Equal("1", Restore(Data, nowhere));

        // One that is gone is found missing.
        Lab.Shell(PgBackRestHosts.Repository, $"rm $(find /var/lib/pgbackrest/archive/main -name '{Segments()[1]}-*')");
        Assert.Equal("1 False", $"{hosts.Hosts.Get("$report = $primary | Test-WalArchive; '{0} {1}' -f $report.Missing, $report.IsHealthy").Single()}");

        // Up to date first, so that it streams.
        hosts.Hosts.Get("$null = $standby | Resume-WalReplay -Confirm:$false; $null = $standby | Set-ReplicationDelay -Delay 0 -Confirm:$false");
        Until("the standby to stream", () => hosts.Standby("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
        Lab.Kill(PgBackRestHosts.Repository);
        Assert.Equal("200", Restore("/tmp/recovering", there));
        Assert.Equal("200", Restore("/tmp/recovering", nowhere));
        Assert.Equal("1", Restore(Data, there));
        hosts.Primary("CREATE TABLE meanwhile AS SELECT 1 AS i");
        Until("the standby to stream without the repository", () => hosts.Standby("SELECT count(*) FROM pg_class WHERE relname = 'meanwhile'") == "1");
        Assert.Equal("False", $"{hosts.Hosts.Get("($standby | Get-ReplicationStatus).ArchiveMounted").Single()}");
        hosts.Hosts.Run("$primary | Enable-WalArchive -Repository PgBackRest -Stanza main -Confirm:$false").SingleError("PitrPS.RepositoryUnreachable");

        Lab.Start(PgBackRestHosts.Repository);
        Assert.Equal("1", Restore("/tmp/recovering", nowhere));
    }

    private void IsLeft()
    {
        hosts.Hosts.Run("$standby | Dismount-WalArchive -Primary $primary -Confirm:$false").SingleError("PitrPS.MountInUse");
        hosts.Hosts.Run("$null = $standby | Remove-PgStandby -Primary $primary -Confirm:$false; $standby = $standbyHost | Get-PgServer; $null = $standby | Dismount-WalArchive -Primary $primary -Confirm:$false").ThrowOnError();
        Assert.Equal("", hosts.OnStandby("grep -hE 'Stanza\": \"|restore_command' /var/lib/pitrps/servers/*.json " + Owned + " 2>/dev/null || true"));
        Assert.Equal("", hosts.OnStandby($"ls {Data}/pg_wal/pitrps-restore.asked 2>/dev/null || true"));

        Assert.Null(hosts.Hosts.Run("$primary = $primary | Disable-WalArchive -Confirm:$false; $primary").Single().Properties["ArchiveRepository"].Value);
        Assert.Equal("off", hosts.Primary("SHOW archive_mode"));
        Assert.Equal("", hosts.OnPrimary($"grep -h archive {Owned} 2>/dev/null; ls /etc/systemd/system/pitrps-heartbeat* 2>/dev/null || true"));
    }

    private void IsAdopted()
    {
        const string theirs = "pgbackrest --stanza=main --log-level-console=off archive-push \"%p\"";
        hosts.OnPrimary($"printf '%s\\n' \"archive_mode = on\" \"archive_command = '{theirs.Replace("\"", "\\\"", StringComparison.Ordinal)}'\" > /etc/postgresql/15/main/conf.d/10-site.conf; systemctl restart postgresql@15-main.service");
        var started = hosts.Primary("SELECT pg_postmaster_start_time()");

        hosts.Hosts.Run("$primary = $primaryHost | Get-PgServer; " + Enable).Single();

        Assert.Equal(started, hosts.Primary("SELECT pg_postmaster_start_time()"));
        Assert.Equal(theirs, hosts.Primary("SHOW archive_command"));
        Assert.Equal("archive_timeout", hosts.OnPrimary($"sed -n 's/^\\(archive_[a-z]*\\) .*/\\1/p' {Owned}"));
        hosts.Hosts.Run("$primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false").SingleError("PitrPS.ArchiveCommandExists");
        hosts.Hosts.Run("$null = $primary | Disable-WalArchive -Confirm:$false").ThrowOnError();
        Assert.Equal(started + "|" + theirs + "|0", hosts.Primary("SELECT concat_ws('|', pg_postmaster_start_time(), current_setting('archive_command'), current_setting('archive_timeout'))"));
    }

    private string[] Segments() => Lab.Shell(PgBackRestHosts.Repository, "find /var/lib/pgbackrest/archive/main -name '0000*-*' -printf '%f\\n' | cut -c1-24 | sort").Trim().Split('\n');

    // With what it ends for a server whose data directory this is.
    private string Restore(string data, string name) =>
        hosts.OnStandby($"cd {data} && runuser -u postgres -- /usr/local/lib/pitrps/pitrps-restore pgbackrest:main {name} pg_wal/RECOVERYTEST >/dev/null 2>&1; echo $?; rm -f pg_wal/RECOVERYTEST");

    private static void Until(string what, Func<bool> isSo)
    {
        var until = DateTimeOffset.UtcNow.AddSeconds(90);
        while (!isSo())
        {
            Assert.True(DateTimeOffset.UtcNow < until, $"It took too long: {what}.");
            Task.Delay(100).Wait();
        }
    }
}
