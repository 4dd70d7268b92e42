using System.Globalization;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The classic way: the standby itself replays up to the target and becomes a primary of its own, on a new timeline, with an archive of its own. It uses the standby up:
/// so a copy of its files is kept until the new timeline is on the disk.
/// </summary>
internal static class PromoteWay
{
    /// <exception cref="PitrException">
    /// <c>PitrPS.ArchivePathRequired</c>, <c>PitrPS.PrimaryAnswers</c>, <c>PitrPS.ArchiveDirectoryInUse</c>,
    /// <c>PitrPS.CloneUnsupported</c>, <c>PitrPS.CloneSpace</c>, and what <see cref="TargetFinder.FindAsync"/> refuses.
    /// </exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryOptions options, PgServer standby, RecoveryRecord? noted, SharedSurvey wal, IFeedback feedback, CancellationToken cancel)
    {
        var path = options.ArchivePath ?? noted?.ArchivePath ?? throw PathRequired(standby);
        if (noted is not null && (await ControlData.ReadAsync(standby, cancel).ConfigureAwait(false)).Timeline != noted.Timeline)
        {
            feedback.Verbose($"{standby.Id} is on the new timeline that {noted.StartedBy} asked for on {noted.StartedAt:u}; going on with it.");
            return await OfAsync(options, standby, noted, noted, path, null, [], feedback, cancel).ConfigureAwait(false);
        }

        if (noted is not null && await KeepSettings.IsSetAsync(standby, noted, cancel).ConfigureAwait(false))
        {
            feedback.Verbose($"{standby.Id} has the target that {noted.StartedBy} set on {noted.StartedAt:u}, and the copy is kept; going on with it.");
            return await OfAsync(options, standby, noted, noted, path, null, [], feedback, cancel).ConfigureAwait(false);
        }

        if (!options.Force)
        {
            await RequireSilenceAsync(standby, cancel).ConfigureAwait(false);
        }

        var preparation = await CloneWay.PrepareAsync(options with { Way = RecoveryWay.Promote }, standby, null, [], wal, feedback, cancel).ConfigureAwait(false);
        var survey = preparation.Wal;
        var raised = await RaisedSettings.ReadAsync(standby, survey.Target, cancel).ConfigureAwait(false);
        // The copy is only kept; the standby stays stopped after it.
        preparation = preparation with { Record = preparation.Record with { StandbyRan = false }, Server = preparation.Server with { Standby = standby with { IsRunning = false } } };
        var record = preparation.Record with
        {
            Target = noted?.Target ?? RecordedTarget.Of(options.Target),
            Way = RecoveryWay.Promote,
            CloneId = null,
            Port = null,
            Layer = preparation.Server.Folder,
            ArchivePath = path,
            SettingsBefore = raised.Owned.Where(s => s.Key.StartsWith("archive_", StringComparison.Ordinal)).ToDictionary(s => s.Key, s => (string?)s.Value),
            StartedAt = noted?.StartedAt ?? preparation.Record.StartedAt,
            StartedBy = noted?.StartedBy ?? preparation.Record.StartedBy,
            StandbyRan = standby.IsRunning || noted?.StandbyRan == true,
            WalFrom = survey.Range.From,
            Replayed = survey.Position.Replayed,
        };
        return await OfAsync(options, standby, noted, raised.On(record, noted), path, preparation, [.. Announcements(standby, record, preparation, path), .. raised.Announcements(standby)], feedback, cancel).ConfigureAwait(false);
    }

    /// <summary>The same promotion once more, of a server that it has made a primary: nothing is left to do. Null where it is not that.</summary>
    public static async Task<Planned<PitrRecovery>?> FinishedAsync(RecoveryOptions options, PgServer server, CancellationToken cancel)
    {
        if (options.Way != RecoveryWay.Promote || server.Role != ServerRole.Primary
            || (await ServerState.ReadAsync(server.Host, server.Name, cancel).ConfigureAwait(false)).Promoted is not { } promoted || promoted.Target != options.Target.ToString())
        {
            return null;
        }

        var recovery = new PitrRecovery
        {
            Standby = server,
            Incident = options.Incident,
            Target = options.Target,
            Way = RecoveryWay.Promote,
            State = RecoveryState.Promoted,
            RecoveredTo = Lsn.Parse(promoted.RecoveredTo),
            StartedAt = promoted.StartedAt,
            StartedBy = promoted.StartedBy,
        };
        var plan = new Plan { Operation = RecoveryPlan.Operation, Subject = server.Id, Home = server.Host, Steps = [] };
        return new Planned<PitrRecovery>(plan, _ => Task.FromResult(recovery), () => recovery);
    }

