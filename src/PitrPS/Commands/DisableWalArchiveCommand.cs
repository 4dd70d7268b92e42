using System.Management.Automation;
using PitrPS.Archive;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// Takes back what Enable-WalArchive set: archive settings and heartbeat are as they were before it, and there is no retention any more. What is archived already stays.
/// The server is restarted only if archive_mode changes by it.
/// </summary>
/// <example>
/// <code>Connect-PgHost primary -UserName dba | Get-PgServer | Disable-WalArchive</code>
/// <para>The primary archives no more, or again as it did before PitrPS.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Disable, "WalArchive", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PgServer))]
public sealed class DisableWalArchiveCommand : PlanCmdlet
{
    /// <summary>The primary.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    [Alias("Server")]
    [ValidateNotNull]
    public PgServer PgServer { get; set; } = null!;

    /// <inheritdoc/>
    protected override void ProcessRecord() =>
        CarryAndWrite((feedback, cancel) => ArchiveRemovalPlan.BuildAsync(PgServer, feedback, cancel), PgServer);
}
