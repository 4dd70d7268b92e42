using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>
/// Where a standby stands in the WAL: from pg_control, and from the server itself while it runs. Works on a stopped standby too; then what only a running one knows is null.
/// </summary>
internal sealed record StandbyPosition
{
    /// <summary>The largest recovery_min_apply_delay, which is how a freeze outlives a crash. (src/backend/utils/misc/guc_tables.c)</summary>
    public const long LargestDelay = int.MaxValue;

    /// <summary>Where replay begins after a restart: the redo position of the latest restartpoint.</summary>
    public required Lsn Redo { get; init; }

    /// <summary>What a start requires at least of the settings that a hot standby must not have lower than its primary, as of <see cref="Replayed"/>.</summary>
    public IReadOnlyDictionary<string, long> RequiredSettings { get; init; } = new Dictionary<string, long>();

    /// <summary>The timeline of <see cref="Redo"/>.</summary>
    public required uint Timeline { get; init; }

    /// <summary>The end of the last record that was replayed: every record that starts before it has been applied. Of a stopped standby: minRecoveryPoint, which is at most that.</summary>
    public required Lsn Replayed { get; init; }

    /// <summary>The standby's own clock, by which it counts its delay.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>Asked of the host, because a <see cref="PgServer"/> may be older than what has happened since.</summary>
    public bool IsRunning { get; init; }

    private bool HasSignal { get; init; }

    /// <summary>Up to where the receiver has written WAL to disk; null while it has not streamed since the start.</summary>
    public Lsn? Received { get; init; }

    /// <summary>The timeline that is being streamed; null when no receiver is streaming, and then more WAL may lie in the archive than was received.</summary>
    public uint? StreamingTimeline { get; init; }

    /// <summary>The delay in force, in milliseconds.</summary>
    public long DelayMilliseconds { get; init; }

    public bool IsPaused { get; init; }

    /// <summary>Nothing is applied as time goes by.</summary>
    public bool IsFrozen => !IsRunning || IsPaused || DelayMilliseconds >= LargestDelay;

    public string RestoreCommand { get; init; } = "";

    /// <summary>recovery_target_timeline: latest, current or a number.</summary>
    public string TargetTimeline { get; init; } = "latest";

    /// <summary>Asks the standby.</summary>
    /// <exception cref="PitrException"><c>PitrPS.NotAStandby</c> for a primary, <c>PitrPS.PlannedObject</c> for a plan, <c>PitrPS.VersionUnsupported</c>, <c>PitrPS.RemoteCommandFailed</c> when pg_control cannot be read.</exception>
    public static async Task<StandbyPosition> ReadAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        if (server.IsPlanned)
        {
            throw new PitrException("PitrPS.PlannedObject", ErrorKind.InvalidOperation,
                $"{server.Id} exists only as a plan: it came from a command that ran with -WhatIf, so it has no WAL to read.",
                "Run the commands before this one without -WhatIf.", server);
        }

        PgVersion.Require(server);
        var said = await server.Host.RunCheckedAsync(RemoteCommand.Shell(ControlScript, server.Program("pg_controldata"), server.DataDirectory,
            server.Program("postgres"), server.ConfigDirectory).As(server.OsUser), cancel).ConfigureAwait(false);
        var position = FromControl(server, said.Text);
        if (!position.IsRunning)
        {
            return position.HasSignal ? position : throw NotAStandby(server);
        }

        var row = (await ServerSql.QueryAsync(server, "postgres", Query, feedback, cancel).ConfigureAwait(false))[0];
        return row.Flag(0) ? position.With(row) : throw NotAStandby(server);
    }

    // A stopped server cannot be asked for its settings, but its binary reads the same files.
    private const string ControlScript =
        """
        "$1" -D "$2" || exit
        date -u +'pitrps clock: %s.%N'
        [ -e "$2/standby.signal" ] && echo 'pitrps signal: y'
        read -r pid 2>/dev/null <"$2/postmaster.pid" && kill -0 "$pid" 2>/dev/null && echo 'pitrps running: y' && exit
        for s in restore_command recovery_target_timeline recovery_min_apply_delay; do
          v=$("$3" -D "$4" -C $s 2>/dev/null) && echo "pitrps $s: $v"
        done
        exit 0
        """;

    // flushed_lsn of the receiver and pg_last_wal_receive_lsn() are the same; only the latter outlives the receiver.
    private const string Query =
        """
        SELECT pg_is_in_recovery(),
               extract(epoch FROM clock_timestamp()),
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() END,
               CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END,
               (SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'),
               (SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'),
               CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END,
               current_setting('restore_command'),
               current_setting('recovery_target_timeline')
        """;

    internal static StandbyPosition FromControl(PgServer server, string text)
    {
        var facts = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in text.Split('\n'))
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon > 0)
            {
                facts[line[..colon].Trim()] = line[(colon + 1)..].Trim();
            }
        }

        string Fact(string name) => facts.TryGetValue(name, out var value) ? value : throw new PitrException("PitrPS.UnexpectedOutput", ErrorKind.InvalidResult,
            $"pg_controldata of {server.Id} says nothing of '{name}'.", $"Run pg_controldata -D {server.DataDirectory} on {server.Host.Name} and see what is wrong with it.", server);

        var redo = Lsn.Parse(Fact("Latest checkpoint's REDO location"));
        var ending = Lsn.Parse(Fact("Minimum recovery ending location"));
        var checkpoint = Lsn.Parse(Fact("Latest checkpoint location"));
        return new StandbyPosition
        {
            Redo = redo,
            RequiredSettings = ControlData.Parse(text).Settings,
            Timeline = uint.Parse(Fact("Latest checkpoint's TimeLineID"), CultureInfo.InvariantCulture),
            Replayed = ending > checkpoint ? ending : checkpoint,
            Time = Epoch(Fact("pitrps clock")),
            IsRunning = facts.ContainsKey("pitrps running"),
            HasSignal = facts.ContainsKey("pitrps signal"),
            RestoreCommand = facts.GetValueOrDefault("pitrps restore_command", ""),
            TargetTimeline = facts.GetValueOrDefault("pitrps recovery_target_timeline", "latest"),
            DelayMilliseconds = long.TryParse(facts.GetValueOrDefault("pitrps recovery_min_apply_delay"), NumberStyles.None, CultureInfo.InvariantCulture, out var delay) ? delay : 0,
        };
    }

    internal StandbyPosition With(SqlRow row) => this with
    {
        Time = Epoch(row.Text(1)),
        Replayed = row[2] is { } replayed ? Lsn.Parse(replayed) : Replayed,
        Received = row[3] is { } received ? Lsn.Parse(received) : null,
        StreamingTimeline = row[4] is { } timeline ? uint.Parse(timeline, CultureInfo.InvariantCulture) : null,
        DelayMilliseconds = row.Number(5),
        IsPaused = row.Flag(6),
        RestoreCommand = row[7] ?? "",
        TargetTimeline = row[8] ?? "latest",
    };

    private static DateTimeOffset Epoch(string seconds) =>
        DateTimeOffset.UnixEpoch.AddTicks((long)(decimal.Parse(seconds, CultureInfo.InvariantCulture) * TimeSpan.TicksPerSecond));

    private static PitrException NotAStandby(PgServer server) => new("PitrPS.NotAStandby", ErrorKind.InvalidOperation,
        $"{server.Id} is not a standby: what was destroyed on a primary can only be found and fetched back on a standby that has not replayed it yet.",
        "Give the delayed standby: Connect-PgHost <standby> | Get-PgServer | Find-PgIncident.", server);
}
