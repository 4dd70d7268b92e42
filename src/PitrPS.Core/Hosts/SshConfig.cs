using System.Globalization;

namespace PitrPS.Hosts;

/// <summary>What ssh_config says about one host, before tokens are expanded. Null where it says nothing.</summary>
internal sealed class SshHostSettings
{
    private readonly Dictionary<string, (IReadOnlyList<string> Values, string Place)> _first = new(StringComparer.Ordinal);

    /// <summary>All of them, in order; the other keywords take the first value that is found.</summary>
    public List<string> IdentityFiles { get; } = [];

    /// <summary>What is written there and not followed, and may matter.</summary>
    public List<string> Warnings { get; } = [];

    public bool Has(string keyword) => _first.ContainsKey(keyword);

    public void Set(string keyword, IReadOnlyList<string> values, string place) => _first.TryAdd(keyword, (values, place));

    public string? Value(string keyword) => _first.TryGetValue(keyword, out var found) ? found.Values[0] : null;

    public IReadOnlyList<string>? Values(string keyword) => _first.TryGetValue(keyword, out var found) ? found.Values : null;

    public string PlaceOf(string keyword) => _first.TryGetValue(keyword, out var found) ? found.Place : "";

    public bool IsYes(string keyword) => Value(keyword) is "yes" or "true";
}

/// <summary>
/// OpenSSH's client configuration (ssh_config(5)) as a pure function over its text. What is not understood and would matter for this host is refused;
/// what is not followed is told. Nothing of it makes host keys less strict.
/// </summary>
/// <param name="host">The name that was asked for.</param>
/// <param name="user">The user that was asked for; null for nobody in particular.</param>
/// <param name="localUser">Who asks.</param>
/// <param name="include">The files that an Include's word stands for, given also the file that it is written in.</param>
internal sealed class SshConfig(string host, string? user, string localUser, Func<string, string, IReadOnlyList<(string File, string Text)>> include)
{
    private const int DeepestInclude = 16;

    // Each decides where we connect to, as whom, with which key, or which host key is right.
    private static readonly HashSet<string> Followed =
    [
        "hostname", "user", "port", "identityfile", "identitiesonly", "identityagent", "proxyjump", "proxycommand", "userknownhostsfile", "globalknownhostsfile",
        "hostkeyalias", "addressfamily", "hashknownhosts", "canonicalizehostname", "revokedhostkeys",
    ];

    // Each is done without, and a login may fail for it, or happen in another way than with ssh.
    private static readonly HashSet<string> ToldOf =
        ["bindaddress", "bindinterface", "certificatefile", "pkcs11provider", "securitykeyprovider", "knownhostscommand"];

    private static readonly HashSet<string> Indifferent = [.. (
        "addkeystoagent batchmode canonicaldomains canonicalizefallbacklocal canonicalizemaxdots canonicalizepermittedcnames casignaturealgorithms challengeresponseauthentication " +
        "channeltimeout checkhostip ciphers clearallforwardings compression connectionattempts connecttimeout controlmaster controlpath controlpersist dynamicforward " +
        "enableescapecommandline enablesshkeysign escapechar exitonforwardfailure fingerprinthash forkafterauthentication forwardagent forwardx11 forwardx11timeout forwardx11trusted " +
        "gatewayports gssapiauthentication gssapidelegatecredentials gssapikeyexchange gssapirenewalforcesrekey gssapiservertidentity gssapitrustdns gssapikexalgorithms gssapiclientidentity " +
        "gssapiserveridentity hostbasedacceptedalgorithms hostbasedauthentication hostbasedkeytypes hostkeyalgorithms ignoreunknown ipqos kbdinteractiveauthentication kbdinteractivedevices kexalgorithms " +
        "localcommand localforward loglevel logverbose macs nohostauthenticationforlocalhost numberofpasswordprompts obscurekeystroketiming passwordauthentication permitlocalcommand permitremoteopen " +
        "preferredauthentications proxyusefdpass pubkeyacceptedalgorithms pubkeyacceptedkeytypes pubkeyauthentication rekeylimit remotecommand remoteforward requesttty requiredrsasize " +
        "sendenv serveralivecountmax serveraliveinterval sessiontype setenv stdinnull streamlocalbindmask streamlocalbindunlink stricthostkeychecking syslogfacility tag tcpkeepalive tunnel tunneldevice " +
        "updatehostkeys usekeychain verifyhostkeydns versionaddendum visualhostkey xauthlocation usedns rsaauthentication rhostsrsaauthentication useprivilegedport protocol cipher userolauth refuseconnection warnweakcrypto").Split(' ')];

