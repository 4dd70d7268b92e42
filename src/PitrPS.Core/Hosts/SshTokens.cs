using System.Text;

namespace PitrPS.Hosts;

/// <summary>Expands what ssh_config(5) calls tokens, environment variables and the home directory.</summary>
internal static class SshTokens
{
    /// <exception cref="PitrException"><c>PitrPS.SshConfigUnsupported</c> for a token that is not among <paramref name="values"/>.</exception>
    public static string Expand(string text, IReadOnlyDictionary<char, string> values, string host)
    {
        var result = new StringBuilder();
        for (var at = 0; at < text.Length; at++)
        {
            if (text[at] != '%')
            {
                result.Append(text[at]);
            }
            else if (++at < text.Length && text[at] == '%')
            {
                result.Append('%');
            }
            else
            {
                result.Append(at < text.Length && values.TryGetValue(text[at], out var value) ? value : throw Unsupported(text, host));
            }
        }

        return result.ToString();
    }

    /// <summary>${NAME} from this client's environment.</summary>
    public static string Variables(string text, string host)
    {
        var result = new StringBuilder();
        var at = 0;
        while (text.IndexOf("${", at, StringComparison.Ordinal) is >= 0 and var start)
        {
            var end = text.IndexOf('}', start);
            var value = end < 0 ? null : Environment.GetEnvironmentVariable(text[(start + 2)..end]);
            result.Append(text, at, start - at).Append(value ?? throw Unsupported(text, host));
            at = end + 1;
        }

        return result.Append(text, at, text.Length - at).ToString();
    }

    /// <summary>~/ as the user's home directory.</summary>
    public static string Home(string path) =>
        path == "~" || path.StartsWith("~/", StringComparison.Ordinal)
            ? Path.Join(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), path[1..])
            : path;

    private static PitrException Unsupported(string text, string host) => new("PitrPS.SshConfigUnsupported", ErrorKind.NotImplemented,
        $"In the ssh configuration, '{text}' has a token or a variable that cannot be expanded.",
        "Write it out, or connect with -NoSshConfig and give what this host needs as parameters.", host);
}
