using System.Diagnostics;
using System.Globalization;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Faults;

/// <summary>A process of a test host, as this machine sees it.</summary>
/// <param name="Id">On this machine.</param>
/// <param name="Parent">Its parent's.</param>
/// <param name="Group">Its cgroup on the host, such as /system.slice/ssh.service.</param>
/// <param name="Program">Its short name.</param>
/// <param name="Arguments">Its command line, with blanks.</param>
/// <param name="User">Its user's number.</param>
internal sealed record HostProcess(int Id, int Parent, string Group, string Program, string Arguments, string User);

/// <summary>
/// A test host seen from the machine that it runs on: its processes, files and cable at hand without a program being started on it.
/// A fault has to strike in the middle of a step of a few hundredths of a second.
/// </summary>
internal sealed class LabView(Lab lab, string name)
{
    private readonly string _folder = Path.Join(lab.Folder, "hosts", name);
    private readonly string _number = File.ReadAllText(Path.Join(lab.Folder, "number")).Trim();

    /// <summary>Its files as they are on its disk, also while it is off.</summary>
    public string Disk => Path.Join(_folder, "root");

    /// <summary>The files as the host itself sees them, with what is mounted there; it has to run.</summary>
    public string Files => $"/proc/{Init}/root";

    /// <summary>The first process of the host.</summary>
    public int Init => Ids().Select(p => p.Id).FirstOrDefault(id => ReadQuietly($"/proc/{id}/status").Split('\n')
            .Any(line => line.StartsWith("NSpid:", StringComparison.Ordinal) && line.Split('\t') is [_, _, "1"])) is var init and > 0
        ? init : throw new InvalidOperationException($"{name} in {lab.Folder} does not run.");

    public IReadOnlyList<HostProcess> Processes() => [.. Ids().Select(p => Look(p.Id, p.Group)).OfType<HostProcess>()];

    /// <summary>The units that PitrPS started for one piece of work.</summary>
    public IReadOnlySet<string> TransientUnits() =>
        Directory.Exists($"{Files}/run/systemd/transient") ? Directory.GetFiles($"{Files}/run/systemd/transient", "pitrps-*").Select(f => Path.GetFileName(f)!).ToHashSet() : [];

    /// <summary>The power is cut: no process of the host does anything any more.</summary>
    public void CutPower()
    {
        File.Create(Path.Join(_folder, "stopping")).Dispose();
        Kill(Init);
    }

    public void SetCable(bool isIn)
    {
        var last = File.ReadLines(Path.Join(_folder, "settings")).First(l => l.StartsWith("LAST=", StringComparison.Ordinal))["LAST=".Length..];
        using var ip = Process.Start("ip", ["link", "set", $"pt{_number}h{last}", isIn ? "up" : "down"]);
        ip.WaitForExit();
        Assert.Equal(0, ip.ExitCode);
    }

    public static void Kill(int id)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            process.Kill();
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            // It has ended by itself meanwhile.
        }
    }

    private string Groups => $"/sys/fs/cgroup/{(Directory.Exists("/sys/fs/cgroup/unified") ? "unified/" : "")}pitrps-lab-{_number}/{name}/host";

    private IEnumerable<(int Id, string Group)> Ids()
    {
        var groups = Groups;
        if (!Directory.Exists(groups))
        {
            yield break;
        }

        foreach (var group in Directory.EnumerateDirectories(groups, "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true }).Prepend(groups))
        {
            foreach (var line in ReadQuietly($"{group}/cgroup.procs").Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                yield return (int.Parse(line, CultureInfo.InvariantCulture), group[groups.Length..]);
            }
        }
    }

    private static HostProcess? Look(int id, string group)
    {
        var status = ReadQuietly($"/proc/{id}/status").Split('\n').Select(l => l.Split('\t', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0].TrimEnd(':'), p => p[1]);
        return status.TryGetValue("PPid", out var parent) && !status["State"].StartsWith('Z')
            ? new HostProcess(id, int.Parse(parent, CultureInfo.InvariantCulture), group, status["Name"], ReadQuietly($"/proc/{id}/cmdline").TrimEnd('\0').Replace('\0', ' '), status["Uid"].Split('\t')[0])
            : null;
    }

    private static string ReadQuietly(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A process, or a group of them, that has ended meanwhile.
            return "";
        }
    }
}
