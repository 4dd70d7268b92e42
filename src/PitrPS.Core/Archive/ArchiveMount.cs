using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// The primary's archive on the standby: sshfs as a service of systemd, which starts it again whenever it ends. (A mount unit is tried once at boot;
/// a primary that is down at that moment would leave the standby without its archive until somebody looks.)
/// </summary>
internal sealed class ArchiveMount(PgServer standby, string mountPoint, WalTransport transport = WalTransport.Sshfs)
{
    private const string MountPointLine = "# Mount point: ";

    public string MountPoint { get; } = mountPoint;

    public WalTransport Transport => transport;

    /// <summary>What mounts it; with <see cref="WalTransport.Local"/> nothing does.</summary>
    public string Unit { get; } = transport == WalTransport.Nfs && mountPoint.Length > 0 ? NfsMount.UnitOf(mountPoint) : UnitOf(standby);

    /// <summary>Ends an sshfs that lives without serving; systemd and sshfs themselves heal the rest.</summary>
    public string WatchUnit { get; } = NameOfWatch(standby) + ".service";

    /// <summary>Root-only; the private key is made here and never leaves.</summary>
    public string Folder { get; } = $"{HostPaths.State}/mounts/{HostPaths.FileName(standby.Name)}";

    public string KeyFile => Folder + "/id_ed25519";

    public string KnownHostsFile => Folder + "/known_hosts";

    /// <summary>Names this standby in the reader's keys: as good as unique, and still the same when its key was made anew.</summary>
    public string KeyOwner => $"pitrps:{standby.Host.Facts.MachineId}:{HostPaths.FileName(standby.Name)}";

    /// <summary>Where the server's archive is mounted: as its state says, else, when that is lost, as the unit's file says; null for nowhere.</summary>
    public static async Task<string?> FindAsync(PgServer standby, CancellationToken cancel)
    {
        if (standby.ArchiveMountPoint is { } known)
        {
            return known;
        }

        var unit = await standby.Host.ReadTextAsync($"{UnitSteps.Directory}/{UnitOf(standby)}", cancel).ConfigureAwait(false);
        return unit?.Split('\n').FirstOrDefault(l => l.StartsWith(MountPointLine, StringComparison.Ordinal))?[MountPointLine.Length..];
    }

    public async Task<string?> PublicKeyAsync(CancellationToken cancel) =>
        await standby.Host.ReadTextAsync(KeyFile + ".pub", cancel).ConfigureAwait(false) is { } key && key.StartsWith("ssh-ed25519 ", StringComparison.Ordinal) ? key.TrimEnd() : null;

    public IReadOnlyList<Step> KeySteps(PackageOrigin packages) =>
    [
        .. standby.Host.Facts.Platform.SshfsSources(packages).Select(s => Steps.Source(standby.Host, s, standby.Host.Facts.Platform.SshfsPackages)),
        Steps.Packages(standby.Host, "sshfs", standby.Host.Facts.Platform.SshfsPackages, packages.AllowUnsigned),
        Steps.Directory(standby.Host, "mount-folder", "Make the folder of the mount's key", Folder, 0x1C0 /* 0700 */),
        Steps.Command(standby.Host, "key", "Make the key that reads the archive; its private half stays on this host",
            RemoteCommand.Shell(
                """
                [ "$(stat -c '%a %U' "$1" 2>/dev/null)" = '600 root' ] && [ -f "$1.pub" ] &&
                [ "$(ssh-keygen -y -P '' -f "$1" 2>/dev/null | cut -d' ' -f1,2)" = "$(cut -d' ' -f1,2 < "$1.pub")" ]
                """, KeyFile).AsRoot(),
            RemoteCommand.Shell("""umask 077; rm -f -- "$1" "$1.pub" && exec ssh-keygen -q -t ed25519 -N '' -C "$2" -f "$1" """, KeyFile, KeyOwner).AsRoot()),
    ];

