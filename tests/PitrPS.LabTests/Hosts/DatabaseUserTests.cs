using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Hosts;

/// <summary>A login as the database's own user, who has no sudo, on servers that somebody else has set up: he may look, and nothing more.</summary>
public sealed class DatabaseUserTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>
{
    private static readonly string[] Refused =
    [
        "$standby | Suspend-WalReplay -Confirm:$false",
        "$standby | Set-ReplicationDelay -Delay 1.00:00:00 -Confirm:$false",
        "$standby | Set-ReplicationDelay -Delay 1.00:00:00 -WhatIf",
        "$primary | Enable-WalArchive -Path /var/mnt/archive -Confirm:$false",
        "$standby | Find-PgIncident -Table lost | Invoke-PitrRecovery -Confirm:$false",
        "$host1 | Install-PgServer -Name other -Port 5440 -Confirm:$false",
        "$host1 | Get-PitrOperation",
    ];

    [LabFact]
    public void Finds_servers_status_and_incidents_and_is_refused_whatever_changes_a_host()
    {
        foreach (var host in (string[])[Lab.Primary, Lab.Standby])
        {
            hosts.Lab.Shell(host, "install -d -o postgres -m 700 /var/lib/postgresql/.ssh; install -o postgres -m 600 /home/dba/.ssh/authorized_keys /var/lib/postgresql/.ssh/; mv /var/lib/pitrps /root/");
        }

        var key = hosts.Primary.ConnectArguments.Replace("-UserName 'dba'", "-UserName postgres", StringComparison.Ordinal);
        var connected = hosts.Run($"$host1 = Connect-PgHost {key}; $host2 = Connect-PgHost {hosts.Standby.ConnectArguments.Replace("-UserName 'dba'", "-UserName postgres", StringComparison.Ordinal)}; $host1").ThrowOnError();
        Assert.Equal(false, connected.Output[0].Properties["HasRoot"].Value);
        Assert.Equal(2, connected.Warnings.Count(w => w.Contains("PitrPS.RootRequired", StringComparison.Ordinal)));
        MakeStandby();

        hosts.Get("$primary = $host1 | Get-PgServer; $standby = $host2 | Get-PgServer");
        Assert.Equal("primary:15/main|True|False", $"{hosts.Get("'{0}|{1}|{2}' -f $primary.Id, $primary.IsRunning, $primary.IsStandby").Single()}");
        Assert.Equal("standby:15/main|True|True|3.00:00:00", $"{hosts.Get("'{0}|{1}|{2}|{3}' -f $standby.Id, $standby.IsRunning, $standby.IsStandby, $standby.ReplicationDelay").Single()}");
        Assert.Equal(["Primary", "Standby"], hosts.Get("$primary, $standby | Get-ReplicationStatus | ForEach-Object Role").Select(r => $"{r}"));
        Assert.Equal("public.lost", $"{hosts.Get("($standby | Find-PgIncident -Table lost).Tables | ForEach-Object { \"$_\" }").First()}");
        Assert.True((int)hosts.Get("($primary | Test-WalArchive -Path /var/lib/postgresql/15/main/pg_wal).Found").Single().BaseObject > 0);

        var before = hosts.Lab.Shell(Lab.Standby, "ls -la /var/lib /run /etc/postgresql/15/main/conf.d");
        foreach (var script in Refused)
        {
            Assert.Equal((script, "PitrPS.RootRequired"), (script, string.Join(' ', hosts.Run(script).ErrorIds)));
        }

        Assert.Equal(before, hosts.Lab.Shell(Lab.Standby, "ls -la /var/lib /run /etc/postgresql/15/main/conf.d"));

        // On a host that PitrPS has prepared its notes are root's; without them nobody can say whether a pause is a freeze.
        hosts.Lab.Shell(Lab.Standby, "mv /root/pitrps /var/lib/");
        hosts.Run("$standby | Get-ReplicationStatus").SingleError("PitrPS.RootRequired");
    }

    // As by hand: a role, a base backup, a delay.
    private void MakeStandby()
    {
        hosts.Lab.Shell(Lab.Primary, $"""
            runuser -u postgres -- psql -XAtqc "CREATE ROLE theirs REPLICATION LOGIN PASSWORD 'theirs'" -c "CREATE TABLE lost AS SELECT generate_series(1, 10) i"
            sed -i '1i host replication theirs {hosts.Standby.Address}/32 scram-sha-256' /etc/postgresql/15/main/pg_hba.conf
            # Not by systemctl: while the unit is still starting that would wait for the start, and reload nothing.
            runuser -u postgres -- psql -XAtqc "SELECT pg_reload_conf()" > /dev/null
            """);
        hosts.Lab.Shell(Lab.Standby, $"""
            timeout 30 sh -c 'until PGPASSWORD=theirs psql -XAtqc IDENTIFY_SYSTEM "host={hosts.Primary.Address} user=theirs dbname=postgres replication=true"; do sleep 0.1; done'
            systemctl stop postgresql@15-main; rm -rf /var/lib/postgresql/15/main
            runuser -u postgres -- env PGPASSWORD=theirs pg_basebackup -D /var/lib/postgresql/15/main -h {hosts.Primary.Address} -U theirs -R -X stream -c fast
            systemctl start postgresql@15-main
            """);
        Until("SELECT status FROM pg_stat_wal_receiver", "streaming");
        hosts.Lab.Psql(Lab.Standby, "ALTER SYSTEM SET recovery_min_apply_delay = '3d'");
        hosts.Lab.Psql(Lab.Standby, "SELECT pg_reload_conf()");
        hosts.Lab.Psql(Lab.Primary, "DROP TABLE lost");
        Until($"SELECT pg_last_wal_receive_lsn() >= '{hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()")}'", "t");
    }

    private void Until(string sql, string answer)
    {
        var giveUp = DateTimeOffset.UtcNow.AddSeconds(60);
        while (hosts.Lab.Psql(Lab.Standby, sql) != answer)
        {
            Assert.True(DateTimeOffset.UtcNow < giveUp, sql);
        }
    }
}
