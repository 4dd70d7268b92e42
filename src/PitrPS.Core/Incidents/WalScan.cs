using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>
/// Which records of the WAL travel: pg_waldump's own filter, then an awk condition on its lines, both applied on the host.
/// </summary>
/// <param name="Passes">pg_waldump options; more than one where an option cannot be given twice (13 honours only the last -r).</param>
/// <param name="Condition">An awk pattern; lines that match are handed on, without the invalidation messages, which can be megabytes.</param>
internal sealed record WalFilter(IReadOnlyList<string> Passes, string Condition)
{
    /// <summary>Only these resource managers' records.</summary>
    public static WalFilter Of(int major, IReadOnlyList<string> managers, string condition) =>
        new(!PgVersion.DumpsSeveralManagers(major) ? [.. managers.Select(m => "-r " + m)] : [string.Join(' ', managers.Select(m => "-r " + m))], condition);
}

/// <summary>How far a reading came.</summary>
/// <param name="Reached">The WAL has been read up to here; where it broke off, the start of the last good record.</param>
/// <param name="Problem">pg_waldump's words where it did not come to the end that was asked for; null where it did.</param>
internal sealed record WalScanEnd(Lsn Reached, string? Problem)
{
    /// <summary>Bytes that were read.</summary>
    public long Bytes { get; init; }

    public TimeSpan Elapsed { get; init; }
}

/// <summary>Where the WAL of a stretch is read from; the one implementation reads on the standby's host, tests read text.</summary>
internal interface IWalReader
{
    /// <inheritdoc cref="WalScan.ReadAsync"/>
    Task<WalScanEnd> ReadAsync(Lsn from, Lsn to, WalFilter filter, Action<string> line, CancellationToken cancel);

    /// <inheritdoc cref="WalScan.BytesAsync(IReadOnlyList{ValueTuple{Lsn, long}}, CancellationToken)"/>
    Task<IReadOnlyList<byte[]>> BytesAsync(IReadOnlyList<(Lsn From, long Count)> stretches, CancellationToken cancel);
}

/// <summary>
/// Reads the WAL of a <see cref="WalRange"/> with the server's own pg_waldump, on the standby's host, as the database's OS user, with low priority.
/// The segments of pg_wal and archive are linked into one private directory, all under the newest timeline's name, so that one pg_waldump reads across places and timeline switches.
/// Compressed segments are put there as plain files, a few at a time: pg_waldump reads one after the other, and waits 5 s for one that is not there yet.
/// Source: src/bin/pg_waldump/pg_waldump.c.
/// </summary>
internal sealed partial class WalScan(WalRange range, IFeedback feedback) : IWalReader
{
    private static readonly TimeSpan Limit = TimeSpan.FromHours(12);

    // Decompressed segments that lie in the scratch directory at the same time: the one that is read, the one before it, to which a record may lead back, and some ahead.
    private const long ScratchBytes = 128 << 20;
    private const long FewestInScratch = 4;

    // pg_waldump waits 5 s for a segment that is not there, so it is never sent past the last one of a continuous stretch.
    private Lsn ClampEnd(Lsn to) => to < range.ContinuousTo ? to : range.ContinuousTo;

