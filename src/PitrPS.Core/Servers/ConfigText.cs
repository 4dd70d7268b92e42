using System.Globalization;
using System.Text;

namespace PitrPS.Servers;

/// <summary>One assignment or include of a configuration file. Names are compared without regard to case, as the server does.</summary>
internal sealed record ConfigEntry(string Name, string Value)
{
    public bool Is(string name) => Name.Equals(name, StringComparison.OrdinalIgnoreCase);
}

/// <summary>A line that was taken out of a file.</summary>
/// <param name="Place">How many lines were before it at that moment.</param>
/// <param name="Line">The line as it was.</param>
/// <param name="IsUnended">It was the file's last, and no newline came after it.</param>
internal sealed record TakenLine(int Place, string Line, bool IsUnended = false);

/// <summary>
/// postgresql.conf's syntax as pure functions from lines to lines. Source: src/backend/utils/misc/guc-file.l;
/// in it quotes and backslashes are doubled, which is not SQL's way.
/// </summary>
internal static class ConfigText
{
    /// <summary>The entry that a line holds; null for a blank line, a comment, or a line that the server would refuse.</summary>
    public static ConfigEntry? Parse(string line)
    {
        var at = SkipBlanks(line, 0);
        var begin = at;
        while (at < line.Length && IsNameCharacter(line[at], at == begin))
        {
            at++;
        }

        if (at == begin)
        {
            return null;
        }

        var name = line[begin..at];
        at = SkipBlanks(line, at);
        if (at < line.Length && line[at] == '=')
        {
            at = SkipBlanks(line, at + 1);
        }

        if (at >= line.Length || line[at] == '#')
        {
            return null;
        }

        string value;
        if (line[at] == '\'')
        {
            if (!TryReadQuoted(line, ref at, out value))
            {
                return null;
            }
        }
        else
        {
            begin = at;
            while (at < line.Length && IsBareCharacter(line[at]))
            {
                at++;
            }

            value = line[begin..at];
            if (value.Length == 0)
            {
                return null;
            }
        }

        at = SkipBlanks(line, at);
        return at == line.Length || line[at] == '#' ? new ConfigEntry(name, value) : null;
    }

    public static IEnumerable<ConfigEntry> ParseAll(IEnumerable<string> lines) => lines.Select(Parse).OfType<ConfigEntry>();

    public static string[] Lines(string? text)
    {
        var lines = (text ?? "").Split('\n');
        return lines[^1].Length == 0 ? lines[..^1] : lines;
    }

    public static string Text(IEnumerable<string> lines) => string.Concat(lines.Select(l => l + "\n"));

    /// <summary>A value in single quotes.</summary>
    public static string Quote(string value)
    {
        if (value.Contains('\0'))
        {
            throw new PitrException("PitrPS.InvalidText", ErrorKind.InvalidArgument, "A value for a setting holds a NUL character.", "Remove it from the name or path that was given.");
        }

        return "'" + value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("'", "''", StringComparison.Ordinal)
            .Replace("\n", "\\n", StringComparison.Ordinal).Replace("\r", "\\r", StringComparison.Ordinal) + "'";
    }

    public static string Render(ConfigEntry entry) => $"{entry.Name} = {Quote(entry.Value)}";

    /// <summary>The last value of each name.</summary>
    public static SortedDictionary<string, string> Values(IEnumerable<string> lines)
    {
        var values = new SortedDictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (var entry in ParseAll(lines))
        {
            values[entry.Name] = entry.Value;
        }

        return values;
    }

    /// <summary>The lines without the assignments of these names, and what was taken out: the last one first, so that each place is where its line has to be put back in.</summary>
    public static (string[] Lines, IReadOnlyList<TakenLine> Taken) TakeOut(IReadOnlyList<string> lines, IReadOnlyCollection<string> names)
    {
        var kept = lines.ToList();
        var taken = new List<TakenLine>();
        for (var at = kept.Count - 1; at >= 0; at--)
        {
            if (Parse(kept[at]) is { } entry && names.Any(entry.Is))
            {
                taken.Add(new TakenLine(at, kept[at], at == kept.Count - 1));
                kept.RemoveAt(at);
            }
        }

        return ([.. kept], taken);
    }

