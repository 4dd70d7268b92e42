using PitrPS.Hosts;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Tests.Replication;

public class ReplicationStatusTests
{
    private static readonly DateTimeOffset Now = new(2026, 11, 23, 3, 0, 0, TimeSpan.Zero);

    private static readonly ReplayFacts Delaying = new()
    {
        InRecovery = true,
        Time = Now,
        PauseState = "not paused",
        DelayMilliseconds = 259200000,
        ReplayedUpTo = Now.AddDays(-3).AddHours(1),
        Received = Lsn.Parse("0/5000000"),
        Replayed = Lsn.Parse("0/4000000"),
    };

    private static ReplicationStatus Of(ReplayFacts facts, ServerState? state = null, bool? mounted = true) =>
        ReplicationProbe.Of(new ReplicationStatus { Server = null!, Role = ServerRole.Standby, Time = Now }, facts, state ?? new ServerState(), mounted);

    [Fact]
    public void Time_left_is_counted_from_the_last_commit_that_was_applied() => Assert.Equal(TimeSpan.FromHours(1), Of(Delaying).TimeLeft);

    [Fact]
    public void Held_back_bytes_are_what_was_received_and_not_replayed() => Assert.Equal(0x1000000, Of(Delaying).HeldBackBytes);

    [Fact]
    public void While_frozen_the_delay_is_the_one_to_go_back_to_and_no_time_runs()
    {
        var status = Of(Delaying with { PauseState = "paused", DelayMilliseconds = int.MaxValue, FrozenAt = Now },
            new ServerState { FrozenAt = Now, DelayMilliseconds = 259200000 });
        Assert.Equal(TimeSpan.FromDays(3), status.Delay);
        Assert.Equal(TimeSpan.FromMilliseconds(int.MaxValue), status.EffectiveDelay);
        Assert.Null(status.TimeLeft);
        Assert.Empty(status.Warnings);
    }

    [Fact]
    public void A_lost_pause_is_warned_about_and_time_runs_towards_the_raised_delay()
    {
        var status = Of(Delaying with { DelayMilliseconds = int.MaxValue, FrozenAt = Now }, new ServerState { FrozenAt = Now, DelayMilliseconds = 259200000 });
        Assert.Equal(ReplayState.PauseLost, status.Replay);
        Assert.Contains(status.Warnings, w => w.Contains("Suspend-WalReplay", StringComparison.Ordinal));
        Assert.True(status.TimeLeft > TimeSpan.FromDays(21));
    }

    [Fact]
    public void A_target_left_over_from_earlier_is_warned_about() =>
        Assert.Contains(Of(Delaying with { Targets = ["recovery_target_time=2026-01-01"] }).Warnings, w => w.Contains("recovery_target_time", StringComparison.Ordinal));

    [Fact]
    public void An_archive_that_cannot_be_read_is_warned_about() =>
        Assert.Contains(Of(Delaying, mounted: false).Warnings, w => w.Contains("archive", StringComparison.Ordinal));
}
