using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// How much a layer is going to take. A file is copied up whole when the server first opens it, which it always does for writing; with reflinks that costs nothing.
/// </summary>
/// <param name="Bytes">Expected, or at most.</param>
/// <param name="IsLimit">It can take no more than this, and the WAL was not looked through for how much less it will be.</param>
internal sealed record LayerEstimate(long Bytes, bool IsLimit)
{
    // Catalogs, commit log, new WAL and whatever else every server writes.
    private const long Always = 96L << 20;
    private const long Slice = 8L << 20;
    private const int Slices = 12;

    /// <summary>As a plan says it.</summary>
    public string Words => $"{(IsLimit ? "at most" : "about")} {ByteSize.Words(Bytes)}";

    /// <exception cref="PitrException"><c>PitrPS.LayerSpace</c> when it does not fit.</exception>
    public static async Task<LayerEstimate> ReadAsync(PgServer standby, WalRange range, ResolvedTarget target, HostSurvey survey, bool reflink, IFeedback feedback, CancellationToken cancel)
    {
        // New blocks, and segments that come from the archive, which stay in the layer.
        var wal = range.BytesTo(target.Stop);
        var fetched = range.FromArchiveBefore(target.ReadTo).Count() * standby.WalSegmentSize;
        if (range.Repository is not null)
        {
            // Beside the layer they lie, too: the scratch server reaches no repository.
            fetched *= 2;
        }

        var growth = Always + wal + fetched;
        var atMost = survey.DatabaseBytes + growth;
        if (reflink)
        {
            return Require(standby, survey, new LayerEstimate(growth, IsLimit: false));
        }

        // To list every block that the WAL refers to takes as long as replaying it: only where space could be short. Where all fits, a sample says how much it will be.
        if (atMost <= survey.FreeBytes / 4)
        {
            return new LayerEstimate(atMost, IsLimit: true);
        }

        var scan = new WalScan(range, feedback);
        var isSample = atMost < survey.FreeBytes && wal > Slice * Slices;
        var touched = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (from, to) in isSample ? SlicesOf(range.From, target.Stop) : [(range.From, target.Stop)])
        {
            await scan.ReadAsync(from, to, new WalFilter([""], Condition), line => touched.Add(line), cancel).ConfigureAwait(false);
        }

        var copied = await SizeAsync(standby, touched, target.Files, cancel).ConfigureAwait(false);
        return Require(standby, survey, new LayerEstimate(Math.Min(copied + growth, atMost), IsLimit: false));
    }

    internal static IEnumerable<(Lsn From, Lsn To)> SlicesOf(Lsn from, Lsn to)
    {
        var step = (to - from) / Slices;
        for (var i = 0; i < Slices; i++)
        {
            yield return (from + (i * step), from + (i * step) + Slice);
        }
    }

    /// <summary>awk for <see cref="WalScan"/>: no line of a record, but at the end "TABLESPACE/DATABASE/FILE FORK SEGMENT" for each file that the records touch.</summary>
    internal const string Condition =
        """
        / blkref #/ { n = split($0, part, / blkref #[0-9]+: rel /)
          for (i = 2; i <= n; i++) { split(part[i], w, " "); f = w[2] == "fork"; seen[w[1] " " (f ? w[3] : "main") " " int((f ? w[5] : w[3]) / 131072)] } }
        END { for (file in seen) print file }
        0
        """;

    /// <summary>The file of a line that <see cref="Condition"/> gives, relative to the data directory; {} stands for a tablespace's own directory, PG_15_202209061.</summary>
    internal static string PathOf(string line)
    {
        var (file, fork, segment) = line.Split(' ') is [var f, var k, var s] ? (f.Split('/'), k, s) : throw new FormatException(line);
        var directory = file[0] switch
        {
            "1663" => $"base/{file[1]}",
            "1664" => "global",
            _ => $"pg_tblspc/{file[0]}/{{}}/{file[1]}",
        };
        return $"{directory}/{file[2]}{(fork == "main" ? "" : "_" + fork)}{(segment == "0" ? "" : "." + segment)}";
    }

    private static async Task<long> SizeAsync(PgServer standby, IEnumerable<string> touched, IReadOnlyList<string> read, CancellationToken cancel)
    {
        var list = string.Join('\n', touched.Select(PathOf).Concat(read.SelectMany(f => (string[])[f, f + ".1", f + ".2", f + ".3", f + "_fsm", f + "_vm"])).Distinct());
        var said = await standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            cd "$1" || exit
            own=$(for d in pg_tblspc/*/PG_"$2"_*; do [ ! -d "$d" ] || { echo "${d##*/}"; break; }; done)
            sed "s|{}|$own|" | xargs -r -d '\n' stat -L -c '%b %B' -- 2>/dev/null | awk '{ sum += $1 * $2 } END { printf "%.0f\n", sum }'
            """, standby.DataDirectory, standby.Version.ToString(CultureInfo.InvariantCulture)).As(standby.OsUser).WithInput(list + "\n"), cancel).ConfigureAwait(false);
        return long.Parse(said.Text, CultureInfo.InvariantCulture);
    }

    private static LayerEstimate Require(PgServer standby, HostSurvey survey, LayerEstimate estimate) =>
        estimate.Bytes <= survey.FreeBytes * 0.95
            ? estimate
            : throw new PitrException("PitrPS.LayerSpace", ErrorKind.ResourceUnavailable,
                $"The throw-away layer of {standby.Id} takes about {ByteSize.Words(estimate.Bytes)}, and {ByteSize.Words(survey.FreeBytes)} are free at {survey.Layer}.",
                "Make room on that file system, or enlarge it, then run the same command again. The standby runs on and has not been touched.", standby);
}

/// <summary>Bytes as people read them.</summary>
internal static class ByteSize
{
    public static string Words(long bytes) => bytes switch
    {
        < 10L << 10 => string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes"),
        < 10L << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1024.0:0} KiB"),
        < 10L << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0} MiB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1073741824.0:0.0} GiB"),
    };
}
