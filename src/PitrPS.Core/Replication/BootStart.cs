using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>Whether a server starts with its host. A unit's own links say so, and on Debian start.conf, from which a generator makes links at each boot (postgresql-common).</summary>
internal static class BootStart
{
    private const string IsOn = """case $(systemctl is-enabled "$1" 2>/dev/null) in enabled|enabled-runtime|static|indirect|generated|alias) ;; *) exit 1 ;; esac""";

    private const string IsOff = """case $(systemctl is-enabled "$1" 2>/dev/null) in enabled|enabled-runtime|generated) exit 1 ;; esac""";

    // The folder is the server's own user's, so that is who writes.
    private const string Change =
        """
        if [ -f "$2/start.conf" ]; then
          runuser -u "$3" -- sed -i "s/^[[:space:]]*$4\b/$5/" "$2/start.conf" && systemctl daemon-reload || exit 1
        fi
        """;

    public static Step On(PgServer server, string id) => Step(server, id, $"Start {server.Name} with the host", IsOn,
        Change + "\n(eval \"$6\") || exec systemctl enable \"$1\"", "manual", "auto", $"systemctl enable {server.ServiceUnit}, unless the distribution does it by itself");

    public static Step Off(PgServer server, string id) => Step(server, id, "Keep it from starting at boot", IsOff,
        Change + "\nexec systemctl disable \"$1\"", "auto", "manual", $"systemctl disable {server.ServiceUnit}");

    private static Step Step(PgServer server, string id, string title, string check, string script, string from, string to, string preview) => new(id, title, server.Host)
    {
        IsDone = async run => server.ServiceUnit is not { } unit || await run.TestAsync(RemoteCommand.Shell(check, unit).AsRoot()).ConfigureAwait(false),
        Do = run => run.RunAsync(RemoteCommand.Shell(script, server.ServiceUnit!, server.ConfigDirectory, server.OsUser, from, to, check).AsRoot()),
        Preview = [preview],
    };
}