    /// <summary>Hands on the lines of the records that start in [from, to) and match, in the order of pg_waldump's passes. Stops at the first gap.</summary>
    /// <param name="from">Where to begin; the next record where none starts here.</param>
    /// <param name="to">Where to end.</param>
    /// <param name="filter">Which records.</param>
    /// <param name="line">Takes a line of pg_waldump.</param>
    /// <param name="cancel">Gives it up.</param>
    public async Task<WalScanEnd> ReadAsync(Lsn from, Lsn to, WalFilter filter, Action<string> line, CancellationToken cancel)
    {
        var end = ClampEnd(to);
        if (end <= from)
        {
            return new WalScanEnd(from, null);
        }

        var watch = Stopwatch.StartNew();
        var command = Command(from, end, filter);
        await using var process = await range.Server.Host.Remote.StartAsync(command, cancel).ConfigureAwait(false);
        await process.WriteLineAsync(Links(from, end), cancel).ConfigureAwait(false);
        var progress = new ScanProgress(feedback, range.Server, end - from, filter.Passes.Count, watch);
        var (pass, exits) = (0, new List<int>());
        while (await process.ReadLineAsync(cancel).ConfigureAwait(false) is { } said)
        {
            if (said.StartsWith("@ ", StringComparison.Ordinal))
            {
                progress.At(Lsn.Parse(said[2..]) - from, pass);
            }
            else if (said.StartsWith("exit ", StringComparison.Ordinal))
            {
                exits.Add(int.Parse(said[5..], CultureInfo.InvariantCulture));
                pass++;
            }
            else
            {
                line(said);
            }
        }

        var result = await process.Completion.ConfigureAwait(false);
        progress.Close();
        var where = exits.Count == filter.Passes.Count && exits.All(e => e == 0) ? new WalScanEnd(end, null) : Where(result, from);
        return where with { Bytes = Math.Max(0, where.Reached - from), Elapsed = watch.Elapsed };
    }

    /// <summary>
    /// Reads everything up to a position and says where it cannot be read; null when all of it can.
    /// A recovery asks this before it stops anything: a segment that is there but damaged ends a recovery as silently as one that is missing.
    /// </summary>
    public async Task<WalScanEnd?> FirstBreakAsync(Lsn to, CancellationToken cancel)
    {
        if (!range.IsCompleteTo(to))
        {
            var gap = range.MissingBefore(to).FirstOrDefault();
            return new WalScanEnd(gap.Size > 0 ? gap.Start : range.To, gap.Size > 0 ? $"segment {gap.Name} is neither in pg_wal nor in the archive" : "the WAL ends before it");
        }

        // Transaction is the rarest record that every stretch has; the reading itself checks every record.
        var end = await ReadAsync(range.From, to, WalFilter.Of(range.Server.Version, ["Transaction"], "0"), _ => { }, cancel).ConfigureAwait(false);
        return end.Problem is null ? null : end;
    }

    /// <summary>
    /// Whether a reading that broke off here is at the end of what was ever written, as opposed to in the middle of it. Where no receiver runs nobody knows the end,
    /// and pg_waldump's complaint about the first record that is not there is what it looks like.
    /// </summary>
    public async Task<bool> IsOrdinaryEndAsync(Lsn reached, CancellationToken cancel)
    {
        if (range.EndIsKnown || range.Pieces.Count == 0)
        {
            return false;
        }

        // Its beginning may be all that the last segment has of a record that started in the one before.
        var last = range.Pieces[^1].Segment.Start;
        return reached >= last || (last - reached <= range.Server.WalSegmentSize && (await FirstRecordAsync(last, cancel).ConfigureAwait(false)).Start is null);
    }

    /// <summary>Whether a record starts exactly here, which recovery_target_lsn needs.</summary>
    public async Task<bool> RecordStartsAtAsync(Lsn lsn, CancellationToken cancel) => (await FirstRecordAsync(lsn, cancel).ConfigureAwait(false)).Start == lsn;

    /// <summary>The first record that starts at or after this position: its start and what pg_waldump prints of it; null where there is none.</summary>
    public async Task<(Lsn? Start, string? Line)> FirstRecordAsync(Lsn lsn, CancellationToken cancel)
    {
        var end = range.ContinuousTo;
        if (lsn < range.From || lsn >= end)
        {
            return (null, null);
        }

        // A record can be longer than a segment; two more are enough for all but the oddest, and linking a thousand costs time.
        var until = lsn + (3 * range.Server.WalSegmentSize);
        var command = Command(lsn, until < end ? until : end, new WalFilter(["-n 1"], "1"));
        var result = await range.Server.Host.Remote.RunAsync(command.WithInput(Links(lsn, until < end ? until : end) + "\n"), cancel).ConfigureAwait(false);
        var record = result.Lines.FirstOrDefault(l => l.Contains(", lsn: ", StringComparison.Ordinal));
        return record is null ? (null, null) : (Lsn.Parse(RecordLsn().Match(record).Groups[1].Value), record);
    }

