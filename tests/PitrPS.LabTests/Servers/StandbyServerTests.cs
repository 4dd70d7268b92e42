using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Servers;

/// <summary>What a new session knows of an archiving primary and its delayed standby.</summary>
public sealed class StandbyServerTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    [LabFact]
    public void A_new_session_knows_all_that_was_set_up()
    {
        var standby = hosts.Get("$standbyHost | Get-PgServer")[0];
        Assert.Equal("Standby", standby.Properties["Role"].Value.ToString());
        Assert.Equal(TimeSpan.FromDays(3), standby.Properties["ReplicationDelay"].Value);
        Assert.Equal("/mnt/archive_wal_dir", standby.Properties["ArchiveMountPoint"].Value);
        var link = System.Management.Automation.PSObject.AsPSObject(standby.Properties["Primary"].Value);
        Assert.Equal("primary", link.Properties["HostName"].Value);
        Assert.Equal(hosts.Primary.Address, link.Properties["Address"].Value);
        Assert.Equal("/var/mnt/archive_wal_dir", hosts.Get("$primaryHost | Get-PgServer")[0].Properties["ArchiveDirectory"].Value);
    }

    [LabFact]
    public void PitrPS_logs_in_to_the_standby_with_its_primarys_role()
    {
        var read = hosts.RunVerbose("$standby | Get-ReplicationStatus");
        read.ThrowOnError();
        Assert.Contains(read.Verbose, v => v.StartsWith($"standby:{hosts.Standby.PostgresMajor}/main: SQL on", StringComparison.Ordinal));
        Assert.DoesNotContain(read.Verbose, v => v.Contains("goes on with psql", StringComparison.Ordinal));
    }
}
