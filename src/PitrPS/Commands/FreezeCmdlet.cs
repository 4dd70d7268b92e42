using System.Management.Automation;
using PitrPS.Planning;
using PitrPS.Replication;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>What Suspend-WalReplay and Resume-WalReplay share: standbys come in, and go out with their status beside them.</summary>
public abstract class FreezeCmdlet : PlanCmdlet
{
    /// <summary>The standby.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var server in Server)
        {
            Attempt(() => WriteWithStatus(Carry((feedback, cancel) => BuildAsync(server, feedback, cancel))), server);
        }
    }

    private protected abstract Task<Planned<PgServer>> BuildAsync(PgServer server, IFeedback feedback, CancellationToken cancel);

    // What has been done is done, also where it cannot be asked now.
    private void WriteWithStatus(PgServer? server)
    {
        if (server is null)
        {
            return;
        }

        var described = PSObject.AsPSObject(server);
        try
        {
            described.Properties.Add(new PSNoteProperty("Status", server.IsPlanned ? null : Await((feedback, cancel) => ReplicationProbe.StatusAsync(server, feedback, cancel))));
        }
        catch (PitrException e)
        {
            WriteWarning($"{e.Message} {e.NextStep}");
        }

        WriteObject(described);
    }
}