    /// <summary>The raw bytes of a stretch of WAL as they lie in the segments, page headers and all.</summary>
    public async Task<byte[]> BytesAsync(Lsn from, long count, CancellationToken cancel) => (await BytesAsync([(from, count)], cancel).ConfigureAwait(false))[0];

    /// <summary>As the other one, for many stretches in one command. A stretch that reaches into a missing segment comes back short.</summary>
    public async Task<IReadOnlyList<byte[]>> BytesAsync(IReadOnlyList<(Lsn From, long Count)> stretches, CancellationToken cancel)
    {
        var text = new StringBuilder();
        foreach (var (from, count) in stretches)
        {
            var (at, left) = (from, count);
            while (left > 0 && range.PieceAt(at) is { } piece)
            {
                var take = Math.Min(left, piece.Segment.End - at);
                text.Append(CultureInfo.InvariantCulture, $"{at - piece.Segment.Start + 1} {take} {piece.Path}\n");
                (at, left) = (at + take, left - take);
            }

            text.Append(".\n");
        }

        var result = await range.Server.Host.RunCheckedAsync(RemoteCommand.Shell(BytesScript).As(range.Server.OsUser).WithInput(text.ToString()).WithTimeout(Limit), cancel).ConfigureAwait(false);
        var lines = result.Output.Split('\n');
        return [.. stretches.Select((_, i) => i < lines.Length ? lines[i].Split(' ', StringSplitOptions.RemoveEmptyEntries).SelectMany(Convert.FromBase64String).ToArray() : [])];
    }

    private RemoteCommand Command(Lsn from, Lsn to, WalFilter filter) =>
        RemoteCommand.Shell(Script, [range.Server.Program("pg_waldump"), range.History.Timeline.ToString(CultureInfo.InvariantCulture), from.ToString(), to.ToString(), Keep(filter.Condition),
            Math.Max(FewestInScratch, ScratchBytes / range.Server.WalSegmentSize).ToString(CultureInfo.InvariantCulture), .. filter.Passes]) with
        {
            User = range.Server.OsUser,
            Timeout = Limit,
            // pg_waldump prints times in the zone of its process.
            Environment = new Dictionary<string, string> { ["TZ"] = "UTC" },
        };

    // First what is renamed or decompressed, one "name path" a line, then "=", then paths that keep their names, then ".".
    private string Links(Lsn from, Lsn to)
    {
        var renamed = new StringBuilder();
        var same = new StringBuilder();
        foreach (var piece in range.Pieces.Where(p => p.Segment.End > from && p.Segment.Start < to))
        {
            if (piece.Segment.Timeline == range.History.Timeline && !piece.IsCompressed)
            {
                same.Append(piece.Path).Append('\n');
            }
            else
            {
                renamed.Append((piece.Segment with { Timeline = range.History.Timeline }).Name).Append(' ').Append(piece.Path).Append('\n');
            }
        }

        return $"{renamed}=\n{same}.";
    }

    // A mark at every segment shows how far it is; awk would hold its lines back without the flush.
    internal static string Keep(string condition) =>
        $$"""
        /^exit / { print; next }
        { i = index($0, ", lsn: "); if (!i) next; lsn = substr($0, i + 7); sub(/,.*/, "", lsn)
          mark = substr(lsn, 1, length(lsn) - 6); if (mark != last) { last = mark; print "@ " lsn; fflush() } }
        {{condition}} { sub(/; inval msgs:.*/, ""); print }
        """;