    public IReadOnlyList<Step> MountSteps(PrimaryRoute route, ArchiveReader reader) =>
    [
        Steps.File(standby.Host, "known-hosts", "Know the primary's host keys, as they were read on the primary itself",
            RemoteFile.Text(KnownHostsFile, route.KnownHosts, 0x180 /* 0600 */)) with { Preview = [$"write {KnownHostsFile} (600, root:root), the keys of {route.Address} port {route.Port}"] },
        Steps.Command(standby.Host, "mount-point", $"Make the mount point {MountPoint}",
            RemoteCommand.Shell("""timeout 30 stat -- "$1" >/dev/null 2>&1 || mountpoint -q -- "$1" """, MountPoint).AsRoot(), RemoteCommand.Of("mkdir", "-p", "--", MountPoint).AsRoot()),
        UnitSteps.Running(standby.Host, "mount", $"Mount the archive at {MountPoint}, read-only, for {standby.OsUser} alone; again after a reboot and after a lost link", Unit,
            run => FilesAsync(route, reader, run.Cancel), Files(route, reader, $"<id of {standby.OsUser}>", "<its group's>"),
            run => run.TestAsync(RemoteCommand.Of("mountpoint", "-q", "--", MountPoint).AsRoot())),
    ];

    /// <summary>The watchdog runs. For after the scripts are installed.</summary>
    public Step WatchStep() => UnitSteps.Running(standby.Host, "watch", "Watch the mount: when it hangs, it is mounted again", WatchUnit, WatchFiles());

    /// <summary>The standby reads the marker through the mount, it is the primary's, and no other user can read it.</summary>
    public Step ProofStep(ulong? cluster, string primary) => new("proof", $"Read the archive's marker through the mount as {standby.OsUser}, and see that it is {primary}'s", standby.Host)
    {
        IsDone = async run => (await LookAsync(run).ConfigureAwait(false)) is { Succeeded: true } looked && ArchiveMarker.Parse(looked.Output)?.SystemIdentifier == cluster,
        Do = async run =>
        {
            // The service may just be starting sshfs again; it does so every 5 s. What others mounted is there or not.
            var until = DateTimeOffset.UtcNow + TimeSpan.FromSeconds(Transport == WalTransport.Local ? 0 : 20);
            CommandResult looked;
            while (!(looked = await LookAsync(run).ConfigureAwait(false)).Succeeded && DateTimeOffset.UtcNow < until)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(500), run.Cancel).ConfigureAwait(false);
            }

            if (!looked.Succeeded && Transport == WalTransport.Local)
            {
                throw NotLocal(looked, primary);
            }

            if (!looked.Succeeded)
            {
                var log = await standby.Host.Remote.RunAsync(RemoteCommand.Of("journalctl", "-u", Unit, "-n", "8", "-o", "cat", "--no-pager").AsRoot(), run.Cancel).ConfigureAwait(false);
                throw new PitrException("PitrPS.MountNotWorking", ErrorKind.InvalidResult,
                    $"The archive cannot be read at {MountPoint} on {standby.Host.Name} as {standby.OsUser}: {looked.ErrorOutput.Trim()} {Unit} says: {log.Text}",
                    "Mend what it says (on the primary: the sshd log), and run the same command again.", standby);
            }

