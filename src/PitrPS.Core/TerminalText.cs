namespace PitrPS;

/// <summary>What hosts and servers say is shown without what a terminal would obey: their names and messages are not ours.</summary>
internal static class TerminalText
{
    /// <summary>The text with each control character but newline and tab made visible as U+FFFD.</summary>
    public static string Clean(string text) =>
        text.Any(IsCommand) ? string.Concat(text.Select(c => IsCommand(c) ? '\uFFFD' : c)) : text;

    /// <summary>The same for a name, which could otherwise begin a line of its own.</summary>
    public static string OneLine(string text) =>
        text.Any(c => IsCommand(c) || c is '\n' or '\t') ? string.Concat(text.Select(c => IsCommand(c) || c is '\n' or '\t' ? '\uFFFD' : c)) : text;

    // U+202A to U+202E and U+2066 to U+2069 turn the direction of what follows, and so show one name as another.
    private static bool IsCommand(char c) => (char.IsControl(c) && c is not ('\n' or '\t')) || c is (>= '\u202A' and <= '\u202E') or (>= '\u2066' and <= '\u2069');
}
