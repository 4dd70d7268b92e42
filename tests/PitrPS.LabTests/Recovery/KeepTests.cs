using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

/// <summary>
/// A delayed standby that holds back. Each test drops a table of its own, after what the ones before it have dropped: a recovery in place moves the standby on.
/// </summary>
public sealed class KeepHosts : IDisposable
{
    public KeepHosts()
    {
        Hosts = new StandbyHosts();
        if (Lab.WhyNot() is null)
        {
            // Somebody's own word on how to take a target, where it would win.
            Standby("ALTER SYSTEM SET recovery_target_inclusive = on");
            Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
            Primary("CREATE TABLE keep (note text, n serial)");
            foreach (var name in Tables)
            {
                Primary($"CREATE TABLE {name} AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 2000) g");
            }

            Primary("CREATE UNLOGGED TABLE unl (id serial, v text); INSERT INTO unl (v) VALUES ('never in the WAL')");
            var end = Primary("SELECT pg_current_wal_lsn()");
            Waiting.For("the tables on the standby", () => Standby($"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t");
            Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
        }
    }

    private static IEnumerable<string> Tables => ["whole", "stop_killed", "replay_killed", "cut", "hidden", "by_hand"];

    public StandbyHosts Hosts { get; }

    public Lab Lab => Hosts.Lab;

    public string Primary(string sql) => Lab.Psql(Lab.Primary, sql);

    public string Standby(string sql) => Lab.Psql(Lab.Standby, sql);

    /// <summary>Rows of a table there; an error where the startup process keeps it locked.</summary>
    public string Rows(string table) => OnStandby($"runuser -u postgres -- env PGOPTIONS='-c lock_timeout=1s' psql -X -At -v ON_ERROR_STOP=1 -c 'SELECT count(*) FROM {table}'");

    public string OnStandby(string script) => Lab.Shell(Lab.Standby, script).TrimEnd('\n');

    /// <summary>Drops it between others' COMMITs; all of it is in the archive, because a standby that was restarted does not stream.</summary>
    public void Drop(string tables)
    {
        Primary("INSERT INTO keep VALUES ('before " + tables + "')");
        Lab.Shell(Lab.Primary,
            $$"""
            printf "BEGIN; INSERT INTO keep VALUES ('lost with it'); DROP TABLE {{tables}}; SELECT pg_sleep(1); COMMIT;" | runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 > /dev/null &
            sleep 0.5
            runuser -u postgres -- psql -X -q -c "INSERT INTO keep VALUES ('between')"
            wait $!
            """);
        Primary("INSERT INTO keep VALUES ('after " + tables + "')");
        var segment = Primary("SELECT pg_walfile_name(pg_switch_wal())");
        Waiting.For("the archive", () => OnStandby("runuser -u postgres -- ls /mnt/archive_wal_dir").Split('\n').Contains(segment));
    }

    /// <summary>What the configuration says, byte for byte, and what else a recovery may leave.</summary>
    public string Fingerprint() => OnStandby(
        $"""
        find /etc/postgresql {RecoveryHosts.Data}/postgresql.auto.conf -type f -exec sha256sum {"{}"} + | sort
        ls {RecoveryHosts.Data}/*.signal /var/lib/pitrps/servers
        ls -A /var/lib/pitrps/recoveries /var/lib/pitrps/operations | grep -v :
        true
        """);

    /// <summary>In recovery or not, timeline, delay, paused or not, targets.</summary>
    public string State() => Standby(
        """
        SELECT pg_is_in_recovery(), (SELECT timeline_id FROM pg_control_checkpoint()), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), pg_is_wal_replay_paused(),
          (SELECT count(*) FROM pg_settings WHERE name ~ '^recovery_target(_lsn|_time|_xid|_name|)$' AND setting <> ''), current_setting('recovery_target_inclusive')
        """);

    public void Dispose() => Hosts.Dispose();
}

public sealed class KeepTests(KeepHosts scene) : IClassFixture<KeepHosts>, IDisposable
{
    private const string Delayed = "t|1|259200000|f|0|on";
    private const string AtTarget = "t|1|0|t|1|off";

    private static string Invoke(string table) => $"$recovery = $standby | Find-PgIncident -Table {table} | Invoke-PitrRecovery -Way Keep -Confirm:$false; $recovery";

    /// <summary>Each test begins with a standby that nobody recovers.</summary>
    public void Dispose()
    {
        if (Lab.WhyNot() is null)
        {
            scene.Hosts.Run("$null = $standby | Get-PitrRecovery | Complete-PitrRecovery -Force -Confirm:$false").ThrowOnError();
        }
    }

