using System.Globalization;
using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>What systemd says of a transient unit.</summary>
/// <param name="ActiveState">active, activating, deactivating, inactive or failed.</param>
/// <param name="SubState">running, exited, dead and so on.</param>
/// <param name="Result">success, exit-code, signal and so on.</param>
/// <param name="ExitStatus">Of the main process, once it has ended.</param>
internal sealed record UnitState(string ActiveState, string SubState, string Result, int ExitStatus)
{
    /// <summary>The unit is not known: never started, collected, or lost in a reboot.</summary>
    public bool IsAbsent => ActiveState == "inactive" && SubState == "dead";

    public bool IsRunning => ActiveState is "activating" or "reloading" or "deactivating" || (ActiveState == "active" && SubState != "exited");

    public bool HasSucceeded => ActiveState == "active" && SubState == "exited" && Result == "success";

    public bool HasFailed => !IsAbsent && !IsRunning && !HasSucceeded;
}

/// <summary>
/// A long piece of work on a host, as a transient systemd unit: it goes on when the client or the link is lost, the next run attaches to it,
/// and Ctrl+C stops it. What it printed is in a root-only file beside the journal.
/// </summary>
internal sealed class RemoteUnit(PgHost host, string name)
{
    public string Name { get; } = name;

    public string OutputFile => $"{HostPaths.Units}/{Name}.out";

    private const int Patience = 8;

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(30);

    // The output file is opened as root before the user is changed, so that it can lie where only root may look.
    private const string Wrapper = """exec >>"$1" 2>&1 </dev/null; shift; exec "$@" """;

    /// <summary>
    /// Starts the work. Properties are systemd's, for example Conflicts=postgresql@15-main.service. No argument of the work has a line break in it:
    /// when anybody lets systemd read its units again meanwhile, it would not understand that one any more and forget it (seen with 247).
    /// </summary>
    public Task StartAsync(RemoteCommand work, IReadOnlyList<string> properties, CancellationToken cancel)
    {
        if (work.Arguments.Any(a => a.Contains('\n', StringComparison.Ordinal)))
        {
            throw new ArgumentException($"The work of {Name} has a line break in an argument.", nameof(work));
        }

        string[] asUser = work.User is null or "root" ? [] : ["runuser", "-u", work.User, "--"];
        return host.RunCheckedAsync(RemoteCommand.Shell(
            """
            umask 077; mkdir -p "$1" && : > "$1/$2.out" || exit 70
            systemctl reset-failed "$2.service" 2>/dev/null
            name=$2; shift 2
            exec systemd-run --quiet --unit="$name" --remain-after-exit "$@"
            """,
            [HostPaths.Units, Name, .. properties.Select(p => "--property=" + p), .. work.Environment.Select(e => $"--setenv={e.Key}={e.Value}"), "--",
             "/bin/sh", "-c", Wrapper, "sh", OutputFile, .. asUser, .. work.Arguments]).AsRoot(), cancel);
    }

    /// <summary>
    /// Waits until the unit has ended, telling <paramref name="look"/> about once a second. A cancel stops the unit on the host;
    /// a client that is killed does not, and the next run finds it by its name.
    /// </summary>
    public async Task<UnitState> WaitAsync(Func<UnitState, Task> look, CancellationToken cancel)
    {
        try
        {
            while (true)
            {
                var state = await AskAsync(Patience, cancel).ConfigureAwait(false);
                await look(state).ConfigureAwait(false);
                if (!state.IsRunning)
                {
                    return state;
                }

                // systemd hears of the end of a process a moment after that.
                await Task.Delay(Pause, cancel).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(1.5));
            await host.Remote.RunAsync(RemoteCommand.Of("systemctl", "stop", "--no-block", Name + ".service").AsRoot(), limit.Token).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Stops the unit if it runs and forgets it and its output.</summary>
    public Task ForgetAsync(CancellationToken cancel) => host.RunCheckedAsync(RemoteCommand.Shell(
        """
        systemctl stop "$2.service" 2>/dev/null
        systemctl reset-failed "$2.service" 2>/dev/null
        rm -f -- "$1/$2.out"
        """, HostPaths.Units, Name).AsRoot(), cancel);

    /// <summary>True when nothing is left of it.</summary>
    public Task<bool> IsForgottenAsync(CancellationToken cancel) => host.TestAsync(
        RemoteCommand.Shell("""[ ! -e "$2" ] && [ "$(systemctl show -p LoadState "$1")" = LoadState=not-found ]""", Name + ".service", OutputFile).AsRoot(), cancel);

    public Task<UnitState> StateAsync(CancellationToken cancel) => AskAsync(0, cancel);

    // The host itself waits for the end of the main process, up to that many tenths of a second: the news come at once, and no question costs it anything meanwhile.
    private async Task<UnitState> AskAsync(int patience, CancellationToken cancel)
    {
        var shown = await host.RunCheckedAsync(RemoteCommand.Shell(
            """
            show() { systemctl show "$1" -p ActiveState -p SubState -p Result -p ExecMainStatus -p MainPID; }
            state=$(show "$1")
            pid=${state##*MainPID=}
            pid=${pid%%[!0-9]*}
            if [ "$2" != 0 ] && [ "${pid:-0}" != 0 ]; then
              timeout "$2" tail -s 0.03 --pid="$pid" -f /dev/null
              state=$(show "$1")
            fi
            printf '%s\n' "$state"
            """, Name + ".service", (patience / 10m).ToString(CultureInfo.InvariantCulture)).AsRoot(), cancel).ConfigureAwait(false);
        var values = shown.Lines.Select(l => l.Split('=', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0], p => p[1]);
        return new UnitState(values["ActiveState"], values["SubState"], values["Result"], int.TryParse(values.GetValueOrDefault("ExecMainStatus"), out var code) ? code : 0);
    }

    public Task<string?> OutputAsync(CancellationToken cancel) => host.ReadTextAsync(OutputFile, cancel);
}
