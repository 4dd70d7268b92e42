using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;
using Xunit.Abstractions;

namespace PitrPS.LabTests.Faults;

/// <summary>
/// Every step of every plan times every fault; build.ps1 -Task FaultMatrix runs it, and -Task Test leaves it out.
/// PITRPS_FAULTS is all, or words that a line of the table must contain; without it a part is run that changes from day to day.
/// PITRPS_FAULT_LABS says how many pairs of hosts there are side by side.
/// </summary>
[Trait("Category", "FaultMatrix")]
public sealed class FaultMatrixTests(ITestOutputHelper output)
{
    // What takes a few minutes on one pair of hosts.
    private const int CasesADay = 12;

    [FaultFact]
    public void What_was_interrupted_at_a_step_and_is_run_again_ends_as_if_nothing_had_been()
    {
        var only = Environment.GetEnvironmentVariable("PITRPS_FAULTS");
        using var matrix = new FaultMatrix(output.WriteLine, only is null ? 1 : int.Parse(Environment.GetEnvironmentVariable("PITRPS_FAULT_LABS") ?? "6", CultureInfo.InvariantCulture));
        if (only is null)
        {
            var day = (int)(DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).TotalDays;
            matrix.Run([Scenario.All[day % Scenario.All.Count]], cases => Shuffled(cases, day).Take(CasesADay));
        }
        else
        {
            string[] words = only == "all" ? [] : only.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var named = Scenario.All.Where(s => words.Contains(s.Name)).ToList();
            var rest = words.Where(w => named.All(s => s.Name != w)).ToList();
            matrix.Run(named.Count > 0 ? named : Scenario.All, cases => cases.Where(c => rest.All(w => $"{c.Title} {c.Point.Id}".Contains(w, StringComparison.OrdinalIgnoreCase))));
        }

        Assert.True(matrix.Problems.Count == 0, string.Join("\n", matrix.Problems));
    }

    [FaultFact]
    public void Whatever_is_altered_on_a_host_is_noticed()
    {
        var lab = Lab.Shared;
        PreparedState.Standby.Restore(lab);
        using var stage = new Stage(lab);
        stage.Set(new Scenario("altered", PreparedState.Standby, ""));
        stage.Leave();
        var before = stage.Settled();
        Assert.Empty(stage.DifferencesTo(before));

        var differences = before.DifferenceTo(Altered(lab, stage));
        string[] unnoticed = [.. Alterations.Select(a => a.Seen).Where(seen => !differences.Any(d => Regex.IsMatch(d, seen)))];
        Assert.True(unnoticed.Length == 0, $"Not noticed: {string.Join(", ", unnoticed)}\nNoticed:\n{string.Join('\n', differences)}");
    }

    // Host, what is done to it, and the line that must say so.
    private static readonly (string Host, string Script, string Seen)[] Alterations =
    [
        (Lab.Standby, "runuser -u postgres -- psql -Xqc 'ALTER SYSTEM SET log_checkpoints = off' -c 'SELECT pg_reload_conf()'", @"\+ standby .*setting\|log_checkpoints\|off"),
        (Lab.Primary, "runuser -u postgres -- psql -Xqc 'CREATE ROLE left_over'", @"\+ primary .*role\|left_over"),
        (Lab.Primary, "runuser -u postgres -- psql -Xqc \"SELECT pg_create_physical_replication_slot('left_over')\"", @"\+ primary .*slot\|left_over"),
        (Lab.Primary, "runuser -u postgres -- psql -Xqc 'CREATE TABLE left_over AS SELECT 1 AS i'", @"\+ primary .*rows\|left_over"),
        (Lab.Primary, "echo 'local left_over all peer' >> /etc/postgresql/15/main/pg_hba.conf", @"\+ primary .*hba\|local\|\{left_over\}"),
        (Lab.Standby, "echo '{}' > /var/lib/pitrps/operations/left--over.json", @"\+ standby file /var/lib/pitrps/operations/left--over.json f"),
        (Lab.Primary, "touch /var/lib/pitrps/pointers/left-over", @"\+ primary file /var/lib/pitrps/pointers/left-over f"),
        (Lab.Primary, "touch /tmp/left-over", @"\+ primary file /tmp/left-over f"),
        (Lab.Standby, "chmod o+r /etc/pitrps/15-main/passfile", @"- standby file /etc/pitrps/15-main/passfile f 600"),
        (Lab.Standby, "for f in /usr/local/lib/pitrps/*; do echo '# altered' >> $f; done", @"\+ standby file /usr/local/lib/pitrps/pitrps-restore \| # altered"),
        (Lab.Primary, "touch /var/mnt/archive_wal_dir/left-over.tmp", @"\+ primary file /var/mnt/archive_wal_dir/left-over.tmp"),
        (Lab.Primary, "useradd left-over", @"\+ primary file /etc/passwd \| left-over"),
        (Lab.Primary, "echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx left' >> /etc/ssh/pitrps-readers/$(ls /etc/ssh/pitrps-readers | head -n 1)", @"\+ primary file /etc/ssh/pitrps-readers.*some key"),
        (Lab.Standby, "mkdir /srv/left-over; mount --bind /opt /srv/left-over", @"\+ standby mount /srv/left-over"),
        (Lab.Standby, "systemd-run --quiet --unit=pitrps-left-over sleep 1000", @"\+ standby unit pitrps-left-over"),
        (Lab.Standby, "systemd-run --quiet --unit=left-over false; until systemctl is-failed --quiet left-over; do :; done", @"\+ standby failed unit left-over"),
        (Lab.Standby, "systemctl disable --quiet postgresql@15-main.service; systemctl stop --quiet 'mnt-*.mount'", @"- standby mount /mnt/archive_wal_dir"),
        (Lab.Standby, "ipcmk -M 4096", @"\+ standby shared memory that nobody uses"),
        (Lab.Standby, "install -d -o postgres -m 0700 /var/lib/postgresql/15/main.pitrps-scratch", @"\+ standby file /var/lib/postgresql/15/main.pitrps-scratch d"),
        (Lab.Standby, "runuser -u postgres -- psql -Xqc 'SELECT pg_wal_replay_pause()'", @"\+ standby .*in recovery\|t\|timeline\|1\|paused\|t"),
    ];

