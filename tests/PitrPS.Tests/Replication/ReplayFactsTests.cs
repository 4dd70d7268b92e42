using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Tests.Replication;

public class ReplayFactsTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 23, 3, 0, 0, TimeSpan.Zero);

    private static readonly ReplayFacts Delaying = new()
    {
        InRecovery = true,
        Time = Now,
        PauseState = "not paused",
        StartupWait = "RecoveryApplyDelay",
        DelayMilliseconds = 259200000,
    };

    [Fact]
    public void A_standby_in_its_delay_is_replaying() => Assert.Equal(ReplayState.Replaying, Delaying.State);

    [Fact]
    public void A_primary_replays_nothing() => Assert.Equal(ReplayState.None, (Delaying with { InRecovery = false }).State);

    [Fact]
    public void A_pause_with_the_delay_raised_by_us_is_a_freeze()
    {
        var facts = Delaying with { PauseState = "pause requested", DelayMilliseconds = int.MaxValue, FrozenAt = Now };
        Assert.Equal(ReplayState.Frozen, facts.State);
        Assert.True(facts.StandsStill);
    }

    [Fact]
    public void A_freeze_whose_pause_a_crash_forgot_is_told_apart() =>
        Assert.Equal(ReplayState.PauseLost, (Delaying with { DelayMilliseconds = int.MaxValue, FrozenAt = Now }).State);

    [Fact]
    public void A_pause_without_the_raised_delay_is_somebodys_hand() =>
        Assert.Equal(ReplayState.PausedByHand, (Delaying with { PauseState = "paused", StartupWait = "RecoveryPause" }).State);

    [Fact]
    public void A_pause_at_a_target_is_told_apart_even_while_frozen() =>
        Assert.Equal(ReplayState.PausedAtTarget,
            (Delaying with { PauseState = "paused", DelayMilliseconds = int.MaxValue, FrozenAt = Now, Targets = ["recovery_target_lsn=0/3D6D260"] }).State);

    [Fact]
    public void A_target_that_is_set_but_not_reached_is_no_pause_at_a_target() =>
        Assert.Equal(ReplayState.Frozen,
            (Delaying with { PauseState = "pause requested", DelayMilliseconds = int.MaxValue, FrozenAt = Now, Targets = ["recovery_target_lsn=0/3D6D260"] }).State);

    [Fact]
    public void A_pause_for_settings_that_are_too_low_is_told_apart() =>
        Assert.Equal(ReplayState.PausedForSettings, (Delaying with { PauseState = "paused", TooLow = ["max_connections (50 < 100)"] }).State);

    [Theory]
    [InlineData("RecoveryPause", true)]
    [InlineData("RecoveryApplyDelay", true)]
    [InlineData("RecoveryWalStream", true)]
    [InlineData(null, false)]
    public void On_13_what_the_startup_process_waits_for_is_the_proof(string? wait, bool stands) =>
        Assert.Equal(stands, (Delaying with { PauseState = "pause requested", StartupWait = wait }).StandsStill);

    [Fact]
    public void Without_a_request_the_delay_alone_is_no_standstill() => Assert.False(Delaying.StandsStill);

    [Fact]
    public void Version_13_is_not_asked_for_what_it_does_not_have()
    {
        Assert.DoesNotContain("pg_get_wal_replay_pause_state", ReplayFacts.Query(13), StringComparison.Ordinal);
        Assert.Contains("pg_get_wal_replay_pause_state", ReplayFacts.Query(14), StringComparison.Ordinal);
    }

    [Fact]
    public void A_row_is_read_as_PostgreSQL_prints_it()
    {
        var facts = ReplayFacts.From(new SqlRow(["t", "1795402800.250000", "paused", "RecoveryPause", "60000", "0/5000000", "0/4000000", "1795402740", "streaming", "recovery_target_xid=77", "promote"]), null);
        Assert.Equal(Lsn.Parse("0/5000000"), facts.Received);
        Assert.Equal(TimeSpan.FromSeconds(60.25), facts.Time - facts.ReplayedUpTo);
        Assert.Equal(["recovery_target_xid=77"], facts.Targets);
    }
}
