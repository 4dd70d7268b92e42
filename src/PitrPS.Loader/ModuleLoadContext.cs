using System.Reflection;
using System.Runtime.Loader;

namespace PitrPS.Loader;

/// <summary>
/// The load context that PitrPS and everything it is built on lives in, one for a process. Another module's Npgsql or SSH.NET,
/// of whatever version, is never seen from here, and ours is never seen from there.
/// </summary>
public sealed class ModuleLoadContext : AssemblyLoadContext
{
    private static readonly Lazy<Assembly> Cmdlets = new(LoadOnce);

    private readonly string _directory;

    private ModuleLoadContext(string directory)
        : base("PitrPS") => _directory = directory;

    /// <summary>The assembly with the cmdlets, loaded at the first call.</summary>
    public static Assembly CmdletAssembly => Cmdlets.Value;

    /// <inheritdoc/>
    protected override Assembly? Load(AssemblyName assemblyName)
    {
        // What is not beside us (PowerShell, .NET) is the process's own.
        var path = Path.Join(_directory, assemblyName.Name + ".dll");
        return File.Exists(path) ? LoadFromAssemblyPath(path) : null;
    }

    private static Assembly LoadOnce()
    {
        var directory = Path.GetDirectoryName(typeof(ModuleLoadContext).Assembly.Location)!;
        var context = new ModuleLoadContext(directory);

        // Only the types that Types.cs forwards are asked for by this name outside of our context.
        Default.Resolving += (_, name) => name.Name == "PitrPS.Core" ? context.LoadFromAssemblyName(name) : null;
        return context.LoadFromAssemblyPath(Path.Join(directory, "PitrPS.dll"));
    }
}
