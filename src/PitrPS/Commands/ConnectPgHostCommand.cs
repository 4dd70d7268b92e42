using System.Management.Automation;
using System.Net;
using System.Security;
using PitrPS.Hosts;

namespace PitrPS.Commands;

/// <summary>Connects to hosts over SSH, with strict host keys, and finds out what they are.</summary>
/// <remarks>
/// <para>Keys are looked for where ssh looks for them: the SSH agent and the usual files of ~/.ssh, unless -KeyFile or -Credential is given.</para>
/// <para>ssh's configuration (~/.ssh/config, then the system's) is followed for Host, Match (all, host, originalhost, user, localuser), Include, HostName, User, Port, IdentityFile, IdentitiesOnly, IdentityAgent, ProxyJump, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias, HashKnownHosts and AddressFamily; parameters go before it. Host keys stay strict whatever StrictHostKeyChecking says. What is not understood and would decide where, as whom or with which key we connect is an error (PitrPS.SshConfigUnsupported); anything else that is not followed is a warning.</para>
/// <para>A host key is looked up under the name that was asked for, or the HostName or HostKeyAlias that the configuration has for it, also over jump hosts, whose own keys are as strict.</para>
/// </remarks>
/// <example>
/// <code>Connect-PgHost primary, standby -UserName dba</code>
/// <para>Connects to two hosts as dba, with the keys of the SSH agent or of ~/.ssh.</para>
/// </example>
/// <example>
/// <code>Connect-PgHost standby -UserName dba -Port 2222 -KeyFile ~/keys/lab -SudoPassword (Read-Host -AsSecureString)</code>
/// <para>Another port, a key file of its own, and a sudo that asks for a password.</para>
/// </example>
/// <example>
/// <code>Connect-PgHost db1, db2 -UserName dba -JumpHost ops@bastion.example.com:2222</code>
/// <para>Two hosts that are reached only over another one. A ProxyJump in ~/.ssh/config does the same by itself.</para>
/// </example>
[Cmdlet(VerbsCommunications.Connect, "PgHost")]
[OutputType(typeof(PgHost))]
public sealed class ConnectPgHostCommand : PitrCmdlet
{
    private readonly List<HostLogin> _logins = [];

    /// <summary>Names of the hosts, as DNS, the system or ~/.ssh/config knows them, or addresses (IPv6 too, fe80::1%eth0 for a link's own). Host keys are looked up under these names.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true), ValidateNotNullOrEmpty, Alias("ComputerName")]
    public string[] Name { get; set; } = [];

    /// <summary>The user to log in as; unless given, the one of ssh's configuration, else the current user. He must be root or be allowed everything by sudo.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true), Alias("User"), ValidateNotNullOrEmpty]
    public string? UserName { get; set; }

    /// <summary>The SSH port; unless given, the one of ssh's configuration, else 22.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true), ValidateRange(1, 65535)]
    public int? Port { get; set; }

    /// <summary>Private key files, in OpenSSH's or PEM format. When given, no other key is tried.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true), ValidateNotNullOrEmpty]
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
    [Parameter(ValueFromPipelineByPropertyName = true), Alias("KnownHosts"), ValidateNotNullOrEmpty]
    public string? KnownHostsFile { get; set; }

    /// <summary>Adds the key of a host that has no entry in known_hosts at all. A key that has changed is never accepted.</summary>
    [Parameter]
    public SwitchParameter AcceptNewHostKey { get; set; }

    /// <summary>The address to connect to, where it is not what the name stands for. The host key is still looked up under the name.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true), ValidateNotNullOrEmpty]
    public string? Address { get; set; }

    /// <summary>Hosts to go over, as [user@]host[:port], in this order; 'none' for a direct connection whatever ssh's configuration says. Their user is the one of ssh's configuration, else the current user; keys are looked for as ssh does, and those of -KeyFile are tried too; passwords are never given to them.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true), Alias("ProxyJump"), ValidateNotNullOrEmpty]
    public string[] JumpHost { get; set; } = [];

    /// <summary>An ssh configuration file to use instead of the user's and the system's.</summary>
    [Parameter, ValidateNotNullOrEmpty]
    public string? SshConfigFile { get; set; }

    /// <summary>Reads no ssh configuration.</summary>
    [Parameter]
    public SwitchParameter NoSshConfig { get; set; }

    /// <summary>How many hosts are connected at the same time.</summary>
    [Parameter, ValidateRange(1, 64)]
    public int ThrottleLimit { get; set; } = 16;

    /// <inheritdoc/>
    protected override void ProcessRecord()
    {
        var request = Request();
        foreach (var name in Name)
        {
            Attempt(() => _logins.Add(request.For(name)), name);
        }
    }

    /// <inheritdoc/>
    protected override void EndProcessing() => Await((feedback, cancel) => HostConnector.ConnectAllAsync(_logins, ThrottleLimit,
        host => feedback.Write(cmdlet => cmdlet.WriteObject(ConnectedHosts.Add(host))), feedback.Error, cancel));

    private LoginRequest Request() => new()
    {
        Address = Address,
        Port = Port,
        UserName = UserName ?? Credential?.UserName,
        KeyFiles = [.. KeyFile.Select(GetUnresolvedProviderPathFromPSPath)],
        KeyPassphrase = Hidden(KeyPassphrase),
        Password = Hidden(Credential?.Password),
        SudoPassword = Hidden(SudoPassword),
        KnownHostsFile = KnownHostsFile is null ? null : GetUnresolvedProviderPathFromPSPath(KnownHostsFile),
        AcceptNewHostKey = AcceptNewHostKey,
        JumpHosts = JumpHost,
        Config = NoSshConfig ? null : new SshConfigFiles(SshConfigFile is null ? null : GetUnresolvedProviderPathFromPSPath(SshConfigFile)),
    };

    private static Secret? Hidden(SecureString? text) => text is null ? null : new Secret(new NetworkCredential("", text).Password);
}
