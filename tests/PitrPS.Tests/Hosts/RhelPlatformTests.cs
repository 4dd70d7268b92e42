using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Tests.Archive;

namespace PitrPS.Tests.Hosts;

/// <summary>What the RHEL family is told, with a real shell and programs that only note how they were called.</summary>
public sealed class RhelPlatformTests : ScriptedPrograms
{
    private const string Pgdg = "https://download.postgresql.org/pub/repos/yum";
    private const string Epel = "https://dl.fedoraproject.org/pub/epel";
    private const string PgdgIntel = "D4BF08AE67A0B4C7A1DBCCD240BCA2B408B40D20";
    private const string PgdgArm = "B031F89FC983E98262906B6E177B343BB9738825";
    private const string PgdgIntelSeven = "F245F0BF96AC182744CAFF2E64FACE1173E3B907";
    private const string EpelNine = "FF8AD1344597106ECE813B918A3872BF3228467C";

    public RhelPlatformTests()
    {
        Program("curl", "while [ $# -gt 1 ]; do [ \"$1\" != -o ] || out=$2; shift; done; note \"curl $1\"; case $1 in *KEY*) echo \"$OFFERED\" > \"$out\" ;; *) : > \"$out\" ;; esac");
        Program("gpg", "for last; do :; done; while read -r fingerprint; do printf 'pub:-:4096:1:X:1:::-:\\nfpr:::::::::%s:\\nsub:-:4096:1:Y:1:::::\\nfpr:::::::::FFFF:\\n' \"$fingerprint\"; done < \"$last\"");
        Program("rpm", "note \"rpm $1\"; case $1 in -q) exit 1 ;; esac");
        Program("yum", "note \"yum $(printf '%s ' \"$@\" | sed 's| /[^ ]*package.rpm| PACKAGE|; s/ *$//')\"; case \"$*\" in *'list available'*) for p; do case $OFFERS in *\" $p \"*) echo \"$p.x86_64 1-1 base\"; found=1 ;; esac; done; [ -n \"$found\" ] || exit 1 ;; esac");
        Program("uname", "echo ${MACHINE:-x86_64}");
    }

    [ShellTheory]
    [InlineData(7, "x86_64", PgdgIntelSeven, "PGDG-RPM-GPG-KEY-RHEL7")]
    [InlineData(8, "x86_64", PgdgIntel, "PGDG-RPM-GPG-KEY-RHEL")]
    [InlineData(9, "aarch64", PgdgArm, "PGDG-RPM-GPG-KEY-AARCH64-RHEL")]
    [InlineData(10, "x86_64", PgdgIntel, "PGDG-RPM-GPG-KEY-RHEL")]
    public void PGDGs_repository_comes_by_its_package_when_its_key_is_the_known_one(int release, string machine, string fingerprint, string key)
    {
        var (code, _) = Run(PgdgOf(release), ("MACHINE", machine), ("OFFERED", fingerprint));

        Assert.Equal(0, code);
        Assert.Equal(
            [
                $"curl {Pgdg}/keys/{key}", $"curl {Pgdg}/reporpms/EL-{release}-{machine}/pgdg-redhat-repo-latest.noarch.rpm",
                "rpm --import", "yum -y -q install --setopt=localpkg_gpgcheck=1 PACKAGE",
            ], Noted);
    }

    [ShellTheory]
    [InlineData("68C9E2B91A37D136FE74D1761F16D2E1442DF0F8", "another key")]
    [InlineData(PgdgIntel + "\n68C9E2B91A37D136FE74D1761F16D2E1442DF0F8", "a second key beside it")]
    [InlineData("", "no key at all")]
    public void Nothing_is_trusted_or_fetched_by_another_key(string offered, string why)
    {
        var (code, said) = Run(PgdgOf(9), ("OFFERED", offered));

        Assert.True(code == PackageSource.OtherKey, why);
        Assert.Contains(offered.Length == 0 ? "none" : "68C9E2B9", said, StringComparison.Ordinal);
        Assert.Equal([$"curl {Pgdg}/keys/PGDG-RPM-GPG-KEY-RHEL"], Noted);
    }

    [ShellFact]
    public void A_key_that_was_given_takes_the_place_of_the_known_one_and_is_not_fetched()
    {
        var source = new RhelPlatform(9).ServerSources(17, new PackageOrigin(Key: "AAAA\n"))[0];

        Assert.Equal(0, Run(source.Add).Code);
        Assert.Equal([$"curl {Pgdg}/reporpms/EL-9-x86_64/pgdg-redhat-repo-latest.noarch.rpm", "rpm --import", "yum -y -q install --setopt=localpkg_gpgcheck=1 PACKAGE"], Noted);
    }

