using System.Management.Automation;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Commands;

/// <summary>Installs a PostgreSQL server on hosts: packages, a cluster with data checksums, service, firewall, and the role that PitrPS logs in with.</summary>
/// <remarks>
/// Packages come from the sources that the host has; where those lack this version of PostgreSQL, the PostgreSQL project's own repository (PGDG) is added, and only with the key that is known. A server of the same version and name that is there is adopted without a restart.
/// The role is a superuser that pg_hba.conf lets in from the host itself only; its random password lies on the host, readable by root.
/// </remarks>
/// <example>
/// <code>Connect-PgHost primary -UserName dba | Install-PgServer -Version 15</code>
/// <para>PostgreSQL 15 on port 5432 of the host, as 15/main.</para>
/// </example>
/// <example>
/// <code>$hosts | Install-PgServer -Version 17 -NoRepository</code>
/// <para>From the hosts' own sources or not at all.</para>
/// </example>
/// <example>
/// <code>$hosts | Install-PgServer -Version 13 -RepositoryUri https://mirror.example.com/pgdg/13/redhat/rhel-7-x86_64 -RepositoryKey ./PGDG-RPM-GPG-KEY-RHEL7</code>
/// <para>The packages come from a mirror of the site's own; each must be signed with this key.</para>
/// </example>
/// <example>
/// <code>$hosts | Install-PgServer -Version 15 -WhatIf</code>
/// <para>What it would do on each host, step by step.</para>
/// </example>
[Cmdlet(VerbsLifecycle.Install, "PgServer", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.Medium)]
[OutputType(typeof(PgServer))]
public sealed class InstallPgServerCommand : PlanCmdlet
{
    private readonly List<PgHost> _hosts = [];

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

    /// <summary>A package repository that has PostgreSQL, in place of the project's own: an http, https or file address as the hosts see it, or the path of a folder on them. For yum the folder that has repodata in it; for apt one laid out as apt.postgresql.org is, or a flat one.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? RepositoryUri { get; set; }

    /// <summary>The file, on this machine, of the public key that the repository's packages are signed with. Without -RepositoryUri it stands for the key of the project's own repository, for the day when that has changed.</summary>
    [Parameter]
    [ValidateNotNullOrEmpty]
    public string? RepositoryKey { get; set; }

    /// <summary>Takes packages that nobody has signed.</summary>
    [Parameter]
    public SwitchParameter AllowUnsigned { get; set; }

    /// <summary>Adds no package repository: the hosts' own sources have what is needed.</summary>
    [Parameter]
    public SwitchParameter NoRepository { get; set; }

    /// <summary>On how many hosts it works at the same time.</summary>
    [Parameter]
    [ValidateRange(1, 64)]
    public int ThrottleLimit { get; set; } = 16;

    /// <inheritdoc/>
    protected override void ProcessRecord() => _hosts.AddRange(PgHost);

    /// <inheritdoc/>
    protected override void EndProcessing()
    {
        var key = RepositoryKey is null ? null : GetUnresolvedProviderPathFromPSPath(RepositoryKey);
        CarryEach([.. _hosts.Distinct()], ThrottleLimit, (host, feedback, cancel) => InstallPlan.BuildAsync(
            new InstallOptions(host, Version, Port, Name) { Packages = PackageOrigin.Of(RepositoryUri, key, AllowUnsigned, NoRepository, host) }, feedback, cancel));
    }
}
