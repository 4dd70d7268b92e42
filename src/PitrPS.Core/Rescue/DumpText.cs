using System.Globalization;
using System.Text.RegularExpressions;

namespace PitrPS.Rescue;

/// <summary>One entry of a plain dump: an object, or a comment, grant or label of one.</summary>
/// <param name="Id">pg_dump's number for it in this dump.</param>
/// <param name="ClassId">The catalog of the object (pg_depend's classid); 0 for what belongs to another entry.</param>
/// <param name="Oid">The object's oid.</param>
/// <param name="Dependencies">The entries that it belongs to, where pg_dump says so.</param>
/// <param name="Title">Its name, with schema, for people only.</param>
/// <param name="Type">TABLE, INDEX, ACL, COMMENT and so on.</param>
/// <param name="Tablespace">The default_tablespace that the statements want; null where none was named.</param>
/// <param name="AccessMethod">The default_table_access_method that they want.</param>
/// <param name="Statements">Whole statements.</param>
internal sealed record DumpEntry(int Id, uint ClassId, uint Oid, IReadOnlyList<int> Dependencies, string Title, string Type, string? Tablespace, string? AccessMethod, string Statements);

/// <summary>
/// Takes the text of <c>pg_dump --schema-only --verbose</c> apart into its entries, each with the catalog and oid of its object, so that what is wanted
/// is chosen by oid and never by a name. Source of the form: src/bin/pg_dump/pg_backup_archiver.c, _printTocEntry.
/// The statements are run as superuser: an entry's beginning counts only outside of quotes and comments, where a table's owner can write nothing.
/// </summary>
internal static partial class DumpText
{
    public static IReadOnlyList<DumpEntry> Parse(string dump)
    {
        var text = dump.Replace("\r\n", "\n", StringComparison.Ordinal);
        var heads = new List<Match>();
        var end = text.Length;
        int? completed = null;
        foreach (var at in Marks(text).Where(m => text[m] == '-'))
        {
            if (At(Head(), text, at) is { } head)
            {
                heads.Add(head);
            }
            else if (string.CompareOrdinal(text, at, "-- TOC entry ", 0, 13) == 0 && !(heads.Count > 0 && at < heads[^1].Index + heads[^1].Length))
            {
                throw Unreadable("an entry does not begin as pg_dump writes it");
            }
            else if (Follows(text, at, "-- Completed on "))
            {
                completed = at;
            }
            else if (At(Tail(), text, at) is not null)
            {
                end = completed ?? at;
                break;
            }
        }

        if (end == text.Length)
        {
            throw Unreadable("its end is missing");
        }

        var entries = new List<DumpEntry>();
        string? tablespace = null;
        string? method = null;
        TakeSettings(text[..(heads.Count > 0 ? heads[0].Index : end)], ref tablespace, ref method);
        for (var i = 0; i < heads.Count; i++)
        {
            var head = heads[i];
            var from = head.Index + head.Length;
            var (wanted, wantedMethod) = (tablespace, method);
            // pg_dump changes these settings before the head of the entry that needs them, that is at the end of the one before.
            var statements = TakeSettings(text[from..(i + 1 < heads.Count ? heads[i + 1].Index : end)], ref tablespace, ref method);
            entries.Add(new DumpEntry(
                Number(head.Groups["id"]), (uint)Number(head.Groups["class"]), uint.Parse(head.Groups["oid"].ValueSpan, CultureInfo.InvariantCulture),
                [.. head.Groups["on"].Value.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(d => int.Parse(d, CultureInfo.InvariantCulture))],
                head.Groups["schema"].Value is "-" ? head.Groups["name"].Value : $"{head.Groups["schema"].Value}.{head.Groups["name"].Value}", head.Groups["type"].Value, wanted, wantedMethod, statements.Trim()));
        }

        return entries;
    }

    /// <summary>The statements one by one; those between SET and RESET SESSION AUTHORIZATION stay together, because they only make sense so.</summary>
    public static IReadOnlyList<string> Split(string statements)
    {
        var found = new List<string>();
        var from = 0;
        foreach (var at in Marks(statements).Where(m => statements[m] == ';'))
        {
            var statement = statements[from..(at + 1)].Trim();
            from = at + 1;
            if (found.Count > 0 && found[^1].StartsWith(Become, StringComparison.Ordinal) && !found[^1].EndsWith("\nRESET SESSION AUTHORIZATION;", StringComparison.Ordinal))
            {
                found[^1] += "\n" + statement;
            }
            else
            {
                found.Add(statement);
            }
        }

        return found;
    }

    private const string Become = "SET SESSION AUTHORIZATION ";

