using System.Globalization;

namespace PitrPS.Hosts;

/// <summary>What Connect-PgHost was told about logins, and how a login to one host comes of it and of ssh_config. What was told goes before what is configured.</summary>
internal sealed class LoginRequest
{
    private const int MostJumps = 8;

    public string? UserName { get; init; }

    public int? Port { get; init; }

    public string? Address { get; init; }

    public IReadOnlyList<string> KeyFiles { get; init; } = [];

    public Secret? KeyPassphrase { get; init; }

    public Secret? Password { get; init; }

    public Secret? SudoPassword { get; init; }

    public string? KnownHostsFile { get; init; }

    public bool AcceptNewHostKey { get; init; }

    /// <summary>In the order in which they are passed; "none" alone for none, whatever is configured. Empty: as configured.</summary>
    public IReadOnlyList<string> JumpHosts { get; init; } = [];

    /// <summary>Null for none.</summary>
    public SshConfigFiles? Config { get; init; }

    /// <exception cref="PitrException"><c>PitrPS.InvalidJumpHost</c> and what <see cref="SshConfigFiles.About"/> throws.</exception>
    public HostLogin For(string name)
    {
        var plain = WithoutBrackets(name);
        return Make(plain, UserName, Port, Address is null ? null : WithoutBrackets(Address), JumpHosts.Count == 0 ? null : JumpHosts, isJump: false, 0);
    }

    private HostLogin Make(string name, string? user, int? port, string? address, IReadOnlyList<string>? jumps, bool isJump, int depth)
    {
        if (depth > MostJumps)
        {
            throw new PitrException("PitrPS.InvalidJumpHost", ErrorKind.InvalidArgument, $"The way to {name} leads over more than {MostJumps} hosts, or in a circle.",
                "Look at ProxyJump in the ssh configuration, or give the way with -JumpHost.", name);
        }

        var settings = Config?.About(name, user) ?? new SshHostSettings();
        var login = user ?? settings.Value("user") ?? Environment.UserName;
        var number = port ?? PortOf(settings, name) ?? 22;
        var configured = settings.Value("hostname") is { } text ? SshTokens.Expand(text, new Dictionary<char, string> { ['h'] = name }, name) : null;
        var where = address ?? configured ?? name;

        // As ssh: under the name that the configuration stands for, or under its HostKeyAlias, which knows no port.
        // An -Address is only a way to the host; the name stays what it was.
        var alias = settings.Value("hostkeyalias");
        var keyName = alias ?? (address is null ? where : name);
        var tokens = new Dictionary<char, string>
        {
            ['d'] = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile),
            ['h'] = where,
            ['k'] = keyName,
            ['L'] = Environment.MachineName.Split('.')[0],
            ['l'] = Environment.MachineName,
            ['n'] = name,
            ['p'] = number.ToString(CultureInfo.InvariantCulture),
            ['r'] = login,
            ['u'] = Environment.UserName,
        };
        string Written(string path) => SshTokens.Home(SshTokens.Expand(SshTokens.Variables(path, name), tokens, name));
        var identities = settings.IdentityFiles.Where(f => !IsNone(f)).Select(Written).ToList();
        return new HostLogin
        {
            Name = name,
            Address = where,
            Port = number,
            UserName = login,
            KeyName = keyName,
            KeyPort = alias is null ? number : 22,

            // Keys that were named are the host's; a jump host has its own, as with ssh, and may take these too.
            KeyFiles = isJump ? [] : KeyFiles,
            ConfiguredKeyFiles = isJump && KeyFiles.Count > 0 ? [.. settings.IdentityFiles.Count == 0 ? SshKeys.UsualFiles : identities, .. KeyFiles]
                : settings.IdentityFiles.Count == 0 ? null : identities,
            IdentitiesOnly = settings.IsYes("identitiesonly"),
            Agent = settings.Value("identityagent") is { } agent && agent != "SSH_AUTH_SOCK" ? IsNone(agent) ? "" : AgentOf(agent, Written) : null,
            KeyPassphrase = KeyPassphrase,

            // The host's passwords are the host's alone.
            Password = isJump ? null : Password,
            SudoPassword = isJump ? null : SudoPassword,
            KnownHosts = KnownHostsFile is { } only ? new KnownHostsFiles(only) : new KnownHostsFiles(
                Paths(settings.Values("userknownhostsfile"), Written), Paths(settings.Values("globalknownhostsfile"), Written), settings.IsYes("hashknownhosts")),
            AcceptNewHostKey = AcceptNewHostKey,
            AddressFamily = settings.Value("addressfamily"),
            Warnings = settings.Warnings,
            Via = Via(name, jumps, settings, tokens, depth),
        };
    }

    // The last jump is reached over those before it, as with ssh -J; the first one as its own configuration says.
    private HostLogin? Via(string name, IReadOnlyList<string>? told, SshHostSettings settings, Dictionary<char, string> tokens, int depth)
    {
        var jumps = told ?? Configured(name, settings, tokens);
        if (jumps.Count == 0 || (jumps.Count == 1 && IsNone(jumps[0])))
        {
            return null;
        }

        var jump = JumpAddress.Parse(jumps[^1], name);
        return Make(jump.Host, jump.User, jump.Port, null, jumps.Count == 1 ? null : [.. jumps.SkipLast(1)], isJump: true, depth + 1);
    }

    private static IReadOnlyList<string> Configured(string name, SshHostSettings settings, Dictionary<char, string> tokens)
    {
        if (settings.Value("proxyjump") is { } jump)
        {
            // 'Host *' may send each host over the jump hosts, and these too: they are reached over those before them.
            return IsNone(jump) ? [] : [.. SshTokens.Expand(jump, tokens, name).Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                .TakeWhile(j => !JumpAddress.Parse(j, name).Host.Equals(name, StringComparison.OrdinalIgnoreCase))];
        }

        if (settings.Value("proxycommand") is not { } command || IsNone(command))
        {
            return [];
        }

        return JumpAddress.OfProxyCommand(command) is { } same ? [same] : throw new PitrException("PitrPS.SshConfigUnsupported", ErrorKind.NotImplemented,
            $"{settings.PlaceOf("proxycommand")}: PitrPS runs no ProxyCommand to reach {name}; it understands ProxyJump, and 'ssh -W %h:%p host'.",
            "Write it as ProxyJump, or give the way with -JumpHost (-JumpHost none for a direct one).", name);
    }

    private static int? PortOf(SshHostSettings settings, string name) => settings.Value("port") is not { } text ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and < 65536 ? port
        : throw new PitrException("PitrPS.SshConfigInvalid", ErrorKind.InvalidData, $"{settings.PlaceOf("port")}: '{text}' is no port.", "Mend the file, or give the port with -Port.", name);

    private static IReadOnlyList<string>? Paths(IReadOnlyList<string>? words, Func<string, string> written) =>
        words is null ? null : [.. words.Where(w => !IsNone(w)).Select(written)];

    private static string AgentOf(string agent, Func<string, string> written) =>
        agent.StartsWith('$') && !agent.StartsWith("${", StringComparison.Ordinal) ? Environment.GetEnvironmentVariable(agent[1..]) ?? "" : written(agent);

    private static bool IsNone(string word) => word.Equals("none", StringComparison.OrdinalIgnoreCase);

    /// <summary>[fd00::1] as fd00::1; other names as they are.</summary>
    internal static string WithoutBrackets(string name) => name.Length > 2 && name[0] == '[' && name[^1] == ']' && name.Contains(':') ? name[1..^1] : name;
}