    [LabFact]
    public void A_dropped_table_is_read_in_place_and_comes_back_and_the_standby_is_delayed_again_as_before()
    {
        var before = scene.Fingerprint();
        var started = scene.Standby("SELECT pg_postmaster_start_time()");
        scene.Drop("whole, unl");
        var shown = scene.Hosts.Run("$standby | Find-PgIncident -Table whole | Invoke-PitrRecovery -Way Keep -WhatIf | Complete-PitrRecovery -WhatIf").ThrowOnError();
        Assert.Contains("is lost until its delay of 3.00:00:00 has passed again", shown.HostText, StringComparison.Ordinal);
        Assert.Contains("recovery_target_lsn = '", shown.HostText, StringComparison.Ordinal);
        Assert.Contains("(no recovery_target_lsn any more)", shown.HostText, StringComparison.Ordinal);
        Assert.Equal((started, before), (scene.Standby("SELECT pg_postmaster_start_time()"), scene.Fingerprint()));

        var recovery = scene.Hosts.Get(Invoke("whole")).Single();
        Assert.Equal(("Ready", "Keep"), ($"{recovery.Properties["State"].Value}", $"{recovery.Properties["Way"].Value}"));
        Assert.Equal(AtTarget, scene.State());
        var target = $"{scene.Hosts.Get("$recovery.Target.Position").Single()}";
        Assert.Equal(target, $"{scene.Hosts.Get("$recovery.Incident.LockLsn").Single()}");
        Assert.Contains($"recovery stopping before WAL location (LSN) \"{target}\"", scene.OnStandby("tail -n 30 /var/log/postgresql/postgresql-15-main.log"), StringComparison.Ordinal);
        Assert.Equal("2000", scene.Rows("whole"));
        Assert.Equal("before whole, unl", scene.Standby("SELECT note FROM keep ORDER BY n DESC LIMIT 1"));

        var status = scene.Hosts.Get("$standby | Get-ReplicationStatus").Single();
        Assert.Equal(("PausedAtTarget", "3.00:00:00"), ($"{status.Properties["Replay"].Value}", $"{status.Properties["Delay"].Value}"));
        Assert.Contains("Complete-PitrRecovery", scene.Hosts.Run("$standby | Resume-WalReplay -Confirm:$false").SingleError("PitrPS.PausedAtTarget").ErrorDetails.RecommendedAction, StringComparison.Ordinal);
        scene.Hosts.Run("$standby | Invoke-PitrRecovery -TargetXid 3 -Confirm:$false").SingleError("PitrPS.RecoveryInProgress");
        scene.Hosts.Run("$recovery | Complete-PitrRecovery -Confirm:$false").SingleError("PitrPS.RestoreIncomplete");

        using var session = scene.Hosts.NewSession();
        Assert.Contains("nothing to do", session.Run(Invoke("whole")).ThrowOnError().HostText, StringComparison.Ordinal);
        Assert.Empty(session.Get("$standbyHost | Get-PitrOperation"));
        session.Get("$restored = $standby | Get-PitrRecovery | Restore-PgTable -To $primary -Confirm:$false");
        Assert.Equal("2000|2000|0", scene.Primary("SELECT count(*), count(*) FILTER (WHERE v = md5(id::text)), (SELECT count(*) FROM unl) FROM whole"));
        Assert.Equal(AtTarget, scene.State());

        var standby = session.Get("$restored | Complete-PitrRecovery -Confirm:$false").Single();
        Assert.Equal(("Standby", "False"), ($"{standby.Properties["Role"].Value}", $"{standby.Properties["IsFrozen"].Value}"));
        Assert.Equal(Delayed, scene.State());
        Assert.Equal(before, scene.Fingerprint());
        Assert.Equal("before whole, unl", scene.Standby("SELECT note FROM keep ORDER BY n DESC LIMIT 1"));
        Assert.Contains("nothing to do", session.Run("$null = $restored | Complete-PitrRecovery -Confirm:$false").ThrowOnError().HostText, StringComparison.Ordinal);
    }

    [Trait("Category", "Long")]
    [LabTheory]
    [InlineData("stop_killed", "Stop 15/main cleanly")]
    [InlineData("replay_killed", "Replay up to the target")]
    public async Task A_killed_client_is_gone_on_from(string table, string step)
    {
        var before = scene.Fingerprint();
        scene.Drop(table);
        using (var client = new ClientProcess(Snapshots.ConnectScript(scene.Lab) + "\n$VerbosePreference = 'Continue'\n" + Invoke(table)))
        {
            await client.WaitForTextAsync(step, TimeSpan.FromMinutes(5));
            client.Kill();
        }

        Assert.NotNull(scene.Hosts.Get("$standby | Get-PitrRecovery").Single());
        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke(table)).Single().Properties["State"].Value}");
        Assert.Equal(AtTarget, scene.State());
        Assert.Equal("2000", scene.Rows(table));
        Assert.Empty(scene.Hosts.Get("$standbyHost | Get-PitrOperation"));

