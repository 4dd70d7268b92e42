using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What Test-WalArchive was asked for.</summary>
/// <param name="Server">The primary, or a standby that has mounted its archive.</param>
/// <param name="Path">The archive's directory on that server's host; null for the one that PitrPS set up.</param>
internal sealed record ArchiveProbeOptions(PgServer Server, string? Path);

/// <summary>Looks at an archive, as the server's own user on the server's own host, and changes nothing.</summary>
internal sealed class WalArchiveProbe
{
    // So many files in one command: enough that a command costs nothing, few enough that progress is seen.
    private const int Batch = 4000;
    private const int BatchOfMount = 500;

    // Through a mount each file is some questions to the primary; asked side by side they cost one.
    private const int LanesOfMount = 6;

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(4);

    private readonly PgServer _server;
    private readonly string _path;
    private readonly bool _isGiven;
    private readonly IFeedback _feedback;

    // Where a tool keeps the WAL, its listing is all that can be read.
    private PgBackRest? _repository;

    private WalArchiveProbe(PgServer server, string path, bool isGiven, IFeedback feedback)
    {
        _server = server;
        _path = path;
        _isGiven = isGiven;
        _feedback = feedback;
    }

    /// <exception cref="PitrException">
    /// <c>PitrPS.PlannedObject</c>, <c>PitrPS.VersionUnsupported</c>, <c>PitrPS.NoArchive</c>, <c>PitrPS.InvalidPath</c>, <c>PitrPS.ArchiveUnreachable</c>,
    /// <c>PitrPS.ArchiveMarkerMissing</c>, <c>PitrPS.ArchiveOfAnotherCluster</c>; of a repository what <see cref="PgBackRest.RequireAsync"/> throws.
    /// </exception>
    public static async Task<WalArchiveReport> ReportAsync(ArchiveProbeOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var server = options.Server;
        if (server.IsPlanned)
        {
            throw new PitrException("PitrPS.PlannedObject", ErrorKind.InvalidOperation,
                $"{server.Id} exists only as a plan: it came from a command that ran with -WhatIf, so there is no archive to look at.",
                "Run the commands before this one without -WhatIf.", server);
        }

        PgVersion.Require(server);
        if (options.Path is null && (server.IsStandby ? server.RestoreRepository : server.ArchiveRepository) is { } repository)
        {
            var stanza = new PgBackRest(server, repository.Stanza);
            return await new WalArchiveProbe(server, stanza.Source, false, feedback) { _repository = stanza }.ReportAsync(cancel).ConfigureAwait(false);
        }

        var path = options.Path ?? (server.IsStandby ? server.ArchiveMountPoint : server.ArchiveDirectory) ?? throw new PitrException("PitrPS.NoArchive", ErrorKind.InvalidOperation,
            server.IsStandby ? $"{server.Id} has no archive mounted by PitrPS." : $"{server.Id} has no archive that PitrPS set up.",
            $"Run {(server.IsStandby ? "Mount-WalArchive" : "Enable-WalArchive")}, or give the directory of an archive that others set up with -Path.", server);
        path = path.Length > 1 ? path.TrimEnd('/') : path;
        ArchiveScripts.RequirePath(path, "The archive's path", server);
        return await new WalArchiveProbe(server, path, options.Path is not null, feedback).ReportAsync(cancel).ConfigureAwait(false);
    }

    private async Task<WalArchiveReport> ReportAsync(CancellationToken cancel)
    {
        var watch = System.Diagnostics.Stopwatch.StartNew();

        // The server first, the directory after it: what it says to be finished then has had its time to arrive.
        var position = await PositionAsync(cancel).ConfigureAwait(false);
        Note("reading the directory", 0, null);
        if (_repository is { } repository)
        {
            var listed = await repository.ListingAsync(await repository.RequireAsync(position.Cluster, cancel).ConfigureAwait(false), position.Cluster, _feedback, cancel).ConfigureAwait(false);
            var report = ArchiveCheck.Of(FactsOf(position, listed) with { IsListedOnly = true });
            return report with { Elapsed = watch.Elapsed, Warnings = [.. report.Warnings, $"What lies in the segments was not looked at: 'pgbackrest --stanza={repository.Stanza} verify' reads them."] };
        }

        var listing = await ListAsync(cancel).ConfigureAwait(false);
        CheckMarker(listing, position.Cluster);
        try
        {
            Lsn? neededFrom = _server.IsStandby ? position.Redo : null;
            var (files, heads) = await HeadsAsync(listing, neededFrom, cancel).ConfigureAwait(false);
            var unpacked = await UnpackedAsync(files, heads, cancel).ConfigureAwait(false);
            var report = ArchiveCheck.Of(FactsOf(position, files) with { Heads = heads, Unpacked = unpacked });
            return await WithCommitTimesAsync(report, cancel).ConfigureAwait(false) with { Elapsed = watch.Elapsed };
        }
        finally
        {
            _feedback.Progress(new ProgressNote(Activity, "done") { Completed = true });
        }
    }

