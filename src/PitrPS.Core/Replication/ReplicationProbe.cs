using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>Asks a server where it stands.</summary>
internal static class ReplicationProbe
{
    /// <summary>Replay's facts of a running standby.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ServerUnavailable</c></exception>
    public static async Task<ReplayFacts> FactsAsync(PgServer standby, IFeedback feedback, CancellationToken cancel)
    {
        var state = await ServerState.ReadAsync(standby.Host, standby.Name, cancel).ConfigureAwait(false);
        await using var sql = await ServerSql.OpenAsync(standby, "postgres", feedback, cancel).ConfigureAwait(false);
        var facts = ReplayFacts.From((await sql.QueryAsync(ReplayFacts.Query(standby.Version), cancel).ConfigureAwait(false))[0], state.FrozenAt);

        // Only a server that has stopped replaying can have stopped for that; a freeze is in a hurry.
        return facts.IsStopped ? facts with { TooLow = await TooLowAsync(standby, sql, cancel).ConfigureAwait(false) } : facts;
    }

    /// <summary>The settings of this standby that are lower than what its WAL says the primary has.</summary>
    public static async Task<IReadOnlyList<string>> TooLowAsync(PgServer standby, ISqlSession sql, CancellationToken cancel)
    {
        var control = await ControlData.ReadAsync(standby, cancel).ConfigureAwait(false);
        var theirs = control.Settings;
        var ours = await sql.QueryAsync($"SELECT name, setting FROM pg_settings WHERE name IN ({string.Join(", ", theirs.Keys.Select(Sql.Literal))}) ORDER BY 1", cancel).ConfigureAwait(false);
        return [.. ours.Where(row => row.Number(1) < theirs[row.Text(0)]).Select(row => $"{row.Text(0)} ({row.Text(1)} < {theirs[row.Text(0)]})")];
    }

    /// <summary>The whole status, of a primary or a standby.</summary>
    public static async Task<ReplicationStatus> StatusAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        var state = await ServerState.ReadAsync(server.Host, server.Name, cancel).ConfigureAwait(false);
        await using var sql = await ServerSql.OpenAsync(server, "postgres", feedback, cancel).ConfigureAwait(false);
        var facts = ReplayFacts.From((await sql.QueryAsync(ReplayFacts.Query(server.Version), cancel).ConfigureAwait(false))[0], state.FrozenAt);
        var status = new ReplicationStatus { Server = server, Role = facts.InRecovery ? ServerRole.Standby : ServerRole.Primary, Time = facts.Time };
        status = await WithArchiverAsync(status, sql, cancel).ConfigureAwait(false);
        if (!facts.InRecovery)
        {
            return await WithStandbysAsync(status, sql, cancel).ConfigureAwait(false);
        }

