using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>What a server is doing.</summary>
public enum ServerRole
{
    /// <summary>It does not run, so it cannot be asked; for a stopped standby see <see cref="PgServer.IsStandby"/>.</summary>
    Unknown,
    /// <summary>It takes writes.</summary>
    Primary,
    /// <summary>It replays another server's WAL.</summary>
    Standby,
}

/// <summary>
/// One PostgreSQL server (database cluster) on a host, as it was when it was last read. Immutable: what changes a server emits a new one.
/// Holds no secret and nothing of the session that set it up.
/// </summary>
public sealed record PgServer
{
    /// <summary>The host that it is on.</summary>
    public required PgHost Host { get; init; }

    /// <summary>The cluster's name on its host, "15/main".</summary>
    public required string Name { get; init; }

    /// <summary>The major version: 13, 15, 17.</summary>
    public required int Version { get; init; }

    /// <summary>The version of the server's binaries as PostgreSQL numbers it: 150018 is 15.18.</summary>
    public int VersionNumber { get; init; }

    /// <summary>The port it listens on.</summary>
    public required int Port { get; init; }

    /// <summary>The data directory.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>The directory of postgresql.conf and pg_hba.conf.</summary>
    public required string ConfigDirectory { get; init; }

    /// <summary>Where this version's programs are.</summary>
    public required string BinDirectory { get; init; }

    /// <summary>The systemd unit that runs it, for example postgresql@15-main.service; null when something else does.</summary>
    public string? ServiceUnit { get; init; }

    /// <summary>What else starts, stops and promotes this server by itself: Patroni, repmgr or pg_auto_failover; null when nothing known does.</summary>
    public string? Manager { get; init; }

    /// <summary>The OS user it belongs to.</summary>
    public string OsUser { get; init; } = "postgres";

    /// <summary>The directory of its Unix socket.</summary>
    public string SocketDirectory { get; init; } = "/var/run/postgresql";

    /// <summary>True when it answers.</summary>
    public bool IsRunning { get; init; }

    /// <summary>What it is doing.</summary>
    public ServerRole Role { get; init; }

    /// <summary>True when it has a standby.signal, running or not.</summary>
    public bool IsStandby { get; init; }

    /// <summary>The system identifier from pg_control; null before initdb.</summary>
    public ulong? SystemIdentifier { get; init; }

    /// <summary>The timeline of its latest checkpoint.</summary>
    public uint? Timeline { get; init; }

    /// <summary>Bytes of a WAL segment, 16 MiB unless initdb was told otherwise.</summary>
    public long WalSegmentSize { get; init; } = 16 << 20;

    /// <summary>On a primary: its archive directory; null when it does not archive by PitrPS.</summary>
    public string? ArchiveDirectory { get; init; }

    /// <summary>On a primary: how long its archive keeps WAL at least; null for ever.</summary>
    public TimeSpan? ArchiveRetention { get; init; }

    /// <summary>On a primary: the repository to which it archives instead of a directory; null for none.</summary>
    public WalRepository? ArchiveRepository { get; init; }

    /// <summary>On a standby: the repository from which it restores instead of a mount; null for none.</summary>
    public WalRepository? RestoreRepository { get; init; }

    /// <summary>On a primary: how the segments of its archive are compressed from now on; older ones may lie there otherwise.</summary>
    public WalCompression ArchiveCompression { get; init; }

    /// <summary>On a standby: where the primary's archive is mounted; null when it is not.</summary>
    public string? ArchiveMountPoint { get; init; }

    /// <summary>On a standby: how it gets there; null where there is no mount point.</summary>
    public WalTransport? ArchiveTransport { get; init; }

    /// <summary>On a standby: the primary as PitrPS set it up or as primary_conninfo says; null when nobody knows.</summary>
    public PrimaryLink? Primary { get; init; }

    /// <summary>On a standby: how long it holds COMMITs back (recovery_min_apply_delay). While frozen, the delay that it will go back to.</summary>
    public TimeSpan? ReplicationDelay { get; init; }

    /// <summary>On a standby: whether PitrPS has frozen its replay.</summary>
    public bool IsFrozen { get; init; }

    /// <summary>True when the server exists only as a plan (-WhatIf).</summary>
    public bool IsPlanned { get; init; }

    /// <summary>"host:15/main", which names it in plans, journals and errors.</summary>
    public string Id => $"{Host.Name}:{Name}";

    /// <summary>The id.</summary>
    public override string ToString() => Id;

    /// <summary>The role to log in with by the socket, where it is not called as the OS user.</summary>
    internal string? SocketRole { get; init; }

    /// <summary>The file that its standard error goes to, where it was started by hand so; null where it goes anywhere else.</summary>
    internal string? LogFile { get; init; }

    /// <summary>The binary of this name.</summary>
    internal string Program(string name) => $"{BinDirectory}/{name}";
}

/// <summary>How a standby reaches its primary.</summary>
/// <param name="Address">As the standby sees it.</param>
/// <param name="Port">PostgreSQL's port.</param>
/// <param name="SshPort">SSH's port.</param>
/// <param name="Slot">The physical replication slot; null for none.</param>
/// <param name="HostName">The name by which Connect-PgHost knew the primary, for messages.</param>
/// <param name="ServerName">The cluster's name on the primary, "15/main".</param>
public sealed record PrimaryLink(string Address, int Port, int SshPort, string? Slot, string? HostName, string? ServerName);
