using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// Where a recovery stops, found in the WAL. Times and transactions become the position of a record: a time that no commit follows, or an xid that has passed,
/// would never match, and all WAL would be applied. Source: src/backend/access/transam/xlogrecovery.c, recoveryStopsBefore.
/// </summary>
/// <param name="Stop">The record that is not applied any more; with <see cref="StopsAfter"/> the record that is the last one; for <see cref="IsImmediate"/> where replay stands.</param>
/// <param name="Timeline">The timeline of that record.</param>
/// <param name="ReadTo">The position behind that record, which must be readable for recovery to recognise it.</param>
internal sealed record ResolvedTarget(Lsn Stop, uint Timeline, Lsn ReadTo)
{
    /// <summary>The name of a restore point; null for all other targets.</summary>
    public string? RestorePoint { get; init; }

    /// <summary>The record at <see cref="Stop"/> is applied, too.</summary>
    public bool Inclusive { get; init; }

    /// <summary>As soon as the files are consistent, which those of a standby that was stopped cleanly are where its replay stands.</summary>
    public bool IsImmediate { get; init; }

    /// <summary>The record at <see cref="Stop"/> is the last one that is applied.</summary>
    public bool StopsAfter => RestorePoint is not null || Inclusive;

    /// <summary>What a user has to know of how it was found, in whole sentences.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The files, relative to the data directory, that the record at <see cref="Stop"/> would remove; they are going to be read.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>The directories of tablespaces that are made in the WAL before it.</summary>
    public IReadOnlyList<string> Tablespaces { get; init; } = [];

    /// <summary>
    /// What a server needs at least that replays up to there and lets sessions in meanwhile, by setting: what the standby's own control file says, and what the records up to the target ask for.
    /// Source: src/backend/access/transam/xlogrecovery.c, CheckRequiredParameterValues.
    /// </summary>
    public IReadOnlyDictionary<string, long> RequiredSettings { get; init; } = new Dictionary<string, long>();

    /// <summary>The one recovery_target_* setting that says where.</summary>
    public (string Name, string Value) Setting =>
        IsImmediate ? ("recovery_target", "immediate")
        : RestorePoint is { } name ? ("recovery_target_name", name)
        : ("recovery_target_lsn", Stop.ToString());

    /// <summary>All settings of the target but recovery_target_action. A setting that is not among them must not be set at all, not even to nothing.</summary>
    public IReadOnlyDictionary<string, string> Settings => new Dictionary<string, string>
    {
        [Setting.Name] = Setting.Value,
        ["recovery_target_inclusive"] = Inclusive ? "on" : "off",
        ["recovery_target_timeline"] = Timeline.ToString(CultureInfo.InvariantCulture),
    };

    /// <summary>As a plan says it.</summary>
    public string Words =>
        IsImmediate ? $"where its replay stands, {Stop}"
        : RestorePoint is { } name ? $"restore point {name} at {Stop}"
        : $"just {(Inclusive ? "after the record at" : "before")} {Stop}";
}
