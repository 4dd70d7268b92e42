using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

/// <summary>The way that uses a standby up, and the way back. Each test has hosts of its own.</summary>
public sealed class PromoteTests : IDisposable
{
    private const string Archive = "/var/mnt/archive_of_the_standby";
    private const string Invoke = $"$standby | Find-PgIncident -Table gone | Invoke-PitrRecovery -Way Promote -ArchivePath {Archive} -Confirm:$false";

    private StandbyHosts? _hosts;

    private StandbyHosts Hosts => _hosts ?? throw new InvalidOperationException("Prepare first.");

    public void Dispose() => _hosts?.Dispose();

    [FaultFact]
    public void The_standby_takes_the_place_of_a_lost_primary_which_then_follows_it_by_pg_rewind() => TakesThePlace(new StandbyHosts());

    [Trait("Category", "Long")]
    [FaultFact]
    public void So_it_is_with_PostgreSQL_13() => TakesThePlace(new StandbyHosts13());

    [Trait("Category", "Long")]
    [FaultFact]
    public void So_it_is_with_PostgreSQL_17() => TakesThePlace(new StandbyHosts17());

    [Trait("Category", "Long")]
    [FaultFact]
    public void So_it_is_on_CentOS() => TakesThePlace(new RhelStandbyHosts());

