using System.Globalization;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>The steps of a recovery after its preparation.</summary>
internal static class RecoverySteps
{
    // One question to the host lasts up to this many tenths of a second, and is answered at once when there is news.
    private const int Patience = 8;

    public static Step Note(PgServer standby, RecoveryRecord record) => new("note", "Note the recovery, so that any session finds it", standby.Host)
    {
        IsDone = async run => (await RecoveryRecord.ReadAsync(standby, record.CloneId, run.Cancel).ConfigureAwait(false))?.IsFor(record.Target.ToTarget()) == true,
        Do = run => record.WriteAsync(standby, run.Cancel),
        Undo = run => RecoveryRecord.RemoveAsync(standby, record.CloneId, run.Cancel),
        Preview = [$"write {RecoveryRecord.PathOf(standby.Name, record.CloneId)}"],
    };

    public static Step Launch(RecoveryPreparation preparation, RecoveryRecord record)
    {
        var scratch = preparation.Scratch;
        var standby = scratch.Standby;
        return new Step("scratch", $"Stop the standby cleanly and start a scratch server in its place, on a throw-away layer over its files, to recover to {preparation.Target.Words}", standby.Host)
        {
            IsDone = async run => (await scratch.LookAsync(0, run.Cancel).ConfigureAwait(false)).IsUnderWayFor(record),
            Do = async run =>
            {
                await RequireNotReplayedAsync(standby, record, run).ConfigureAwait(false);
                if (preparation.Survey.HasLeftovers)
                {
                    await scratch.DiscardAsync(run.Cancel).ConfigureAwait(false);
                }

                if (preparation.IsFromRepository)
                {
                    await scratch.GetWalAsync(preparation.Range.Repository!, preparation.Fetched, run.Feedback, run.Cancel).ConfigureAwait(false);
                }

                if (preparation.StandbyRunsByHand)
                {
                    // systemd would not stop it.
                    await ServerControl.StopAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
                }

                await scratch.LaunchAsync(preparation.Survey.Data, preparation.Survey.Places, preparation.Settings, preparation.Fetched, record.Target.ToTarget(), preparation.Access,
                    record.StandbyRan, preparation.Description, run.Cancel).ConfigureAwait(false);
            },
            Undo = run => ThrowAwayAsync(scratch, record, run),
            Preview =
            [
                .. preparation.IsFromRepository ? (string[])[$"[{standby.OsUser}] pgbackrest --stanza={preparation.Range.Repository!.Stanza} archive-get {preparation.Fetched.Count} files, into {scratch.WalFolder}"] : [],
                $"make {scratch.Layer} (root, 700), with layers over {string.Join(", ", preparation.Survey.Places)}",
                $"systemd-run --unit={scratch.Unit} {ShellQuoting.Join(scratch.StartArguments(record.StandbyRan, preparation.Description))}",
                $"  (systemd stops {standby.ServiceUnit} first; the scratch server then reads its files and writes only to the layer), with the settings",
                .. preparation.Settings.Select(s => "| " + s),
            ],
        };
    }

    /// <summary>The step that an earlier client has done.</summary>
    public static Step Launched(ScratchServer scratch, RecoveryRecord record) => new("scratch", "Start a scratch server in the standby's place", scratch.Standby.Host)
    {
        IsDone = async run => (await scratch.LookAsync(0, run.Cancel).ConfigureAwait(false)).IsUnderWay,
        Do = async run => throw Failed(scratch, record, await scratch.LookAsync(0, run.Cancel).ConfigureAwait(false)),
        Undo = run => ThrowAwayAsync(scratch, record, run),
    };

    public static Step LaunchOnPaper(ScratchServer scratch, RecoveryTarget target) =>
        new("scratch", $"Stop the standby cleanly and start a scratch server in its place, on a throw-away layer over its files, to recover to {target}", scratch.Standby.Host)
        {
            IsDone = _ => Task.FromResult(false),
            Do = _ => throw new InvalidOperationException("A plan on paper is not carried out."),
            Preview = [$"make {scratch.Layer} (root, 700)", $"systemd-run --unit={scratch.Unit} {ShellQuoting.Join(scratch.StartArguments(standbyRan: true, "PitrPS: scratch server"))}"],
        };

