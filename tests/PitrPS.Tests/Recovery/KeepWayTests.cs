using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Replication;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Recovery;

public class KeepWayTests
{
    private const string Auto = "/var/lib/postgresql/15/main/postgresql.auto.conf";
    private const string Vendor = "/etc/postgresql/15/main/postgresql.conf";

    private const string Control =
        """
        Latest checkpoint location:           0/2000060
        Latest checkpoint's REDO location:    0/2000028
        Latest checkpoint's TimeLineID:       1
        Minimum recovery ending location:     0/30D8408
        pitrps clock: 1795449600.250000000
        pitrps signal: y
        """;

    private readonly FakeRemoteHost _host = new();

    private PgServer Standby => TestStandby.On(_host);

    private SharedSurvey Survey => new(Standby, new NoFeedback(), default);

    private RecoveryRecord Record => TestStandby.Record(Standby) with
    {
        Way = RecoveryWay.Keep, Target = new RecordedTarget("lsn", "0/3D6D260"), Stop = Lsn.Parse("0/3D6D260"), Layer = "", WalFrom = Lsn.Parse("0/2000028"), Replayed = Lsn.Parse("0/30D8408"),
    };

    [Fact]
    public void An_incident_is_stopped_before_its_first_lock_in_place_and_before_its_COMMIT_otherwise()
    {
        var options = RecoveryOptions.Of(TestStandby.Incident(Standby));
        Assert.Equal("before LSN 0/3D6D260", options.For(RecoveryWay.Keep).Target.ToString());
        Assert.Equal("before LSN 0/3D79CC8", options.For(RecoveryWay.Scratch).Target.ToString());
        Assert.Equal("before LSN 0/3D79CC8", RecoveryOptions.Of(TestStandby.Incident(Standby) with { LockLsn = null }).For(RecoveryWay.Keep).Target.ToString());
        var byHand = new RecoveryOptions(Standby, new RecoveryTarget.Xid(725), null);
        Assert.Equal(byHand, byHand.For(RecoveryWay.Keep));
    }

