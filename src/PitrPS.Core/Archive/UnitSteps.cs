using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Archive;

/// <summary>Systemd units whose files are ours.</summary>
internal static class UnitSteps
{
    public const string Directory = "/etc/systemd/system";

    // Set before a file changes and removed after the unit runs by it: without this a client that is killed in between leaves
    // an active unit that still runs by its old file. It is in /run, because a reboot starts the unit by the new one anyway.
    private const string Pending = HostPaths.Run + "/pending-units";

    private const string CheckScript =
        """
        [ ! -e "$2/$1" ] || exit 1
        systemctl is-active --quiet "$1" && systemctl is-enabled --quiet "$1" && [ "$(systemctl show -p NeedDaemonReload "$1")" = NeedDaemonReload=no ]
        """;

    private const string RestartScript =
        """
        systemctl daemon-reload && systemctl enable --quiet "$1" && systemctl restart "$1" || exit 1
        rm -f -- "$2/$1"
        """;

    private const string RemoveScript =
        """
        unit=$1; shift
        systemctl disable --quiet --now "$unit" 2>/dev/null || systemctl stop "$unit" 2>/dev/null
        rm -f -- "$@" || exit 1
        systemctl daemon-reload
        systemctl reset-failed "$unit" 2>/dev/null
        ! systemctl is-active --quiet "$unit"
        """;

    /// <summary>
    /// The files are exactly these, and the unit is enabled and runs by them. Their content may depend on what earlier steps made, so it is asked for when the step runs;
    /// until then it gives null.
    /// </summary>
    /// <param name="host">Where.</param>
    /// <param name="id">The step's id.</param>
    /// <param name="title">Its title.</param>
    /// <param name="unit">The unit to be enabled and started.</param>
    /// <param name="files">Its files, by name.</param>
    /// <param name="preview">The files as -WhatIf shows them.</param>
    /// <param name="works">A further check, for a unit that is active without doing what it should.</param>
    public static Step Running(PgHost host, string id, string title, string unit,
        Func<StepRun, Task<IReadOnlyDictionary<string, string>?>> files, IReadOnlyDictionary<string, string> preview, Func<StepRun, Task<bool>>? works = null) => new(id, title, host)
    {
        IsDone = async run =>
        {
            if (await files(run).ConfigureAwait(false) is not { } wanted)
            {
                return false;
            }

            foreach (var (name, content) in wanted)
            {
                if (!await run.TestAsync(Steps.FileIsExactly(FileOf(name, content))).ConfigureAwait(false))
                {
                    return false;
                }
            }

            return await run.TestAsync(RemoteCommand.Shell(CheckScript, unit, Pending).AsRoot()).ConfigureAwait(false)
                && (works is null || await works(run).ConfigureAwait(false));
        },
        Do = async run =>
        {
            await run.RunAsync(RemoteCommand.Shell("""umask 077; mkdir -p "$2" && : > "$2/$1" """, unit, Pending).AsRoot()).ConfigureAwait(false);
            foreach (var (name, content) in await files(run).ConfigureAwait(false) ?? throw new InvalidOperationException($"{unit} depends on a step that was not done."))
            {
                await host.Remote.WriteFileAsync(FileOf(name, content), run.Cancel).ConfigureAwait(false);
            }

            await run.RunAsync(RemoteCommand.Shell(RestartScript, unit, Pending).AsRoot().WithTimeout(TimeSpan.FromMinutes(2))).ConfigureAwait(false);
        },
        Preview = [.. preview.SelectMany(f => (string[])[$"write {Directory}/{f.Key}:", .. f.Value.TrimEnd('\n').Split('\n').Select(l => "| " + l)]), "systemctl daemon-reload", $"systemctl enable {unit}", $"systemctl restart {unit}"],
    };

    /// <summary>As the other, for files that are known beforehand.</summary>
    public static Step Running(PgHost host, string id, string title, string unit, IReadOnlyDictionary<string, string> files, Func<StepRun, Task<bool>>? works = null) =>
        Running(host, id, title, unit, _ => Task.FromResult<IReadOnlyDictionary<string, string>?>(files), files, works);

    /// <summary>The unit is stopped, and it and its files are gone. <paramref name="unless"/> says that somebody else still needs it.</summary>
    public static Step Gone(PgHost host, string id, string title, string unit, IReadOnlyList<string> files, Func<StepRun, Task<bool>>? unless = null)
    {
        string[] paths = [.. files.Select(f => $"{Directory}/{f}")];
        return new Step(id, title, host)
        {
            IsDone = async run => (unless is not null && await unless(run).ConfigureAwait(false))
                || await run.TestAsync(RemoteCommand.Shell("""! systemctl is-active --quiet "$1" || exit 1; shift; for f; do [ ! -e "$f" ] || exit 1; done""", [unit, .. paths]).AsRoot()).ConfigureAwait(false),
            Do = run => run.RunAsync(RemoteCommand.Shell(RemoveScript, [unit, .. paths]).AsRoot().WithTimeout(TimeSpan.FromMinutes(2))),
            Preview = [$"systemctl disable --now {unit}", .. paths.Select(p => $"remove {p}"), "systemctl daemon-reload"],
        };
    }

    private static RemoteFile FileOf(string name, string content) => RemoteFile.Text($"{Directory}/{name}", content, 0x1A4 /* 0644 */);
}
