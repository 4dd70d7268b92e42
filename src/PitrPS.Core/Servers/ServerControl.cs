using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>What the postmaster says in postmaster.pid.</summary>
internal enum Readiness
{
    /// <summary>It takes connections.</summary>
    Accepting,

    /// <summary>It is there and takes none: it starts, stops, or replays up to a consistent state.</summary>
    Rejecting,

    /// <summary>There is none.</summary>
    Silent,
}

/// <summary>One look at a server from outside, without SQL.</summary>
/// <param name="Pid">The postmaster's process, null when there is none that works in this data directory.</param>
/// <param name="Started">postmaster.pid's start time, seconds since 1970; with the pid it tells one start from another.</param>
/// <param name="Readiness">Whether it takes connections.</param>
/// <param name="Unit">systemd's ActiveState/SubState/Result of the service unit; null when it has none.</param>
internal sealed record ServerProbe(int? Pid, long? Started, Readiness Readiness, string? Unit)
{
    public bool IsRunning => Pid is not null;

    public bool UnitHasFailed => Unit is { } unit && (unit.StartsWith("failed/", StringComparison.Ordinal) || unit.Contains("/auto-restart/", StringComparison.Ordinal));

    public static ServerProbe Parse(string output)
    {
        var values = output.Split('\n').Select(l => l.Split('=', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0], p => p[1]);
        return new ServerProbe(
            int.TryParse(values.GetValueOrDefault("pid"), NumberStyles.None, CultureInfo.InvariantCulture, out var pid) ? pid : null,
            long.TryParse(values.GetValueOrDefault("started"), NumberStyles.None, CultureInfo.InvariantCulture, out var started) ? started : null,
            values.GetValueOrDefault("status") switch { null => Readiness.Silent, "ready" => Readiness.Accepting, _ => Readiness.Rejecting },
            values.TryGetValue("ActiveState", out var active) ? $"{active}/{values.GetValueOrDefault("SubState")}/{values.GetValueOrDefault("Result")}" : null);
    }
}

/// <summary>Starts, stops, restarts and reloads a server, by its service unit where it has one and by pg_ctl otherwise, and finds out by asking when it is done.</summary>
internal static class ServerControl
{
    /// <summary>For a server that has little to replay; who knows of more gives more.</summary>
    public static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(10);

    private static readonly TimeSpan StopLimit = TimeSpan.FromMinutes(10);

    // A pid in postmaster.pid can be somebody else's after a power cut, so the process must also work in this data directory.
    // The file's eighth line is the postmaster's own word on whether it takes connections (pidfile.h), so nobody need try one, which its log would tell of.
    // The host itself waits up to $4 rounds for what is awaited, so that the news come at once.
    private const string ProbeScript =
        """
        data=$1; unit=$2; rounds=$4
        while :; do
          pid=; started=; status=
          if [ -f "$data/postmaster.pid" ]; then
            { read -r pid; read -r _; read -r started; read -r _; read -r _; read -r _; read -r _; read -r status; } < "$data/postmaster.pid"
            pid=${pid%%[!0-9]*}
            [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$data" ] || pid=
          fi
          case $3 in
            accepting) [ -z "$pid" ] || [ "$status" != ready ] || break ;;
            running) [ -z "$pid" ] || [ -z "$status" ] || break ;;
            gone) [ -n "$pid" ] || break ;;
          esac
          [ "$rounds" -gt 0 ] || break
          rounds=$((rounds - 1)); sleep 0.05
        done
        if [ -n "$unit" ]; then systemctl show "$unit" -p ActiveState -p SubState -p Result; fi
        if [ -n "$pid" ]; then
          echo "pid=$pid"; echo "started=$started"; echo "status=$status"
        fi
        """;

    // One question to the host lasts up to this many twentieths of a second.
    private const int Patience = 16;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(30);

    public static Task<ServerProbe> ProbeAsync(PgServer server, CancellationToken cancel) => ProbeAsync(server, "", 0, cancel);

    private static async Task<ServerProbe> ProbeAsync(PgServer server, string awaited, int rounds, CancellationToken cancel) =>
        ServerProbe.Parse((await server.Host.RunCheckedAsync(RemoteCommand.Shell(ProbeScript, server.DataDirectory, server.ServiceUnit ?? "", awaited, rounds.ToString(CultureInfo.InvariantCulture)).AsRoot(), cancel).ConfigureAwait(false)).Text);

    public static async Task<bool> IsRunningAsync(PgServer server, CancellationToken cancel) =>
        (await ProbeAsync(server, cancel).ConfigureAwait(false)).IsRunning;

