using PitrPS.Recovery;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class StandInTests
{
    private static readonly FakeRemoteHost Host = new();

    [Fact]
    public void A_standby_with_a_unit_of_its_own_needs_none()
    {
        var standby = TestStandby.On(Host);
        Assert.Same(standby, StandIn.WithUnit(standby));
        Assert.False(StandIn.IsFor(standby));
        Assert.DoesNotContain(ScratchServer.Of(standby, "/x.pitrps-scratch").UnitProperties(true), p => p.Contains("guard", StringComparison.Ordinal));
    }

    [Fact]
    public void One_without_is_started_as_before_unless_somebody_has_started_it_and_is_watched()
    {
        var byHand = TestStandby.On(Host) with { Name = "15/srv-pg-data", DataDirectory = "/srv/my pg/data", OsUser = "app", ServiceUnit = null, LogFile = "/srv/my pg/log" };
        var standby = StandIn.WithUnit(byHand);
        Assert.True(StandIn.IsFor(standby));
        Assert.Null(StandIn.WithoutUnit(standby).ServiceUnit);

        var files = StandIn.Files(standby);
        Assert.Equal(["pitrps-guard-15-srv-pg-data.path", "pitrps-guard-15-srv-pg-data.service", "pitrps-standby-15-srv-pg-data.service"], files.Keys.Select(k => k.Split('/')[^1]));
        Assert.All(files.Keys, k => Assert.StartsWith("/run/", k, StringComparison.Ordinal));

        var unit = files["/run/systemd/system/pitrps-standby-15-srv-pg-data.service"].Split('\n');
        Assert.Contains("User=app", unit);
        Assert.Contains("PIDFile=/srv/my pg/data/postmaster.pid", unit);
        Assert.Single(unit, l => l.StartsWith("ExecStart=/bin/sh -c \"! \\\"$$0\\\" status", StringComparison.Ordinal) && l.EndsWith("-l \"/srv/my pg/log\"", StringComparison.Ordinal));

        Assert.Contains("PathExists=/srv/my pg/data/postmaster.pid", files["/run/systemd/system/pitrps-guard-15-srv-pg-data.path"].Split('\n'));
        var properties = ScratchServer.Of(standby, "/srv/x.pitrps-scratch").UnitProperties(true);
        Assert.Contains("Conflicts=pitrps-standby-15-srv-pg-data.service", properties);
        Assert.Contains("OnFailure=pitrps-standby-15-srv-pg-data.service", properties);
        Assert.Contains("Wants=pitrps-guard-15-srv-pg-data.path", properties);
    }
}
