using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>Reads what find-servers.sh printed; pure.</summary>
internal sealed class ServerScan
{
    private readonly PgHost _host;
    private readonly Dictionary<string, ServerState> _states = [];
    private readonly HashSet<string> _unitFiles = [];

    private ServerScan(PgHost host) => _host = host;

    public static IReadOnlyList<PgServer> Parse(PgHost host, string output)
    {
        var scan = new ServerScan(host);
        var clusters = new List<Cluster>();
        var stateFile = "";
        foreach (var line in output.Split('\n'))
        {
            var (name, value) = Split(line, '=');
            switch (name)
            {
                case "cluster":
                    clusters.Add(new Cluster());
                    break;
                case "statefile":
                    stateFile = Decode(value);
                    break;
                case "state":
                    scan.ReadState(stateFile, Decode(value));
                    break;
                case "unitfile":
                    scan._unitFiles.Add(value);
                    break;
                default:
                    clusters.LastOrDefault()?.Read(name, value);
                    break;
            }
        }

        var servers = new List<PgServer>();
        foreach (var cluster in clusters)
        {
            if (scan.ServerOf(cluster, [.. servers.Select(s => s.Name)]) is { } server)
            {
                servers.Add(server);
            }
        }

        return [.. servers.OrderBy(s => s.Version).ThenBy(s => s.Name, StringComparer.Ordinal)];
    }

