using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Tests.Incidents;

public sealed class IncidentSearchTests
{
    private static readonly DateTimeOffset Committed = new(2026, 11, 23, 15, 0, 0, TimeSpan.Zero);

    [Fact]
    public void Counts_the_time_left_by_the_standbys_clock_and_its_delay()
    {
        var incident = Incident(new TimeSpan(3, 0, 0, 0), now: Committed + TimeSpan.FromHours(71));

        Assert.Equal(Committed.AddDays(3), incident.AppliesAt);
        Assert.Equal(TimeSpan.FromHours(1), incident.TimeLeft);
    }

    [Fact]
    public void Never_has_less_than_no_time_left() => Assert.Equal(TimeSpan.Zero, Incident(TimeSpan.FromHours(1), now: Committed.AddHours(2)).TimeLeft);

    [Theory]
    [InlineData(true, 3_600_000)]
    [InlineData(false, int.MaxValue)]
    public void Has_no_deadline_while_the_standby_is_frozen(bool paused, long delay)
    {
        var incident = Incident(TimeSpan.FromMilliseconds(delay), now: Committed, paused);

        Assert.Null(incident.AppliesAt);
        Assert.Null(incident.TimeLeft);
    }

    [Fact]
    public void Says_where_recovery_has_to_stop()
    {
        var incident = Incident(TimeSpan.FromHours(1), now: Committed);

        Assert.Equal((new Lsn(0x300100), (Lsn?)new Lsn(0x300050), 1u, 42u), (incident.CommitLsn, incident.LockLsn, incident.Timeline, incident.TransactionId));
        Assert.Equal(Committed, incident.CommittedAt);
    }

    [Theory]
    [InlineData(false, 2, true)]
    [InlineData(false, 0, false)]
    [InlineData(true, 2, false)]
    public void Warns_of_starting_a_standby_whose_delay_ran_out_while_it_was_stopped(bool running, int hoursLater, bool warns)
    {
        var position = WalRangeTests.Position(WalRangeTests.At(2), WalRangeTests.At(4), 1) with { DelayMilliseconds = 3_600_000, IsRunning = running };
        var range = WalRange.Of(TestServer.Of(15), position, WalRangeTests.Listing(1, 2, 3), WalListing.Empty);
        var feedback = new NoFeedback();

        IncidentSearch.WarnOfStart(range, [Incident(TimeSpan.FromHours(1), now: Committed)], Committed.AddHours(hoursLater), feedback);

        Assert.Equal(warns, feedback.Warnings.Any(w => w.Contains("do not start it", StringComparison.Ordinal)));
    }

    [Fact]
    public void Takes_a_query_for_everything_where_nothing_is_asked_for()
    {
        var query = new IncidentQuery();

        Assert.True(query.WantsDatabase("any") && query.WantsKind(IncidentKind.DropTable) && query.Wants(new WalCommit(default, 1, Committed)));
        Assert.True(query.Wants(new IncidentTable("db", "public", "t", 1, null)));
    }

    [Fact]
    public void Compares_times_as_moments_not_as_clock_faces()
    {
        var commit = new WalCommit(default, 1, Committed);
        var elsewhere = TimeSpan.FromHours(9);

        Assert.True(new IncidentQuery { Since = new DateTimeOffset(2026, 11, 24, 0, 0, 0, elsewhere) }.Wants(commit));
        Assert.False(new IncidentQuery { Since = new DateTimeOffset(2026, 11, 24, 0, 0, 1, elsewhere) }.Wants(commit));
        Assert.True(new IncidentQuery { Until = new DateTimeOffset(2026, 11, 24, 0, 0, 0, elsewhere) }.Wants(commit));
        Assert.False(new IncidentQuery { Until = new DateTimeOffset(2026, 11, 23, 23, 59, 59, elsewhere) }.Wants(commit));
    }

    private static PgIncident Incident(TimeSpan delay, DateTimeOffset now, bool paused = false)
    {
        var position = WalRangeTests.Position(WalRangeTests.At(2), WalRangeTests.At(4), 1) with { DelayMilliseconds = (long)delay.TotalMilliseconds, IsPaused = paused };
        var range = WalRange.Of(TestServer.Of(15), position, WalRangeTests.Listing(1, 2, 3), WalListing.Empty);
        var drop = new DroppedTables(new WalCommit(new Lsn(0x300100), 42, Committed),
            [new IncidentTable("db", "public", "b", 2, new Lsn(0x300080)), new IncidentTable("db", "public", "a", 1, new Lsn(0x300050)), new IncidentTable("db", "public", "c", 3, null)]);
        return IncidentSearch.Incident(range.Server, range, drop, now);
    }
}