        facts = facts with { TooLow = await TooLowAsync(server, sql, cancel).ConfigureAwait(false) };
        bool? mounted = server.ArchiveMountPoint is { } mountPoint
            ? await server.Host.TestAsync(MarkerReadable(server, mountPoint), cancel).ConfigureAwait(false)
            : server.RestoreRepository is { } repository ? await IsReadableAsync(new PgBackRest(server, repository.Stanza), cancel).ConfigureAwait(false)
            : null;
        return Of(status, facts, state, mounted);
    }

    /// <summary>A standby's status from what was read; pure.</summary>
    public static ReplicationStatus Of(ReplicationStatus status, ReplayFacts facts, ServerState state, bool? archiveMounted)
    {
        var delay = (facts.DelayIsRaised || facts.Targets.Count > 0) && state is { FrozenAt: not null, DelayMilliseconds: { } kept } ? kept : facts.DelayMilliseconds;
        var effective = TimeSpan.FromMilliseconds(facts.DelayMilliseconds);
        var warnings = new List<string>();
        switch (facts.State)
        {
            case ReplayState.PauseLost:
                warnings.Add("The pause of the freeze is gone (a restart or crash forgets it). The raised delay still holds every COMMIT back; run Suspend-WalReplay again.");
                break;
            case ReplayState.PausedByHand:
                warnings.Add("Replay was paused by hand: a restart would thaw it. Suspend-WalReplay makes it a freeze that a crash does not undo.");
                break;
            case ReplayState.PausedAtTarget:
                warnings.Add("Replay stands at a recovery target; resuming it would promote this standby. If a recovery in place has brought it there (Get-PitrRecovery), Complete-PitrRecovery lets it go on.");
                break;
            case ReplayState.PausedForSettings:
                warnings.Add("Replay stands because settings are lower than the primary's; resuming it would shut this standby down.");
                break;
        }

        if (facts.Targets.Count > 0 && facts.State != ReplayState.PausedAtTarget)
        {
            warnings.Add(facts.FrozenAt is not null ? $"It replays up to a recovery target: {string.Join(", ", facts.Targets)}. A recovery in place does that (Get-PitrRecovery)." : $"A recovery target is left in the configuration and will stop this standby one day: {string.Join(", ", facts.Targets)}.");
        }

        if (facts.TooLow.Count > 0)
        {
            warnings.Add($"Settings are lower than the primary's, a restart would fail: {string.Join(", ", facts.TooLow)}.");
        }

        if (archiveMounted == false)
        {
            warnings.Add(status.Server is { RestoreRepository: { } repository }
                ? $"The repository {repository} cannot be read: what is not streamed cannot be replayed."
                : "The archive cannot be read through its mount: what is not streamed cannot be replayed.");
        }

        return status with
        {
            Replay = facts.State,
            Received = facts.Received,
            Replayed = facts.Replayed,
            ReplayedUpTo = facts.ReplayedUpTo,
            HeldBackBytes = facts.Received is { } received && facts.Replayed is { } replayed ? Math.Max(0, received - replayed) : null,
            Delay = TimeSpan.FromMilliseconds(delay),
            EffectiveDelay = effective,
            TimeLeft = facts.IsPaused || facts.ReplayedUpTo is not { } upTo ? null : Max(TimeSpan.Zero, upTo + effective - facts.Time),
            Receiver = facts.Receiver ?? "none",
            ArchiveMounted = archiveMounted,
            Warnings = warnings,
        };
    }

    private static async Task<bool> IsReadableAsync(PgBackRest repository, CancellationToken cancel)
    {
        try
        {
            await repository.RequireAsync(repository.Server.SystemIdentifier, cancel).ConfigureAwait(false);
            return true;
        }
        catch (PitrException e) when (e.Id is "PitrPS.PgBackRestMissing" or "PitrPS.RepositoryUnreachable" or "PitrPS.StanzaNotFound" or "PitrPS.StanzaOfAnotherCluster")
        {
            return false;
        }
    }

    // Whoever reads a mount that hangs may be impossible to kill, and then timeout waits for it as well: so it is left behind.
    private static RemoteCommand MarkerReadable(PgServer standby, string mountPoint) => RemoteCommand.Shell(
        """
        asked=$(mktemp) || exit 1
        { timeout -k 1 5 cat -- "$1" && rm -f -- "$asked"; } </dev/null >/dev/null 2>&1 &
        tenths=0
        while [ -e "$asked" ] && [ "$tenths" -lt 50 ] && kill -0 "$!" 2>/dev/null; do
          sleep 0.1
          tenths=$((tenths + 1))
        done
        [ -e "$asked" ] || exit 0
        rm -f -- "$asked"
        exit 1
        """, $"{mountPoint}/{ArchiveMarker.FileName}").As(standby.OsUser);

    private static TimeSpan Max(TimeSpan a, TimeSpan b) => a > b ? a : b;

    private static async Task<ReplicationStatus> WithArchiverAsync(ReplicationStatus status, ISqlSession sql, CancellationToken cancel)
    {
        var row = (await sql.QueryAsync(
            """
            SELECT last_archived_wal, extract(epoch FROM last_archived_time),
                   CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal END
              FROM pg_stat_archiver
            """, cancel).ConfigureAwait(false))[0];
        var failing = row[2];
        return status with
        {
            LastArchived = row[0],
            LastArchivedAt = row[1] is { } at ? ReplayFacts.Epoch(at) : null,
            ArchiveFailing = failing,
            Warnings = failing is null ? status.Warnings : [.. status.Warnings, $"archive_command fails for {failing}; the server's log says why. WAL piles up in pg_wal until it succeeds."],
        };
    }

    private static async Task<ReplicationStatus> WithStandbysAsync(ReplicationStatus status, ISqlSession sql, CancellationToken cancel)
    {
        var rows = await sql.QueryAsync(
            """
            SELECT pg_current_wal_lsn(), r.application_name, host(r.client_addr), r.state, r.sent_lsn, r.replay_lsn, s.slot_name
              FROM (SELECT 1) one LEFT JOIN pg_stat_replication r ON true LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
             ORDER BY r.application_name
            """, cancel).ConfigureAwait(false);
        return status with
        {
            Current = Lsn.Parse(rows[0].Text(0)),
            Standbys = [.. rows.Where(r => r[3] is not null).Select(r => new ConnectedStandby(r[1] ?? "", r[2], r.Text(3), At(r[4]), At(r[5]), r[6]))],
        };

        static Lsn? At(string? text) => text is null ? null : Lsn.Parse(text);
    }
}
