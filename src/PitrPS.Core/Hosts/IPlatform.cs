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

    /// <summary>The packages that bring sshfs.</summary>
    IReadOnlyList<string> SshfsPackages { get; }

    /// <summary>Refreshes the package lists.</summary>
    RemoteCommand RefreshPackages { get; }

    RemoteCommand InstallPackages(IReadOnlyList<string> packages);

    /// <summary>Exits with 0 when all of them are installed.</summary>
    RemoteCommand PackagesInstalled(IReadOnlyList<string> packages);

    /// <summary>Exits with 0 when the package sources offer all of them.</summary>
    RemoteCommand PackagesAvailable(IReadOnlyList<string> packages);

    /// <summary>Makes a new cluster with data checksums and UTF-8, not yet started.</summary>
    RemoteCommand CreateCluster(int major, string cluster, int port, string locale);

    /// <summary>Files that keep the packages' own scripts from making or starting servers. They lie there only meanwhile, and never in the place of somebody else's.</summary>
    IReadOnlyList<RemoteFile> FilesWhileInstalling { get; }

    string BinDirectory(int major);

    string DataDirectory(int major, string cluster);

    /// <summary>Where postgresql.conf and pg_hba.conf lie; the data directory itself on some families.</summary>
    string ConfigDirectory(int major, string cluster);

    string ServiceUnit(int major, string cluster);

    /// <summary>The unit of the SSH server: ssh or sshd.</summary>
    string SshUnit { get; }
}
