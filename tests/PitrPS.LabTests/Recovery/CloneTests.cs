using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

public sealed class CloneTests(RecoveryHosts scene) : IClassFixture<RecoveryHosts>, IDisposable
{
    private const string Invoke = "$recovery = $standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery -Way Clone -Confirm:$false; $recovery";

    // Only the first of many calls is slow, for what is to happen meanwhile.
    private const string SlowOnce = """[ -e /run/slow ] && rm /run/slow && sleep 8; exec /root/setpriv.real "$@" """;

    /// <summary>Each test begins with a standby that has no clone.</summary>
    public void Dispose()
    {
        if (RecoveryHosts.LabIsHere)
        {
            scene.Hosts.Run("$null = $standby | Get-PitrRecovery | Remove-PitrClone -Confirm:$false").ThrowOnError();
            AssertStandbyAsBefore();
            Assert.Equal("", scene.Leftovers());
        }
    }

    [Trait("Category", "Long")]
    [LabFact]
    public void Clones_at_two_targets_stand_side_by_side_while_the_standby_goes_on()
    {
        var plan = scene.Hosts.Run("$standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery -Way Clone -WhatIf | Complete-PitrRecovery -WhatIf").ThrowOnError();
        Assert.Matches(@"is stopped while its files are copied, about \d+ s \(.*at some 300 MB/s\); nobody is connected", plan.HostText);
        Assert.Matches(@"The clone in .*/main\.pitrps-clone-\S+ takes about .* are free there", plan.HostText);
        Assert.Equal("", scene.Leftovers());

        var files = Files();
        var run = scene.Hosts.Run(Invoke).ThrowOnError();
        var clone = run.Output.Single();
        Assert.Equal(("Ready", "Clone", "pg_wal"), ($"{clone.Properties["State"].Value}", $"{clone.Properties["Way"].Value}", $"{clone.Properties["WalSource"].Value}"));
        Assert.Equal($"{scene.Incident("CommitLsn").Replace('/', '-')}", $"{clone.Properties["CloneId"].Value}");
        AssertStandbyAsBefore();
        Assert.Contains(run.Progress, p => p.StatusDescription.Contains("MiB copied", StringComparison.Ordinal) || p.StatusDescription.Contains("is being stopped", StringComparison.Ordinal));

        var connect = $"{clone.Properties["Connect"].Value}";
        Assert.Equal(scene.Primary("SELECT count(*), sum(hashtext(ROW(g, md5(g::text))::text)) FROM generate_series(1, 20000) g"), Ask(connect, "SELECT count(*), sum(hashtext(r::text)) FROM pitr_rows r"));
        Assert.Equal("before,between|300", Ask(connect, "SELECT string_agg(note, ','), (SELECT count(*) FROM spaced) FROM keep"));
        Assert.Equal("off|localhost|on|on|0|0|f", Ask(connect,
            "SELECT current_setting('archive_mode'), current_setting('listen_addresses'), current_setting('fsync'), current_setting('full_page_writes'), (SELECT count(*) FROM pg_stat_wal_receiver), (SELECT count(*) FROM pg_replication_slots), pg_is_in_recovery()"));

        var second = scene.Hosts.Get("$standby | Invoke-PitrRecovery -Way Clone -TargetName 'noon break' -Confirm:$false").Single();
        var other = $"{second.Properties["Connect"].Value}";
        Assert.NotEqual(connect, other);
        Assert.Equal("before,lost with it,between,after", Ask(other, "SELECT string_agg(note, ',') FROM keep"));
        Assert.Equal("", Ask(other, "SELECT to_regclass('pitr_rows')"));
        Ask(connect, "UPDATE keep SET note = 'x'; CREATE TABLE more TABLESPACE space AS SELECT 1; CHECKPOINT; SELECT pg_switch_wal()");
        Assert.Equal("0", Ask(other, "SELECT count(*) FROM keep WHERE note = 'x'"));
        Assert.Equal(files, Files());
        AssertStandbyAsBefore();

        Assert.Contains("nothing to do", scene.Hosts.Run(Invoke).ThrowOnError().HostText, StringComparison.Ordinal);
        using var session = scene.Hosts.NewSession();
        Assert.Equal("Ready Ready", $"{session.Get("($standby | Get-PitrRecovery).State -join ' '").Single()}");
        Assert.Equal("15/main", $"{session.Get("($standbyHost | Get-PgServer).Name -join ' '").Single()}");
        Assert.Empty(session.Get("$standbyHost | Get-PitrOperation"));

        Assert.Contains("pitr_rows", session.Run("$clones = $standby | Get-PitrRecovery; $clones[0] | Complete-PitrRecovery -Confirm:$false").SingleError("PitrPS.RestoreIncomplete").ToString(), StringComparison.Ordinal);
        var restored = session.Get("$clones[0] | Restore-PgTable -To $primary | ForEach-Object { $_; $null = $_ | Complete-PitrRecovery -Confirm:$false }").Single();
        Assert.Equal(true, restored.Properties["IsProven"].Value);
        Assert.Equal("20000", scene.Primary("SELECT count(*) FROM pitr_rows"));
        Assert.Equal("noon break", $"{session.Get("($standby | Get-PitrRecovery).Target.Value").Single()}");

        Assert.Contains("systemctl stop", session.Run("$clones[1] | Remove-PitrClone -WhatIf").ThrowOnError().HostText, StringComparison.Ordinal);
        Assert.Equal("1", Ask(other, "SELECT 1"));
        session.Run("$clones[1] | Remove-PitrClone -Confirm:$false").ThrowOnError();
        Assert.Equal("", scene.Leftovers());
        Assert.Contains("nothing to do", session.Run("$clones[1] | Remove-PitrClone -Confirm:$false").ThrowOnError().HostText, StringComparison.Ordinal);
    }

