namespace PitrPS.Hosts;

/// <summary>
/// All that differs between families of Linux distributions, as commands and paths, so that nothing else asks which family a host is of.
/// </summary>
internal interface IPlatform
{
    /// <summary>"debian" or "rhel".</summary>
    string Name { get; }

    /// <summary>The packages of a PostgreSQL server of this major version, with its client programs.</summary>
    IReadOnlyList<string> ServerPackages(int major);

    /// <summary>What can bring <see cref="ServerPackages"/> where the host's own sources do not offer them, in the order in which it is tried.</summary>
    IReadOnlyList<PackageSource> ServerSources(int major, PackageOrigin origin);

    /// <summary>The newest major version that one of those sources is known to have; null where only the distribution's name tells.</summary>
    int? NewestMajor { get; }

    /// <summary>The packages that bring sshfs.</summary>
    IReadOnlyList<string> SshfsPackages { get; }

    /// <summary>What can bring them where the host's own sources do not.</summary>
    IReadOnlyList<PackageSource> SshfsSources(PackageOrigin origin);

    /// <summary>The packages that mount NFS.</summary>
    IReadOnlyList<string> NfsPackages { get; }

    /// <summary>Refreshes the package lists.</summary>
    RemoteCommand RefreshPackages { get; }

    /// <summary>Installs them; what nobody has signed only where that is allowed.</summary>
    RemoteCommand InstallPackages(IReadOnlyList<string> packages, bool allowUnsigned = false);

    /// <summary>Exits with 0 when all of them are installed.</summary>
    RemoteCommand PackagesInstalled(IReadOnlyList<string> packages);

    /// <summary>Exits with 0 when the package sources offer all of them.</summary>
    RemoteCommand PackagesAvailable(IReadOnlyList<string> packages);

    /// <summary>Makes a new cluster with data checksums and UTF-8, not yet started.</summary>
    RemoteCommand CreateCluster(int major, string cluster, int port, string locale);

    /// <summary>The same in short, for a plan.</summary>
    IReadOnlyList<string> CreateClusterPreview(int major, string cluster, int port, string locale);

    /// <summary>Files that keep the packages' own scripts from making or starting servers. They lie there only meanwhile, and never in the place of somebody else's.</summary>
    IReadOnlyList<RemoteFile> FilesWhileInstalling { get; }

    /// <summary>A new server has a certificate and ssl = on by its packages alone.</summary>
    bool PackagesMakeCertificate { get; }

    string BinDirectory(int major);

    string DataDirectory(int major, string cluster);

    /// <summary>Where postgresql.conf and pg_hba.conf lie; the data directory itself on some families.</summary>
    string ConfigDirectory(int major, string cluster);

    string ServiceUnit(int major, string cluster);

    /// <summary>The unit of the SSH server: ssh or sshd.</summary>
    string SshUnit { get; }
}
