using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Replication;

public sealed class StandbyTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    private const string Unit = "postgresql@15-main.service";

    private string Primary(string sql) => hosts.Lab.Psql(Lab.Primary, sql);

    private string Standby(string sql) => hosts.Lab.Psql(Lab.Standby, sql);

    private string Status(string property) => $"{hosts.Get($"($standby | Get-ReplicationStatus).{property}").Single()}";

    private void Freeze() => hosts.Run("$null = $standby | Suspend-WalReplay").ThrowOnError();

    private void Resume() => hosts.Run("$null = $standby | Resume-WalReplay").ThrowOnError();

    [LabFact]
    public void A_second_run_of_New_PgStandby_finds_everything_done_and_says_so()
    {
        var before = hosts.Lab.Shell(Lab.Standby, "stat -c '%n %Y' /var/lib/postgresql/15/main/PG_VERSION /etc/postgresql/15/main/conf.d/50-pitrps.conf");
        var run = hosts.Run("$standby | New-PgStandby -Primary $primary");
        run.ThrowOnError();
        Assert.Single(run.Output);
        Assert.Contains("nothing to do", run.HostText, StringComparison.Ordinal);
        Assert.Equal(before, hosts.Lab.Shell(Lab.Standby, "stat -c '%n %Y' /var/lib/postgresql/15/main/PG_VERSION /etc/postgresql/15/main/conf.d/50-pitrps.conf"));
    }

    [LabFact]
    public void The_delay_is_in_force_and_the_password_is_in_no_configuration_that_others_can_read()
    {
        Assert.Equal("259200000", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Assert.Equal("3.00:00:00", Status("Delay"));
        var secret = hosts.Lab.Shell(Lab.Standby, "cut -d: -f5 /etc/pitrps/15-main/passfile").Trim();
        Assert.Equal(64, secret.Length);
        Assert.Equal("", hosts.Lab.Shell(Lab.Standby, $"grep -rl {secret} /etc/postgresql /var/lib/postgresql/15/main/postgresql.auto.conf /var/log /var/lib/pitrps 2>/dev/null; true"));
        Assert.Equal("600 postgres", hosts.Lab.Shell(Lab.Standby, "stat -c '%a %U' /etc/pitrps/15-main/passfile").Trim());
        Assert.Contains("sslmode=verify-ca", Standby("SHOW primary_conninfo"), StringComparison.Ordinal);
        Assert.Equal("hostssl scram-sha-256", Primary("SELECT type || ' ' || auth_method FROM pg_hba_file_rules WHERE user_name[1] LIKE 'pitrps\\_standby%'"));
    }

    [LabFact]
    public void A_freeze_survives_a_crash_of_the_server_and_a_resume_applies_nothing_early()
    {
        var table = "freeze_" + Guid.NewGuid().ToString("N");
        Assert.Equal("Frozen", $"{hosts.Get("($standby | Suspend-WalReplay).Status.Replay").Single()}");
        Assert.Equal("Frozen", Status("Replay"));
        Primary($"CREATE TABLE {table} (i int)");
        hosts.Lab.Shell(Lab.Standby, $"systemctl kill -s KILL {Unit}; systemctl reset-failed {Unit}; systemctl restart {Unit}");
        Assert.Equal("PauseLost", Status("Replay"));
        Assert.Equal("", Standby($"SELECT 1 FROM pg_class WHERE relname = '{table}'"));
        Freeze();
        Assert.Equal("Frozen", Status("Replay"));
        Resume();
        Assert.Equal("Replaying", Status("Replay"));
        Assert.Equal("3.00:00:00", Status("EffectiveDelay"));
        Assert.Equal("", Standby($"SELECT 1 FROM pg_class WHERE relname = '{table}'"));
    }

    [LabFact]
    public void While_frozen_another_delay_is_noted_and_the_one_in_force_stays_raised()
    {
        Freeze();
        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 2.00:00:00").ThrowOnError();
        Assert.Equal("2147483647", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        Resume();
        Assert.Equal("172800000", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00").ThrowOnError();
    }

    [LabFact]
    public void A_pause_by_hand_is_told_from_a_freeze_and_the_delay_is_not_lowered_under_it()
    {
        Standby("SELECT pg_wal_replay_pause()");
        try
        {
            Assert.Equal("PausedByHand", Status("Replay"));
            hosts.Run("$standby | Set-ReplicationDelay -Delay 00:01:00").SingleError("PitrPS.ReplayPaused");
            Assert.Equal("259200000", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
        }
        finally
        {
            Standby("SELECT pg_wal_replay_resume()");
        }
    }

    [LabFact]
    public void A_pause_at_a_target_is_told_apart_and_not_resumed()
    {
        hosts.Lab.Shell(Lab.Standby, $"echo \"recovery_target = 'immediate'\" >> /var/lib/postgresql/15/main/postgresql.auto.conf; systemctl restart {Unit}");
        try
        {
            Assert.Equal("PausedAtTarget", Status("Replay"));
            hosts.Run("$standby | Resume-WalReplay").SingleError("PitrPS.PausedAtTarget");
            Assert.Equal("t", Standby("SELECT pg_is_in_recovery()"));
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, $"sed -i /recovery_target/d /var/lib/postgresql/15/main/postgresql.auto.conf; systemctl restart {Unit}");
        }
    }

    [LabFact]
    public void WhatIf_prints_the_plan_and_changes_nothing()
    {
        var run = hosts.Run("$standby | Set-ReplicationDelay -Delay 1.00:00:00 -WhatIf");
        run.ThrowOnError();
        Assert.Contains("86400000ms", run.HostText, StringComparison.Ordinal);
        Assert.Contains("gets shorter, from 3.00:00:00 to 1.00:00:00", run.HostText, StringComparison.Ordinal);
        Assert.Equal(true, run.Output.Single().Properties["IsPlanned"].Value);
        Assert.Equal("259200000", Standby("SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
    }

    [LabTheory]
    [InlineData("$primary | Suspend-WalReplay", "PitrPS.NotAStandby")]
    [InlineData("$primary | Set-ReplicationDelay -Delay 1.00:00:00", "PitrPS.NotAStandby")]
    [InlineData("$standby | Set-ReplicationDelay -Delay 25.00:00:00", "PitrPS.DelayOutOfRange")]
    [InlineData("$primary | New-PgStandby -Primary $primary", "PitrPS.SameServer")]
    [InlineData("$standby | Set-ReplicationDelay -Delay -00:00:01", "PitrPS.DelayOutOfRange")]
    [InlineData("$primary | Resume-WalReplay", "PitrPS.NotAStandby")]
    [InlineData("$standby | New-PgStandby -Primary $primary -PrimaryAddress 192.0.2.1", "PitrPS.PrimaryUnreachableFromStandby")]
    [InlineData("$standby | Remove-PgStandby -Primary $primary", "PitrPS.ConfirmationRequired")]
    [InlineData("$standby | Dismount-WalArchive -Primary $primary -Force", "PitrPS.ConfirmationRequired")]
    [InlineData("$primary | Disable-WalArchive", "PitrPS.ConfirmationRequired")]
    [InlineData("$standby | Set-ReplicationDelay -Delay 1.00:00:00 -Confirm", "PitrPS.ConfirmationRequired")]
    [InlineData("$standby | Suspend-WalReplay -Confirm", "PitrPS.ConfirmationRequired")]
    public void Wrong_input_is_an_error_with_an_id_and_a_next_step(string script, string id) =>
        Assert.NotEmpty(hosts.Run(script).SingleError(id).ErrorDetails.RecommendedAction);

    [LabFact]
    public void A_primary_that_cannot_be_followed_is_refused_before_anything_is_changed()
    {
        foreach (var (setting, value, id) in (ReadOnlySpan<(string, string, string)>)[("ssl", "off", "PitrPS.PrimaryWithoutTls"), ("listen_addresses", "localhost", "PitrPS.PrimaryNotListening")])
        {
            hosts.Lab.Shell(Lab.Primary, $"echo \"{setting} = '{value}'\" >> /var/lib/postgresql/15/main/postgresql.auto.conf; systemctl restart {Unit}");
            try
            {
                hosts.Run("$standby | New-PgStandby -Primary $primary").SingleError(id);
            }
            finally
            {
                hosts.Lab.Shell(Lab.Primary, $"sed -i '/^{setting} /d' /var/lib/postgresql/15/main/postgresql.auto.conf; systemctl restart {Unit}");
            }
        }
    }
}
