using System.Globalization;

namespace PitrPS.Hosts;

/// <summary>
/// RHEL and what is built from it (CentOS 7 and Stream, Rocky, Alma, Oracle), releases 7 to 10: yum (dnf from 8 on),
/// PGDG's packages in /usr/pgsql-N, postgresql-N.service, fuse-sshfs from EPEL.
/// Source: https://www.postgresql.org/download/linux/redhat/, https://docs.fedoraproject.org/en-US/epel/.
/// </summary>
internal sealed class RhelPlatform(int release) : IPlatform
{
    public const int Oldest = 7;
    public const int Newest = 10;

    private const string PgdgSite = "https://download.postgresql.org/pub/repos/yum";
    private const string EpelSite = "https://dl.fedoraproject.org/pub/epel";

    // yum asks before it takes a key that a repository's file names, also when it only reads: hence -y everywhere.
    private static readonly TimeSpan Minutes = TimeSpan.FromMinutes(5);

    // The keys that PGDG and EPEL sign with. A key that was changed there is refused until somebody has looked: -RepositoryKey.
    private static readonly Dictionary<(bool IsSeven, string Machine), string> PgdgKeys = new()
    {
        [(true, "x86_64")] = "F245F0BF96AC182744CAFF2E64FACE1173E3B907",
        [(true, "aarch64")] = "C78CD9E6DA3E1F5B5B16FC1A9FCD879F55B374B8",
        [(false, "x86_64")] = "D4BF08AE67A0B4C7A1DBCCD240BCA2B408B40D20",
        [(false, "aarch64")] = "B031F89FC983E98262906B6E177B343BB9738825",
    };

    private static readonly Dictionary<int, string> EpelKeys = new()
    {
        [7] = "91E97D7C4A5E96F17F3E888F6A2FAEA2352C64E5",
        [8] = "94E279EB8D8F25B21810ADF121EA45AB2F86D6A1",
        [9] = "FF8AD1344597106ECE813B918A3872BF3228467C",
        [10] = "7D8D15CBFC4E62688591FB2633D98517E37ED158",
    };

    // A repository's own package, with which it brings its address and its key. The key is looked at before anything trusts it;
    // then the package manager itself insists on the package's signature. $1 package, $2 key or - for standard input, $3 its fingerprint or empty.
    private const string AddByPackage =
        """
        work=$(mktemp -d) || exit 70
        trap 'rm -rf -- "$work"' EXIT
        proxy=$(sed -n 's/^proxy *= *//p' /etc/yum.conf 2>/dev/null | tail -n 1)
        case $proxy in '' | _none_) ;; *) https_proxy=$proxy http_proxy=$proxy; export https_proxy http_proxy ;; esac
        fetch() { curl -fsSL --connect-timeout 20 --max-time 120 -o "$2" -- "$1" >&2 || { echo "$1 cannot be fetched" >&2; exit 71; }; }
        if [ "$2" = - ]; then cat > "$work/key"; else fetch "$2" "$work/key"; fi
        keys=$(gpg --homedir "$work" --batch --quiet --with-colons --with-fingerprint "$work/key" 2>/dev/null | awk -F: '$1 == "pub" { wait = 1 } $1 == "fpr" && wait { print $10; wait = 0 }')
        [ "$(printf '%s\n' "$keys" | grep -c .)" = 1 ] || { echo "the key's file holds not one key" >&2; echo "${keys:-none}"; exit 72; }
        [ -z "$3" ] || [ "$keys" = "$3" ] || { echo "$keys"; exit 72; }
        fetch "$1" "$work/package.rpm"
        rpm --import "$work/key" && yum -y -q install --setopt=localpkg_gpgcheck=1 "$work/package.rpm"
        """;

