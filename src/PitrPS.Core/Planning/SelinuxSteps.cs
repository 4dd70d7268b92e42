using System.Globalization;
using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>
/// What the server's SELinux domain needs, on hosts that have SELinux; no step elsewhere. The rule is written down where semanage is there,
/// so that a relabelling of the host keeps it; without semanage only the files are labelled.
/// Source: postgresql_selinux(8), semanage-fcontext(8).
/// </summary>
internal static class SelinuxSteps
{
    /// <summary>What the server may write: its databases.</summary>
    public const string DatabaseType = "postgresql_db_t";

    /// <summary>Programs that it may run.</summary>
    public const string ProgramType = "bin_t";

    /// <summary>Ports that it may listen on.</summary>
    public const string DatabasePortType = "postgresql_port_t";

    /// <summary>The directory and all in it have this type.</summary>
    public static IReadOnlyList<Step> Label(PgHost host, string id, string path, string type) => !host.Facts.HasSelinux ? [] :
    [
        Steps.Command(host, id, $"Give {path} the SELinux type {type}",
            RemoteCommand.Shell(
                """
                [ "$(stat -c %C -- "$1" | cut -d: -f3)" = "$2" ] || exit 1
                ! command -v semanage >/dev/null || ! command -v matchpathcon >/dev/null || [ "$(matchpathcon -n "$1" | cut -d: -f3)" = "$2" ]
                """, path, type).AsRoot(),
            RemoteCommand.Shell(
                """
                if command -v semanage >/dev/null; then
                  { semanage fcontext -a -t "$2" "$3" 2>/dev/null || semanage fcontext -m -t "$2" "$3"; } && exec restorecon -R -- "$1"
                fi
                exec chcon -R -t "$2" -- "$1"
                """, path, type, Pattern(path)).AsRoot().WithTimeout(TimeSpan.FromMinutes(10))) with
        {
            Preview = [$"semanage fcontext -a -t {type} '{Pattern(path)}'", $"restorecon -R {path}"],
        },
    ];

    /// <summary>The server may listen on this port.</summary>
    public static IReadOnlyList<Step> Port(PgHost host, string id, int port, string type)
    {
        var number = port.ToString(CultureInfo.InvariantCulture);
        return !host.Facts.HasSelinux ? [] :
        [
            Steps.Command(host, id, $"Let SELinux give port {number} to the server ({type})",
                // Without semanage there is no way to say it; where SELinux then forbids it, the server's log does.
                RemoteCommand.Shell(
                    """! command -v semanage >/dev/null || semanage port -l | awk -v type="$1" -v port="$2" '$1 == type && $2 == "tcp" { for (i = 3; i <= NF; i++) if ($i == port || $i == port ",") found = 1 } END { exit !found }'""",
                    type, number).AsRoot(),
                RemoteCommand.Shell("""semanage port -a -t "$1" -p tcp "$2" 2>/dev/null || exec semanage port -m -t "$1" -p tcp "$2" """, type, number).AsRoot()) with
            {
                Preview = [$"semanage port -a -t {type} -p tcp {number}"],
            },
        ];
    }

    // semanage takes a regular expression.
    private static string Pattern(string path) =>
        string.Concat(path.Select(c => ".^$*+?()[]{}|\\".Contains(c, StringComparison.Ordinal) ? "\\" + c : c.ToString())) + "(/.*)?";
}
