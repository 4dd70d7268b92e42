using Renci.SshNet;
using Renci.SshNet.Common;
using Renci.SshNet.Security;

namespace PitrPS.Hosts;

/// <summary>Finds the private keys to log in with: those that were named, else the agent's and the usual files.</summary>
internal static class SshKeys
{
    private static readonly string[] Usual = ["id_ed25519", "id_ecdsa", "id_rsa"];

    public static IReadOnlyList<IPrivateKeySource> Find(HostLogin login, object target)
    {
        if (login.KeyFiles.Count > 0)
        {
            return [.. login.KeyFiles.Select(file => Load(file, login.KeyPassphrase, target))];
        }

        // With a password and no key named, only the password is tried: a server counts every key against its limit.
        if (login.Password is not null)
        {
            return [];
        }

        var keys = new List<IPrivateKeySource>();
        var home = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ssh");
        foreach (var file in Usual.Select(name => Path.Combine(home, name)).Where(File.Exists))
        {
            try
            {
                keys.Add(Load(file, login.KeyPassphrase, target));
            }
            catch (PitrException e) when (e.Id is "PitrPS.KeyPassphraseRequired" or "PitrPS.KeyPassphraseWrong" or "PitrPS.KeyFileInvalid")
            {
                // Nobody asked for this file; the login says what it tried.
            }
        }

        return keys;
    }

    private static SignsWithSha2 Load(string file, Secret? passphrase, object target)
    {
        if (!File.Exists(file))
        {
            throw new PitrException("PitrPS.KeyFileNotFound", ErrorKind.ObjectNotFound, $"There is no key file {file}.", "Give the path of the private key with -KeyFile.", target);
        }

        try
        {
            return new SignsWithSha2(new PrivateKeyFile(file, passphrase?.Reveal()));
        }
        catch (SshPassPhraseNullOrEmptyException e)
        {
            throw new PitrException("PitrPS.KeyPassphraseRequired", ErrorKind.AuthenticationError, $"The key file {file} is encrypted.",
                "Give its passphrase with -KeyPassphrase, or load the key into the SSH agent and leave -KeyFile out.", target, e);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            throw passphrase is not null
                ? new PitrException("PitrPS.KeyPassphraseWrong", ErrorKind.AuthenticationError, $"The key file {file} does not open with this passphrase.", "Give the right -KeyPassphrase.", target, e)
                : new PitrException("PitrPS.KeyFileInvalid", ErrorKind.InvalidData, $"{file} cannot be read as a private key: {e.Message}",
                    "Give the private key (not the .pub file) in OpenSSH's or PEM format, readable for you.", target, e);
        }
    }

    // An RSA key otherwise counts three times against the server's limit of attempts, the third time with SHA-1.
    private sealed class SignsWithSha2(IPrivateKeySource inner) : IPrivateKeySource
    {
        public IReadOnlyCollection<HostAlgorithm> HostKeyAlgorithms { get; } = [.. inner.HostKeyAlgorithms.Where(a => a.Name != "ssh-rsa")];
    }
}
