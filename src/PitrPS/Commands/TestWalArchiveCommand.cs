using System.Management.Automation;
using PitrPS.Archive;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// <para>Says whether a WAL archive can be trusted: which segments are there, which are missing or wrong, and how far a recovery gets by it.</para>
/// <para>Of a primary it tests the archive from its first segment up to the last one that the server has finished; of a standby, through its mount, from where
/// its replay begins after a restart. Each segment's size and first page are checked as a server checks them that restores it (system identifier, position,
/// timeline, version), the timelines' history files against each other, and what pg_stat_archiver claims against what is there. It says how fast the archive
/// grows and when its disk is full. It only reads; tens of thousands of segments take seconds, through a mount half a minute.
/// Of an archive in pgBackRest, names and sizes are all that is looked at; its own verify reads what lies in the segments.</para>
/// </summary>
/// <example>
/// <code>$primary | Test-WalArchive | Format-List</code>
/// <para>All of it for the archive of a primary; whatever should be looked at is a sentence in Warnings.</para>
/// </example>
/// <example>
/// <code>($standby | Test-WalArchive).Problems</code>
/// <para>The segments that the standby would not get, or not as they should be, read through its mount.</para>
/// </example>
/// <example>
/// <code>$primary | Test-WalArchive -Path /srv/wal | Where-Object IsHealthy -EQ $false</code>
/// <para>An archive that others set up on that server's host.</para>
/// </example>
[Cmdlet(VerbsDiagnostic.Test, "WalArchive")]
[OutputType(typeof(WalArchiveReport))]
public sealed class TestWalArchiveCommand : PitrCmdlet
{
    private readonly List<PgServer> _servers = [];

    /// <summary>The primary, or a standby that has the archive mounted.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    public PgServer[] Server { get; set; } = [];

    /// <summary>The archive's directory on the server's host, where PitrPS did not set it up. Such a directory needs no marker file.</summary>
    [Parameter]
    public string? Path { get; set; }

    /// <summary>How many archives are tested at the same time.</summary>
    [Parameter]
    [ValidateRange(1, 64)]
    public int ThrottleLimit { get; set; } = 8;

    /// <inheritdoc/>
    protected override void ProcessRecord() => _servers.AddRange(Server);

    /// <inheritdoc/>
    protected override void EndProcessing() =>
        AwaitEach(_servers, ThrottleLimit, (server, feedback, cancel) => WalArchiveProbe.ReportAsync(new ArchiveProbeOptions(server, Path), feedback, cancel), (_, report) => WriteObject(report));
}
