using System.Globalization;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The way that leaves the standby at its work: it is stopped cleanly for as long as its files are copied, and goes on; a second server beside it is recovered on the copy.
/// </summary>
internal static class CloneWay
{
    // One question to the host lasts up to this many tenths of a second, and is answered at once when there is news.
    private const int Patience = 8;

    public static CloneServer ServerOf(PgServer standby, RecoveryRecord record) => CloneServer.Of(standby, record.CloneId!, record.Layer, record.Port ?? standby.Port + 10001);

    /// <summary>The clone that these options are for already; null where there is none, or another way is asked for.</summary>
    public static async Task<RecoveryRecord?> FindAsync(RecoveryOptions options, PgServer standby, CancellationToken cancel) =>
        options.Way is null or RecoveryWay.Clone
            ? (await RecoveryRecord.ClonesAsync(standby, cancel).ConfigureAwait(false)).FirstOrDefault(c => c.IsFor(options.Target))
            : null;

    /// <exception cref="PitrException">
    /// <c>PitrPS.TargetLeftBehind</c>, <c>PitrPS.CloneUnsupported</c>, <c>PitrPS.CloneSpace</c>, <c>PitrPS.RecoveryInProgress</c>, and what <see cref="TargetFinder.FindAsync"/> refuses.
    /// </exception>
    public static async Task<Planned<PitrRecovery>> BuildAsync(RecoveryOptions options, PgServer standby, RecoveryRecord? noted, SharedSurvey wal, IFeedback feedback, CancellationToken cancel)
    {
        if (noted is not null && await GoOnAsync(options, standby, noted, feedback, cancel).ConfigureAwait(false) is { } going)
        {
            return going;
        }

        if (await RecoveryRecord.ReadAsync(standby, cancel).ConfigureAwait(false) is { } other)
        {
            throw new PitrException("PitrPS.RecoveryInProgress", ErrorKind.ResourceBusy,
                $"{standby.Id} is being recovered to {other.Target.ToTarget()} ({other.Way}) since {other.StartedAt:u}, by {other.StartedBy}; its files cannot be copied meanwhile.",
                "Complete that recovery first (Get-PitrRecovery | Complete-PitrRecovery), then run this again. To look at another point in time within it: Move-PitrRecovery.", standby);
        }

        var others = await RecoveryRecord.ClonesAsync(standby, cancel).ConfigureAwait(false);
        var preparation = await PrepareAsync(options, standby, noted, others, wal, feedback, cancel).ConfigureAwait(false);
        var record = preparation.Record;
        if (noted is null && others.FirstOrDefault(o => o.CloneId == record.CloneId) is { } same)
        {
            // Another target, found at the same place in the WAL.
            return await BuildAsync(options, standby, same, wal, feedback, cancel).ConfigureAwait(false);
        }

        IReadOnlyList<Step> steps =
        [
            RecoverySteps.Note(standby, record),
            .. preparation.IsPausedByHand ? Freeze.FreezeSteps(standby) : [],
            Copy(preparation),
            .. After(preparation.Server, record, preparation.Wal.Range),
        ];
        return Of(options, preparation.Server, record, preparation.Announcements(), steps, await RecoveryPlan.ParametersAsync(standby, noted, record, cancel).ConfigureAwait(false), feedback);
    }