    private readonly SshHostSettings _settings = new();

    private enum Applies
    {
        No,
        Perhaps,
        Yes,
    }

    /// <exception cref="PitrException"><c>PitrPS.SshConfigInvalid</c>, <c>PitrPS.SshConfigUnsupported</c></exception>
    public SshHostSettings Evaluate(IEnumerable<(string File, string Text)> files)
    {
        foreach (var (file, text) in files)
        {
            Read(file, text, Applies.Yes, 0);
        }

        return _settings;
    }

    /// <summary>The words of a line: keyword, then arguments; = stands for a blank after the keyword; double quotes hold blanks together; # begins a comment.</summary>
    public static IReadOnlyList<string> Words(string line)
    {
        var words = new List<string>();
        var at = 0;
        while (true)
        {
            while (at < line.Length && (char.IsWhiteSpace(line[at]) || (words.Count == 1 && line[at] == '=')))
            {
                at++;
            }

            if (at == line.Length || line[at] == '#')
            {
                return words;
            }

            var word = new System.Text.StringBuilder();
            var quoted = false;
            for (; at < line.Length && (quoted || !(char.IsWhiteSpace(line[at]) || (words.Count == 0 && line[at] == '='))); at++)
            {
                if (line[at] == '"')
                {
                    quoted = !quoted;
                }
                else if (line[at] == '\\' && at + 1 < line.Length && line[at + 1] is '"' or '\\' && quoted)
                {
                    word.Append(line[++at]);
                }
                else
                {
                    word.Append(line[at]);
                }
            }

            if (quoted)
            {
                throw new FormatException("a quote is not closed");
            }

            words.Add(word.ToString());
        }
    }

    /// <summary>Whether a name matches patterns with * and ?; one that begins with ! and matches excludes it.</summary>
    public static bool MatchesList(string name, IEnumerable<string> patterns)
    {
        var matches = false;
        foreach (var pattern in patterns)
        {
            if (pattern.StartsWith('!'))
            {
                if (KnownHostLine.Matches(pattern.AsSpan(1), name))
                {
                    return false;
                }
            }
            else
            {
                matches |= KnownHostLine.Matches(pattern, name);
            }
        }

        return matches;
    }

    private void Read(string file, string text, Applies outer, int depth)
    {
        if (depth > DeepestInclude)
        {
            throw Invalid(file, 0, "Include goes around in a circle, or too deep");
        }

        var applies = outer;
        var number = 0;
        foreach (var line in text.Split('\n'))
        {
            number++;
            IReadOnlyList<string> words;
            try
            {
                words = Words(line);
            }
            catch (FormatException e)
            {
                throw Invalid(file, number, e.Message);
            }

            if (words.Count == 0)
            {
                continue;
            }

            var keyword = words[0].ToLowerInvariant();
            if (words.Count == 1)
            {
                throw Invalid(file, number, $"{words[0]} has no value");
            }

            switch (keyword)
            {
                case "host":
                    applies = MatchesList(host, words.Skip(1)) ? outer : Applies.No;
                    break;
                case "match":
                    applies = (Applies)Math.Min((int)outer, (int)Match([.. words.Skip(1)], file, number));
                    break;
                case "include" when applies != Applies.No:
                    foreach (var (included, its) in words.Skip(1).SelectMany(word => include(word, file)))
                    {
                        Read(included, its, applies, depth + 1);
                    }

                    break;
                default:
                    if (applies != Applies.No)
                    {
                        Take(keyword, [.. words.Skip(1)], $"{file}, line {number}", applies);
                    }

                    break;
            }
        }
    }