    /// <summary>The beginnings of all "--" comments at the start of a line, and all semicolons, outside of quotes and other comments.</summary>
    private static IEnumerable<int> Marks(string text)
    {
        for (var i = 0; i < text.Length;)
        {
            var c = text[i];
            if (c == '-' && Follows(text, i, "--"))
            {
                if (i == 0 || text[i - 1] == '\n')
                {
                    yield return i;
                }

                i = After(text, "\n", i);
            }
            else if (c == '/' && Follows(text, i, "/*"))
            {
                i = AfterComment(text, i);
            }
            else if (c == '\'')
            {
                i = AfterQuote(text, i, backslashes: i > 0 && text[i - 1] is 'E' or 'e' && (i < 2 || !IsWord(text[i - 2])));
            }
            else if (c == '"')
            {
                i = AfterQuote(text, i, backslashes: false);
            }
            else if (c == '$' && (i == 0 || !IsWord(text[i - 1])) && At(DollarQuote(), text, i) is { } quote)
            {
                i = After(text, quote.Value, i + quote.Length);
            }
            else
            {
                if (c == ';')
                {
                    yield return i;
                }

                i++;
            }
        }
    }

    private static int AfterQuote(string text, int start, bool backslashes)
    {
        // A doubled quote ends one and begins the next: the same to us.
        for (var i = start + 1; i < text.Length; i++)
        {
            if (backslashes && text[i] == '\\')
            {
                i++;
            }
            else if (text[i] == text[start])
            {
                // After E'…' a doubled quote goes on with backslashes.
                if (backslashes && i + 1 < text.Length && text[i + 1] == text[start])
                {
                    i++;
                    continue;
                }

                return i + 1;
            }
        }

        throw Unreadable("a quote has no end");
    }

    private static int AfterComment(string text, int start)
    {
        var depth = 0;
        for (var i = start; i < text.Length - 1; i++)
        {
            if (Follows(text, i, "/*"))
            {
                depth++;
                i++;
            }
            else if (Follows(text, i, "*/"))
            {
                i++;
                if (--depth == 0)
                {
                    return i + 1;
                }
            }
        }

        throw Unreadable("a comment has no end");
    }

    private static int After(string text, string what, int from) =>
        text.IndexOf(what, from, StringComparison.Ordinal) is >= 0 and var at ? at + what.Length : what == "\n" ? text.Length : throw Unreadable("a quote has no end");

    private static string TakeSettings(string statements, ref string? tablespace, ref string? method)
    {
        var rest = statements.TrimEnd();
        string? newTablespace = null;
        string? newMethod = null;
        while (true)
        {
            if (Tablespace().Match(rest) is { Success: true } t)
            {
                newTablespace ??= Unquoted(t.Groups[1].Value);
                rest = rest[..t.Index].TrimEnd();
            }
            else if (Method().Match(rest) is { Success: true } m)
            {
                newMethod ??= Unquoted(m.Groups[1].Value);
                rest = rest[..m.Index].TrimEnd();
            }
            else
            {
                break;
            }
        }

        tablespace = newTablespace ?? tablespace;
        method = newMethod ?? method;
        return rest;
    }

    private static string Unquoted(string word) =>
        word == "''" ? "" : word.StartsWith('"') ? word[1..^1].Replace("\"\"", "\"", StringComparison.Ordinal) : word;

    private static Match? At(Regex regex, string text, int at) => regex.Match(text, at) is { Success: true } match && match.Index == at ? match : null;

    private static bool Follows(string text, int at, string what) => string.CompareOrdinal(text, at, what, 0, what.Length) == 0;

    private static bool IsWord(char c) => char.IsLetterOrDigit(c) || c is '_' or '$' || c > 127;

    private static int Number(Group group) => int.Parse(group.ValueSpan, CultureInfo.InvariantCulture);

    private static PitrException Unreadable(string why) => new("PitrPS.DefinitionUnreadable", ErrorKind.InvalidData,
        $"What pg_dump wrote about the recovered server's objects cannot be read: {why}.",
        "Nothing was changed. Update PostgreSQL on the standby to its latest minor release, and run the same command again.");

    [GeneratedRegex("""\G--\n-- TOC entry (?<id>\d+) \(class (?<class>\d+) OID (?<oid>\d+)\)\n(?:-- Dependencies:(?<on>(?: \d+)*)\n)?-- (?:\w+ for )?Name: (?<name>[^\n]*); Type: (?<type>[A-Z ]+); Schema: (?<schema>[^\n]*?); Owner: [^\n]*\n--\n\n""", RegexOptions.CultureInvariant)]
    private static partial Regex Head();

    [GeneratedRegex("""\G--\n-- PostgreSQL database dump complete\n--\n""", RegexOptions.CultureInvariant)]
    private static partial Regex Tail();

    [GeneratedRegex("""\G\$(?:[A-Za-z_\u0080-\uFFFF][A-Za-z0-9_\u0080-\uFFFF]*)?\$""", RegexOptions.CultureInvariant)]
    private static partial Regex DollarQuote();

    [GeneratedRegex("""(?:^|\n)SET default_tablespace = ([^\n]*);$""", RegexOptions.CultureInvariant | RegexOptions.RightToLeft)]
    private static partial Regex Tablespace();

    [GeneratedRegex("""(?:^|\n)SET default_table_access_method = ([^\n]*);$""", RegexOptions.CultureInvariant | RegexOptions.RightToLeft)]
    private static partial Regex Method();
}
