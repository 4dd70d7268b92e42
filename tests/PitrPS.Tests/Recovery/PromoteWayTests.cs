using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Recovery;

public class PromoteWayTests
{
    private readonly FakeRemoteHost _host = new();

    private RecoveryOptions Options =>
        RecoveryOptions.Of(TestStandby.Incident(TestStandby.On(_host) with { IsPlanned = true })) with { Way = RecoveryWay.Promote, ArchivePath = "/srv/wal" };

    [Fact]
    public async Task On_paper_it_is_the_whole_way_and_the_copy_and_the_archive_come_before_the_start_that_promotes()
    {
        var planned = await RecoveryPlan.BuildAsync(Options, new NoFeedback(), default);
        var text = (await new PlanRunner(new NoFeedback(), "test").PreviewAsync(planned.Plan, default)).Render();

        Assert.Empty(_host.Commands);
        Assert.Contains("there is no way back but Reset-PgStandby", text, StringComparison.Ordinal);
        string[] inOrder =
        [
            "Note the recovery", "recovery_target_action = 'promote'", "archive_command = '/usr/local/lib/pitrps/pitrps-archive /srv/wal", "Stop 15/main cleanly", "to be kept until the promotion has succeeded",
            "See that the copy is on the disk", "recovery_target_lsn = '0/3D79CC8'", "Start 15/main with the target", "the new timeline begins there", "Restart 15/main if a setting needs it", "Remove the copy", "Forget the recovery",
        ];
        var at = -1;
        foreach (var line in inOrder)
        {
            var next = text.IndexOf(line, at + 1, StringComparison.Ordinal);
            Assert.True(next > at, $"'{line}' does not come after what is before it in:\n{text}");
            at = next;
        }

        var recovery = planned.AsPlanned();
        Assert.Equal((RecoveryWay.Promote, RecoveryState.Promoted, true), (recovery.Way, recovery.State, recovery.IsPlanned));
    }

    [Fact]
    public async Task Nothing_is_taken_back_once_the_server_is_started_with_the_target()
    {
        var plan = (await RecoveryPlan.BuildAsync(Options, new NoFeedback(), default)).Plan;

        Assert.Equal("keep-start", Assert.Single(plan.Steps, s => s.NoWayBack).Id);
        string[] undone = [.. plan.Steps.Where(s => s.Undo is not null).Select(s => s.Id)];
        Assert.Subset(plan.Steps.TakeWhile(s => s.Id != "keep-start").Select(s => s.Id).ToHashSet(), undone.ToHashSet());
        Assert.Contains("keep-stop", undone);
        Assert.Equal("forget", Assert.Single(plan.Steps, s => s.AfterJournal).Id);
    }

    [Fact]
    public async Task Without_an_archive_of_its_own_it_is_refused()
    {
        var error = await Assert.ThrowsAsync<PitrException>(() => RecoveryPlan.BuildAsync(Options with { ArchivePath = null }, new NoFeedback(), default));
        Assert.Equal("PitrPS.ArchivePathRequired", error.Id);
    }

    [Fact]
    public async Task It_is_never_chosen_by_itself()
    {
        var refusals = new Dictionary<RecoveryWay, string> { [RecoveryWay.Scratch] = "PitrPS.LayerUnsupported", [RecoveryWay.Clone] = "PitrPS.CloneUnsupported", [RecoveryWay.Keep] = "PitrPS.HotStandbyInactive" };
        var tried = new List<RecoveryWay>();

        var error = await Assert.ThrowsAsync<PitrException>(() => WayChoice.FirstAsync(TestStandby.On(_host), way =>
        {
            tried.Add(way);
            throw new PitrException(refusals[way], ErrorKind.ResourceUnavailable, "Not here.", "Elsewhere.");
        }, new NoFeedback()));

        Assert.Equal("PitrPS.NoWayPossible", error.Id);
        Assert.DoesNotContain(RecoveryWay.Promote, tried);
    }
}
