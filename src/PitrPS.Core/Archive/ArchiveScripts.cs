using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>The scripts that PostgreSQL and systemd call (Scripts/*.sh) and the settings that call them.</summary>
internal static class ArchiveScripts
{
    public const string ArchivePath = HostPaths.Scripts + "/pitrps-archive";
    public const string RestorePath = HostPaths.Scripts + "/pitrps-restore";
    public const string PrefetchPath = HostPaths.Scripts + "/pitrps-prefetch";
    public const string RetainPath = HostPaths.Scripts + "/pitrps-retain";
    public const string WatchPath = HostPaths.Scripts + "/pitrps-mount-watch";

    /// <summary>The scripts, readable and executable for everybody, changed by root only; the watchdog's only where an archive is mounted.</summary>
    public static IReadOnlyList<Step> InstallSteps(PgHost host, bool mounts = false) =>
    [
        Steps.Directory(host, "scripts", "Make the folder of PitrPS's scripts", HostPaths.Scripts, 0x1ED /* 0755 */),
        Install(host, ArchivePath, "archive_command"),
        Install(host, RestorePath, "restore_command"),
        Install(host, PrefetchPath, "helper of restore_command that reads ahead"),
        .. mounts ? (Step[])[Install(host, WatchPath, "watchdog of the mount")] : [],
        .. SelinuxSteps.Label(host, "scripts-selinux", HostPaths.Scripts, SelinuxSteps.ProgramType),
    ];

    /// <summary>The script of the retention, beside the others.</summary>
    public static Step InstallRetention(PgHost host) => Install(host, RetainPath, "retention of the archive");

    /// <summary>archive_command for an archive on the server's own host.</summary>
    public static string ArchiveCommand(string directory, WalCompression compression = WalCompression.None) =>
        $"""{ArchivePath} {InCommand(directory)} "%p" "%f" {ArchiveCompression.Program(compression)}""".TrimEnd();

    /// <summary>Whether a server's archive_command is one of ours.</summary>
    public static bool IsOurs(string archiveCommand) => archiveCommand.StartsWith(ArchivePath + " ", StringComparison.Ordinal);

    /// <summary>restore_command for the standby, and for a recovery of its files: the script looks itself which of them the server is.</summary>
    /// <exception cref="PitrException"><c>PitrPS.InvalidPath</c></exception>
    public static string RestoreCommand(PgServer server, string mountPoint)
    {
        RequirePath(mountPoint, "The mount point", server);
        return $"""{RestorePath} {InCommand(mountPoint)} "%f" "%p" """.TrimEnd();
    }

    /// <summary>restore_command for a standby whose primary archives to a stanza of pgBackRest.</summary>
    public static string RestoreCommand(PgBackRest repository) => $"""{RestorePath} {repository.Source} "%f" "%p" """.TrimEnd();

    /// <summary>restore_command for where this standby gets its primary's archive; null where it gets it nowhere.</summary>
    public static string? RestoreCommandOf(PgServer standby) =>
        standby.ArchiveMountPoint is { } mountPoint ? RestoreCommand(standby, mountPoint)
        : standby.RestoreRepository is { } repository ? RestoreCommand(new PgBackRest(standby, repository.Stanza)) : null;

    /// <summary>The script's text as it is installed.</summary>
    public static string Text(string path)
    {
        using var resource = typeof(ArchiveScripts).Assembly.GetManifestResourceStream(path[(path.LastIndexOf('/') + 1)..] + ".sh")
            ?? throw new InvalidOperationException($"{path} is not among the embedded scripts.");
        using var reader = new StreamReader(resource);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }

    /// <summary>The script's line that has its name and version: what runs it and names this line is started anew with another version.</summary>
    public static string VersionLine(string path) => Text(path).Split('\n')[1];

    /// <summary>Refuses a path that cannot be one, before anything has changed.</summary>
    public static void RequirePath(string path, string what, object target)
    {
        var parts = path.Split('/');
        if (!path.StartsWith('/') || path.Length < 2 || path.Any(char.IsControl) || parts.Skip(1).Any(p => p is "" or "." or ".."))
        {
            throw new PitrException("PitrPS.InvalidPath", ErrorKind.InvalidArgument, $"{what} '{path}' is not a plain absolute path of a directory below /.",
                "Give it as the host has it, for example /var/mnt/archive_wal_dir.", target);
        }
    }

    private static Step Install(PgHost host, string path, string purpose) => Steps.File(host, "script-" + path[(path.LastIndexOf('/') + 1)..],
        $"Install {path}, the {purpose}", RemoteFile.Text(path, Text(path), 0x1ED /* 0755 */)) with { Preview = [$"write {path} (755, root:root), {VersionLine(path).TrimStart('#', ' ')}"] };

    // PostgreSQL replaces what begins with % before the shell sees the command.
    private static string InCommand(string path) => ShellQuoting.Quote(path).Replace("%", "%%", StringComparison.Ordinal);
}