    private PgServer? ServerOf(Cluster cluster, IReadOnlyCollection<string> taken)
    {
        // Version numbers with a dot are those before 10: shown, so that nobody looks for the server, and refused by whatever would change it.
        if (!int.TryParse(cluster["major"].Split('.')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major))
        {
            return null;
        }

        var data = cluster.Setting("data_directory") ?? Decode(cluster["data"]);
        var config = Directory(cluster.Setting("config_file")) ?? (Decode(cluster["config"]) is { Length: > 0 } directory ? directory : data);
        var files = cluster.FileSettings(config, data);
        var (name, isUsual) = NameOf(cluster["major"], major, config, data, taken);
        var state = _states.GetValueOrDefault(ServerState.FileNameOf(name)) ?? new ServerState();
        var answered = cluster["recovering"].Length > 0;
        var isStandby = cluster["standby"] == "1";
        string? Current(string setting) => cluster.Setting(setting) ?? (answered ? null : files.GetValueOrDefault(setting));
        var does = !answered ? ServerRole.Unknown : cluster["recovering"] == "true" ? ServerRole.Standby : ServerRole.Primary;
        return new PgServer
        {
            Host = _host,
            Name = name,
            Version = major,
            VersionNumber = VersionNumberOf(cluster["binaries"]),
            Port = Number(Current("port")) ?? Number(cluster["port"]) ?? 5432,
            DataDirectory = data,
            ConfigDirectory = config,
            BinDirectory = cluster["bin"],
            ServiceUnit = UnitOf(cluster["unit"], cluster["startedby"], major, isUsual ? name : null),
            Manager = cluster["manager"] is { Length: > 0 } manager ? manager : null,
            LogFile = Decode(cluster["log"]) is { Length: > 0 } log ? log : state.LogFile,
            SocketRole = cluster["role"] is { Length: > 0 } role && role != cluster["owner"] ? role : answered ? null : state.SocketRole,
            OsUser = cluster["owner"] is { Length: > 0 } owner ? owner : "postgres",
            SocketDirectory = Decode(cluster["socket"]) is { Length: > 0 } socket ? socket : FirstOf(Current("unix_socket_directories")) ?? "/var/run/postgresql",
            IsRunning = answered || cluster["status"].Trim() is "ready" or "standby",
            Role = does,
            IsStandby = isStandby || does == ServerRole.Standby,
            SystemIdentifier = ulong.TryParse(cluster.Control("Database system identifier"), NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : null,
            Timeline = uint.TryParse(cluster.Control("Latest checkpoint's TimeLineID"), NumberStyles.None, CultureInfo.InvariantCulture, out var timeline) ? timeline : null,
            WalSegmentSize = Number(cluster.Control("Bytes per WAL segment")) ?? 16 << 20,
            ArchiveDirectory = state.ArchiveDirectory,
            ArchiveRetention = state.RetainSeconds is { } seconds ? TimeSpan.FromSeconds(seconds) : null,
            ArchiveCompression = state.ArchiveCompression ?? WalCompression.None,
            ArchiveMountPoint = state.ArchiveMountPoint,
            ArchiveTransport = state.ArchiveMountPoint is null ? null : state.ArchiveTransport ?? WalTransport.Sshfs,
            ArchiveRepository = RepositoryOf(state.ArchiveStanza),
            RestoreRepository = RepositoryOf(state.RestoreStanza),
            Primary = state.Primary ?? (isStandby ? ConnectionInfo.Primary(Current("primary_conninfo"), Current("primary_slot_name")) : null),
            ReplicationDelay = isStandby ? DelayOf(state, Current("recovery_min_apply_delay")) : null,
            IsFrozen = state.FrozenAt is not null,
        };
    }

    private static WalRepository? RepositoryOf(string? stanza) => stanza is null ? null : new WalRepository(WalRepositoryKind.PgBackRest, stanza);

    // A frozen standby runs with the greatest delay there is; the one that it goes back to is in the state.
    private static TimeSpan DelayOf(ServerState state, string? setting) =>
        TimeSpan.FromMilliseconds(state is { FrozenAt: not null, DelayMilliseconds: { } before } ? before : (double)(SettingValue.InUnit(setting ?? "0", "ms") ?? 0));

    // Debian names its clusters by the directory of their configuration. Elsewhere the usual place is "main", a further cluster in the family's place has its directory's name, and any other is called by its whole path,
    // so that a server has the same name whichever others are there.
    private (string Name, bool IsUsual) NameOf(string version, int major, string config, string data, IReadOnlyCollection<string> taken)
    {
        if (config.Split('/') is ["", "etc", "postgresql", var directory, var cluster] && directory == version)
        {
            return ($"{version}/{cluster}", true);
        }

        if (data == _host.Facts.Platform.DataDirectory(major, "main"))
        {
            return ($"{version}/main", true);
        }

        // Where Install-PgServer puts a further cluster.
        var leaf = data.TrimEnd('/').Split('/')[^1];
        if (data == _host.Facts.Platform.DataDirectory(major, leaf) && config == _host.Facts.Platform.ConfigDirectory(major, leaf))
        {
            return ($"{version}/{leaf}", true);
        }

        var name = $"{version}/{data.Trim('/').Replace('/', '-')}";
        return (taken.Contains(name) ? $"{name}-{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(data)))[..6]}" : name, false);
    }

    private string? UnitOf(string runningIn, string startedBy, int major, string? usualName)
    {
        // Started by hand it runs in some session; its own unit is still the one to start it with.
        if (usualName is not null)
        {
            var own = _host.Facts.Platform.ServiceUnit(major, usualName[(usualName.IndexOf('/', StringComparison.Ordinal) + 1)..]);
            var at = own.IndexOf('@', StringComparison.Ordinal);
            if (_unitFiles.Contains(own) || (at >= 0 && _unitFiles.Contains(own[..(at + 1)] + ".service")))
            {
                return own;
            }
        }

        return runningIn.Length > 0 ? runningIn : startedBy.Length > 0 ? startedBy : null;
    }

    private void ReadState(string file, string content)
    {
        try
        {
            _states[file] = ServerState.Parse(content);
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new PitrException("PitrPS.StateUnreadable", ErrorKind.InvalidData,
                $"{HostPaths.Servers}/{file} on {_host.Name} cannot be read: {e.Message}",
                "If a newer PitrPS wrote it, go on with that one. Otherwise look at the file, note what it says, and move it away.", _host, e);
        }
    }

    /// <summary>"postgres (PostgreSQL) 15.18 (Debian …)" is 150018, "18beta1" is 180000.</summary>
    internal static int VersionNumberOf(string text)
    {
        var from = text.IndexOf("(PostgreSQL) ", StringComparison.Ordinal);
        var number = from < 0 ? "" : text[(from + 13)..];
        var major = new string([.. number.TakeWhile(char.IsAsciiDigit)]);
        var rest = number[major.Length..];
        var minor = rest.StartsWith('.') ? new string([.. rest[1..].TakeWhile(char.IsAsciiDigit)]) : "";
        return major.Length == 0 ? 0
            : (int.Parse(major, CultureInfo.InvariantCulture) * 10000) + (minor.Length == 0 ? 0 : int.Parse(minor, CultureInfo.InvariantCulture));
    }

    private static string? Directory(string? file) => file?.LastIndexOf('/') is > 0 and var slash ? file[..slash] : null;

    private static string? FirstOf(string? list) => list?.Split(',')[0].Trim().Trim('"') is { Length: > 0 } first ? first : null;

    private static int? Number(string? text) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    private static (string Name, string Value) Split(string line, char by)
    {
        var at = line.IndexOf(by, StringComparison.Ordinal);
        return at < 0 ? (line, "") : (line[..at], line[(at + 1)..]);
    }

    private static string Decode(string text) => text.StartsWith(':') ? text[1..] : Encoding.UTF8.GetString(Convert.FromBase64String(text));

    private sealed class Cluster
    {
        private readonly Dictionary<string, string> _values = [];
        private readonly Dictionary<string, string> _settings = [];
        private readonly Dictionary<string, string> _control = [];
        private readonly List<(string Path, List<string> Lines)> _files = [];

        public string this[string name] => _values.GetValueOrDefault(name, "");

        public string? Setting(string name) => _settings.GetValueOrDefault(name);

        public string Control(string name) => _control.GetValueOrDefault(name, "");

        public void Read(string name, string value)
        {
            if (name.StartsWith("set:", StringComparison.Ordinal))
            {
                _settings[name[4..]] = Decode(value);
            }
            else if (name == "control")
            {
                var (key, text) = Split(value, ':');
                _control[key] = text;
            }
            else if (name == "file")
            {
                _files.Add((Decode(value), []));
            }
            else if (name == "line")
            {
                _files[^1].Lines.Add(value);
            }
            else
            {
                _values[name] = value;
            }
        }

        /// <summary>What the files would give a server that started now: postgresql.conf with conf.d where it is included, then postgresql.auto.conf.</summary>
        public SortedDictionary<string, string> FileSettings(string config, string data)
        {
            var directory = $"{config}/{OwnedSettings.IncludeDirectory}";
            var main = _files.FirstOrDefault(f => f.Path == config + "/postgresql.conf").Lines ?? [];
            IEnumerable<string> Included(string line) => ConfigText.Parse(line) switch
            {
                { } e when e.Is("include_dir") && ConfigText.SamePath(e.Value, config, OwnedSettings.IncludeDirectory) =>
                    _files.Where(f => Directory(f.Path) == directory).OrderBy(f => f.Path, StringComparer.Ordinal).SelectMany(f => f.Lines),
                { } e when e.Is("include") || e.Is("include_if_exists") => _files.FirstOrDefault(f => f.Path == (e.Value.StartsWith('/') ? e.Value : $"{config}/{e.Value}")).Lines ?? [],
                _ => [line],
            };
            var lines = main.SelectMany(Included);
            return ConfigText.Values([.. lines, .. _files.FirstOrDefault(f => f.Path == data + "/postgresql.auto.conf").Lines ?? []]);
        }
    }
}
