using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;

namespace PitrPS.LabTests.Infrastructure;

/// <summary>One test host, as lab.json describes it.</summary>
public sealed record LabHost(
    string Name, string Address, int Port, string User, string KeyFile, string KnownHosts, string Family, int PostgresMajor,
    string? PasswordUser = null, string? PasswordFile = null)
{
    /// <summary>The parameters by which Connect-PgHost reaches it, as PowerShell reads them.</summary>
    public string ConnectArguments =>
        $"-Name '{Name}' -Address '{Address}' -Port {Port} -UserName '{User}' -KeyFile '{KeyFile}' -KnownHostsFile '{KnownHosts}'";
}

/// <summary>
/// The test hosts. By default a lab of the tests' own (PITRPS_LAB, else /var/lib/pitrps-lab-tests), made anew in each run;
/// build.ps1 destroys it afterwards, because a test host that is ended by its runner cannot.
/// With PITRPS_LAB_JSON: hosts of the user's own; PITRPS_LAB_RESET is then a shell command that makes bare hosts of them again.
/// PITRPS_LAB_KEEP=1 keeps the lab and its snapshots for the next run.
/// </summary>
public sealed class Lab
{
    public const string Primary = "primary";
    public const string Standby = "standby";

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web);
    private static readonly string SharedFolder = Environment.GetEnvironmentVariable("PITRPS_LAB") ?? "/var/lib/pitrps-lab-tests";
    private static readonly Lazy<Lab> One = new(() => new Lab(SharedFolder, Environment.GetEnvironmentVariable("PITRPS_LAB_JSON")));

    private readonly string? _inventory;
    private readonly string _folder;
    private readonly bool _keep = Environment.GetEnvironmentVariable("PITRPS_LAB_KEEP") == "1";
    private readonly HashSet<string> _snapshots = [];
    private readonly ConcurrentDictionary<string, (string Id, string? Start)> _inits = [];

    private Lab(string folder, string? inventory)
    {
        _folder = folder;
        _inventory = inventory;
        if (IsForeign)
        {
            return;
        }

        if (_keep)
        {
            foreach (var line in Run("list").Split('\n'))
            {
                var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
                if (words is [var name, "snapshot", ..])
                {
                    _snapshots.Add(name);
                }
            }
        }
        else
        {
            Run("destroy", "--all");
        }
    }

    /// <summary>The lab of this run.</summary>
    public static Lab Shared => One.Value;

    /// <summary>A lab of its own beside the shared one, for tests that work on several pairs of hosts side by side; whoever asks for it destroys it.</summary>
    public static Lab Beside(string name) => new($"{SharedFolder}-{name}", null);

    /// <summary>Where its files are.</summary>
    public string Folder => _folder;

    /// <summary>True for hosts that are not ours to kill or to cut off.</summary>
    public bool IsForeign => _inventory is not null;

    /// <summary>Why there can be no lab here; null when there can.</summary>
    public static string? WhyNot() =>
        Environment.GetEnvironmentVariable("PITRPS_LAB_JSON") is not null ? null
        : !OperatingSystem.IsLinux() ? "The lab needs Linux; set PITRPS_LAB_JSON for hosts of your own."
        : !Environment.IsPrivilegedProcess ? "The lab needs root; set PITRPS_LAB_JSON for hosts of your own."
        : !File.Exists("/usr/bin/systemd-nspawn") ? "The lab needs systemd-nspawn (bash scripts/bootstrap.sh Test installs it)."
        : null;

    public bool HasSnapshot(string snapshot) => _snapshots.Contains(snapshot);

    public LabHost Host(string name)
    {
        var path = _inventory ?? Path.Join(_folder, "lab.json");
        using var stream = File.OpenRead(path);
        var hosts = JsonSerializer.Deserialize<Inventory>(stream, Json)!.Hosts;
        return hosts.FirstOrDefault(h => h.Name == name) ?? throw new InvalidOperationException($"{path} has no host named {name}.");
    }

    /// <summary>Two hosts that nobody has touched, running, in place of those that are there.</summary>
    /// <param name="suite">The distribution, as the lab knows it.</param>
    public void Create(string suite)
    {
        string[] there = [.. Run("list").Split('\n').Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries)).Where(w => w is [Primary or Standby, ..]).Select(w => w[0])];
        if (there.Length > 0)
        {
            Run(["destroy", .. there]);
        }

        Run("create", Primary, Standby, "--suite", suite);
    }

    /// <summary>A further host, for a test that has one beside the pair; it is the test's to destroy.</summary>
    public LabHost Add(string name, string suite)
    {
        Run("create", name, "--suite", suite);
        return Host(name);
    }

    public void Destroy(string host) => Run("destroy", host);

    /// <summary>Takes the whole lab away, unless it is to be kept for the next run.</summary>
    public void DestroyAll()
    {
        if (!_keep)
        {
            Run("destroy", "--all");
        }
    }

    /// <summary>Puts both hosts back into the state of a snapshot, running.</summary>
    public void Restore(string snapshot) => Run("clone", snapshot);

    /// <summary>Makes bare hosts of the user's own again.</summary>
    public void Reset() => Execute("sh", "-c", Environment.GetEnvironmentVariable("PITRPS_LAB_RESET")
        ?? throw new InvalidOperationException("These tests change hosts: set PITRPS_LAB_RESET to a shell command that puts both back to what they were before PitrPS came."));

    /// <summary>Keeps both hosts as they are under this name, and leaves them stopped.</summary>
    public void Keep(string snapshot) => Keep(snapshot, Primary, Standby);

    /// <summary>The same for some hosts only: those are then what <see cref="Restore"/> puts back.</summary>
    public void Keep(string snapshot, params string[] hosts)
    {
        if (!IsForeign)
        {
            Run(["snapshot", snapshot, .. hosts]);
        }

        _snapshots.Add(snapshot);
    }

    /// <summary>A power cut.</summary>
    public void Kill(string host) => Run("kill", host);

    public void Start(string host) => Run("start", host);

    public void PauseNetwork(string host) => Run("pause-network", host);

    public void ResumeNetwork(string host) => Run("resume-network", host);

    /// <summary>Runs a program as root on a host, not through PitrPS; returns what it printed.</summary>
    public string Exec(string host, params string[] command)
    {
        if (!IsForeign)
        {
            return Execute(RepositoryPaths.LabEnter, [InitOf(host), .. command]);
        }

        var h = Host(host);
        var quoted = string.Join(' ', command.Select(word => "'" + word.Replace("'", "'\\''", StringComparison.Ordinal) + "'"));
        return Execute("ssh", "-i", h.KeyFile, "-p", $"{h.Port}", "-o", "IdentitiesOnly=yes", "-o", $"UserKnownHostsFile={h.KnownHosts}", "-o", "BatchMode=yes",
            $"{h.User}@{h.Address}", "sudo -n " + quoted);
    }

    /// <summary>Runs a POSIX shell script as root on a host.</summary>
    public string Shell(string host, string script) => Exec(host, "sh", "-c", script);

    /// <summary>The key with which the lab's stand-in for PGDG signs, as a file on this machine. It is not PGDG's, so Install-PgServer has to be given it.</summary>
    public string FetchPgdgKey(string host)
    {
        var path = Path.Join(Path.GetTempPath(), "pitrps-lab-pgdg.asc");
        File.WriteAllText(path, Shell(host, """. /etc/os-release; curl -fsS "https://download.postgresql.org/pub/repos/yum/keys/PGDG-RPM-GPG-KEY-RHEL$([ "$VERSION_ID" != 7 ] || echo 7)" """));
        return path;
    }

    /// <summary>Asks a server with psql as its OS user; the rows as psql -At prints them.</summary>
    public string Psql(string host, string sql, string database = "postgres", int port = 5432) =>
        Exec(host, "runuser", "-u", "postgres", "--", "psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-p", $"{port}", "-d", database, "-c", sql).TrimEnd('\n');

    /// <summary>Whether a server of this host lets its OS user in.</summary>
    public bool Answers(string host) => Shell(host, "runuser -u postgres -- psql -XAtc 'SELECT 1' 2>/dev/null || true").Trim() == "1";

    // "lab exec" looks for it each time, which costs more than most of what is run.
    private string InitOf(string host)
    {
        if (!_inits.TryGetValue(host, out var init) || StartOf(init.Id) != init.Start)
        {
            var id = Run("init", host).TrimEnd('\n');
            _inits[host] = init = (id, StartOf(id));
        }

        return init.Id;
    }

    /// <summary>When a process was started, in ticks since boot: its number can be another's later. Null when there is none, or one that has ended and is not fetched yet.</summary>
    private static string? StartOf(string process)
    {
        try
        {
            var status = File.ReadAllText($"/proc/{process}/stat");
            var fields = status[(status.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : fields[19];
        }
        catch (IOException)
        {
            return null;
        }
    }

    private string Run(params string[] arguments) => Execute(RepositoryPaths.Lab, arguments);

    private string Execute(string program, params string[] arguments)
    {
        using var process = new Process
        {
            StartInfo = new ProcessStartInfo(program, arguments)
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                Environment = { ["PITRPS_LAB"] = _folder },
            },
        };
        process.Start();
        process.StandardInput.Close();
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {errors.Result}{output}");
    }

    private sealed record Inventory(IReadOnlyList<LabHost> Hosts);
}
