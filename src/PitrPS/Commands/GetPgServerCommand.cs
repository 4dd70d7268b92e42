using System.Management.Automation;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Finds the PostgreSQL servers that are on hosts, running or not, whoever installed them, or reads known ones again.</summary>
/// <remarks>What PitrPS has set up comes from its own files on the host, so that a new session knows all of it; servers that others set up are read from processes, units, configuration and data directories, and in an emergency every later command works on them as they are. One in an unusual place is called by its path: 15/srv-pg-data is the one in /srv/pg/data. Manager says what else looks after a server (Patroni, repmgr, pg_auto_failover). Those older than PostgreSQL 13 are listed, and refused by every other command (PitrPS.VersionUnsupported).</remarks>
/// <example>
/// <code>$standby = Connect-PgHost standby -UserName dba | Get-PgServer</code>
/// <para>The server of a host in a new session, with its primary, its archive mount and its delay.</para>
/// </example>
/// <example>
/// <code>Connect-PgHost a, b -UserName dba | Get-PgServer -Name 15/*</code>
/// <para>All servers of PostgreSQL 15 on two hosts.</para>
/// </example>
/// <example>
/// <code>$standby | Get-PgServer</code>
/// <para>The same server as it is now.</para>
/// </example>
[Cmdlet(VerbsCommon.Get, "PgServer", DefaultParameterSetName = "Host")]
[OutputType(typeof(PgServer))]
public sealed class GetPgServerCommand : PitrCmdlet
{
    private readonly List<object> _asked = [];

    /// <summary>The hosts to look at, as Connect-PgHost emits them.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ParameterSetName = "Host")]
    [Alias("Host")]
    [ValidateNotNull]
    public PgHost[] PgHost { get; set; } = [];

    /// <summary>Servers to read again.</summary>
    [Parameter(Mandatory = true, ValueFromPipeline = true, ParameterSetName = "Server")]
    [Alias("Server")]
    [ValidateNotNull]
    public PgServer[] PgServer { get; set; } = [];

    /// <summary>Names of servers, such as 15/main or main; wildcards are allowed.</summary>
    [Parameter(ParameterSetName = "Host")]
    [SupportsWildcards]
    [ValidateNotNullOrEmpty]
    public string[] Name { get; set; } = [];

    /// <summary>The port of the server.</summary>
    [Parameter(ParameterSetName = "Host")]
    [ValidateRange(1, 65535)]
    public int Port { get; set; }

    /// <summary>The role and password to log in to these servers with, for as long as the session has their host. Without it PitrPS takes the role that Install-PgServer made, or psql as the server's OS user.</summary>
    [Parameter]
    public PSCredential? DatabaseCredential { get; set; }

    /// <summary>How many hosts are asked at the same time.</summary>
    [Parameter]
    [ValidateRange(1, 64)]
    public int ThrottleLimit { get; set; } = 16;

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        _asked.AddRange(PgHost);
        _asked.AddRange(PgServer);
        PgHost = [];
        PgServer = [];
    }

    /// <inheritdoc/>
    protected override void EndProcessing() => AwaitEach(_asked, ThrottleLimit, ReadAsync, (_, servers) =>
    {
        foreach (var found in servers)
        {
            if (DatabaseCredential is { } given)
            {
                ServerLogins.Of(found.Host).Give(found, given.UserName, new Secret(given.GetNetworkCredential().Password));
            }

            WriteObject(found);
        }
    });

    private async Task<IReadOnlyList<PgServer>> ReadAsync(object asked, IFeedback feedback, CancellationToken cancel) => asked switch
    {
        PgServer { IsPlanned: true } planned => [planned],
        PgServer server => [await ServerDiscovery.RefreshAsync(server, feedback, cancel).ConfigureAwait(false)],
        _ => ServerDiscovery.Select((PgHost)asked, await ServerDiscovery.GetAsync((PgHost)asked, feedback, cancel).ConfigureAwait(false), NameFilter(), Port == 0 ? null : Port),
    };

    private ServerFilter? NameFilter()
    {
        WildcardPattern[] patterns = [.. Name.Select(n => new WildcardPattern(n.Contains('/') ? n : "*/" + n, WildcardOptions.IgnoreCase))];
        return patterns.Length == 0 ? null
            : new ServerFilter(name => patterns.Any(p => p.IsMatch(name)), string.Join(", ", Name), Array.TrueForAll(Name, WildcardPattern.ContainsWildcardCharacters));
    }
}
