namespace PitrPS.Hosts;

/// <summary>Debian and Ubuntu: apt, postgresql-common's clusters, postgresql@N-name.service.</summary>
internal sealed class DebianPlatform : IPlatform
{
    private static readonly Dictionary<string, string> Quiet = new() { ["DEBIAN_FRONTEND"] = "noninteractive" };

    public string Name => "debian";

    public IReadOnlyList<string> SshfsPackages => ["sshfs", "fuse3"];

    public string SshUnit => "ssh.service";

    public RemoteCommand RefreshPackages => new RemoteCommand(["apt-get", "update", "-q"]).AsRoot().WithTimeout(TimeSpan.FromMinutes(5));

    public IReadOnlyList<string> ServerPackages(int major) => [$"postgresql-{major}", $"postgresql-client-{major}", "postgresql-common", "ssl-cert"];

    // --no-install-recommends keeps a database host free of what nobody asked for.
    public RemoteCommand InstallPackages(IReadOnlyList<string> packages) =>
        new RemoteCommand(["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", .. packages]) { Environment = Quiet }.AsRoot().WithTimeout(TimeSpan.FromMinutes(20));

    public RemoteCommand PackagesInstalled(IReadOnlyList<string> packages) => RemoteCommand.Shell(
        """for p; do [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || exit 1; done""", [.. packages]);

    public RemoteCommand PackagesAvailable(IReadOnlyList<string> packages) => RemoteCommand.Shell(
        """for p; do apt-cache show "$p" 2>/dev/null | grep -q '^Filename:' || { echo "$p"; exit 1; }; done""", [.. packages]);

    public RemoteCommand CreateCluster(int major, string cluster, int port, string locale) =>
        new RemoteCommand(["pg_createcluster", "--port", port.ToString(System.Globalization.CultureInfo.InvariantCulture), "--locale", locale, "--encoding", "UTF8",
            major.ToString(System.Globalization.CultureInfo.InvariantCulture), cluster, "--", "--data-checksums"]).AsRoot().WithTimeout(TimeSpan.FromMinutes(10));

    // Without the first the package makes and starts a cluster "main" of its own; without the second it starts every cluster that somebody has stopped.
    public IReadOnlyList<RemoteFile> FilesWhileInstalling { get; } =
    [
        RemoteFile.Text("/etc/postgresql-common/createcluster.d/pitrps-install.conf", "create_main_cluster = false\n", 0x1A4),
        RemoteFile.Text("/usr/sbin/policy-rc.d", "#!/bin/sh\n# Put here by PitrPS while it installs packages, and taken away again.\ncase $1 in postgresql*) exit 101 ;; esac\nexit 0\n", 0x1ED),
    ];

    public string BinDirectory(int major) => $"/usr/lib/postgresql/{major}/bin";

    public string DataDirectory(int major, string cluster) => $"/var/lib/postgresql/{major}/{cluster}";

    public string ConfigDirectory(int major, string cluster) => $"/etc/postgresql/{major}/{cluster}";

    public string ServiceUnit(int major, string cluster) => $"postgresql@{major}-{cluster}.service";
}
