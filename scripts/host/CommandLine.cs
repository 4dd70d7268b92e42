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

    // As pwsh -File does: "-Name" is a parameter, "-Name:value" one with its value ($true and $false are the words for a switch), all else a value.
    private static CommandParameter Argument(string text)
    {
        if (text.Length < 2 || text[0] != '-' || !(char.IsAsciiLetter(text[1]) || text[1] == '-'))
        {
            return new CommandParameter(null, text);
        }

        var colon = text.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
        {
            return new CommandParameter(text);
        }

        object value = text[(colon + 1)..].ToLowerInvariant() switch
        {
            "$true" => true,
            "$false" => false,
            _ => text[(colon + 1)..],
        };
        return new CommandParameter(text[..(colon + 1)], value);
    }
}
