namespace PitrPS.Hosts;

/// <summary>A host that PitrPS is connected to over SSH. Holds no secret; safe to export.</summary>
public sealed class PgHost
{
    internal PgHost(string name, string address, int port, string userName, HostFacts facts, IRemoteHost remote)
    {
        Name = name;
        Address = address;
        Port = port;
        UserName = userName;
        Facts = facts;
        Remote = remote;
    }

    /// <summary>The name that Connect-PgHost was given.</summary>
    public string Name { get; }

    /// <summary>The address or host name that SSH connected to.</summary>
    public string Address { get; }

    /// <summary>The SSH port.</summary>
    public int Port { get; }

    /// <summary>The user who logged in.</summary>
    public string UserName { get; }

    /// <summary>The hosts over which it is reached, the first one first; empty for a direct connection.</summary>
    public IReadOnlyList<string> JumpHost { get; internal init => field = Listed.Of(value); } = [];

    /// <summary>False where the database's own user logged in and has no sudo: then servers can be looked at, and whatever changes the host is refused (PitrPS.RootRequired).</summary>
    public bool HasRoot { get; internal init; } = true;

    /// <summary>Debian or RHEL family.</summary>
    public string Family => Facts.Platform.Name;

    /// <summary>As os-release names it, for example "Debian GNU/Linux 12 (bookworm)".</summary>
    public string OperatingSystem => Facts.OperatingSystem;

    /// <summary>False once it was disconnected. A connection that was lost is made again at the next command.</summary>
    public bool IsConnected { get; internal set; } = true;

    internal HostFacts Facts { get; }

    internal IRemoteHost Remote { get; }

    /// <summary>The name.</summary>
    public override string ToString() => Name;

    /// <exception cref="PitrException"><c>PitrPS.RootRequired</c></exception>
    internal void RequireRoot(string what)
    {
        if (!HasRoot)
        {
            throw RootRequired(Name, UserName, what, this);
        }
    }

    internal static PitrException RootRequired(string host, string user, string what, object target) => new("PitrPS.RootRequired", ErrorKind.PermissionDenied,
        $"{what} needs root on {host}, and {user} logged in there without sudo.",
        $"Connect as root or as a user with sudo. Without root PitrPS can find servers, their status and incidents; nothing else.", target);
}

/// <summary>What was found out about a host when it was connected; none of it changes while it is up.</summary>
internal sealed record HostFacts(IPlatform Platform, string OperatingSystem, string MachineId)
{
    /// <summary>The kernel runs with SELinux, enforcing or not.</summary>
    public bool HasSelinux { get; init; }
}
