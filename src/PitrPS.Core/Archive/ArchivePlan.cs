using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What Enable-WalArchive was asked for.</summary>
/// <param name="Server">The primary.</param>
/// <param name="Path">The archive's directory on its host.</param>
/// <param name="HeartbeatInterval">Whole seconds; zero for no heartbeat.</param>
/// <param name="ArchiveTimeout">archive_timeout, whole seconds.</param>
/// <param name="RetainFor">How long archived WAL is kept, whole seconds; zero for ever, null as it is now.</param>
/// <param name="Compression">How segments are compressed from now on; null as it is now.</param>
/// <param name="Force">Take the place of another archive_command, take over a directory that has files in it.</param>
internal sealed record ArchiveOptions(PgServer Server, string Path, TimeSpan HeartbeatInterval, TimeSpan ArchiveTimeout, TimeSpan? RetainFor, WalCompression? Compression, bool Force);

/// <summary>What gives a promoted standby an archive of its own: what comes before its settings, the settings, and what comes after.</summary>
internal sealed record PromotedArchive(IReadOnlyList<Step> Before, IReadOnlyDictionary<string, string?> Settings, IReadOnlyList<Step> After);

/// <summary>
/// Enable-WalArchive: a directory that only the server writes and only the readers' group reads, an archive_command that is durable,
/// a heartbeat, the proof that a segment has arrived, and on request a retention.
/// Source: PostgreSQL documentation, "Continuous Archiving and Point-in-Time Recovery".
/// </summary>
internal sealed class ArchivePlan
{
    // setgid: what the server writes belongs to the readers' group without the server being in it.
    private const int DirectoryMode = 0x5E8; // 2750
    private const int MarkerMode = 0x1A0; // 0640

    private static readonly TimeSpan ArrivalLimit = TimeSpan.FromSeconds(60);

    private readonly ArchiveOptions _options;
    private readonly PgServer _server;
    private readonly string _path;
    private readonly ArchiveReader _reader;
    private TimeSpan? _retainFor;
    private WalCompression _compression;

    private ArchivePlan(ArchiveOptions options)
    {
        _options = options;
        _server = options.Server;
        _path = options.Path.Length > 1 ? options.Path.TrimEnd('/') : options.Path;
        _reader = ArchiveReader.Of(_server);
        _retainFor = options.RetainFor;
        _compression = options.Compression ?? options.Server.ArchiveCompression;
    }

    /// <exception cref="PitrException">
    /// <c>PitrPS.InvalidPath</c>, <c>PitrPS.InvalidInterval</c>, <c>PitrPS.InvalidRetention</c>, <c>PitrPS.NotAPrimary</c>, <c>PitrPS.ArchiveCommandExists</c>,
    /// <c>PitrPS.ArchiveDirectoryInUse</c>, <c>PitrPS.ArchiveOfAnotherCluster</c>; when carried out also <c>PitrPS.CompressionUnavailable</c>, <c>PitrPS.ArchiveNotWorking</c>.
    /// </exception>
    public static Task<Planned<PgServer>> BuildAsync(ArchiveOptions options, IFeedback feedback, CancellationToken cancel) => new ArchivePlan(options).BuildAsync(feedback, cancel);

