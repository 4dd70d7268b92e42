using System.Globalization;
using System.Text;

namespace PitrPS.Servers;

/// <summary>
/// What a standby's primary_conninfo says of its primary: address and port, never a password.
/// Source: PostgreSQL documentation, chapter "Connection Strings", both forms.
/// </summary>
internal static class ConnectionInfo
{
    private const int DefaultPort = 5432;

    /// <summary>The link to the primary; null where no TCP address is named.</summary>
    public static PrimaryLink? Primary(string? text, string? slot)
    {
        if (string.IsNullOrWhiteSpace(text))
        {
            return null;
        }

        var values = text.StartsWith("postgresql://", StringComparison.Ordinal) || text.StartsWith("postgres://", StringComparison.Ordinal) ? ParseUri(text) : Parse(text);
        var address = First(values.GetValueOrDefault("host")) ?? First(values.GetValueOrDefault("hostaddr"));
        if (address is null || address.StartsWith('/') || address.StartsWith('@'))
        {
            return null;
        }

        var port = int.TryParse(First(values.GetValueOrDefault("port")), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : DefaultPort;
        return new PrimaryLink(address, port, 22, string.IsNullOrEmpty(slot) ? null : slot, null, null);
    }

    /// <summary>keyword = value, with values in single quotes where they hold blanks; a backslash takes the next character as it is.</summary>
    public static IReadOnlyDictionary<string, string> Parse(string text)
    {
        var values = new Dictionary<string, string>();
        for (var at = 0; ;)
        {
            SkipBlanks(text, ref at);
            var begin = at;
            while (at < text.Length && text[at] != '=' && !char.IsWhiteSpace(text[at]))
            {
                at++;
            }

            if (at == begin)
            {
                return values;
            }

            var name = text[begin..at];
            SkipBlanks(text, ref at);
            if (at >= text.Length || text[at] != '=')
            {
                return values;
            }

            at++;
            SkipBlanks(text, ref at);
            values[name] = ReadValue(text, ref at);
        }
    }

    private static string ReadValue(string text, ref int at)
    {
        var value = new StringBuilder();
        var quoted = at < text.Length && text[at] == '\'';
        if (quoted)
        {
            at++;
        }

        for (; at < text.Length; at++)
        {
            if (quoted ? text[at] == '\'' : char.IsWhiteSpace(text[at]))
            {
                at++;
                break;
            }

            if (text[at] == '\\' && at + 1 < text.Length)
            {
                at++;
            }

            value.Append(text[at]);
        }

        return value.ToString();
    }

    private static Dictionary<string, string> ParseUri(string text)
    {
        var rest = text[(text.IndexOf("://", StringComparison.Ordinal) + 3)..];
        var end = rest.IndexOfAny(['/', '?']);
        var authority = end < 0 ? rest : rest[..end];
        authority = authority[(authority.LastIndexOf('@') + 1)..].Split(',')[0];
        var values = new Dictionary<string, string>();
        var colon = authority.LastIndexOf(':');
        if (colon >= 0 && !authority.EndsWith(']'))
        {
            values["port"] = authority[(colon + 1)..];
            authority = authority[..colon];
        }

        if (authority.Length > 0)
        {
            values["host"] = Uri.UnescapeDataString(authority.Trim('[', ']'));
        }

        var query = rest.IndexOf('?');
        foreach (var pair in query < 0 ? [] : rest[(query + 1)..].Split('&'))
        {
            var parts = pair.Split('=', 2);
            if (parts.Length == 2)
            {
                values[Uri.UnescapeDataString(parts[0])] = Uri.UnescapeDataString(parts[1]);
            }
        }

        return values;
    }

    private static string? First(string? list) => list?.Split(',')[0] is { Length: > 0 } first ? first : null;

    private static void SkipBlanks(string text, ref int at)
    {
        while (at < text.Length && char.IsWhiteSpace(text[at]))
        {
            at++;
        }
    }
}
