using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Faults;

/// <summary>A pair of hosts in a lab of its own, and a session of somebody who works on it. One case at a time.</summary>
internal sealed class Stage(Lab lab) : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(6);

    // What an operation leaves to systemd or to sshd to end, or a server to come to, may take this long; longer is left over.
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(60);

    private readonly PowerShellEngine _engine = new();
    private IReadOnlyList<string> _hosts = [];
    private string _began = "";

    public Lab Lab { get; } = lab;

    /// <summary>What its hosts were last used for.</summary>
    public Scenario? Scenario { get; private set; }

    /// <summary>The hosts as they are before the scenario's command, and a session on them.</summary>
    public void Set(Scenario scenario)
    {
        Scenario = scenario;
        _hosts = scenario.State.Hosts;
        scenario.State.Restore(Lab);
        _engine.Run("Get-PgHost | Disconnect-PgHost");
        foreach (var host in _hosts)
        {
            Lab.Shell(host, "systemctl is-system-running --wait > /dev/null || true");
        }

        _engine.Run(Connect).ThrowOnError();
        _began = scenario.KeepsPosition ? Position() : "";
        if (scenario.Before.Length > 0)
        {
            _engine.Run(scenario.Before).ThrowOnError();
        }

        _engine.Run(scenario.Session).ThrowOnError();
    }

    /// <summary>Runs to the end, which must be a good one; returns what -Verbose said.</summary>
    public IReadOnlyList<string> Run(string command) => _engine.RunVerbose(command).ThrowOnError().Verbose;

    /// <summary>The same, whatever comes of it.</summary>
    public (IReadOnlyList<string> Said, string? Error) TryRun(string command)
    {
        var run = _engine.RunVerbose(command);
        return (run.Verbose, run.Errors.Count == 0 ? null : string.Join('\n', run.Errors.Select(e => $"{e.FullyQualifiedErrorId}: {e}")));
    }

    /// <summary>Runs in this session until it ends, which a fault may bring about; returns how it ended.</summary>
    public string RunInto(string command, Trap trap)
    {
        var running = _engine.StartListening(command, trap.Hear);
        var ended = Waiting.Until(() => running.HasEnded, Limit);
        if (!ended)
        {
            running.Stop();
        }

        var run = running.Wait();
        Assert.True(ended, $"After the fault the command has not ended in {Limit.TotalMinutes} min.");
        Assert.True(trap.HasBegun, $"The step was never begun; the command ended with: {How(run)}");
        return How(run);
    }

    /// <summary>Runs in a process of its own, which is killed at the point. This session then begins anew, as a person would.</summary>
    public string RunAndKill(Scenario scenario, FaultPoint point, Action strike)
    {
        ClientProcess? client = null;
        using var begun = new ManualResetEventSlim();
        var trap = new Trap(point, () =>
        {
            begun.Wait();
            strike();
            client!.KillAndGoOn();
        });
        using (client = new ClientProcess($"{Connect}\n$ErrorActionPreference = 'Stop'\n{scenario.Session}\n$VerbosePreference = 'Continue'\n{scenario.Command}", said: trap.Hear))
        {
            begun.Set();
            Assert.True(Waiting.Until(() => client.HasEnded, Limit), $"The client has not come to the step in {Limit.TotalMinutes} min:\n{client.Text}");
            Assert.True(trap.HasStruck, $"The client ended before the step:\n{client.Text}");
        }

        _engine.Run("Get-PgHost | Disconnect-PgHost");
        _engine.Run(Connect).ThrowOnError();
        _engine.Run(scenario.Session).ThrowOnError();
        return "SIGKILL";
    }

    /// <summary>The session's connections are closed.</summary>
    public void Leave() => _engine.Run("Get-PgHost | Disconnect-PgHost");

    /// <summary>Where the journal on the hosts stands; also of hosts that are off.</summary>
    public string Standing(FaultPoint point)
    {
        var journal = _hosts.SelectMany(h => Quietly(() => Directory.GetFiles($"{new LabView(Lab, h).Disk}/var/lib/pitrps/operations", "*.json"))).Select(f => Quietly(() => [File.ReadAllText(f)]).FirstOrDefault("")).ToList();
        return journal.Any(text => text.Contains($"\"id\": \"{point.Id}\"", StringComparison.Ordinal) && StateOf(text, point.Id) == "running") ? "within the step" : "between two steps";
    }

    /// <summary>The finished journals of all hosts.</summary>
    public IReadOnlyList<string> History() => [.. _hosts.SelectMany(h => Quietly(() => Directory.GetFiles($"{new LabView(Lab, h).Disk}/var/lib/pitrps/history", "*.json")))];

    public IReadOnlySet<string> TransientUnits(string host) => new LabView(Lab, host).TransientUnits();

    /// <summary>The standby is where it was when the scenario began, if it is to be there again.</summary>
    public void AssertPosition()
    {
        if (Scenario!.KeepsPosition)
        {
            Assert.Equal(_began, Position());
        }
    }

    /// <summary>Where the standby holds replay back.</summary>
    private string Position()
    {
        var until = DateTimeOffset.UtcNow + Settling;
        while (true)
        {
            var at = Lab.Shell(Lab.Standby,
                "runuser -u postgres -- psql -X -At -c \"SELECT pg_last_wal_replay_lsn() FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event IN ('RecoveryApplyDelay', 'RecoveryPause')\" 2>&1 || true").Trim();
            if (at.Contains('/', StringComparison.Ordinal) && at.Length < 20)
            {
                return at;
            }

            Assert.True(DateTimeOffset.UtcNow < until, $"The standby does not come to hold replay back: {at}");
            Task.Delay(200).Wait();
        }
    }

    /// <summary>What is on the hosts once nothing changes any more.</summary>
    public EndState Settled()
    {
        var until = DateTimeOffset.UtcNow + Settling;
        var was = EndState.Read(Lab, _hosts);
        while (true)
        {
            Task.Delay(1000).Wait();
            var now = EndState.Read(Lab, _hosts);
            var changes = was.DifferenceTo(now);
            if (changes.Count == 0)
            {
                return now;
            }

            Assert.True(DateTimeOffset.UtcNow < until, $"The hosts do not come to rest:\n{string.Join('\n', changes)}");
            was = now;
        }
    }

    /// <summary>What the hosts have too much and too little; waits, but not for long, for what is just about to end.</summary>
    public IReadOnlyList<string> DifferencesTo(EndState expected)
    {
        var until = DateTimeOffset.UtcNow + Settling;
        var pause = TimeSpan.FromMilliseconds(200);
        while (true)
        {
            var differences = expected.DifferenceTo(EndState.Read(Lab, _hosts));
            if (differences.Count == 0 || DateTimeOffset.UtcNow > until)
            {
                return differences;
            }

            Task.Delay(pause).Wait();
            pause *= 2;
        }
    }

    public void Dispose() => _engine.Dispose();

    private string Connect => string.Join('\n', Snapshots.ConnectScript(Lab).Split('\n').Where(l => _hosts.Contains(Lab.Standby) || !l.Contains("$standby", StringComparison.Ordinal)));

    private static string How(EngineRun run) => run.Errors.Count == 0 ? "success" : string.Join('\n', run.Errors.Select(e => $"{e.FullyQualifiedErrorId}: {e}"));

    private static string? StateOf(string journal, string id)
    {
        try
        {
            using var json = System.Text.Json.JsonDocument.Parse(journal);
            return json.RootElement.GetProperty("steps").EnumerateArray().Where(s => s.GetProperty("id").GetString() == id).Select(s => s.GetProperty("state").GetString()).FirstOrDefault();
        }
        catch (System.Text.Json.JsonException)
        {
            return null;
        }
    }

    private static IReadOnlyList<string> Quietly(Func<string[]> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
