using System.Management.Automation;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Adoption;

/// <summary>A host with servers of all kinds that nobody made with PitrPS.</summary>
public sealed class CrowdedHosts : InstalledHosts
{
    // Another OS user, a superuser with another name than that, no unit; a unit with a name of its own; stopped ones with no trace but their files.
    private const string Crowd =
        """
        set -e; cd /
        B=/usr/lib/postgresql/15/bin
        useradd -m app; mkdir -p /srv/pg "/opt/my db" /srv/quiet/old /srv/backup; chown app: /srv/pg /srv/quiet; chown postgres: "/opt/my db" /srv/backup
        runuser -u app -- $B/initdb -D /srv/pg/data -U postgres -A trust --no-sync > /dev/null
        printf '%s\n' 'port = 6543' "unix_socket_directories = '/tmp'" >> /srv/pg/data/postgresql.conf
        runuser -u app -- $B/pg_ctl -D /srv/pg/data -s -w -l /srv/pg/log start
        runuser -u app -- $B/initdb -D /srv/quiet/data -A trust --no-sync > /dev/null
        mkdir /srv/quiet/conf; printf '%s\n' 'port = 6544' "recovery_min_apply_delay = '5h'" > /srv/quiet/conf/more.conf; chown -R app: /srv/quiet
        printf '%s\n' "include '/srv/quiet/conf/more.conf'" >> /srv/quiet/data/postgresql.conf
        runuser -u app -- touch /srv/quiet/data/standby.signal /srv/quiet/data/patroni.dynamic.json
        runuser -u postgres -- $B/initdb -D "/opt/my db/data" -A trust --no-sync > /dev/null
        printf '%s\n' 'port = 6545' >> "/opt/my db/data/postgresql.conf"
        cat > /etc/systemd/system/mydb.service <<'UNIT'
        [Service]
        Type=notify
        User=postgres
        ExecStart=/usr/lib/postgresql/15/bin/postgres -D "/opt/my db/data"
        UNIT
        systemctl daemon-reload; systemctl start mydb
        printf '%s\n' 'node_id=1' "data_directory='/opt/my db/data'" > /etc/repmgr.conf
        mkdir -p /srv/quiet/ancient/global; echo 11 > /srv/quiet/ancient/PG_VERSION; touch /srv/quiet/ancient/global/pg_control
        cp -a /srv/quiet/data /srv/backup/monday; echo 'START WAL LOCATION' > /srv/backup/monday/backup_label; rm -f /srv/backup/monday/postmaster.opts
        """;

    public CrowdedHosts()
    {
        if (Lab.WhyNot() is null)
        {
            Lab.Shell(Lab.Standby, Crowd);
        }
    }
}

public sealed class FoundServersTests(CrowdedHosts hosts) : IClassFixture<CrowdedHosts>
{
    private PSObject Server(string name) => Assert.Single(hosts.Get($"$standbyHost | Get-PgServer -Name '15/{name}'"));

    private static string Of(PSObject server, params string[] properties) => string.Join(' ', properties.Select(p => server.Properties[p].Value ?? "-"));

    [LabFact]
    public void Every_cluster_is_found_running_or_not_and_a_base_backup_is_none() => Assert.Equal(
        ["11/srv-quiet-ancient", "15/main", "15/opt-my db-data", "15/srv-pg-data", "15/srv-quiet-data"],
        hosts.Get("$standbyHost | Get-PgServer").Select(s => Of(s, "Name")).Order(StringComparer.Ordinal));

    [LabFact]
    public void One_that_was_started_by_hand_under_another_user_answers_whatever_its_superuser_is_called()
    {
        Assert.Equal("app 6543 /tmp True Primary - /srv/pg/data", Of(Server("srv-pg-data"), "OsUser", "Port", "SocketDirectory", "IsRunning", "Role", "ServiceUnit", "ConfigDirectory"));
        Assert.Equal("Primary", $"{hosts.Get("($standbyHost | Get-PgServer -Name '15/srv-pg-data' | Get-ReplicationStatus).Role").Single()}");
    }

    [LabFact]
    public void One_that_does_not_run_is_known_by_all_that_its_configuration_includes() =>
        Assert.Equal("app 6544 False True 05:00:00 Patroni", Of(Server("srv-quiet-data"), "OsUser", "Port", "IsRunning", "IsStandby", "ReplicationDelay", "Manager"));

    [LabFact]
    public void A_unit_of_any_name_is_the_servers_own_running_or_not()
    {
        Assert.Equal("mydb.service True repmgr", Of(Server("opt-my db-data"), "ServiceUnit", "IsRunning", "Manager"));
        hosts.Lab.Shell(Lab.Standby, "systemctl stop mydb");
        try
        {
            Assert.Equal("mydb.service False repmgr", Of(Server("opt-my db-data"), "ServiceUnit", "IsRunning", "Manager"));

            // The same server again, by its directory alone.
            Assert.Equal("6545", Of(Assert.Single(hosts.Get("$standbyHost | Get-PgServer -Name '15/opt-my db-data' | Get-PgServer")), "Port"));
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, "systemctl start mydb");
        }
    }

    [LabFact]
    public void A_server_that_is_too_old_is_shown_and_refused()
    {
        var error = hosts.Run("$standbyHost | Get-PgServer -Name '11/*' | Find-PgIncident -Table x").SingleError("PitrPS.VersionUnsupported");
        Assert.Contains("PostgreSQL 11", error.Exception.Message, StringComparison.Ordinal);
    }
}
