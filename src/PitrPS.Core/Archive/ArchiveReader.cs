using System.Security.Cryptography;
using System.Text;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// The account on the primary's host that reads the archive of one server there, one key for each standby: confined by sshd to a directory
/// in which there is nothing but the archive, mounted read-only, and to SFTP without writing.
/// </summary>
internal sealed class ArchiveReader
{
    public const string Folder = "/var/lib/pitrps-reader";

    // Under /etc/ssh, because that is where SELinux lets sshd read keys outside of homes.
    public const string KeyFolder = "/etc/ssh/pitrps-readers";

    private const string LockFile = HostPaths.Run + "/readers.lock";

    private readonly PgServer _primary;

    private ArchiveReader(PgServer primary, string name)
    {
        _primary = primary;
        Account = "pitrps-reader-" + name;
        Group = "pitrps-archive-" + name;
    }

    public string Account { get; }

    /// <summary>The group that the archive belongs to. Not the account's name: removing an account removes the group of that name, and the archive outlives its readers.</summary>
    public string Group { get; }

    /// <summary>The reader's whole world. Root's, and nobody else can write on the way to it, else sshd refuses it.</summary>
    public string ChrootDirectory => $"{Folder}/{Account}";

    /// <summary>Where the archive is seen inside of it; what sshfs asks for.</summary>
    public const string ArchiveInside = "/archive";

    public string BindMountPoint => ChrootDirectory + ArchiveInside;

    public string MountUnit => SystemdText.UnitOf(BindMountPoint, ".mount");

    public string KeyFile => $"{KeyFolder}/{Account}";

    /// <summary>One for each server on the host: who may read one archive may not read the other.</summary>
    public static ArchiveReader Of(PgServer primary)
    {
        const int longest = 32 - 15;
        var wanted = primary.Name.Replace('/', '-');
        var name = string.Concat(wanted.ToLowerInvariant().Select(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '_' ? c : '-'));
        if (name != wanted || name.Length > longest)
        {
            // Two clusters whose names differ only in what an account cannot have still get two accounts.
            name = name[..Math.Min(name.Length, longest - 9)] + "-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(wanted)))[..8];
        }

        return new ArchiveReader(primary, name);
    }

    /// <summary>sshd's rules for the account. First match wins in sshd, so whatever could be said before it elsewhere is said here.</summary>
    public string SshdRules =>
        $"""
        # Written by PitrPS: the reader of the archive of {_primary.Name}. It sees nothing but the archive, and only reads.
        Match User {Account}
            AllowUsers {Account}
            AllowGroups {Group}
            AuthenticationMethods publickey
            PubkeyAuthentication yes
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            AuthorizedKeysFile {KeyFolder}/%u
            AuthorizedKeysCommand none
            AuthorizedPrincipalsFile none
            TrustedUserCAKeys none
            ChrootDirectory {ChrootDirectory}
            ForceCommand internal-sftp -R -d {ArchiveInside}
            DisableForwarding yes
            AllowTcpForwarding no
            AllowStreamLocalForwarding no
            AllowAgentForwarding no
            X11Forwarding no
            PermitTunnel no
            PermitTTY no
            PermitUserRC no
            Banner none
        Match all

        """;

    /// <summary>What sshd must say of the account (<c>sshd -T -C user=…</c>), whatever else its configuration holds.</summary>
    public IReadOnlyList<string> SshdMustSay =>
    [
        "authenticationmethods publickey", "passwordauthentication no", "kbdinteractiveauthentication no", $"authorizedkeysfile {KeyFolder}/%u", "authorizedkeyscommand none",
        $"chrootdirectory {ChrootDirectory}", $"forcecommand internal-sftp -R -d {ArchiveInside}",
        "disableforwarding yes", "allowtcpforwarding no", "allowstreamlocalforwarding no", "allowagentforwarding no", "x11forwarding no", "permittunnel no", "permittty no", "permituserrc no",
    ];

