using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

public sealed class RecoveryTests(RecoveryHosts scene) : IClassFixture<RecoveryHosts>, IDisposable
{
    private const string Invoke = "$recovery = $standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery -Confirm:$false; $recovery";

    /// <summary>Each test begins with a standby that nobody recovers.</summary>
    public void Dispose()
    {
        if (RecoveryHosts.LabIsHere)
        {
            scene.Hosts.Run("$null = $standby | Get-PitrRecovery | Complete-PitrRecovery -Force -Confirm:$false").ThrowOnError();
            AssertAsBefore();
        }
    }

    [LabFact]
    public void Recovers_a_table_dropped_in_a_savepoint_of_a_longer_transaction()
    {
        var recovery = scene.Hosts.Get(Invoke).Single();
        Assert.Equal("Ready", $"{recovery.Properties["State"].Value}");
        Assert.Equal("pg_wal", recovery.Properties["WalSource"].Value);
        Assert.Equal(scene.Primary("SELECT count(*), sum(hashtext(ROW(g, md5(g::text))::text)) FROM generate_series(1, 20000) g"), scene.Scratch("SELECT count(*), sum(hashtext(r::text)) FROM pitr_rows r"));
        Assert.Equal("before,between", scene.Scratch("SELECT string_agg(note, ',') FROM keep"));
        Assert.Equal("300", scene.Scratch("SELECT count(*) FROM spaced"));
        Assert.Equal("t|f", scene.Scratch($"SELECT '{recovery.Properties["RecoveredTo"].Value}'::pg_lsn <= '{Incident("CommitLsn")}', pg_is_in_recovery()"));
        Assert.Equal("off||0", scene.Scratch("SELECT current_setting('archive_mode'), current_setting('listen_addresses'), count(*) FROM pg_stat_wal_receiver"));
    }

    [LabFact]
    public void Nothing_of_it_is_ever_written_to_the_standbys_files()
    {
        scene.Hosts.Get(Invoke);
        // The log is made when the standby has stopped and before the layer is laid.
        Assert.Equal("", scene.OnStandby($"find {RecoveryHosts.Data} /var/lib/postgresql/space -newerct \"$(stat -c %w {RecoveryHosts.Layer}/server.log)\""));
        var before = scene.Manifest();
        scene.Scratch("UPDATE pitr_rows SET v = 'x'; DROP TABLE keep; CREATE TABLE more TABLESPACE space AS SELECT 1; CHECKPOINT; SELECT pg_switch_wal()");
        Assert.Equal(before, scene.Manifest());
        Assert.Equal("no", scene.OnStandby($"nsenter -t $(systemctl show -p MainPID --value {RecoveryHosts.ScratchUnit}) -m sh -c '[ -w /etc ] && echo yes || echo no'"));
    }

    [LabFact]
    public void A_second_run_finds_it_ready_and_so_does_another_session()
    {
        var first = scene.Hosts.Get(Invoke).Single();
        var again = scene.Hosts.Run(Invoke).ThrowOnError();
        Assert.Contains("nothing to do", again.HostText, StringComparison.Ordinal);
        Assert.Equal(first.Properties["RecoveredTo"].Value, again.Output.Single().Properties["RecoveredTo"].Value);

        using var session = scene.Hosts.NewSession();
        var found = session.Get("$standby | Get-PitrRecovery").Single();
        Assert.Equal("Ready", $"{found.Properties["State"].Value}");
        Assert.Equal($"{Incident("TransactionId")}", $"{session.Get("($standby | Get-PitrRecovery).Incident.TransactionId").Single()}");
        Assert.Equal("15432", $"{session.Get("($standby | Get-PitrRecovery).Scratch.Port").Single()}");
        Assert.Contains("Ready", session.Render("$standby | Get-PitrRecovery"), StringComparison.Ordinal);
        Assert.Empty(session.Get("$standbyHost | Get-PitrOperation"));
    }

