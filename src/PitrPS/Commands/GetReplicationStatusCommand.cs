using System.Management.Automation;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Says where a primary or a standby stands in its replication.</para>
/// <para>Positions, what is held back, the delay, the receiver, the archive, and what replay is doing: it tells a freeze,
/// a freeze whose pause was lost in a crash, a pause by hand, and a pause at a recovery target apart.</para>
/// </summary>
/// <example>
/// <code>$standby | Get-ReplicationStatus | Format-List</code>
/// <para>All of it for one standby.</para>
/// </example>
/// <example>
/// <code>Connect-PgHost primary, standby -UserName dba | Get-PgServer | Get-ReplicationStatus</code>
/// <para>A line for each server.</para>
/// </example>
[Cmdlet(VerbsCommon.Get, "ReplicationStatus")]
[OutputType(typeof(ReplicationStatus))]
public sealed class GetReplicationStatusCommand : PitrCmdlet
{
    private readonly List<PgServer> _servers = [];

    /// <summary>The primary or standby.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <summary>How many servers are asked at the same time.</summary>
    [Parameter]
    [ValidateRange(1, 64)]
    public int ThrottleLimit { get; set; } = 16;

    /// <inheritdoc/>
    protected override void ProcessRecord() => _servers.AddRange(Server);

    /// <inheritdoc/>
    protected override void EndProcessing() =>
        AwaitEach(_servers, ThrottleLimit, (server, feedback, cancel) => ReplicationProbe.StatusAsync(server, feedback, cancel), (_, status) => WriteObject(status));
}
