namespace PitrPS.Hosts;

/// <summary>Debian and Ubuntu: apt, postgresql-common's clusters, postgresql@N-name.service.</summary>
internal sealed class DebianPlatform : IPlatform
{
    private static readonly Dictionary<string, string> Quiet = new() { ["DEBIAN_FRONTEND"] = "noninteractive" };

    private const string OwnRepository = "/etc/apt/sources.list.d/pitrps.list";
    private const string OwnKey = "/usr/share/keyrings/pitrps.asc";

    // Laid out as apt.postgresql.org is, or a flat folder with its index. apt warns of what it cannot fetch or verify, and succeeds.
    private const string AddRepository =
        """
        umask 022
        list=$1 key=$2 uri=$3 option=$4
        case $option in signed-by=*) mkdir -p "$(dirname "$key")" && cat > "$key" || exit 70 ;; esac
        release=$(. /etc/os-release && echo "$VERSION_CODENAME")
        for suite in "$release-pgdg main" ./; do
          printf '# Written by PitrPS (Install-PgServer -RepositoryUri).\ndeb [%s] %s %s\n' "$option" "$uri" "$suite" > "$list" || exit 70
          said=$(apt-get update -q -o Dir::Etc::SourceList="$list" -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=0 2>&1) && ! printf '%s\n' "$said" | grep -q '^[EW]:' && exit 0
        done
        printf '%s\n' "$said" >&2
        rm -f -- "$list" "$key"
        exit 71
        """;

    public string Name => "debian";

    public IReadOnlyList<string> SshfsPackages => ["sshfs", "fuse3"];

    public IReadOnlyList<PackageSource> SshfsSources => [];

    public IReadOnlyList<string> NfsPackages => ["nfs-common"];

    public string SshUnit => "ssh.service";

    public int? NewestMajor => null;

    // ssl-cert makes one, and pg_createcluster turns ssl on where it is there.
    public bool PackagesMakeCertificate => true;

    public RemoteCommand RefreshPackages => new RemoteCommand(["apt-get", "update", "-q"]).AsRoot().WithTimeout(TimeSpan.FromMinutes(5));

    public IReadOnlyList<string> ServerPackages(int major) => [$"postgresql-{major}", $"postgresql-client-{major}", "postgresql-common", "ssl-cert"];

    // --no-install-recommends keeps a database host free of what nobody asked for.
    public RemoteCommand InstallPackages(IReadOnlyList<string> packages, bool allowUnsigned = false) =>
        new RemoteCommand(["apt-get", "install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", .. allowUnsigned ? (string[])["--allow-unauthenticated"] : [], .. packages]) { Environment = Quiet }.AsRoot().WithTimeout(TimeSpan.FromMinutes(20));

    public RemoteCommand PackagesInstalled(IReadOnlyList<string> packages) => RemoteCommand.Shell(
        """for p; do [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || exit 1; done""", [.. packages]);

    public RemoteCommand PackagesAvailable(IReadOnlyList<string> packages) => RemoteCommand.Shell(
        """for p; do apt-cache show "$p" 2>/dev/null | grep -q '^Filename:' || { echo "$p"; exit 1; }; done""", [.. packages]);

    public IReadOnlyList<PackageSource> ServerSources(int major, PackageOrigin origin) => origin.Uri is not { } uri ? [] :
    [
        new("repository", $"Add the package repository {uri}",
            RemoteCommand.Shell(AddRepository, OwnRepository, OwnKey, uri, origin.Key is null ? "trusted=yes" : $"signed-by={OwnKey}").AsRoot().WithTimeout(TimeSpan.FromMinutes(5)).WithInput(origin.Key ?? ""))
        {
            IsThere = RemoteCommand.Shell("""grep -qF -- "[$2] $3 " "$1" 2>/dev/null""", OwnRepository, origin.Key is null ? "trusted=yes" : $"signed-by={OwnKey}", uri).AsRoot(),
            Preview = [$"write {OwnRepository}: {uri}", .. origin.Key is null ? (string[])[] : [$"write {OwnKey}, the key given by -RepositoryKey"], "apt-get update"],
        },
    ];

    public RemoteCommand CreateCluster(int major, string cluster, int port, string locale) =>
        new RemoteCommand(["pg_createcluster", "--port", port.ToString(System.Globalization.CultureInfo.InvariantCulture), "--locale", locale, "--encoding", "UTF8",
            major.ToString(System.Globalization.CultureInfo.InvariantCulture), cluster, "--", "--data-checksums"]).AsRoot().WithTimeout(TimeSpan.FromMinutes(10));

    public IReadOnlyList<string> CreateClusterPreview(int major, string cluster, int port, string locale) => [CreateCluster(major, cluster, port, locale).Display];

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
