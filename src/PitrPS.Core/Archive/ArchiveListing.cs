using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace PitrPS.Archive;

/// <summary>A file of WAL in an archive.</summary>
/// <param name="File">What its name says.</param>
/// <param name="Size">Bytes.</param>
/// <param name="DiskSize">Bytes on the disk.</param>
/// <param name="Time">When it was last written.</param>
internal sealed record ArchiveFile(WalFile File, long Size, long DiskSize, DateTimeOffset Time);

/// <summary>What one look at an archive's directory tells, names and sizes only.</summary>
internal sealed partial record ArchiveListing
{
    /// <summary>The host's clock.</summary>
    public DateTimeOffset Time { get; init; }

    /// <summary>The marker's text; null without one.</summary>
    public string? Marker { get; init; }

    public long? DiskFree { get; init; }

    public IReadOnlyList<ArchiveFile> Files { get; init; } = [];

    /// <summary>The history files of the archive, by timeline.</summary>
    public IReadOnlyDictionary<uint, string> Histories { get; init; } = new Dictionary<uint, string>();

    /// <summary>Those of the server's own pg_wal.</summary>
    public IReadOnlyDictionary<uint, string> OwnHistories { get; init; } = new Dictionary<uint, string>();

    /// <summary>What the server has finished and not archived yet (pg_wal/archive_status/*.ready).</summary>
    public IReadOnlySet<string> Ready { get; init; } = new HashSet<string>();

    // $1: the archive, $2: pg_wal, $3: the marker's name. One find for all files, whatever their number. What waits is read first, so that what is archived
    // meanwhile is seen in one of both. A mount that hangs would hang this shell too, and what is cached of it does not: so a file is read in another process before.
    // A file that is removed meanwhile, or that sshfs has still in its cached listing, is none.
    internal const string Script =
        """
        marker=$(timeout -k 2 25 cat -- "$1/$3" 2>&1)
        case $?:$marker in
          0:*) printf '%s\n' "$marker" | sed 's/^/marker /' ;;
          124:* | 137:*) echo "$1 does not answer" >&2; exit 70 ;;
          *'No such file or directory') ;;
          *) printf '%s\n' "$marker" >&2; exit 70 ;;
        esac
        date -u +'clock %s.%N'
        find "$2/archive_status" -maxdepth 1 -name '*.ready' -printf 'ready %f\n' 2>/dev/null
        for h in "$2"/*.history; do
          [ -f "$h" ] && sed "s/^/own ${h##*/} /" -- "$h"
        done
        cd -- "$1" 2>/dev/null || { ls -d -- "$1/." >/dev/null; exit 70; }
        stat -f -c 'disk %S %a' .
        for h in *.history; do
          [ -f "$h" ] && { sed "s/^/history $h /" -- "$h" || exit 70; }
        done
        exec 3>&1
        errors=$(find -L . -ignore_readdir_race -maxdepth 1 -type f -name '[0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F][0-9A-F]*' ! -name '*[!0-9A-Za-z.]*' -printf 'file %f %s %b %T@\n' 2>&1 >&3 |
          grep -v 'No such file or directory$')
        [ -z "$errors" ] || { printf '%s\n' "$errors" >&2; exit 70; }
        """;

    public static ArchiveListing Parse(string text, long segmentSize)
    {
        var files = new List<ArchiveFile>();
        var ready = new HashSet<string>(StringComparer.Ordinal);
        var histories = new Dictionary<uint, string>();
        var own = new Dictionary<uint, string>();
        var marker = (StringBuilder?)null;
        var listing = new ArchiveListing();
        foreach (var line in text.Split('\n'))
        {
            var words = line.Split(' ');
            switch (words)
            {
                case ["clock", var time]:
                    listing = listing with { Time = Epoch(time) };
                    break;
                case ["marker", ..]:
                    (marker ??= new StringBuilder()).Append(line.AsSpan(7)).Append('\n');
                    break;
                case ["disk", var unit, var free] when long.TryParse(unit, NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) && long.TryParse(free, NumberStyles.None, CultureInfo.InvariantCulture, out var blocks):
                    listing = listing with { DiskFree = bytes * blocks };
                    break;
                case ["ready", var name] when name.EndsWith(".ready", StringComparison.Ordinal):
                    ready.Add(name[..^6]);
                    break;
                case ["own" or "history", var name, ..] when WalFile.Of(name, segmentSize) is WalFile.History history:
                    var to = words[0] == "own" ? own : histories;
                    to[history.Timeline] = to.GetValueOrDefault(history.Timeline, "") + string.Join(' ', words[2..]) + "\n";
                    break;
                case ["file", var name, var size, var blocks, var time]:
                    files.Add(new ArchiveFile(WalFile.Of(name, segmentSize), long.Parse(size, CultureInfo.InvariantCulture), long.Parse(blocks, CultureInfo.InvariantCulture) * 512, Epoch(time)));
                    break;
            }
        }

        // An empty one has no line of its own, and is damaged, not absent.
        foreach (var empty in files.Select(f => f.File).OfType<WalFile.History>())
        {
            histories.TryAdd(empty.Timeline, "");
        }

        return listing with { Marker = marker?.ToString(), Files = files, Ready = ready, Histories = histories, OwnHistories = own };
    }

    // Names come by standard input. head opens one file after the other and says each one's name before its bytes, so that one that has gone meanwhile shifts nothing.
    internal const string HeadsScript = """cd -- "$1" && xargs -r head -v -c "$2" -- | base64""";

    // The same of what a compressed file holds. Without its program nothing is said of a file; a name and nothing is what cannot be unpacked.
    internal const string UnpackedHeadsScript =
        """
        cd -- "$1" || exit
        while read -r f; do
          case $f in *.zst) unpack=zstd ;; *.lz4) unpack=lz4 ;; *) unpack=gzip ;; esac
          command -v "$unpack" >/dev/null && [ -r "$f" ] || continue
          printf '\n==> %s <==\n' "$f"
          "$unpack" -d -c -q < "$f" 2>/dev/null | head -c "$2"
        done | base64
        """;

    /// <summary>How much of a file is looked at: a first page's long header.</summary>
    internal const int HeadSize = 40;

    /// <summary>The beginnings that <see cref="HeadsScript"/> or <see cref="UnpackedHeadsScript"/> printed, by name; a file that could not be read is absent or empty.</summary>
    public static IReadOnlyDictionary<string, byte[]> ParseHeads(string output)
    {
        var text = Encoding.Latin1.GetString(Convert.FromBase64String(output));
        var heads = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var names = HeadName().Matches(text);
        for (var i = 0; i < names.Count; i++)
        {
            var from = names[i].Index + names[i].Length;
            var to = i + 1 < names.Count ? names[i + 1].Index : text.Length;
            heads[names[i].Groups[1].Value] = Encoding.Latin1.GetBytes(text.Substring(from, Math.Min(to - from, HeadSize)));
        }

        return heads;
    }

    [GeneratedRegex(@"\n?==> ([0-9A-Za-z.]+) <==\n", RegexOptions.CultureInvariant)]
    private static partial Regex HeadName();

    internal static DateTimeOffset Epoch(string seconds) =>
        DateTimeOffset.UnixEpoch.AddTicks((long)(decimal.Parse(seconds, NumberStyles.Float, CultureInfo.InvariantCulture) * TimeSpan.TicksPerSecond));
}
