using System.Management.Automation;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Lets a frozen standby go on with the delay that it had.</para>
/// <para>The delay is put back and seen to be in force before the pause is lifted, so that nothing is applied early.
/// Refused at a recovery target, where resuming would promote the standby, and where settings are lower than the primary's, where it would shut it down.</para>
/// <para>The server comes out with what Get-ReplicationStatus says of it, in its property Status.</para>
/// </summary>
/// <example>
/// <code>$standby | Resume-WalReplay</code>
/// <para>The false alarm is over; the standby replays again, as far behind as before.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Resume, "WalReplay", SupportsShouldProcess = true)]
[OutputType(typeof(PgServer))]
public sealed class ResumeWalReplayCommand : FreezeCmdlet
{
    private protected override Task<Planned<PgServer>> BuildAsync(PgServer server, IFeedback feedback, CancellationToken cancel) => Freeze.ResumeAsync(server, feedback, cancel);
}
