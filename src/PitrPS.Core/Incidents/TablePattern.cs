using System.Text;
using System.Text.RegularExpressions;

namespace PitrPS.Incidents;

/// <summary>
/// A table as a person names it: <c>name</c>, <c>schema.name</c>, with wildcards (* ? [abc]), each part optionally in SQL's double quotes.
/// Without quotes letters match in either case, because SQL folds them; in quotes the name is taken exactly, wildcards and dots too.
/// </summary>
internal sealed class TablePattern
{
    private readonly Regex? _schema;
    private readonly Regex _name;

    private TablePattern(Regex? schema, Regex name)
    {
        _schema = schema;
        _name = name;
    }

    /// <exception cref="PitrException"><c>PitrPS.InvalidTableName</c></exception>
    public static TablePattern Parse(string text)
    {
        var parts = new List<Regex>();
        var at = 0;
        while (true)
        {
            parts.Add(Part(text, ref at));
            if (at == text.Length)
            {
                break;
            }

            if (text[at++] != '.' || at == text.Length || parts.Count == 2)
            {
                throw Invalid(text);
            }
        }

        return parts.Count == 2 ? new TablePattern(parts[0], parts[1]) : new TablePattern(null, parts[0]);
    }

    /// <summary>A pattern for one name on its own, such as a database's.</summary>
    public static Regex Name(string text)
    {
        var at = 0;
        var pattern = text.StartsWith('"') ? Part(text, ref at) : Wildcards(text);
        return text.Length > 0 && (at == text.Length || !text.StartsWith('"')) ? pattern : throw Invalid(text);
    }

    public bool Matches(IncidentTable table) => _name.IsMatch(table.Name) && (_schema is null || _schema.IsMatch(table.Schema));

    private static Regex Part(string text, ref int at)
    {
        var part = new StringBuilder();
        if (at < text.Length && text[at] == '"')
        {
            for (at++; at < text.Length; at++)
            {
                if (text[at] != '"')
                {
                    part.Append(text[at]);
                }
                else if (at + 1 < text.Length && text[at + 1] == '"')
                {
                    part.Append(text[at++]);
                }
                else
                {
                    at++;
                    return part.Length > 0 ? new Regex("^" + Regex.Escape(part.ToString()) + @"\z", RegexOptions.CultureInvariant) : throw Invalid(text);
                }
            }

            throw Invalid(text);
        }

        var end = text.IndexOf('.', at);
        var bare = text[at..(end < 0 ? text.Length : end)];
        if (bare.Length == 0 || bare.Contains('"'))
        {
            throw Invalid(text);
        }

        at += bare.Length;
        return Wildcards(bare);
    }

    private static Regex Wildcards(string text)
    {
        var pattern = new StringBuilder("^");
        for (var i = 0; i < text.Length; i++)
        {
            var close = text[i] == '[' ? text.IndexOf(']', i + 1) : -1;
            if (close > i + 1)
            {
                pattern.Append('[').Append(text[(i + 1)..close].Replace("\\", @"\\", StringComparison.Ordinal).Replace("^", @"\^", StringComparison.Ordinal)).Append(']');
                i = close;
            }
            else
            {
                pattern.Append(text[i] switch { '*' => ".*", '?' => ".", var c => Regex.Escape(c.ToString()) });
            }
        }

        return new Regex(pattern.Append(@"\z").ToString(), RegexOptions.IgnoreCase | RegexOptions.CultureInvariant | RegexOptions.Singleline);
    }

    private static PitrException Invalid(string text) => new("PitrPS.InvalidTableName", ErrorKind.InvalidArgument,
        $"'{text}' is not a table's name.", "Write name, schema.name, or a part in double quotes where it holds a dot or a quote: '\"odd.schema\".\"Name\"'. Wildcards * ? [abc] work outside of quotes.");
}