    [Fact]
    public async Task On_paper_it_says_what_it_costs_and_how_the_standby_is_stopped_and_started()
    {
        var incident = TestStandby.Incident(Standby with { IsPlanned = true });
        var planned = await RecoveryPlan.BuildAsync(RecoveryOptions.Of(incident) with { Way = RecoveryWay.Keep }, new NoFeedback(), default);
        var text = (await new PlanRunner(new NoFeedback(), "test").PreviewAsync(planned.Plan, default)).Render();

        Assert.Empty(_host.Commands);
        Assert.Contains("is lost until its delay", text, StringComparison.Ordinal);
        Assert.Contains("recovery_target_lsn = '0/3D6D260'", text, StringComparison.Ordinal);
        Assert.True(text.IndexOf("systemctl stop", StringComparison.Ordinal) < text.IndexOf("recovery_target_lsn = ", StringComparison.Ordinal));
        Assert.True(text.IndexOf("recovery_target_lsn = ", StringComparison.Ordinal) < text.IndexOf("systemctl start", StringComparison.Ordinal));

        var recovery = planned.AsPlanned();
        Assert.Equal((RecoveryWay.Keep, true, Standby.Id), (recovery.Way, recovery.IsPlanned, recovery.Scratch!.Id));
        var completion = (await new PlanRunner(new NoFeedback(), "test").PreviewAsync((await CompletionPlan.BuildAsync(new CompletionOptions(recovery, [], Force: false), new NoFeedback(), default)).Plan, default)).Render();
        Assert.Contains("| (no recovery_target_lsn any more)", completion, StringComparison.Ordinal);
        Assert.Contains("systemctl restart postgresql@15-main.service", completion, StringComparison.Ordinal);
        Assert.DoesNotContain("scratch server", completion, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("recovery_min_apply_delay = '3d'\nrecovery_target_inclusive = on\nrecovery_target_timeline = 'latest'\nwork_mem = '1GB'\n", null)]
    [InlineData("# nothing\n", "3d")]
    public async Task Whenever_the_server_is_started_in_between_it_is_frozen_or_stops_at_the_target_and_in_the_end_the_files_are_as_before(string auto, string? ours)
    {
        Script();
        _host.WithFile(Vendor, "port = 5432\n", 0x1A4, "postgres", "postgres").WithFile(Auto, auto, 0x180, "postgres", "postgres");
        if (ours is not null)
        {
            await CarryOut(OwnedSettings.Steps(Standby, "delay", new Dictionary<string, string?> { [Freeze.DelaySetting] = ours }, SettingsReach.Files));
        }

        var before = Files();
        await CarryOut(OwnedSettings.Steps(Standby, "freeze", Freeze.DelayOf(ReplayFacts.LargestDelay), SettingsReach.Files));
        var steps = new KeepSteps(Standby, Record);
        await CarryOut([.. steps.All(null).Where(s => s.Id is not ("note" or "keep-start" or "recover"))]);
        var at = Effective();
        Assert.Equal(("0/3D6D260", "0", "off", "1", "pause"), (at["recovery_target_lsn"], at[Freeze.DelaySetting], at["recovery_target_inclusive"], at["recovery_target_timeline"], at["recovery_target_action"]));

        await CarryOut([.. steps.Back().Where(s => s.Id != "keep-restart")]);
        Assert.Equal("2147483647ms", Effective()[Freeze.DelaySetting]);
        await CarryOut(OwnedSettings.Steps(Standby, "thaw", new Dictionary<string, string?> { [Freeze.DelaySetting] = ours }, SettingsReach.Files), isThawing: true);
        Assert.Equal(before, Files());
    }

    [Fact]
    public async Task The_target_is_not_set_while_somebody_has_started_the_standby()
    {
        Script("pid=7\nstatus=standby\n");
        _host.WithFile(Vendor, "port = 5432\n", 0x1A4, "postgres", "postgres").WithFile(Auto, "", 0x180, "postgres", "postgres");
        await CarryOut(OwnedSettings.Steps(Standby, "freeze", Freeze.DelayOf(ReplayFacts.LargestDelay), SettingsReach.Files));
        var error = await Assert.ThrowsAsync<PitrException>(() => CarryOut([.. new KeepSteps(Standby, Record).All(null).Where(s => s.Id.StartsWith("keep-target", StringComparison.Ordinal))]));
        Assert.Equal("PitrPS.StandbyStarted", error.Id);
        Assert.False(Effective().ContainsKey("recovery_target_lsn"));
    }

    [Fact]
    public async Task The_target_is_not_set_where_the_stopped_standby_has_gone_past_it()
    {
        Script();
        _host.On("pg_controldata", Control.Replace("0/30D8408", "0/3D6D268", StringComparison.Ordinal));
        _host.WithFile(Vendor, "port = 5432\n", 0x1A4, "postgres", "postgres").WithFile(Auto, "", 0x180, "postgres", "postgres");
        await CarryOut(OwnedSettings.Steps(Standby, "freeze", Freeze.DelayOf(ReplayFacts.LargestDelay), SettingsReach.Files));
        var error = await Assert.ThrowsAsync<PitrException>(() => CarryOut([.. new KeepSteps(Standby, Record).All(null).Where(s => s.Id.StartsWith("keep-target", StringComparison.Ordinal))]));
        Assert.Equal("PitrPS.TargetAlreadyReplayed", error.Id);
        Assert.False(Effective().ContainsKey("recovery_target_lsn"));
    }

    [Theory]
    [InlineData("0/3D6D260", "paused", "recovery_target_lsn=0/3D6D260", true, RecoveryState.Ready)]
    [InlineData("0/3D6D238", "paused", "recovery_target_lsn=0/3D6D260", true, RecoveryState.Ready)]
    [InlineData("0/3D6D260", "paused", "recovery_target_lsn=0/3D6D260", false, RecoveryState.Recovering)]
    [InlineData("0/3D60000", "paused", "recovery_target_lsn=0/3D6D260", true, RecoveryState.Recovering)]
    [InlineData("0/3D6D260", "not paused", "recovery_target_lsn=0/3D6D260", true, RecoveryState.Recovering)]
    [InlineData("0/3D6D260", "paused", "recovery_target_lsn=0/3D6D268", true, RecoveryState.Lost)]
    [InlineData("0/3D6D260", "paused", null, true, RecoveryState.Lost)]
    [InlineData(null, "", null, true, RecoveryState.Lost)]
    public void It_is_ready_while_replay_has_paused_at_its_own_target_and_was_proven_to(string? replayed, string pause, string? targets, bool proven, RecoveryState expected)
    {
        var look = new KeepLook { IsRunning = replayed is not null, Facts = replayed is null ? null : Facts(replayed, pause, targets) };
        var recovery = KeepWay.Recovery(Standby, Record with { RecoveredTo = proven ? Lsn.Parse("0/3D6D260") : null }, look);
        Assert.Equal(expected, recovery.State);
        Assert.Equal(expected == RecoveryState.Ready ? Standby : null, recovery.Scratch);
    }

    [Fact]
    public void A_restore_point_is_reached_when_it_has_been_replayed()
    {
        var record = Record with { Target = new RecordedTarget("restorePoint", "noon break") };
        Assert.True(new KeepLook { IsRunning = true, Facts = Facts("0/3D6D2C8", "paused", "recovery_target_name=noon break") }.IsAtTarget(record));
        Assert.False(new KeepLook { IsRunning = true, Facts = Facts("0/3D6D260", "paused", "recovery_target_name=noon break") }.IsAtTarget(record));
    }

    [Fact]
    public async Task Where_replay_stands_is_no_target_in_place()
    {
        var error = await Assert.ThrowsAsync<PitrException>(() => KeepPreparation.ReadAsync(new RecoveryOptions(Standby, new RecoveryTarget.Immediate(), null), Standby, Survey, new NoFeedback(), default));
        Assert.Equal("PitrPS.TargetUnsuitable", error.Id);
        Assert.Empty(_host.Commands);
    }

    [Theory]
    [InlineData("recovery_target_time 2026-11-23", "PitrPS.TargetLeftBehind")]
    [InlineData("hot_standby off", "PitrPS.HotStandbyInactive")]
    public async Task What_the_standby_would_not_survive_is_refused_before_anything_is_read(string setting, string id)
    {
        _host.On("postgres=$1 config=$2", setting + "\n");
        var error = await Assert.ThrowsAsync<PitrException>(() => KeepPreparation.ReadAsync(RecoveryOptions.Of(TestStandby.Incident(Standby)).For(RecoveryWay.Keep), Standby, Survey, new NoFeedback(), default));
        Assert.Equal(id, error.Id);
    }

    private static ReplayFacts Facts(string replayed, string pause, string? targets) => ReplayFacts.From(
        new SqlRow(["t", "1795449601.5", pause, null, "0", null, replayed, null, null, targets, "pause"]), DateTimeOffset.UnixEpoch);

    private void Script(string probe = "")
    {
        _host.On("stat -L", c => new CommandResult(0, $"600 postgres postgres\n{c.Arguments[^1]}\n", "")).On("rm -f", c =>
        {
            _host.Files.Remove(c.Arguments[^1]);
            return new CommandResult(0, "", "");
        }).On("neighbours", "directory\n").On("postmaster.pid", probe).On("ps -o args=", "").On("pg_controldata", Control);
    }

    private Dictionary<string, string> Files() => _host.Files.Where(f => f.Key.StartsWith("/etc/postgresql/", StringComparison.Ordinal) || f.Key == Auto).ToDictionary(f => f.Key, f => _host.TextOf(f.Key));

    // As the server reads them: its own file, where postgresql.conf includes it, then postgresql.auto.conf.
    private Dictionary<string, string> Effective()
    {
        var owned = _host.TextOf(Vendor).Contains(OwnedSettings.FileName, StringComparison.Ordinal) && _host.Files.ContainsKey(OwnedSettings.PathOf(Standby)) ? _host.TextOf(OwnedSettings.PathOf(Standby)) : "";
        return ConfigText.Values([.. ConfigText.Lines(owned), .. ConfigText.Lines(_host.TextOf(Auto))]).ToDictionary();
    }

    private async Task CarryOut(IReadOnlyList<Step> steps, bool isThawing = false)
    {
        foreach (var step in steps)
        {
            var plan = new Plan { Operation = "Test", Subject = "x", Home = _host.Host, Steps = [step] };
            var run = new StepRun(step, plan, Journal.For(plan, "me", DateTimeOffset.UnixEpoch), new NoFeedback(), default);
            if (!await step.IsDone(run))
            {
                await step.Do(run);
                Assert.True(await step.IsDone(run), step.Title);
            }

            var now = Effective();
            var delay = now.GetValueOrDefault(Freeze.DelaySetting, "none");
            if (now.ContainsKey("recovery_target_lsn"))
            {
                Assert.Equal(("off", "1", "pause"), (now["recovery_target_inclusive"], now["recovery_target_timeline"], now["recovery_target_action"]));
            }
            else
            {
                Assert.True(isThawing || step.Id.StartsWith("freeze", StringComparison.Ordinal) || step.Id.StartsWith("delay", StringComparison.Ordinal) || delay == "2147483647ms", $"After '{step.Title}' the delay is {delay} and there is no target.");
            }
        }
    }
}
