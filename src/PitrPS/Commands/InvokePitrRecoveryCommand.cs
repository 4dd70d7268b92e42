using System.Management.Automation;
using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Recovers a delayed standby to just before an incident, by default on a scratch server that runs on a throw-away layer over the standby's files.</summary>
/// <remarks>
/// The standby is frozen and stopped cleanly, and a second server takes its place: it reads the standby's files, writes only to the layer, replays the WAL up to the target,
/// and is promoted there. The standby's files are never written. Complete-PitrRecovery throws the scratch server away, and the standby goes on from where it was.
/// With -Way Keep the standby itself replays up to just before the first lock on what was destroyed, and pauses there, readable. What it held back before that is applied for good:
/// its reach back is lost until the delay has passed again. It is for hosts where no layer can be laid.
/// Run again after a lost connection, a killed client or a power cut, it goes on or begins anew.
/// </remarks>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery | Restore-PgTable -To $primary | Complete-PitrRecovery</code>
/// <para>The whole way: the table is on the primary again, and the standby is the same delayed standby.</para>
/// </example>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -WhatIf</code>
/// <para>Shows what would be done: WAL to replay, time and disk space that it takes, each step.</para>
/// </example>
/// <example>
/// <code>$recovery = Invoke-PitrRecovery -Standby $standby -TargetTime '2026-11-23 14:05:00+00' -Confirm:$false</code>
/// <para>Recovers to just before the first commit after a point in time.</para>
/// </example>
/// <example>
/// <code>$clone = $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Way Clone</code>
/// <para>A server of its own beside the standby, which goes on: time to look, and to compare with clones at other targets. $clone.Connect says how to get in.</para>
/// </example>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Way Keep | Restore-PgTable -To $primary | Complete-PitrRecovery</code>
/// <para>The same in place, on a host where no layer can be laid; the plan says what it costs.</para>
/// </example>
/// <example>
/// <code>$recovery = $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -KeepRunning</code>
/// <para>Lets others of the host look into the scratch server, too, and says with which command. It stays until Complete-PitrRecovery.</para>
/// </example>
/// <example>
/// <code>$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Way Promote -ArchivePath /var/mnt/archive_wal_dir_2</code>
/// <para>The primary is lost for good: the standby takes its place, with all that was committed before the incident. Refused while the primary answers.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Invoke, "PitrRecovery", DefaultParameterSetName = "Incident", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PitrRecovery))]
public sealed class InvokePitrRecoveryCommand : TargetCmdlet
{
    private readonly List<RecoveryOptions> _asked = [];

    /// <summary>
    /// How the data of before the target are made readable. By default the first way of these that is possible on the host, and the plan says why. Scratch: a second server on a throw-away layer over the standby's files, while the standby is stopped.
    /// Clone: an independent server on a copy of its files, beside the standby, which goes on; Remove-PitrClone ends it.
    /// Keep: the standby itself, in place; the plan says what that costs.
    /// Promote, which is never chosen by itself: the standby becomes a primary of its own.
    /// </summary>
    [Parameter]
    public RecoveryWay? Way { get; set; }

    /// <summary>
    /// For a person who wants to look around: opens the scratch server, in a directory that every user of the standby's host may enter, to whomever the standby's own pg_hba.conf lets in by a socket, and says how to connect.
    /// Without it, only the server's OS user and root get in. There is no network in either case. A clone is open in this way anyhow.
    /// </summary>
    [Parameter]
    public SwitchParameter KeepRunning { get; set; }

    /// <summary>With -Way Promote: the directory on the standby's host to which it archives as a primary. It is made; one that is there must be empty.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? ArchivePath { get; set; }

    /// <summary>With -Way Promote: also while the old primary answers, so that there are two that take writes.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() =>
    {
        if (Way != RecoveryWay.Promote && (ArchivePath is not null || Force))
        {
            throw new PitrException("PitrPS.OnlyForPromote", ErrorKind.InvalidArgument, $"{(Force ? "-Force" : "-ArchivePath")} belongs to -Way Promote; {(Way is { } way ? $"the way is {way}" : "no way was given, and a promotion is never chosen by itself")}.",
                "Leave it out, or give -Way Promote.", Standby ?? Incident?.Standby);
        }

        _asked.Add(Options() with { Way = Way, KeepRunning = KeepRunning, ArchivePath = ArchivePath, Force = Force });
    }, Standby);

    /// <inheritdoc/>
    protected override void EndProcessing()
    {
        foreach (var asked in _asked.GroupBy(o => o.Standby.Id))
        {
            Attempt(() =>
            {
                var options = RecoveryOptions.One([.. asked]);
                if (Carry((feedback, cancel) => RecoveryPlan.BuildAsync(options, feedback, cancel)) is { } recovery)
                {
                    WriteObject(recovery);
                    if (KeepRunning && recovery.Connect is { } connect)
                    {
                        WriteInformation(new HostInformationMessage { Message = $"On {recovery.Standby.Host.Name}: {connect}" }, ["PSHOST"]);
                    }
                }
            }, asked.First().Standby);
        }
    }
}