    private static FaultCase[] Shuffled(IReadOnlyList<FaultCase> cases, int day)
    {
        FaultCase[] all = [.. cases];
        new Random(day).Shuffle(all);
        return all;
    }

    private static EndState Altered(Lab lab, Stage stage)
    {
        foreach (var (host, script, _) in Alterations)
        {
            lab.Shell(host, script);
        }

        return stage.Settled();
    }
}

/// <summary>Runs cases on several pairs of hosts, and keeps the table of them.</summary>
internal sealed class FaultMatrix(Action<string> write, int labs) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly string? _table = Environment.GetEnvironmentVariable("PITRPS_FAULT_TABLE");
    private readonly List<Stage> _stages = [];
    private int _ran;
    private int _ok;

    public List<string> Problems { get; } = [];

    /// <summary>Learns the steps of the scenarios from undisturbed runs, and runs those of their cases that are chosen.</summary>
    public void Run(IReadOnlyList<Scenario> scenarios, Func<IReadOnlyList<FaultCase>, IEnumerable<FaultCase>> choose)
    {
        var work = new WorkList<Scenario>(scenarios);
        var threads = Enumerable.Range(0, labs).Select(number => new Thread(() =>
        {
            Stage? stage = null;
            while (work.Take(waiting => waiting.OrderBy(j => stage is null ? 0 : j.Of.State.Missing(stage.Lab)).ThenBy(j => j.Of == stage?.Scenario ? 0 : 1).First()) is { } job)
            {
                try
                {
                    // One pair needs no lab of its own.
                    stage ??= Add(new Stage(labs == 1 ? Lab.Shared : Lab.Beside($"faults-{number + 1}")));
                    if (job.Run is { } run)
                    {
                        run(stage);
                        continue;
                    }

                    var undisturbed = Undisturbed.Of(job.Of, stage);
                    FaultCase[] cases = [.. choose([.. undisturbed.Points.SelectMany(p => Fault.All.Select(f => new FaultCase(job.Of, undisturbed, p, f)))])];
                    Say($"{job.Of.Name}: {undisturbed.Points.Count} steps, {undisturbed.End.Count} different lines of end state, {cases.Length} cases");
                    work.Add(job.Of, cases.Select(c => (Action<Stage>)(s => Run(c, s))));
                }
                catch (Exception e)
                {
                    Fail($"{job.Of.Name}: undisturbed", e.Message);
                }
                finally
                {
                    work.Done(job);
                }
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Say($"fault-matrix: {_ok} of {_ran} ok");
    }

    private void Run(FaultCase one, Stage stage)
    {
        var result = one.Run(stage);
        if (result.Problem is not null)
        {
            Fail($"{one.Title} ({result.Where}, {result.Took.TotalSeconds:0} s)", result.Problem);
            return;
        }

        lock (_lock)
        {
            _ran++;
            _ok++;
        }

        Say($"{one.Title}: ok ({result.Where}, {result.Took.TotalSeconds:0} s)");
    }

    private Stage Add(Stage stage)
    {
        lock (_lock)
        {
            _stages.Add(stage);
            return stage;
        }
    }

    public void Dispose()
    {
        foreach (var stage in _stages)
        {
            stage.Dispose();
            if (stage.Lab != Lab.Shared)
            {
                stage.Lab.DestroyAll();
            }
        }
    }

    private void Fail(string title, string problem)
    {
        lock (_lock)
        {
            _ran++;
            Problems.Add($"{title}: {problem}");
        }

        Say($"{title}: FAILED\n    {problem.Replace("\n", "\n    ", StringComparison.Ordinal)}");
    }

    private void Say(string line)
    {
        lock (_lock)
        {
            write(line);
            if (_table is not null)
            {
                File.AppendAllText(_table, line + "\n");
            }
        }
    }
}

/// <summary>What is still to be done for several kinds of things: first each kind itself, then what came of that. Whoever works takes what suits him best.</summary>
internal sealed class WorkList<T>(IEnumerable<T> kinds)
{
    /// <summary>A piece of work; without one of its own it is the kind itself.</summary>
    public sealed record Job(T Of, Action<Stage>? Run);

    private readonly List<Job> _waiting = [.. kinds.Select(k => new Job(k, null))];
    private int _underWay;

    /// <summary>Waits for work as long as there may be more; null when all is done.</summary>
    public Job? Take(Func<IReadOnlyList<Job>, Job> choose)
    {
        lock (_waiting)
        {
            while (_waiting.Count == 0 && _underWay > 0)
            {
                Monitor.Wait(_waiting);
            }

            if (_waiting.Count == 0)
            {
                return null;
            }

            var job = choose(_waiting);
            _waiting.Remove(job);
            // Only of a kind itself can more come.
            _underWay += job.Run is null ? 1 : 0;
            return job;
        }
    }

    public void Add(T of, IEnumerable<Action<Stage>> work)
    {
        lock (_waiting)
        {
            _waiting.AddRange(work.Select(run => new Job(of, run)));
            Monitor.PulseAll(_waiting);
        }
    }

    public void Done(Job job)
    {
        lock (_waiting)
        {
            _underWay -= job.Run is null ? 1 : 0;
            Monitor.PulseAll(_waiting);
        }
    }
}
