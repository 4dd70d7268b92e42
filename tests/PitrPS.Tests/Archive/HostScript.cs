using System.Diagnostics;
using System.Reflection;

namespace PitrPS.Tests.Archive;

/// <summary>A test that runs a script of the hosts with a real POSIX shell; skipped where the client is no Linux.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ShellFactAttribute : FactAttribute
{
    public ShellFactAttribute()
    {
        if (!OperatingSystem.IsLinux())
        {
            Skip = "The scripts of the hosts are run on Linux only.";
        }
    }
}

/// <inheritdoc cref="ShellFactAttribute"/>
[AttributeUsage(AttributeTargets.Method)]
public sealed class ShellTheoryAttribute : TheoryAttribute
{
    /// <param name="programs">What it needs of the machine; tests/lab/packages.txt has them.</param>
    public ShellTheoryAttribute(params string[] programs)
    {
        if (!OperatingSystem.IsLinux())
        {
            Skip = "The scripts of the hosts are run on Linux only.";
        }
        else if (programs.FirstOrDefault(p => !File.Exists("/usr/bin/" + p)) is { } missing)
        {
            Skip = $"{missing} is not installed on this machine.";
        }
    }
}

/// <summary>One of the scripts that PitrPS installs, unpacked from the assembly and run as PostgreSQL runs it.</summary>
internal sealed class HostScript
{
    private readonly string _path;

    public HostScript(string name, string folder)
    {
        _path = Path.Combine(folder, name);
        using var resource = typeof(PitrException).Assembly.GetManifestResourceStream(name)!;
        using var file = File.Create(_path);
        resource.CopyTo(file);
    }

    public Task<(int ExitCode, string Error)> RunAsync(string workingDirectory, params string[] arguments) => RunAsync(workingDirectory, prelude: "", arguments);

    /// <summary>The prelude is run by the same shell before, for limits; a PATH in front makes a fake program.</summary>
    public static async Task<(int ExitCode, string Error)> RunAsync(string workingDirectory, string script, string prelude, params string[] arguments)
    {
        var start = new ProcessStartInfo("/bin/sh")
        {
            WorkingDirectory = workingDirectory,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        foreach (var argument in (string[])["-c", prelude + "\nexec /bin/sh \"$@\"", "sh", script, .. arguments])
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var error = await process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, error);
    }

    public Task<(int ExitCode, string Error)> RunWithAsync(string prelude, string workingDirectory, params string[] arguments) =>
        RunAsync(workingDirectory, _path, prelude, arguments);

    private Task<(int ExitCode, string Error)> RunAsync(string workingDirectory, string prelude, string[] arguments) =>
        RunAsync(workingDirectory, _path, prelude, arguments);
}

/// <summary>WAL as far as the scripts look at it: a first page's header, then whatever is asked for.</summary>
internal static class FakeWal
{
    public const ulong Cluster = 7_654_321_098_765_432_101;

    public const int SegmentSize = 1 << 20;

    public static byte[] Segment(string name, ulong cluster = Cluster, ushort magic = 0xD110, uint? timeline = null, ulong? address = null, int size = SegmentSize, byte fill = 0)
    {
        var segment = PitrPS.Archive.WalSegment.Parse(name, SegmentSize);
        var content = new byte[size];
        using var writer = new BinaryWriter(new MemoryStream(content));
        writer.Write(magic);
        writer.Write((ushort)2);
        writer.Write(timeline ?? segment.Timeline);
        writer.Write(address ?? segment.Start.Value);
        writer.Write(0);
        writer.Write(0);
        writer.Write(cluster);
        writer.Write((uint)SegmentSize);
        writer.Write(8192u);
        if (fill != 0)
        {
            Array.Fill(content, fill, 40, size - 40);
        }

        return content;
    }

    public static string Marker(ulong cluster = Cluster, int segmentSize = SegmentSize) => PitrPS.Archive.ArchiveMarker.Render(cluster, segmentSize);
}

/// <summary>A folder of its own for each test, with a blank in its name; gone afterwards.</summary>
public abstract class InFolder : IDisposable
{
    protected InFolder() => Folder = Directory.CreateTempSubdirectory("pitrps test ").FullName;

    protected string Folder { get; }

    public void Dispose()
    {
        Directory.Delete(Folder, recursive: true);
        GC.SuppressFinalize(this);
    }

    protected string In(params string[] parts) => Path.Combine([Folder, .. parts]);
}