    /// <summary>For a standby that exists only as a plan: what will be done, without figures.</summary>
    public static Planned<PitrRecovery> OnPaper(RecoveryOptions options)
    {
        var standby = options.Standby;
        var record = new RecoveryRecord
        {
            Target = RecordedTarget.Of(options.Target),
            Way = RecoveryWay.Clone,
            Stop = (options.Target as RecoveryTarget.Lsn)?.Position ?? default,
            Timeline = options.Incident?.Timeline ?? standby.Timeline ?? 1,
            StartedAt = DateTimeOffset.UtcNow,
            StartedBy = PlanRunner.ThisClient,
            Layer = "",
        };
        var id = CloneServer.IdOf(record);
        record = record with { CloneId = id, Layer = CloneServer.FolderOnPaper(standby, id) };
        var clone = ServerOf(standby, record);
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = RecoveryRecord.SubjectOf(standby, id),
            LockName = standby.Id,
            Home = standby.Host,
            IsPlanned = true,
            Steps =
            [
                RecoverySteps.Note(standby, record),
                CopyOnPaper(clone),
                .. After(clone, record, null),
            ],
        };
        return new Planned<PitrRecovery>(plan, _ => throw new InvalidOperationException("A plan on paper has no result."), () => WouldBe(options, clone, record));
    }

    /// <summary>The step that copies, of a plan that is not carried out.</summary>
    public static Step CopyOnPaper(CloneServer clone) => new("copy", CopyTitle, clone.Standby.Host)
    {
        IsDone = _ => Task.FromResult(false),
        Do = _ => throw new InvalidOperationException("A plan on paper is not carried out."),
        Preview = [$"make {clone.Folder} (root, 711)", $"systemctl start {clone.CopyUnit}"],
    };

    private const string CopyTitle = "Stop the standby cleanly, copy its files, and start it again";

    // What an earlier client has begun and nothing has spoilt: its copy, or the clone itself.
    private static async Task<Planned<PitrRecovery>?> GoOnAsync(RecoveryOptions options, PgServer standby, RecoveryRecord noted, IFeedback feedback, CancellationToken cancel)
    {
        var clone = ServerOf(standby, noted);
        if (!(await clone.CopyLookAsync(0, cancel).ConfigureAwait(false)).IsOfUse)
        {
            return null;
        }

        feedback.Verbose($"{standby.Host.Name}: the clone that {noted.StartedBy} began on {noted.StartedAt:u} is there; going on with it.");
        return Of(options, clone, noted, [], [RecoverySteps.Note(standby, noted), Copied(clone, noted), .. After(clone, noted, null)],
            await RecoveryPlan.ParametersAsync(standby, noted, noted, cancel).ConfigureAwait(false), feedback);
    }

    private static Planned<PitrRecovery> Of(RecoveryOptions options, CloneServer clone, RecoveryRecord record, IReadOnlyList<string> announcements, IReadOnlyList<Step> steps, IReadOnlyDictionary<string, string> parameters, IFeedback feedback)
    {
        var standby = clone.Standby;
        var plan = new Plan
        {
            Operation = RecoveryPlan.Operation,
            Subject = RecoveryRecord.SubjectOf(standby, clone.Id),
            LockName = standby.Id,
            Home = standby.Host,
            Steps = steps,
            Announcements = announcements,
            Parameters = parameters,
            WayBack = "Get-PitrRecovery | Remove-PitrClone",
            UndoOnFailure = true,
            // A client that is killed or cut off stops nothing: the units work on, and the next run finds them.
            WhenStopped = clone.StopAsync,
        };
        return new Planned<PitrRecovery>(plan, c => RecoveryPlan.ResultAsync(standby, clone.Id, feedback, c), () => WouldBe(options, clone, record));
    }

    private static PitrRecovery WouldBe(RecoveryOptions options, CloneServer clone, RecoveryRecord record) => new()
    {
        Standby = clone.Standby with { IsPlanned = true },
        Incident = options.Incident ?? record.Incident?.ToIncident(clone.Standby),
        Target = options.Target,
        Way = RecoveryWay.Clone,
        CloneId = clone.Id,
        State = RecoveryState.Ready,
        Scratch = clone.AsServer() with { IsPlanned = true },
        StartedAt = record.StartedAt,
        StartedBy = record.StartedBy,
        WalSource = record.WalSource,
        IsPlanned = true,
    };

    private static IEnumerable<Step> After(CloneServer clone, RecoveryRecord record, WalRange? range) =>
        [GoesOn(clone.Standby, record), Launch(clone, record), RecoverySteps.Recover(clone, range) with { NoWayBack = true }, Settle(clone)];

    public static Step Copy(ClonePreparation preparation)
    {
        var (clone, record, standby) = (preparation.Server, preparation.Record, preparation.Server.Standby);
        return Copied(clone, record) with
        {
            Do = async run =>
            {
                if (!(await clone.CopyLookAsync(0, run.Cancel).ConfigureAwait(false)).IsUnderWay)
                {
                    await RecoverySteps.RequireNotReplayedAsync(standby, record, run).ConfigureAwait(false);
                    // What an earlier attempt has left is worth nothing: the standby has gone on since.
                    await clone.DiscardAsync(run.Cancel).ConfigureAwait(false);
                    if (preparation.IsFromRepository)
                    {
                        await clone.GetWalAsync(preparation.Wal.Range.Repository!, preparation.Wal.Fetched, run.Feedback, run.Cancel).ConfigureAwait(false);
                    }

                    await clone.LaunchCopyAsync(preparation.Host, preparation.Wal.Target.IsImmediate ? null : record.Stop, preparation.Wal.Target.Tablespaces, preparation.Segments, preparation.Settings, preparation.Fetched,
                        record.StandbyRan, $"PitrPS: copies the files of {standby.Name}, which it stops meanwhile", run.Cancel).ConfigureAwait(false);
                }

                await WaitAsync(clone, record, preparation.Copy.Places.Sum(p => p.Bytes), run).ConfigureAwait(false);
            },
            Preview =
            [
                .. preparation.IsFromRepository ? (string[])[$"[{standby.OsUser}] pgbackrest --stanza={preparation.Wal.Range.Repository!.Stanza} archive-get {preparation.Wal.Fetched.Count} files, into {clone.WalFolder}"] : [],
                $"make {clone.Folder} (root, 711)",
                $"systemctl start {clone.CopyUnit}",
                .. preparation.Copy.Places.Select(p => $"  copy {p.Path}{(p.Reflink ? " by reference" : $", {ByteSize.Words(p.Bytes)}")}"),
                $"  copy {preparation.Segments.Count} segments of pg_wal; no slots, no signal file of a standby",
                $"  (systemd stops {standby.ServiceUnit ?? standby.Name} first, and starts it again after the copy, whatever comes of it)",
            ],
        };
    }

    private static Step Copied(CloneServer clone, RecoveryRecord record) => new("copy", CopyTitle, clone.Standby.Host)
    {
        IsDone = async run => await clone.CopyLookAsync(0, run.Cancel).ConfigureAwait(false) is { IsCopied: true, IsDoubtful: false },
        Do = run => WaitAsync(clone, record, null, run),
        Undo = async run =>
        {
            await clone.DiscardAsync(run.Cancel).ConfigureAwait(false);
            if (record.StandbyRan)
            {
                await ServerControl.StartAsync(clone.Standby, run.Feedback, run.Cancel).ConfigureAwait(false);
            }
        },
    };

    private static async Task WaitAsync(CloneServer clone, RecoveryRecord record, long? total, StepRun run)
    {
        var rate = new TransferRate();
        while (true)
        {
            var look = await clone.CopyLookAsync(Patience, run.Cancel).ConfigureAwait(false);
            if (look.IsCopied)
            {
                return;
            }

            if (!look.IsUnderWay)
            {
                throw Failed(clone, record, look);
            }

            if (look.IsQueued)
            {
                run.Progress("the standby is being stopped");
                continue;
            }

            rate.Note(look.Written);
            run.Progress(string.Create(CultureInfo.InvariantCulture, $"{look.Written >> 20}{(total is { } all ? $" of {all >> 20}" : "")} MiB copied{(rate.BytesPerSecond > 0 ? $", {rate.BytesPerSecond / 1048576:0} MiB/s" : "")}"),
                Math.Min(look.Written, total ?? look.Written), total, "bytes", total is { } sum ? rate.TimeLeft(sum) : null);
        }
    }

    private static PitrException Failed(CloneServer clone, RecoveryRecord record, CopyLook look)
    {
        var standby = clone.Standby;
        const string passed = "passed: the standby has applied the WAL up to ";
        if (look.Log.FirstOrDefault(l => l.Contains(passed, StringComparison.Ordinal)) is { } line && Lsn.TryParse(line[(line.IndexOf(passed, StringComparison.Ordinal) + passed.Length)..].Trim(), out var replayed))
        {
            return TargetFinder.AlreadyReplayed(standby, record.Target.ToTarget(), record.Stop, replayed);
        }

        var said = string.Join('\n', look.Log);
        return said.Contains("No space left on device", StringComparison.Ordinal)
            ? new PitrException("PitrPS.CloneSpace", ErrorKind.ResourceUnavailable, $"The disk was full before all files of {standby.Id} were copied:\n{said}",
                "Make room there, then run the same command again. The copy has been removed, and the standby goes on as before.", standby)
            : new PitrException("PitrPS.CloneFailed", ErrorKind.ResourceUnavailable,
                $"The files of {standby.Id} could not be copied{(look.Log.Count > 0 ? ":\n" + said : $": {clone.CopyUnit} was stopped ({look.Result})")}",
                "Mend what it says (where nothing is said, somebody started the standby or stopped the copy), then run the same command again. The standby goes on as before; its files have only been read.", standby);
    }

    private static Step GoesOn(PgServer standby, RecoveryRecord record) => new("standby", "See that the standby has gone on", standby.Host)
    {
        IsDone = async run => !record.StandbyRan || await ServerControl.ProbeAsync(standby, run.Cancel).ConfigureAwait(false) is { IsRunning: true, Readiness: Readiness.Accepting },
        Do = run => ServerControl.StartAsync(standby, run.Feedback, run.Cancel),
        Preview = record.StandbyRan ? [ServerControl.Display(standby, "start")] : [],
    };

    private static Step Launch(CloneServer clone, RecoveryRecord record)
    {
        var description = $"PitrPS: clone of {clone.Standby.Name}, recovered to {record.Target.ToTarget()}";
        return new Step("clone", $"Start the clone, to recover to {record.Target.ToTarget()}", clone.Standby.Host)
        {
            IsDone = async run => (await clone.LookAsync(0, run.Cancel).ConfigureAwait(false)).IsUnderWay,
            Do = run => clone.StartAsync(description, run.Cancel),
            Preview = [$"write {clone.UnitFile}:", .. clone.UnitText(description).TrimEnd('\n').Split('\n').Select(l => "| " + l), $"systemctl start {clone.Unit}"],
        };
    }

    // Until here nothing waited for the disk. A clone can become the last copy of what the standby then applies: so it must outlive a power cut.
    private static Step Settle(CloneServer clone) => new("settle", "Let the clone write safely, see that all of it is on the disk, and let it start with the host", clone.Standby.Host)
    {
        IsDone = async run => (await clone.CopyLookAsync(0, run.Cancel).ConfigureAwait(false)).IsSettled,
        Do = async run =>
        {
            await clone.SettleAsync(run.Cancel).ConfigureAwait(false);
            var server = clone.AsServer();
            var until = DateTimeOffset.UtcNow.AddSeconds(30);
            while (!(await ServerSql.QueryAsync(server, "postgres", "SELECT pg_catalog.current_setting('fsync') = 'on'", run.Feedback, run.Cancel).ConfigureAwait(false))[0].Flag(0))
            {
                if (DateTimeOffset.UtcNow > until)
                {
                    throw new PitrException("PitrPS.CloneNotSettled", ErrorKind.OperationTimeout, $"The clone {clone.Name} does not take fsync = on from its postgresql.auto.conf.",
                        $"It can be read, but may be lost in a power cut. Look into {clone.Folder}/server.log, then run the same command again.", server);
                }

                await Task.Delay(TimeSpan.FromMilliseconds(50), run.Cancel).ConfigureAwait(false);
            }

            await ServerSql.QueryAsync(server, "postgres", "CHECKPOINT", run.Feedback, run.Cancel).ConfigureAwait(false);
            await clone.FlushAsync(run.Cancel).ConfigureAwait(false);
        },
        Preview = ["fsync = on, full_page_writes = on, synchronous_commit = on in its postgresql.auto.conf; reload", "CHECKPOINT, on the clone", "sync", $"systemctl enable {clone.Unit}"],
    };

    public static async Task<ClonePreparation> PrepareAsync(RecoveryOptions options, PgServer standby, RecoveryRecord? noted, IReadOnlyList<RecoveryRecord> others, SharedSurvey shared, IFeedback feedback, CancellationToken cancel)
    {
        var wal = await shared.ReadAsync(options).ConfigureAwait(false);
        var host = await (await HostSurvey.ReadAsync(standby, cancel).ConfigureAwait(false)).WithAsync(standby, wal.Target.Tablespaces, cancel).ConfigureAwait(false);
        host.RequireNoTarget(standby);
        var survey = await CloneSurvey.ReadAsync(standby, cancel).ConfigureAwait(false);
        var record = new RecoveryRecord
        {
            Target = noted?.Target ?? RecordedTarget.Of(options.Target),
            Way = RecoveryWay.Clone,
            Stop = wal.Target.Stop,
            Timeline = wal.Target.Timeline,
            Incident = options.Incident is { } incident ? RecordedIncident.Of(incident) : noted?.Incident,
            StartedAt = noted?.StartedAt ?? DateTimeOffset.UtcNow,
            StartedBy = noted?.StartedBy ?? PlanRunner.ThisClient,
            Layer = noted?.Layer ?? "",
            CloneId = noted?.CloneId,
            Port = noted?.Port ?? survey.PortFor(standby, others.Select(o => o.Port ?? 0)),
            StandbyRan = standby.IsRunning || noted is { StandbyRan: true, Invocation: null },
            WalSource = wal.Source,
            Restored = noted?.Restored ?? [],
        };
        if (noted is null)
        {
            var id = CloneServer.IdOf(record);
            record = record with { CloneId = id, Layer = survey.FolderOf(id) };
        }

        var preparation = new ClonePreparation(ServerOf(standby, record), record, host, survey, wal,
            standby.IsRunning ? await ScratchWay.ReadersAsync(standby, feedback, cancel).ConfigureAwait(false) : 0);
        survey.Require(standby, preparation.Growth, wal.Target.Tablespaces.Count > 0);
        return preparation;
    }
}

