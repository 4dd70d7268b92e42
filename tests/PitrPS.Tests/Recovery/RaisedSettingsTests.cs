using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class RaisedSettingsTests
{
    private readonly FakeRemoteHost _host = new();

    private PgServer Standby => TestStandby.On(_host);

    private static RaisedSettings Raised(params string[] owned) =>
        new([new SettingToRaise("max_connections", 300, 100), new SettingToRaise("max_wal_senders", 20, 10)], owned.ToDictionary(o => o.Split('=')[0], o => o.Split('=')[1]));

    [Fact]
    public async Task What_the_files_say_counts_and_what_suffices_is_left_alone()
    {
        _host.On("postgres=$1 config=$2", "max_connections 100\nmax_worker_processes 8\n").WithFile(OwnedSettings.PathOf(Standby), "recovery_min_apply_delay = '3d'\n");
        var target = new ResolvedTarget(Lsn.Parse("0/3D6D260"), 1, Lsn.Parse("0/3D6D260")) { RequiredSettings = new Dictionary<string, long> { ["max_connections"] = 300, ["max_worker_processes"] = 8 } };

        var raised = await RaisedSettings.ReadAsync(Standby, target, default);
        Assert.Equal(["max_connections 100 -> 300"], raised.Settings.Select(s => s.ToString()));
        Assert.Equal("3d", raised.Owned["recovery_min_apply_delay"]);
        Assert.Contains("max_connections 100 -> 300", Assert.Single(raised.Announcements(Standby)), StringComparison.Ordinal);
        Assert.Empty(new RaisedSettings([], raised.Owned).Announcements(Standby));
    }

    [Fact]
    public void They_are_raised_before_the_target_and_stay_when_the_standby_has_replayed_what_needs_them()
    {
        var record = Raised("max_wal_senders=5").On(TestStandby.Record(Standby) with { Way = RecoveryWay.Keep }, null);
        var raised = KeepSettings.Raised(record);
        Assert.Equal(("300", "20"), (raised["max_connections"], raised["max_wal_senders"]));
        string[] ids = [.. new KeepSteps(Standby, record).Frame().Select(s => s.Id)];
        Assert.True(Array.IndexOf(ids, "keep-raise.file") < Array.IndexOf(ids, "keep-frame.file"));
        Assert.Contains("keep-lower", new KeepSteps(Standby, record).Back().Select(s => s.Id));
        Assert.DoesNotContain("keep-lower", new KeepSteps(Standby, record with { Raised = [] }).Back().Select(s => s.Id));

        var before = KeepSettings.Lowered(record, new Dictionary<string, long> { ["max_connections"] = 100, ["max_wal_senders"] = 10 });
        Assert.Equal([("max_connections", null), ("max_wal_senders", "5")], before.Select(b => (b.Key, b.Value)));
        Assert.Equal("max_wal_senders", Assert.Single(KeepSettings.Lowered(record, new Dictionary<string, long> { ["max_connections"] = 300, ["max_wal_senders"] = 10 })).Key);
        Assert.Equal(record.Raised, RecoveryRecord.Parse(Standby, record.Render()).Raised);
    }

    [Fact]
    public void A_second_attempt_does_not_take_what_the_first_one_raised_for_the_standbys_own()
    {
        var first = Raised("max_wal_senders=5").On(TestStandby.Record(Standby), null);
        var second = new RaisedSettings([], new Dictionary<string, string> { ["max_connections"] = "300", ["max_wal_senders"] = "20" }).On(TestStandby.Record(Standby), first);
        Assert.Equal(first.Raised, second.Raised);
        Assert.Equal(first.SettingsBefore, second.SettingsBefore);
    }
}
