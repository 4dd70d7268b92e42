using System.Reflection;

namespace PitrPS.Tests.Architecture;

public sealed class LayerTests
{
    /// <summary>From the top down: a folder may use those after it.</summary>
    private static readonly string[] Order =
        ["Reporting", "Readiness", "Rescue", "Recovery", "Incidents", "Replication", "Archive", "Servers", "Planning", "Hosts", ""];

    [Fact]
    public void Folders_depend_downward_only()
    {
        var wrong =
            from type in Code.Core.GetTypes()
            where type.Namespace?.StartsWith("PitrPS", StringComparison.Ordinal) == true
            from used in Code.ReferencesOf(type)
            where used.Assembly == Code.Core && used.Namespace?.StartsWith("PitrPS", StringComparison.Ordinal) == true
            where Array.IndexOf(Order, Code.FolderOf(used)) < Array.IndexOf(Order, Code.FolderOf(type))
            select $"{type.FullName} uses {used.FullName}";
        Assert.Empty(wrong.Distinct());
    }

    [Fact]
    public void Every_folder_has_its_place_in_the_order()
    {
        var folders = Code.Core.GetTypes().Where(t => t.Namespace?.StartsWith("PitrPS", StringComparison.Ordinal) == true).Select(Code.FolderOf).Distinct();
        Assert.Empty(folders.Except(Order));
    }

    [Fact]
    public void Namespaces_are_folders()
    {
        var wrong =
            from project in new[] { "PitrPS", "PitrPS.Core" }
            let source = Path.Join(Code.Root, "src", project)
            from file in Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories)
            let folder = Path.GetDirectoryName(Path.GetRelativePath(source, file))!.Replace(Path.DirectorySeparatorChar, '.')
            where folder != "obj" && !folder.StartsWith("obj.", StringComparison.Ordinal)
            let expected = folder.Length == 0 ? "PitrPS" : "PitrPS." + folder
            from line in File.ReadLines(file)
            where line.StartsWith("namespace ", StringComparison.Ordinal) && line != $"namespace {expected};"
            select $"{file}: {line}";
        Assert.Empty(wrong);
    }

    [Fact]
    public void Only_the_cmdlets_know_PowerShell() =>
        Assert.DoesNotContain("System.Management.Automation", Code.Core.GetReferencedAssemblies().Select(a => a.Name));

    [Fact]
    public void Only_Hosts_and_SQL_know_what_they_are_built_on()
    {
        var wrong =
            from type in Code.Core.GetTypes().Concat(Code.Cmdlets.GetTypes())
            from used in Code.ReferencesOf(type)
            where used.Assembly.GetName().Name is "Renci.SshNet" or "Npgsql" or "BouncyCastle.Cryptography"
            where Code.FolderOf(type) is not ("Hosts" or "Servers")
            select $"{type.FullName} uses {used.FullName}";
        Assert.Empty(wrong.Distinct());
    }

    [Fact]
    public void No_public_member_shows_a_type_of_somebody_else()
    {
        var wrong =
            from assembly in new[] { Code.Core, Code.Cmdlets, typeof(Loader.ModuleLoadContext).Assembly }
            from type in assembly.GetExportedTypes()
            from shown in Shown(type)
            where !IsOurs(shown.Assembly.GetName().Name!)
            select $"{type.FullName} shows {shown.FullName}";
        Assert.Empty(wrong.Distinct());
    }

    private static bool IsOurs(string assembly) =>
        assembly is "System.Management.Automation" or "netstandard" or "PitrPS" || assembly.StartsWith("PitrPS.", StringComparison.Ordinal)
        || (assembly.StartsWith("System.", StringComparison.Ordinal) && Path.GetDirectoryName(Assembly.Load(assembly).Location) == Path.GetDirectoryName(typeof(object).Assembly.Location));

    private static IEnumerable<Type> Shown(Type type)
    {
        const BindingFlags members = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;
        var types = new List<Type?> { type.BaseType };
        types.AddRange(type.GetInterfaces());
        types.AddRange(type.GetFields(members).Where(f => f.IsPublic || f.IsFamily || f.IsFamilyOrAssembly).Select(f => f.FieldType));
        foreach (var method in type.GetMembers(members).OfType<MethodBase>().Where(m => m.IsPublic || m.IsFamily || m.IsFamilyOrAssembly))
        {
            types.Add((method as MethodInfo)?.ReturnType);
            types.AddRange(method.GetParameters().Select(p => p.ParameterType));
        }

        return types.OfType<Type>().SelectMany(Parts).Where(t => !t.IsGenericParameter);
    }

    private static IEnumerable<Type> Parts(Type type) =>
        type.HasElementType ? Parts(type.GetElementType()!) : type.GenericTypeArguments.SelectMany(Parts).Append(type);
}