            if (ArchiveMarker.Parse(looked.Output)?.SystemIdentifier is var found && found != cluster)
            {
                throw new PitrException("PitrPS.ArchiveOfAnotherCluster", ErrorKind.InvalidData, $"What is mounted at {MountPoint} is the archive of the cluster {found}; {primary} is the cluster {cluster}.",
                    "Run Enable-WalArchive on the primary and read it again with Get-PgServer, then run the same command again.", standby);
            }
        },
        Preview = [$"[{standby.OsUser}] cat {MountPoint}/{ArchiveMarker.FileName}", $"[nobody] the same, and that is refused"],
    };

    /// <summary>Before anything is changed: others have put the archive there, the database's user reads it, nobody else does, and it is the primary's.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ArchiveNotThere</c>, <c>PitrPS.ArchiveReadableByAll</c>, <c>PitrPS.ArchiveOfAnotherCluster</c></exception>
    public async Task RequireLocalAsync(ulong? cluster, string primary, CancellationToken cancel)
    {
        var looked = await standby.Host.Remote.RunAsync(LookCommand(), cancel).ConfigureAwait(false);
        if (!looked.Succeeded)
        {
            throw NotLocal(looked, primary);
        }

        if (ArchiveMarker.Parse(looked.Output)?.SystemIdentifier is var found && found != cluster)
        {
            throw new PitrException("PitrPS.ArchiveOfAnotherCluster", ErrorKind.InvalidData, $"What is at {MountPoint} on {standby.Host.Name} is the archive of the cluster {found?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "(its marker is damaged)"}; {primary} is the cluster {cluster}.",
                "Give the directory in which that primary's archive can be seen.", standby);
        }
    }

    private PitrException NotLocal(CommandResult looked, string primary) => looked.ExitCode == ReadByAll
        ? new PitrException("PitrPS.ArchiveReadableByAll", ErrorKind.SecurityError, $"Every account of {standby.Host.Name} can read the archive at {MountPoint}: that is the database's content.",
            $"Let only {standby.OsUser} in, by the options of its mount (uid=, umask=), its modes, or a directory above it with mode 0700 that belongs to {standby.OsUser}; then run the same command again.", standby)
        : new PitrException("PitrPS.ArchiveNotThere", ErrorKind.ObjectNotFound, $"{standby.OsUser} on {standby.Host.Name} cannot read {MountPoint}/{ArchiveMarker.FileName}: {looked.ErrorOutput.Trim()}",
            $"Mount the archive of {primary} there, readable for {standby.OsUser}; then run the same command again.", standby);

    /// <summary>Mount and key gone. Works also where <see cref="FindAsync"/> found no mount point.</summary>
    public static IReadOnlyList<Step> RemovalSteps(PgServer standby, string? mountPoint)
    {
        var mount = new ArchiveMount(standby, mountPoint ?? "", mountPoint is null ? WalTransport.Sshfs : standby.ArchiveTransport ?? WalTransport.Sshfs);
        if (mount.Transport == WalTransport.Local)
        {
            return [Steps.Absent(standby.Host, "asked", "Remove what pitrps-restore has noted", standby.DataDirectory + "/pg_wal/pitrps-restore.asked")];
        }

        var steps = new List<Step>
        {
            // First, so that nobody takes the unmounting for a fault.
            UnitSteps.Gone(standby.Host, "watch", "Watch the mount no more", mount.WatchUnit, [mount.WatchUnit]),
            UnitSteps.Gone(standby.Host, "mount", $"Unmount {mountPoint ?? "the archive"}, also for the next boot", mount.Unit, [mount.Unit]),
            Steps.Absent(standby.Host, "key", "Remove the key that read the archive", mount.Folder),
            Steps.Absent(standby.Host, "asked", "Remove what pitrps-restore has noted and pitrps-prefetch has brought",
                standby.DataDirectory + "/pg_wal/pitrps-restore.asked", standby.DataDirectory + "/pg_wal/pitrps-spool"),
        };
        if (mountPoint is not null)
        {
            // What somebody else has put there under the mount stays.
            steps.Add(new Step("mount-point", $"Remove the mount point {mountPoint} if it is empty", standby.Host)
            {
                IsDone = run => run.TestAsync(RemoteCommand.Shell("""[ ! -d "$1" ] || mountpoint -q -- "$1" || [ -n "$(ls -A -- "$1")" ]""", mountPoint).AsRoot()),
                Do = run => run.RunAsync(RemoteCommand.Of("rmdir", "--", mountPoint).AsRoot()),
                Preview = [$"rmdir {mountPoint}"],
            });
        }

        return steps;
    }

    /// <summary>The service's file. The ids are the standby's own, because an account has other numbers on another host.</summary>
    public IReadOnlyDictionary<string, string> Files(PrimaryRoute route, ArchiveReader reader, string userId, string groupId)
    {
        var host = route.Address.Contains(':') ? $"[{route.Address}]" : route.Address;
        string[] options =
        [
            // Only the server's own user, whatever the files' modes are: default_permissions lets the kernel check them.
            "ro", "nosuid", "nodev", "noexec", "allow_other", "default_permissions", $"uid={userId}", $"gid={groupId}",
            .. standby.Host.Facts.HasSelinux ? (string[])[$"context=system_u:object_r:{SelinuxSteps.DatabaseType}:s0"] : [],
            // Without reconnect a lost link turns the mount into an empty directory, which means "end of the WAL"; without ServerAlive readers hang.
            "reconnect", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ConnectTimeout=10",
            // A listing is kept for 20 s by default, so that a new segment is not seen; what it says of the files may be kept, because they never change.
            // Every sshfs knows this spelling (2.x and from 3.1 on); dcache_dir_timeout only those from 3.0 on.
            "cache_dir_timeout=0",
            // ssh's own ciphers in another order: the processor does AES itself, and a server that catches up waits for this. sshfs takes a comma only after a backslash.
            "Ciphers=" + string.Join("\\,", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr"),
            "BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", $"IdentityFile={KeyFile}", "PreferredAuthentications=publickey",
            "StrictHostKeyChecking=yes", "UpdateHostKeys=no", $"UserKnownHostsFile={KnownHostsFile}", "GlobalKnownHostsFile=/dev/null",
        ];
        var sshfs = SystemdText.Command(["/usr/bin/sshfs", "-f", "-F", "/dev/null", "-p", route.Port.ToString(CultureInfo.InvariantCulture), "-o", string.Join(',', options),
            $"{reader.Account}@{host}:{ArchiveReader.ArchiveInside}", MountPoint]);
        var mountPoint = SystemdText.Command([MountPoint]);
        return new Dictionary<string, string>
        {
            [Unit] =
                $"""
                # Written by PitrPS (Mount-WalArchive).
                {MountPointLine}{MountPoint}
                [Unit]
                Description=PitrPS: the primary's WAL archive for {SystemdText.Value(standby.Name)}, read-only
                Wants=network-online.target
                After=network-online.target
                StartLimitIntervalSec=0

                [Service]
                # A mount that is dead is no mount point any more, so it is not asked whether there is one.
                ExecStartPre=-/bin/sh -c "exec umount -l \"$$1\" 2>/dev/null" sh {mountPoint}
                ExecStart={sshfs}
                # Started means mounted: whoever waits for this service finds the archive.
                ExecStartPost=/usr/bin/timeout 20 /bin/sh -c "until mountpoint -q -- \"$$1\"; do kill -0 \"$$MAINPID\" || exit 1; sleep 0.1; done" sh {mountPoint}
                ExecStopPost=-/bin/sh -c "exec umount -l \"$$1\" 2>/dev/null" sh {mountPoint}
                # The server that replays comes first.
                Nice=10
                Restart=always
                RestartSec=5
                # One that hangs does not end when it is asked to.
                TimeoutStopSec=10

                [Install]
                WantedBy=multi-user.target

                """,
        };
    }

    /// <summary>The watchdog's service.</summary>
    public IReadOnlyDictionary<string, string> WatchFiles() => new Dictionary<string, string>
    {
        [WatchUnit] =
            $"""
            # Written by PitrPS (Mount-WalArchive).
            {ArchiveScripts.VersionLine(ArchiveScripts.WatchPath)}
            [Unit]
            Description=PitrPS: watchdog of the WAL archive's mount for {SystemdText.Value(standby.Name)}
            After={Unit}

            [Service]
            ExecStart={SystemdText.Command([ArchiveScripts.WatchPath, Unit, MountPoint, "/run/" + NameOfWatch(standby)])}
            RuntimeDirectory={NameOfWatch(standby)}
            RuntimeDirectoryMode=0700
            SyslogIdentifier=pitrps-mount-watch
            Restart=always
            RestartSec=5
            # Whoever reads a mount that hangs may be impossible to kill; nobody waits for that.
            KillMode=mixed
            TimeoutStopSec=5

            [Install]
            WantedBy=multi-user.target

            """,
    };

    private static string NameOfWatch(PgServer standby) => "pitrps-mount-watch-" + HostPaths.FileName(standby.Name);

    private static string UnitOf(PgServer standby) => $"pitrps-archive-{HostPaths.FileName(standby.Name)}.service";

    private async Task<IReadOnlyDictionary<string, string>?> FilesAsync(PrimaryRoute route, ArchiveReader reader, CancellationToken cancel)
    {
        var ids = await standby.Host.Remote.RunAsync(RemoteCommand.Shell("""id -u -- "$1" && id -g -- "$1" """, standby.OsUser), cancel).ConfigureAwait(false);
        return ids is { Succeeded: true, Lines: [var user, var group] } ? Files(route, reader, user, group) : null;
    }

    private const int ReadByAll = 9;

    private Task<CommandResult> LookAsync(StepRun run) => standby.Host.Remote.RunAsync(LookCommand(), run.Cancel);

    // With other accounts' files they can be listed, too.
    private RemoteCommand LookCommand() => RemoteCommand.Shell(
        """
        timeout 20 runuser -u "$2" -- cat -- "$1" || exit 1
        ! timeout 20 runuser -u nobody -- cat -- "$1" >/dev/null 2>&1 && ! timeout 20 runuser -u nobody -- ls -- "${1%/*}" >/dev/null 2>&1 ||
          { echo "every user of the host can read it" >&2; exit 9; }
        """, $"{MountPoint}/{ArchiveMarker.FileName}", standby.OsUser).AsRoot();
}
