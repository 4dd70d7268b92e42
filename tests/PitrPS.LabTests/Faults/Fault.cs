using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Faults;

/// <summary>Something that goes wrong in the middle of a step, and what is done about it before the command is run again.</summary>
/// <param name="Name">As the table has it.</param>
internal abstract record Fault(string Name)
{
    public static IReadOnlyList<Fault> All { get; } = [new ClientKilled(), new ConnectionCut(), new CommandKilled(), new PowerCut(), new NetworkPaused()];

    /// <summary>It happens now, on the step's host.</summary>
    /// <param name="lab">The lab.</param>
    /// <param name="host">The step's host.</param>
    /// <param name="unitsBefore">Transient units that were there before the command was run.</param>
    public abstract Blow Strike(Lab lab, string host, IReadOnlySet<string> unitsBefore);

    /// <summary>The client runs in a process of its own, which is what the fault hits.</summary>
    public sealed record ClientKilled() : Fault("client killed")
    {
        public override Blow Strike(Lab lab, string host, IReadOnlySet<string> unitsBefore) => new("the client");
    }

    /// <summary>The host's end of the connection goes away; what was started through it does not notice at once.</summary>
    public sealed record ConnectionCut() : Fault("connection cut")
    {
        public override Blow Strike(Lab lab, string host, IReadOnlySet<string> unitsBefore)
        {
            var daemons = new LabView(lab, host).Processes().Where(p => p.Program.StartsWith("sshd", StringComparison.Ordinal) && InSession(p)).ToList();
            daemons.ForEach(p => LabView.Kill(p.Id));
            return new Blow(string.Join(", ", daemons.Select(p => p.Arguments)));
        }
    }

    /// <summary>What the step runs on the host just now, through the connection or as a unit of its own, is ended by SIGKILL, as the kernel does when memory runs out.</summary>
    public sealed record CommandKilled() : Fault("command killed")
    {
        private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

        public override Blow Strike(Lab lab, string host, IReadOnlySet<string> unitsBefore)
        {
            var view = new LabView(lab, host);
            var giveUp = DateTimeOffset.UtcNow + Patience;
            while (true)
            {
                var processes = view.Processes();
                var units = view.TransientUnits().Except(unitsBefore).ToList();
                var sought = processes.Where(p => units.Any(u => p.Group.EndsWith("/" + u, StringComparison.Ordinal)) || IsCommand(p, processes)).ToList();
                if (sought.Count == 0 && DateTimeOffset.UtcNow > giveUp)
                {
                    // Between two commands it is the shell that waits for the next one.
                    sought = [.. processes.Where(p => InSession(p) && IsShell(p))];
                    Assert.True(sought.Count > 0, "Nothing of the client runs on the host.");
                    sought.ForEach(p => LabView.Kill(p.Id));
                    return new Blow("the shell that waits for a command");
                }

                if (sought.Count > 0)
                {
                    sought.ForEach(p => LabView.Kill(p.Id));
                    return new Blow(string.Join(", ", sought.Select(p => p.Arguments.Length > 100 ? p.Arguments[..100] : p.Arguments)));
                }
            }
        }

        private static bool IsShell(HostProcess p) => p.Arguments.Contains("read -r mark size input", StringComparison.Ordinal);

        // Not the shell that waits for commands, nor what holds the lock, nor what leads to either: the processes below the shell, and those of other channels.
        private static bool IsCommand(HostProcess p, IReadOnlyList<HostProcess> all)
        {
            if (!InSession(p) || p.Program.StartsWith("sshd", StringComparison.Ordinal))
            {
                return false;
            }

            var line = Ancestors(p, all).ToList();
            return !line.Any(IsLock) && !all.Any(o => IsLock(o) && Ancestors(o, all).Contains(p))
                && !IsShell(p) && !all.Any(o => IsShell(o) && Ancestors(o, all).Contains(p))
                // What the shell reads commands with and passes their output on with.
                && !(p.Program is "head" or "cat" && line.Count > 1 && IsShell(line[1]));
        }

        private static bool IsLock(HostProcess p) => p.Arguments.Contains("flock -n 9", StringComparison.Ordinal);

        private static IEnumerable<HostProcess> Ancestors(HostProcess p, IReadOnlyList<HostProcess> all)
        {
            for (var at = p; at is not null; at = all.FirstOrDefault(o => o.Id == at.Parent))
            {
                yield return at;
            }
        }
    }

    /// <summary>And booted again, as far as systemd gets.</summary>
    public sealed record PowerCut() : Fault("power cut")
    {
        public override Blow Strike(Lab lab, string host, IReadOnlySet<string> unitsBefore)
        {
            new LabView(lab, host).CutPower();
            return new Blow(host)
            {
                Mend = () =>
                {
                    lab.Kill(host);
                    lab.Start(host);
                    lab.Shell(host, "systemctl is-system-running --wait > /dev/null || true");
                },
            };
        }
    }

    public sealed record NetworkPaused() : Fault("network paused")
    {
        private static readonly TimeSpan Pause = TimeSpan.FromSeconds(30);

        public override Blow Strike(Lab lab, string host, IReadOnlySet<string> unitsBefore)
        {
            var view = new LabView(lab, host);
            view.SetCable(isIn: false);
            var over = Task.Delay(Pause).ContinueWith(_ => view.SetCable(isIn: true), TaskScheduler.Default);
            return new Blow(host) { Mend = over.GetAwaiter().GetResult };
        }
    }

    public static bool InSession(HostProcess p) => p.Group.Contains("/session-", StringComparison.Ordinal);
}

/// <summary>A fault that has happened.</summary>
/// <param name="Hit">What was hit, for whoever reads of a case that failed.</param>
internal sealed record Blow(string Hit)
{
    /// <summary>After the command has ended: what the world does before somebody tries again.</summary>
    public Action Mend { get; init; } = () => { };
}