/// <summary>All that was read and tried before a clone is made.</summary>
internal sealed record ClonePreparation(CloneServer Server, RecoveryRecord Record, HostSurvey Host, CloneSurvey Copy, TargetSurvey Wal, long Readers)
{
    private PgServer Standby => Server.Standby;

    /// <summary>What pg_wal lacks is got out of a repository, before the standby is stopped.</summary>
    public bool IsFromRepository => Wal.Range.Repository is not null && Wal.Fetched.Count > 0;

    /// <summary>What the clone itself gets from the archive; of a repository it has it in its pg_wal.</summary>
    public IReadOnlyList<string> Fetched => IsFromRepository ? [] : Wal.Fetched;

    public IReadOnlyList<string> Settings => ScratchSettings.Of(Server, Wal.Target, Host, ScratchSettings.RestoreCommand(Wal.Restores, Wal.Range.ArchiveDirectory, Fetched));

    /// <summary>The segments of the standby's pg_wal that it needs.</summary>
    public IReadOnlyList<string> Segments => [.. Wal.Range.Pieces.Where(p => p.Place == WalPlace.PgWal && p.Segment.Start < Wal.Target.ReadTo && p.Segment.End > Wal.Range.From).Select(p => p.Segment.Name)];

    /// <summary>A pause that nothing but memory holds: a restart would forget it, and apply what it was to keep.</summary>
    public bool IsPausedByHand => Standby.IsRunning && Wal.Position is { IsPaused: true, DelayMilliseconds: < StandbyPosition.LargestDelay };

