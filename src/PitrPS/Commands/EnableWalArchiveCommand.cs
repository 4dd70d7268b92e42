using System.Management.Automation;
using PitrPS.Archive;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>
/// Lets a primary archive its WAL: a directory that only the server writes and only the archive's readers read, an archive_command that is durable,
/// a heartbeat for delayed standbys, and the proof that a segment has arrived. The server is restarted only if a setting needs it.
/// With -Repository, WAL goes into the repository of a tool that the site has installed and configured, and PitrPS writes no archive of its own.
/// </summary>
/// <example>
/// <code>$primary = Connect-PgHost primary -UserName dba | Get-PgServer | Enable-WalArchive -Path /var/mnt/archive_wal_dir</code>
/// <para>Archives to that directory, with a heartbeat and a new segment at least every minute.</para>
/// </example>
/// <example>
/// <code>$primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -RetainFor 14.00:00:00</code>
/// <para>Keeps WAL for 14 days, and longer what a standby or a base backup still needs.</para>
/// </example>
/// <example>
/// <code>$primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Compression Zstd</code>
/// <para>Writes compressed segments from now on. Errors: PitrPS.CompressionUnavailable where zstd is not to be had; nothing is changed then.</para>
/// </example>
/// <example>
/// <code>$primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -HeartbeatInterval 00:00:10 -WhatIf</code>
/// <para>Shows what would be done, and changes nothing.</para>
/// </example>
/// <example>
/// <code>$primary | Enable-WalArchive -Repository PgBackRest -Stanza main</code>
/// <para>WAL goes to pgBackRest, by its own pgbackrest.conf. Where archive_command does that already, nothing of it is changed.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Enable, "WalArchive", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High, DefaultParameterSetName = Directory)]
[OutputType(typeof(PgServer))]
public sealed class EnableWalArchiveCommand : PlanCmdlet
{
    private const string Directory = "Directory";
    private const string InRepository = "Repository";

    /// <summary>The primary.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true)]
    [Alias("Server")]
    [ValidateNotNull]
    public PgServer PgServer { get; set; } = null!;

    /// <summary>The archive's directory on the primary's host, best on a disk of its own. It is made if it does not exist.</summary>
    [Parameter(Mandatory = true, Position = 0, ParameterSetName = Directory)]
    [ValidateNotNullOrEmpty]
    public string Path { get; set; } = "";

    /// <summary>
    /// The tool that keeps the WAL instead: PgBackRest. It is installed and configured by the site, on this host and on each standby's; its retention and compression are its own.
    /// </summary>
    [Parameter(Mandatory = true, ParameterSetName = InRepository)]
    public WalRepositoryKind Repository { get; set; }

    /// <summary>What pgBackRest calls this cluster, the name of its section in pgbackrest.conf. It has been made with pgbackrest stanza-create.</summary>
    [Parameter(Mandatory = true, ParameterSetName = InRepository)]
    [ValidateNotNullOrEmpty]
    public string Stanza { get; set; } = "";

    /// <summary>
    /// How often the primary commits although nobody writes, so that a delayed standby always waits at a commit; 00:00:00 for never. Whole seconds. By default a minute.
    /// Without it, a DROP DATABASE after a quiet time takes the files from a delayed standby at once.
    /// </summary>
    [Parameter]
    public TimeSpan HeartbeatInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>After how long a segment is archived although it is not full (archive_timeout). Whole seconds. By default a minute.</summary>
    [Parameter]
    public TimeSpan ArchiveTimeout { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>
    /// How long archived WAL is kept, at least an hour; 00:00:00 for ever. By default as it is set, and for a new archive that is for ever.
    /// Older WAL is removed every hour, except what a standby that reads this archive or a base backup still needs; nothing is removed while such a standby is stopped, frozen or out of reach.
    /// </summary>
    [Parameter]
    public TimeSpan? RetainFor { get; set; }

    /// <summary>
    /// Compresses each segment as it is archived: Zstd (the smaller one), Lz4 (the faster one) or None. By default as it is set, and for a new archive that is None: sparse copies.
    /// The program is installed where it is missing, here and by Mount-WalArchive on each standby. What is archived already stays as it is; all that reads the archive understands each of them.
    /// </summary>
    [Parameter]
    public WalCompression? Compression { get; set; }

    /// <summary>Takes the place of an archive_command or archive_library that is not PitrPS's, which stays where it is written and counts again after Disable-WalArchive, and takes a directory over that has files in it.</summary>
    [Parameter]
    public SwitchParameter Force { get; set; }

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        if (ParameterSetName == InRepository)
        {
            var options = new RepositoryOptions(PgServer, Stanza, HeartbeatInterval, ArchiveTimeout, RetainFor, Compression, Force);
            CarryAndWrite((feedback, cancel) => RepositoryPlan.BuildAsync(options, feedback, cancel), PgServer);
            return;
        }

        CarryAndWrite((feedback, cancel) => ArchivePlan.BuildAsync(new ArchiveOptions(PgServer, Path, HeartbeatInterval, ArchiveTimeout, RetainFor, Compression, Force), feedback, cancel), PgServer);
    }
}