    private ArchiveFacts FactsOf(Position position, ArchiveListing listing) => new()
    {
        Server = _server,
        Path = _path,
        Listing = listing,
        Cluster = position.Cluster,
        Timeline = position.TimelineIn(listing),
        End = position.End,
        NeededFrom = _server.IsStandby ? position.Redo : null,
        Archiver = position.Archiver,
    };

    private string Activity => $"Testing the archive {_path} of {_server.Id}";

    private void Note(string status, long done, long? total) => _feedback.Progress(new ProgressNote(Activity, status, done, total, "segments"));

    private sealed record Position(ulong Cluster, uint Timeline, bool IsCurrent, Lsn Redo, Lsn? End, WalArchiverClaim? Archiver)
    {
        // A standby that streams, and a primary, say theirs; else it is the newest one that leads on from where the server stands, as recovery_target_timeline = latest has it.
        public uint TimelineIn(ArchiveListing listing) => IsCurrent ? Timeline : listing.Histories.Concat(listing.OwnHistories).Where(h => h.Key > Timeline && LeadsOn(h.Key, h.Value)).Select(h => h.Key).Append(Timeline).Max();

        private bool LeadsOn(uint timeline, string text)
        {
            try
            {
                return TimelineHistory.Parse(timeline, text) is { Ancestors.Count: > 0 } history && history.TimelineAt(Redo) == Timeline;
            }
            catch (FormatException)
            {
                return false;
            }
        }
    }

