using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What a recovery has to know of the standby's host before it plans anything; reading it changes nothing.</summary>
internal sealed record HostSurvey
{
    /// <summary>The data directory, without symbolic links in its path.</summary>
    public required string Data { get; init; }

    /// <summary>
    /// The directories that a layer goes over, each before those that lie in it: the data directory, what links in it lead to (tablespaces, pg_wal),
    /// and file systems that are mounted in any of them, which an overlay does not take along.
    /// </summary>
    public required IReadOnlyList<string> Places { get; init; }

    /// <summary>Where the layer lies: beside the data directory, on its file system, unless the data directory is all that this holds.</summary>
    public required string Layer { get; init; }

    /// <summary>Bytes that are free there.</summary>
    public required long FreeBytes { get; init; }

    /// <summary>Bytes of the database without its WAL: what a layer takes at most.</summary>
    public required long DatabaseBytes { get; init; }

    /// <summary>An earlier recovery left its layer or its unit's name behind.</summary>
    public bool HasLeftovers { get; init; }

    /// <summary>Bytes of memory that the host can give without swapping; null where it does not say.</summary>
    public long? AvailableMemory { get; init; }

    /// <summary>Settings of the standby as its files have them.</summary>
    public required IReadOnlyDictionary<string, string> Settings { get; init; }

    /// <summary>Names of recovery_target settings that somebody left outside of postgresql.auto.conf.</summary>
    public IReadOnlyList<string> LeftTargets => [.. Settings.Where(s => s.Key.StartsWith("recovery_target", StringComparison.Ordinal) && s.Value.Length > 0).Select(s => s.Key)];

    /// <exception cref="PitrException"><c>PitrPS.TargetLeftBehind</c></exception>
    public void RequireNoTarget(PgServer standby) => RequireNoTarget(standby, LeftTargets);

    /// <exception cref="PitrException"><c>PitrPS.TargetLeftBehind</c></exception>
    public static void RequireNoTarget(PgServer standby, IReadOnlyList<string> left)
    {
        if (left.Count > 0)
        {
            throw new PitrException("PitrPS.TargetLeftBehind", ErrorKind.InvalidOperation, $"{standby.Id} has a recovery target in its configuration: {string.Join(", ", left)}. With a second one, no server starts.",
                $"Take it out of the files in {standby.ConfigDirectory}; the standby would stop there, too. Then run the same command again.", standby);
        }
    }

    private static readonly string[] Asked = ["hba_file", "ident_file", "shared_preload_libraries", "shared_buffers", "max_prepared_transactions", "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid"];

    // A target in postgresql.auto.conf does no harm: the layer's copy of that file is cleaned of it.
    private const string Script =
        """
        data=$(readlink -e -- "$1") || exit
        elsewhere=$2 postgres=$3 config=$4 unit=$5; shift 5
        parent=${data%/*}; [ -n "$parent" ] || parent=/
        if [ "$(stat -c %d -- "$parent")" = "$(stat -c %d -- "$data")" ]; then layer=$data.pitrps-scratch; else layer=$elsewhere parent=/var/lib; fi
        echo "data $data"
        echo "layer $layer"
        echo "free $(stat -f -c '%a %S' -- "$parent")"
        echo "size $(du -sLB1 --exclude=pg_wal -- "$data" | cut -f 1)"
        sed -n 's/^MemAvailable: *\([0-9]*\) kB/memory \1/p' /proc/meminfo
        if [ -e "$layer" ] || [ "$(systemctl show -p LoadState "$unit" 2>/dev/null)" != LoadState=not-found ]; then echo 'leftovers yes'; fi
        find "$data" -type l -exec readlink -e -- {} + | while IFS= read -r link; do [ ! -d "$link" ] || echo "link $link"; done
        sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g' /proc/self/mountinfo | while read -r _ _ _ _ mount _; do printf 'mount %b\n' "$mount"; done
        for name; do
          value=$("$postgres" -C "$name" -D "$config" 2>/dev/null) || continue
          case $name in recovery_target*) [ -z "$value" ] || ! grep -qi "^[[:space:]]*$name[[:space:]=]" "$data/postgresql.auto.conf" 2>/dev/null || continue ;; esac
          echo "setting $name $value"
        done
        exit 0
        """;

