using System.Management.Automation;
using PitrPS.Recovery;

namespace PitrPS.Commands;

/// <summary>Says whether a recovery could stop at a target, and what would be found there, without stopping anything.</summary>
/// <remarks>
/// The WAL itself is asked: is there a record at which recovery stops, is it not applied yet, is every segment up to it there and whole to its last record, and where does each lie.
/// For a server that would be left in recovery at the target it says which tables are locked there and by whom, whether sessions could connect, and which settings would have to be raised.
/// A target that cannot be reached is an answer (IsReachable is false, Problems says why and what to do); only wrong input is an error.
/// </remarks>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Test-RecoveryTarget | Format-List</code>
/// <para>The point just before the incident's COMMIT, with all that is known of it.</para>
/// </example>
/// <example>
/// <code>$standby | Test-RecoveryTarget -TargetTime '2026-11-23 14:05:00+01:00'</code>
/// <para>Whether the standby can still be recovered to that moment. A time without an offset from UTC is refused.</para>
/// </example>
/// <example>
/// <code>($standby | Test-RecoveryTarget -TargetXid 744 -Inclusive).Notes</code>
/// <para>Just after the commit of a transaction; of a subtransaction, the note says which top-level one it is a part of.</para>
/// </example>
/// <example>
/// <code>($standby | Test-RecoveryTarget -TargetName before_release).Segments | Group-Object Place -NoElement</code>
/// <para>How many segments would come from pg_wal, and how many from the archive.</para>
/// </example>
[Cmdlet(VerbsDiagnostic.Test, "RecoveryTarget", DefaultParameterSetName = "Incident")]
[OutputType(typeof(RecoveryTargetReport))]
public sealed class TestRecoveryTargetCommand : TargetCmdlet
{
    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() =>
    {
        var options = Options();
        WriteObject(Await((feedback, cancel) => TargetReport.ReadAsync(options, feedback, cancel)));
    }, Standby ?? Incident?.Standby);
}