    [Trait("Category", "Long")]
    [LabTheory]
    [InlineData("Stop the standby cleanly, copy its files")]
    [InlineData("Replay up to the target")]
    [InlineData("Let the clone write safely")]
    public async Task A_killed_client_is_gone_on_from(string step)
    {
        scene.Replace("setpriv", SlowOnce);
        scene.OnStandby("touch /run/slow");
        using (var client = new ClientProcess(Snapshots.ConnectScript(scene.Lab) + "\n$VerbosePreference = 'Continue'\n" + Invoke))
        {
            await client.WaitForTextAsync(step, TimeSpan.FromSeconds(60));
            client.Kill();
        }

        scene.AwaitStandby();
        scene.PutBack("setpriv");
        Assert.NotEqual("Failed", $"{scene.Hosts.Get("$standbyHost | Get-PitrOperation").Single().Properties["State"].Value}");
        AssertStandbyAsBefore();
        Assert.NotNull(scene.Hosts.Get("$standby | Get-PitrRecovery").Single());
        AssertReady(scene.Hosts.Get(Invoke).Single());
        Assert.Empty(scene.Hosts.Get("$standbyHost | Get-PitrOperation"));
    }

    [LabFact]
    public void CtrlC_in_the_copy_lets_the_standby_go_on()
    {
        scene.Replace("setpriv", SlowOnce);
        scene.OnStandby("touch /run/slow");
        var script = scene.Hosts.Engine.Start(Invoke);
        Waiting.For("the copy", () => scene.OnStandby("systemctl is-active 'pitrps-clone-*-copy.service' || true") == "active");
        Assert.InRange(script.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
        script.Wait();
        scene.PutBack("setpriv");
        scene.AwaitStandby();
        AssertStandbyAsBefore();
        AssertReady(scene.Hosts.Get(Invoke).Single());
    }

    [LabFact]
    public void Whoever_starts_the_standby_ends_the_copy_and_nothing_is_left_of_it()
    {
        scene.Replace("setpriv", SlowOnce);
        scene.OnStandby("touch /run/slow");
        var script = scene.Hosts.Engine.Start(Invoke);
        Waiting.For("the copy", () => scene.OnStandby("systemctl is-active 'pitrps-clone-*-copy.service' || true") == "active");
        scene.OnStandby($"systemctl start {RecoveryHosts.Unit}");
        script.Wait().SingleError("PitrPS.CloneFailed");
        scene.PutBack("setpriv");
        Assert.Equal("", scene.Leftovers());
        AssertStandbyAsBefore();
    }

    [LabFact]
    public void A_full_disk_and_a_host_without_room_leave_nothing()
    {
        scene.Replace("cp", "echo cp: error writing: No space left on device >&2; exit 1");
        try
        {
            scene.Hosts.Run(Invoke).SingleError("PitrPS.CloneSpace");
        }
        finally
        {
            scene.PutBack("cp");
        }

        Assert.Equal("", scene.Leftovers());
        AssertStandbyAsBefore();
        scene.Replace("stat", """case $1 in -f) echo 1000 4096 ;; *) exec /root/stat.real "$@" ;; esac""");
        try
        {
            var running = scene.Standby("SELECT pg_postmaster_start_time()");
            Assert.Contains("are free there", scene.Hosts.Run(Invoke).SingleError("PitrPS.CloneSpace").ToString(), StringComparison.Ordinal);
            Assert.Equal(running, scene.Standby("SELECT pg_postmaster_start_time()"));
        }
        finally
        {
            scene.PutBack("stat");
        }
    }

    [LabFact]
    public void Where_no_layer_is_possible_a_clone_is_made_and_the_plan_says_why()
    {
        scene.Replace("mount", """case "$*" in *overlay*) echo mount: wrong fs type >&2; exit 32 ;; esac; exec /root/mount.real "$@" """);
        try
        {
            var invoke = "$standby | Find-PgIncident -Table pitr_rows | Invoke-PitrRecovery ";
            Assert.Matches(@"no layer can be laid over .*wrong fs type.* So the way is Clone\.", scene.Hosts.Run(invoke + "-WhatIf").ThrowOnError().HostText);
            var clone = scene.Hosts.Get(invoke + "-Confirm:$false").Single();
            Assert.Equal("Clone", $"{clone.Properties["Way"].Value}");
            AssertReady(clone);
        }
        finally
        {
            scene.PutBack("mount");
        }
    }

    [Trait("Category", "Long")]
    [FaultFact]
    public void A_power_cut_spoils_only_a_copy_that_is_not_whole()
    {
        scene.Replace("setpriv", SlowOnce);
        scene.OnStandby("touch /run/slow");
        using (var client = new ClientProcess(Snapshots.ConnectScript(scene.Lab) + "\n" + Invoke))
        {
            Waiting.For("the copy", () => scene.OnStandby("systemctl is-active 'pitrps-clone-*-copy.service' || true") == "active");
            scene.Lab.Kill(Lab.Standby);
            client.Kill();
        }

        Boot();
        AssertStandbyAsBefore();
        Assert.Equal("Lost", $"{scene.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}");
        AssertReady(scene.Hosts.Get(Invoke).Single());

        scene.Lab.Kill(Lab.Standby);
        Boot();
        Waiting.For("the clone, which starts with its host", () => $"{scene.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}" == "Ready");
        AssertReady(scene.Hosts.Get("$standby | Get-PitrRecovery").Single());
        scene.OnStandby("systemctl stop 'pitrps-clone-*.service'");
        Assert.Equal("Stopped", $"{scene.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}");
        AssertReady(scene.Hosts.Get(Invoke).Single());
    }

    private void Boot()
    {
        scene.Lab.Start(Lab.Standby);
        scene.Hosts.Run(Snapshots.ConnectScript(scene.Lab)).ThrowOnError();
        scene.AwaitStandby();
    }

    private void AssertReady(System.Management.Automation.PSObject clone)
    {
        Assert.Equal("Ready", $"{clone.Properties["State"].Value}");
        Assert.Equal("20000|before,between", Ask($"{clone.Properties["Connect"].Value}", "SELECT (SELECT count(*) FROM pitr_rows), string_agg(note, ',') FROM keep"));
    }

    // As a person asks, with what the recovery says.
    private string Ask(string connect, string sql) => scene.OnStandby($"cd /; {connect.Replace("sudo -u postgres", "runuser -u postgres --", StringComparison.Ordinal)} -X -qAt -v ON_ERROR_STOP=1 <<'SQL'\n{sql};\nSQL");

    /// <summary>The standby's data files, which do not change while it holds back.</summary>
    private string Files() => scene.OnStandby($"find {RecoveryHosts.Data}/base {RecoveryHosts.Data}/pg_tblspc {RecoveryHosts.Data}/pg_xact {RecoveryHosts.Data}/PG_VERSION /var/lib/postgresql/space ! -name pg_internal.init -type f -printf '%p %s %T@ %C@\\n' | sort");

    private void AssertStandbyAsBefore() =>
        Assert.Equal($"t|{scene.Position}|259200000|1|f", scene.Standby(
            "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'), (SELECT timeline_id FROM pg_control_checkpoint()), pg_is_wal_replay_paused()"));
}
