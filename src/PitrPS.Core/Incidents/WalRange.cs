using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>Where a segment lies.</summary>
internal enum WalPlace
{
    PgWal,
    Archive,
}

/// <summary>A segment file of a range and where it is read from.</summary>
/// <param name="Segment">The file's own timeline and number.</param>
/// <param name="Place">pg_wal or the archive.</param>
/// <param name="Path">The file on the standby's host; of a compressed one with its suffix.</param>
internal sealed record WalPiece(WalSegment Segment, WalPlace Place, string Path)
{
    /// <summary>It has to be decompressed before anything else can read it.</summary>
    public bool IsCompressed { get; init; }
}

/// <summary>
/// The WAL that a standby has on its own host, from its redo position on: which segments there are, where each is read from (pg_wal first, the archive only for the rest),
/// what is missing, and along which timelines it runs. Made by <see cref="ReadAsync(PgServer, StandbyPosition, IFeedback, CancellationToken)"/>; nothing in it has been read but names, sizes and the pages at pg_wal's end.
/// Whether the records can be read is asked of <see cref="WalScan"/>.
/// </summary>
internal sealed partial class WalRange : IAsyncDisposable
{
    private readonly IReadOnlyList<WalPiece> _pieces;

    private WalRange(PgServer server, StandbyPosition position, Lsn to, bool endIsKnown, TimelineHistory history, IReadOnlyList<WalPiece> pieces, IReadOnlyList<WalSegment> missing)
    {
        Server = server;
        Position = position;
        From = position.Redo;
        To = to;
        EndIsKnown = endIsKnown;
        History = history;
        _pieces = pieces;
        Missing = missing;
    }

    public PgServer Server { get; }

    public StandbyPosition Position { get; }

    /// <summary>The redo position of the latest restartpoint, where every restart and every recovery begins.</summary>
    public Lsn From { get; }

    /// <summary>The end: what was received, or the end of the last segment that is there.</summary>
    public Lsn To { get; }

    /// <summary>True when <see cref="To"/> is what the receiver has written; false when the last segment may hold less than its size.</summary>
    public bool EndIsKnown { get; }

    /// <summary>The timeline that replay will follow, with its ancestry.</summary>
    public TimelineHistory History { get; }

    /// <summary>The segments of the range that are there, in order.</summary>
    public IReadOnlyList<WalPiece> Pieces => _pieces;

    /// <summary>The segments between <see cref="From"/> and <see cref="To"/> that are neither in pg_wal nor in the archive.</summary>
    public IReadOnlyList<WalSegment> Missing { get; }

    /// <summary>The directory that was looked into for what pg_wal lacks; null when none is known.</summary>
    public string? ArchiveDirectory { get; private init; }

    /// <summary>Why the archive could not be looked into; null when it could, or was not needed.</summary>
    public string? ArchiveProblem { get; private init; }

    /// <summary>The repository out of which the pieces of the archive were got; null where they lie in a directory of the host.</summary>
    public PgBackRest? Repository { get; private init; }

    /// <summary>The archive as messages name it; null when none is known.</summary>
    public string? ArchiveName => Repository is { } repository ? $"the stanza '{repository.Stanza}'" : ArchiveDirectory;

    /// <summary>After this, nothing can be read any more of what was got out of a repository; all that was said of it stays true.</summary>
    public ValueTask DisposeAsync() => Repository is { } repository && ArchiveDirectory is { } directory ? new ValueTask(repository.RemoveFolderAsync(directory)) : ValueTask.CompletedTask;

    /// <summary>Up to where the range is without a gap.</summary>
    public Lsn ContinuousTo => Missing.Count == 0 ? To : Missing[0].Start > From ? Missing[0].Start : From;

    /// <summary>Bytes of WAL from the redo position to <paramref name="lsn"/>.</summary>
    public long BytesTo(Lsn lsn) => lsn > From ? lsn - From : 0;

    /// <summary>Whether every segment up to this position is there, in pg_wal and archive together. That its records can be read: <see cref="WalScan.FirstBreakAsync"/>.</summary>
    public bool IsCompleteTo(Lsn lsn) => lsn <= To && !MissingBefore(lsn).Any();

    /// <summary>The segments needed for everything before this position that are nowhere.</summary>
    public IEnumerable<WalSegment> MissingBefore(Lsn lsn) => Missing.Where(s => s.Start < lsn);

