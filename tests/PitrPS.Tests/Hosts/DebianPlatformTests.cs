using PitrPS.Hosts;
using PitrPS.Tests.Archive;

namespace PitrPS.Tests.Hosts;

/// <summary>Where a host of the Debian family gets a version of PostgreSQL that its distribution lacks.</summary>
public sealed class DebianPlatformTests : ScriptedPrograms
{
    public DebianPlatformTests()
    {
        // With a list of its own, apt-get says what SAYS has for that address, and the cache then has OFFERS.
        Program("apt-get", """
            list=$(printf '%s\n' "$@" | sed -n 's/^Dir::Etc::SourceList=//p')
            if [ -z "$list" ]; then note update; exit; fi
            line=$(grep '^deb' "$list"); note "$line"
            case $line in *$REFUSES*) echo "${SAYS:-E: it is not there}" ;; esac
            """);
        Program("apt-cache", "case $OFFERS in *\" $2 \"*) echo 'Filename: x.deb' ;; esac");
    }

    private string Files => Directory.CreateDirectory(Path.Join(Folder, "files")).FullName;

    private string Release => Run(RemoteCommand.Shell(". /etc/os-release && echo \"${UBUNTU_CODENAME:-$VERSION_CODENAME}\"")).Output;

    private (int Code, string Output) Pgdg(params (string Name, string Value)[] environment)
    {
        var add = Assert.Single(new DebianPlatform().ServerSources(17, new())).Add;
        return Run(add with { Arguments = [.. add.Arguments.Select(a => a.StartsWith("/etc/", StringComparison.Ordinal) || a.StartsWith("/usr/", StringComparison.Ordinal) ? Files + a[a.LastIndexOf('/')..] : a)] },
            [("REFUSES", "nothing"), .. environment]);
    }

    private string[] Left => [.. Directory.GetFiles(Files).Select(f => Path.GetFileName(f)!).Order(StringComparer.Ordinal)];

    [ShellFact]
    public void Nothing_is_added_where_the_hosts_own_sources_have_it_when_they_are_looked_at_again()
    {
        Assert.Equal(0, Pgdg(("OFFERS", " postgresql-17 postgresql-client-17 postgresql-common ssl-cert ")).Code);
        Assert.Equal(["update"], Noted);
        Assert.Empty(Left);
    }

    [ShellFact]
    public void PGDGs_repository_is_added_with_the_key_that_is_known()
    {
        Assert.Equal(0, Pgdg(("OFFERS", " postgresql-common ssl-cert ")).Code);

        Assert.Equal(["update", $"deb [signed-by={Files}/pitrps-pgdg.asc] https://apt.postgresql.org/pub/repos/apt {Release}-pgdg main"], Noted);
        Assert.Equal(["pitrps-pgdg.asc", "pitrps-pgdg.list"], Left);
        Assert.StartsWith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", File.ReadAllText(Path.Join(Files, "pitrps-pgdg.asc")), StringComparison.Ordinal);
    }

    [ShellFact]
    public void For_a_release_of_long_ago_it_is_PGDGs_archive()
    {
        Assert.Equal(0, Pgdg(("REFUSES", "//apt.postgresql.org")).Code);
        Assert.Equal($"deb [signed-by={Files}/pitrps-pgdg.asc] https://apt-archive.postgresql.org/pub/repos/apt {Release}-pgdg main", Noted[^1]);
    }

    [ShellFact]
    public void What_cannot_be_reached_or_has_another_signature_leaves_nothing_behind()
    {
        Assert.Equal(PackageSource.Unreachable, Pgdg(("REFUSES", "postgresql.org")).Code);
        Assert.Empty(Left);
        Assert.Equal((PackageSource.OtherKey, "7FCC7D46ACCC4CF8"), Pgdg(("REFUSES", "postgresql.org"), ("SAYS", "W: GPG error: the public key is not available: NO_PUBKEY 7FCC7D46ACCC4CF8")));
        Assert.Equal(PackageSource.OtherKey, Pgdg(("REFUSES", "postgresql.org"), ("SAYS", "E: Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key B97B0AFC, which is needed to verify signature.")).Code);
        Assert.Empty(Left);
    }

    [Fact]
    public void A_key_that_was_given_takes_the_place_of_the_known_one_and_no_source_is_added_where_that_is_forbidden()
    {
        Assert.Equal("the key", System.Text.Encoding.UTF8.GetString(Assert.Single(new DebianPlatform().ServerSources(17, new PackageOrigin(Key: "the key"))).Add.Input.Span));
        Assert.Empty(new DebianPlatform().ServerSources(17, new PackageOrigin(HostsOwnOnly: true)));
        Assert.Contains("/etc/apt/sources.list.d/pitrps-sshfs.list", Assert.Single(new DebianPlatform().SshfsSources(new PackageOrigin("https://mirror", "the key"))).Add.Arguments);
    }
}
