using PitrPS.Replication;
using PitrPS.Servers;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Replication;

public class StandbyPlanTests
{
    private static PgServer Primary(int major) => TestServer.Of(major) with { IsStandby = false, Role = ServerRole.Primary };

    private static async Task<string> RefusedAsync(PgServer standby, PgServer primary) =>
        (await Assert.ThrowsAsync<PitrException>(() => StandbyPlan.BuildAsync(new StandbyOptions(standby, primary), new NoFeedback(), default))).Id;

    [Fact]
    public async Task Another_major_version_replays_no_WAL_of_this_one() =>
        Assert.Equal("PitrPS.VersionMismatch", await RefusedAsync(TestServer.Of(15), Primary(17)));

    [Fact]
    public async Task A_server_is_not_its_own_standby()
    {
        var server = Primary(15);
        Assert.Equal("PitrPS.SameServer", await RefusedAsync(server, server));
    }

    [Fact]
    public async Task On_paper_the_plan_says_what_is_replaced_and_nobody_is_asked()
    {
        var planned = await StandbyPlan.BuildAsync(new StandbyOptions(TestServer.Of(15) with { IsPlanned = true, IsStandby = false }, Primary(15) with { IsPlanned = true }), new NoFeedback(), default);
        Assert.True(planned.Plan.IsPlanned);
        Assert.Contains(planned.Plan.Announcements, a => a.Contains("replaced by a base backup", StringComparison.Ordinal));
        Assert.True(planned.AsPlanned() is { IsPlanned: true, IsStandby: true, Role: ServerRole.Standby });
    }
}