    private async Task<Position> PositionAsync(CancellationToken cancel)
    {
        var control = await ControlData.ReadAsync(_server, cancel).ConfigureAwait(false);
        var position = new Position(control.SystemIdentifier, control.Timeline, IsCurrent: !_server.IsStandby, control.Redo, null, null);
        if (!_server.IsRunning)
        {
            _feedback.Warning($"{_server.Id} does not run: how far the archive should reach, and what its archiver claims, is not known.");
            return position;
        }

        var row = (await ServerSql.QueryAsync(_server, "postgres", Query, _feedback, cancel).ConfigureAwait(false))[0];
        position = position with { End = row[1] is { } end ? Lsn.Parse(end) : null };
        if (row.Flag(0))
        {
            return row[2] is { } streamed ? position with { Timeline = uint.Parse(streamed, CultureInfo.InvariantCulture), IsCurrent = true } : position;
        }

        return position with
        {
            Timeline = uint.Parse(row.Text(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
            Archiver = new WalArchiverClaim
            {
                Archived = row.Number(3),
                LastArchived = row[4],
                LastArchivedAt = At(row[5]),
                Failed = row.Number(6),
                LastFailed = row[7],
                LastFailedAt = At(row[8]),
                IsFailing = row.Flag(9),
                Since = At(row[10]),
            },
        };

        static DateTimeOffset? At(string? seconds) => seconds is null ? null : ArchiveListing.Epoch(seconds);
    }

    // A receiver that was just started says where it began, which is before what has been replayed.
    private const string Query =
        """
        SELECT pg_catalog.pg_is_in_recovery(),
               CASE WHEN pg_catalog.pg_is_in_recovery() THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) ELSE pg_catalog.pg_current_wal_lsn() END,
               CASE WHEN pg_catalog.pg_is_in_recovery() THEN (SELECT received_tli::text FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming')
                    ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END,
               archived_count, last_archived_wal, extract(epoch FROM last_archived_time), failed_count, last_failed_wal, extract(epoch FROM last_failed_time),
               coalesce(last_failed_time > last_archived_time, last_failed_time IS NOT NULL), extract(epoch FROM stats_reset)
          FROM pg_catalog.pg_stat_archiver
        """;

    private async Task<ArchiveListing> ListAsync(CancellationToken cancel)
    {
        var said = await AskAsync(RemoteCommand.Shell(ArchiveListing.Script, _path, _server.DataDirectory + "/pg_wal", ArchiveMarker.FileName), cancel).ConfigureAwait(false);
        return ArchiveListing.Parse(said.Output, _server.WalSegmentSize);
    }

    // What does not come back is the archive's filesystem, whatever command it was.
    private async Task<CommandResult> AskAsync(RemoteCommand command, CancellationToken cancel)
    {
        CommandResult said;
        try
        {
            said = await _server.Host.Remote.RunAsync(command.As(_server.OsUser).WithTimeout(Limit), cancel).ConfigureAwait(false);
        }
        catch (PitrException e) when (e.Id == "PitrPS.CommandTimeout")
        {
            throw Unreachable(e.Message);
        }

        return said.Succeeded ? said : throw Unreachable(said.ErrorOutput.Trim());
    }

    private PitrException Unreachable(string why) => new("PitrPS.ArchiveUnreachable", ErrorKind.ResourceUnavailable,
        $"The archive {_path} on {_server.Host.Name} cannot be read as {_server.OsUser}: {why}",
        _server.IsStandby ? "See whether it is mounted and the primary's host answers (Get-ReplicationStatus); Mount-WalArchive mounts it again." : "See that the directory is there, its filesystem mounted, and that this user can read it.", _server);

    private void CheckMarker(ArchiveListing listing, ulong cluster)
    {
        if (listing.Marker is not { } text)
        {
            // An archive that others set up has none.
            if (_isGiven)
            {
                return;
            }

            throw new PitrException("PitrPS.ArchiveMarkerMissing", ErrorKind.InvalidData,
                $"{_path} on {_server.Host.Name} has no {ArchiveMarker.FileName}: its filesystem is not mounted, or it is not the archive of {_server.Id}. While it is missing nothing is archived or restored.",
                _server.IsStandby ? "Run Mount-WalArchive again." : "Mount its filesystem; if the file itself is lost, run Enable-WalArchive again. An archive that others set up is tested with -Path.", _server);
        }

        if (ArchiveMarker.Parse(text) is not { } marker)
        {
            throw new PitrException("PitrPS.ArchiveMarkerMissing", ErrorKind.InvalidData, $"{_path}/{ArchiveMarker.FileName} on {_server.Host.Name} is damaged. While it is, nothing is archived or restored.",
                "Run Enable-WalArchive again on the primary: it writes that file anew.", _server);
        }

        if (marker.SystemIdentifier != cluster)
        {
            throw new PitrException("PitrPS.ArchiveOfAnotherCluster", ErrorKind.InvalidData, $"{_path} on {_server.Host.Name} is the archive of the cluster {marker.SystemIdentifier}; {_server.Id} is the cluster {cluster}.",
                _server.IsStandby ? "See which primary's archive is mounted there, and run Mount-WalArchive with the right one." : "See which server wrote it, and let each server have a directory of its own.", _server);
        }
    }

    private async Task<(ArchiveListing Listing, IReadOnlyDictionary<string, byte[]> Heads)> HeadsAsync(ArchiveListing listing, Lsn? neededFrom, CancellationToken cancel)
    {
        var names = ArchiveCheck.NeedsHead(listing, _server.WalSegmentSize, neededFrom).Order(StringComparer.Ordinal).ToList();
        var heads = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        await Parallel.ForEachAsync(names.Chunk(_server.IsStandby ? BatchOfMount : Batch), new ParallelOptions { MaxDegreeOfParallelism = _server.IsStandby ? LanesOfMount : 1, CancellationToken = cancel }, async (some, token) =>
        {
            var read = await ReadHeadsAsync(some, token).ConfigureAwait(false);
            lock (heads)
            {
                foreach (var (name, head) in read)
                {
                    heads[name] = head;
                }

                Note($"{heads.Count} of {names.Count} segments", heads.Count, names.Count);
            }
        }).ConfigureAwait(false);

        // What a retention removed meanwhile is not there; what is still there could not be read.
        var unread = names.Where(n => !heads.TryGetValue(n, out var head) || head.Length == 0).ToList();
        if (unread.Count == 0)
        {
            return (listing, heads);
        }

        var still = (await AskAsync(RemoteCommand.Shell("""cd -- "$1" && while read -r f; do [ ! -e "$f" ] || echo "$f"; done""", _path)
            .WithInput(string.Join('\n', unread) + "\n"), cancel).ConfigureAwait(false)).Lines.ToHashSet(StringComparer.Ordinal);
        var gone = unread.Where(n => !still.Contains(n)).ToHashSet(StringComparer.Ordinal);
        return (listing with { Files = [.. listing.Files.Where(f => !gone.Contains(f.File.Name))] }, heads);
    }

    // A process for each, which stops after the first block.
    private async Task<IReadOnlyDictionary<string, byte[]>> UnpackedAsync(ArchiveListing listing, IReadOnlyDictionary<string, byte[]> heads, CancellationToken cancel)
    {
        var names = listing.Files.Where(f => f.File is WalFile.Compressed && heads.ContainsKey(f.File.Name)).Select(f => f.File.Name).Order(StringComparer.Ordinal).ToList();
        var unpacked = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        await Parallel.ForEachAsync(names.Chunk(BatchOfMount), new ParallelOptions { MaxDegreeOfParallelism = _server.IsStandby ? LanesOfMount : 2, CancellationToken = cancel }, async (some, token) =>
        {
            var read = await ReadHeadsAsync(some, token, ArchiveListing.UnpackedHeadsScript).ConfigureAwait(false);
            lock (unpacked)
            {
                foreach (var (name, head) in read)
                {
                    unpacked[name] = head;
                }

                Note($"{unpacked.Count} of {names.Count} compressed segments", unpacked.Count, names.Count);
            }
        }).ConfigureAwait(false);
        return unpacked;
    }

    private async Task<IReadOnlyDictionary<string, byte[]>> ReadHeadsAsync(IReadOnlyList<string> names, CancellationToken cancel, string script = ArchiveListing.HeadsScript)
    {
        var said = await AskAsync(RemoteCommand.Shell(script, _path, ArchiveListing.HeadSize.ToString(CultureInfo.InvariantCulture))
            .WithInput(string.Join('\n', names) + "\n"), cancel).ConfigureAwait(false);
        return ArchiveListing.ParseHeads(said.Output);
    }

    // Of some segments, the first or the last COMMIT of the first one that has any.
    // pg_waldump wants a plain file: of a compressed one there is a copy as long as it is read.
    private const string CommitScript =
        """
        program=$1 archive=$2 which=$3
        shift 3
        trap 'rm -rf -- "${work-}"' EXIT
        trap 'exit 129' HUP INT TERM PIPE
        for segment; do
          from=$archive
          case $segment in *.zst) unpack=zstd ;; *.lz4) unpack=lz4 ;; *.gz) unpack=gzip ;; *) unpack= ;; esac
          if [ "$unpack" ]; then
            work=${work-$(mktemp -d)} && from=$work || exit
            timeout -k 2 60 "$unpack" -d -c -q < "$archive/$segment" > "$work/${segment%.*}" 2>/dev/null || continue
            segment=${segment%.*}
          fi
          time=$(timeout -k 2 60 "$program" -r Transaction -p "$from" "$segment" "$segment" 2>/dev/null |
            sed -n 's/.* desc: COMMIT \([0-9-]* [0-9:.]*\) UTC.*/\1/p' | "$which" -n 1)
          [ -z "$time" ] || { echo "$time"; exit; }
        done
        """;

    private async Task<WalArchiveReport> WithCommitTimesAsync(WalArchiveReport report, CancellationToken cancel)
    {
        if (report.FirstRecoverable is not { } first || report.LastRecoverable is not { } last)
        {
            return report;
        }

        var range = report.Segments.Where(s => s.IsRecoverable && s.Start >= first && s.Start < last).ToList();
        Note("reading the times of its first and last COMMIT", 0, null);
        return report with
        {
            FirstRecoverableTime = await CommitTimeAsync("head", range.Take(3), cancel).ConfigureAwait(false) ?? report.FirstRecoverableTime,
            LastRecoverableTime = await CommitTimeAsync("tail", range.AsEnumerable().Reverse().Take(3), cancel).ConfigureAwait(false) ?? report.LastRecoverableTime,
        };
    }

    private async Task<DateTimeOffset?> CommitTimeAsync(string which, IEnumerable<WalArchiveSegment> segments, CancellationToken cancel)
    {
        var said = await _server.Host.Remote.RunAsync((RemoteCommand.Shell(CommitScript, [_server.Program("pg_waldump"), _path, which, .. segments.Select(s => s.Name)]) with
        {
            Environment = new Dictionary<string, string> { ["TZ"] = "UTC" },
        }).As(_server.OsUser).WithTimeout(TimeSpan.FromMinutes(5)), cancel).ConfigureAwait(false);
        return DateTimeOffset.TryParse(said.Text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var time) ? time : null;
    }
}