    /// <summary>The archive of a standby that is going to be promoted: a directory that is new, or was made for this promotion before, and the usual intervals.</summary>
    /// <exception cref="PitrException"><c>PitrPS.InvalidPath</c>, <c>PitrPS.ArchiveDirectoryInUse</c></exception>
    public static async Task<PromotedArchive> ForPromotedAsync(PgServer standby, string path, bool isOurs, IFeedback feedback, CancellationToken cancel)
    {
        var self = ForPromoted(standby, path);
        self.RequirePath();
        if (standby.ArchiveMountPoint is { } mounted && (self._path + "/").StartsWith(mounted + "/", StringComparison.Ordinal))
        {
            throw new PitrException("PitrPS.InvalidPath", ErrorKind.InvalidArgument, $"{path} is in the archive of the primary that {standby.Id} leaves, mounted at {mounted}.",
                "Choose a directory of its own: a promoted server never writes into the archive of another one.", standby);
        }

        // A marker alone was left by an attempt that took itself back.
        if (!isOurs && !await standby.Host.TestAsync(RemoteCommand.Shell("""[ ! -e "$1" ] || [ -z "$(ls -A -- "$1" | grep -vxF -e lost+found -e "$2" | head -n 1)" ]""", self._path, ArchiveMarker.FileName).AsRoot(), cancel).ConfigureAwait(false))
        {
            throw new PitrException("PitrPS.ArchiveDirectoryInUse", ErrorKind.ResourceExists, $"{path} on {standby.Host.Name} is not empty.",
                "Choose another directory: the archive of a new timeline begins empty.", standby);
        }

        var adopt = await self.ReadDirectoryAsync([], cancel).ConfigureAwait(false);
        feedback.Verbose($"{standby.Id} is to archive to {self._path}.");
        return self.Promoted(adopt);
    }

    /// <summary>The same for a standby that exists only as a plan.</summary>
    public static PromotedArchive OfPromoted(PgServer standby, string path) => ForPromoted(standby, path).Promoted(adopt: false);

    private static ArchivePlan ForPromoted(PgServer standby, string path)
    {
        var minute = TimeSpan.FromMinutes(1);
        return new ArchivePlan(new ArchiveOptions(standby with { ArchiveCompression = WalCompression.None }, path, minute, minute, null, WalCompression.None, false));
    }

    private PromotedArchive Promoted(bool adopt) =>
        new([.. Before(adopt)], Settings(), [Heartbeat.RunningStep(_server, _options.HeartbeatInterval), Arrival(), Remember()]);

    private void RequirePath()
    {
        ArchiveScripts.RequirePath(_path, "The archive's path", _server);
        if ((_path + "/").StartsWith(_server.DataDirectory + "/", StringComparison.Ordinal) || (_server.DataDirectory + "/").StartsWith(_path + "/", StringComparison.Ordinal))
        {
            throw new PitrException("PitrPS.InvalidPath", ErrorKind.InvalidArgument, $"The archive {_path} and the data directory {_server.DataDirectory} lie one in the other.",
                "Choose a directory apart from it, best on a disk of its own.", _server);
        }
    }

    private Dictionary<string, string?> Settings() => new()
    {
        ["archive_mode"] = "on",
        ["archive_command"] = ArchiveScripts.ArchiveCommand(_path, _compression),
        ["archive_timeout"] = string.Create(CultureInfo.InvariantCulture, $"{_options.ArchiveTimeout.TotalSeconds:0}s"),
    };

    private IEnumerable<Step> Before(bool adopt) =>
    [
        .. ArchiveCompression.ProgramSteps(_server.Host, [_compression]),
        _reader.GroupStep(),
        Directory(),
        .. SelinuxSteps.Label(_server.Host, "selinux", _path, SelinuxSteps.DatabaseType),
        .. adopt ? [Adopt()] : (Step[])[],
        Marker(),
        .. ArchiveScripts.InstallSteps(_server.Host),
    ];

