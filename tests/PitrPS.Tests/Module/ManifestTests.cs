using System.Collections;
using System.Management.Automation;
using System.Management.Automation.Language;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Xml;
using PitrPS.Tests.Architecture;

namespace PitrPS.Tests.Module;

public sealed class ManifestTests
{
    private static readonly Hashtable Manifest = ReadManifest();

    [Fact]
    public void Exports_every_cmdlet_by_name()
    {
        var cmdlets = Code.CmdletTypes.Select(t => t.GetCustomAttribute<CmdletAttribute>()!).Select(c => $"{c.VerbName}-{c.NounName}");
        Assert.Equal(cmdlets.Order(StringComparer.Ordinal), Words("CmdletsToExport").Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Exports_nothing_else()
    {
        Assert.Empty(Words("FunctionsToExport"));
        Assert.Empty(Words("VariablesToExport"));
        Assert.Empty(Words("AliasesToExport"));
    }

    [Fact]
    public void Asks_for_the_PowerShell_that_it_is_built_for() => Assert.Equal("7.6", Manifest["PowerShellVersion"]);

    [Fact]
    public void Has_the_version_of_its_assemblies() =>
        Assert.Equal(Code.Core.GetName().Version!.ToString(3), Manifest["ModuleVersion"]);

    [Fact]
    public void Forwards_every_public_type_so_that_scripts_find_it_by_name()
    {
        var forwarded = typeof(Loader.ModuleLoadContext).Assembly.GetForwardedTypes();
        var missing = Code.Core.GetExportedTypes().Where(t => !t.IsNested && !forwarded.Contains(t)).Select(t => $"[assembly: TypeForwardedTo(typeof({t.FullName}))]");
        Assert.Empty(missing);
    }

    [Fact]
    public void Views_are_for_types_and_properties_that_exist()
    {
        var wrong = new List<string>();
        foreach (var view in Views())
        {
            var name = view.SelectSingleNode("ViewSelectedBy/TypeName")!.InnerText;
            var type = Code.Core.GetType(name);
            if (type is null)
            {
                wrong.Add(name);
                continue;
            }

            wrong.AddRange(view.SelectNodes(".//PropertyName")!.Cast<XmlNode>().Select(p => p.InnerText).Where(p => type.GetProperty(p) is null).Select(p => $"{name}.{p}"));
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public void Whatever_a_cmdlet_emits_has_a_table_and_a_list()
    {
        var views = Views().Select(v => (Type: v.SelectSingleNode("ViewSelectedBy/TypeName")!.InnerText, Table: v.SelectSingleNode("TableControl") is not null)).ToHashSet();
        var missing = from type in Code.CmdletTypes.SelectMany(t => t.GetCustomAttributes<OutputTypeAttribute>()).SelectMany(o => o.Type).Select(t => t.Type).Where(t => t != typeof(void)).Select(t => t.FullName!).Distinct()
                      from table in new[] { true, false }
                      where !views.Contains((type, table))
                      select $"{type}: {(table ? "table" : "list")}";
        Assert.Empty(missing);
    }

    private static IEnumerable<XmlNode> Views()
    {
        var document = new XmlDocument();
        document.Load(Path.Join(Code.Root, "module", "PitrPS.Format.ps1xml"));
        return document.SelectNodes("/Configuration/ViewDefinitions/View")!.Cast<XmlNode>();
    }

    internal static string[] Words(string key) => [.. ((object[])Manifest[key]!).Cast<string>()];

    private static Hashtable ReadManifest()
    {
        var ast = Parser.ParseFile(Path.Join(Code.Root, "module", "PitrPS.psd1"), out _, out var errors);
        Assert.Empty(errors);
        return (Hashtable)ast.Find(a => a is HashtableAst, false).SafeGetValue();
    }
}
