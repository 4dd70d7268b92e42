using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// Where a recovery stops, found in the WAL. Times and transactions become the position of a record: a time that no commit follows, or an xid that has passed,
/// would never match, and all WAL would be applied. Source: src/backend/access/transam/xlogrecovery.c, recoveryStopsBefore.
/// </summary>
/// <param name="Stop">The record that is not applied any more; for a restore point the record that is the last one.</param>
/// <param name="Timeline">The timeline of that record.</param>
/// <param name="ReadTo">The position behind that record, which must be readable for recovery to recognise it.</param>
internal sealed record ResolvedTarget(Lsn Stop, uint Timeline, Lsn ReadTo)
{
    /// <summary>The name of a restore point; null for all other targets.</summary>
    public string? RestorePoint { get; init; }

    /// <summary>The files, relative to the data directory, that the record at <see cref="Stop"/> would remove; they are going to be read.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>The directories of tablespaces that are made in the WAL before it.</summary>
    public IReadOnlyList<string> Tablespaces { get; init; } = [];

    /// <summary>The one recovery_target_* setting.</summary>
    public (string Name, string Value) Setting => RestorePoint is { } name ? ("recovery_target_name", name) : ("recovery_target_lsn", Stop.ToString());

    /// <summary>As a plan says it.</summary>
    public string Words => RestorePoint is { } name ? $"restore point {name} at {Stop}" : $"just before {Stop}";
}