        scene.Hosts.Get("$recovery | Complete-PitrRecovery -Force -Confirm:$false");
        Assert.Equal(Delayed, scene.State());
        Assert.Equal(before, scene.Fingerprint());
    }

    [FaultFact]
    public void After_a_power_cut_the_standby_comes_back_to_its_target()
    {
        var before = scene.Fingerprint();
        scene.Drop("cut");
        scene.Hosts.Get(Invoke("cut"));
        var position = scene.Standby("SELECT pg_last_wal_replay_lsn()");
        scene.Lab.Kill(Lab.Standby);
        scene.Lab.Start(Lab.Standby);
        Waiting.For("the target again", () => scene.OnStandby("runuser -u postgres -- psql -XAtc 'SELECT pg_last_wal_replay_lsn()' 2>&1 || true") == position);
        Assert.Equal(AtTarget, scene.State());
        Waiting.For("the recovery", () => $"{scene.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}" == "Ready");
        Assert.Equal("2000", scene.Rows("cut"));

        scene.Hosts.Get("$standby | Get-PitrRecovery | Complete-PitrRecovery -Force -Confirm:$false");
        Assert.Equal(Delayed, scene.State());
        Assert.Equal(before, scene.Fingerprint());
    }

    [LabFact]
    public void Where_the_standby_would_be_promoted_instead_of_pausing_it_is_refused_and_nothing_is_touched()
    {
        // A transaction with more subtransactions than a snapshot holds is open from before the standby's restartpoint on.
        scene.Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
        scene.Lab.Shell(Lab.Primary,
            """
            printf 'BEGIN; DO $$ BEGIN FOR i IN 1..100 LOOP BEGIN INSERT INTO keep VALUES (i::text); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$; SELECT pg_sleep(600);' \
              | nohup runuser -u postgres -- env PGAPPNAME=many psql -X -q > /dev/null 2>&1 &
            """);
        Waiting.For("the subtransactions", () => scene.Primary("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'many' AND wait_event = 'PgSleep'") == "1");
        try
        {
            scene.Primary("CHECKPOINT");
            var redo = scene.Primary("SELECT redo_lsn FROM pg_control_checkpoint()");
            scene.Primary("SELECT pg_switch_wal()");
            scene.Primary("INSERT INTO keep VALUES ('a COMMIT')");
            var end = scene.Primary("SELECT pg_current_wal_lsn()");
            Waiting.For("the checkpoint on the standby", () => scene.Standby($"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t");
            scene.Standby("CHECKPOINT");
            Assert.Equal(redo, scene.Standby("SELECT redo_lsn FROM pg_control_checkpoint()"));
            scene.Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
            var before = scene.Fingerprint();
            var started = scene.Standby("SELECT pg_postmaster_start_time()");
            scene.Drop("hidden");

            Assert.Contains("subtransactions", scene.Hosts.Run(Invoke("hidden")).SingleError("PitrPS.HotStandbyInactive").ToString(), StringComparison.Ordinal);
            Assert.Equal((started, before, Delayed), (scene.Standby("SELECT pg_postmaster_start_time()"), scene.Fingerprint(), scene.State()));
        }
        finally
        {
            scene.Primary("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'many'");
            Waiting.For("its end", () => scene.Primary("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'many'") == "0");
            // With it comes a snapshot that tells all transactions again.
            scene.Primary("CHECKPOINT");
        }
    }

    [LabFact]
    public void A_target_given_by_hand_may_be_a_COMMIT_and_a_lock_that_is_held_there_is_named()
    {
        var before = scene.Fingerprint();
        scene.Drop("by_hand");
        var run = scene.Hosts.Run("$at = ($standby | Find-PgIncident -Table by_hand).CommitLsn; $recovery = $standby | Invoke-PitrRecovery -Way Keep -TargetLsn $at -Confirm:$false; $recovery").ThrowOnError();
        Assert.Equal("Ready", $"{run.Output.Single().Properties["State"].Value}");
        Assert.Contains("by_hand", Assert.Single(run.Warnings), StringComparison.Ordinal);
        Assert.Equal("between", scene.Standby("SELECT note FROM keep ORDER BY n DESC LIMIT 1"));
        scene.Hosts.Get("$recovery | Complete-PitrRecovery -Force -Confirm:$false");
        Assert.Equal(Delayed, scene.State());
        Assert.Equal(before, scene.Fingerprint());
    }
}