    public IReadOnlyDictionary<string, string> MountFiles(string archiveDirectory) => new Dictionary<string, string>
    {
        [MountUnit] =
            $"""
            # Written by PitrPS (Mount-WalArchive).
            [Unit]
            Description=PitrPS: the archive of {SystemdText.Value(_primary.Name)} as its reader sees it

            [Mount]
            What={SystemdText.Value(archiveDirectory)}
            Where={SystemdText.Value(BindMountPoint)}
            Type=none
            Options=bind,ro,nosuid,nodev,noexec

            [Install]
            WantedBy=multi-user.target

            """,
    };

    /// <summary>Made by Enable-WalArchive, because the archive belongs to it.</summary>
    public Step GroupStep() => Steps.Command(_primary.Host, "reader-group", $"Make the group {Group}, which may read the archive",
        RemoteCommand.Of("getent", "group", Group), RemoteCommand.Of("groupadd", "--system", Group).AsRoot());

    /// <summary>Everything on the primary's side but the key.</summary>
    public IReadOnlyList<Step> PrimarySteps(string archiveDirectory, string sshdConfig) =>
    [
        GroupStep(),
        Steps.Command(_primary.Host, "reader-account", $"Make the account {Account}, which reads the archive and has no password and no shell",
            RemoteCommand.Shell("""[ "$(getent passwd "$1" | cut -d: -f4)" = "$(getent group "$2" | cut -d: -f3)" ] && [ "$(getent passwd "$1" | cut -d: -f7)" = /usr/sbin/nologin ]""", Account, Group),
            // "*" is no password at all; "!" would be a locked account, which sshd refuses where it does not use PAM.
            RemoteCommand.Shell(
                """
                if getent passwd "$1" >/dev/null; then exec usermod --gid "$2" --shell /usr/sbin/nologin --home / "$1"; fi
                exec useradd --system --gid "$2" --no-create-home --home-dir / --shell /usr/sbin/nologin --password '*' "$1"
                """, Account, Group).AsRoot()),
        Steps.Directory(_primary.Host, "reader-folder", "Make the readers' folder", Folder, 0x1ED /* 0755 */),
        Steps.Directory(_primary.Host, "reader-root", $"Make {ChrootDirectory}, all that the reader sees", ChrootDirectory, 0x1ED),
        Steps.Command(_primary.Host, "reader-mountpoint", "Make the place of the archive in it", RemoteCommand.Of("test", "-d", BindMountPoint), RemoteCommand.Of("mkdir", "-p", "-m", "0755", BindMountPoint).AsRoot()),
        UnitSteps.Running(_primary.Host, "reader-mount", $"Show {archiveDirectory} there, read-only, also after a reboot", MountUnit, MountFiles(archiveDirectory),
            run => run.TestAsync(RemoteCommand.Shell("""[ "$(stat -c %d:%i -- "$1")" = "$(stat -c %d:%i -- "$2")" ] && [ -e "$2/$3" ]""", archiveDirectory, BindMountPoint, ArchiveMarker.FileName).AsRoot())),
        SshdRulesStep(sshdConfig),
    ];

    private Step SshdRulesStep(string sshdConfig) => SshdConfig.Step(_primary.Host, "reader-sshd", $"Confine {Account} to reading the archive over SFTP, and let sshd read that", sshdConfig, Account, SshdRules, SshdMustSay);

