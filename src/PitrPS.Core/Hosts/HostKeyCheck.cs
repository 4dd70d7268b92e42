using Renci.SshNet.Common;

namespace PitrPS.Hosts;

/// <summary>Judges the key that a host shows while a connection is made. Without it SSH.NET trusts every key.</summary>
internal sealed class HostKeyCheck(HostLogin login, KnownHosts known, object target)
{
    // Best first. A signature with SHA-1 (plain ssh-rsa) is never accepted; the same keys sign with SHA-2.
    private static readonly (string Type, string[] Algorithms)[] Types =
    [
        ("ssh-ed25519", ["ssh-ed25519"]),
        ("ecdsa-sha2-nistp256", ["ecdsa-sha2-nistp256"]),
        ("ecdsa-sha2-nistp384", ["ecdsa-sha2-nistp384"]),
        ("ecdsa-sha2-nistp521", ["ecdsa-sha2-nistp521"]),
        ("ssh-rsa", ["rsa-sha2-512", "rsa-sha2-256"]),
    ];

    private readonly IReadOnlyList<string> _knownTypes = known.KnownTypes(login.KeyName, login.KeyPort);
    private readonly IReadOnlyList<string> _likelyTypes = known.LikelyTypes(login.KeyName);

    /// <summary>The host key algorithms to offer: those of the keys that are known for this host, or all when none is.</summary>
    public IReadOnlyList<string> Algorithms
    {
        get
        {
            var ofKnown = Types.Where(t => _knownTypes.Contains(t.Type)).SelectMany(t => t.Algorithms).ToList();
            return ofKnown.Count > 0 ? ofKnown : [.. Types.OrderBy(t => _likelyTypes.Contains(t.Type) ? 0 : 1).SelectMany(t => t.Algorithms)];
        }
    }

    /// <summary>Why the key was refused.</summary>
    public PitrException? Refusal { get; private set; }

    /// <summary>A new key that was accepted, to be remembered once the login has succeeded.</summary>
    public (string Type, byte[] Blob)? ToRemember { get; private set; }

    public void OnHostKey(object? sender, HostKeyEventArgs e)
    {
        var type = TypeOf(e.HostKey);
        e.CanTrust = false;
        switch (known.Check(login.KeyName, login.KeyPort, e.HostKey))
        {
            case HostKeyVerdict.Trusted:
                e.CanTrust = true;
                break;
            case HostKeyVerdict.Unknown when login.AcceptNewHostKey && (ToRemember is null || ToRemember.Value.Blob.AsSpan().SequenceEqual(e.HostKey)):
                ToRemember = (type, e.HostKey);
                e.CanTrust = true;
                break;
            case HostKeyVerdict.Unknown:
                Refusal = Error("PitrPS.HostKeyUnknown",
                    $"The host key of {Named} is not known: {type} {KnownHosts.Fingerprint(e.HostKey)}",
                    "Compare this fingerprint with what 'ssh-keygen -lf' prints for the keys in /etc/ssh on the host itself. If it is the same, connect with -AcceptNewHostKey, or add the key to known_hosts.");
                break;
            case HostKeyVerdict.NeedsCertificate:
                Refusal = Error("PitrPS.HostKeyUnknown",
                    $"{Place} trusts a certificate authority for {Named}; PitrPS does not check host certificates, and the host's own key {type} {KnownHosts.Fingerprint(e.HostKey)} is not known.",
                    "Compare this fingerprint with what 'ssh-keygen -lf' prints on the host itself, then add the key to known_hosts beside the authority.");
                break;
            case HostKeyVerdict.Revoked:
                Refusal = Error("PitrPS.HostKeyRevoked",
                    $"{Named} shows a host key that is revoked in known_hosts: {type} {KnownHosts.Fingerprint(e.HostKey)}",
                    "Do not connect to it. Ask who revoked the key, and whether the host has a new one.");
                break;
            default:
                Refusal = Changed($"It shows {type} {KnownHosts.Fingerprint(e.HostKey)}.");
                break;
        }
    }

    /// <summary>The host has no key of a type that is known for it: that counts as changed.</summary>
    public PitrException NoKnownType(Exception inner) =>
        _knownTypes.Count > 0 ? Changed($"It has no key of the known type ({string.Join(", ", _knownTypes)}) any more.", inner)
        : new PitrException("PitrPS.HostUnreachable", ErrorKind.ConnectionError, $"{Named} has no host key of a type that PitrPS accepts: {inner.Message}",
            "Make an ed25519 host key on it with 'ssh-keygen -A'.", target, inner);

    private string Named => (login.Port == 22 ? login.Name : $"{login.Name}, port {login.Port}") + (login.KeyName == login.Name ? "" : $" (known as {login.KeyName})");

    private string Place => known.FirstEntry(login.KeyName, login.KeyPort) is { } line ? $"{line.File}, line {line.Number}," : "known_hosts";

    private PitrException Changed(string shows, Exception? inner = null) => Error("PitrPS.HostKeyChanged",
        $"The host key of {Named} is not the one that is known. {shows} {Place} knows another. Somebody may be listening in, or the host was set up anew.",
        "Find out on the host itself which is true. Only if it was set up anew, take the old line out of known_hosts and connect again with -AcceptNewHostKey.", inner);

    private PitrException Error(string id, string message, string next, Exception? inner = null) => new(id, ErrorKind.SecurityError, message, next, target, inner);

    // The blob begins with its own type (RFC 4253, 6.6), which is not the signature's name that SSH.NET tells.
    private static string TypeOf(byte[] blob)
    {
        var length = blob.Length < 4 ? -1 : System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(blob);
        return length < 0 || length > blob.Length - 4 ? "unknown" : System.Text.Encoding.ASCII.GetString(blob, 4, length);
    }
}