    private async Task<Planned<PgServer>> BuildAsync(IFeedback feedback, CancellationToken cancel)
    {
        RequirePath();
        ArchivePrimary.RequireIntervals(_server, _options.HeartbeatInterval, _options.ArchiveTimeout);
        Retention.Require(_options.RetainFor, _server);

        var announcements = new List<string>();
        var was = _server.ArchiveCompression;
        if (!_server.IsPlanned)
        {
            // The server may have been read before somebody else changed it.
            was = (await ServerState.ReadAsync(_server.Host, _server.Name, cancel).ConfigureAwait(false)).ArchiveCompression ?? WalCompression.None;
            _compression = _options.Compression ?? was;
        }

        var settings = Settings();
        var adopt = false;
        if (_server.IsPlanned)
        {
            settings["wal_level"] = "replica";
        }
        else
        {
            ArchivePrimary.Require(_server);
            _retainFor ??= await Retention.NowAsync(_server, cancel).ConfigureAwait(false);
            await ReadSettingsAsync(settings, announcements, feedback, cancel).ConfigureAwait(false);
            adopt = await ReadDirectoryAsync(announcements, cancel).ConfigureAwait(false);
            announcements.AddRange(await OwnedSettings.AnnouncementsAsync(_server, settings, feedback, cancel).ConfigureAwait(false));
        }

        if (_options.RetainFor > TimeSpan.Zero)
        {
            announcements.Add($"WAL that was archived more than {_retainFor} ago is removed from {_path} from now on, except what a standby of this archive or a base backup still needs.");
        }

        if (_compression != was && ArchiveCompression.Program(_compression) is { } program)
        {
            announcements.Add($"Segments are compressed by {program} from now on; those that are there stay as they are. A standby that has this archive mounted already needs {program}, too: run Mount-WalArchive for it again, which installs it.");
        }

        var plan = new Plan
        {
            Operation = "Enable-WalArchive",
            Subject = _server.Id,
            Home = _server.Host,
            IsPlanned = _server.IsPlanned,
            Announcements = announcements,
            Parameters = new Dictionary<string, string>
            {
                ["path"] = _path,
                ["heartbeatSeconds"] = _options.HeartbeatInterval.TotalSeconds.ToString("0", CultureInfo.InvariantCulture),
                ["archiveTimeoutSeconds"] = _options.ArchiveTimeout.TotalSeconds.ToString("0", CultureInfo.InvariantCulture),
                ["retainSeconds"] = (_retainFor ?? TimeSpan.Zero).TotalSeconds.ToString("0", CultureInfo.InvariantCulture),
                ["compression"] = _compression.ToString(),
            },
            WayBack = "Disable-WalArchive",
            Steps =
            [
                .. Before(adopt),
                .. OwnedSettings.Steps(_server, "settings", settings),
                _options.HeartbeatInterval > TimeSpan.Zero ? Heartbeat.RunningStep(_server, _options.HeartbeatInterval) : Heartbeat.GoneStep(_server),
                Arrival(),
                .. _retainFor > TimeSpan.Zero ? Retention.Steps(_server, _path, _retainFor.Value) : Retention.GoneSteps(_server),
                Remember(),
            ],
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(_server, feedback, token), () => _server with { ArchiveDirectory = _path, ArchiveRepository = null, ArchiveRetention = _retainFor > TimeSpan.Zero ? _retainFor : null, ArchiveCompression = _compression, IsPlanned = true });
    }

    private async Task ReadSettingsAsync(Dictionary<string, string?> settings, List<string> announcements, IFeedback feedback, CancellationToken cancel)
    {
        await ArchivePrimary.SettleAsync(_server, settings, _options.Force, ArchiveScripts.IsOurs, announcements, feedback, cancel).ConfigureAwait(false);
        if (_server.ArchiveDirectory is { } was && was != _path)
        {
            announcements.Add($"So far {_server.Id} has archived to {was}; what is there stays there, and whoever has mounted it has to mount {_path} instead.");
        }
    }