    private const string PgdgScript =
        """
        site=$1 release=$2 given=$3 intel=$4 arm=$5; shift 5
        case $(uname -m) in
          x86_64) key=PGDG-RPM-GPG-KEY-RHEL known=$intel ;;
          aarch64) key=PGDG-RPM-GPG-KEY-AARCH64-RHEL known=$arm ;;
          *) echo "PGDG has no packages for $(uname -m) here" >&2; exit 74 ;;
        esac
        [ "$release" != 7 ] || key=${key}7
        package=$site/reporpms/EL-$release-$(uname -m)/pgdg-redhat-repo-latest.noarch.rpm
        if [ -n "$given" ]; then set -- "$package" - ''; else set -- "$package" "$site/keys/$key" "$known"; fi
        """;

    // CentOS and its kin have EPEL's package themselves, signed with a key that the host trusts already.
    private const string EpelScript =
        """
        for own in epel-release "oracle-epel-release-el$2"; do
          if yum -y -q list available "$own" >/dev/null 2>&1; then exec yum -y -q install --setopt=gpgcheck=1 "$own"; fi
        done
        set -- "$1/epel-release-latest-$2.noarch.rpm" "$1/RPM-GPG-KEY-EPEL-$2" "$3" "$4"
        [ -z "$4" ] || set -- "$1" - ''
        """;

    private const string CodeReadyScript =
        """
        if [ -x /usr/bin/crb ]; then exec /usr/bin/crb enable; fi
        yum -y -q install dnf-plugins-core >/dev/null 2>&1
        for repository in crb powertools "ol$1_codeready_builder" "codeready-builder-for-rhel-$1-$(uname -m)-rpms"; do
          yum config-manager --set-enabled "$repository" >/dev/null 2>&1 && exit 0
        done
        echo 'none of crb, powertools, codeready-builder is known here' >&2
        exit 74
        """;

    // module_hotfixes: packages of this repository are not hidden by a module.
    private const string AddRepository =
        """
        umask 022
        file=$1 key=$2 uri=$3 check=$4 id=$5 cmdlet=$6
        new=$(mktemp "$file.XXXXXXXX") || exit 70
        failed() { rm -f -- "$new" "$file" "$key"; exit "$1"; }
        if [ "$check" = 1 ]; then mkdir -p "$(dirname "$key")" && cat > "$key" || failed 70; fi
        printf '# Written by PitrPS (%s -RepositoryUri).\n[%s]\nname=As given to PitrPS (%s)\nbaseurl=%s\nenabled=1\ngpgcheck=%s\ngpgkey=file://%s\nmodule_hotfixes=1\n' "$cmdlet" "$id" "$cmdlet" "$uri" "$check" "$key" > "$new" || failed 70
        chmod 644 "$new" && mv -f -- "$new" "$file" || failed 70
        said=$(yum -y -q --disablerepo='*' --enablerepo="$id" makecache 2>&1) || { printf '%s\n' "$said" >&2; failed 71; }
        """;

    public string Name => "rhel";

    public IReadOnlyList<string> SshfsPackages => ["fuse-sshfs"];

    public IReadOnlyList<string> NfsPackages => ["nfs-utils"];

    public string SshUnit => "sshd.service";

    public bool PackagesMakeCertificate => false;

    // PGDG stopped building for release 7 after 15.
    public int? NewestMajor => release == 7 ? 15 : 18;

    public RemoteCommand RefreshPackages => new RemoteCommand(["yum", "-y", "-q", "makecache"]).AsRoot().WithTimeout(Minutes);

    public IReadOnlyList<RemoteFile> FilesWhileInstalling => [];

    public IReadOnlyList<string> ServerPackages(int major) => [$"postgresql{major}-server", $"postgresql{major}", $"postgresql{major}-contrib", "openssl"];

    // Whatever a repository's file says, what is installed is signed.
    public RemoteCommand InstallPackages(IReadOnlyList<string> packages, bool allowUnsigned = false) =>
        new RemoteCommand(["yum", "-y", "-q", "install", .. allowUnsigned ? (string[])["--nogpgcheck"] : ["--setopt=gpgcheck=1", "--setopt=*.gpgcheck=1"], .. packages]).AsRoot().WithTimeout(TimeSpan.FromMinutes(20));

