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
    [InlineData("-TargetXid (Incident).TransactionId", "before,between")]
    [InlineData("-TargetTime (Incident).CommittedAt", "before,between")]
    [InlineData("-TargetXid (Incident).TransactionId -Inclusive", "before,between,lost with it")]
    [InlineData("-TargetName 'noon break'", "before,lost with it,between,after")]
    public void Recovers_to_a_target_given_by_hand(string target, string kept)
    {
        scene.Hosts.Get("function Incident { $standby | Find-PgIncident -Table pitr_rows }; $standby | Invoke-PitrRecovery -Confirm:$false " + target);
        Assert.Equal(kept.Split(',').Order(), scene.Scratch("SELECT string_agg(note, ',') FROM keep").Split(',').Order());
    }

    [LabFact]
    public void Immediate_stops_where_the_standbys_replay_stands()
    {
        var recovery = scene.Hosts.Get("$standby | Invoke-PitrRecovery -Immediate -Confirm:$false").Single();
        Assert.Equal("Ready", $"{recovery.Properties["State"].Value}");
        Assert.Equal("t|f", scene.Scratch($"SELECT '{recovery.Properties["RecoveredTo"].Value}'::pg_lsn <= '{scene.Position}', pg_is_in_recovery()"));
        // The delay holds back even its creation.
        Assert.Equal("t", scene.Scratch("SELECT to_regclass('keep') IS NULL"));
    }

    [LabFact]
    public void Test_says_of_an_incident_what_is_found_just_before_its_COMMIT()
    {
        var text = scene.Hosts.Engine.Render("$global:report = @($standby | Find-PgIncident -Table pitr_rows | Test-RecoveryTarget); $report");
        string Say(string expression) => string.Join(';', scene.Hosts.Get("$report[0]" + expression).Select(o => $"{o}"));
        Assert.Equal("True", Say(".IsReachable"));
        Assert.Equal(Incident("CommitLsn"), Say(".StopLsn"));
        Assert.Equal("False", Say(".IsReadableInPlace"));
        Assert.Contains("public.pitr_rows", Say(".LockedTables | ForEach-Object ToString"), StringComparison.Ordinal);
        Assert.Equal(Incident("LockLsn"), Say(".LockedTables[0].LockedAt"));
        Assert.Equal("True", Say(".IsHotStandbyActive"));
        Assert.Equal("", Say(".SettingsToRaise"));
        Assert.Equal(["PgWal"], Say(".Segments.Place").Split(';').Distinct());
        Assert.Matches(@"15/main +True +before LSN .* \d+ locked", text);

        Assert.Equal("True", $"{scene.Hosts.Get($"($standby | Test-RecoveryTarget -TargetLsn {Incident("LockLsn")}).IsReadableInPlace").Single()}");
        Assert.Equal("True", $"{scene.Hosts.Get("""($standby | Find-PgIncident -Table '"Two Phase"' | Test-RecoveryTarget).LockedTables.Where({ $_.Name -eq 'Two Phase' }).IsPrepared""").Single()}");
        Assert.Equal("", scene.Leftovers());
    }

    [LabFact]
    public void Test_maps_a_subtransaction_and_answers_for_a_target_that_cannot_be_reached()
    {
        var sub = scene.Hosts.Get("($standby | Find-PgIncident -Table pitr_rows | Test-RecoveryTarget).LockedTables[0].TransactionId").Single();
        var mapped = scene.Hosts.Get($"$standby | Test-RecoveryTarget -TargetXid {sub}").Single();
        Assert.Equal(Incident("CommitLsn"), $"{mapped.Properties["StopLsn"].Value}");
        Assert.Contains($"Transaction {sub} is a subtransaction of {Incident("TransactionId")}, which ends at {Incident("CommitLsn")}.", scene.Hosts.Get($"($standby | Test-RecoveryTarget -TargetXid {sub}).Notes").Select(n => $"{n}"));

        (string Target, string Id, string Said)[] expected =
        [
            ("-TargetLsn 0/2000028", "PitrPS.TargetAlreadyReplayed", "has applied the WAL up to"),
            ("-TargetLsn FF/0", "PitrPS.TargetBeyondWal", "The primary itself is at"),
            ("-TargetXid 4000000000", "PitrPS.TargetNotFound", "No transaction 4000000000 ends"),
            ("-TargetName nowhere", "PitrPS.TargetNotFound", "restore point nowhere"),
            ("-TargetName 'noon break' -Timeline 7", "PitrPS.TimelineUnreachable", "00000007.history"),
        ];
        foreach (var (target, id, said) in expected)
        {
            var report = scene.Hosts.Run("$standby | Test-RecoveryTarget " + target).ThrowOnError().Single();
            Assert.Equal(false, report.Properties["IsReachable"].Value);
            var problem = $"{scene.Hosts.Get($"($standby | Test-RecoveryTarget {target}).Problems | ForEach-Object {{ \"$_ $($_.NextStep)\" }}").Single()}";
            Assert.StartsWith(id, problem, StringComparison.Ordinal);
            Assert.Contains(said, problem, StringComparison.Ordinal);
        }
    }

    [LabTheory]
    [InlineData("-TargetTime '2026-11-23 14:05'", "PitrPS.TimeWithoutOffset", "by the log of standby:15/main (")]
    [InlineData("-TargetTime ([datetime]::Now)", "PitrPS.TimeWithoutOffset", "UTC: ")]
    [InlineData("-TargetName 'noon break' -Inclusive", "PitrPS.InclusiveIgnored", "PostgreSQL ignores")]
    public void Input_that_is_no_target_is_an_error(string target, string id, string said) =>
        Assert.Contains(said, scene.Hosts.Run("$standby | Test-RecoveryTarget " + target).SingleError(id).ToString(), StringComparison.Ordinal);

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
    [InlineData("$primary | Invoke-PitrRecovery -TargetLsn 0/5000000 -Confirm:$false", "PitrPS.NotAStandby")]
    [InlineData("$standby | Invoke-PitrRecovery -TargetLsn 0/2000028 -Confirm:$false", "PitrPS.TargetAlreadyReplayed")]
    [InlineData("$standby | Invoke-PitrRecovery -TargetLsn FF/0 -Confirm:$false", "PitrPS.TargetBeyondWal")]
    [InlineData("$standby | Invoke-PitrRecovery -TargetTime ([DateTimeOffset]::UtcNow.AddHours(9)) -Confirm:$false", "PitrPS.TargetBeyondWal")]
    [InlineData("$standby | Invoke-PitrRecovery -TargetXid 4000000000 -Confirm:$false", "PitrPS.TargetNotFound")]
    [InlineData("$standby | Invoke-PitrRecovery -TargetName nowhere -Confirm:$false", "PitrPS.TargetNotFound")]
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
            Assert.Contains(needed, scene.Hosts.Run($"$standby | Invoke-PitrRecovery -TargetLsn {Incident("CommitLsn")} -Confirm:$false").SingleError("PitrPS.WalMissing").ToString(), StringComparison.Ordinal);
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
            Assert.Contains("wrong fs type", scene.Hosts.Run(Invoke.Replace("-Confirm", "-Way Scratch -Confirm", StringComparison.Ordinal)).SingleError("PitrPS.LayerUnsupported").ToString(), StringComparison.Ordinal);
            Assert.Contains(scene.StandbyUnit, new[] { "active", "activating" });
        }
        finally
        {
            scene.PutBack("mount");
        }
    }

    // The second one is a disk that is full at the target: no file may grow past 8 MiB, so it can replay and not make the first segment of its own timeline.
    [LabTheory]
    [InlineData("echo LOG:  no luck today >&2; exit 1", "no luck today")]
    [InlineData("ulimit -f 16384; exec /root/setpriv.real \"$@\"", "File too large")]
    public void When_the_scratch_server_fails_the_standby_runs_again_frozen_and_nothing_is_left(string start, string said)
    {
        scene.Replace("setpriv", start);
        try
        {
            Assert.Contains(said, scene.Hosts.Run(Invoke).SingleError("PitrPS.ScratchFailed").ToString(), StringComparison.Ordinal);
            AssertGivenBack();
        }
        finally
        {
            scene.PutBack("setpriv");
        }

        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
    }

    [Trait("Category", "Long")]
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
        Waiting.For("the scratch server's step", () => script.Progress.Any(p => p.StatusDescription.Contains("Replay up to the target", StringComparison.Ordinal)));
        Assert.InRange(script.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
        script.Wait();
        scene.PutBack("setpriv");
        scene.AwaitStandby();
        Assert.Equal("2147483647|" + scene.Position, scene.Standby("SELECT setting, pg_last_wal_replay_lsn() FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Waiting.For("the journal", () => $"{scene.Hosts.Get("($standbyHost | Get-PitrOperation).State").Single()}" == "Stopped");
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
    public void A_second_operator_is_told_who_is_at_it_since_when_and_how_to_take_over()
    {
        scene.Replace("setpriv", "until [ -e /run/second-was-here ]; do sleep 0.1; done; exec /root/setpriv.real \"$@\"");
        try
        {
            using var second = scene.Hosts.NewSession();
            var first = scene.Hosts.Engine.Start(Invoke);
            Waiting.For("the scratch server's step", () => first.Progress.Any(p => p.StatusDescription.Contains("Replay up to the target", StringComparison.Ordinal)));
            var error = second.Run("$standby | Invoke-PitrRecovery -TargetName 'noon break' -Confirm:$false").SingleError("PitrPS.RecoveryInProgress");
            Assert.Matches(@"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, by \S+@\S+", error.ToString());
            error = second.Run("$standby | Get-PitrRecovery | Complete-PitrRecovery -Force -Confirm:$false").SingleError("PitrPS.OperationInProgress");
            Assert.Equal("Running", $"{second.Get("($standbyHost | Get-PitrOperation).State").Single()}");
            Assert.Matches(@"standby:15/main: \S+@\S+ \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ Invoke-PitrRecovery", error.ToString());
            Assert.Contains("To take over, stop that client", error.ErrorDetails.RecommendedAction, StringComparison.Ordinal);
            scene.OnStandby("touch /run/second-was-here");
            first.Wait().ThrowOnError();
        }
        finally
        {
            scene.OnStandby("touch /run/second-was-here");
            scene.PutBack("setpriv");
            scene.OnStandby("rm /run/second-was-here");
        }

        Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
    }

    [FaultFact]
    public void A_primary_and_a_mount_that_are_gone_in_the_middle_cost_the_standby_nothing()
    {
        var needed = scene.Primary($"SELECT pg_walfile_name('{Incident("CommitLsn")}')");
        scene.OnStandby($"mv {RecoveryHosts.Data}/pg_wal/{needed} /root/kept");
        Assert.Contains("Archive", scene.Hosts.Get("($standby | Find-PgIncident -Table pitr_rows | Test-RecoveryTarget).Segments.Place").Select(p => $"{p}"));
        scene.Replace("setpriv", "until [ -e /run/cable-is-cut ]; do sleep 0.1; done; exec /root/setpriv.real \"$@\"");
        var first = scene.Hosts.Engine.Start(Invoke);
        Waiting.For("the scratch server's step", () => first.Progress.Any(p => p.StatusDescription.Contains("Replay up to the target", StringComparison.Ordinal)));
        scene.Lab.PauseNetwork(Lab.Primary);
        try
        {
            scene.OnStandby("touch /run/cable-is-cut");
            Task.Delay(TimeSpan.FromSeconds(30)).Wait();
        }
        finally
        {
            scene.Lab.ResumeNetwork(Lab.Primary);
            scene.PutBack("setpriv");
            scene.OnStandby("rm /run/cable-is-cut");
        }

        Assert.True(Waiting.Until(() => first.HasEnded, TimeSpan.FromMinutes(5)), "It waits for an archive that is there again.");
        if (first.Wait() is { Errors.Count: > 0 } failed)
        {
            failed.SingleError("PitrPS.ScratchFailed");
            AssertGivenBack();
        }

        scene.AwaitListing(needed, isThere: true);
        Assert.Equal("Ready", $"{scene.Hosts.Get(Invoke).Single().Properties["State"].Value}");
        Assert.Equal("20000", scene.Scratch("SELECT count(*) FROM pitr_rows"));
        scene.OnStandby($"mv /root/kept {RecoveryHosts.Data}/pg_wal/{needed}");
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
        scene.Hosts.Run("$standby | Invoke-PitrRecovery -TargetName 'noon break' -Confirm:$false").SingleError("PitrPS.RecoveryInProgress");
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

    // It runs again, frozen where it was.
    private void AssertGivenBack()
    {
        Assert.Contains(scene.StandbyUnit, new[] { "active", "activating" });
        scene.AwaitStandby();
        Assert.Equal("2147483647|" + scene.Position, scene.Standby("SELECT setting, pg_last_wal_replay_lsn() FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Assert.Equal("", scene.Leftovers());
    }

    private void AssertAsBefore()
    {
        Assert.Equal("", scene.Leftovers());
        Assert.Equal("inactive", scene.ScratchUnitState);
        Assert.Equal($"t|{scene.Position}|259200000|1|f", scene.Standby(
            "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), (SELECT timeline_id FROM pg_control_checkpoint()), pg_is_wal_replay_paused()"));
    }
}