    /// <summary>Starts it if it does not run, and waits until it takes connections, or, where that is enough, until it is there.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ServerStartFailed</c> with the end of its log.</exception>
    public static async Task StartAsync(PgServer server, IFeedback feedback, CancellationToken cancel, TimeSpan? limit = null, Readiness until = Readiness.Accepting)
    {
        if (!await IsRunningAsync(server, cancel).ConfigureAwait(false))
        {
            await LaunchAsync(server, cancel).ConfigureAwait(false);
        }

        await WaitUntilReadyAsync(server, feedback, cancel, limit, until).ConfigureAwait(false);
    }

    /// <summary>A fast shutdown: sessions are ended, a (restart)point is written. Waits until the postmaster is gone.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ServerStopFailed</c></exception>
    public static async Task StopAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        var probe = await ProbeAsync(server, cancel).ConfigureAwait(false);
        if (!probe.IsRunning)
        {
            return;
        }

        // Somebody may have started it by hand: then the unit is inactive, and stopping the unit stops nothing.
        if (server.ServiceUnit is { } unit && probe.Unit?.StartsWith("inactive", StringComparison.Ordinal) == false && !probe.UnitHasFailed)
        {
            await server.Host.RunCheckedAsync(RemoteCommand.Of("systemctl", "stop", "--no-block", unit).AsRoot(), cancel).ConfigureAwait(false);
        }
        else
        {
            await server.Host.RunCheckedAsync(PgCtl(server, "stop", "-m", "fast", "-W"), cancel).ConfigureAwait(false);
        }