    private void Take(string keyword, IReadOnlyList<string> values, string place, Applies applies)
    {
        if (keyword == "include" || Indifferent.Contains(keyword))
        {
            return;
        }

        if (ToldOf.Contains(keyword))
        {
            if (values[0] != "none")
            {
                Tell($"{place}: {keyword} is not followed by PitrPS.");
            }

            return;
        }

        if (!Followed.Contains(keyword))
        {
            Tell($"{place}: {keyword} is not known to PitrPS and not followed.");
            return;
        }

        // The first of the two shuts the other out (ssh_config(5), ProxyJump).
        if (_settings.Has(keyword) || (keyword == "proxyjump" && _settings.Has("proxycommand")) || (keyword == "proxycommand" && _settings.Has("proxyjump")))
        {
            return;
        }

        if (applies == Applies.Perhaps)
        {
            throw Unsupported(place, $"whether this {keyword} applies depends on a Match that PitrPS does not evaluate (only all, host, originalhost, user and localuser)");
        }

        if (keyword == "canonicalizehostname" && values[0] is not ("no" or "false"))
        {
            throw Unsupported(place, "CanonicalizeHostname changes the name, and PitrPS does not follow it");
        }

        if (keyword == "revokedhostkeys" && values[0] != "none")
        {
            throw Unsupported(place, "keys that RevokedHostKeys revokes would be accepted; PitrPS reads @revoked lines in known_hosts");
        }

        if (keyword == "identityfile")
        {
            _settings.IdentityFiles.Add(values[0]);
            return;
        }

        _settings.Set(keyword, keyword == "proxycommand" ? [string.Join(' ', values)] : values, place);
    }

    private void Tell(string text)
    {
        if (!_settings.Warnings.Contains(text))
        {
            _settings.Warnings.Add(text);
        }
    }

    private Applies Match(List<string> criteria, string file, int number)
    {
        var result = Applies.Yes;
        for (var at = 0; at < criteria.Count; at++)
        {
            var (word, value) = criteria[at].Split('=', 2) is [var left, var right] ? (left, right) : (criteria[at], null);
            var negated = word.StartsWith('!');
            var criterion = word.TrimStart('!').ToLowerInvariant();
            if (criterion is "all" or "canonical" or "final")
            {
                // Neither comes true in the first look at the file, and there is no second without canonical names; 'final' asks for one.
                var holds = criterion switch { "all" => Applies.Yes, "canonical" => Applies.No, _ => Applies.Perhaps };
                result = Least(result, negated ? (Applies)(2 - (int)holds) : holds);
                continue;
            }

            value ??= ++at < criteria.Count ? criteria[at] : throw Invalid(file, number, $"Match {criterion} has no value");
            var name = criterion switch
            {
                "host" => HostNameSoFar,
                "originalhost" => host,
                "user" => user ?? _settings.Value("user") ?? localUser,
                "localuser" => localUser,
                _ => null,
            };
            result = Least(result, name is null ? Applies.Perhaps : MatchesList(name, value.Split(',')) != negated ? Applies.Yes : Applies.No);
        }

        return result;
    }

    private string HostNameSoFar => (_settings.Value("hostname") ?? "%h").Replace("%h", host, StringComparison.Ordinal).Replace("%%", "%", StringComparison.Ordinal);

    private static Applies Least(Applies a, Applies b) => a < b ? a : b;

    private PitrException Invalid(string file, int number, string why) => new("PitrPS.SshConfigInvalid", ErrorKind.InvalidData,
        string.Create(CultureInfo.InvariantCulture, $"{file}, line {number}: {why}."), "Mend the file, or connect without it: -NoSshConfig, with what it says given as parameters.", host);

    private PitrException Unsupported(string place, string why) => new("PitrPS.SshConfigUnsupported", ErrorKind.NotImplemented,
        $"{place}: {why}.", "Connect with -NoSshConfig and give what this host needs as parameters (-Address, -Port, -UserName, -KeyFile, -JumpHost), or with -SshConfigFile and a file of its own.", host);
}