    /// <summary>The standby's public key may log in as the reader; another key that the same standby had before may not any more.</summary>
    /// <param name="publicKey">Reads it from the standby; null while there is none.</param>
    /// <param name="owner">Names the standby in the line's comment; no blanks in it.</param>
    public Step AuthorizeStep(Func<CancellationToken, Task<string?>> publicKey, string owner) => new("reader-key", $"Let the standby's key log in as {Account}", _primary.Host)
    {
        IsDone = async run => await publicKey(run.Cancel).ConfigureAwait(false) is { } key
            && await run.TestAsync(RemoteCommand.Shell("""[ "$(stat -c '%a %U' "$1" 2>/dev/null)" = '644 root' ] && grep -qxF -- "$2" "$1" """, KeyFile, LineOf(key, owner)).AsRoot()).ConfigureAwait(false),
        Do = async run =>
        {
            var key = await publicKey(run.Cancel).ConfigureAwait(false) ?? throw new InvalidOperationException("The key is made by an earlier step.");
            await run.RunAsync(RemoteCommand.Shell(
                """
                umask 022
                mkdir -p "$5" && exec 9>"$4" && flock 9 && mkdir -p "$(dirname "$1")" || exit 70
                { [ ! -f "$1" ] || awk -v owner="$3" '$NF != owner' "$1"; printf '%s\n' "$2"; } > "$1.new" && sync "$1.new" && mv -f "$1.new" "$1"
                """, KeyFile, LineOf(key, owner), owner, LockFile, HostPaths.Run).AsRoot()).ConfigureAwait(false);
        },
        Preview = [$"write {KeyFile} (644, root:root):", $"| restrict ssh-ed25519 (the key's public half, made on the standby) {owner}"],
    };

    /// <summary>The standby's key, and, when no other standby reads this archive, the account and all that confined it. The archive and its group stay.</summary>
    public IReadOnlyList<Step> RemovalSteps(string owner, string sshdConfig) =>
    [
        Steps.Command(_primary.Host, "reader-key", $"Take the standby's key from {Account}",
            RemoteCommand.Shell("""[ ! -f "$1" ] || awk -v owner="$2" '$NF == owner { found = 1 } END { exit found }' "$1" """, KeyFile, owner).AsRoot(),
            RemoteCommand.Shell(
                """
                umask 022
                mkdir -p "$4" && exec 9>"$3" && flock 9 && awk -v owner="$2" '$NF != owner' "$1" > "$1.new" && sync "$1.new" && mv -f "$1.new" "$1"
                """, KeyFile, owner, LockFile, HostPaths.Run).AsRoot()),
        SshdConfig.RemovalStep(_primary.Host, "reader-sshd", $"Take the rules for {Account} from sshd, if no other standby reads the archive", sshdConfig, Account, IsStillReadAsync),
        UnitSteps.Gone(_primary.Host, "reader-mount", "Show the archive to the reader no more, if no other standby reads it", MountUnit, [MountUnit], IsStillReadAsync),
        new("reader-account", $"Remove the account {Account}, if no other standby reads the archive", _primary.Host)
        {
            IsDone = async run => await IsStillReadAsync(run).ConfigureAwait(false)
                || await run.TestAsync(RemoteCommand.Shell("""! getent passwd "$1" >/dev/null && [ ! -e "$2" ] && [ ! -e "$3" ]""", Account, ChrootDirectory, KeyFile).AsRoot()).ConfigureAwait(false),
            // A session that is just closing would hold the account; the folders are removed empty or not at all, the archive was mounted there.
            Do = run => run.RunAsync(RemoteCommand.Shell(
                """
                if getent passwd "$1" >/dev/null; then
                  pkill -KILL -u "$1"
                  for try in 1 2 3 4 5 6 7 8 9 10; do userdel "$1" 2>/dev/null && break; sleep 0.3; done
                  ! getent passwd "$1" >/dev/null || { echo "userdel $1 does not succeed" >&2; exit 1; }
                fi
                rm -f -- "$3"
                if [ -d "$2" ]; then rmdir -- "$2/archive" "$2"; fi
                """, Account, ChrootDirectory, KeyFile).AsRoot()),
            Preview = [$"userdel {Account}", $"remove {KeyFile}", $"rmdir {ChrootDirectory}"],
        },
    ];

    private static string LineOf(string publicKey, string owner)
    {
        // The comment is ours, whatever the file says.
        var words = publicKey.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        return $"restrict {words[0]} {words[1].Trim()} {owner}";
    }

    private Task<bool> IsStillReadAsync(StepRun run) => run.TestAsync(RemoteCommand.Of("test", "-s", KeyFile).AsRoot());
}
