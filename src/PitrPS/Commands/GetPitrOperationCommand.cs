using System.Management.Automation;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Commands;

/// <summary>Gets the operations on a host that were begun and have not ended: what, who, since when, at which step, and how to go on or back.</summary>
/// <example>
/// <code>Get-PgHost | Get-PitrOperation</code>
/// <para>What is unfinished on all hosts of this session.</para>
/// </example>
/// <example>
/// <code>Get-PitrOperation $standbyHost | Where-Object State -eq Abandoned</code>
/// <para>Operations whose client was killed or cut off; running the same cmdlet again goes on with them.</para>
/// </example>
[Cmdlet(VerbsCommon.Get, "PitrOperation")]
[OutputType(typeof(PitrOperation))]
public sealed class GetPitrOperationCommand : PitrCmdlet
{
    /// <summary>The host whose journals are read.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    [Alias("Host")]
    public PgHost? PgHost { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord() => Attempt(() =>
    {
        foreach (var operation in Await((_, cancel) => PitrOperation.ReadAsync(PgHost!, cancel)))
        {
            WriteObject(operation);
        }
    }, PgHost);
}
