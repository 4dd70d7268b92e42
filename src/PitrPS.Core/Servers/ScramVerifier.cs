using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace PitrPS.Servers;

/// <summary>
/// A SCRAM-SHA-256 verifier as pg_authid keeps it, made on the client, so that a password never stands in a statement, and log_statement = all shows none.
/// Source: RFC 5803 and src/common/scram-common.c, scram_build_secret.
/// </summary>
internal static class ScramVerifier
{
    private const int Iterations = 4096;
    private const string Scheme = "SCRAM-SHA-256";

    /// <summary>"SCRAM-SHA-256$4096:salt$StoredKey:ServerKey". Passwords of ASCII only, for which SASLprep changes nothing.</summary>
    public static string Create(string password) => Create(password, RandomNumberGenerator.GetBytes(16), Iterations);

    public static string Create(string password, byte[] salt, int iterations)
    {
        if (password.Length == 0 || !Ascii.IsValid(password))
        {
            throw new ArgumentException("Only a password of ASCII characters can be used.", nameof(password));
        }

        var salted = Rfc2898DeriveBytes.Pbkdf2(Encoding.ASCII.GetBytes(password), salt, iterations, HashAlgorithmName.SHA256, 32);
        var storedKey = SHA256.HashData(HMACSHA256.HashData(salted, "Client Key"u8));
        var serverKey = HMACSHA256.HashData(salted, "Server Key"u8);
        return string.Create(CultureInfo.InvariantCulture,
            $"{Scheme}${iterations}:{Convert.ToBase64String(salt)}${Convert.ToBase64String(storedKey)}:{Convert.ToBase64String(serverKey)}");
    }

    /// <summary>Whether a role with this verifier logs in with this password.</summary>
    public static bool Matches(string verifier, string password)
    {
        var parts = verifier.Split('$');
        if (parts is not [Scheme, var head, _] || head.Split(':') is not [var count, var salt] || !int.TryParse(count, NumberStyles.None, CultureInfo.InvariantCulture, out var iterations))
        {
            return false;
        }

        try
        {
            return CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(Create(password, Convert.FromBase64String(salt), iterations)), Encoding.ASCII.GetBytes(verifier));
        }
        catch (FormatException)
        {
            return false;
        }
    }
}
