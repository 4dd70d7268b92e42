using System.Globalization;
using System.Text;

namespace PitrPS.Hosts;

/// <summary>Reading and writing whole files, as commands: an sshd without its SFTP subsystem is enough.</summary>
internal static class RemoteFiles
{
    public const int NoSuchFile = 44;

    public const int NotAllowed = 45;

    // What lies in a folder that may not be entered is not known to be absent.
    private const string CautiousReadScript =
        """
        at=$1
        while [ "$at" != / ]; do
          at=$(dirname -- "$at")
          [ ! -d "$at" ] || { [ -x "$at" ] || exit 45; break; }
        done
        [ -e "$1" ] || [ -L "$1" ] || exit 44
        [ -r "$1" ] || exit 45
        exec cat -- "$1"
        """;

    private const string ReadScript = """[ -e "$1" ] || [ -L "$1" ] || exit 44; exec cat -- "$1" """;

    // A cut connection looks like an end of input, so the length is checked before the file gets its name. Every way out removes the temporary one.
    private const string PutScript =
        """
        umask 077
        dir=${1%/*}
        tmp=$(mktemp -- "${dir:-/}/.pitrps.XXXXXXXX") || exit 73
        trap 'rm -f -- "$tmp"' EXIT
        trap 'exit 75' HUP INT TERM PIPE
        cat > "$tmp" || exit 74
        made=$(stat -c '%s %a %U:%G' -- "$tmp")
        [ "${made%% *}" = "$5" ] || { echo "only a part of the file arrived" >&2; exit 74; }
        [ "$made" = "$5 $2 $3:$4" ] || { chown -- "$3:$4" "$tmp" && chmod -- "$2" "$tmp"; } || exit
        sync -- "$tmp" && mv -fT -- "$tmp" "$1" && sync -- "${dir:-/}"
        """;

    // Root writes only where nobody else could put a link in its way: below a directory of somebody else, it is that user who writes.
    private const string WriteScript =
        """
        # Few processes: this is what an operation does most often.
        owners() { at=$(readlink -f -- "$1"); at=${at%/}; set --; while [ -n "$at" ]; do set -- "$@" "$at"; at=${at%/*}; done; exec stat -c %U -- "$@" /; }
        dir=${1%/*}; dir=${dir:-/}
        [ -d "$dir" ] || { echo "there is no directory $dir" >&2; exit 73; }
        writer=root
        for owner in $(owners "$dir"); do [ "$owner" = root ] || writer=$owner; done
        if [ "$writer" = root ]; then eval "$6"; exit; fi
        if [ "$writer" != "$3" ]; then echo "$dir belongs to $writer, so only a file of $writer is written there, not one of $3" >&2; exit 77; fi
        exec runuser -u "$writer" -- /bin/sh -c "$6" sh "$@"
        """;

    public static RemoteCommand Read(string path) => RemoteCommand.Shell(ReadScript, path).AsRoot();

    /// <summary>By a user who is not root: exit code 45 where only root could tell.</summary>
    public static RemoteCommand ReadAsFarAsAllowed(string path) => RemoteCommand.Shell(CautiousReadScript, path);

    public static RemoteCommand Write(RemoteFile file) => RemoteCommand.Shell(
        WriteScript, file.Path, Convert.ToString(file.Mode, 8), file.Owner, file.Group, file.Content.Length.ToString(CultureInfo.InvariantCulture), PutScript)
        .AsRoot() with { Input = file.Content };

    public static PitrException Failed(string what, string path, string host, ReadOnlyMemory<byte> errors, object target)
    {
        var said = Encoding.UTF8.GetString(errors.Span).Trim();
        return said.Contains("No space left", StringComparison.Ordinal) || said.Contains("Disk quota exceeded", StringComparison.Ordinal)
            ? new PitrException("PitrPS.DiskFull", ErrorKind.ResourceUnavailable, $"On {host}, {path} cannot be {what}: the disk is full ({said}).",
                "Make room on that file system, then run the same cmdlet again.", target)
            : new PitrException("PitrPS.RemoteFileFailed", ErrorKind.InvalidResult, $"On {host}, {path} cannot be {what}: {said}",
                "Mend what it says on the host, and run the same cmdlet again.", target);
    }
}
