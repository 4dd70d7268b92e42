using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What a standby's WAL says of a target, whatever the way: where it is, and from where the WAL up to it comes. Reading it changes nothing.</summary>
/// <param name="Standby">The delayed standby.</param>
/// <param name="Position">Where it stands.</param>
/// <param name="Range">The WAL that it has.</param>
/// <param name="Target">The target as it was found there.</param>
/// <param name="Fetched">What pg_wal lacks of the WAL up to the target, and of the ancestry of its timeline.</param>
internal sealed record TargetSurvey(PgServer Standby, StandbyPosition Position, WalRange Range, ResolvedTarget Target, IReadOnlyList<string> Fetched) : IAsyncDisposable
{
    // Measured: replay from pg_wal some 200 MB/s, through an archive's mount some 80; stop and start take 2 s.
    private const double LocalRate = 200e6;
    private const double ArchiveRate = 80e6;
    private static readonly TimeSpan StopAndStart = TimeSpan.FromSeconds(2);

    /// <summary>What a server in recovery finds there; null where a way that promotes did not ask.</summary>
    public TargetConditions? Conditions { get; init; }

    /// <summary>Bytes of WAL from the last restartpoint to the target.</summary>
    public long WalBytes => Range.BytesTo(Target.Stop);

    /// <summary>Bytes of it that come from the archive.</summary>
    public long FetchedBytes => Fetched.Count * Standby.WalSegmentSize;

    /// <summary>How long stop, start and replay take, about.</summary>
    public TimeSpan ExpectedTime => StopAndStart + TimeSpan.FromSeconds((Math.Max(0, WalBytes - FetchedBytes) / LocalRate) + (FetchedBytes / ArchiveRate));

    /// <summary>As users read it.</summary>
    public string Source => Fetched.Count == 0 ? "pg_wal" : "pg_wal and archive";

    /// <summary>The standby's own restore_command; one that has a mount of PitrPS and no restore_command has at least the script.</summary>
    public string Restores => Position.RestoreCommand.Trim().Length == 0 && Standby.ArchiveMountPoint is { } mountPoint ? ArchiveScripts.RestoreCommand(Standby, mountPoint) : Position.RestoreCommand;

    /// <summary>For a way that promotes: what a server in recovery would find at the target is not asked.</summary>
    /// <exception cref="PitrException">What <see cref="TargetFinder"/> refuses, <c>PitrPS.TimelineUnreachable</c>, and <c>PitrPS.TargetNotFound</c> for an incident that is not where it was found.</exception>
    public static Task<TargetSurvey> ReadAsync(RecoveryOptions options, PgServer standby, IFeedback feedback, CancellationToken cancel) => SurveyAsync(options, standby, false, feedback, cancel);

    /// <summary>For a way that leaves the data on a server in recovery: with <see cref="Conditions"/>.</summary>
    /// <exception cref="PitrException">As the other one.</exception>
    public static Task<TargetSurvey> ReadWithConditionsAsync(RecoveryOptions options, PgServer standby, IFeedback feedback, CancellationToken cancel) => SurveyAsync(options, standby, true, feedback, cancel);

    private static async Task<TargetSurvey> SurveyAsync(RecoveryOptions options, PgServer standby, bool conditions, IFeedback feedback, CancellationToken cancel)
    {
        var position = await StandbyPosition.ReadAsync(standby, feedback, cancel).ConfigureAwait(false);
        var range = await RangeAsync(options, standby, position, feedback, cancel).ConfigureAwait(false);
        try
        {
            return await OfAsync(options, position, range, conditions, feedback, cancel).ConfigureAwait(false);
        }
        catch (PitrException e) when (e.Id is "PitrPS.TargetBeyondWal" or "PitrPS.WalMissing")
        {
            await range.DisposeAsync().ConfigureAwait(false);
            throw await PrimaryWal.AskAsync(standby, feedback, cancel).ConfigureAwait(false) is { } primary ? primary.Explain(e, options.Target, range) : e;
        }
        catch
        {
            await range.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The WAL that a standby has for a target.</summary>
    public static Task<WalRange> RangeAsync(RecoveryOptions options, PgServer standby, StandbyPosition position, IFeedback feedback, CancellationToken cancel) =>
        WalRange.ReadAsync(standby, position, (options.Target as RecoveryTarget.Lsn)?.Position, options.Target.Timeline, feedback, cancel);

    /// <summary>The survey of a range, which is then the survey's to dispose of.</summary>
    public static async Task<TargetSurvey> OfAsync(RecoveryOptions options, StandbyPosition position, WalRange range, bool conditions, IFeedback feedback, CancellationToken cancel)
    {
        var standby = range.Server;
        var finder = new TargetFinder(standby, position, range, feedback);
        var (target, found) = conditions
            ? await finder.FindWithConditionsAsync(options.Target, cancel).ConfigureAwait(false)
            : (await finder.FindAsync(options.Target, cancel).ConfigureAwait(false), null);
        if (options is { Incident: not null, Target: RecoveryTarget.Lsn asked } && target.Stop != asked.Position)
        {
            throw new PitrException("PitrPS.TargetNotFound", ErrorKind.ObjectNotFound, $"No record starts at {asked.Position} in the WAL of {standby.Id}, where a record of the incident should be.",
                "The incident was found on another standby, or this one follows another timeline now. Run Find-PgIncident again.", standby);
        }

        return new TargetSurvey(standby, position, range, target, await FetchedAsync(standby, range, target, cancel).ConfigureAwait(false)) { Conditions = found };
    }

    public ValueTask DisposeAsync() => Range.DisposeAsync();

    private static async Task<IReadOnlyList<string>> FetchedAsync(PgServer standby, WalRange range, ResolvedTarget target, CancellationToken cancel)
    {
        List<string> fetched = [.. range.FromArchiveBefore(target.ReadTo).Select(p => p.Segment.Name)];
        var history = TimelineHistory.FileName(target.Timeline);
        if (target.Timeline > 1 && range.ArchiveDirectory is not null
            && !await standby.Host.TestAsync(RemoteCommand.Of("test", "-f", $"{standby.DataDirectory}/pg_wal/{history}").As(standby.OsUser), cancel).ConfigureAwait(false))
        {
            fetched.Add(history);
        }

        return fetched;
    }
}
