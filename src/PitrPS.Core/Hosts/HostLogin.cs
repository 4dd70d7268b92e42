namespace PitrPS.Hosts;

/// <summary>How to log in to one host. A class, not a record: nothing may print its members.</summary>
internal sealed class HostLogin
{
    private readonly string? _keyName;
    private readonly int? _keyPort;
    private readonly KnownHostsFiles? _knownHosts;

    /// <summary>The name that was asked for.</summary>
    public required string Name { get; init; }

    /// <summary>Where SSH connects to; the name itself unless it was given or configured.</summary>
    public required string Address { get; init; }

    public int Port { get; init; } = 22;

    public required string UserName { get; init; }

    /// <summary>The name under which host keys are looked up: the one that was asked for, unless ssh_config has another for it. Never that of a port on this client.</summary>
    public string KeyName
    {
        get => _keyName ?? Name;
        init => _keyName = value;
    }

    /// <summary>The port that belongs to that name.</summary>
    public int KeyPort
    {
        get => _keyPort ?? Port;
        init => _keyPort = value;
    }

    /// <summary>Private key files that were named; when there are none, the configured ones, the agent and the usual files of ~/.ssh are tried.</summary>
    public IReadOnlyList<string> KeyFiles { get; init; } = [];

    /// <summary>ssh_config's IdentityFile, whether they are there or not; null when it has none.</summary>
    public IReadOnlyList<string>? ConfiguredKeyFiles { get; init; }

    /// <summary>No key of the agent but those that a named or configured file stands for.</summary>
    public bool IdentitiesOnly { get; init; }

    /// <summary>The agent's socket; null for that of the session, empty for none.</summary>
    public string? Agent { get; init; }

    public Secret? KeyPassphrase { get; init; }

    public Secret? Password { get; init; }

    public Secret? SudoPassword { get; init; }

    /// <summary>The only known_hosts file to use; null for the user's files and the system's.</summary>
    public string? KnownHostsFile { get; init; }

    public KnownHostsFiles KnownHosts
    {
        get => _knownHosts ?? new KnownHostsFiles(KnownHostsFile);
        init => _knownHosts = value;
    }

    public bool AcceptNewHostKey { get; init; }

    /// <summary>"inet" or "inet6" for one kind of address only.</summary>
    public string? AddressFamily { get; init; }

    /// <summary>The host over which this one is reached; null for a direct connection.</summary>
    public HostLogin? Via { get; init; }

    /// <summary>What is configured for this host and not followed.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>The hosts on the way, the first one first.</summary>
    public IEnumerable<HostLogin> Jumps => Via is null ? [] : [.. Via.Jumps, Via];
}