    /// <summary>The segments needed for everything before this position that pg_wal does not have and the archive does.</summary>
    public IEnumerable<WalPiece> FromArchiveBefore(Lsn lsn) => _pieces.Where(p => p.Place == WalPlace.Archive && p.Segment.Start < lsn);

    /// <summary>The timeline of the record that starts here.</summary>
    public uint TimelineAt(Lsn lsn) => History.TimelineAt(lsn);

    /// <summary>The segment file that holds this position; null when it is missing or outside of the range.</summary>
    public WalPiece? PieceAt(Lsn lsn) => _pieces.FirstOrDefault(p => p.Segment.Start <= lsn && lsn < p.Segment.End);

    /// <summary>Looks at pg_wal, and into the archive when pg_wal is not enough.</summary>
    public static Task<WalRange> ReadAsync(PgServer server, StandbyPosition position, IFeedback feedback, CancellationToken cancel) => ReadAsync(server, position, null, null, feedback, cancel);

    /// <summary>
    /// As the other one, for whoever needs nothing after <paramref name="until"/> but the record there: what has to be got out of a repository ends with it;
    /// and along <paramref name="timeline"/>, where one is asked for.
    /// </summary>
    /// <exception cref="PitrException"><c>PitrPS.TimelineUnreachable</c></exception>
    public static async Task<WalRange> ReadAsync(PgServer server, StandbyPosition position, Lsn? until, uint? timeline, IFeedback feedback, CancellationToken cancel)
    {
        var size = server.WalSegmentSize;
        if (timeline is { } asked && asked != position.StreamingTimeline)
        {
            // What is being streamed is another one, so where that ends says nothing.
            position = position with { TargetTimeline = asked.ToString(CultureInfo.InvariantCulture), StreamingTimeline = null };
        }

        var pgWal = await ListAsync(server, server.DataDirectory + "/pg_wal", isPgWal: true, TimeSpan.FromMinutes(2), cancel).ConfigureAwait(false);
        var known = KnownEnd(position, pgWal);
        if (PgBackRest.Of(server, position.RestoreCommand) is { } repository && !IsEnough(pgWal, position, known, size))
        {
            return (await FromRepositoryAsync(repository, position, pgWal, until, feedback, cancel).ConfigureAwait(false)).Along(timeline);
        }

        var archiveDirectory = server.ArchiveMountPoint ?? DirectoryOf(position.RestoreCommand);
        var archive = WalListing.Empty;
        string? problem = null;
        if (archiveDirectory is not null && !IsEnough(pgWal, position, known, size))
        {
            try
            {
                archive = await ListAsync(server, archiveDirectory, isPgWal: false, TimeSpan.FromSeconds(60), cancel).ConfigureAwait(false);
            }
            catch (PitrException e) when (e.Id is "PitrPS.WalUnreadable" or "PitrPS.CommandTimeout")
            {
                problem = e.Message;
                feedback.Warning($"Only pg_wal is looked at. {e.Message}");
            }
        }

        // What restore_command does not understand is not there for a recovery.
        archive = archive with { Packed = archive.Packed.Where(p => ArchiveCompression.IsRestored(position.RestoreCommand, p.Value)).ToDictionary() };
        return Of(server, position, pgWal, archive, archiveDirectory, problem).Along(timeline);
    }

    // A history that is not there, or does not lead through the standby's position, is not followed.
    internal WalRange Along(uint? timeline) => timeline is null || timeline == History.Timeline ? this
        : throw new PitrException("PitrPS.TimelineUnreachable", ErrorKind.InvalidArgument,
            $"{Server.Id} cannot be recovered along timeline {timeline}: {(timeline < Position.Timeline ? $"it is on timeline {Position.Timeline} already" : $"no history file in pg_wal or {ArchiveName ?? "an archive"} leads from its position, {Position.Redo} on timeline {Position.Timeline}, to it")}.",
            $"Leave -Timeline out: the one that it follows, {History.Timeline}, is worked out. Or bring {TimelineHistory.FileName(timeline.Value)} into the archive.", Server);

