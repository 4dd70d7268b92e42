using System.Diagnostics;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>The steps of a promotion: those of a recovery in place, around a copy that is kept, and then what makes a primary of it.</summary>
internal sealed class PromoteSteps(PgServer standby, RecoveryRecord record, CloneServer copy)
{
    // What only a standby has.
    private static readonly string[] StandbySettings = [Freeze.DelaySetting, "primary_conninfo", "primary_slot_name", "restore_command", "hot_standby_feedback"];

    private readonly KeepSteps _keep = new(standby, record);
    private readonly Stopwatch _watch = new();

    /// <summary>The recovery when it has reached its target, as it is recorded.</summary>
    public RecoveryRecord? Reached { get; private set; }

    public Task GiveBackAsync(CancellationToken cancel) => _keep.GiveBackAsync(cancel);

    /// <summary>Up to the start that promotes. Before that all is taken back when a step fails; after it nothing is.</summary>
    public IReadOnlyList<Step> Promotion(Step copies, PromotedArchive archive) =>
    [
        RecoverySteps.Note(standby, record),
        .. ScratchWay.FreezeSteps(standby),
        .. _keep.Frame(),
        .. archive.Before,
        .. Archiving(archive),
        _keep.Stop(),
        copies with { Title = "Copy the files of the stopped standby, to be kept until the promotion has succeeded" },
        Kept(),
        .. _keep.Target(null),
        Start(),
    ];

    /// <summary>The start that promotes; done where the server has been promoted already.</summary>
    public Step Start()
    {
        var start = _keep.Start();
        return start with
        {
            NoWayBack = true,
            IsDone = async run => (await ControlData.ReadAsync(standby, run.Cancel).ConfigureAwait(false)).Timeline != record.Timeline || await start.IsDone(run).ConfigureAwait(false),
        };
    }

