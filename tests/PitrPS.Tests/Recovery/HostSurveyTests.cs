using PitrPS.Recovery;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class HostSurveyTests
{
    private const string Data = "/var/lib/postgresql/15/main";

    [Fact]
    public void Lays_a_layer_over_tablespaces_and_over_a_pg_wal_that_lies_elsewhere() =>
        Assert.Equal(["/srv/space one", "/srv/wal/15", Data], HostSurvey.PlacesOf(Data, ["/srv/wal/15", "/srv/space one"], ["/", "/proc", "/var/lib"]));

    [Fact]
    public void Lays_none_over_what_is_covered_already() =>
        Assert.Equal(["/srv/a", Data], HostSurvey.PlacesOf(Data, [Data + "/pg_tblspc/inside", "/srv/a/b", "/srv/a"], []));

    [Fact]
    public void Covers_file_systems_that_are_mounted_within_after_what_they_are_mounted_in() =>
        Assert.Equal(["/srv/a", "/srv/a/fast", Data, Data + "/pg_wal"], HostSurvey.PlacesOf(Data, ["/srv/a"], ["/", Data, Data + "/pg_wal", "/srv/a/fast", "/srv/ab"]));

    [Fact]
    public async Task Lays_a_layer_over_a_tablespace_that_is_made_in_the_WAL()
    {
        var host = new FakeRemoteHost().On("readlink", "/srv/new\n");
        var survey = TestStandby.Survey with { Places = [Data, Data + "/pg_wal"] };
        Assert.Equal(["/srv/new", Data, Data + "/pg_wal"], (await survey.WithAsync(TestStandby.On(host), ["/srv/new"], default)).Places);
        Assert.Same(survey, await survey.WithAsync(TestStandby.On(host), [], default));

        host.On("readlink", "-/srv/new\n");
        Assert.Equal("PitrPS.TablespaceMissing", (await Assert.ThrowsAsync<PitrException>(() => survey.WithAsync(TestStandby.On(host), ["/srv/new"], default))).Id);
    }

    [Fact]
    public void Reads_what_the_host_says()
    {
        var survey = HostSurvey.Parse(
            $"""
            data {Data}
            layer {Data}.pitrps-scratch
            free 1000 4096
            size 5000000
            leftovers yes
            link /srv/with space
            mount /
            setting shared_preload_libraries pg_stat_statements, pg_cron
            setting max_prepared_transactions 10
            setting recovery_target_time 2026-01-01
            setting recovery_target_lsn 
            """);
        Assert.Equal(["/srv/with space", Data], survey.Places);
        Assert.Equal((4096000, 5000000, true), (survey.FreeBytes, survey.DatabaseBytes, survey.HasLeftovers));
        Assert.Equal("pg_stat_statements, pg_cron", survey.Settings["shared_preload_libraries"]);
        Assert.Equal(["recovery_target_time"], survey.LeftTargets);
    }
}
