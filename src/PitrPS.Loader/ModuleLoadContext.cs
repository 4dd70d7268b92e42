using System.Management.Automation;
using System.Reflection;
using System.Runtime.Loader;

namespace PitrPS.Loader;

/// <summary>
/// The load context of PitrPS.Core and of everything it is built on, one for a process. Another module's Npgsql or SSH.NET,
/// of whatever version, is never seen from here, and ours is never seen from there.
/// </summary>
public sealed class ModuleLoadContext : AssemblyLoadContext
{
    private static readonly Lazy<ModuleLoadContext> One = new(() => new ModuleLoadContext());

    private static readonly string Directory = Path.GetDirectoryName(typeof(ModuleLoadContext).Assembly.Location)!;

    private ModuleLoadContext()
        : base("PitrPS") =>
        // The cmdlets, which PowerShell loads into the default context, and the types that Types.cs forwards ask for Core there.
        Default.Resolving += (_, name) => name.Name == "PitrPS.Core" ? LoadFromAssemblyName(name) : null;

    /// <summary>Makes the context at the first call.</summary>
    internal static void Make() => _ = One.Value;

    /// <inheritdoc/>
    protected override Assembly? Load(AssemblyName assemblyName)
    {
        // What is not beside us (PowerShell, .NET) is the process's own.
        var path = Path.Join(Directory, assemblyName.Name + ".dll");
        return File.Exists(path) ? LoadFromAssemblyPath(path) : null;
    }
}

/// <summary>What PowerShell calls when the manifest's first nested module is imported, before it looks at the cmdlets.</summary>
public sealed class LoaderInitializer : IModuleAssemblyInitializer
{
    /// <inheritdoc/>
    public void OnImport() => ModuleLoadContext.Make();
}