    public RemoteCommand PackagesInstalled(IReadOnlyList<string> packages) => new(["rpm", "-q", "--quiet", .. packages]);

    // As root, because each user has a cache of its own.
    public RemoteCommand PackagesAvailable(IReadOnlyList<string> packages) => RemoteCommand.Shell(
        """
        wanted=
        for package; do rpm -q --quiet "$package" || wanted="$wanted $package"; done
        [ -n "$wanted" ] || exit 0
        found=$(yum -y -q list available $wanted 2>/dev/null | awk '{ print $1 }' | sed 's/\.[^.]*$//')
        for package in $wanted; do printf '%s\n' "$found" | grep -qxF -- "$package" || { echo "$package"; exit 1; }; done
        """, [.. packages]).AsRoot().WithTimeout(Minutes);

    public IReadOnlyList<PackageSource> ServerSources(int major, PackageOrigin origin)
    {
        if (origin.Uri is { } uri)
        {
            return [Own(uri, origin, "pitrps", "Install-PgServer")];
        }

        var sources = new List<PackageSource>();
        if (!origin.HostsOwnOnly)
        {
            var (intel, arm) = (PgdgKeys[(release == 7, "x86_64")], PgdgKeys[(release == 7, "aarch64")]);
            var add = RemoteCommand.Shell(PgdgScript + "\n" + AddByPackage, PgdgSite, Text(release), origin.Key is null ? "" : "given", intel, arm).AsRoot().WithTimeout(Minutes);
            sources.Add(new PackageSource("pgdg", "Add the PostgreSQL project's own package repository (PGDG)", origin.Key is null ? add : add.WithInput(origin.Key))
            {
                Preview =
                [
                    origin.Key is null ? $"fetch its key from {PgdgSite}/keys; it must have the fingerprint {intel} (on aarch64 {arm})" : "take its key as given by -RepositoryKey",
                    $"yum install {PgdgSite}/reporpms/EL-{release}-(architecture)/pgdg-redhat-repo-latest.noarch.rpm, signed with that key",
                ],
            });
        }

        if (release is 8 or 9)
        {
            sources.Add(new PackageSource("module", "Disable the distribution's module postgresql, which hides PGDG's packages", RemoteCommand.Shell(
                """
                rpm -q --quiet postgresql-server && exit 0
                yum -y -q module list postgresql >/dev/null 2>&1 || exit 0
                exec yum -y -q module disable postgresql
                """).AsRoot().WithTimeout(Minutes))
            {
                Preview = ["yum module disable postgresql, unless the distribution's own server is installed"],
            });
        }

        return sources;
    }

    public IReadOnlyList<PackageSource> SshfsSources(PackageOrigin origin)
    {
        if (origin.HostsOwnOnly)
        {
            return [];
        }

        if (origin.Uri is { } uri)
        {
            return [Own(uri, origin, "pitrps-sshfs", "Mount-WalArchive")];
        }

        var key = EpelKeys[release];
        var add = RemoteCommand.Shell(EpelScript + "\n" + AddByPackage, EpelSite, Text(release), key, origin.Key is null ? "" : "given").AsRoot().WithTimeout(Minutes);
        var epel = new PackageSource("epel", "Add EPEL, which has fuse-sshfs", origin.Key is null ? add : add.WithInput(origin.Key))
        {
            Preview = ["yum install epel-release", $"or, where the host's own sources lack it, the one of {EpelSite}, signed with {(origin.Key is null ? $"the key {key}" : "the key given by -RepositoryKey")}"],
        };
        // fuse-sshfs, or what it needs, is in the part of the distribution that is off at first.
        return release < 8 ? [epel] : [epel, new PackageSource("codeready", "Enable the distribution's repository CodeReady Builder (CRB, PowerTools)", RemoteCommand.Shell(CodeReadyScript, Text(release)).AsRoot().WithTimeout(Minutes))
        {
            Preview = ["crb enable"],
        }];
    }

