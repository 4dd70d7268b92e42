using System.Management.Automation;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Servers;

public sealed class GetPgServerTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>
{
    [LabFact]
    public void Finds_servers_by_pipeline_by_parameter_by_name_and_by_port()
    {
        Assert.Equal(["primary:15/main", "standby:15/main"], Ids("$primaryHost, $standbyHost | Get-PgServer"));
        Assert.Equal(["primary:15/main"], Ids("Get-PgServer -PgHost $primaryHost"));
        Assert.Equal(["primary:15/main"], Ids("Get-PgServer $primaryHost -Name main -Port 5432"));
        Assert.Equal(["standby:15/main"], Ids("$standbyHost | Get-PgServer -Name main | Get-PgServer"));
        Assert.Empty(Ids("$primaryHost | Get-PgServer -Name 14/*"));
        hosts.Run("$primaryHost | Get-PgServer -Port 5433").SingleError("PitrPS.ServerNotFound");

        // One host's error does not keep the others from being read.
        var both = hosts.Run("$primaryHost, $standbyHost | Get-PgServer -Name nothing, main");
        Assert.Empty(both.Errors);
        Assert.Equal(2, both.Output.Count);
    }

    [LabFact]
    public void A_stopped_server_is_known_by_its_files()
    {
        var lab = hosts.Lab;
        var running = Assert.Single(hosts.Get("$standbyHost | Get-PgServer -Name main"));
        lab.Shell(Lab.Standby, "systemctl stop postgresql@15-main");
        try
        {
            var stopped = Assert.Single(hosts.Get("$standbyHost | Get-PgServer -Name main"));
            Assert.False((bool)stopped.Properties["IsRunning"].Value);
            Assert.Equal("Unknown", stopped.Properties["Role"].Value.ToString());
            foreach (var same in new[] { "Id", "Port", "DataDirectory", "ConfigDirectory", "BinDirectory", "ServiceUnit", "SocketDirectory", "SystemIdentifier", "VersionNumber" })
            {
                Assert.Equal(running.Properties[same].Value, stopped.Properties[same].Value);
            }
        }
        finally
        {
            lab.Shell(Lab.Standby, "systemctl start postgresql@15-main");
        }
    }

    [LabFact]
    public void Finds_a_standby_that_others_set_up_and_keeps_no_password_of_it()
    {
        var lab = hosts.Lab;
        lab.Shell(Lab.Standby,
            """
            pg_createcluster --port 5460 15 theirs >/dev/null
            cd /var/lib/postgresql/15/theirs
            touch standby.signal; chown postgres: standby.signal
            printf '%s\n' "primary_conninfo = 'host=10.9.8.7 port=5433 user=repl password=geheim123'" "primary_slot_name = 'theirs'" "recovery_min_apply_delay = '90min'" >> postgresql.auto.conf
            systemctl start postgresql@15-theirs
            """);
        try
        {
            var server = Assert.Single(hosts.Get("$standbyHost | Get-PgServer -Name theirs"));
            Assert.True((bool)server.Properties["IsStandby"].Value);
            Assert.Equal(TimeSpan.FromMinutes(90), server.Properties["ReplicationDelay"].Value);
            var primary = PSObject.AsPSObject(server.Properties["Primary"].Value);
            Assert.Equal("10.9.8.7", primary.Properties["Address"].Value);
            Assert.Equal(5433, primary.Properties["Port"].Value);
            Assert.Equal("theirs", primary.Properties["Slot"].Value);
            Assert.DoesNotContain("geheim123", PSSerializer.Serialize(server, 5), StringComparison.Ordinal);
        }
        finally
        {
            lab.Shell(Lab.Standby, "pg_dropcluster --stop 15 theirs");
        }
    }

    [LabFact]
    public void A_recoverys_scratch_server_is_none_of_the_hosts_servers()
    {
        var lab = hosts.Lab;
        lab.Shell(Lab.Standby,
            """
            install -d -o postgres -g postgres /var/lib/postgresql/layer
            runuser -u postgres -- /usr/lib/postgresql/15/bin/initdb -D /var/lib/postgresql/layer/data >/dev/null
            systemd-run --quiet --unit=pitrps-scratch-test --uid=postgres --property=Type=notify \
              /usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/layer/data -p 5470 -c unix_socket_directories=/var/lib/postgresql/layer
            """);
        try
        {
            Assert.Equal(["standby:15/main"], Ids("$standbyHost | Get-PgServer"));
        }
        finally
        {
            lab.Shell(Lab.Standby, "systemctl stop pitrps-scratch-test; rm -rf /var/lib/postgresql/layer");
        }
    }

    [LabFact]
    public void Takes_one_command()
    {
        var run = hosts.RunVerbose("$null = $primaryHost | Get-PgServer");
        run.ThrowOnError();
        Assert.Single(run.Verbose, v => v.Contains("/bin/sh -s", StringComparison.Ordinal));
    }

    private string[] Ids(string script) => [.. hosts.Get(script).Select(s => (string)s.Properties["Id"].Value)];
}