    /// <summary>The lines with these put back, the one that was taken last first; a name that has been set again since stays as it was set.</summary>
    public static string[] PutBack(IReadOnlyList<string> lines, IReadOnlyList<TakenLine> taken)
    {
        var all = lines.ToList();
        string[] setAgain = [.. ParseAll(lines).Select(e => e.Name)];
        foreach (var line in taken.Reverse().Where(t => Parse(t.Line) is not { } entry || !setAgain.Any(entry.Is)))
        {
            if (line.IsUnended && all is [""])
            {
                all.Clear();
            }

            all.Insert(Math.Min(line.Place, all.Count > 0 && all[^1].Length == 0 && !line.IsUnended ? all.Count - 1 : all.Count), line.Line);
        }

        return [.. all];
    }

    /// <summary>The line by which a file of ours is included.</summary>
    public static string IncludeLine(string file) => $"include_if_exists {Quote(file)}{IncludeMark}";

    /// <summary>
    /// The lines with an include of this file at the end, unless an include of its directory or of itself is there already and nothing after it can set one of the names:
    /// of several assignments the server takes the last. The same lines mean that there was nothing to do.
    /// </summary>
    /// <param name="lines">postgresql.conf's; the last is what follows the last newline.</param>
    /// <param name="configDirectory">Its directory.</param>
    /// <param name="file">The file, relative to that: conf.d/50-pitrps.conf.</param>
    /// <param name="names">The settings that must count.</param>
    /// <param name="neighboursWin">A file that is read after it from the same directory sets one of the names.</param>
    public static string[] WithInclude(string[] lines, string configDirectory, string file, IReadOnlyCollection<string> names, bool neighboursWin)
    {
        var directory = file[..file.LastIndexOf('/')];
        var included = Array.FindLastIndex(lines, l => Parse(l) is { } e
            && ((!neighboursWin && e.Is("include_dir") && SamePath(e.Value, configDirectory, directory)) || ((e.Is("include") || e.Is("include_if_exists")) && SamePath(e.Value, configDirectory, file))));
        var overridden = Array.FindLastIndex(lines, l => Parse(l) is { } e && (names.Any(e.Is) || e.Is("include") || e.Is("include_dir") || e.Is("include_if_exists")));
        if (included >= 0 && overridden <= included)
        {
            return lines;
        }

        var others = WithoutInclude(lines);
        return others[^1].Length == 0 ? [.. others[..^1], IncludeLine(file), ""] : [.. others, IncludeLine(file)];
    }

    /// <summary>The lines without the one that <see cref="WithInclude"/> added.</summary>
    public static string[] WithoutInclude(IReadOnlyList<string> lines) => [.. lines.Where(l => !IsOurInclude(l))];

    /// <summary>Whether <see cref="WithInclude"/> added this line.</summary>
    public static bool IsOurInclude(string line) => line.Contains(IncludeMark, StringComparison.Ordinal);

    private const string IncludeMark = "\t\t# added by PitrPS, last so that what it sets counts";

    public static bool SamePath(string value, string configDirectory, string directory)
    {
        static string Tidy(string path) => path.Replace("/./", "/", StringComparison.Ordinal).TrimEnd('/');
        return Tidy(value.StartsWith('/') ? value : $"{configDirectory}/{value}") == Tidy($"{configDirectory}/{directory}");
    }

    private static int SkipBlanks(string line, int at)
    {
        while (at < line.Length && line[at] is ' ' or '\t' or '\r')
        {
            at++;
        }

        return at;
    }

    private static bool IsNameCharacter(char c, bool first) =>
        char.IsAsciiLetter(c) || c == '_' || c >= '\u0080' || (!first && (char.IsAsciiDigit(c) || c == '.'));

    private static bool IsBareCharacter(char c) =>
        char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '+' or '.' or ':' or '/' || c >= '\u0080';

