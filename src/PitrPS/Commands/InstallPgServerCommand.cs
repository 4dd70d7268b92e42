using System.Management.Automation;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Installs a PostgreSQL server on hosts: packages, a cluster with data checksums, service, firewall, and the role that PitrPS logs in with.</summary>
/// <remarks>
/// Packages come from the sources that the host has. A server of the same version and name that is there is adopted without a restart.
/// The role is a superuser that pg_hba.conf lets in from the host itself only; its random password lies on the host, readable by root.
/// </remarks>
/// <example>
/// <code>Connect-PgHost primary -UserName dba | Install-PgServer -Version 15</code>
/// <para>PostgreSQL 15 on port 5432 of the host, as 15/main.</para>
/// </example>
/// <example>
/// <code>$hosts | Install-PgServer -Version 15 -WhatIf</code>
/// <para>What it would do on each host, step by step.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Install, "PgServer", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(PgServer))]
public sealed class InstallPgServerCommand : PitrCmdlet
{
    /// <summary>The hosts, as Connect-PgHost emits them.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    [Alias("Host")]
    [ValidateNotNull]
    public PgHost[] PgHost { get; set; } = [];

    /// <summary>The major version, 13 or newer. Unless given, that of the server of this name which is there, else the newest that the host's package sources offer.</summary>
    [Parameter]
    public int? Version { get; set; }

    /// <summary>The port of the server, 5432 unless given.</summary>
    [Parameter]
    [ValidateRange(1, 65535)]
    public int? Port { get; set; }

    /// <summary>The cluster's name beside the version.</summary>
    [Parameter]
    [Alias("Cluster")]
    [ValidateNotNullOrEmpty]
    public string Name { get; set; } = "main";

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        foreach (var host in PgHost)
        {
            CarryAndWrite((feedback, cancel) => InstallPlan.BuildAsync(new InstallOptions(host, Version, Port, Name), feedback, cancel), host);
        }
    }
}