    /// <summary>The step from the moment when the recovered server's unit is there; also that of a client that comes later.</summary>
    public static Step Recover(RecoveredServer scratch, WalRange? range)
    {
        var standby = scratch.Standby;
        return new Step("recover", $"Replay up to the target, promote the {scratch.Noun}, see that it stopped where it should, and roll back prepared transactions that keep tables locked there", standby.Host)
        {
            IsDone = async run => await RecoveryRecord.ReadAsync(standby, scratch.CloneId, run.Cancel).ConfigureAwait(false) is { Invocation: not null } record
                && scratch.IsReady(record, await scratch.LookAsync(0, run.Cancel).ConfigureAwait(false)),
            Do = async run =>
            {
                var record = await RecoveryRecord.ReadAsync(standby, scratch.CloneId, run.Cancel).ConfigureAwait(false)
                    ?? throw new PitrException("PitrPS.RecoveryGone", ErrorKind.ObjectNotFound, $"The recovery of {standby.Id} is not recorded any more: {RecoveryRecord.PathOf(standby.Name, scratch.CloneId)} was removed.",
                        "Run the same command again: it begins anew.", standby);
                var look = await WaitAsync(scratch, record, range, run).ConfigureAwait(false);
                await (await VerifyAsync(scratch, record, look, run).ConfigureAwait(false)).WriteAsync(standby, run.Cancel).ConfigureAwait(false);
            },
            Preview = [$"[root] watch {scratch.Unit} and {scratch.Folder}/server.log", $"ROLLBACK PREPARED each of pg_prepared_xacts with an AccessExclusiveLock, on the {scratch.Noun}",
                $"write {RecoveryRecord.PathOf(standby.Name, scratch.CloneId)}"],
        };
    }

    private static async Task ThrowAwayAsync(ScratchServer scratch, RecoveryRecord record, StepRun run)
    {
        await scratch.DiscardAsync(run.Cancel).ConfigureAwait(false);
        if (record.StandbyRan)
        {
            await ServerControl.StartAsync(scratch.Standby, run.Feedback, run.Cancel).ConfigureAwait(false);
        }
    }

    // The freeze was taken before this: nothing is applied any more, and what has been is known for good.
    public static async Task RequireNotReplayedAsync(PgServer standby, RecoveryRecord record, StepRun run)
    {
        if (standby.IsRunning
            && (await ServerSql.QueryAsync(standby, "postgres", "SELECT pg_catalog.pg_last_wal_replay_lsn()", run.Feedback, run.Cancel).ConfigureAwait(false))[0][0] is { } text
            && Lsn.Parse(text) is var replayed && replayed > record.Stop && record.Target.Kind != "immediate")
        {
            throw TargetFinder.AlreadyReplayed(standby, record.Target.ToTarget(), record.Stop, replayed);
        }
    }

    private static async Task<ScratchLook> WaitAsync(RecoveredServer scratch, RecoveryRecord record, WalRange? range, StepRun run)
    {
        var progress = new ReplayProgress(run, record, range?.From, scratch.Standby.WalSegmentSize);
        while (true)
        {
            var look = await scratch.LookAsync(Patience, run.Cancel).ConfigureAwait(false);
            if (!look.IsUnderWay)
            {
                throw Failed(scratch, record, look);
            }

            if (look.IsAnswering)
            {
                return look;
            }

            progress.Tell(look);
        }
    }

    private static PitrException Failed(RecoveredServer scratch, RecoveryRecord record, ScratchLook look)
    {
        var standby = scratch.Standby;
        if (look.Log.TargetIsTooEarly)
        {
            return TargetFinder.AlreadyReplayed(standby, record.Target.ToTarget(), record.Stop, look.StandbyReplayed ?? record.Stop);
        }

        var tail = string.Join('\n', look.Log.Lines.TakeLast(8));
        return new PitrException("PitrPS.ScratchFailed", ErrorKind.ResourceUnavailable,
            (look.StandbyRuns
                ? $"Somebody started {standby.Id} while its recovery was under way, which ended the scratch server."
                : $"The {scratch.Noun} of {standby.Id} ended before it could be read ({look.Result}{(look.ExitStatus != 0 ? $", exit {look.ExitStatus}" : "")}): {look.Log.Failure}")
            + (tail.Length > 0 ? $"\nIts log ends with:\n{tail}" : ""),
            (look.Log.EndedBeforeTarget ? "The WAL ended before the target: give an earlier one, or wait for more WAL. " : "Mend what it says and run the same command again. ")
            + scratch.StandbyNow, standby);
    }

