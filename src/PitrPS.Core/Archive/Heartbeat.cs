using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// A COMMIT on the primary every so often, so that a delayed standby always waits at one. Without it, what a statement writes before its COMMIT
/// after a quiet time (its locks, and the removal of files by DROP DATABASE) is replayed at once, whatever the delay is.
/// </summary>
internal static class Heartbeat
{
    public static string TimerOf(PgServer server) => NameOf(server) + ".timer";

    public static string ServiceOf(PgServer server) => NameOf(server) + ".service";

    /// <summary>The timer and its service.</summary>
    public static IReadOnlyDictionary<string, string> Files(PgServer server, TimeSpan interval)
    {
        var seconds = ((long)interval.TotalSeconds).ToString(CultureInfo.InvariantCulture);
        // An xid is what makes a COMMIT record; the server may have become a standby meanwhile, and there it would be an error.
        const string query = "SELECT pg_catalog.pg_current_xact_id() WHERE NOT pg_catalog.pg_is_in_recovery()";
        var psql = SystemdText.Command([server.Program("psql"), "-X", "-w", "-q", "-A", "-t", "-h", server.SocketDirectory,
            "-p", server.Port.ToString(CultureInfo.InvariantCulture), "-d", "postgres", "-c", query]);
        return new Dictionary<string, string>
        {
            [ServiceOf(server)] =
                $"""
                # Written by PitrPS (Enable-WalArchive).
                [Unit]
                Description=PitrPS: one commit on {SystemdText.Value(server.Name)}, so that its delayed standbys always wait at one

                [Service]
                Type=oneshot
                User={server.OsUser}
                Environment=PGCONNECT_TIMEOUT=10
                ExecStart={psql}
                StandardOutput=null
                TimeoutStartSec=30
                # One line in the journal for each beat would bury everything else there; what psql complains about is kept.
                SyslogLevel=warning
                LogLevelMax=warning

                """,
            [TimerOf(server)] =
                $"""
                # Written by PitrPS (Enable-WalArchive).
                [Unit]
                Description=PitrPS: heartbeat of {SystemdText.Value(server.Name)}, every {seconds} s

                [Timer]
                OnActiveSec=1
                OnUnitActiveSec={seconds}
                AccuracySec=1

                [Install]
                WantedBy=timers.target

                """,
        };
    }

    public static Step RunningStep(PgServer server, TimeSpan interval) => UnitSteps.Running(server.Host, "heartbeat",
        $"Commit every {interval.TotalSeconds:0} s, so that delayed standbys always wait at a commit (systemd timer)", TimerOf(server), Files(server, interval));

    public static Step GoneStep(PgServer server) => UnitSteps.Gone(server.Host, "heartbeat", "Have no heartbeat", TimerOf(server), [TimerOf(server), ServiceOf(server)]);

    private static string NameOf(PgServer server) => "pitrps-heartbeat-" + HostPaths.FileName(server.Name);
}
