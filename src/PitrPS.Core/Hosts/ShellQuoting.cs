using System.Text;

namespace PitrPS.Hosts;

/// <summary>The one place where anything is quoted for a shell.</summary>
internal static class ShellQuoting
{
    // MAX_ARG_STRLEN of Linux is 128 KiB for one argument, and the login shell gets the line as one.
    private const int LongestLine = 131_000;

    /// <summary>The word as it is where it is plainly safe, else in single quotes, for a POSIX shell.</summary>
    public static string Quote(string word)
    {
        RefuseNul(word);
        return word.Length > 0 && word.All(IsPlain) ? word : "'" + word.Replace("'", "'\\''", StringComparison.Ordinal) + "'";
    }

    public static string Join(IEnumerable<string> words) => string.Join(' ', words.Select(Quote));

    /// <summary>
    /// A POSIX script as one line for whatever shell the user logs in with: sh, bash, zsh, ksh, fish and csh disagree about quotes,
    /// backslashes, exclamation marks and newlines, so none of these is in it. /bin/sh undoes the octal escapes with printf's %b.
    /// </summary>
    public static string LoginLine(string script)
    {
        RefuseNul(script);
        var line = new StringBuilder("exec /bin/sh -c 'eval \"$(printf %b \"$0\")\"' '");
        foreach (var b in Encoding.UTF8.GetBytes(script))
        {
            var c = (char)b;
            if (b < 0x80 && (IsPlain(c) || c == ' '))
            {
                line.Append(c);
            }
            else
            {
                line.Append("\\0").Append((char)('0' + (b >> 6))).Append((char)('0' + ((b >> 3) & 7))).Append((char)('0' + (b & 7)));
            }
        }

        return line.Length < LongestLine ? line.Append('\'').ToString() : throw new PitrException("PitrPS.CommandTooLong", ErrorKind.InvalidArgument,
            $"A remote command would be {line.Length} characters long; Linux takes {LongestLine}.", "Do it in smaller parts.");
    }

    private static void RefuseNul(string text)
    {
        if (text.Contains('\0'))
        {
            throw new PitrException("PitrPS.InvalidText", ErrorKind.InvalidArgument,
                "A word for a remote command holds a NUL character.", "Remove it from the name or path that was given.");
        }
    }

    private static bool IsPlain(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.' or '/' or ':' or ',' or '+' or '@' or '%' or '=';
}