    [LabFact]
    public void Does_not_complete_while_the_table_is_not_proven_to_be_back()
    {
        scene.Hosts.Get(Invoke);
        Assert.Contains("pitr_rows", scene.Hosts.Run("$recovery | Complete-PitrRecovery -Confirm:$false").SingleError("PitrPS.RestoreIncomplete").ToString(), StringComparison.Ordinal);
        Assert.Equal("active", scene.ScratchUnitState);

        var standby = scene.Hosts.Get("$recovery | Complete-PitrRecovery -Force -Confirm:$false").Single();
        Assert.Equal("Standby", $"{standby.Properties["Role"].Value}");
        Assert.Equal(false, standby.Properties["IsFrozen"].Value);
        AssertAsBefore();
        Assert.Contains("nothing to do", scene.Hosts.Run("$null = $recovery | Complete-PitrRecovery -Force -Confirm:$false").ThrowOnError().HostText, StringComparison.Ordinal);
    }

    [LabFact]
    public void Rolls_back_the_prepared_transaction_that_holds_the_table()
    {
        scene.Hosts.Get("""$standby | Find-PgIncident -Table '"Two Phase"' | Invoke-PitrRecovery -Confirm:$false""");
        Assert.Equal("500", scene.Scratch("""SELECT count(*) FROM "Two Phase" """));
        Assert.Equal("0", scene.Scratch("SELECT count(*) FROM pg_prepared_xacts"));
        Assert.Equal("before,lost with it,between,after,prepared", scene.Scratch("SELECT string_agg(note, ',') FROM keep"));
    }

    [LabTheory]
    [InlineData("-BeforeTransaction (Incident).TransactionId", "before,between")]
    [InlineData("-BeforeTime (Incident).CommittedAt", "before,between")]
    [InlineData("-RestorePoint 'noon break'", "before,lost with it,between,after")]
    public void Recovers_to_a_target_given_by_hand(string target, string kept)
    {
        scene.Hosts.Get("function Incident { $standby | Find-PgIncident -Table pitr_rows }; $standby | Invoke-PitrRecovery -Confirm:$false " + target);
        Assert.Equal(kept, scene.Scratch("SELECT string_agg(note, ',') FROM keep"));
    }

