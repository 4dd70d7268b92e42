using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Servers;

/// <summary>-RepositoryUri on the Debian family: a flat repository, signed.</summary>
public sealed class DebianRepositoryTests(BareHosts hosts) : IClassFixture<BareHosts>
{
    [Trait("Category", "Long")]
    [LabFact]
    public void Takes_a_signed_repository_in_place_of_the_hosts_own_sources()
    {
        var lab = hosts.Lab;
        var site = lab.Shell(Lab.Primary, "sed -n 's/^URIs: //p' /etc/apt/sources.list.d/lab.sources").Trim();
        var key = Path.Join(Path.GetTempPath(), "pitrps-lab-apt.asc");
        File.WriteAllText(key, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + lab.Shell(Lab.Primary, "base64 /usr/share/keyrings/pitrps-lab.gpg") + "-----END PGP PUBLIC KEY BLOCK-----\n");
        lab.Shell(Lab.Primary, "rm -rf /etc/apt/sources.list.d/lab.sources /var/lib/apt/lists/*");

        hosts.Run("$primaryHost | Install-PgServer -Version 15 -RepositoryUri $site -Confirm:$false", ("site", site)).SingleError("PitrPS.RepositoryKeyMissing");
        hosts.Run("$primaryHost | Install-PgServer -Version 15 -RepositoryUri \"$site/nowhere\" -RepositoryKey $key -Confirm:$false", ("site", site), ("key", key)).SingleError("PitrPS.RepositoryUnreachable");
        // PGDG, which is then looked for, is out of reach from here.
        hosts.Run("$primaryHost | Install-PgServer -Version 15 -Confirm:$false").SingleError("PitrPS.RepositoryUnreachable");
        hosts.Run("$primaryHost | Install-PgServer -Version 15 -NoRepository -Confirm:$false").SingleError("PitrPS.PackageMissing");
        Assert.Equal("", lab.Shell(Lab.Primary, "ls /etc/apt/sources.list.d /usr/share/keyrings | grep 'pitrps[.]\\|pitrps-pgdg' || true").Trim());

        var server = hosts.Run("$primaryHost | Install-PgServer -Version 15 -RepositoryUri $site -RepositoryKey $key -Confirm:$false", ("site", site), ("key", key)).Single();

        Assert.True((bool)server.Properties["IsRunning"].Value);
        Assert.Contains($"[signed-by=/usr/share/keyrings/pitrps.asc] {site} ./", lab.Shell(Lab.Primary, "cat /etc/apt/sources.list.d/pitrps.list"), StringComparison.Ordinal);
    }
}
