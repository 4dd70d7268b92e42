using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Faults;

/// <summary>A step of a scenario's command, and the moment in it at which faults strike.</summary>
/// <param name="Operation">The cmdlet whose plan it is of.</param>
/// <param name="Id">Its id in the journal.</param>
/// <param name="Title">Its title.</param>
/// <param name="Host">Where it happens.</param>
/// <param name="CommandsBefore">So many remote commands of the step have ended when the one begins that took longest, which the fault strikes.</param>
internal sealed partial record FaultPoint(string Operation, string Id, string Title, string Host, int CommandsBefore)
{
    /// <summary>With this line the client says, verbosely, that it begins the step.</summary>
    public bool IsBegunBy(string line) => WithoutNumbers(line) == WithoutNumbers($"{Host}: {Title}");

    // Each lab has transactions and positions of its own, and some titles name them.
    private static string WithoutNumbers(string line) => Numbers().Replace(line, "#");

    [GeneratedRegex(@"\b[0-9A-F]+/[0-9A-F]+\b|\d+")]
    private static partial Regex Numbers();
}

/// <summary>A scenario whose command nothing has disturbed: its steps, and what it leaves.</summary>
internal sealed record Undisturbed(IReadOnlyList<FaultPoint> Points, EndState End)
{
    public static Undisturbed Of(Scenario scenario, Stage stage)
    {
        stage.Set(scenario);
        var known = stage.History();
        var said = stage.Run(scenario.Command);
        var journals = stage.History().Except(known).Order(StringComparer.Ordinal).Select(file => JsonSerializer.Deserialize<FinishedJournal>(File.ReadAllText(file), JsonSerializerOptions.Web)!);
        // A step that the journal is closed before is still running there.
        var points = journals.Where(j => scenario.Operation is null || j.Operation == scenario.Operation).SelectMany(j => j.Steps.Where(s => s.State is "done" or "running").Select(s => new FaultPoint(j.Operation, s.Id, s.Title, s.Host, CommandsBefore(s, said)))).ToList();
        Assert.NotEmpty(points);
        stage.Leave();
        var end = stage.Settled();
        stage.AssertPosition();
        return new Undisturbed(points, end);
    }

    // The first command of a step writes the journal; the last ones are its check and the next one's.
    private static int CommandsBefore(FinishedStep step, IReadOnlyList<string> said)
    {
        var began = said.ToList().IndexOf($"{step.Host}: {step.Title}");
        Assert.True(began >= 0, $"The client never said '{step.Host}: {step.Title}'.");
        var times = said.Skip(began + 1).TakeWhile(line => RemoteCommands.IsOne(line) || !RemoteCommands.IsStep(line)).Select(RemoteCommands.TimeOf).OfType<int>().ToList();
        var own = times.Skip(1).SkipLast(times.Count > 3 ? 2 : 0).ToList();
        return own.Count == 0 ? 1 : 1 + own.IndexOf(own.Max());
    }

    private sealed record FinishedJournal(string Operation, IReadOnlyList<FinishedStep> Steps);

    private sealed record FinishedStep(string Id, string Title, string Host, string State);
}

/// <summary>What -Verbose tells of remote commands, each when it has ended.</summary>
internal static partial class RemoteCommands
{
    public static bool IsOne(string line) => TimeOf(line) is not null;

    public static int? TimeOf(string line) => Ended().Match(line) is { Success: true } m ? int.Parse(m.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture) : null;

    /// <summary>The client goes over to another step.</summary>
    public static bool IsStep(string line) => !IsOne(line) && Step().IsMatch(line);

    [GeneratedRegex(@"\((?:exit -?\d+|started|open|ended|not finished), (\d+) ms\)$")]
    private static partial Regex Ended();

    [GeneratedRegex("^(primary|standby): [A-Z]")]
    private static partial Regex Step();
}

/// <summary>Strikes when the client has come so far, or, when it goes on faster than before, as soon as it is past that.</summary>
internal sealed class Trap(FaultPoint point, Action strike)
{
    private readonly Lock _lock = new();
    private int _ended = -1;

    public bool HasStruck { get; private set; }

    public bool HasBegun => _ended >= 0;

    public void Hear(string line)
    {
        lock (_lock)
        {
            line = line.StartsWith("VERBOSE: ", StringComparison.Ordinal) ? line["VERBOSE: ".Length..] : line;
            if (HasStruck)
            {
                return;
            }

            if (_ended < 0)
            {
                _ended = point.IsBegunBy(line) ? 0 : -1;
                return;
            }

            _ended += RemoteCommands.IsOne(line) ? 1 : 0;
            if (_ended >= point.CommandsBefore || RemoteCommands.IsStep(line))
            {
                HasStruck = true;
                strike();
            }
        }
    }
}

/// <summary>What came of a case.</summary>
/// <param name="Where">Within the step, or after it, as the journal on the hosts says.</param>
/// <param name="Problem">Null when all is well.</param>
/// <param name="Took">Whole.</param>
internal sealed record CaseResult(string Where, string? Problem, TimeSpan Took);

/// <summary>A step and a fault: the command is run into it and run again, and the hosts must be as an undisturbed run leaves them.</summary>
internal sealed record FaultCase(Scenario Scenario, Undisturbed Undisturbed, FaultPoint Point, Fault Fault)
{
    public string Title => $"{Scenario.Name}: {Point.Host}: {Point.Title} × {Fault.Name}";

    public CaseResult Run(Stage stage)
    {
        var watch = Stopwatch.StartNew();
        var where = "?";
        var report = new List<string>();
        try
        {
            stage.Set(Scenario);
            var units = stage.TransientUnits(Point.Host);
            Blow? blow = null;
            var first = Fault is Fault.ClientKilled
                ? stage.RunAndKill(Scenario, Point, () => blow = Fault.Strike(stage.Lab, Point.Host, units))
                : stage.RunInto(Scenario.Command, new Trap(Point, () => blow = Fault.Strike(stage.Lab, Point.Host, units)));
            where = stage.Standing(Point);
            report.Add($"The fault hit {blow?.Hit ?? "nothing"}, {where}. The first run ended with: {first}");
            Assert.True(blow is not null, "The fault never struck.");
            blow.Mend();

            var second = stage.TryRun(Scenario.Command);
            report.Add($"The second run:\n{string.Join('\n', second.Said.TakeLast(60))}");
            Assert.True(second.Error is null, $"The second run failed: {second.Error}");

            stage.Leave();
            var differences = stage.DifferencesTo(Undisturbed.End);
            Assert.True(differences.Count == 0, $"The hosts are not as after an undisturbed run:\n{string.Join('\n', differences.Take(60))}");
            stage.AssertPosition();
            return new CaseResult(where, null, watch.Elapsed);
        }
        catch (Exception e)
        {
            return new CaseResult(where, $"{e.Message}\n{string.Join('\n', report)}", watch.Elapsed);
        }
    }
}