    /// <summary>For a standby that exists only as a plan: what will be done, without figures.</summary>
    public static Planned<PitrRecovery> OnPaper(RecoveryOptions options)
    {
        var standby = options.Standby;
        var path = options.ArchivePath ?? throw PathRequired(standby);
        var record = KeepWay.RecordOnPaper(standby, options.Target, options.Incident) with { Way = RecoveryWay.Promote, ArchivePath = path };
        record = record with { Layer = CloneServer.FolderOnPaper(standby, CloneServer.IdOf(record)) };
        var (copy, archive) = (CopyOf(standby, record), ArchivePlan.OfPromoted(standby, path));
        var steps = new PromoteSteps(standby, record, copy);
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = standby.Id,
            Home = standby.Host,
            IsPlanned = true,
            Steps = [.. steps.Promotion(CloneWay.CopyOnPaper(copy), archive), .. steps.Primary(archive)],
            Announcements = [Cost(standby)],
        };
        return new Planned<PitrRecovery>(plan, _ => throw new InvalidOperationException("A plan on paper has no result."), () => Of(standby with { IsPlanned = true }, record, options) with { IsPlanned = true });
    }

    /// <summary>The recovery that is recorded, as it stands now: a promotion whose client was lost.</summary>
    public static PitrRecovery Recovery(PgServer standby, RecoveryRecord record) => Of(standby, record, null);

    private static PitrRecovery Of(PgServer server, RecoveryRecord record, RecoveryOptions? options) => new()
    {
        Standby = server,
        Incident = options?.Incident ?? record.Incident?.ToIncident(server),
        Target = record.Target.ToTarget(),
        Way = RecoveryWay.Promote,
        State = record.RecoveredTo is null && !server.IsPlanned ? RecoveryState.Recovering : RecoveryState.Promoted,
        RecoveredTo = record.RecoveredTo,
        StartedAt = record.StartedAt,
        StartedBy = record.StartedBy,
        Elapsed = record.Elapsed,
        WalBytes = record.WalBytes,
        WalSource = record.WalSource,
    };

    private static CloneServer CopyOf(PgServer standby, RecoveryRecord record) => CloneServer.Of(standby, CloneServer.IdOf(record), record.Layer, standby.Port + 10001);

    private static async Task<Planned<PitrRecovery>> OfAsync(RecoveryOptions options, PgServer standby, RecoveryRecord? noted, RecoveryRecord record, string path, ClonePreparation? preparation, IReadOnlyList<string> announcements, IFeedback feedback, CancellationToken cancel)
    {
        var archive = await ArchivePlan.ForPromotedAsync(standby, path, isOurs: noted is not null, feedback, cancel).ConfigureAwait(false);
        var steps = new PromoteSteps(standby, record, CopyOf(standby, record));
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = standby.Id,
            Home = standby.Host,
            Steps = [.. preparation is null ? [steps.Start()] : steps.Promotion(CloneWay.Copy(preparation), archive), .. steps.Primary(archive)],
            Announcements = announcements,
            Parameters = new Dictionary<string, string> { ["target"] = record.Target.ToTarget().ToString()!, ["archive"] = path },
            WayBack = "Invoke-PitrRecovery again: before the server is started with the target it takes itself back, after that it goes on",
            UndoOnFailure = true,
            WhenStopped = steps.GiveBackAsync,
        };
        return new Planned<PitrRecovery>(plan,
            async c => Of(await ServerDiscovery.RefreshAsync(standby, feedback, c).ConfigureAwait(false), steps.Reached ?? record, options),
            () => Of(standby with { IsPlanned = true, IsStandby = false, Role = ServerRole.Primary }, record, options) with { IsPlanned = true });
    }

    private static PitrException PathRequired(PgServer standby) => new("PitrPS.ArchivePathRequired", ErrorKind.InvalidArgument,
        $"A promotion of {standby.Id} needs -ArchivePath: as a primary it archives its own WAL, and not into the directory of the one that it leaves.",
        "Give a directory of its own on its host, best on a disk of its own: -ArchivePath /var/mnt/archive_wal_dir_2.", standby);

    // Two primaries take two sets of writes, and nobody brings them together again.
    private static async Task RequireSilenceAsync(PgServer standby, CancellationToken cancel)
    {
        if (standby.Primary is not { } link)
        {
            throw new PitrException("PitrPS.PrimaryAnswers", ErrorKind.InvalidOperation, $"Whether the primary of {standby.Id} still takes writes cannot be seen: nothing says where it is.",
                "Make sure that it is stopped, then run the same command with -Force.", standby);
        }

        // 0: it takes connections, 1: it is there and takes none now.
        var said = await standby.Host.Remote.RunAsync(RemoteCommand.Of(standby.Program("pg_isready"), "-q", "-t", "5", "-h", link.Address, "-p", link.Port.ToString(CultureInfo.InvariantCulture)), cancel).ConfigureAwait(false);
        if (said.ExitCode is 0 or 1)
        {
            throw new PitrException("PitrPS.PrimaryAnswers", ErrorKind.InvalidOperation,
                $"The primary of {standby.Id} at {link.Address}, port {link.Port}, answers: with a second one, applications write to both, and nobody brings the two together again.",
                "To bring a table back to it, leave -Way Promote out: Invoke-PitrRecovery | Restore-PgTable. To replace it, stop it and keep it from starting, then run the same command again; or promote beside it with -Force.", standby);
        }
    }

    private static string Cost(PgServer standby) =>
        $"{standby.Id} becomes a primary of its own and is a delayed standby no more: what it holds back behind the target is never applied, and there is no way back but Reset-PgStandby. -Way Scratch and -Way Clone have no such cost.";

    private static IReadOnlyList<string> Announcements(PgServer standby, RecoveryRecord record, ClonePreparation preparation, string path)
    {
        var copied = preparation.Copy.CopiedBytes;
        return
        [
            Cost(standby),
            $"It is stopped, its files are copied to {record.Layer} ({(copied == 0 ? "by reference" : $"{ByteSize.Words(copied)}, about {(2 + (copied / 300e6)).ToString("0", CultureInfo.InvariantCulture)} s")}), and it is started with the target; {(preparation.Readers == 0 ? "nobody is connected to it now" : $"sessions on it are ended: {preparation.Readers}")}. The copy goes when the new timeline is on the disk.",
            $"WAL to replay, from the last restartpoint at {preparation.Wal.Range.From} to {record.Stop}: at most {ByteSize.Words(preparation.Wal.Range.BytesTo(record.Stop))}, from {record.WalSource}.",
            $"From then on it archives to {path}. It is restarted once more without its recovery settings. Applications must be led to it by whoever leads them.",
        ];
    }
}