    [ShellFact]
    public void A_site_out_of_reach_and_a_machine_without_packages_are_told_apart()
    {
        Program("curl", "note curl; exit 6");
        Assert.Equal(PackageSource.Unreachable, Run(PgdgOf(9)).Code);
        Assert.Equal(PackageSource.Invalid, Run(PgdgOf(9), ("MACHINE", "s390x")).Code);
        Assert.Equal(["curl"], Noted);
    }

    [ShellFact]
    public void EPEL_comes_from_the_hosts_own_sources_where_they_have_it()
    {
        Assert.Equal(0, Run(new RhelPlatform(7).SshfsSources(new())[0].Add, ("OFFERS", " epel-release ")).Code);
        Assert.Equal(["yum -y -q list available epel-release", "yum -y -q install --setopt=gpgcheck=1 epel-release"], Noted);
    }

    [ShellFact]
    public void And_from_its_site_by_its_known_key_where_they_do_not()
    {
        Assert.Equal(PackageSource.OtherKey, Run(new RhelPlatform(9).SshfsSources(new())[0].Add, ("OFFERED", PgdgIntel)).Code);
        Assert.Equal(0, Run(new RhelPlatform(9).SshfsSources(new())[0].Add, ("OFFERED", EpelNine)).Code);
        Assert.Equal(
            [$"curl {Epel}/RPM-GPG-KEY-EPEL-9", $"curl {Epel}/epel-release-latest-9.noarch.rpm", "rpm --import", "yum -y -q install --setopt=localpkg_gpgcheck=1 PACKAGE"],
            Noted.TakeLast(4));

        // With a key that was given, no other is fetched.
        Forget();
        Assert.Equal(0, Run(new RhelPlatform(9).SshfsSources(new PackageOrigin(Key: "AAAA\n"))[0].Add).Code);
        Assert.Equal([$"curl {Epel}/epel-release-latest-9.noarch.rpm", "rpm --import", "yum -y -q install --setopt=localpkg_gpgcheck=1 PACKAGE"], Noted.TakeLast(3));
    }

    [ShellFact]
    public void CodeReady_is_enabled_from_release_8_on()
    {
        Assert.Equal(["epel"], new RhelPlatform(7).SshfsSources(new()).Select(s => s.Id));
        Assert.Equal(["epel", "codeready"], new RhelPlatform(8).SshfsSources(new()).Select(s => s.Id));
        Program("yum", "note \"yum $*\"; case \"$*\" in *powertools) ;; *) exit 1 ;; esac");

        Assert.Equal(0, Run(new RhelPlatform(8).SshfsSources(new())[1].Add).Code);
        Assert.Equal("yum config-manager --set-enabled powertools", Noted[^1]);
    }

    [ShellFact]
    public void The_module_that_hides_PGDG_is_disabled_on_8_and_9_unless_its_own_server_is_installed()
    {
        Assert.Equal(["pgdg"], new RhelPlatform(7).ServerSources(13, new()).Select(s => s.Id));
        Assert.Equal(["pgdg", "module"], new RhelPlatform(8).ServerSources(13, new()).Select(s => s.Id));
        Assert.Equal(["pgdg", "module"], new RhelPlatform(9).ServerSources(13, new()).Select(s => s.Id));
        Assert.Equal(["pgdg"], new RhelPlatform(10).ServerSources(13, new()).Select(s => s.Id));
        Assert.Equal(["module"], new RhelPlatform(9).ServerSources(13, new(HostsOwnOnly: true)).Select(s => s.Id));
        var module = new RhelPlatform(9).ServerSources(13, new())[1].Add;

        Assert.Equal(0, Run(module).Code);
        Assert.Equal("yum -y -q module disable postgresql", Noted[^1]);
        Program("rpm", "exit 0");
        Forget();
        Assert.Equal(0, Run(module).Code);
        Assert.Empty(Noted);
    }

    [ShellFact]
    public void Packages_are_available_when_each_is_there_or_on_offer_and_the_first_that_is_not_is_named()
    {
        var platform = new RhelPlatform(7);
        Assert.Equal(0, Run(platform.PackagesAvailable(["postgresql13-server", "postgresql13"]), ("OFFERS", " postgresql13 postgresql13-server ")).Code);
        Assert.Equal((1, "postgresql13"), Run(platform.PackagesAvailable(["postgresql13-server", "postgresql13"]), ("OFFERS", " postgresql13-server ")));
        Program("rpm", "exit 0");
        Assert.Equal(0, Run(platform.PackagesAvailable(["postgresql13-server"])).Code);
    }