    [LabFact]
    public void WhatIf_shows_the_whole_way_with_its_cost_and_changes_nothing()
    {
        var running = scene.Standby("SELECT pg_postmaster_start_time()");
        var run = scene.Hosts.Run("$standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery -WhatIf | Complete-PitrRecovery -WhatIf").ThrowOnError();
        Assert.Matches(@"WAL to replay.*: at most \d+ .*from pg_wal.*about \d+ s", run.HostText);
        Assert.Matches(@"layer in .* takes .* are free there", run.HostText);
        Assert.Contains("session", run.HostText, StringComparison.Ordinal);
        Assert.Contains("recovery_target_lsn=", run.HostText, StringComparison.Ordinal);
        Assert.Contains("systemctl start postgresql@15-main.service", run.HostText, StringComparison.Ordinal);
        Assert.Equal(true, run.Single().Properties["IsPlanned"].Value);
        Assert.Equal(running, scene.Standby("SELECT pg_postmaster_start_time()"));
        Assert.Equal("259200000", scene.Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Assert.Equal("", scene.Leftovers());
    }

    [LabTheory]
    [InlineData("$standby | Find-PgIncident | Invoke-PitrRecovery -Confirm:$false", "PitrPS.AmbiguousIncident")]
    [InlineData("$standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery", "PitrPS.ConfirmationRequired")]
    [InlineData("$primary | Invoke-PitrRecovery -BeforeLsn 0/5000000 -Confirm:$false", "PitrPS.NotAStandby")]
    [InlineData("$standby | Invoke-PitrRecovery -BeforeLsn 0/2000028 -Confirm:$false", "PitrPS.TargetAlreadyReplayed")]
    [InlineData("$standby | Invoke-PitrRecovery -BeforeLsn FF/0 -Confirm:$false", "PitrPS.TargetBeyondWal")]
    [InlineData("$standby | Invoke-PitrRecovery -BeforeTime ([DateTimeOffset]::UtcNow.AddHours(9)) -Confirm:$false", "PitrPS.TargetBeyondWal")]
    [InlineData("$standby | Invoke-PitrRecovery -BeforeTransaction 4000000000 -Confirm:$false", "PitrPS.TargetNotFound")]
    [InlineData("$standby | Invoke-PitrRecovery -RestorePoint nowhere -Confirm:$false", "PitrPS.TargetNotFound")]
    public void A_wrong_target_is_refused_and_the_standby_runs_on_untouched(string script, string id)
    {
        var running = scene.Standby("SELECT pg_postmaster_start_time()");
        scene.Hosts.Run(script).SingleError(id);
        Assert.Equal(running, scene.Standby("SELECT pg_postmaster_start_time()"));
        Assert.Equal("f|259200000", scene.Standby("SELECT pg_is_wal_replay_paused(), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay')"));
        Assert.Equal("", scene.Leftovers());
    }

    [LabFact]
    public void WAL_that_is_nowhere_is_named_and_nothing_is_stopped()
    {
        var running = scene.Standby("SELECT pg_postmaster_start_time()");
        var needed = scene.Primary($"SELECT pg_walfile_name('{Incident("CommitLsn")}')");
        scene.OnStandby($"mv {RecoveryHosts.Data}/pg_wal/{needed} /root/kept");
        scene.Lab.Shell(Lab.Primary, $"mv /var/mnt/archive_wal_dir/{needed} /root/kept");
        scene.AwaitListing(needed, isThere: false);
        try
        {
            Assert.Contains(needed, scene.Hosts.Run($"$standby | Invoke-PitrRecovery -BeforeLsn {Incident("CommitLsn")} -Confirm:$false").SingleError("PitrPS.WalMissing").ToString(), StringComparison.Ordinal);
            Assert.Equal(running, scene.Standby("SELECT pg_postmaster_start_time()"));
        }
        finally
        {
            scene.Lab.Shell(Lab.Primary, $"mv /root/kept /var/mnt/archive_wal_dir/{needed}");
            scene.AwaitListing(needed, isThere: true);
            scene.OnStandby($"mv /root/kept {RecoveryHosts.Data}/pg_wal/{needed}");
        }
    }

    [LabFact]
    public void WAL_that_pg_wal_lacks_comes_from_the_archive()
    {
        var needed = scene.Primary($"SELECT pg_walfile_name('{Incident("CommitLsn")}')");
        scene.OnStandby($"mv {RecoveryHosts.Data}/pg_wal/{needed} /root/kept");
        try
        {
            Assert.Equal("pg_wal and archive", scene.Hosts.Get(Invoke).Single().Properties["WalSource"].Value);
            Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
        }
        finally
        {
            scene.OnStandby($"mv /root/kept {RecoveryHosts.Data}/pg_wal/{needed}");
        }
    }

    [LabFact]
    public void A_host_that_cannot_lay_a_layer_says_why()
    {
        scene.Replace("mount", "echo mount: wrong fs type >&2; exit 32");
        try
        {
            Assert.Contains("wrong fs type", scene.Hosts.Run(Invoke).SingleError("PitrPS.LayerUnsupported").ToString(), StringComparison.Ordinal);
            Assert.Contains(scene.StandbyUnit, new[] { "active", "activating" });
        }
        finally
        {
            scene.PutBack("mount");
        }
    }

    [LabFact]
    public void When_the_scratch_server_fails_the_standby_runs_again_frozen_and_nothing_is_left()
    {
        scene.Replace("setpriv", "echo LOG:  no luck today >&2; exit 1");
        try
        {
            Assert.Contains("no luck today", scene.Hosts.Run(Invoke).SingleError("PitrPS.ScratchFailed").ToString(), StringComparison.Ordinal);
            Assert.Contains(scene.StandbyUnit, new[] { "active", "activating" });
            Assert.Equal("2147483647", scene.Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
            Assert.Equal(scene.Position, scene.Standby("SELECT pg_last_wal_replay_lsn()"));
            Assert.Equal("", scene.Leftovers());
        }
        finally
        {
            scene.PutBack("setpriv");
        }

        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
    }

    [LabTheory]
    [InlineData("Stop the standby cleanly and start a scratch server")]
    [InlineData("Replay up to the target")]
    public async Task A_killed_client_is_gone_on_from(string step)
    {
        scene.SlowDown();
        using (var client = new ClientProcess(Snapshots.ConnectScript(scene.Lab) + "\n$VerbosePreference = 'Continue'\n" + Invoke))
        {
            await client.WaitForTextAsync(step, TimeSpan.FromSeconds(60));
            client.Kill();
        }

        scene.PutBack("setpriv");
        var operation = scene.Hosts.Get("$standbyHost | Get-PitrOperation").Single();
        Assert.Equal("Invoke-PitrRecovery", operation.Properties["Operation"].Value);
        Assert.NotEqual("Failed", $"{operation.Properties["State"].Value}");
        Assert.NotNull(scene.Hosts.Get("$standby | Get-PitrRecovery").Single());

        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
        Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
        Assert.Empty(scene.Hosts.Get("$standbyHost | Get-PitrOperation"));
    }

    [LabFact]
    public void CtrlC_returns_at_once_and_the_standby_runs_again_frozen()
    {
        scene.SlowDown();
        var script = scene.Hosts.Engine.Start(Invoke);
        RecoveryHosts.Wait("the scratch server's step", () => script.Progress.Any(p => p.StatusDescription.Contains("Replay up to the target", StringComparison.Ordinal)));
        Assert.InRange(script.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
        script.Wait();
        scene.PutBack("setpriv");
        scene.AwaitStandby();
        Assert.Equal("2147483647|" + scene.Position, scene.Standby("SELECT setting, pg_last_wal_replay_lsn() FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        RecoveryHosts.Wait("the journal", () => $"{scene.Hosts.Get("($standbyHost | Get-PitrOperation).State").Single()}" == "Stopped");
        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
    }

    [LabFact]
    public void Whoever_starts_the_standby_ends_the_scratch_server_first()
    {
        scene.Hosts.Get(Invoke);
        scene.OnStandby($"systemctl start {RecoveryHosts.Unit}");
        Assert.NotEqual("active", scene.ScratchUnitState);
        Assert.Equal("t|" + scene.Position, scene.Standby("SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()"));
        Assert.Equal("Lost", $"{scene.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}");

        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
        Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
    }

    [LabFact]
    public void A_standby_that_answers_before_systemd_has_noted_its_start_is_recovered_too()
    {
        var dropIn = $"/run/systemd/system/{RecoveryHosts.Unit}.d";
        scene.OnStandby($"systemctl stop {RecoveryHosts.Unit}; mkdir -p {dropIn}; printf '[Service]\nExecStartPost=/bin/sleep 12\n' > {dropIn}/slow.conf; systemctl daemon-reload; systemctl start --no-block {RecoveryHosts.Unit}");
        try
        {
            scene.AwaitStandby();
            Assert.Equal("activating", scene.StandbyUnit);
            Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
        }
        finally
        {
            scene.OnStandby($"rm -r {dropIn}; systemctl daemon-reload");
        }
    }

    [LabFact]
    public void A_scratch_server_that_is_killed_gives_the_standby_back()
    {
        scene.Hosts.Get(Invoke);
        scene.OnStandby($"kill -KILL $(systemctl show -p MainPID --value {RecoveryHosts.ScratchUnit})");
        scene.AwaitStandby();
        Assert.Equal("2147483647|" + scene.Position, scene.Standby("SELECT setting, pg_last_wal_replay_lsn() FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
    }

    [LabFact]
    public void Another_target_is_refused_while_a_recovery_is_under_way()
    {
        scene.Hosts.Get(Invoke);
        scene.Hosts.Run("$standby | Invoke-PitrRecovery -RestorePoint 'noon break' -Confirm:$false").SingleError("PitrPS.RecoveryInProgress");
        Assert.Equal("active", scene.ScratchUnitState);
    }

    [FaultFact]
    public void After_a_power_cut_the_standby_is_as_it_was_and_the_recovery_is_made_anew()
    {
        scene.Hosts.Get(Invoke);
        scene.Lab.Kill(Lab.Standby);
        scene.Lab.Start(Lab.Standby);
        scene.AwaitStandby();
        Assert.Equal("t|2147483647|" + scene.Position, scene.Standby("SELECT pg_is_in_recovery(), setting, pg_last_wal_replay_lsn() FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Assert.Equal("Lost", $"{scene.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}");

        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
        Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
    }

    private string Incident(string property) => scene.Incident(property);

    private void AssertAsBefore()
    {
        Assert.Equal("", scene.Leftovers());
        Assert.Equal("inactive", scene.ScratchUnitState);
        Assert.Equal($"t|{scene.Position}|259200000|1|f", scene.Standby(
            "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), (SELECT timeline_id FROM pg_control_checkpoint()), pg_is_wal_replay_paused()"));
    }
}
