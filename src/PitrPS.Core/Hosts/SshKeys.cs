using Renci.SshNet;
using Renci.SshNet.Common;
using Renci.SshNet.Security;

namespace PitrPS.Hosts;

/// <summary>Finds the private keys to log in with: those that were named, else the agent's and then the usual files, as ssh does.</summary>
internal static class SshKeys
{
    private static readonly string[] Usual = ["id_ed25519", "id_ecdsa", "id_rsa"];

    /// <summary>Where ssh looks when nobody has named a key.</summary>
    public static IEnumerable<string> UsualFiles =>
        Usual.Select(name => Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ssh", name));

    public static IReadOnlyList<IPrivateKeySource> Find(HostLogin login, object target)
    {
        var agent = login.Agent is { } socket ? socket.Length == 0 ? null : SshAgent.Find(socket) : SshAgent.Find();
        if (login.KeyFiles.Count > 0)
        {
            return [.. login.KeyFiles.Select(file => Load(file, login.KeyPassphrase, agent, target))];
        }

        // With a password and no key named, only the password is tried: a server counts every key against its limit.
        if (login.Password is not null)
        {
            return [];
        }

        // Configured keys come first, the agent's others after them: a server lets us try only a few.
        List<IPrivateKeySource> keys = [];
        AddFiles(keys, login.ConfiguredKeyFiles ?? [], login, agent, target);
        if (!login.IdentitiesOnly)
        {
            foreach (var key in agent?.Identities().Select(identity => new AgentKeySource(agent, identity)) ?? [])
            {
                AddNew(keys, key);
            }
        }

        if (login.ConfiguredKeyFiles is null)
        {
            AddFiles(keys, UsualFiles, login, login.IdentitiesOnly ? agent : null, target);
        }

        return keys;
    }

    private static void AddFiles(List<IPrivateKeySource> keys, IEnumerable<string> files, HostLogin login, SshAgent? agent, object target)
    {
        foreach (var file in files)
        {
            try
            {
                // A file may be only the public half of a key that the agent has.
                if (InAgent(file, agent) is { } held)
                {
                    AddNew(keys, held);
                }
                else if (File.Exists(file))
                {
                    AddNew(keys, Load(file, login.KeyPassphrase, agent, target));
                }
            }
            catch (PitrException e) when (e.Id is "PitrPS.KeyPassphraseRequired" or "PitrPS.KeyPassphraseWrong" or "PitrPS.KeyFileInvalid")
            {
                // Nobody asked for this file; a login that fails says what it tried.
            }
        }
    }

    private static void AddNew(List<IPrivateKeySource> keys, IPrivateKeySource key)
    {
        if (!keys.Any(k => Blob(k).SequenceEqual(Blob(key))))
        {
            keys.Add(key);
        }
    }

    private static ReadOnlySpan<byte> Blob(IPrivateKeySource key) => key.HostKeyAlgorithms.First().Data;

    private static IPrivateKeySource Load(string file, Secret? passphrase, SshAgent? agent, object target)
    {
        if (!File.Exists(file))
        {
            throw new PitrException("PitrPS.KeyFileNotFound", ErrorKind.ObjectNotFound, $"There is no key file {file}.", "Give the path of the private key with -KeyFile.", target);
        }

        try
        {
            return new OneOffer(new PrivateKeyFile(file, passphrase?.Reveal()));
        }
        catch (SshPassPhraseNullOrEmptyException e)
        {
            return InAgent(file, agent) ?? throw PassphraseRequired(file, target, e);
        }
        catch (Exception e) when (passphrase is null && e is not OutOfMemoryException && IsEncrypted(file))
        {
            return InAgent(file, agent) ?? throw PassphraseRequired(file, target, e);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw passphrase is not null && IsEncrypted(file)
                ? new PitrException("PitrPS.KeyPassphraseWrong", ErrorKind.AuthenticationError, $"The key file {file} does not open with this passphrase.", "Give the right -KeyPassphrase.", target, e)
                : new PitrException("PitrPS.KeyFileInvalid", ErrorKind.InvalidData, $"{file} cannot be read as a private key: {e.Message}",
                    "Give the private key (not the .pub file) in OpenSSH's or PEM format, readable for you.", target, e);
        }
    }

    private static PitrException PassphraseRequired(string file, object target, Exception e) => new(
        "PitrPS.KeyPassphraseRequired", ErrorKind.AuthenticationError, $"The key file {file} is encrypted.",
        "Give its passphrase with -KeyPassphrase, or load the key into the SSH agent with ssh-add.", target, e);

    private static bool IsEncrypted(string file)
    {
        try
        {
            // PKCS #8 says it in its first line; SSH.NET has no exception of its own for that.
            if (File.ReadLines(file).FirstOrDefault(l => l.StartsWith("-----BEGIN ", StringComparison.Ordinal)) is "-----BEGIN ENCRYPTED PRIVATE KEY-----")
            {
                return true;
            }

            using var key = new PrivateKeyFile(file);
            return false;
        }
        catch (SshPassPhraseNullOrEmptyException)
        {
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return false;
        }
    }

    // An encrypted key that the agent has opened already; its public half lies beside it.
    private static AgentKeySource? InAgent(string file, SshAgent? agent)
    {
        var half = file.EndsWith(".pub", StringComparison.Ordinal) ? file : file + ".pub";
        if (agent is null || !File.Exists(half) || File.ReadAllText(half).Split(' ', StringSplitOptions.RemoveEmptyEntries) is not [_, var text, ..])
        {
            return null;
        }

        return agent.Identities().Where(i => Convert.ToBase64String(i.Blob) == text.TrimEnd()).Select(i => new AgentKeySource(agent, i)).FirstOrDefault();
    }

    // SSH.NET offers an RSA key three times, and each offer counts against the server's limit of attempts.
    private sealed class OneOffer(IPrivateKeySource inner) : IPrivateKeySource
    {
        public IReadOnlyCollection<HostAlgorithm> HostKeyAlgorithms { get; } =
            [inner.HostKeyAlgorithms.FirstOrDefault(a => a.Name == "rsa-sha2-512") ?? inner.HostKeyAlgorithms.First()];
    }
}