    private static async Task<RecoveryRecord> VerifyAsync(RecoveredServer scratch, RecoveryRecord record, ScratchLook look, StepRun run)
    {
        var standby = scratch.Standby;
        PitrException Missed(string why) => new("PitrPS.TargetMissed", ErrorKind.InvalidResult, $"The {scratch.Noun} of {standby.Id} is not where it should be: {why}.",
            $"It has been thrown away. {scratch.StandbyNow} Look with Find-PgIncident whether the target is right, then try again.", standby);

        var log = look.Log;
        if (log.StoppedWhere is not { } where || log.NewTimeline is not { } timeline)
        {
            throw Missed("its log does not say that it stopped at the target");
        }

        // One question: the ancestry of its timeline, which says where it left ours, and what keeps tables locked that nobody will ever commit there.
        var rows = await ServerSql.QueryAsync(scratch.AsServer(), "postgres",
            $"""
            SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_read_file({Sql.Literal("pg_wal/" + TimelineHistory.FileName(timeline))}), p.gid, p.database
            FROM (SELECT 1) AS always LEFT JOIN pg_catalog.pg_prepared_xacts p
            ON EXISTS (SELECT 1 FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.virtualtransaction = '-1/' || p.transaction::pg_catalog.text)
            """, run.Feedback, run.Cancel).ConfigureAwait(false);
        if (rows[0].Flag(0))
        {
            throw Missed("it is still in recovery");
        }

        var (from, end) = TimelineHistory.Parse(timeline, rows[0].Text(1)).Ancestors[^1];
        if (record.Missed(where, from, end, look.StandbyReplayed) is { } why)
        {
            throw Missed(why);
        }

        foreach (var (gid, database) in rows.Where(r => r[2] is not null).Select(r => (r.Text(2), r.Text(3))))
        {
            run.Feedback.Verbose($"{scratch.Unit}: the prepared transaction '{gid}' in {database} keeps tables locked; it is rolled back there.");
            await ServerSql.QueryAsync(scratch.AsServer(), database, $"ROLLBACK PREPARED {Sql.Literal(gid)}", run.Feedback, run.Cancel).ConfigureAwait(false);
        }

        return record with
        {
            Invocation = look.Invocation,
            Elapsed = log.ReadyAt - look.LaunchedAt,
            Replayed = look.StandbyReplayed,
            RecoveredTo = end,
            ScratchTimeline = timeline,
            WalBytes = log.RedoFrom is { } redo ? end - redo : null,
            LayerBytes = look.LayerBytes,
        };
    }
}

/// <summary>Bytes replayed, rate and time left, as far as the segment that is being replayed tells.</summary>
internal sealed class ReplayProgress(StepRun run, RecoveryRecord record, Lsn? from, long segmentSize)
{
    private readonly TransferRate _rate = new();

    public void Tell(ScratchLook look)
    {
        if (look.IsQueued)
        {
            run.Progress("the standby is being stopped");
            return;
        }

        if (look.Segment is not { } name || !WalSegment.TryParse(name, segmentSize, out var segment))
        {
            run.Progress(look.Log.StoppedAtTarget ? "the scratch server opens" : "the scratch server starts");
            return;
        }

        At(segment.Start, look.Log.RedoFrom);
    }

    /// <summary>Of a standby that recovers itself: what it says, and while it takes no connections the segment in its process's title.</summary>
    public void Tell(Lsn? replayed, string? name)
    {
        if (replayed is { } at)
        {
            At(at, null);
        }
        else if (name is not null && WalSegment.TryParse(name, segmentSize, out var segment))
        {
            At(segment.Start, null);
        }
        else
        {
            run.Progress("the server starts");
        }
    }

    private void At(Lsn at, Lsn? redo)
    {
        var begin = redo ?? from ?? at;
        var (done, total) = (Math.Max(0, at - begin), Math.Max(1, record.Stop - begin));
        _rate.Note(done);
        run.Progress(string.Create(CultureInfo.InvariantCulture, $"{done >> 20} of {total >> 20} MiB of WAL replayed{(_rate.BytesPerSecond > 0 ? $", {_rate.BytesPerSecond / 1048576:0} MiB/s" : "")}"),
            done, total, "bytes", _rate.TimeLeft(total));
    }
}
