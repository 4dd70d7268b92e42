namespace PitrPS.LabTests.Infrastructure;

/// <summary>Where things are in the repository that these tests were built from.</summary>
public static class RepositoryPaths
{
    public static string Root { get; } = FindRoot();

    /// <summary>The module as a user has it, made by build.ps1.</summary>
    public static string Module { get; } = Path.Join(Root, "out", "PitrPS");

    public static string Lab { get; } = Path.Join(Root, "tests", "lab", "lab");

    /// <summary>Runs a program in a host whose process 1 is known.</summary>
    public static string LabEnter { get; } = Path.Join(Root, "tests", "lab", "lib", "enter.sh");

    private static string FindRoot()
    {
        for (var directory = AppContext.BaseDirectory; directory is not null; directory = Path.GetDirectoryName(directory))
        {
            if (File.Exists(Path.Join(directory, "PitrPS.sln")))
            {
                return directory;
            }
        }

        throw new DirectoryNotFoundException($"No PitrPS.sln above {AppContext.BaseDirectory}.");
    }
}
