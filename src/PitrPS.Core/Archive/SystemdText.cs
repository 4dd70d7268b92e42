using System.Text;

namespace PitrPS.Archive;

/// <summary>The one place where text is written for systemd's unit files (systemd.unit(5), systemd.syntax(7), systemd.service(5)).</summary>
internal static class SystemdText
{
    /// <summary>The unit of a path, as <c>systemd-escape --path</c> gives it: a mount unit must have the name of its mount point.</summary>
    public static string UnitOf(string path, string suffix)
    {
        var trimmed = string.Join('/', path.Split('/', StringSplitOptions.RemoveEmptyEntries));
        if (trimmed.Length == 0)
        {
            return "-" + suffix;
        }

        var name = new StringBuilder();
        foreach (var b in Encoding.UTF8.GetBytes(trimmed))
        {
            var c = (char)b;
            name.Append(c == '/' ? "-" : char.IsAsciiLetterOrDigit(c) || c is ':' or '_' || (c == '.' && name.Length > 0) ? c.ToString() : $"\\x{b:x2}");
        }

        return name + suffix;
    }

    /// <summary>A whole value, such as a path in What=: only specifiers mean anything there.</summary>
    public static string Value(string text)
    {
        RefuseLineBreaks(text);
        return text.Replace("%", "%%", StringComparison.Ordinal);
    }

    /// <summary>A command line for ExecStart=.</summary>
    public static string Command(IEnumerable<string> arguments) => string.Join(' ', arguments.Select(Argument));

    private static string Argument(string text)
    {
        var value = Value(text).Replace("$", "$$", StringComparison.Ordinal);
        return value.Length > 0 && value.All(c => char.IsAsciiLetterOrDigit(c) || c is '/' or '.' or '_' or '-' or '=' or ',' or ':' or '@' or '%' or '$')
            ? value
            : "\"" + value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + "\"";
    }

    private static void RefuseLineBreaks(string text)
    {
        if (text.Any(char.IsControl))
        {
            throw new PitrException("PitrPS.InvalidText", ErrorKind.InvalidArgument, "A path for a systemd unit holds a control character.", "Remove it from the path that was given.");
        }
    }
}
