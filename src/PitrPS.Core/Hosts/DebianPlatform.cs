namespace PitrPS.Hosts;

/// <summary>Debian and Ubuntu: apt, postgresql-common's clusters, postgresql@N-name.service.</summary>
internal sealed class DebianPlatform : IPlatform
{
    private static readonly Dictionary<string, string> Quiet = new() { ["DEBIAN_FRONTEND"] = "noninteractive" };

    private const string PgdgSite = "https://apt.postgresql.org/pub/repos/apt";

    // Where it keeps what it has for releases that the distribution does not support any more.
    private const string PgdgArchive = "https://apt-archive.postgresql.org/pub/repos/apt";
    private const string PgdgFingerprint = "B97B0AFCAA1A47F044F244A07FCC7D46ACCC4CF8";

    // What the distribution calls itself, in derivatives what it is built from; a repository's file that is given up leaves nothing behind.
    private const string AptFunctions =
        """
        umask 022
        release=$(. /etc/os-release && echo "${UBUNTU_CODENAME:-$VERSION_CODENAME}")
        # apt warns of what it cannot fetch or verify, and succeeds.
        fetched() { said=$(apt-get update -q -o Dir::Etc::SourceList="$1" -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=0 2>&1) && ! printf '%s\n' "$said" | grep -q '^[EW]:'; }

        """;

    // Lists of long ago may not have what the host's own sources have, so they are refreshed before anything is added.
    private const string AddPgdg = AptFunctions +
        """
        list=$1 key=$2 site=$3 archive=$4; shift 4
        offered() { for package; do apt-cache show "$package" 2>/dev/null | grep -q '^Filename:' || return 1; done; }
        ! { apt-get update -q >/dev/null 2>&1; offered "$@"; } || exit 0
        mkdir -p "$(dirname "$key")" && cat > "$key" || exit 70
        for uri in "$site" "$archive"; do
          printf '# Written by PitrPS (Install-PgServer).\ndeb [signed-by=%s] %s %s-pgdg main\n' "$key" "$uri" "$release" > "$list" || exit 70
          ! fetched "$list" || exit 0
          case $said in *NO_PUBKEY* | *EXPKEYSIG* | *KEYEXPIRED* | *BADSIG* | *'Missing key'*) wrong=yes; break ;; esac
        done
        rm -f -- "$list" "$key"
        printf '%s\n' "$said" >&2
        [ -z "${wrong-}" ] || { printf '%s\n' "$said" | sed -n 's/.*\(NO_PUBKEY\|EXPKEYSIG\|BADSIG\|Missing key\) *\([0-9A-F]*\).*/\2/p' | head -n 1; exit 72; }
        exit 71
        """;

    // Laid out as a distribution's archive is, or a flat folder with its index.
    private const string AddRepository = AptFunctions +
        """
        list=$1 key=$2 uri=$3 option=$4 suffix=$5 cmdlet=$6
        case $option in signed-by=*) mkdir -p "$(dirname "$key")" && cat > "$key" || exit 70 ;; esac
        for suite in "$release$suffix main" ./; do
          printf '# Written by PitrPS (%s -RepositoryUri).\ndeb [%s] %s %s\n' "$cmdlet" "$option" "$uri" "$suite" > "$list" || exit 70
          ! fetched "$list" || exit 0
        done
        printf '%s\n' "$said" >&2
        rm -f -- "$list" "$key"
        exit 71
        """;

    public string Name => "debian";

    public IReadOnlyList<string> SshfsPackages => ["sshfs", "fuse3"];

    public IReadOnlyList<PackageSource> SshfsSources(PackageOrigin origin) => origin.Uri is { } uri ? [Own(uri, origin, "pitrps-sshfs", "", "Mount-WalArchive")] : [];

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

    public IReadOnlyList<PackageSource> ServerSources(int major, PackageOrigin origin)
    {
        if (origin.Uri is { } uri)
        {
            return [Own(uri, origin, "pitrps", "-pgdg", "Install-PgServer")];
        }

        const string list = "/etc/apt/sources.list.d/pitrps-pgdg.list", key = "/usr/share/keyrings/pitrps-pgdg.asc";
        return origin.HostsOwnOnly ? [] :
        [
            new("pgdg", "Add the PostgreSQL project's own package repository (PGDG), if the host's own sources do not have this version when they have been looked at again",
                RemoteCommand.Shell(AddPgdg, [list, key, PgdgSite, PgdgArchive, .. ServerPackages(major)]).AsRoot().WithTimeout(TimeSpan.FromMinutes(5)).WithInput(origin.Key ?? PgdgKey()))
            {
                Preview =
                [
                    $"apt-get update; if that does not bring them: write {list}: {PgdgSite}, for an old release {PgdgArchive}",
                    $"write {key}, {(origin.Key is null ? $"its key {PgdgFingerprint}" : "the key given by -RepositoryKey")}",
                ],
            },
        ];
    }

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

    // What one cmdlet was given does not take the place of what another was.
    private static PackageSource Own(string uri, PackageOrigin origin, string id, string suffix, string cmdlet)
    {
        var (list, key) = ($"/etc/apt/sources.list.d/{id}.list", $"/usr/share/keyrings/{id}.asc");
        var option = origin.Key is null ? "trusted=yes" : "signed-by=" + key;
        return new PackageSource("repository", $"Add the package repository {uri}",
            RemoteCommand.Shell(AddRepository, list, key, uri, option, suffix, cmdlet).AsRoot().WithTimeout(TimeSpan.FromMinutes(5)).WithInput(origin.Key ?? ""))
        {
            IsThere = RemoteCommand.Shell("""grep -qF -- "[$2] $3 " "$1" 2>/dev/null""", list, option, uri).AsRoot(),
            Preview = [$"write {list}: {uri}", .. origin.Key is null ? (string[])[] : [$"write {key}, the key given by -RepositoryKey"], "apt-get update"],
        };
    }

    // Source: https://www.postgresql.org/media/keys/ACCC4CF8.asc, as Debian's own postgresql-common has it, too.
    private static string PgdgKey()
    {
        using var resource = typeof(DebianPlatform).Assembly.GetManifestResourceStream("pgdg-apt.asc") ?? throw new InvalidOperationException("pgdg-apt.asc is not embedded.");
        using var reader = new StreamReader(resource);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }
}
