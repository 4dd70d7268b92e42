namespace PitrPS.Hosts;

/// <summary>How to log in to one host. A class, not a record: nothing may print its members.</summary>
internal sealed class HostLogin
{
    /// <summary>The name that was asked for; host keys are looked up under it.</summary>
    public required string Name { get; init; }

    /// <summary>Where SSH connects to; the name itself unless it was given.</summary>
    public required string Address { get; init; }

    public int Port { get; init; } = 22;

    public required string UserName { get; init; }

    /// <summary>Private key files that were named; when there are none, the agent and the usual files of ~/.ssh are tried.</summary>
    public IReadOnlyList<string> KeyFiles { get; init; } = [];

    public Secret? KeyPassphrase { get; init; }

    public Secret? Password { get; init; }

    public Secret? SudoPassword { get; init; }

    /// <summary>The only known_hosts file to use; null for the user's and the system's.</summary>
    public string? KnownHostsFile { get; init; }

    public bool AcceptNewHostKey { get; init; }
}