    [Fact]
    public void What_is_installed_is_signed_unless_somebody_has_allowed_otherwise()
    {
        Assert.Contains("--setopt=*.gpgcheck=1", new RhelPlatform(9).InstallPackages(["x"]).Arguments);
        Assert.DoesNotContain("--nogpgcheck", new RhelPlatform(9).InstallPackages(["x"]).Arguments);
        Assert.Contains("--nogpgcheck", new RhelPlatform(9).InstallPackages(["x"], allowUnsigned: true).Arguments);
        Assert.DoesNotContain("--allow-unauthenticated", new DebianPlatform().InstallPackages(["x"]).Arguments);
        Assert.Contains("--allow-unauthenticated", new DebianPlatform().InstallPackages(["x"], allowUnsigned: true).Arguments);
    }

    [Fact]
    public void A_server_lies_where_PGDG_puts_it_and_a_second_one_beside_it()
    {
        var platform = new RhelPlatform(9);
        Assert.Equal(["postgresql17-server", "postgresql17", "postgresql17-contrib", "openssl"], platform.ServerPackages(17));
        Assert.Equal("/usr/pgsql-17/bin", platform.BinDirectory(17));
        Assert.Equal(("/var/lib/pgsql/17/data", "/var/lib/pgsql/17/data", "postgresql-17.service"),
            (platform.DataDirectory(17, "main"), platform.ConfigDirectory(17, "main"), platform.ServiceUnit(17, "main")));
        Assert.Equal(("/var/lib/pgsql/17/report", "postgresql-17-report.service"), (platform.DataDirectory(17, "report"), platform.ServiceUnit(17, "report")));
        Assert.Equal("sshd.service", platform.SshUnit);
        Assert.Equal((15, 18), (new RhelPlatform(7).NewestMajor, new RhelPlatform(8).NewestMajor));
        Assert.Contains("postgresql-17-setup initdb postgresql-17-report", string.Join('\n', platform.CreateClusterPreview(17, "report", 5433, "C")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_cluster_is_made_by_one_line_because_it_is_run_as_a_unit() =>
        Assert.All(new RhelPlatform(7).CreateCluster(13, "main", 5432, "C").Arguments, a => Assert.False(a.Contains('\n', StringComparison.Ordinal) || a.Contains("${", StringComparison.Ordinal)));

    [Fact]
    public void A_sites_own_repository_takes_the_place_of_PGDGs()
    {
        var signed = Assert.Single(new RhelPlatform(9).ServerSources(17, new PackageOrigin("https://mirror/17", "the key")));
        Assert.Equal("the key", System.Text.Encoding.UTF8.GetString(signed.Add.Input.Span));
        Assert.Contains("gpgcheck=1", string.Join('\n', signed.Preview), StringComparison.Ordinal);
        var unsigned = Assert.Single(new RhelPlatform(9).ServerSources(17, new PackageOrigin("https://mirror/17", AllowUnsigned: true)));
        Assert.Contains("gpgcheck=0", string.Join('\n', unsigned.Preview), StringComparison.Ordinal);
        Assert.Empty(new RhelPlatform(9).SshfsSources(new PackageOrigin(HostsOwnOnly: true)));
        Assert.Contains("/etc/yum.repos.d/pitrps-sshfs.repo", Assert.Single(new RhelPlatform(9).SshfsSources(new PackageOrigin("https://mirror", "the key"))).Add.Arguments);
        Assert.Empty(new DebianPlatform().ServerSources(15, new(HostsOwnOnly: true)));
        Assert.Empty(new DebianPlatform().SshfsSources(new()));
        Assert.Contains("trusted=yes", Assert.Single(new DebianPlatform().ServerSources(15, new PackageOrigin("https://mirror", AllowUnsigned: true))).Add.Arguments);
        Assert.Contains("signed-by=/usr/share/keyrings/pitrps.asc", Assert.Single(new DebianPlatform().ServerSources(15, new PackageOrigin("https://mirror", "the key"))).Add.Arguments);
    }

    private static RemoteCommand PgdgOf(int release) => new RhelPlatform(release).ServerSources(13, new())[0].Add;
}
