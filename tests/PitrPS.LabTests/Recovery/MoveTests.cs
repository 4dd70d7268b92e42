using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

public sealed class MoveTests(RecoveryHosts scene) : IClassFixture<RecoveryHosts>, IDisposable
{
    /// <summary>Each test begins with a standby that nobody recovers.</summary>
    public void Dispose()
    {
        if (RecoveryHosts.LabIsHere)
        {
            scene.Hosts.Run("$null = $standby | Get-PitrRecovery | Complete-PitrRecovery -Force -Confirm:$false").ThrowOnError();
            Assert.Equal("", scene.Leftovers());
        }
    }

    [LabFact]
    public void Walks_to_and_fro_in_time_and_refuses_what_the_standby_has_applied()
    {
        var run = scene.Hosts.Run("$recovery = $standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery -KeepRunning -Confirm:$false; $recovery").ThrowOnError();
        var connect = "psql -h /run/pitrps-scratch-15-main -p 15432 -d postgres";
        Assert.Contains("On standby: sudo -u postgres " + connect, run.HostText, StringComparison.Ordinal);
        // Another user of the host, whom the standby's pg_hba.conf knows as a role; a role that is not his stays closed to him.
        scene.Scratch("CREATE ROLE dba LOGIN");
        Assert.Equal("dba", scene.OnStandby($"cd /; runuser -u dba -- {connect} -XAtc 'SELECT current_user'"));
        Assert.Contains("failed", scene.OnStandby($"cd /; runuser -u dba -- {connect} -U postgres -XAtc 'SELECT 1' 2>&1 || true"), StringComparison.Ordinal);

        Assert.Equal("before,lost with it,between,after", Moved("'noon break'"));
        Assert.Equal("before,between", Moved($"{scene.Incident("CommitLsn")}"));
        Assert.Equal("before,between,lost with it", string.Join(',', Moved($"'xid {scene.Incident("TransactionId")}' -Inclusive").Split(',').Order(StringComparer.Ordinal)));
        var invocation = Invocation();
        scene.Hosts.Run("$recovery | Move-PitrRecovery -To 0/2000028 -Confirm:$false").SingleError("PitrPS.TargetAlreadyReplayed");
        scene.Hosts.Run("$recovery | Move-PitrRecovery -To 'xid 4000000000' -Confirm:$false").SingleError("PitrPS.TargetNotFound");
        scene.Hosts.Run("$recovery | Move-PitrRecovery -To '2026-11-23 14:05' -Confirm:$false").SingleError("PitrPS.TimeWithoutOffset");
        Assert.Equal(invocation, Invocation());
        Assert.Contains("thrown away", scene.Hosts.Run("$null = $recovery | Move-PitrRecovery -To 'noon break' -WhatIf").ThrowOnError().HostText, StringComparison.Ordinal);
        Assert.Equal(invocation, Invocation());
        Assert.Equal(scene.Incident("TransactionId"), $"{scene.Hosts.Get("($standby | Get-PitrRecovery).Incident.TransactionId").Single()}");
        Assert.Empty(scene.Hosts.Get("$standbyHost | Get-PitrOperation"));
    }

    [LabFact]
    public async Task A_client_killed_while_it_moves_is_gone_on_from()
    {
        scene.Hosts.Get("$recovery = $standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery -Confirm:$false");
        scene.SlowDown();
        const string move = "$standby | Get-PitrRecovery | Move-PitrRecovery -To 'noon break' -Confirm:$false";
        using (var client = new ClientProcess(Snapshots.ConnectScript(scene.Lab) + "\n$VerbosePreference = 'Continue'\n" + move))
        {
            await client.WaitForTextAsync("Stop the standby cleanly and start a scratch server", TimeSpan.FromSeconds(120));
            client.Kill();
        }

        scene.PutBack("setpriv");
        Assert.Equal("Ready", $"{scene.Hosts.Get(move).Single().Properties["State"].Value}");
        Assert.Equal("before,lost with it,between,after", scene.Scratch("SELECT string_agg(note, ',') FROM keep"));
        Assert.Empty(scene.Hosts.Get("$standbyHost | Get-PitrOperation"));
    }

    // The estimate adds what every server writes (96 MiB), all WAL as if each record made a new block, and whole files; so it is above what is used, by no more than that.
    [LabFact]
    public void The_layer_takes_what_was_estimated_and_no_primary_and_no_mount_are_needed_for_local_WAL()
    {
        // With little free, the files that the WAL refers to are listed and counted.
        scene.Replace("stat", """[ "$1" = -f ] && { echo 65000 4096; exit; }; exec /root/stat.real "$@" """);
        scene.OnStandby("chmod 711 /root; chmod 755 /root/stat.real");
        scene.Lab.PauseNetwork(Lab.Primary);
        try
        {
            scene.OnStandby("umount --lazy /mnt/archive_wal_dir 2>/dev/null || true");
            var recovery = scene.Hosts.Get("$recovery = $standby | Invoke-PitrRecovery -TargetLsn " + scene.Incident("CommitLsn") + " -Confirm:$false; $recovery").Single();
            Assert.Equal("pg_wal", recovery.Properties["WalSource"].Value);
            Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
            var expected = long.Parse(scene.OnStandby("sed -n 's/.*\"expectedLayerBytes\": \\([0-9]*\\).*/\\1/p' /var/lib/pitrps/recoveries/15-main.json"), System.Globalization.CultureInfo.InvariantCulture);
            var used = (long)recovery.Properties["LayerBytes"].Value;
            var wal = (long)recovery.Properties["WalBytes"].Value;
            Assert.InRange(used, 1, expected);
            Assert.InRange(expected - used, 0, (96L << 20) + wal + (32L << 20));
        }
        finally
        {
            scene.PutBack("stat");
            scene.Lab.ResumeNetwork(Lab.Primary);
        }
    }

    private string Moved(string to)
    {
        Assert.Equal("Ready", $"{scene.Hosts.Get($"$recovery = $recovery | Move-PitrRecovery -To {to} -Confirm:$false; $recovery").Single().Properties["State"].Value}");
        return scene.Scratch("SELECT string_agg(note, ',') FROM keep");
    }

    private string Invocation() => scene.OnStandby($"systemctl show -p InvocationID --value {RecoveryHosts.ScratchUnit}");
}
