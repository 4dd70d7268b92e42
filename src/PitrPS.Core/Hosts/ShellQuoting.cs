namespace PitrPS.Hosts;

/// <summary>The one place where anything is quoted for a POSIX shell.</summary>
internal static class ShellQuoting
{
    /// <summary>The word as it is where it is plainly safe, else in single quotes.</summary>
    public static string Quote(string word)
    {
        if (word.Contains('\0'))
        {
            throw new PitrException("PitrPS.InvalidText", ErrorKind.InvalidArgument,
                "A word for a remote command holds a NUL character.", "Remove it from the name or path that was given.");
        }

        return word.Length > 0 && word.All(IsPlain) ? word : "'" + word.Replace("'", "'\\''", StringComparison.Ordinal) + "'";
    }

    public static string Join(IEnumerable<string> words) => string.Join(' ', words.Select(Quote));

    private static bool IsPlain(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.' or '/' or ':' or ',' or '+' or '@' or '%' or '=';
}
