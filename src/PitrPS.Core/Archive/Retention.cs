using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// WAL that is old enough leaves the archive once an hour, by a script on the primary that says at its head what it keeps and why that is safe.
/// </summary>
internal static class Retention
{
    private const int MostDays = 3650;

    public static string TimerOf(PgServer server) => NameOf(server) + ".timer";

    public static string ServiceOf(PgServer server) => NameOf(server) + ".service";

    /// <exception cref="PitrException"><c>PitrPS.InvalidRetention</c></exception>
    public static void Require(TimeSpan? retainFor, PgServer server)
    {
        if (retainFor is { } time && time != TimeSpan.Zero && (time < TimeSpan.FromHours(1) || time > TimeSpan.FromDays(MostDays) || time.Ticks % TimeSpan.TicksPerSecond != 0))
        {
            throw new PitrException("PitrPS.InvalidRetention", ErrorKind.InvalidArgument,
                $"WAL is to be kept for {time}; that has to be a whole number of seconds from one hour to {MostDays} days, or 00:00:00 for ever.",
                "Give a TimeSpan such as 14.00:00:00 for 14 days, or one of New-TimeSpan -Days 14.", server);
        }
    }

    /// <summary>What is set now; null for a server whose archive keeps everything.</summary>
    public static async Task<TimeSpan?> NowAsync(PgServer server, CancellationToken cancel) =>
        (await ServerState.ReadAsync(server.Host, server.Name, cancel).ConfigureAwait(false)).RetainSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null;

    /// <summary>The timer and its service.</summary>
    public static IReadOnlyDictionary<string, string> Files(PgServer server, string archive, TimeSpan retainFor)
    {
        var command = SystemdText.Command([ArchiveScripts.RetainPath, archive, retainFor.TotalSeconds.ToString("0", CultureInfo.InvariantCulture), StandbyRegister.FolderOf(server),
            ArchiveReader.Of(server).KeyFile, server.Program("psql"), "-h", server.SocketDirectory, "-p", server.Port.ToString(CultureInfo.InvariantCulture), "-d", "postgres"]);
        return new Dictionary<string, string>
        {
            [ServiceOf(server)] =
                $"""
                # Written by PitrPS (Enable-WalArchive).
                [Unit]
                Description=PitrPS: removes WAL from the archive of {SystemdText.Value(server.Name)} that is older than {retainFor} and that nobody needs

                [Service]
                Type=oneshot
                User={server.OsUser}
                Environment=PGCONNECT_TIMEOUT=10
                ExecStart={command}
                TimeoutStartSec=1800
                Nice=19
                IOSchedulingClass=idle

                """,
            [TimerOf(server)] =
                $"""
                # Written by PitrPS (Enable-WalArchive).
                [Unit]
                Description=PitrPS: retention of the archive of {SystemdText.Value(server.Name)}, every hour

                [Timer]
                OnActiveSec=900
                OnUnitActiveSec=3600
                AccuracySec=60

                [Install]
                WantedBy=timers.target

                """,
        };
    }

    public static IReadOnlyList<Step> Steps(PgServer server, string archive, TimeSpan retainFor) =>
    [
        ArchiveScripts.InstallRetention(server.Host),
        .. SelinuxSteps.Label(server.Host, "retention-selinux", HostPaths.Scripts, SelinuxSteps.ProgramType),
        Planning.Steps.Directory(server.Host, "retention-parent", "Make the folder of the retention", StandbyRegister.Root, 0x1ED /* 0755 */),
        Planning.Steps.Directory(server.Host, "retention-folder", "Make this server's folder in it", StandbyRegister.FolderOf(server), 0x1ED),
        Planning.Steps.Directory(server.Host, "retention-seen", "Make the folder for what is seen of the standbys", SeenOf(server), 0x1C0 /* 0700 */, server.OsUser, server.OsUser),
        UnitSteps.Running(server.Host, "retention", $"Remove WAL from the archive that is older than {retainFor} and that nobody needs, every hour (systemd timer)",
            TimerOf(server), Files(server, archive, retainFor)),
    ];

    public static IReadOnlyList<Step> GoneSteps(PgServer server) =>
    [
        UnitSteps.Gone(server.Host, "retention", "Remove nothing from the archive", TimerOf(server), [TimerOf(server), ServiceOf(server)]),
        Planning.Steps.Command(server.Host, "retention-gone", "Remove what was seen of the standbys, and the script if no other server here uses it",
            RemoteCommand.Shell($$"""[ ! -e "$1" ] || exit 1; {{InUse}} || [ ! -e "$2" ]""", SeenOf(server), ArchiveScripts.RetainPath, UnitSteps.Directory).AsRoot(),
            RemoteCommand.Shell(
                $$"""
                rm -rf --one-file-system -- "$1" && { {{InUse}} || rm -f -- "$2"; } || exit 1
                # What is left in them are standbys, which stay registered.
                rmdir -- "$4" "$5" 2>/dev/null || true
                """, SeenOf(server), ArchiveScripts.RetainPath, UnitSteps.Directory, StandbyRegister.FolderOf(server), StandbyRegister.Root).AsRoot()),
    ];

    private const string InUse = """ls "$3"/pitrps-retain-*.service >/dev/null 2>&1""";

    private static string SeenOf(PgServer server) => StandbyRegister.FolderOf(server) + "/seen";

    private static string NameOf(PgServer server) => "pitrps-retain-" + HostPaths.FileName(server.Name);
}