/// <summary>A host on the way: [user@]host[:port] or ssh://[user@]host[:port], with an IPv6 address in brackets when a port follows.</summary>
internal sealed record JumpAddress(string? User, string Host, int? Port)
{
    /// <exception cref="PitrException"><c>PitrPS.InvalidJumpHost</c></exception>
    public static JumpAddress Parse(string text, object target)
    {
        var rest = text.StartsWith("ssh://", StringComparison.OrdinalIgnoreCase) ? text[6..].TrimEnd('/') : text;
        string? user = null;
        if (rest.LastIndexOf('@') is >= 0 and var at)
        {
            (user, rest) = (rest[..at], rest[(at + 1)..]);
        }

        int? port = null;
        var colon = rest.LastIndexOf(':');
        if (colon >= 0 && (rest.IndexOf(':') == colon || rest[colon - 1] == ']'))
        {
            port = int.TryParse(rest[(colon + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number is > 0 and < 65536 ? number : -1;
            rest = rest[..colon];
        }

        var host = LoginRequest.WithoutBrackets(rest);
        return host.Length > 0 && user is not "" && port is not -1 && !host.Any(char.IsWhiteSpace) && (!host.Contains(':') || System.Net.IPAddress.TryParse(host, out _)) ? new JumpAddress(user, host, port) : throw new PitrException(
            "PitrPS.InvalidJumpHost", ErrorKind.InvalidArgument, $"'{text}' is no jump host.", "Write it as [user@]host[:port].", target);
    }

    /// <summary>The jump that 'ssh -W %h:%p host' stands for; null for any other command.</summary>
    public static string? OfProxyCommand(string command)
    {
        var words = command.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).ToList();
        words.RemoveAll(w => w is "exec" or "-q" or "-a" or "-x" or "-T");
        if (words.Count < 4 || Path.GetFileName(words[0]) is not ("ssh" or "ssh.exe"))
        {
            return null;
        }

        string? user = null, port = null, host = null;
        var forwards = false;
        for (var i = 1; i < words.Count; i++)
        {
            switch (words[i])
            {
                case "-W" when i + 1 < words.Count && words[i + 1] is "%h:%p" or "[%h]:%p":
                    forwards = true;
                    i++;
                    break;
                case "-l" when i + 1 < words.Count:
                    user = words[++i];
                    break;
                case "-p" when i + 1 < words.Count:
                    port = words[++i];
                    break;
                case var word when !word.StartsWith('-') && !word.Contains('%') && host is null:
                    host = word;
                    break;
                default:
                    return null;
            }
        }

        return forwards && host is not null ? (user is null || host.Contains('@') ? "" : user + "@") + host + (port is null ? "" : ":" + port) : null;
    }
}
