using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class ReplayProgressTests
{
    private readonly List<ProgressNote> _notes = [];

    [Fact]
    public void Says_how_much_is_replayed_how_fast_and_how_long_it_will_take()
    {
        var standby = TestStandby.On(new FakeRemoteHost());
        var record = TestStandby.Record(standby) with { Stop = Lsn.Parse("0/8000000") };
        var step = new Step("replay", "Replay up to the target", standby.Host) { IsDone = _ => Task.FromResult(false), Do = _ => Task.CompletedTask };
        var plan = new Plan { Operation = "Invoke-PitrRecovery", Subject = standby.Id, Home = standby.Host, Steps = [step] };
        var progress = new ReplayProgress(new StepRun(step, plan, Journal.For(plan, "me@here", DateTimeOffset.UtcNow), new Notes(_notes), default), record, Lsn.Parse("0/4000000"), 16 << 20);

        progress.Tell(Look("000000010000000000000004"));
        progress.Tell(Look("000000010000000000000006"));

        Assert.Contains("0 of 64 MiB of WAL replayed", _notes[0].Status, StringComparison.Ordinal);
        Assert.Null(_notes[0].TimeLeft);
        Assert.Matches(@"32 of 64 MiB of WAL replayed, \d+ MiB/s", _notes[1].Status);
        Assert.Equal((32L << 20, 64L << 20, "bytes"), (_notes[1].Done, _notes[1].Total!.Value, _notes[1].Unit));
        Assert.InRange(_notes[1].TimeLeft!.Value, TimeSpan.Zero, TimeSpan.FromMinutes(1));
    }

    private static ScratchLook Look(string segment) => new() { ActiveState = "active", Segment = segment, Log = new ScratchLog([]) };

    private sealed class Notes(List<ProgressNote> notes) : IFeedback
    {
        public void Verbose(string text)
        {
        }

        public void Warning(string text)
        {
        }

        public void Progress(ProgressNote note) => notes.Add(note);
    }
}