    private static bool TryReadQuoted(string line, ref int at, out string value)
    {
        var text = new StringBuilder();
        value = "";
        for (at++; at < line.Length; at++)
        {
            if (line[at] == '\'')
            {
                if (at + 1 < line.Length && line[at + 1] == '\'')
                {
                    text.Append('\'');
                    at++;
                    continue;
                }

                at++;
                value = text.ToString();
                return true;
            }

            if (line[at] != '\\')
            {
                text.Append(line[at]);
                continue;
            }

            if (++at >= line.Length)
            {
                return false;
            }

            at = AppendEscaped(line, at, text);
        }

        return false;
    }

    // Returns the index of the escape's last character.
    private static int AppendEscaped(string line, int at, StringBuilder text)
    {
        if (line[at] is < '0' or > '7')
        {
            text.Append(line[at] switch { 'b' => '\b', 'f' => '\f', 'n' => '\n', 'r' => '\r', 't' => '\t', var c => c });
            return at;
        }

        var code = 0;
        var digits = 0;
        while (digits < 3 && at + digits < line.Length && line[at + digits] is >= '0' and <= '7')
        {
            code = (code * 8) + line[at + digits] - '0';
            digits++;
        }

        text.Append((char)(code & 0xFF));
        return at + digits - 1;
    }
}

/// <summary>Compares a value as somebody writes it with one as pg_settings shows it (in base units, without a unit).</summary>
internal static class SettingValue
{
    private static readonly Dictionary<string, decimal> Bytes = new() { ["B"] = 1, ["kB"] = 1024, ["MB"] = 1048576, ["GB"] = 1073741824, ["TB"] = 1099511627776 };

    private static readonly Dictionary<string, decimal> Microseconds = new()
    {
        ["us"] = 1, ["ms"] = 1000, ["s"] = 1000000, ["min"] = 60000000, ["h"] = 3600000000, ["d"] = 86400000000,
    };

    /// <param name="wanted">As in a configuration file.</param>
    /// <param name="setting">pg_settings.setting.</param>
    /// <param name="unit">pg_settings.unit, for example ms, 8kB; null for none.</param>
    /// <param name="type">pg_settings.vartype: bool, integer, real, enum or string.</param>
    public static bool Same(string wanted, string setting, string? unit, string type) => type switch
    {
        "bool" => Boolean(wanted) is { } w && w == Boolean(setting),
        "integer" or "real" => Number(wanted, unit, type == "integer") is { } w && w == Number(setting, null, type == "integer"),
        "enum" => wanted.Equals(setting, StringComparison.OrdinalIgnoreCase) || (Boolean(wanted) is { } w && w == Boolean(setting)),
        _ => wanted == setting,
    };

    /// <summary>A number with or without a unit, in this unit; null for anything else.</summary>
    public static decimal? InUnit(string text, string unit) => Number(text, unit, whole: true);

    private static bool? Boolean(string text)
    {
        var word = text.Trim().ToLowerInvariant();
        bool Begins(string whole, int least) => word.Length >= least && whole.StartsWith(word, StringComparison.Ordinal);
        return word.Length == 0 ? null
            : word == "1" || Begins("true", 1) || Begins("yes", 1) || Begins("on", 2) ? true
            : word == "0" || Begins("false", 1) || Begins("no", 1) || Begins("off", 2) ? false
            : null;
    }

    private static decimal? Number(string text, string? baseUnit, bool whole)
    {
        text = text.Trim();
        var end = text.Length;
        while (end > 0 && char.IsAsciiLetter(text[end - 1]))
        {
            end--;
        }

        var unit = text[end..];
        if (!decimal.TryParse(text[..end].TrimEnd(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number))
        {
            return null;
        }

        if (unit.Length > 0)
        {
            if (baseUnit is null || Factor(unit, baseUnit) is not { } factor)
            {
                return null;
            }

            number *= factor;
        }

        return whole ? Math.Round(number, MidpointRounding.ToEven) : number;
    }

    private static decimal? Factor(string unit, string baseUnit)
    {
        var digits = baseUnit.TakeWhile(char.IsAsciiDigit).Count();
        var times = digits == 0 ? 1 : decimal.Parse(baseUnit[..digits], CultureInfo.InvariantCulture);
        foreach (var units in new[] { Bytes, Microseconds })
        {
            if (units.TryGetValue(unit, out var from) && units.TryGetValue(baseUnit[digits..], out var to))
            {
                return from / (to * times);
            }
        }

        return null;
    }
}
