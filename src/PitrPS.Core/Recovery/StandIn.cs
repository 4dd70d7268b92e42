using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// A unit for a standby that none runs, while it is being recovered: the scratch server's unit conflicts with it, and systemd starts it again when the scratch server fails.
/// Whoever starts the standby by hand meanwhile, as it was started before, ends the scratch server, too: systemd watches for its postmaster.pid.
/// All of it lies in /run, and is gone when the recovery is completed.
/// </summary>
internal static class StandIn
{
    private const string Folder = "/run/systemd/system";

    private const string StartScript = """! "$0" status -D "$2" >/dev/null && exec "$0" restart "$@" """;

    public static string UnitOf(PgServer standby) => $"pitrps-standby-{HostPaths.FileName(standby.Name)}.service";

    public static bool IsFor(PgServer standby) => standby.ServiceUnit == UnitOf(standby);

    /// <summary>The unit that watches; wanted by the scratch server's.</summary>
    public static string GuardOf(PgServer standby) => $"pitrps-guard-{HostPaths.FileName(standby.Name)}.path";

    /// <summary>The standby with a unit, its own or a stand-in.</summary>
    public static PgServer WithUnit(PgServer standby) => standby.ServiceUnit is null ? standby with { ServiceUnit = UnitOf(standby) } : standby;

    /// <summary>The standby as it was started before.</summary>
    public static PgServer WithoutUnit(PgServer standby) => IsFor(standby) ? standby with { ServiceUnit = null } : standby;

    /// <summary>The units' files by path.</summary>
    public static IReadOnlyDictionary<string, string> Files(PgServer standby)
    {
        var scratch = ScratchServer.UnitOf(standby);
        var guard = GuardOf(standby);
        string[] log = standby.LogFile is { } file ? ["-l", file] : [];
        return new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            // 'restart' of a stopped server takes the options of its last start (postmaster.opts); one that somebody has started meanwhile is left alone.
            [$"{Folder}/{UnitOf(standby)}"] =
                $"""
                # Written by PitrPS (Invoke-PitrRecovery), until Complete-PitrRecovery.
                [Unit]
                Description=PitrPS: {SystemdText.Value(standby.Name)}, which is run without a unit, while it is being recovered

                [Service]
                Type=forking
                User={standby.OsUser}
                PIDFile={SystemdText.Value(standby.DataDirectory)}/postmaster.pid
                ExecStart={SystemdText.Command(["/bin/sh", "-c", StartScript, standby.Program("pg_ctl"), "-D", standby.DataDirectory, "-s", "-w", "-t", "86400", .. log])}
                ExecStop={SystemdText.Command([standby.Program("pg_ctl"), "stop", "-D", standby.DataDirectory, "-s", "-m", "fast", "-w", "-t", "86400"])}
                KillMode=mixed
                KillSignal=SIGINT
                TimeoutSec=infinity

                """,
            [$"{Folder}/{guard}"] =
                $"""
                # Written by PitrPS (Invoke-PitrRecovery), until Complete-PitrRecovery.
                [Unit]
                Description=PitrPS: whoever starts {SystemdText.Value(standby.Name)} ends its scratch server
                PartOf={scratch}

                [Path]
                PathExists={SystemdText.Value(standby.DataDirectory)}/postmaster.pid

                """,
            [$"{Folder}/{guard.Replace(".path", ".service", StringComparison.Ordinal)}"] =
                $"""
                # Written by PitrPS (Invoke-PitrRecovery), until Complete-PitrRecovery.
                [Service]
                Type=oneshot
                ExecStart=/bin/systemctl stop {scratch}

                """,
        };
    }

    public static Step WriteStep(PgServer standby)
    {
        var files = Files(standby);
        return new Step("stand-in", $"Have a unit stand in for {standby.Name}, which none runs, until the recovery is completed", standby.Host)
        {
            IsDone = async run =>
            {
                foreach (var (path, text) in files)
                {
                    if (await run.Host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false) != text)
                    {
                        return false;
                    }
                }

                return await run.TestAsync(RemoteCommand.Shell("""[ "$(systemctl show -p LoadState --value "$1")" = loaded ]""", UnitOf(standby)).AsRoot()).ConfigureAwait(false);
            },
            Do = async run =>
            {
                // Where its log goes is known only while it runs.
                await ServerState.UpdateAsync(run.Host, standby.Name, state => state with { LogFile = standby.LogFile ?? state.LogFile }, run.Cancel).ConfigureAwait(false);
                foreach (var (path, text) in files)
                {
                    await run.Host.Remote.WriteFileAsync(RemoteFile.Text(path, text, 0x1A4 /* 0644 */), run.Cancel).ConfigureAwait(false);
                }

                await run.RunAsync(RemoteCommand.Of("systemctl", "daemon-reload").AsRoot()).ConfigureAwait(false);
            },
            Undo = run => RemoveAsync(standby, run),
            Preview = [.. files.Select(f => $"write {f.Key}"), "systemctl daemon-reload"],
        };
    }

    public static Step RemoveStep(PgServer standby) => new("stand-in", $"Remove the unit that stood in for {standby.Name}", standby.Host)
    {
        IsDone = run => run.TestAsync(new RemoteCommand(["sh", "-c", """for f; do [ ! -e "$f" ] || exit 1; done""", "sh", .. Files(standby).Keys]).AsRoot()),
        Do = run => RemoveAsync(standby, run),
        Preview = [.. Files(standby).Keys.Select(f => $"rm {f}"), "systemctl daemon-reload"],
    };

    private static async Task RemoveAsync(PgServer standby, StepRun run)
    {
        await run.RunAsync(RemoteCommand.Shell("""systemctl stop "$1" "${1%.path}.service" 2>/dev/null; shift; rm -f -- "$@"; systemctl daemon-reload""",
            [GuardOf(standby), .. Files(standby).Keys]).AsRoot()).ConfigureAwait(false);
        await ServerState.UpdateAsync(run.Host, standby.Name, state => state with { LogFile = null }, run.Cancel).ConfigureAwait(false);
    }
}