    /// <summary>True when there are files that were there before and have to be made readable for the group.</summary>
    private async Task<bool> ReadDirectoryAsync(List<string> announcements, CancellationToken cancel)
    {
        var looked = await _server.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            [ -e "$1" ] || [ -L "$1" ] || { echo absent; exit 0; }
            [ -d "$1" ] && [ ! -L "$1" ] || { echo other; exit 0; }
            if [ -f "$1/$2" ]; then echo marked; cat -- "$1/$2"; exit 0; fi
            [ -z "$(ls -A -- "$1" | grep -vxF lost+found | head -n 1)" ] && echo empty || { echo full; ls -A -- "$1" | head -n 3; }
            """, _path, ArchiveMarker.FileName).AsRoot(), cancel).ConfigureAwait(false);
        switch (looked.Lines.FirstOrDefault())
        {
            case "other":
                throw new PitrException("PitrPS.InvalidPath", ErrorKind.InvalidArgument, $"{_path} on {_server.Host.Name} exists and is no directory.", "Choose another path, or the directory that the link leads to.", _server);

            case "marked":
                if (ArchiveMarker.Parse(looked.Text) is not { } marker)
                {
                    // Half a marker cannot come from us: it is written whole. It is written again.
                    return false;
                }

                if (marker.Format > ArchiveMarker.CurrentFormat || marker.SystemIdentifier != _server.SystemIdentifier)
                {
                    throw new PitrException("PitrPS.ArchiveOfAnotherCluster", ErrorKind.ResourceExists,
                        $"{_path} on {_server.Host.Name} is the archive of the cluster {marker.SystemIdentifier}; {_server.Id} is the cluster {_server.SystemIdentifier}.",
                        "Choose another directory: two clusters in one archive overwrite or stop each other.", _server);
                }

                return false;

            case "full" when !_options.Force:
                throw new PitrException("PitrPS.ArchiveDirectoryInUse", ErrorKind.ResourceExists,
                    $"{_path} on {_server.Host.Name} is not empty, and it is no archive of PitrPS: {string.Join(", ", looked.Lines.Skip(1))}.",
                    "Choose another directory. If it is this server's own archive from before, use -Force: then it is taken over with what is in it.", _server);

            case "full":
                announcements.Add($"{_path} is taken over with what is in it; nobody but the server and the archive's readers can read it any more.");
                return true;

            default:
                return false;
        }
    }

    private Step Directory() => Steps.Directory(_server.Host, "directory", $"Make the archive {_path}, for {_server.OsUser} to write and the group {_reader.Group} to read",
        _path, DirectoryMode, _server.OsUser, _reader.Group);

    private Step Adopt() => Steps.Command(_server.Host, "adopt", $"Let the group {_reader.Group} read the WAL that is in {_path}, and nobody else",
        RemoteCommand.Shell(
            """[ -z "$(find "$1" -maxdepth 1 -type f ! -name '.*' \( ! -group "$3" -o ! -perm 0640 \) -user "$2" | head -n 1)" ]""",
            _path, _server.OsUser, _reader.Group).AsRoot(),
        RemoteCommand.Shell(
            """
            find "$1" -maxdepth 1 -type f -user "$2" -exec chgrp -h -- "$3" {} + &&
            runuser -u "$2" -- find "$1" -maxdepth 1 -type f -user "$2" -exec chmod 0640 -- {} +
            """, _path, _server.OsUser, _reader.Group).AsRoot().WithTimeout(TimeSpan.FromMinutes(10)));

    private Step Marker() => Steps.File(_server.Host, "marker", $"Mark {_path} as the archive of this cluster",
        RemoteFile.Text($"{_path}/{ArchiveMarker.FileName}", ArchiveMarker.Render(_server.SystemIdentifier ?? 0, _server.WalSegmentSize), MarkerMode, _server.OsUser, _reader.Group));

    private Step Arrival() => new("arrival", "Switch to a new segment and see the finished one arrive in the archive", _server.Host)
    {
        IsDone = async run =>
        {
            var archiver = await ArchiverAsync(run).ConfigureAwait(false);
            return archiver.Last is { } last && !archiver.IsFailing && await HasArrivedAsync(run, last).ConfigureAwait(false);
        },
        Do = async run =>
        {
            // Without a record in it the current segment is not switched.
            await QueryAsync(run, "SELECT pg_catalog.pg_logical_emit_message(false, 'pitrps', 'the archive is tried')").ConfigureAwait(false);
            var segment = (await QueryAsync(run, "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal())").ConfigureAwait(false))[0].Text(0);
            var archiver = await ArchiverAsync(run).ConfigureAwait(false);
            var since = DateTimeOffset.UtcNow;

            // The file is there before its command has ended and the archiver says so; names of one timeline ascend.
            while (archiver.IsFailing || string.CompareOrdinal(archiver.Last, segment) < 0 || !await HasArrivedAsync(run, segment).ConfigureAwait(false))
            {
                var now = await ArchiverAsync(run).ConfigureAwait(false);
                if (now.Archived != archiver.Archived)
                {
                    run.Progress($"{now.Last} has arrived, {segment} is waited for", 0, null, "segments");
                    since = DateTimeOffset.UtcNow;
                }
                else if (now.Failed != archiver.Failed || DateTimeOffset.UtcNow - since > ArrivalLimit)
                {
                    throw await NotWorkingAsync(run, segment, now).ConfigureAwait(false);
                }

                archiver = now;
                await Task.Delay(TimeSpan.FromMilliseconds(200), run.Cancel).ConfigureAwait(false);
            }
        },
        Preview = ["SELECT pg_switch_wal()", $"look for that segment in {_path}"],
    };

    // What the archiver's script says is in the server's log, wherever that is: the same script, run by hand, says it to us.
    private async Task<PitrException> NotWorkingAsync(StepRun run, string segment, ArchiverState archiver)
    {
        var tried = archiver.IsFailing && archiver.LastFailed is { } failed ? failed : segment;
        var byHand = await _server.Host.Remote.RunAsync(RemoteCommand.Shell("""cd -- "$1" && exec "$2" "$3" "pg_wal/$4" "$4" "$5" """,
            _server.DataDirectory, ArchiveScripts.ArchivePath, _path, tried, ArchiveCompression.Program(_compression) ?? "").As(_server.OsUser), run.Cancel).ConfigureAwait(false);
        return new PitrException("PitrPS.ArchiveNotWorking", ErrorKind.InvalidResult,
            byHand.Succeeded
                ? $"{tried} of {_server.Id} has not arrived in {_path}, though the archive script succeeds when it is run by hand: the server's archiver does not run it, or not as it is set."
                : $"{tried} of {_server.Id} cannot be archived: {byHand.ErrorOutput.Trim()}",
            "Mend what it says, look at the server's log, and run the same command again: it goes on where it stopped. Until then the server keeps the WAL in pg_wal.", _server);
    }

    private Step Remember() => new("state", "Remember the archive in PitrPS's state on the host", _server.Host)
    {
        IsDone = async run => await ServerState.ReadAsync(_server.Host, _server.Name, run.Cancel).ConfigureAwait(false) is var state && Changed(state) == state,
        Do = run => ServerState.UpdateAsync(_server.Host, _server.Name, Changed, run.Cancel),
        Preview = [$"write {ServerState.PathOf(_server.Name)}"],
    };

    private ServerState Changed(ServerState state) => state with
    {
        ArchiveDirectory = _path,
        ArchiveStanza = null,
        HeartbeatSeconds = _options.HeartbeatInterval > TimeSpan.Zero ? (int)_options.HeartbeatInterval.TotalSeconds : null,
        RetainSeconds = _retainFor > TimeSpan.Zero ? (int)_retainFor.Value.TotalSeconds : null,
        ArchiveCompression = _compression == WalCompression.None ? null : _compression,
    };

    private Task<ArchiverState> ArchiverAsync(StepRun run) => ArchiverState.ReadAsync(_server, run.Feedback, run.Cancel);

    private Task<IReadOnlyList<SqlRow>> QueryAsync(StepRun run, string sql) => ServerSql.QueryAsync(_server, "postgres", sql, run.Feedback, run.Cancel);

    // Compressed otherwise, or not at all, is as good: then it was archived before.
    private Task<bool> HasArrivedAsync(StepRun run, string name) =>
        run.TestAsync(RemoteCommand.Shell("""[ -s "$1" ] || [ -s "$1.zst" ] || [ -s "$1.lz4" ]""", $"{_path}/{name}").AsRoot());
}