    /// <summary>From the start that promotes on.</summary>
    public IReadOnlyList<Step> Primary(PromotedArchive archive) =>
    [
        Promoted(),
        .. OwnedSettings.Steps(standby, "primary", Settings(archive)),
        .. archive.After,
        new Step("primary-state", "Note that it is a primary now", standby.Host)
        {
            IsDone = async run => await ServerState.ReadAsync(run.Host, standby.Name, run.Cancel).ConfigureAwait(false) is { Promoted: not null } state && state == OfPrimary(state),
            Do = run => ServerState.UpdateAsync(run.Host, standby.Name, OfPrimary, run.Cancel),
            Preview = [$"write {ServerState.PathOf(standby.Name)}"],
        },
        new Step("kept-gone", "Remove the copy, which is not needed any more", standby.Host)
        {
            IsDone = run => copy.IsGoneAsync(run.Cancel),
            Do = run => copy.DiscardAsync(run.Cancel),
            Preview = [$"rm -r {copy.Folder}"],
        },
        new Step("forget", "Forget the recovery", standby.Host)
        {
            IsDone = async run => await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false) is null,
            Do = run => RecoveryRecord.RemoveAsync(standby, null, run.Cancel),
            AfterJournal = true,
            Preview = [$"rm {RecoveryRecord.PathOf(standby.Name)}"],
        },
    ];

    private Dictionary<string, string?> Settings(PromotedArchive archive)
    {
        var settings = StandbySettings.ToDictionary(name => name, _ => (string?)null);
        settings[KeepSettings.TargetOf(record).Name] = null;
        // What was raised stays: it is what the primary had whose place it takes.
        foreach (var (name, _) in KeepSettings.NoFrame)
        {
            settings[name] = null;
        }

        foreach (var (name, value) in archive.Settings)
        {
            settings[name] = value;
        }

        return settings;
    }

    private ServerState OfPrimary(ServerState state) => state with
    {
        Primary = null,
        DelayMilliseconds = null,
        FrozenAt = null,
        DelayIsOurs = null,
        SocketRole = null,
        LogFile = null,
        Promoted = Reached is { RecoveredTo: { } end } ? new PromotionNote(Reached.Target.ToTarget().ToString()!, end.ToString(), Reached.StartedAt, Reached.StartedBy) : state.Promoted,
    };

    // From the first record of the new timeline on, and with its history file, which is archived only when it is made: it goes there, and not where somebody's archive_command would put it.
    private IReadOnlyList<Step> Archiving(PromotedArchive archive) =>
        KeepSteps.WithUndo(standby, OwnedSettings.Steps(standby, "promote-archiving", archive.Settings, SettingsReach.Files), archive.Settings.ToDictionary(s => s.Key, s => record.SettingsBefore.GetValueOrDefault(s.Key)));

    // From here on the copy is good after a power cut, too.
    private Step Kept() => new("kept", "See that the copy is on the disk", standby.Host)
    {
        IsDone = async run => (await copy.CopyLookAsync(0, run.Cancel).ConfigureAwait(false)).IsOnDisk,
        Do = run => copy.KeepAsync(run.Cancel),
        Preview = ["sync"],
    };

    private Step Promoted() => new("promoted", "Replay up to the target, and see that the new timeline begins there and is on the disk", standby.Host)
    {
        IsDone = async run => (Reached = await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false)) is { ScratchTimeline: { } timeline }
            && (await ControlData.ReadAsync(standby, run.Cancel).ConfigureAwait(false)).Timeline == timeline,
        Do = async run =>
        {
            var noted = await RecoveryRecord.ReadAsync(standby, run.Cancel).ConfigureAwait(false) ?? record;
            _watch.Start();
            await WaitAsync(noted, run).ConfigureAwait(false);
            // A promotion writes its checkpoint behind its back: until then the new timeline is not on the disk.
            await ServerSql.QueryAsync(standby, "postgres", "CHECKPOINT", run.Feedback, run.Cancel).ConfigureAwait(false);
            var timeline = (await ControlData.ReadAsync(standby, run.Cancel).ConfigureAwait(false)).Timeline;
            var end = await EndAsync(timeline, noted, run).ConfigureAwait(false);
            await (noted with { RecoveredTo = end, ScratchTimeline = timeline, Elapsed = _watch.Elapsed, WalBytes = noted.WalFrom is { } from ? end - from : null }).WriteAsync(standby, run.Cancel).ConfigureAwait(false);
        },
        Preview = ["SELECT pg_is_in_recovery() until it is not; CHECKPOINT", $"read the history file of the new timeline and {standby.DataDirectory}/global/pg_control", $"write {RecoveryRecord.PathOf(standby.Name)}"],
    };

    // The history file says where the new timeline left the old one.
    private async Task<Lsn> EndAsync(uint timeline, RecoveryRecord noted, StepRun run)
    {
        if (timeline == noted.Timeline)
        {
            throw Missed("it takes writes on the old timeline: it has replayed all that it had");
        }

        var history = (await ServerSql.QueryAsync(standby, "postgres", $"SELECT pg_catalog.pg_read_file({Sql.Literal("pg_wal/" + TimelineHistory.FileName(timeline))})", run.Feedback, run.Cancel).ConfigureAwait(false))[0].Text(0);
        var (from, end) = TimelineHistory.Parse(timeline, history).Ancestors[^1];
        return noted.MissedEnd(from, end, noted.Replayed) is { } missed ? throw Missed(missed) : end;
    }

    private PitrException Missed(string why) => new("PitrPS.TargetMissed", ErrorKind.InvalidResult, $"{standby.Id} is not where it should be: {why}.",
        $"Its files as they were before are in {copy.Folder}/data, and nobody removes them: a server that is started on them with the same target (recovery.signal, recovery_target_lsn = '{record.Stop}', recovery_target_inclusive = off, restore_command) has the data.", standby);

    private Task WaitAsync(RecoveryRecord noted, StepRun run) => KeepLook.UntilAsync(standby, noted, run, async look =>
    {
        if (!look.IsRunning)
        {
            var log = await ServerControl.LogTailAsync(standby, run.Cancel).ConfigureAwait(false);
            throw new PitrException("PitrPS.PromotionFailed", ErrorKind.ResourceUnavailable, $"{standby.Id} ended before it was promoted.{(log.Length > 0 ? "\nIts log ends with:\n" + log : "")}",
                $"Mend what the log says and run the same command again: it goes on. A copy of its files as they were is in {copy.Folder}/data.", standby);
        }

        return look.Facts is { InRecovery: false };
    }, look => new PitrException("PitrPS.ReplayStalled", ErrorKind.OperationTimeout,
        $"Replay on {standby.Id} has stood still for {ServerControl.StartLimit.TotalMinutes:0} minutes before the target, at {look.Facts?.Replayed?.ToString() ?? look.Segment ?? "its beginning"}.",
        "See whether the archive can be read and what its log says; then run the same command again: it goes on.", standby));
}
