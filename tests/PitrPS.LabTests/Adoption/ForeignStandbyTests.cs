using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Adoption;

/// <summary>
/// The emergency: a delayed standby that nobody has prepared for PitrPS. It has no role, no state and no archive of PitrPS's, and in the end it is as it was.
/// </summary>
public abstract class ForeignStandbyTests(ForeignHosts hosts)
{
    private string Primary(string sql) => hosts.Lab.Psql(Lab.Primary, sql);

    private string Standby(string sql) => hosts.Lab.Psql(Lab.Standby, sql);

    /// <summary>The delay in this file, beside other lines of its owner's, and a table that the standby has.</summary>
    private void Begin(string file, string restoreCommand)
    {
        var path = file == "postgresql.auto.conf" ? $"{hosts.Data}/{file}" : $"{hosts.Config}/{file}";
        var (all, own) = hosts.System.IsRhel ? ($"{hosts.Config}/postgresql.conf", "") : (hosts.Config, hosts.Config);
        void Delay(string delay) => hosts.Lab.Shell(Lab.Standby,
            $$"""
            set -e
            [ -f /root/pristine.tar ] || tar -cPf /root/pristine.tar {{all}} {{hosts.Data}}/postgresql.auto.conf
            rm -rf {{own}}; tar -xPf /root/pristine.tar
            [ -f {{path}} ] || install -o postgres -g postgres -m 644 /dev/null {{path}}
            cat >> {{path}} <<'CONF'
            # h\344ndisch, in Latin-1
            Recovery_Min_Apply_Delay={{delay}}   # ours
            restore_command = '{{restoreCommand}}'
            work_mem = 5MB
            CONF
            printf '# the end, without a newline: \344' >> {{path}}
            systemctl restart {{hosts.ServiceUnit}}
            """);
        Delay("0");
        Primary("DROP TABLE IF EXISTS pitr2; CREATE TABLE pitr2 AS SELECT i, md5(i::text) AS content FROM generate_series(1, 2000) i; ALTER TABLE pitr2 ADD PRIMARY KEY (i)");
        Waiting.For("the table on the standby", () => Standby($"SELECT pg_last_wal_replay_lsn() >= '{Primary("SELECT pg_current_wal_lsn()")}'") == "t");
        Delay("'2h'");
        Waiting.For("streaming", () => Standby("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
    }

    private void Drop()
    {
        Primary("DROP TABLE pitr2");
        Primary("CREATE TABLE IF NOT EXISTS later (i int); INSERT INTO later VALUES (1)");
        var end = Primary("SELECT pg_current_wal_lsn()");
        Waiting.For("the DROP on the standby", () => Standby($"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)") == "t");
    }

    private void IsBroughtBackFrom(string file, string restoreCommand)
    {
        Begin(file, restoreCommand);
        var (primaryWas, standbyWas) = (hosts.Fingerprint(Lab.Primary), hosts.Fingerprint(Lab.Standby));
        var primaryStarted = Primary("SELECT pg_postmaster_start_time()");
        Drop();

        // A new session, which knows what it finds.
        using var engine = hosts.NewSession();
        var found = Assert.Single(engine.Get("$standby"));
        Assert.Equal(("True", "02:00:00", "False"), ($"{found.Properties["IsStandby"].Value}", $"{found.Properties["ReplicationDelay"].Value}", $"{found.Properties["IsFrozen"].Value}"));
        Assert.Equal("Frozen", $"{engine.Get("($standby | Suspend-WalReplay -Confirm:$false | Get-ReplicationStatus).Replay").Single()}");
        Assert.Equal("2147483647", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));

        var completed = Assert.Single(engine.Get(
            """
            $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Confirm:$false |
                Restore-PgTable -To $primary -Confirm:$false | Complete-PitrRecovery -Confirm:$false
            """));
        Assert.Equal(("02:00:00", "False"), ($"{completed.Properties["ReplicationDelay"].Value}", $"{completed.Properties["IsFrozen"].Value}"));
        Assert.Equal("2000", Primary("SELECT count(*) FROM pitr2"));
        Assert.Equal(Primary("SELECT md5(string_agg(md5(i::text), ',' ORDER BY i)) FROM generate_series(1, 2000) i"), Primary("SELECT md5(string_agg(content, ',' ORDER BY i)) FROM pitr2"));
        Assert.Equal("Replaying", $"{engine.Get("($standby | Get-PgServer | Get-ReplicationStatus).Replay").Single()}");
        Assert.Equal("7200000", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Assert.Equal("0", Standby("SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL"));

        Assert.Equal(standbyWas, hosts.Fingerprint(Lab.Standby));
        Assert.Equal(primaryWas, hosts.Fingerprint(Lab.Primary));
        Assert.Equal(primaryStarted, Primary("SELECT pg_postmaster_start_time()"));
        Assert.Equal("0", Primary("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%pitrps%'"));
        Assert.Empty(engine.Get("$standbyHost, $primaryHost | Get-PitrOperation"));
    }

    [Trait("Category", "Long")]
    public sealed class On13(ForeignHosts13 hosts) : ForeignStandbyTests(hosts), IClassFixture<ForeignHosts13>
    {
        [LabFact]
        public void A_table_comes_back_and_the_standby_is_left_byte_for_byte() => IsBroughtBackFrom("postgresql.auto.conf", "cp /mnt/gone/%f %p");
    }

    public sealed class On15(ForeignHosts hosts) : ForeignStandbyTests(hosts), IClassFixture<ForeignHosts>
    {
        [LabFact]
        public void A_table_comes_back_and_the_standby_is_left_byte_for_byte() => IsBroughtBackFrom("conf.d/99-theirs.conf", "test -f /mnt/a/%f && gunzip < /mnt/a/%f.gz > %p");

        [Trait("Category", "Long")]
        [LabTheory]
        [InlineData("postgresql.auto.conf", "")]
        [InlineData("postgresql.conf", "cp /mnt/gone/%f \"%p\"")]
        public void So_it_is_wherever_the_delay_and_the_restore_command_are_set(string file, string restoreCommand) => IsBroughtBackFrom(file, restoreCommand);

        [LabFact]
        public void Who_else_looks_after_the_standby_is_named_before_its_replay_is_touched()
        {
            hosts.Lab.Shell(Lab.Standby, $"touch {hosts.Data}/patroni.dynamic.json");
            try
            {
                foreach (var command in (string[])["Suspend-WalReplay", "Resume-WalReplay", "Set-ReplicationDelay -Delay 01:00:00", "Invoke-PitrRecovery -TargetLsn FF/0"])
                {
                    var run = hosts.Run($"$standby | Get-PgServer | {command} -WhatIf");
                    Assert.Single(run.Warnings, w => w.Contains("Patroni", StringComparison.Ordinal));
                }
            }
            finally
            {
                hosts.Lab.Shell(Lab.Standby, $"rm {hosts.Data}/patroni.dynamic.json");
            }
        }

        private readonly ForeignHosts hosts = hosts;
    }

    /// <summary>There the configuration lies among the data, below the layer.</summary>
    [Trait("Category", "Long")]
    public sealed class OfRhelOn17(ForeignHostsOfRhel hosts) : ForeignStandbyTests(hosts), IClassFixture<ForeignHostsOfRhel>
    {
        [LabFact]
        public void A_table_comes_back_and_the_standby_is_left_byte_for_byte() => IsBroughtBackFrom("postgresql.conf", "cp /mnt/gone/%f %p");
    }

    /// <summary>A standby in another place, of another OS user, started by pg_ctl: no unit of systemd's knows it.</summary>
    public sealed class OfPgCtl(ForeignHosts hosts) : IClassFixture<ForeignHosts>
    {
        private const string Data = "/srv/pg/data";

        // As in /srv, on a file system that can carry a layer.
        private string Begin =>
            $$"""
            set -e; cd /; B={{hosts.Bin}}
            useradd -m app; mkdir /var/lib/postgresql/srv; mount --bind /var/lib/postgresql/srv /srv; mkdir /srv/pg; chown app: /srv/pg
            systemctl stop {{hosts.ServiceUnit}}; systemctl disable {{hosts.ServiceUnit}} 2>/dev/null
            runuser -u app -- $B/pg_basebackup -h {{hosts.Primary.Address}} -U repl -D {{Data}} -S theirs -X stream -c fast -R
            cp {{hosts.Config}}/pg_hba.conf {{Data}}/pg_hba.conf; chown app: {{Data}}/pg_hba.conf; sed -i 's/peer$/trust/' {{Data}}/pg_hba.conf
            printf '%s\n' 'port = 6543' "unix_socket_directories = '/tmp'" "recovery_min_apply_delay = '2h'" > {{Data}}/postgresql.conf; chown app: {{Data}}/postgresql.conf; : > {{Data}}/pg_ident.conf; chown app: {{Data}}/pg_ident.conf
            runuser -u app -- $B/pg_ctl -D {{Data}} -s -w -l /srv/pg/log start
            """;

        private string Standby(string sql) => hosts.Lab.Shell(Lab.Standby, $"runuser -u app -- psql -XAtc \"{sql}\" -h /tmp -p 6543 -U postgres postgres").Trim();

        private string Running => hosts.Lab.Shell(Lab.Standby, $"p=$(head -n 1 {Data}/postmaster.pid); ps -o user= -p $p; readlink /proc/$p/fd/2; sed -n 's/.*pitrps.*/in a unit of PitrPS/p' /proc/$p/cgroup; cat {Data}/postmaster.opts");

        [LabFact]
        public void A_table_comes_back_and_the_standby_runs_as_it_was_started_before()
        {
            hosts.Lab.Psql(Lab.Primary, "CREATE TABLE pitr2 AS SELECT generate_series(1, 500) AS i");
            hosts.Lab.Shell(Lab.Standby, Begin);
            Waiting.For("streaming", () => Standby("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
            var (was, running) = (hosts.Fingerprint(Lab.Standby), Running);
            hosts.Lab.Psql(Lab.Primary, "DROP TABLE pitr2");
            hosts.Lab.Psql(Lab.Primary, "CREATE TABLE later (i int)");
            var end = hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
            Waiting.For("the DROP on the standby", () => Standby($"SELECT pg_last_wal_receive_lsn() >= '{end}'") == "t");

            using var engine = hosts.NewSession();
            engine.Get("$standby = $standbyHost | Get-PgServer -Port 6543; $null = $standby | Suspend-WalReplay -Confirm:$false; $recovery = $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Confirm:$false");
            Assert.Equal("Ready", $"{engine.Get("($standby | Get-PitrRecovery).State").Single()}");

            // Somebody starts it as ever: the scratch server ends, and the recovery is made again.
            hosts.Lab.Shell(Lab.Standby, $"runuser -u app -- {hosts.Bin}/pg_ctl -D {Data} -s -w -l /srv/pg/log start");
            Waiting.For("the end of the scratch server", () => hosts.Lab.Shell(Lab.Standby, "systemctl is-active 'pitrps-scratch-*' || true").Trim() is "" or "failed" or "inactive");
            Assert.Equal("t", Standby("SELECT pg_is_in_recovery()"));

            engine.Get("$recovery = $standby | Get-PgServer | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Confirm:$false");
            engine.Get("$recovery | Restore-PgTable -To $primary -Confirm:$false | Complete-PitrRecovery -Confirm:$false");
            Assert.Equal("500", hosts.Lab.Psql(Lab.Primary, "SELECT count(*) FROM pitr2"));
            Assert.Equal("7200000 t", Standby("SELECT setting || ' ' || pg_is_in_recovery()::text::char FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
            Assert.Equal(running, Running);
            Assert.Equal(was, hosts.Fingerprint(Lab.Standby));
        }
    }
}