    private void TakesThePlace(StandbyHosts hosts)
    {
        Prepare(hosts);
        var before = Fingerprint();
        Hosts.Run($"$standby | Find-PgIncident -Table gone | Invoke-PitrRecovery -ArchivePath {Archive} -Confirm:$false").SingleError("PitrPS.OnlyForPromote");
        Hosts.Run("$standby | Find-PgIncident -Table gone | Invoke-PitrRecovery -Way Promote -Confirm:$false").SingleError("PitrPS.ArchivePathRequired");
        Hosts.Run(Invoke.Replace(Archive, "/mnt/archive_wal_dir/mine", StringComparison.Ordinal) + " -Force").SingleError("PitrPS.InvalidPath");
        Hosts.Run(Invoke.Replace(Archive, "/var/log", StringComparison.Ordinal) + " -Force").SingleError("PitrPS.ArchiveDirectoryInUse");
        Assert.Contains("-Way Promote out", Hosts.Run(Invoke).SingleError("PitrPS.PrimaryAnswers").ErrorDetails.RecommendedAction, StringComparison.Ordinal);
        var shown = Hosts.Run(Invoke + " -Force -WhatIf").ThrowOnError();
        Assert.Contains("there is no way back but Reset-PgStandby", shown.HostText, StringComparison.Ordinal);
        Assert.Contains("recovery_target_action = 'promote'", shown.HostText, StringComparison.Ordinal);
        Assert.Contains("max_connections 100 -> 150", shown.HostText, StringComparison.Ordinal);
        Assert.Equal(before, Fingerprint());

        Hosts.Lab.Shell(Lab.Primary, $"systemctl stop {Hosts.ServiceUnit}");
        var promoted = Hosts.Get("$promoted = " + Invoke + "; $promoted").Single();
        Assert.Equal(("Promoted", "Promote"), ($"{promoted.Properties["State"].Value}", $"{promoted.Properties["Way"].Value}"));
        Assert.Equal("Primary", $"{Hosts.Get("$promoted.Standby.Role").Single()}");
        IsPrimary();
        Assert.Equal("t", Standby("SELECT count(*) = 1 FROM pg_stat_archiver WHERE last_archived_wal >= '00000002' AND last_failed_wal IS NULL"));
        Assert.Empty(Hosts.Get("$promoted.Standby | Get-PitrRecovery"));
        Assert.Contains("nothing to do", Hosts.Run("$again = $promoted.Incident | Invoke-PitrRecovery -Way Promote -ArchivePath " + Archive + " -Confirm:$false; $again").ThrowOnError().HostText, StringComparison.Ordinal);
        Assert.Equal("True", $"{Hosts.Get("$again.RecoveredTo -eq $promoted.RecoveredTo").Single()}");
        Standby("INSERT INTO keep VALUES ('on the new one')");

        // The old primary comes back, with what was never wanted.
        Hosts.Lab.Shell(Lab.Primary, $"systemctl start {Hosts.ServiceUnit}");
        Primary("INSERT INTO keep VALUES ('lost')");
        var reset = Hosts.Get("$new = $promoted.Standby; $reset = $primary | Reset-PgStandby -Primary $new -Confirm:$false; $reset").Single();
        Assert.Equal("Standby", $"{reset.Properties["Role"].Value}");
        Assert.Equal("1", OnPrimary("grep -l '\"pg_rewind\": \"done\"' /var/lib/pitrps/history/*Reset-PgStandby* | wc -l"));
        Waiting.For("streaming", () => Primary("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
        var end = Standby("SELECT pg_current_wal_lsn()");
        Waiting.For("the new primary's data", () => Primary($"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t");
        Assert.Equal("2000|before,between,on the new one", Primary("SELECT (SELECT count(*) FROM gone), string_agg(note, ',' ORDER BY note) FROM keep"));
        Assert.Equal("f", Standby("SELECT bool_or(has_function_privilege(rolname, 'pg_read_binary_file(text)', 'EXECUTE')) FROM pg_roles WHERE rolreplication AND NOT rolsuper"));
        Assert.Equal("", Hosts.Lab.Shell(Lab.Standby, $"grep -h _rewind {Hosts.Config}/pg_hba.conf || true"));
        Hosts.Run("$new | Reset-PgStandby -Primary $reset -Confirm:$false").SingleError("PitrPS.NotAPrimary");
        Assert.Contains("nothing to do", Hosts.Run("$null = $reset | Reset-PgStandby -Primary $new -Confirm:$false").ThrowOnError().HostText, StringComparison.Ordinal);
        Hosts.Get("$reset = $reset | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false");
        Assert.Equal("259200000", Primary("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
    }

    [Trait("Category", "Long")]
    [FaultTheory]
    [InlineData("Start 15/main with the target")]
    [InlineData("Note that it is a primary now")]
    public async Task A_killed_client_is_gone_on_from_and_the_promoted_standby_can_be_made_one_again_by_a_base_backup(string step)
    {
        Prepare(new StandbyHosts());
        using (var client = new ClientProcess(Snapshots.ConnectScript(Hosts.Lab) + "\n$VerbosePreference = 'Continue'\n" + Invoke + " -Force"))
        {
            await client.WaitForTextAsync("standby: " + step, TimeSpan.FromMinutes(5));
            client.Kill();
        }

        Hosts.Run("$standby | Get-PitrRecovery | Complete-PitrRecovery -Force -Confirm:$false").SingleError("PitrPS.PromotionUnfinished");
        if (step.StartsWith("Start", StringComparison.Ordinal))
        {
            Hosts.Lab.Kill(Lab.Standby);
            Hosts.Lab.Start(Lab.Standby);
        }

        Assert.Equal("Promoted", $"{Hosts.Get("($promoted = $standby | Get-PitrRecovery | ForEach-Object Incident | Invoke-PitrRecovery -Way Promote -ArchivePath " + Archive + " -Force -Confirm:$false).State").Single()}");
        IsPrimary();
        Assert.Empty(Hosts.Get("$standbyHost | Get-PitrOperation"));
        if (!step.StartsWith("Note", StringComparison.Ordinal))
        {
            return;
        }

        // Two primaries now; the one that was promoted gives way.
        var reset = Hosts.Get("$promoted.Standby | Reset-PgStandby -Primary $primary -Confirm:$false").Single();
        Assert.Equal("Standby", $"{reset.Properties["Role"].Value}");
        Waiting.For("streaming", () => Standby("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
        Assert.Equal("after,before,between,lost with it", Standby("SELECT string_agg(note, ',' ORDER BY note) FROM keep"));
        Assert.Equal("", Hosts.Lab.Shell(Lab.Standby, $"ls -d {Hosts.Data}.* {Hosts.Data}/recovery.signal 2>/dev/null; true"));
    }

    private string Primary(string sql) => Hosts.Lab.Psql(Lab.Primary, sql);

    private string Standby(string sql) => Hosts.Lab.Psql(Lab.Standby, sql);

    private string OnPrimary(string script) => Hosts.Lab.Shell(Lab.Primary, script).TrimEnd('\n');

    private string Fingerprint() => Hosts.Lab.Shell(Lab.Standby,
        $"sha256sum {Hosts.Config}/*.conf {Hosts.Config}/conf.d/*; ls {Hosts.Data}/*.signal; ls -A /var/lib/pitrps/recoveries /var/lib/pitrps/operations | grep -v : ; ls -d {Hosts.Data}.* {Archive} 2>/dev/null; stat -c %Y {Hosts.Data}/postmaster.pid");

    // All of it is in the archive, because a standby that was restarted does not stream.
    private void Prepare(StandbyHosts hosts)
    {
        _hosts = hosts;
        Primary("ALTER SYSTEM SET wal_log_hints = on");
        OnPrimary($"systemctl restart {Hosts.ServiceUnit}");
        Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
        Primary("CREATE TABLE keep (note text); CREATE TABLE gone AS SELECT generate_series(1, 2000) AS id");
        var end = Primary("SELECT pg_current_wal_lsn()");
        Waiting.For("the tables on the standby", () => Standby($"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t");
        Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
        Primary("INSERT INTO keep VALUES ('before')");
        // What the standby has too little of: it would stop there.
        Primary("ALTER SYSTEM SET max_connections = 150");
        OnPrimary($"systemctl restart {Hosts.ServiceUnit}");
        OnPrimary(
            """
            printf "BEGIN; INSERT INTO keep VALUES ('lost with it'); DROP TABLE gone; SELECT pg_sleep(1); COMMIT;" | runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 > /dev/null &
            sleep 0.5
            runuser -u postgres -- psql -X -q -c "INSERT INTO keep VALUES ('between')"
            wait $!
            """);
        Primary("INSERT INTO keep VALUES ('after')");
        var segment = Primary("SELECT pg_walfile_name(pg_switch_wal())");
        Waiting.For("the archive", () => Hosts.Lab.Shell(Lab.Standby, "runuser -u postgres -- ls /mnt/archive_wal_dir").Split('\n').Contains(segment));
    }

    private void IsPrimary()
    {
        Assert.Equal("f|2|2000|before,between", Standby("SELECT pg_is_in_recovery(), (SELECT timeline_id FROM pg_control_checkpoint()), (SELECT count(*) FROM gone), (SELECT string_agg(note, ',' ORDER BY note) FROM keep WHERE note <> 'on the new one')"));
        Assert.Equal("00000002.history", Hosts.Lab.Shell(Lab.Standby, $"ls {Archive} | grep history").TrimEnd('\n'));
        Assert.Equal("", Hosts.Lab.Shell(Lab.Standby, $"ls -d {Hosts.Data}.pitrps-* /var/lib/pitrps/recoveries/* {Hosts.Data}/*.signal 2>/dev/null; grep -hE '^(recovery_|primary_|restore_)' {Hosts.Config}/conf.d/50-pitrps.conf; true"));
        Assert.Equal("150|on|off|t", Standby("SELECT current_setting('max_connections'), current_setting('archive_mode'), current_setting('transaction_read_only'), current_setting('archive_command') LIKE '%archive_of_the_standby%'"));
    }
}
