using System.Management.Automation;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// Mounts the primary's archive on the standby's host, read-only, over SSHFS: with a key of its own, for an account on the primary that can do nothing
/// but read the archive. The mount comes back after a reboot and after a lost link; a watchdog on the standby's host replaces one that hangs. -Transport has other ways. Nothing on either host is changed before the standby has reached the primary.
/// Where the primary archives to a repository (Enable-WalArchive -Repository) nothing is mounted: it is tried whether the standby's own pgbackrest reaches the stanza, and remembered.
/// </summary>
/// <example>
/// <code>$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir</code>
/// <para>The primary's archive is at /mnt/archive_wal_dir on the standby's host, for the database's user alone.</para>
/// </example>
/// <example>
/// <code>$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -PrimaryAddress 10.0.0.5 -PrimarySshPort 2222</code>
/// <para>The standby sees the primary under another address than this client does.</para>
/// </example>
/// <example>
/// <code>$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Transport Nfs -ExportPath nas.example.com:/export/wal</code>
/// <para>Mounts an NFS export (NFS 4) in which the archive can be seen. Exporting it, read-only and to this host alone, is the site's own business.</para>
/// </example>
/// <example>
/// <code>$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -RepositoryUri https://mirror.example.com/epel/9/Everything/x86_64 -RepositoryKey ./RPM-GPG-KEY-EPEL-9</code>
/// <para>On the RHEL family: fuse-sshfs comes from a mirror of the site's own, and EPEL is not added.</para>
/// </example>
/// <example>
/// <code>$standby | Mount-WalArchive -Primary $primary -MountPoint /srv/wal -Transport Local</code>
/// <para>The archive is at /srv/wal already, mounted by other means. Errors: PitrPS.ArchiveNotThere, PitrPS.ArchiveOfAnotherCluster, PitrPS.ArchiveReadableByAll; nothing is changed then.</para>
/// </example>
/// <example>
/// <code>$standby | Mount-WalArchive -Primary $primary</code>
/// <para>The primary archives to pgBackRest: see that this standby's host reaches the same stanza, and remember it for New-PgStandby.</para>
/// </example>
[Cmdlet(VerbsData.Mount, "WalArchive", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(PgServer))]
public sealed class MountWalArchiveCommand : PlanCmdlet
{
    /// <summary>The standby, or the server that New-PgStandby is to make one.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    [Alias("Server", "Standby")]
    [ValidateNotNull]
    public PgServer PgServer { get; set; } = null!;

    /// <summary>The primary, as Enable-WalArchive or Get-PgServer emitted it.</summary>
    [Parameter(Mandatory = true, Position = 0)]
    [ValidateNotNull]
    public PgServer Primary { get; set; } = null!;

    /// <summary>A directory on the standby's host that does not exist yet or is empty; with -Transport Local the one in which the archive is. Not used where the primary archives to a repository.</summary>
    [Parameter(Position = 1)]
    [ValidateNotNullOrEmpty]
    public string? MountPoint { get; set; }

    /// <summary>The primary's name or address as the standby sees it. By default the one that this client connected to.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? PrimaryAddress { get; set; }

    /// <summary>The primary's SSH port as the standby sees it. By default the one that this client connected to.</summary>
    [Parameter]
    [ValidateRange(1, 65535)]
    public int? PrimarySshPort { get; set; }

    /// <summary>
    /// How the archive gets to the mount point: Sshfs (the default); Nfs, which mounts an export that lets this standby's host read the archive; Local, where others have mounted it already
    /// and PitrPS only sees that it is the primary's, that the database's user can read it, and that other accounts cannot.
    /// </summary>
    [Parameter]
    public WalTransport Transport { get; set; }

    /// <summary>With -Transport Nfs: what is exported, as PATH or HOST:/PATH. By default the archive's directory at the primary's address.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? ExportPath { get; set; }

    /// <summary>A package repository that has sshfs, in place of EPEL: an http, https or file address as the standby's host sees it, or the path of a folder on it.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? RepositoryUri { get; set; }

    /// <summary>The file, on this machine, of the public key that the repository's packages are signed with. Without -RepositoryUri it stands for EPEL's key, for the day when that has changed.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? RepositoryKey { get; set; }

    /// <summary>Takes packages that nobody has signed.</summary>
    [Parameter]
    public SwitchParameter AllowUnsigned { get; set; }

    /// <summary>Adds no package repository: the host's own sources have sshfs, or it is installed.</summary>
    [Parameter]
    public SwitchParameter NoRepository { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        var key = RepositoryKey is null ? null : GetUnresolvedProviderPathFromPSPath(RepositoryKey);
        CarryAndWrite((feedback, cancel) => MountPlan.BuildAsync(new MountOptions(PgServer, Primary, MountPoint, PrimaryAddress, PrimarySshPort, Transport, ExportPath)
        {
            Packages = PackageOrigin.Of(RepositoryUri, key, AllowUnsigned, NoRepository, PgServer.Host),
        }, feedback, cancel), PgServer);
    }
}
