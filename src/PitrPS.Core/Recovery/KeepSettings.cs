using System.Globalization;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The settings that let a standby recover itself to a target, in PitrPS's own file, with those that have to be as high as the primary's were. At no moment does a file say a delay of 0 without the target:
/// the two come in one write while the server is stopped, and go in one write before it is restarted. Without the target the others do no harm, so they come first and go last.
/// Source: PostgreSQL documentation, "Recovery Target"; src/backend/access/transam/xlogrecovery.c.
/// </summary>
internal static class KeepSettings
{
    private const string Timeline = "recovery_target_timeline";
    private const string Inclusive = "recovery_target_inclusive";
    private const string Action = "recovery_target_action";

    /// <summary>The one setting that names the target.</summary>
    public static (string Name, string Value) TargetOf(RecoveryRecord record) =>
        record.Target is { Kind: "restorePoint", Value: var name } ? ("recovery_target_name", name) : ("recovery_target_lsn", record.Stop.ToString());

    /// <summary>How the target is to be taken. The server pauses there, where it would by default, too, but somebody may have said otherwise; or it is promoted there.</summary>
    public static IReadOnlyDictionary<string, string?> Frame(RecoveryRecord record) => new Dictionary<string, string?>
    {
        [Action] = record.Way == RecoveryWay.Promote ? "promote" : "pause",
        [Inclusive] = record.StopsAfter ? "on" : "off",
        [Timeline] = record.Timeline.ToString(CultureInfo.InvariantCulture),
    };

    /// <summary>The target, and the delay out of its way: with it, the target would be reached only when it has run out.</summary>
    public static IReadOnlyDictionary<string, string?> Target(RecoveryRecord record) => new Dictionary<string, string?>
    {
        [TargetOf(record).Name] = TargetOf(record).Value,
        [Freeze.DelaySetting] = "0",
    };

    /// <summary>Frozen as before: no target, and the delay raised to its maximum.</summary>
    public static IReadOnlyDictionary<string, string?> NoTarget(RecoveryRecord record) => new Dictionary<string, string?>(Freeze.DelayOf(ReplayFacts.LargestDelay)) { [TargetOf(record).Name] = null };

    public static IReadOnlyDictionary<string, string?> NoFrame { get; } = new Dictionary<string, string?> { [Action] = null, [Inclusive] = null, [Timeline] = null };

    /// <summary>What the standby has too little of for the WAL up to the target.</summary>
    public static IReadOnlyDictionary<string, string?> Raised(RecoveryRecord record) => record.Raised.ToDictionary(r => r.Name, r => (string?)r.Needed.ToString(CultureInfo.InvariantCulture));

    /// <summary>That as it was, but for what a server would not start without that has replayed this WAL.</summary>
    /// <param name="record">The recovery.</param>
    /// <param name="needed">What the control file of the standby asks for now.</param>
    public static IReadOnlyDictionary<string, string?> Lowered(RecoveryRecord record, IReadOnlyDictionary<string, long> needed) =>
        record.Raised.Where(r => needed.GetValueOrDefault(r.Name) <= r.Has).ToDictionary(r => r.Name, r => record.SettingsBefore.GetValueOrDefault(r.Name));

    /// <summary>Whether PitrPS's file on the standby names this recovery's target: then any start of the server leads there.</summary>
    public static async Task<bool> IsSetAsync(PgServer standby, RecoveryRecord record, CancellationToken cancel) =>
        (await OwnedSettings.ReadAsync(standby, cancel).ConfigureAwait(false)).GetValueOrDefault(TargetOf(record).Name) == TargetOf(record).Value;
}
