using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.Loader;

namespace PitrPS.LabTests.Hosts;

/// <summary>
/// Tests of the seam speak to the very host objects that the cmdlets emitted. PitrPS.Core does not lie beside the tests;
/// whoever asks for it gets the one that the imported module has loaded, so the types are the same.
/// </summary>
internal static class CoreOfTheModule
{
#pragma warning disable CA2255 // A test assembly has no other place that runs before its tests.
    [ModuleInitializer]
    public static void Offer() => AssemblyLoadContext.Default.Resolving += Find;
#pragma warning restore CA2255

    private static Assembly? Find(AssemblyLoadContext context, AssemblyName name) =>
        name.Name != "PitrPS.Core" ? null : AssemblyLoadContext.All.FirstOrDefault(c => c.Name == "PitrPS")?.LoadFromAssemblyName(name);
}
