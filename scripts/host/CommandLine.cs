using System.Management.Automation.Runspaces;

namespace PitrPS.ScriptHost;

/// <summary>The part of pwsh's command line that scripts are run with.</summary>
internal static class CommandLine
{
    public static (string? File, string? Command, IReadOnlyList<CommandParameter> Arguments) Parse(string[] args)
    {
        for (var i = 0; i < args.Length; i++)
        {
            switch (args[i].ToLowerInvariant())
            {
                case "-noprofile" or "-nologo" or "-noninteractive":
                    continue;
                case "-file" or "-f" when i + 1 < args.Length:
                    return (args[i + 1], null, [.. args.Skip(i + 2).Select(Argument)]);
                case "-command" or "-c" when i + 1 < args.Length:
                    return (null, string.Join(' ', args.Skip(i + 1)), []);
                default:
                    return (args[i], null, [.. args.Skip(i + 1).Select(Argument)]);
            }
        }

        return (null, null, []);
    }

    // As pwsh -File does: "-Name" is a parameter, "-Name:value" one with its value, all else a value.
    private static CommandParameter Argument(string text)
    {
        if (text.Length < 2 || text[0] != '-' || !(char.IsAsciiLetter(text[1]) || text[1] == '-'))
        {
            return new CommandParameter(null, text);
        }

        var colon = text.IndexOf(':', StringComparison.Ordinal);
        return colon < 0 ? new CommandParameter(text) : new CommandParameter(text[..(colon + 1)], text[(colon + 1)..]);
    }
}
