using System.Security.Cryptography;
using System.Text;

namespace PitrPS.Hosts;

/// <summary>What known_hosts says about a key that a host has shown.</summary>
internal enum HostKeyVerdict
{
    /// <summary>This very key is known for the host.</summary>
    Trusted,

    /// <summary>There is no entry at all for the host.</summary>
    Unknown,

    /// <summary>The host is known by another key, or by a key of another type.</summary>
    Changed,

    /// <summary>The key is marked @revoked.</summary>
    Revoked,

    /// <summary>Only a certificate authority is known for the host, and the host showed a plain key.</summary>
    NeedsCertificate,
}

/// <summary>One line of known_hosts. <paramref name="Marker"/> is "@revoked", "@cert-authority" or null.</summary>
internal sealed record KnownHostLine(string? Marker, string Hosts, string KeyType, string Key, string File, int Number)
{
    /// <summary>True when the line is about the host. <paramref name="name"/> is "host" or "[host]:port", in lower case.</summary>
    public bool IsAbout(string name)
    {
        if (Hosts.StartsWith('|'))
        {
            return IsHashOf(name);
        }

        var matches = false;
        foreach (var pattern in Hosts.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var negated = pattern.StartsWith('!');
            if (Matches((negated ? pattern[1..] : pattern).ToLowerInvariant(), name))
            {
                if (negated)
                {
                    return false;
                }

                matches = true;
            }
        }

        return matches;
    }

    // |1|base64(salt)|base64(HMAC-SHA1(salt, name)): OpenSSH, hostfile.c, host_hash().
    private bool IsHashOf(string name)
    {
        var parts = Hosts.Split('|');
        if (parts.Length != 4 || parts[1] != "1")
        {
            return false;
        }

        try
        {
#pragma warning disable CA5350 // The format prescribes SHA-1; it hides names and vouches for nothing.
            var expected = HMACSHA1.HashData(Convert.FromBase64String(parts[2]), Encoding.UTF8.GetBytes(name));
#pragma warning restore CA5350
            return CryptographicOperations.FixedTimeEquals(expected, Convert.FromBase64String(parts[3]));
        }
        catch (FormatException)
        {
            return false;
        }
    }

    /// <summary>* stands for anything, ? for one character.</summary>
    public static bool Matches(ReadOnlySpan<char> pattern, ReadOnlySpan<char> name)
    {
        if (pattern.IsEmpty)
        {
            return name.IsEmpty;
        }

        return pattern[0] switch
        {
            '*' => Matches(pattern[1..], name) || (!name.IsEmpty && Matches(pattern, name[1..])),
            '?' => !name.IsEmpty && Matches(pattern[1..], name[1..]),
            var c => !name.IsEmpty && name[0] == c && Matches(pattern[1..], name[1..]),
        };
    }
}

/// <summary>The known_hosts format of OpenSSH (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT), as pure functions over its text.</summary>
internal sealed class KnownHosts(IReadOnlyList<KnownHostLine> lines)
{
    public IReadOnlyList<KnownHostLine> Lines { get; } = lines;

    /// <summary>The lines of a file; comments, empty lines and what cannot be read are left out, as OpenSSH does.</summary>
    public static IReadOnlyList<KnownHostLine> Parse(string text, string file)
    {
        var result = new List<KnownHostLine>();
        var number = 0;
        foreach (var raw in text.Split('\n'))
        {
            number++;
            var words = raw.Split((char[])[' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (words.Length == 0 || words[0].StartsWith('#'))
            {
                continue;
            }

            var marker = words[0].StartsWith('@') ? words[0] : null;
            var rest = marker is null ? words : words[1..];
            if (rest.Length >= 3 && (marker is null or "@revoked" or "@cert-authority"))
            {
                result.Add(new KnownHostLine(marker, rest[0], rest[1], rest[2], file, number));
            }
        }

        return result;
    }

    /// <summary>The name under which OpenSSH writes a host: in brackets with its port, unless that is 22.</summary>
    public static string LookupName(string host, int port) =>
        port == 22 ? host.ToLowerInvariant() : $"[{host.ToLowerInvariant()}]:{port}";

    /// <summary>A name as OpenSSH hides it: |1|salt|HMAC-SHA1(salt, name).</summary>
    public static string Hashed(string name)
    {
        var salt = RandomNumberGenerator.GetBytes(20);
#pragma warning disable CA5350 // The format prescribes SHA-1; it hides names and vouches for nothing.
        return $"|1|{Convert.ToBase64String(salt)}|{Convert.ToBase64String(HMACSHA1.HashData(salt, Encoding.UTF8.GetBytes(name)))}";
#pragma warning restore CA5350
    }

    /// <summary>The types of the keys that are known for the host; empty when it is not known.</summary>
    public IReadOnlyList<string> KnownTypes(string host, int port) =>
        [.. About(host, port).Where(l => l.Marker is null).Select(l => l.KeyType).Distinct()];

    /// <summary>Types to ask for first where nothing is known: those that are known of the same host on port 22.</summary>
    public IReadOnlyList<string> LikelyTypes(string host) => KnownTypes(host, 22);

    /// <summary>Where a key of this host is known from, for messages.</summary>
    public KnownHostLine? FirstEntry(string host, int port) => About(host, port).FirstOrDefault();

    /// <summary>What to think of a key (the public key blob) that the host has shown.</summary>
    public HostKeyVerdict Check(string host, int port, ReadOnlySpan<byte> key)
    {
        var shown = Convert.ToBase64String(key);
        var about = About(host, port).ToList();

        // A revoked key is refused wherever it stands, under the name with the port and without it.
        var revoked = port == 22 ? about : about.Concat(About(host, 22));
        if (revoked.Any(l => l.Marker == "@revoked" && l.Key == shown))
        {
            return HostKeyVerdict.Revoked;
        }

        var known = about.Where(l => l.Marker is null).ToList();
        if (known.Any(l => l.Key == shown))
        {
            return HostKeyVerdict.Trusted;
        }

        // As ssh does it: the same key under the name without the port is good enough where nothing is known of this port. Another key there means nothing.
        if (about.Count == 0 && port != 22 && About(host, 22).Any(l => l.Marker is null && l.Key == shown))
        {
            return HostKeyVerdict.Trusted;
        }

        return known.Count > 0 ? HostKeyVerdict.Changed
            : about.Any(l => l.Marker == "@cert-authority") ? HostKeyVerdict.NeedsCertificate
            : about.Count > 0 ? HostKeyVerdict.Changed
            : HostKeyVerdict.Unknown;
    }

    /// <summary>As ssh-keygen -l prints it: SHA256: and base64 without padding.</summary>
    public static string Fingerprint(ReadOnlySpan<byte> key) => "SHA256:" + Convert.ToBase64String(SHA256.HashData(key)).TrimEnd('=');

    private IEnumerable<KnownHostLine> About(string host, int port)
    {
        var name = LookupName(host, port);
        return Lines.Where(l => l.IsAbout(name));
    }
}
