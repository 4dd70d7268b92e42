using System.Globalization;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What Enable-WalArchive -Repository was asked for.</summary>
/// <param name="Server">The primary.</param>
/// <param name="Stanza">pgBackRest's name for it.</param>
/// <param name="HeartbeatInterval">Whole seconds; zero for no heartbeat.</param>
/// <param name="ArchiveTimeout">archive_timeout, whole seconds.</param>
/// <param name="RetainFor">Refused: the repository has a retention of its own.</param>
/// <param name="Compression">Refused: the repository has a compression of its own.</param>
/// <param name="Force">Take the place of another archive_command.</param>
internal sealed record RepositoryOptions(PgServer Server, string Stanza, TimeSpan HeartbeatInterval, TimeSpan ArchiveTimeout, TimeSpan? RetainFor, WalCompression? Compression, bool Force);

/// <summary>
/// Enable-WalArchive for a site whose WAL lives in pgBackRest, which the site has installed and configured: archive_command, unless it is there already,
/// a heartbeat, and the proof that a segment has arrived in the repository. PitrPS keeps no WAL itself then, and removes none.
/// </summary>
internal sealed class RepositoryPlan
{
    private static readonly TimeSpan ArrivalLimit = TimeSpan.FromSeconds(60);

    private readonly RepositoryOptions _options;
    private readonly PgServer _server;
    private readonly PgBackRest _repository;

    private RepositoryPlan(RepositoryOptions options)
    {
        _options = options;
        _server = options.Server;
        _repository = new PgBackRest(options.Server, options.Stanza);
    }

    /// <exception cref="PitrException">
    /// <c>PitrPS.InvalidStanza</c>, <c>PitrPS.NotWithRepository</c>, <c>PitrPS.InvalidInterval</c>, <c>PitrPS.NotAPrimary</c>, <c>PitrPS.ServerUnavailable</c>, <c>PitrPS.ArchiveCommandExists</c>,
    /// and what <see cref="PgBackRest.RequireAsync"/> throws; when carried out also <c>PitrPS.ArchiveNotWorking</c>.
    /// </exception>
    public static Task<Planned<PgServer>> BuildAsync(RepositoryOptions options, IFeedback feedback, CancellationToken cancel) => new RepositoryPlan(options).BuildAsync(feedback, cancel);

    /// <summary>Whether this archive_command fills the stanza, whoever set it.</summary>
    internal static bool Fills(string archiveCommand, string stanza) => PgBackRest.StanzaOfArchiveCommand(archiveCommand) == stanza;

