using System.Management.Automation;
using PitrPS.Archive;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// Takes back what Mount-WalArchive set up: the mount and its key on the standby's host, and on the primary the key's permission and,
/// when no other standby reads the archive, the account that reads it. The archive itself is left alone.
/// Where the standby reads from a repository there is nothing but what PitrPS remembers of it.
/// </summary>
/// <example>
/// <code>$standby | Dismount-WalArchive -Primary $primary</code>
/// <para>Both hosts are as they were before Mount-WalArchive; sshfs stays installed.</para>
/// </example>
[Cmdlet(VerbsData.Dismount, "WalArchive", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType(typeof(PgServer))]
public sealed class DismountWalArchiveCommand : PlanCmdlet
{
    /// <summary>The server on whose host the archive is mounted.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    [Alias("Server", "Standby")]
    [ValidateNotNull]
    public PgServer PgServer { get; set; } = null!;

    /// <summary>The primary whose archive it is. Without it the standby's side alone is taken back, for a primary that does not exist any more.</summary>
    [Parameter(Position = 0)]
    [ValidateNotNull]
    public PgServer? Primary { get; set; }

    /// <summary>Dismounts also while the server is a standby that restores WAL from the mount.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() =>
        CarryAndWrite((feedback, cancel) => DismountPlan.BuildAsync(new DismountOptions(PgServer, Primary, Force, NeededByAsync), feedback, cancel), PgServer);

    private async Task<string?> NeededByAsync(CancellationToken cancel) =>
        await RecoveryRecord.ReadAsync(PgServer, cancel).ConfigureAwait(false) is { } record ? $"the recovery that {record.StartedBy} began at {record.StartedAt:u}" : null;
}
