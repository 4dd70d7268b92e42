using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// On the primary's host, a file for each standby that reads its archive: whose it is, and the slot by which one sees how far it is. The retention removes nothing that one of them needs.
/// A standby is registered whether there is a retention or not, for there may be one later.
/// </summary>
internal static class StandbyRegister
{
    public const string Root = "/var/lib/pitrps-retain";

    private const string LockFile = HostPaths.Run + "/readers.lock";

    /// <summary>All that the retention of one server's archive knows. The server's user reads it.</summary>
    public static string FolderOf(PgServer primary) => $"{Root}/{HostPaths.FileName(primary.Name)}";

    /// <summary>The standby's file.</summary>
    public static string FileOf(PgServer primary, PgServer standby) => $"{FolderOf(primary)}/standbys/{HostPaths.FileName(OwnerOf(standby))}";

    /// <summary>With a slot, it is the one in the file; without, one that is in it stays.</summary>
    public static Step RegisterStep(PgServer primary, PgServer standby, string? slot) => new("register", $"Let the retention of the archive keep what {standby.Id} needs", primary.Host)
    {
        IsDone = run => run.TestAsync(slot is null
            ? RemoteCommand.Of("test", "-s", FileOf(primary, standby)).AsRoot()
            : RemoteCommand.Shell("""grep -qxF -- "slot=$2" "$1" 2>/dev/null""", FileOf(primary, standby), slot).AsRoot()),
        Do = run => run.RunAsync(RemoteCommand.Shell(
            """
            umask 022
            mkdir -p "$4" && exec 9>"$3" && flock 9 && mkdir -p "$(dirname "$1")" && cat > "$1.new" && sync "$1.new" && mv -f "$1.new" "$2"
            """, FolderOf(primary) + "/standbys/.file", FileOf(primary, standby), LockFile, HostPaths.Run).WithInput(TextOf(standby, slot)).AsRoot()),
        Preview = [$"write {FileOf(primary, standby)} (644, root:root):", .. TextOf(standby, slot).TrimEnd('\n').Split('\n').Select(l => "| " + l)],
    };

    public static Step UnregisterStep(PgServer primary, PgServer standby) => Steps.Command(primary.Host, "unregister", $"Let the retention of the archive keep nothing for {standby.Id} any more",
        RemoteCommand.Of("test", "!", "-e", FileOf(primary, standby)).AsRoot(),
        RemoteCommand.Shell(
            """
            mkdir -p "$3" && exec 9>"$2" && flock 9 && rm -f -- "$1" || exit 1
            # Only while nothing else is in them.
            rmdir -- "$4/standbys" "$4" "$5" 2>/dev/null || true
            """, FileOf(primary, standby), LockFile, HostPaths.Run, FolderOf(primary), Root).AsRoot());

    private static string OwnerOf(PgServer standby) => new ArchiveMount(standby, "").KeyOwner;

    private static string TextOf(PgServer standby, string? slot) =>
        $"""
        # Written by PitrPS: the standby {standby.Id} reads this server's archive, and pitrps-retain keeps what it needs. Remove this file when it is gone for ever.
        owner={OwnerOf(standby)}

        """ + (slot is null ? "" : $"slot={slot}\n");
}