    // What feeds pg_waldump looks which segment it has open (/proc, it is the same user's) and removes what lies before. When nothing is open it may be waiting for
    // the next one: then that comes although there is no room. An empty line on stderr with each segment shows it whether anybody listens any more; if not, it ends everything.
    internal const string Script =
        """
        dump=$1 timeline=$2 from=$3 to=$4 keep=$5 room=$6; shift 6
        dir=$(mktemp -d "${TMPDIR:-/tmp}/pitrps-wal.XXXXXXXX") || exit 70
        feeder=
        trap '[ -z "$feeder" ] || kill "$feeder" 2>/dev/null; rm -rf "$dir"' EXIT
        trap 'exit 129' HUP INT TERM PIPE
        mkdir "$dir/wal" || exit 70
        while IFS= read -r line && [ "$line" != = ]; do
          case $line in
            *.zst | *.lz4 | *.gz) printf '%s\n' "$line" >> "$dir/packed" || exit 70 ;;
            *) ln -s "${line#* }" "$dir/wal/${line%% *}" || exit 70 ;;
          esac
        done
        sed -n '/^\.$/q;p' | xargs -r -d '\n' sh -c 'exec ln -s "$@" "$0/"' "$dir/wal" || exit 70
        low='nice -n 19'
        command -v ionice >/dev/null && low="$low ionice -c 3 -t"
        unpack() {
          case $2 in *.zst) program=zstd ;; *.lz4) program=lz4 ;; *) program=gzip ;; esac
          # One that cannot be decompressed stays away, and pg_waldump says which it lacks.
          $low "$program" -d -c -q < "$2" > "$dir/next" && mv "$dir/next" "$dir/wal/$1"
        }
        feed() {
          trap '' PIPE
          held='' count=0 stuck=0 patience=40
          while read -r name path && [ ! -e "$dir/ended" ]; do
            while [ "$count" -ge "$room" ]; do
              pid=$(cat "$dir/pid" 2>/dev/null) || pid=0
              now=
              for open in $(readlink /proc/"$pid"/fd/* 2>/dev/null); do
                case ${open##*/} in *[!0-9A-F]*) ;; ????????????????????????) now=${open##*/}; now=${now#????????} ;; esac
              done
              if [ "$now" ]; then
                kept='' count=0 before=''
                for each in $held; do
                  if [ "${each#????????}" \< "$now" ]; then
                    [ -z "$before" ] || rm -f "$dir/wal/$before"
                    before=$each
                  else
                    kept="$kept $each" count=$((count + 1))
                  fi
                done
                held="$before$kept"
                [ -z "$before" ] || count=$((count + 1))
              fi
              [ "$count" -ge "$room" ] || break
              # Before it has opened its first one, it is more likely to be just starting.
              if [ "$now" ]; then stuck=0 patience=10; else stuck=$((stuck + 1)); fi
              [ "$stuck" -lt "$patience" ] || { stuck=0; break; }
              [ ! -e "$dir/ended" ] || return
              sleep 0.05
            done
            unpack "$name" "$path"
            held="$held $name" count=$((count + 1))
            echo >&2 || { : > "$dir/gone"; kill "$(cat "$dir/pid")" 2>/dev/null; return; }
          done
        }
        # What a power cut left behind; nothing runs for a day.
        [ ! -s "$dir/packed" ] || find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'pitrps-wal.*' -user "$(id -u)" -mmin +1440 -exec rm -rf {} +
        for pass; do
          if [ -s "$dir/packed" ]; then
            rm -f "$dir/pid" "$dir/ended"
            while read -r name _; do rm -f "$dir/wal/$name"; done < "$dir/packed"
            # It wants a first file to see how large they are.
            { read -r name path && unpack "$name" "$path"; } < "$dir/packed"
            feed < "$dir/packed" &
            feeder=$!
          fi
          { sh -c 'echo $$ > "$0/pid"; exec "$@"' "$dir" $low "$dump" -p "$dir/wal" -t "$timeline" -s "$from" -e "$to" $pass; said=$?; : > "$dir/ended"; echo "exit $said"; } | awk "$keep"
          [ -z "$feeder" ] || { wait "$feeder"; feeder=; }
          [ ! -e "$dir/gone" ] || exit 129
        done
        """;

