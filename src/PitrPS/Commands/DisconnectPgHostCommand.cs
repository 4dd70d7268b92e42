using System.Management.Automation;
using PitrPS.Hosts;

namespace PitrPS.Commands;

/// <summary>Closes the connections to hosts. A host that was disconnected runs no command any more.</summary>
/// <example>
/// <code>Get-PgHost | Disconnect-PgHost</code>
/// <para>Disconnects all hosts that this session has connected.</para>
/// </example>
[Cmdlet(VerbsCommunications.Disconnect, "PgHost")]
[OutputType(typeof(void))]
public sealed class DisconnectPgHostCommand : PitrCmdlet
{
    /// <summary>The hosts, as Connect-PgHost emitted them.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Host")]
    [ValidateNotNull]
    public PgHost[] PgHost { get; set; } = [];

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var host in PgHost)
        {
            host.IsConnected = false;
            Await(async (_, _) => await host.Remote.DisposeAsync().ConfigureAwait(false));
        }
    }
}
