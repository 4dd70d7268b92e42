using PitrPS.Planning;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Planning;

public class PitrOperationTests
{
    private readonly FakeRemoteHost _host = new();

    [Theory]
    [InlineData(nameof(OperationState.Running), true, PitrOperationState.Running)]
    [InlineData(nameof(OperationState.Running), false, PitrOperationState.Abandoned)]
    [InlineData(nameof(OperationState.Stopped), false, PitrOperationState.Stopped)]
    [InlineData(nameof(OperationState.Failed), false, PitrOperationState.Failed)]
    [InlineData(nameof(OperationState.Failed), true, PitrOperationState.Running)]
    public void Is_running_only_while_its_lock_is_held(string state, bool held, PitrOperationState expected)
    {
        var locks = new Dictionary<string, string> { ["standby-15-main"] = "bob@desk 2026-11-23T08:00:00Z " + (held ? "New-PgStandby" : "Mount-WalArchive") };
        var operation = PitrOperation.Of(_host.Host, Journal(Enum.Parse<OperationState>(state)), locks);
        Assert.Equal(expected, operation.State);
        Assert.Equal("Copy the primary's files", operation.Step);
        Assert.Equal((1, 3), (operation.StepsDone, operation.StepsTotal));
        Assert.Equal("Remove-PgStandby", operation.GoBack);
        Assert.NotEmpty(operation.GoOn);
    }

    [Fact]
    public async Task Tells_who_holds_a_lock()
    {
        _host.On("flock -n -s", "standby-15-main ann@laptop 2026-11-23T08:00:00Z Invoke-PitrRecovery\n");
        var held = await OperationLock.HeldAsync(_host.Host, default);
        Assert.Equal("ann@laptop 2026-11-23T08:00:00Z Invoke-PitrRecovery", held["standby-15-main"]);
    }

    private static Journal Journal(OperationState state) => new()
    {
        Operation = "New-PgStandby",
        Subject = "standby:15/main",
        Client = "ann@laptop",
        StartedAt = DateTimeOffset.UnixEpoch,
        State = state,
        WayBack = "Remove-PgStandby",
        Steps =
        [
            new JournalStep { Id = "a", Title = "Make the slot", Host = "primary", State = StepState.Done },
            new JournalStep { Id = "b", Title = "Copy the primary's files", Host = "standby", State = StepState.Running },
            new JournalStep { Id = "c", Title = "Start it", Host = "standby" },
        ],
    };
}