    // pg_waldump reads files, so all of the repository that the range needs is brought here first, as far as there is room for it.
    private static async Task<WalRange> FromRepositoryAsync(PgBackRest repository, StandbyPosition position, WalListing pgWal, Lsn? until, IFeedback feedback, CancellationToken cancel)
    {
        var server = repository.Server;
        var size = server.WalSegmentSize;
        string? directory = null;
        WalRange With(WalListing archive, string? problem) => Of(server, position, pgWal, archive, directory, problem, repository);
        try
        {
            var cluster = server.SystemIdentifier ?? (await ControlData.ReadAsync(server, cancel).ConfigureAwait(false)).SystemIdentifier;
            var names = await repository.NamesAsync(await repository.RequireAsync(cluster, cancel).ConfigureAwait(false), cluster, WalSegment.At(position.Redo, 1, size), cancel).ConfigureAwait(false);
            (directory, var free) = await repository.MakeFolderAsync(cancel).ConfigureAwait(false);
            var histories = names.Where(n => WalFile.Of(n, size) is WalFile.History h && h.Timeline > 1 && !pgWal.Histories.ContainsKey(h.Timeline)).ToList();
            var archive = WalListing.Empty with { Segments = names.Select(n => WalFile.Of(n, size)).OfType<WalFile.Segment>().Select(s => s.Wal).ToHashSet() };
            if (histories.Count > 0)
            {
                await repository.FetchAsync(histories, directory, feedback, cancel).ConfigureAwait(false);
                archive = archive with { Histories = (await ListAsync(server, directory, isPgWal: false, TimeSpan.FromMinutes(1), cancel).ConfigureAwait(false)).Histories };
            }

            // Half of the room is left to the server.
            // A record can be longer than a segment; two more are enough for all but the oddest.
            var end = until is { } last ? last + (2 * size) : (Lsn?)null;
            List<string> needed = [.. With(archive, null).Pieces.Where(p => p.Place == WalPlace.Archive && (end is null || p.Segment.Start <= end)).Select(p => p.Segment.Name)];
            var fits = (int)Math.Min(needed.Count, free / 2 / size);
            var (_, problem) = await repository.FetchAsync(needed[..fits], directory, feedback, cancel).ConfigureAwait(false);
            problem ??= fits < needed.Count ? $"only {fits} of {needed.Count} segments fit into {directory}" : null;
            var got = await ListAsync(server, directory, isPgWal: false, TimeSpan.FromMinutes(5), cancel).ConfigureAwait(false);
            if (problem is not null)
            {
                feedback.Warning($"{server.Id}: not all WAL that is needed could be got out of the stanza '{repository.Stanza}'. {problem}");
            }

            return With(archive with { Segments = got.Segments }, problem);
        }
        catch (PitrException e) when (e.Id is "PitrPS.PgBackRestMissing" or "PitrPS.RepositoryUnreachable" or "PitrPS.StanzaNotFound" or "PitrPS.StanzaOfAnotherCluster" or "PitrPS.CommandTimeout")
        {
            feedback.Warning($"Only pg_wal is looked at. {e.Message}");
            return With(WalListing.Empty, e.Message);
        }
        catch when (directory is not null)
        {
            await repository.RemoveFolderAsync(directory).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The directory of a restore_command such as <c>cp /mnt/archive/%f %p</c>; null where none can be told.</summary>
    internal static string? DirectoryOf(string restoreCommand) =>
        RestoreSource().Match(restoreCommand) is { Success: true } match ? match.Groups["dir"].Value : null;

    [GeneratedRegex("""(?<quote>["']?)(?<dir>/[^\s"'%;|&<>$`]*?)(?:\k<quote>/|/\k<quote>)%f""")]
    private static partial Regex RestoreSource();

    internal static WalRange Of(PgServer server, StandbyPosition position, WalListing pgWal, WalListing archive, string? archiveDirectory = null, string? archiveProblem = null, PgBackRest? repository = null)
    {
        var size = server.WalSegmentSize;
        var known = KnownEnd(position, pgWal);
        var history = Follow(position, pgWal, archive);
        var first = WalSegment.At(position.Redo, 1, size).Number;
        var pgWalEnd = pgWal.LastValid is { } valid ? valid.Number : known is { } end ? WalSegment.Before(end, 1, size).Number : pgWal.Segments.Select(s => s.Number).DefaultIfEmpty(first).Max();

        bool InPgWal(WalSegment s) => s.Number <= pgWalEnd && pgWal.Segments.Contains(s);
        WalPiece? PieceOf(ulong number)
        {
            // The newest timeline first: its first segment begins as a copy of its ancestor's last one, which may end early.
            foreach (var timeline in history.TimelinesIn(number, size).Reverse())
            {
                var segment = new WalSegment(timeline, number, size);
                var isUnfinished = number == pgWalEnd && known is null;
                if (InPgWal(segment) && !(isUnfinished && archive.Has(segment)))
                {
                    return new WalPiece(segment, WalPlace.PgWal, $"{server.DataDirectory}/pg_wal/{segment.Name}");
                }

                if (archive.Segments.Contains(segment))
                {
                    return new WalPiece(segment, WalPlace.Archive, $"{archiveDirectory}/{segment.Name}");
                }

                if (archive.Packed.TryGetValue(segment, out var suffix))
                {
                    return new WalPiece(segment, WalPlace.Archive, $"{archiveDirectory}/{segment.Name}{suffix}") { IsCompressed = true };
                }
            }

            return null;
        }

        var last = known is { } until
            ? WalSegment.Before(until, 1, size).Number
            : archive.Segments.Concat(archive.Packed.Keys).Concat(pgWal.Segments.Where(InPgWal)).Where(s => s.Number >= first && history.TimelinesIn(s.Number, size).Contains(s.Timeline))
                .Select(s => s.Number).DefaultIfEmpty(first).Max();
        var pieces = new List<WalPiece>();
        var missing = new List<WalSegment>();
        for (var number = first; number <= last; number++)
        {
            if (PieceOf(number) is { } piece)
            {
                pieces.Add(piece);
            }
            else
            {
                missing.Add(new WalSegment(history.TimelinesIn(number, size).Last(), number, size));
            }
        }

        return new WalRange(server, position, known ?? new WalSegment(1, last, size).End, known is not null, history, pieces, missing)
        {
            ArchiveDirectory = archiveDirectory,
            ArchiveProblem = archiveProblem,
            Repository = repository,
        };
    }

    // A receiver that has just been started says where it began, which is before what pg_wal has from the one before it.
    private static Lsn? KnownEnd(StandbyPosition position, WalListing pgWal) =>
        position.Received is { } received && position.StreamingTimeline is not null && received > position.Redo && (pgWal.LastValid is not { } last || received >= last.Start) ? received : null;

    // What replay will follow: the stream's timeline while there is one, else what recovery_target_timeline says. A history that does not pass through
    // our own position belongs to somebody's earlier experiment and is not followed. Source: timeline.c, findNewestTimeLine and tliInHistory.
    private static TimelineHistory Follow(StandbyPosition position, WalListing pgWal, WalListing archive)
    {
        TimelineHistory? HistoryOf(uint timeline) =>
            timeline == 1 ? TimelineHistory.Parse(1, "")
            : (pgWal.Histories.GetValueOrDefault(timeline) ?? archive.Histories.GetValueOrDefault(timeline)) is { } text ? TimelineHistory.Parse(timeline, text) : null;

        // Without its history file a timeline is taken to be older than the range, which it is wherever nothing was promoted since the restartpoint.
        var own = HistoryOf(position.Timeline) ?? TimelineHistory.Parse(position.Timeline, "");
        uint wanted = position.Timeline;
        if (position.StreamingTimeline is { } streaming)
        {
            wanted = streaming;
        }
        else if (uint.TryParse(position.TargetTimeline, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            wanted = HistoryOf(number)?.TimelineAt(position.Redo) == position.Timeline ? number : position.Timeline;
        }
        else if (position.TargetTimeline != "current")
        {
            wanted = pgWal.Histories.Keys.Concat(archive.Histories.Keys).Where(t => t > position.Timeline && HistoryOf(t)!.TimelineAt(position.Redo) == position.Timeline)
                .DefaultIfEmpty(position.Timeline).Max();
        }

        return wanted == position.Timeline ? own : HistoryOf(wanted) ?? own;
    }

    private static bool IsEnough(WalListing pgWal, StandbyPosition position, Lsn? known, long size)
    {
        var have = pgWal.Segments.Select(s => s.Number).ToHashSet();
        return known is { } end && position.StreamingTimeline is { } timeline
            && (timeline == position.Timeline || pgWal.Histories.ContainsKey(timeline))
            && WalSegment.Range(position.Redo, end, timeline, size).All(s => have.Contains(s.Number));
    }

    private static async Task<WalListing> ListAsync(PgServer server, string directory, bool isPgWal, TimeSpan limit, CancellationToken cancel)
    {
        var said = await server.Host.Remote.RunAsync(RemoteCommand.Shell(ListScript, directory, server.WalSegmentSize.ToString(CultureInfo.InvariantCulture), isPgWal ? "y" : "")
            .As(server.OsUser).WithTimeout(limit), cancel).ConfigureAwait(false);
        return said.Succeeded ? WalListing.Parse(said.Output, server.WalSegmentSize) : throw new PitrException("PitrPS.WalUnreadable", ErrorKind.InvalidResult,
            $"{directory} on {server.Host.Name} cannot be read: {said.ErrorOutput.Trim()}",
            isPgWal ? $"See that {server.OsUser} can read it." : "See whether it is mounted (Mount-WalArchive, Get-ReplicationStatus), then run the same command again.", server);
    }

    // At the end of pg_wal lie segments that were recycled: the right name and an old content, which the address in the first page tells.
    internal const string ListScript =
        """
        cd "$1" || exit
        find . -maxdepth 1 -type f \( -name '????????????????????????' -printf 'segment %f %s\n' -o -name '????????????????????????.*' -size +0 -printf 'packed %f\n' \) || exit
        for h in *.history; do
          [ -f "$h" ] && sed "s/^/history $h /" "$h"
        done
        [ "$3" ] || exit 0
        names=$(LC_ALL=C ls -r | grep -E '^[0-9A-F]{24}$') || exit 0
        # Reads "anything address" for each name.
        valid() {
          for f in $names; do
            read -r _ at || return
            low=${f#????????????????} high=${f#????????}; high=${high%????????}
            [ "$at" = $(( (0x$high * (0x100000000 / $1) + 0x$low) * $1 )) ] && { echo "valid $f"; return; }
          done
          return 1
        }
        # All of them at once; where one of them goes meanwhile, each by itself.
        printf '%s\n' $names | xargs head -qc 16 -- 2>/dev/null | od -An -v -w16 -tu8 | valid "$2" ||
          for f in $names; do od -An -v -w16 -tu8 -N16 "$f" 2>/dev/null || echo 0 0; done | valid "$2"
        exit 0
        """;
}

/// <summary>What lies in a directory of WAL: whole segments, timeline histories, and in pg_wal the last segment that is not a recycled one.</summary>
internal sealed record WalListing(IReadOnlySet<WalSegment> Segments, IReadOnlyDictionary<uint, string> Histories, WalSegment? LastValid)
{
    public static readonly WalListing Empty = new(new HashSet<WalSegment>(), new Dictionary<uint, string>(), null);

    /// <summary>The segments that are there compressed, with their suffixes.</summary>
    public IReadOnlyDictionary<WalSegment, string> Packed { get; init; } = new Dictionary<WalSegment, string>();

    /// <summary>Whether it is there, compressed or not.</summary>
    public bool Has(WalSegment segment) => Segments.Contains(segment) || Packed.ContainsKey(segment);

    /// <summary>Reads the listing; a file that does not have a segment's size is none.</summary>
    public static WalListing Parse(string text, long segmentSize)
    {
        var segments = new HashSet<WalSegment>();
        var packed = new Dictionary<WalSegment, string>();
        var histories = new Dictionary<uint, string>();
        WalSegment? last = null;
        foreach (var words in text.Split('\n').Select(l => l.Split(' ', 3)).Where(w => w.Length > 1))
        {
            switch (words[0])
            {
                case "segment" when words.Length == 3 && WalSegment.TryParse(words[1], segmentSize, out var segment) && long.Parse(words[2], CultureInfo.InvariantCulture) == segmentSize:
                    segments.Add(segment);
                    break;
                case "packed" when WalFile.Of(words[1], segmentSize) is WalFile.Compressed compressed:
                    // .zst and .lz4 go before .gz, which the fewest restore from.
                    packed[compressed.Wal] = packed.GetValueOrDefault(compressed.Wal, "") is { } other && string.CompareOrdinal(other, compressed.Suffix) > 0 ? other : compressed.Suffix;
                    break;
                case "history" when WalFile.Of(words[1], segmentSize) is WalFile.History history:
                    histories[history.Timeline] = histories.GetValueOrDefault(history.Timeline, "") + (words.Length == 3 ? words[2] : "") + "\n";
                    break;
                case "valid" when WalSegment.TryParse(words[1], segmentSize, out var valid):
                    last = valid;
                    break;
            }
        }

        return new WalListing(segments, histories, last) { Packed = packed };
    }
}
