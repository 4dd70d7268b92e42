using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

/// <summary>Beside a module that ships another Npgsql, whichever comes first; each in a process of its own, because a loaded assembly stays.</summary>
public sealed class IsolationTests
{
    // Makes PitrPS use its own Npgsql, as a connection would.
    private const string Ours =
        """
        $core = [PitrPS.Servers.Lsn].Assembly
        $npgsql = [Runtime.Loader.AssemblyLoadContext]::GetLoadContext($core).LoadFromAssemblyName('Npgsql')
        $builder = [Activator]::CreateInstance($npgsql.GetType('Npgsql.NpgsqlConnectionStringBuilder'), 'Host=192.0.2.2')
        "ours: $($npgsql.GetName().Version.Major) $($builder.Host)"
        """;

    private const string Theirs = "\"theirs: $(Get-OtherNpgsql)\"";

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Works_beside_a_module_with_another_Npgsql(bool oursFirst)
    {
        var importTheirs = $"Import-Module '{Path.Join(AppContext.BaseDirectory, "OtherNpgsql", "OtherNpgsql.dll")}'";
        var importOurs = $"Import-Module '{RepositoryPaths.Module}'";
        string[] script = oursFirst ? [importOurs, Ours, importTheirs, Theirs, Ours] : [importTheirs, Theirs, importOurs, Ours, Theirs];
        using var client = new ClientProcess(string.Join('\n', script), import: false);
        Assert.Equal(0, await client.WaitAsync(TimeSpan.FromMinutes(2)));
        var said = client.Text.Split('\n');
        Assert.Equal(3, said.Length);
        Assert.All(said, line => Assert.Contains(line, new[] { "ours: 10 192.0.2.2", "theirs: 8 192.0.2.1" }));
        Assert.Equal(2, said.Distinct().Count());
    }

    [Fact]
    public async Task Loads_nothing_of_a_third_party_before_it_is_needed()
    {
        using var client = new ClientProcess("[AppDomain]::CurrentDomain.GetAssemblies() | ForEach-Object { $_.GetName().Name }");
        Assert.Equal(0, await client.WaitAsync(TimeSpan.FromMinutes(2)));
        var loaded = client.Text.Split('\n');
        Assert.Contains("PitrPS.Loader", loaded);
        Assert.DoesNotContain("Npgsql", loaded);
        Assert.DoesNotContain("Renci.SshNet", loaded);
        Assert.DoesNotContain("BouncyCastle.Cryptography", loaded);
    }
}