    private async Task<Planned<PgServer>> BuildAsync(IFeedback feedback, CancellationToken cancel)
    {
        PgBackRest.RequireStanza(_options.Stanza, _server);
        if (_options.RetainFor is not null || _options.Compression is not null)
        {
            throw new PitrException("PitrPS.NotWithRepository", ErrorKind.InvalidArgument, $"{(_options.RetainFor is null ? "-Compression" : "-RetainFor")} does not go with -Repository: pgBackRest removes and compresses WAL by its own rules.",
                "Leave it out, and set repo1-retention-full, repo1-retention-archive or compress-type in pgbackrest.conf. A delayed standby needs WAL from its latest restartpoint on: more than the delay.", _server);
        }

        ArchivePrimary.RequireIntervals(_server, _options.HeartbeatInterval, _options.ArchiveTimeout);
        var announcements = new List<string>();
        var settings = new Dictionary<string, string?>
        {
            ["archive_mode"] = "on",
            ["archive_command"] = PgBackRest.ArchiveCommand(_options.Stanza),
            ["archive_timeout"] = string.Create(CultureInfo.InvariantCulture, $"{_options.ArchiveTimeout.TotalSeconds:0}s"),
        };
        if (_server.IsPlanned)
        {
            settings["wal_level"] = "replica";
        }
        else
        {
            ArchivePrimary.Require(_server);
            await _repository.RequireAsync(_server.SystemIdentifier, cancel).ConfigureAwait(false);
            var now = await ArchivePrimary.SettleAsync(_server, settings, _options.Force, command => Fills(command, _options.Stanza) || ArchiveScripts.IsOurs(command), announcements, feedback, cancel).ConfigureAwait(false);
            if (now.Library.Length == 0 && Fills(now.Command, _options.Stanza))
            {
                // As the site has it, wherever that is written.
                settings.Remove("archive_mode");
                settings.Remove("archive_command");
            }

            if (_server.ArchiveDirectory is { } was)
            {
                announcements.Add($"So far {_server.Id} has archived to {was}; what is there stays there, nothing is added or removed any more, and whoever has mounted it has to run Dismount-WalArchive and Mount-WalArchive.");
            }

            announcements.AddRange(await OwnedSettings.AnnouncementsAsync(_server, settings, feedback, cancel).ConfigureAwait(false));
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
                ["stanza"] = _options.Stanza,
                ["heartbeatSeconds"] = _options.HeartbeatInterval.TotalSeconds.ToString("0", CultureInfo.InvariantCulture),
                ["archiveTimeoutSeconds"] = _options.ArchiveTimeout.TotalSeconds.ToString("0", CultureInfo.InvariantCulture),
            },
            WayBack = "Disable-WalArchive",
            Steps =
            [
                .. OwnedSettings.Steps(_server, "settings", settings),
                _options.HeartbeatInterval > TimeSpan.Zero ? Heartbeat.RunningStep(_server, _options.HeartbeatInterval) : Heartbeat.GoneStep(_server),
                Arrival(),
                .. Retention.GoneSteps(_server),
                Remember(),
            ],
        };
        return new Planned<PgServer>(plan, token => ServerDiscovery.RefreshAsync(_server, feedback, token), () => _server with
        {
            ArchiveDirectory = null,
            ArchiveRetention = null,
            ArchiveCompression = WalCompression.None,
            ArchiveRepository = new WalRepository(WalRepositoryKind.PgBackRest, _options.Stanza),
            IsPlanned = true,
        });
    }

    private Step Arrival() => new("arrival", $"Switch to a new segment and see the finished one arrive in the stanza '{_options.Stanza}'", _server.Host)
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
                    throw new PitrException("PitrPS.ArchiveNotWorking", ErrorKind.InvalidResult,
                        $"{(now.IsFailing && now.LastFailed is { } failed ? failed : segment)} of {_server.Id} has not arrived in the stanza '{_options.Stanza}'; {await _repository.CheckAsync(run.Cancel).ConfigureAwait(false)}",
                        "Mend what it says, look at the server's log and pgBackRest's, and run the same command again: it goes on where it stopped. Until then the server keeps the WAL in pg_wal.", _server);
                }

                archiver = now;
                await Task.Delay(TimeSpan.FromMilliseconds(200), run.Cancel).ConfigureAwait(false);
            }
        },
        Preview = ["SELECT pg_switch_wal()", $"[{_server.OsUser}] pgbackrest --stanza={_options.Stanza} info, until it has that segment"],
    };

    private Step Remember() => new("state", "Remember the stanza in PitrPS's state on the host", _server.Host)
    {
        IsDone = async run => await ServerState.ReadAsync(_server.Host, _server.Name, run.Cancel).ConfigureAwait(false) is var state && Changed(state) == state,
        Do = run => ServerState.UpdateAsync(_server.Host, _server.Name, Changed, run.Cancel),
        Preview = [$"write {ServerState.PathOf(_server.Name)}"],
    };

    private ServerState Changed(ServerState state) => state with
    {
        ArchiveDirectory = null,
        ArchiveStanza = _options.Stanza,
        HeartbeatSeconds = _options.HeartbeatInterval > TimeSpan.Zero ? (int)_options.HeartbeatInterval.TotalSeconds : null,
        RetainSeconds = null,
        ArchiveCompression = null,
    };

    private Task<ArchiverState> ArchiverAsync(StepRun run) => ArchiverState.ReadAsync(_server, run.Feedback, run.Cancel);

    private Task<IReadOnlyList<SqlRow>> QueryAsync(StepRun run, string sql) => ServerSql.QueryAsync(_server, "postgres", sql, run.Feedback, run.Cancel);

    // What the archiver archived last may be a history or a backup's label; then the next segment tells.
    private async Task<bool> HasArrivedAsync(StepRun run, string name) =>
        WalSegment.TryParse(name, _server.WalSegmentSize, out _) && _server.SystemIdentifier is { } cluster
        && (await _repository.InfoAsync(run.Cancel).ConfigureAwait(false)).HasReached(cluster, name);
}