    private const string BytesScript =
        """
        while read -r at count path; do
          case $path in *.zst) unpack=zstd ;; *.lz4) unpack=lz4 ;; *.gz) unpack=gzip ;; *) unpack= ;; esac
          if [ "$at" = . ]; then
            echo
          else
            if [ "$unpack" ]; then "$unpack" -d -c -q < "$path" 2>/dev/null | tail -c "+$at"; else tail -c "+$at" "$path"; fi | head -c "$count" | base64 -w0
            printf ' '
          fi
        done
        """;

    private WalScanEnd Where(CommandResult result, Lsn from)
    {
        var said = result.ErrorOutput.Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0).ToList();
        var complaint = said.FirstOrDefault(l => l.StartsWith("pg_waldump: ", StringComparison.Ordinal)) ?? said.LastOrDefault() ?? $"it ended with {result.ExitCode}";
        if (BrokenRecord().Match(complaint) is { Success: true } broken)
        {
            return new WalScanEnd(Lsn.Parse(broken.Groups[1].Value), complaint);
        }

        // It was there when the range was looked at: recycled since, or sshfs still lists what is gone.
        if (LostFile().Match(complaint) is { Success: true } lost && WalSegment.TryParse(lost.Groups[1].Value, range.Server.WalSegmentSize, out var segment))
        {
            return new WalScanEnd(segment.Start > from ? segment.Start : from, complaint);
        }

        // Nothing readable from the start position on.
        if (complaint.Contains("could not find a valid record after", StringComparison.Ordinal))
        {
            return new WalScanEnd(from, complaint);
        }

        throw new PitrException("PitrPS.WalUnreadable", ErrorKind.InvalidResult,
            $"pg_waldump cannot read the WAL of {range.Server.Id} from {from} on: {complaint}",
            $"On {range.Server.Host.Name}, see that {range.Server.OsUser} can read {range.Server.DataDirectory}/pg_wal{(range.ArchiveDirectory is null ? "" : " and " + range.ArchiveDirectory)}, then run the same command again.", range.Server);
    }

    [GeneratedRegex("error in WAL record at ([0-9A-F]+/[0-9A-F]+):")]
    private static partial Regex BrokenRecord();

    [GeneratedRegex("could not find file \"([0-9A-F]{24})\"")]
    private static partial Regex LostFile();

    [GeneratedRegex(", lsn: ([0-9A-F]+/[0-9A-F]+), ")]
    private static partial Regex RecordLsn();
}

/// <summary>Says how far a reading is once it has taken 2 s.</summary>
internal sealed class ScanProgress(IFeedback feedback, PgServer server, long total, int passes, Stopwatch watch)
{
    private static readonly TimeSpan Silent = TimeSpan.FromSeconds(2);
    private static readonly long Short = 64 << 20;
    private TimeSpan _last;
    private bool _shown;

    public void At(long bytes, int pass)
    {
        if (total < Short || watch.Elapsed < Silent || watch.Elapsed - _last < TimeSpan.FromMilliseconds(250))
        {
            return;
        }

        (_last, _shown) = (watch.Elapsed, true);
        var done = ((pass * total) + Math.Min(bytes, total)) / passes;
        var rate = done / watch.Elapsed.TotalSeconds;
        feedback.Progress(new ProgressNote(Activity, string.Create(CultureInfo.InvariantCulture, $"{done >> 20} of {total >> 20} MiB, {rate / (1 << 20):0} MiB/s"), done, total, "bytes",
            rate > 0 ? TimeSpan.FromSeconds((total - done) / rate) : null));
    }

    public void Close()
    {
        if (_shown)
        {
            feedback.Progress(new ProgressNote(Activity, "", total, total, "bytes") { Completed = true });
        }
    }

    private string Activity => $"Reading WAL on {server.Id}";
}
