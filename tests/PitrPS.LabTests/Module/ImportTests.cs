using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

public sealed class ImportTests
{
    [Fact]
    public void Exports_what_the_manifest_names()
    {
        using var engine = new PowerShellEngine();
        var manifest = engine.Get("(Test-ModuleManifest $path).ExportedCmdlets.Keys", ("path", Path.Join(RepositoryPaths.Module, "PitrPS.psd1")));
        var commands = engine.Get("Get-Command -Module PitrPS | ForEach-Object Name");
        Assert.Equal(Names(manifest), Names(commands));
        Assert.NotEmpty(commands);
    }

    [Fact]
    public void Survives_being_imported_by_force_twice_and_removed()
    {
        using var engine = new PowerShellEngine();
        var before = Names(engine.Get("Get-Command -Module PitrPS | ForEach-Object Name"));
        for (var i = 0; i < 2; i++)
        {
            engine.Get("Import-Module $path -Force", ("path", RepositoryPaths.Module));
            Assert.Equal(before, Names(engine.Get("Get-Command -Module PitrPS | ForEach-Object Name")));
            Assert.Equal("PitrPS.Servers.Lsn", engine.Get("[PitrPS.Servers.Lsn].FullName")[0].BaseObject);
        }

        engine.Get("Remove-Module PitrPS");
        Assert.Empty(engine.Get("Get-Module; Get-Command -Module PitrPS"));
    }

    [Fact]
    public void Puts_the_types_into_reach_of_a_script_and_their_assemblies_out_of_reach_of_other_modules()
    {
        using var engine = new PowerShellEngine();
        Assert.Equal("1/2", engine.Get("[PitrPS.Servers.Lsn]::Parse('1/2').ToString()")[0].BaseObject);
        Assert.Equal("PitrPS", engine.Get("[Runtime.Loader.AssemblyLoadContext]::GetLoadContext([PitrPS.Servers.Lsn].Assembly).Name")[0].BaseObject);
        Assert.Empty(engine.Get("[Runtime.Loader.AssemblyLoadContext]::Default.Assemblies | Where-Object { $_.GetName().Name -in 'PitrPS.Core', 'Npgsql', 'Renci.SshNet' }"));
    }

    private static string[] Names(IEnumerable<object> objects) => [.. objects.Select(o => o.ToString()!).Order(StringComparer.Ordinal)];
}
