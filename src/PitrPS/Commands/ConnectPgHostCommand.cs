using System.Management.Automation;
using System.Net;
using System.Security;
using PitrPS.Hosts;

namespace PitrPS.Commands;

/// <summary>Connects to hosts over SSH, with strict host keys, and finds out what they are.</summary>
/// <remarks>Keys are looked for where ssh looks for them: the SSH agent and the usual files of ~/.ssh, unless -KeyFile or -Credential is given.</remarks>
/// <example>
/// <code>Connect-PgHost primary, standby -UserName dba</code>
/// <para>Connects to two hosts as dba, with the keys of the SSH agent or of ~/.ssh.</para>
/// </example>
/// <example>
/// <code>Connect-PgHost standby -UserName dba -Port 2222 -KeyFile ~/keys/lab -SudoPassword (Read-Host -AsSecureString)</code>
/// <para>Another port, a key file of its own, and a sudo that asks for a password.</para>
/// </example>
[Cmdlet(VerbsCommunications.Connect, "PgHost")]
[OutputType(typeof(PgHost))]
public sealed class ConnectPgHostCommand : PitrCmdlet
{
    private readonly List<HostLogin> _logins = [];

    /// <summary>Names of the hosts, as DNS or the system knows them. Host keys are looked up under these names.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    [Alias("ComputerName")]
    public string[] Name { get; set; } = [];

    /// <summary>The user to log in as; the current user unless given. He must be root or be allowed everything by sudo.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("User")]
    [ValidateNotNullOrEmpty]
    public string? UserName { get; set; }

    /// <summary>The SSH port.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateRange(1, 65535)]
    public int Port { get; set; } = 22;

    /// <summary>Private key files, in OpenSSH's or PEM format. When given, no other key is tried.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string[] KeyFile { get; set; } = [];

    /// <summary>The passphrase of the key files.</summary>
    [Parameter]
    public SecureString? KeyPassphrase { get; set; }

    /// <summary>User name and password, for hosts that take passwords.</summary>
    [Parameter]
    public PSCredential? Credential { get; set; }

    /// <summary>The password that sudo asks for, where it asks.</summary>
    [Parameter]
    public SecureString? SudoPassword { get; set; }

    /// <summary>The known_hosts file to use instead of the user's and the system's.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("KnownHosts")]
    [ValidateNotNullOrEmpty]
    public string? KnownHostsFile { get; set; }

    /// <summary>Adds the key of a host that has no entry in known_hosts at all. A key that has changed is never accepted.</summary>
    [Parameter]
    public SwitchParameter AcceptNewHostKey { get; set; }

    /// <summary>The address to connect to, where it is not what the name stands for. The host key is still looked up under the name.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ValidateNotNullOrEmpty]
    public string? Address { get; set; }

    /// <summary>How many hosts are connected at the same time.</summary>
    [Parameter]
    [ValidateRange(1, 64)]
    public int ThrottleLimit { get; set; } = 16;

    /// <inheritdoc/>
    protected override void ProcessRecord() => _logins.AddRange(Name.Select(LoginTo));

    /// <inheritdoc/>
    protected override void EndProcessing() => Await((feedback, cancel) => HostConnector.ConnectAllAsync(_logins, ThrottleLimit,
        host => feedback.Write(cmdlet =>
        {
            ConnectedHosts.Add(host);
            cmdlet.WriteObject(host);
        }),
        feedback.Error, cancel));

    private HostLogin LoginTo(string name) => new()
    {
        Name = name,
        Address = Address ?? name,
        Port = Port,
        UserName = UserName ?? Credential?.UserName ?? Environment.UserName,
        KeyFiles = [.. KeyFile.Select(GetUnresolvedProviderPathFromPSPath)],
        KeyPassphrase = Hidden(KeyPassphrase),
        Password = Hidden(Credential?.Password),
        SudoPassword = Hidden(SudoPassword),
        KnownHostsFile = KnownHostsFile is null ? null : GetUnresolvedProviderPathFromPSPath(KnownHostsFile),
        AcceptNewHostKey = AcceptNewHostKey,
    };

    private static Secret? Hidden(SecureString? text) => text is null ? null : new Secret(new NetworkCredential("", text).Password);
}