    public static async Task<HostSurvey> ReadAsync(PgServer standby, CancellationToken cancel)
    {
        var said = await standby.Host.RunCheckedAsync(RemoteCommand.Shell(Script,
            [standby.DataDirectory, $"{HostPaths.State}/{HostPaths.FileName(standby.Name)}.pitrps-scratch", standby.Program("postgres"), standby.ConfigDirectory, ScratchServer.UnitOf(standby), .. Asked])
            .As(standby.OsUser).WithTimeout(TimeSpan.FromMinutes(10)), cancel).ConfigureAwait(false);
        return Parse(said.Text);
    }

    /// <summary>The same with layers over these directories, too: tablespaces that are made while the WAL is replayed.</summary>
    /// <exception cref="PitrException"><c>PitrPS.TablespaceMissing</c> when one is not there: PostgreSQL makes links to them, never the directories.</exception>
    public async Task<HostSurvey> WithAsync(PgServer standby, IReadOnlyList<string> tablespaces, CancellationToken cancel)
    {
        if (tablespaces.Count == 0)
        {
            return this;
        }

        var said = await standby.Host.RunCheckedAsync(RemoteCommand.Shell("""for p; do readlink -e -- "$p" || echo "-$p"; done""", [.. tablespaces]).As(standby.OsUser), cancel).ConfigureAwait(false);
        if (said.Lines.FirstOrDefault(l => l.StartsWith('-')) is { } missing)
        {
            throw new PitrException("PitrPS.TablespaceMissing", ErrorKind.ObjectNotFound, $"The WAL makes a tablespace in {missing[1..]}, and {standby.Host.Name} has no such directory.",
                $"Make it there ({standby.OsUser}, 0700): the standby itself cannot go past that point without it. Then run the same command again.", standby);
        }

        return this with { Places = PlacesOf(Data, Places.Concat(said.Lines).Where(p => p != Data), Places) };
    }

    internal static HostSurvey Parse(string text)
    {
        var lines = text.Split('\n').Select(l => l.Split(' ', 2)).Where(w => w.Length == 2).ToLookup(w => w[0], w => w[1]);
        var free = lines["free"].Single().Split(' ');
        return new HostSurvey
        {
            Data = lines["data"].Single(),
            Places = PlacesOf(lines["data"].Single(), lines["link"], lines["mount"]),
            Layer = lines["layer"].Single(),
            FreeBytes = Number(free[0]) * Number(free[1]),
            DatabaseBytes = Number(lines["size"].Single()),
            HasLeftovers = lines["leftovers"].Any(),
            AvailableMemory = lines["memory"].FirstOrDefault() is { } memory ? Number(memory) << 10 : null,
            Settings = lines["setting"].Select(s => s.Split(' ', 2)).ToDictionary(s => s[0], s => s.Length > 1 ? s[1] : ""),
        };
    }

    internal static IReadOnlyList<string> PlacesOf(string data, IEnumerable<string> links, IEnumerable<string> mounts)
    {
        var places = new SortedSet<string>(StringComparer.Ordinal) { data };
        // Shortest first, so that a link into a directory that is covered already adds nothing.
        foreach (var link in links.OrderBy(l => l.Length))
        {
            if (!places.Any(p => IsWithin(link, p)))
            {
                places.Add(link);
            }
        }

        string[] covered = [.. places];
        places.UnionWith(mounts.Where(m => covered.Any(p => m != p && IsWithin(m, p))));
        return [.. places];
    }

    private static bool IsWithin(string path, string directory) => path == directory || path.StartsWith(directory + "/", StringComparison.Ordinal);

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
