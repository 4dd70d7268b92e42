using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Replication;

/// <summary>What an operator does who has lost the primary for good. It is not PitrPS that does it, and PitrPS must not stand in the way.</summary>
public sealed class FailoverTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    [FaultFact]
    public void A_standby_can_be_promoted_when_the_primary_and_its_archive_are_gone()
    {
        // The hosts have just been started.
        hosts.Lab.Shell(Lab.Standby, "timeout 60 sh -c 'until pg_isready -q; do sleep 0.1; done'");
        var running = hosts.Lab.Psql(Lab.Standby, "SELECT pg_postmaster_start_time()");
        hosts.Lab.Kill(Lab.Primary);
        hosts.Lab.Shell(Lab.Standby, "umount --lazy /mnt/archive_wal_dir 2>/dev/null; ! mountpoint -q /mnt/archive_wal_dir");
        Assert.Equal("t", hosts.Lab.Psql(Lab.Standby, "SELECT pg_promote(true, 120)"));
        Assert.StartsWith("00000002", hosts.Lab.Psql(Lab.Standby, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())"), StringComparison.Ordinal);
        hosts.Lab.Psql(Lab.Standby, "CREATE TABLE after_failover (i int)");
        Assert.Equal(running, hosts.Lab.Psql(Lab.Standby, "SELECT pg_postmaster_start_time()"));
    }
}
