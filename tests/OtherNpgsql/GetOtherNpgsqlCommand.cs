using System.Management.Automation;
using Npgsql;

namespace OtherNpgsql;

/// <summary>Stands for somebody else's module: it ships an Npgsql of its own, without a load context, and uses it.</summary>
[Cmdlet(VerbsCommon.Get, "OtherNpgsql")]
[OutputType(typeof(string))]
public sealed class GetOtherNpgsqlCommand : PSCmdlet
{
    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        var host = new NpgsqlConnectionStringBuilder("Host=192.0.2.1;Port=5433").Host;
        WriteObject($"{typeof(NpgsqlConnection).Assembly.GetName().Version!.Major} {host}");
    }
}
