using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Rescue;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Planning;

namespace PitrPS.Tests.Rescue;

public class PlannedRestoreTests
{
    private readonly FakeRemoteHost _standby = new("standby");
    private readonly FakeRemoteHost _primary = new("primary");
    private readonly SilentFeedback _feedback = new();

    private static PgServer Server(FakeRemoteHost host, bool isStandby) => new()
    {
        Host = host.Host,
        Name = "15/main",
        Version = 15,
        Port = 5432,
        DataDirectory = "/d",
        ConfigDirectory = "/c",
        BinDirectory = "/b",
        IsStandby = isStandby,
    };

    private PitrRecovery Recovery(bool isPlanned, RecoveryState state = RecoveryState.Ready)
    {
        var standby = Server(_standby, isStandby: true);
        return new PitrRecovery
        {
            Standby = standby,
            Incident = new PgIncident
            {
                Standby = standby,
                Kind = IncidentKind.DropTable,
                Tables = [new IncidentTable("shop", "public", "pitr2", 16400, null), new IncidentTable("shop", "public", "pitr3", 16401, null)],
                TransactionId = 700,
                CommitLsn = Lsn.Parse("0/3000000"),
                CommittedAt = DateTimeOffset.UnixEpoch,
                Timeline = 1,
            },
            Target = new RecoveryTarget.Lsn(Lsn.Parse("0/3000000")),
            State = state,
            StartedAt = DateTimeOffset.UnixEpoch,
            IsPlanned = isPlanned,
        };
    }

    private Task<Planned<IReadOnlyList<RestoredTable>>> BuildAsync(PitrRecovery recovery, params string[] tables) =>
        RestorePlan.BuildAsync(new RestoreOptions(recovery, Server(_primary, isStandby: false), tables, null, null, null), _feedback, default);

    [Fact]
    public async Task A_recovery_that_is_only_planned_gives_a_plan_and_planned_tables_and_asks_nobody()
    {
        var planned = await BuildAsync(Recovery(isPlanned: true));
        Assert.True(planned.Plan.IsPlanned);
        Assert.Equal(["definition", "key", "authorize", "carry", "prove", "clear-primary", "clear-standby"], planned.Plan.Steps.Select(s => s.Id));
        Assert.Equal("standby:15/main", planned.Plan.Subject);
        var tables = planned.AsPlanned();
        Assert.Equal(["public.pitr2", "public.pitr3"], tables.Select(t => t.Table.ToString()));
        Assert.All(tables, t => Assert.True(t is { IsPlanned: true, IsProven: false, Proof.IsPlanned: true }));
        Assert.Empty(_standby.Commands);
        Assert.Empty(_primary.Commands);
    }

    [Fact]
    public async Task Only_the_tables_that_were_asked_for_are_planned() =>
        Assert.Equal(["public.pitr3"], (await BuildAsync(Recovery(isPlanned: true), "pitr3")).AsPlanned().Select(t => t.Table.ToString()));

    [Theory]
    [InlineData(RecoveryState.Lost)]
    [InlineData(RecoveryState.Recovering)]
    public async Task A_recovery_that_cannot_be_read_is_refused(RecoveryState state) =>
        Assert.Equal("PitrPS.RecoveryNotReady", (await Assert.ThrowsAsync<PitrException>(() => BuildAsync(Recovery(isPlanned: false, state)))).Id);

    [Fact]
    public async Task A_completion_ends_a_restore_that_was_not_finished()
    {
        const string journal = "/var/lib/pitrps/operations/Restore-PgTable--standby-15-main.json";
        var standby = Server(_standby, isStandby: true);
        var plan = new Plan { Operation = UnfinishedRestore.Operation, Subject = standby.Id, Home = standby.Host, Steps = [] };
        var left = Journal.For(plan, "me@here", DateTimeOffset.UnixEpoch);
        await left.NoteAsync(UnfinishedRestore.NoteKey, new RestoreTask
        {
            Id = "0123456789ab",
            Primary = "primary:15/main",
            Database = "shop",
            Tables = [],
            Parts = new Dictionary<int, string>(),
            Notes = [],
            Began = DateTimeOffset.UnixEpoch,
        }.Render(), default);
        Assert.Contains(journal, _standby.Files.Keys);
        _standby.Otherwise = c =>
        {
            _standby.Files.Remove(c.Arguments[^1]);
            return new CommandResult(0, "", "");
        };
        var step = UnfinishedRestore.Step(standby, null);
        var run = new StepRun(step, plan, left, _feedback, default);
        Assert.False(await step.IsDone(run));
        await step.Do(run);
        Assert.True(await step.IsDone(run));
        Assert.Contains(_standby.Shown, c => c.Contains("systemctl stop", StringComparison.Ordinal) && c.Contains("pitrps-restore-0123456789ab", StringComparison.Ordinal));
        Assert.Contains(_standby.Shown, c => c.Contains("rm -rf --one-file-system -- /run/pitrps/pitrps-restore-0123456789ab ", StringComparison.Ordinal));
    }
}
