using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// The primary's archive over NFS: a mount unit of systemd, and the watchdog, which starts it again when it has failed (at a boot when the server was away), hangs, or has gone stale.
/// </summary>
/// <param name="standby">Whose archive it is.</param>
/// <param name="mountPoint">On the standby's host.</param>
/// <param name="source">HOST:/PATH of the export.</param>
internal sealed class NfsMount(PgServer standby, string mountPoint, string source)
{
    public static string UnitOf(string mountPoint) => SystemdText.UnitOf(mountPoint, ".mount");

    /// <summary>HOST:/PATH: the export that was named, or the archive's own directory on the primary.</summary>
    /// <exception cref="PitrException"><c>PitrPS.InvalidPath</c>, <c>PitrPS.InvalidAddress</c></exception>
    public static string SourceOf(string? export, string address, string directory, PgServer primary)
    {
        var path = export ?? directory;
        var colon = path.StartsWith('/') ? -1 : path.LastIndexOf(":/", StringComparison.Ordinal);
        if (colon > 0)
        {
            (address, path) = (path[..colon].Trim('[', ']'), path[(colon + 1)..]);
        }

        PrimaryRoute.RequireAddress(address, primary.Host);
        ArchiveScripts.RequirePath(path, "The export's path", primary);
        return $"{(address.Contains(':') ? $"[{address}]" : address)}:{path}";
    }

    public IReadOnlyList<Step> Steps() =>
    [
        Planning.Steps.Packages(standby.Host, "nfs", standby.Host.Facts.Platform.NfsPackages),
        Planning.Steps.Command(standby.Host, "mount-point", $"Make the mount point {mountPoint}",
            RemoteCommand.Shell("""timeout 30 stat -- "$1" >/dev/null 2>&1 || mountpoint -q -- "$1" """, mountPoint).AsRoot(), RemoteCommand.Of("mkdir", "-p", "--", mountPoint).AsRoot()),
        UnitSteps.Running(standby.Host, "mount", $"Mount {source} at {mountPoint}, read-only; again after a reboot", UnitOf(mountPoint), Files(),
            run => run.TestAsync(RemoteCommand.Of("mountpoint", "-q", "--", mountPoint).AsRoot())),
    ];

    public IReadOnlyDictionary<string, string> Files()
    {
        string[] options =
        [
            "ro", "nosuid", "nodev", "noexec", "vers=4",
            // A hard mount lets its readers hang as long as its server is away; reading twice is harmless, and pitrps-restore knows an error for what it is. After 5 + 10 + 15 s.
            "soft", "timeo=50", "retrans=2", "retry=0",
            // That a segment is not there must not be an answer of half a minute ago.
            "lookupcache=positive", "acdirmin=1", "acdirmax=1",
            .. standby.Host.Facts.HasSelinux ? (string[])[$"context=system_u:object_r:{SelinuxSteps.DatabaseType}:s0"] : [],
        ];
        return new Dictionary<string, string>
        {
            [UnitOf(mountPoint)] =
                $"""
                # Written by PitrPS (Mount-WalArchive).
                [Unit]
                Description=PitrPS: the primary's WAL archive for {SystemdText.Value(standby.Name)}, read-only
                # Nobody who logs in waits for a server that is away, as with other mounts from the network.
                DefaultDependencies=no
                Wants=network-online.target
                After=network-online.target
                Conflicts=umount.target
                Before=umount.target

                [Mount]
                What={SystemdText.Value(source)}
                Where={SystemdText.Value(mountPoint)}
                Type=nfs
                Options={string.Join(',', options)}
                TimeoutSec=45
                LazyUnmount=yes
                ForceUnmount=yes

                [Install]
                WantedBy=multi-user.target

                """,
        };
    }
}