    /// <summary>Bytes that recovery writes: its own WAL, and new blocks.</summary>
    public long Growth => ((Segments.Count + Wal.Fetched.Count) * Standby.WalSegmentSize) + Wal.Range.BytesTo(Wal.Target.Stop);

    /// <summary>What the user must know before saying yes.</summary>
    public IReadOnlyList<string> Announcements()
    {
        var wal = Wal.Range.BytesTo(Wal.Target.Stop);
        var copied = Copy.CopiedBytes;
        var home = Copy.Places[0].Device;
        var sessions = Readers == 0 ? "nobody is connected to it" : Readers == 1 ? "the one session on it is ended" : $"the {Readers} sessions on it are ended";
        return
        [
            !Record.StandbyRan
                ? $"{Standby.Id} is stopped already, and stays so."
                : string.Create(CultureInfo.InvariantCulture, $"{Standby.Id} is stopped while its files are copied, about {2 + (copied / 300e6):0} s ({(copied == 0 ? "by reference" : $"{ByteSize.Words(copied)}, at some 300 MB/s")}); {sessions}. ")
                    + (IsPausedByHand ? "Its replay was paused by hand, which a restart forgets: so it is frozen as Suspend-WalReplay does it, and stays so until Resume-WalReplay."
                        : Wal.Position.IsFrozen ? "Then it runs again, frozen as it is now."
                        : "Then it goes on with the delay that it has, and applies what it holds back in its time, what is recovered here, too."),
            $"WAL to replay, from the last restartpoint at {Wal.Range.From} to {Wal.Target.Stop}: at most {ByteSize.Words(wal)}, from {Wal.Source}.",
            $"The clone in {Server.Folder} takes about {ByteSize.Words(Copy.NeededOn(home, Growth))}; {ByteSize.Words(Copy.Free[home])} are free there. It stays until Remove-PitrClone, also after a reboot.",
            $"It listens on port {Server.Port.ToString(CultureInfo.InvariantCulture)} of localhost and in {Server.SocketDirectory}, for those whom the standby's pg_hba.conf lets in.",
        ];
    }
}
