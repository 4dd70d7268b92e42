using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Rescue;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class RecoveryPlanTests
{
    private readonly FakeRemoteHost _host = new();

    private PgServer Standby => TestStandby.On(_host);

    [Fact]
    public void More_than_one_incident_of_a_standby_is_ambiguous_and_shows_how_to_choose()
    {
        var error = Assert.Throws<PitrException>(() => RecoveryOptions.One(
            [RecoveryOptions.Of(TestStandby.Incident(Standby)), RecoveryOptions.Of(TestStandby.Incident(Standby, 731, "0/4000000"))]));
        Assert.Equal("PitrPS.AmbiguousIncident", error.Id);
        Assert.Contains("xid 725", error.Message, StringComparison.Ordinal);
        Assert.Contains("xid 731", error.Message, StringComparison.Ordinal);
        Assert.Contains("TransactionId -eq 731", error.NextStep, StringComparison.Ordinal);
    }

    [Fact]
    public void The_same_incident_twice_is_one() =>
        Assert.Equal(725u, RecoveryOptions.One([RecoveryOptions.Of(TestStandby.Incident(Standby)), RecoveryOptions.Of(TestStandby.Incident(Standby))]).Incident!.TransactionId);

    [Fact]
    public async Task A_standby_on_paper_gets_a_plan_on_paper_and_nothing_is_asked_of_the_host()
    {
        var incident = TestStandby.Incident(Standby with { IsPlanned = true });
        var planned = await RecoveryPlan.BuildAsync(RecoveryOptions.Of(incident), new Silence(), default);
        var preview = await new PlanRunner(new Silence(), "test").PreviewAsync(planned.Plan, default);

        Assert.Empty(_host.Commands);
        Assert.Contains("Stop the standby cleanly and start a scratch server in its place", preview.Render(), StringComparison.Ordinal);
        var recovery = planned.AsPlanned();
        Assert.True(recovery.IsPlanned && recovery.Scratch!.IsPlanned && recovery.Standby.IsPlanned);
        Assert.Equal(incident, recovery.Incident);
        Assert.Equal("PitrPS.PlannedObject", (await Assert.ThrowsAsync<PitrException>(() => new PlanRunner(new Silence(), "test").RunAsync(planned.Plan, default))).Id);
    }

    [Fact]
    public async Task A_recovery_on_paper_is_completed_on_paper()
    {
        var recovery = (await RecoveryPlan.BuildAsync(RecoveryOptions.Of(TestStandby.Incident(Standby with { IsPlanned = true })), new Silence(), default)).AsPlanned();
        var planned = await CompletionPlan.BuildAsync(new CompletionOptions(recovery, [], Force: false), new Silence(), default);
        Assert.Empty(_host.Commands);
        Assert.True(planned.Plan.IsPlanned);
        Assert.Equal((true, false, ServerRole.Standby), (planned.AsPlanned().IsRunning, planned.AsPlanned().IsFrozen, planned.AsPlanned().Role));
    }

    [Theory]
    [InlineData("active", "a1", true, RecoveryState.Ready)]
    [InlineData("active", "a2", true, RecoveryState.Recovering)]
    [InlineData("active", "a1", false, RecoveryState.Recovering)]
    [InlineData("inactive", null, false, RecoveryState.Lost)]
    [InlineData("failed", "a1", false, RecoveryState.Lost)]
    public void A_recovery_is_ready_only_in_the_one_run_of_its_unit_that_was_seen_to_be(string active, string? invocation, bool ready, RecoveryState expected)
    {
        var record = TestStandby.Record(Standby) with { Invocation = "a1", RecoveredTo = Lsn.Parse("0/3D79CC8"), ScratchTimeline = 2 };
        var recovery = RecoveryReader.Of(Standby, record, TestStandby.Look(active, invocation, ready));
        Assert.Equal(expected, recovery.State);
        Assert.Equal(expected == RecoveryState.Ready, recovery.Scratch is not null);
        Assert.Equal(expected == RecoveryState.Ready ? Lsn.Parse("0/3D79CC8") : null, recovery.RecoveredTo);
    }

    [Fact]
    public void A_recovery_that_was_begun_and_has_no_layer_yet_is_not_lost() =>
        Assert.Equal(RecoveryState.Recovering, RecoveryReader.Of(Standby, TestStandby.Record(Standby), TestStandby.Look("inactive", null, ready: false, layer: false)).State);

    [Fact]
    public void A_standby_that_runs_makes_a_scratch_server_worthless() =>
        Assert.Equal(RecoveryState.Lost, RecoveryReader.Of(Standby, TestStandby.Record(Standby) with { Invocation = "a1" }, TestStandby.Look(standbyRuns: true)).State);

    [Fact]
    public void The_scratch_server_is_complete_enough_to_run_SQL_on()
    {
        var scratch = RecoveryReader.Of(Standby, TestStandby.Record(Standby) with { Invocation = "a1" }, TestStandby.Look()).Scratch!;
        Assert.Equal((15432, "/run/pitrps-scratch-15-main", "postgres", "/usr/lib/postgresql/15/bin", ServerRole.Primary),
            (scratch.Port, scratch.SocketDirectory, scratch.OsUser, scratch.BinDirectory, scratch.Role));
        Assert.NotEqual(Standby.DataDirectory, scratch.DataDirectory);
    }

    [Fact]
    public async Task Does_not_complete_while_a_table_is_not_proven_to_be_back()
    {
        var record = TestStandby.Record(Standby);
        await record.WriteAsync(Standby, default);
        var recovery = RecoveryReader.Of(Standby, record, TestStandby.Look());
        var unproven = new RestoredTable
        {
            Recovery = recovery, Table = recovery.Incident!.Tables[0], To = Standby, RowsRecovered = 3, RowsRestored = 3, ChecksumRecovered = "a", ChecksumRestored = "b",
        };
        Assert.Null(unproven.Proof);
        var error = await Assert.ThrowsAsync<PitrException>(() => CompletionPlan.BuildAsync(new CompletionOptions(recovery, [], Force: false), new Silence(), default));
        Assert.Equal("PitrPS.RestoreIncomplete", error.Id);
        Assert.Contains("public.pitr2", error.Message, StringComparison.Ordinal);
        Assert.Contains("public.Pitr 2b", error.Message, StringComparison.Ordinal);
        Assert.Empty(_host.Commands);

        error = await Assert.ThrowsAsync<PitrException>(() => CompletionPlan.BuildAsync(new CompletionOptions(recovery, [(unproven with { ChecksumRestored = "a" }).Proof!], Force: false), new Silence(), default));
        Assert.DoesNotContain("public.pitr2", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Completes_nothing_when_the_recovery_is_gone_or_another_one()
    {
        var recovery = RecoveryReader.Of(Standby, TestStandby.Record(Standby), TestStandby.Look());
        Assert.Empty((await CompletionPlan.BuildAsync(new CompletionOptions(recovery, [], Force: true), new Silence(), default)).Plan.Steps);
        await (TestStandby.Record(Standby) with { StartedAt = DateTimeOffset.UnixEpoch }).WriteAsync(Standby, default);
        Assert.Empty((await CompletionPlan.BuildAsync(new CompletionOptions(recovery, [], Force: true), new Silence(), default)).Plan.Steps);
    }

    private sealed class Silence : IFeedback
    {
        public void Verbose(string text)
        {
        }

        public void Warning(string text)
        {
        }

        public void Progress(ProgressNote note)
        {
        }
    }
}