        await PollAsync(server, feedback, cancel, StopLimit, "stopping", "gone",
            // systemd has noted it, too: whoever looks at the unit next finds it stopped.
            p => !p.IsRunning && p.Unit?.StartsWith("deactivating", StringComparison.Ordinal) != true,
            () => new PitrException("PitrPS.ServerStopFailed", ErrorKind.OperationTimeout, $"{server.Id} has not stopped within {StopLimit.TotalMinutes:0} minutes.",
                "Look at its log: a checkpoint that takes long, or a WAL sender that waits. Then run the same command again.", server)).ConfigureAwait(false);
    }

    /// <summary>Stops and starts it; all its sessions are ended.</summary>
    public static async Task RestartAsync(PgServer server, IFeedback feedback, CancellationToken cancel, TimeSpan? limit = null, Readiness until = Readiness.Accepting)
    {
        await StopAsync(server, feedback, cancel).ConfigureAwait(false);
        await StartAsync(server, feedback, cancel, limit, until).ConfigureAwait(false);
    }

    /// <summary>Tells the postmaster to read its files again; what it made of them is to be asked for afterwards. Works where no SQL does.</summary>
    public static Task ReloadAsync(PgServer server, CancellationToken cancel) => server.Host.RunCheckedAsync(PgCtl(server, "reload"), cancel);

    /// <summary>Waits until it takes connections (or is there), for as long as it lives.</summary>
    public static Task WaitUntilReadyAsync(PgServer server, IFeedback feedback, CancellationToken cancel, TimeSpan? limit = null, Readiness until = Readiness.Accepting)
    {
        var begun = DateTimeOffset.UtcNow;
        var seen = false;
        return PollAsync(server, feedback, cancel, limit ?? StartLimit, "starting", until == Readiness.Accepting ? "accepting" : "running", probe =>
        {
            if (probe.Readiness == Readiness.Accepting || (until == Readiness.Rejecting && probe.Readiness == Readiness.Rejecting))
            {
                return true;
            }

            // Between systemctl and the first sign of the postmaster some time may pass; one that was seen and is gone has failed.
            var dead = !probe.IsRunning && (seen || probe.UnitHasFailed || (DateTimeOffset.UtcNow - begun > TimeSpan.FromSeconds(probe.Unit is null ? 5 : 30) && probe.Unit?.StartsWith("activating", StringComparison.Ordinal) != true));
            seen |= probe.IsRunning;
            return dead ? throw new Died() : false;
        }, () => new PitrException("PitrPS.ServerStartFailed", ErrorKind.OperationTimeout, $"{server.Id} takes no connections after {limit ?? StartLimit:g}.",
            "Look at its log: it may still be replaying WAL. Run the same command again: it goes on where it stopped.", server));
    }

    public static Step StartStep(PgServer server, string id, TimeSpan? limit = null, Readiness until = Readiness.Accepting) => new(id, $"Start {server.Name} and wait until it answers", server.Host)
    {
        IsDone = async run => (await ProbeAsync(server, run.Cancel).ConfigureAwait(false)) is { IsRunning: true } probe
            && (probe.Readiness == Readiness.Accepting || (until == Readiness.Rejecting && probe.Readiness == Readiness.Rejecting)),
        Do = run => StartAsync(server, run.Feedback, run.Cancel, limit, until),
        Preview = [Display(server, "start")],
    };

    public static Step StopStep(PgServer server, string id) => new(id, $"Stop {server.Name} (fast: its sessions are ended)", server.Host)
    {
        IsDone = async run => !await IsRunningAsync(server, run.Cancel).ConfigureAwait(false),
        Do = run => StopAsync(server, run.Feedback, run.Cancel),
        Preview = [Display(server, "stop")],
    };

    /// <summary>A restart that is due only while <paramref name="isDone"/> says so.</summary>
    public static Step RestartStep(PgServer server, string id, string title, Func<StepRun, Task<bool>> isDone, TimeSpan? limit = null, Readiness until = Readiness.Accepting) => new(id, title, server.Host)
    {
        IsDone = isDone,
        Do = run => RestartAsync(server, run.Feedback, run.Cancel, limit, until),
        Preview = [Display(server, "restart")],
    };

    /// <summary>The command as a plan shows it.</summary>
    public static string Display(PgServer server, string verb) =>
        server.ServiceUnit is { } unit && verb != "reload" ? $"systemctl {verb} {unit}" : $"[{server.OsUser}] pg_ctl {verb} -D {server.DataDirectory}";

    /// <summary>The end of the server's log, for messages; empty where none is found.</summary>
    public static async Task<string> LogTailAsync(PgServer server, CancellationToken cancel) =>
        (await server.Host.Remote.RunAsync(RemoteCommand.Shell(
            """
            log=$(ls -1t "/var/log/postgresql/postgresql-$1.log" "$2"/log/*.log "$2"/log/*.csv "$2/pitrps-start.log" 2>/dev/null | head -n 1)
            if [ -n "$log" ]; then tail -n 12 "$log"; elif [ -n "$3" ]; then journalctl -u "$3" -n 12 --no-pager -o cat; fi
            """, server.Name.Replace('/', '-'), server.DataDirectory, server.ServiceUnit ?? "").AsRoot(), cancel).ConfigureAwait(false)).Text;

    // 'pg_ctl restart' starts a stopped server too, and unlike 'start' with the options that it was last started with (postmaster.opts).
    private static Task LaunchAsync(PgServer server, CancellationToken cancel) =>
        server.ServiceUnit is { } unit
            ? server.Host.RunCheckedAsync(RemoteCommand.Shell("""systemctl reset-failed "$1" 2>/dev/null; exec systemctl start --no-block "$1" """, unit).AsRoot(), cancel)
            : server.Host.RunCheckedAsync(RemoteCommand.Shell(
                """
                program=$1; data=$2; log=$3; shift 3
                if [ -f "$data/postmaster.opts" ]; then set -- restart; else set -- start "$@"; fi
                exec "$program" "$@" -D "$data" -W -s -l "$log" >/dev/null 2>&1 </dev/null
                """, [server.Program("pg_ctl"), server.DataDirectory, server.LogFile ?? server.DataDirectory + "/pitrps-start.log", .. ConfigOptions(server)]).As(server.OsUser), cancel);

    private static string[] ConfigOptions(PgServer server) =>
        server.ConfigDirectory == server.DataDirectory ? [] : ["-o", "-c config_file=" + ShellQuoting.Quote(server.ConfigDirectory + "/postgresql.conf")];

    private static RemoteCommand PgCtl(PgServer server, string verb, params string[] more) =>
        new RemoteCommand([server.Program("pg_ctl"), verb, "-D", server.DataDirectory, .. more]).As(server.OsUser);

    private static async Task PollAsync(PgServer server, IFeedback feedback, CancellationToken cancel, TimeSpan limit, string status, string awaited, Func<ServerProbe, bool> done, Func<PitrException> tooLate)
    {
        var begun = DateTimeOffset.UtcNow;
        while (true)
        {
            var probe = await ProbeAsync(server, awaited, Patience, cancel).ConfigureAwait(false);
            try
            {
                if (done(probe))
                {
                    return;
                }
            }
            catch (Died)
            {
                var log = await LogTailAsync(server, cancel).ConfigureAwait(false);
                throw new PitrException("PitrPS.ServerStartFailed", ErrorKind.ResourceUnavailable,
                    $"{server.Id} did not start{(log.Length > 0 ? ". Its log ends with:\n" + log : ", and its log is not where it is expected.")}",
                    "Mend what the log says and run the same command again: it goes on where it stopped.", server);
            }

            var taken = DateTimeOffset.UtcNow - begun;
            if (taken > limit)
            {
                throw tooLate();
            }

            if (taken > TimeSpan.FromSeconds(2))
            {
                feedback.Progress(new ProgressNote($"{server.Id}: {status}", probe.Readiness == Readiness.Rejecting ? "it replays WAL and takes no connections yet" : "waiting for its answer"));
            }

            await Task.Delay(Pause, cancel).ConfigureAwait(false);
        }
    }

    private sealed class Died : Exception;
}
