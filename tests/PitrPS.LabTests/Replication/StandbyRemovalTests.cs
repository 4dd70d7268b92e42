using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Replication;

/// <summary>Remove-PgStandby on a standby that has been booted since it was made, and New-PgStandby on what it left.</summary>
public sealed class StandbyRemovalTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    private const string Unit = "postgresql@15-main.service";

    [LabFact]
    public void Leaves_nothing_on_the_primary_and_a_stopped_server_whose_data_can_be_a_standby_again()
    {
        hosts.Run("$standby | Remove-PgStandby -Primary $primary -WhatIf").ThrowOnError();
        Assert.Equal("1|1|1", Made());

        var removed = hosts.Run("$standby = $standby | Remove-PgStandby -Primary $primary -Confirm:$false; $standby").Single();

        Assert.Equal(false, removed.Properties["IsRunning"].Value);
        Assert.Equal("0|0|0", Made());
        Assert.Equal("inactive disabled", Standby($"echo $(systemctl is-active {Unit}) $(systemctl is-enabled {Unit})"));
        Assert.Equal("manual", Standby("grep -v '^#' /etc/postgresql/15/main/start.conf | xargs"));
        Assert.Equal("", Standby("ls /etc/pitrps/15-main/passfile /etc/pitrps/15-main/*.crt 2>/dev/null; grep -l primary_conninfo /etc/postgresql/15/main/conf.d/50-pitrps.conf; ls /var/lib/pitrps/operations"));
        Assert.Equal("yes", Standby("test -f /var/lib/postgresql/15/main/standby.signal && echo yes"));
        var again = hosts.Run("$standby | Remove-PgStandby -Primary $primary -Confirm:$false").ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText, StringComparison.Ordinal);

        hosts.Run("$standby | New-PgStandby -Primary $primary -Confirm:$false").ThrowOnError();

        Assert.Equal("1|1|1", Made());
        Assert.Equal("auto", Standby("grep -v '^#' /etc/postgresql/15/main/start.conf | xargs"));
        Assert.Contains("enabled", Standby($"systemctl is-enabled {Unit}"), StringComparison.Ordinal);
        Assert.Equal("t", hosts.Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery()"));
    }

    private string Made() => hosts.Lab.Psql(Lab.Primary,
        """
        SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pitrps\_standby%'),
               (SELECT count(*) FROM pg_hba_file_rules WHERE user_name[1] LIKE 'pitrps\_standby%')
        """);

    private string Standby(string script) => hosts.Lab.Shell(Lab.Standby, script).Trim();
}
