using System.Management.Automation;
using PitrPS.Hosts;

namespace PitrPS.Commands;

/// <summary>Shows the hosts that this session has connected and still holds, or asks given hosts whether they answer.</summary>
/// <remarks>The session keeps no list that grows: a host that no variable refers to any more is not shown.</remarks>
/// <example>
/// <code>Get-PgHost</code>
/// <para>The hosts that are connected.</para>
/// </example>
/// <example>
/// <code>$standby | Get-PgHost</code>
/// <para>Runs a command on the host, connecting again where the connection was lost, and emits the host; an error says why it does not answer.</para>
/// </example>
[Cmdlet(VerbsCommon.Get, "PgHost", DefaultParameterSetName = "Name")]
[OutputType(typeof(PgHost))]
public sealed class GetPgHostCommand : PitrCmdlet
{
    /// <summary>Names of connected hosts; wildcards are allowed.</summary>
    [Parameter(Position = 0, ParameterSetName = "Name")]
    [SupportsWildcards]
    [ValidateNotNullOrEmpty]
    public string[] Name { get; set; } = ["*"];

    /// <summary>Hosts to ask whether they answer.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true, ParameterSetName = "Host")]
    [Alias("Host")]
    [ValidateNotNull]
    public PgHost[] PgHost { get; set; } = [];

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var host in PgHost)
        {
            Attempt(() =>
            {
                Await((_, cancel) => host.RunCheckedAsync(RemoteCommand.Of("true"), cancel));
                WriteObject(host);
            }, host);
        }
    }

    /// <inheritdoc/>
    protected override void EndProcessing()
    {
        if (ParameterSetName != "Name")
        {
            return;
        }

        var connected = ConnectedHosts.All;
        foreach (var name in Name)
        {
            var pattern = new WildcardPattern(name, WildcardOptions.IgnoreCase);
            var found = connected.Where(h => pattern.IsMatch(h.Name)).ToList();
            found.ForEach(WriteObject);
            if (found.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                WriteError(Record(new PitrException("PitrPS.HostNotConnected", ErrorKind.ObjectNotFound,
                    $"This session holds no connected host {name}.", $"Connect to it with Connect-PgHost {name}.", name)));
            }
        }
    }
}
