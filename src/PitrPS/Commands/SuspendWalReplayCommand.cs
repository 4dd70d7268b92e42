using System.Management.Automation;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Freezes a standby's replay at once, without a restart.</para>
/// <para>Replay is paused, which a crash or reboot would forget, and the delay is raised to the largest there is (24.8 days), which they do not.
/// Nothing that has not been applied yet is applied until Resume-WalReplay. WAL goes on arriving and needs room on the standby's disk meanwhile.
/// The first thing to do after an incident.</para>
/// <para>The server comes out with what Get-ReplicationStatus says of it, in its property Status.</para>
/// </summary>
/// <example>
/// <code>Connect-PgHost standby -UserName dba | Get-PgServer | Suspend-WalReplay</code>
/// <para>Stops the clock on the standby; then there is time to look for the incident.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Suspend, "WalReplay", SupportsShouldProcess = true)]
[OutputType(typeof(PgServer))]
public sealed class SuspendWalReplayCommand : FreezeCmdlet
{
    private protected override Task<Planned<PgServer>> BuildAsync(PgServer server, IFeedback feedback, CancellationToken cancel) => Freeze.SuspendAsync(server, feedback, cancel);
}