    // PGDG's script, with a unit of its own for a second cluster, as its documentation has it. It is run as a transient unit, hence one line and no ${…}.
    public RemoteCommand CreateCluster(int major, string cluster, int port, string locale)
    {
        var unit = ServiceUnit(major, cluster);
        return RemoteCommand.Shell(
            """
            set -e; major=$1; data=$2; unit=$3; port=$4; locale=$5;
            if [ "$unit" != "postgresql-$major" ] && [ ! -e "/etc/systemd/system/$unit.service" ]; then
              sed "s|^Environment=PGDATA=.*|Environment=PGDATA=$data/|" "/usr/lib/systemd/system/postgresql-$major.service" > "/etc/systemd/system/$unit.service";
              systemctl daemon-reload;
            fi;
            PGSETUP_INITDB_OPTIONS="--data-checksums --encoding=UTF8 --locale=$locale"; export PGSETUP_INITDB_OPTIONS;
            "/usr/pgsql-$major/bin/postgresql-$major-setup" initdb "$unit" || { tail -n 20 "/var/lib/pgsql/$major/initdb.log"; exit 1; };
            [ -f "$data/PG_VERSION" ] || { echo "$unit.service has another PGDATA than $data"; exit 1; };
            [ "$port" = 5432 ] || sed -i "s/^#port = 5432/port = $port/" "$data/postgresql.conf"
            """.ReplaceLineEndings(" "), Text(major), DataDirectory(major, cluster), unit[..^".service".Length], Text(port), locale).AsRoot().WithTimeout(TimeSpan.FromMinutes(10));
    }

    public IReadOnlyList<string> CreateClusterPreview(int major, string cluster, int port, string locale)
    {
        var unit = ServiceUnit(major, cluster);
        return
        [
            .. cluster == "main" ? (string[])[] : [$"write /etc/systemd/system/{unit}: postgresql-{major}.service with PGDATA={DataDirectory(major, cluster)}"],
            $"[root] PGSETUP_INITDB_OPTIONS='--data-checksums --encoding=UTF8 --locale={locale}' {BinDirectory(major)}/postgresql-{major}-setup initdb {unit[..^".service".Length]}",
            .. port == 5432 ? (string[])[] : [$"port = {Text(port)} in {ConfigDirectory(major, cluster)}/postgresql.conf"],
        ];
    }

    public string BinDirectory(int major) => $"/usr/pgsql-{major}/bin";

    public string DataDirectory(int major, string cluster) => $"/var/lib/pgsql/{major}/{(cluster == "main" ? "data" : cluster)}";

    public string ConfigDirectory(int major, string cluster) => DataDirectory(major, cluster);

    public string ServiceUnit(int major, string cluster) => cluster == "main" ? $"postgresql-{major}.service" : $"postgresql-{major}-{cluster}.service";

    // What one cmdlet was given does not take the place of what another was.
    private static PackageSource Own(string uri, PackageOrigin origin, string id, string cmdlet)
    {
        var check = origin.Key is null ? "0" : "1";
        var (file, key) = ($"/etc/yum.repos.d/{id}.repo", "/etc/pki/rpm-gpg/RPM-GPG-KEY-" + id);
        return new PackageSource("repository", $"Add the package repository {uri}",
            RemoteCommand.Shell(AddRepository, file, key, uri, check, id, cmdlet).AsRoot().WithTimeout(Minutes).WithInput(origin.Key ?? ""))
        {
            IsThere = RemoteCommand.Shell("""grep -qxF -- "baseurl=$2" "$1" 2>/dev/null && grep -qxF -- "gpgcheck=$3" "$1" """, file, uri, check).AsRoot(),
            Preview = [$"write {file}: baseurl={uri}, gpgcheck={check}", .. origin.Key is null ? (string[])[] : [$"write {key}, the key given by -RepositoryKey"]],
        };
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
