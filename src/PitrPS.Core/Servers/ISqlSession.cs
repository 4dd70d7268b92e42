namespace PitrPS.Servers;

/// <summary>
/// SQL on one database of one server. Two ways lie behind it: Npgsql through an SSH-forwarded port, and psql as the database's OS user over SSH.
/// Both set lock_timeout, an empty search_path and UTC, and give every value as PostgreSQL's own text.
/// </summary>
internal interface ISqlSession : IAsyncDisposable
{
    string Database { get; }

    /// <summary>Runs one statement (or several, of which the last has the rows). Text in it is quoted by <see cref="Sql"/>, nowhere else.</summary>
    /// <exception cref="PitrException"><c>PitrPS.SqlFailed</c> with PostgreSQL's message and SQLSTATE, <c>PitrPS.ServerUnavailable</c> when it does not answer.</exception>
    Task<IReadOnlyList<SqlRow>> QueryAsync(string sql, CancellationToken cancel);
}

/// <summary>One row; values are PostgreSQL's text, null for NULL.</summary>
internal sealed record SqlRow(IReadOnlyList<string?> Values)
{
    public string? this[int column] => Values[column];

    public string Text(int column) => Values[column] ?? throw new InvalidOperationException($"Column {column} is NULL.");

    public bool Flag(int column) => Values[column] == "t";

    public long Number(int column) => long.Parse(Text(column), System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>The one place where anything is quoted for SQL.</summary>
internal static class Sql
{
    /// <summary>A literal that means the same whatever standard_conforming_strings says.</summary>
    public static string Literal(string text)
    {
        RefuseNul(text);
        var quoted = "'" + text.Replace("'", "''", StringComparison.Ordinal) + "'";
        return text.Contains('\\') ? " E" + quoted.Replace("\\", "\\\\", StringComparison.Ordinal) : quoted;
    }

    /// <summary>An identifier, always in double quotes.</summary>
    public static string Identifier(string name)
    {
        RefuseNul(name);
        return "\"" + name.Replace("\"", "\"\"", StringComparison.Ordinal) + "\"";
    }

    /// <summary>schema.name, both in double quotes.</summary>
    public static string Qualified(string schema, string name) => Identifier(schema) + "." + Identifier(name);

    private static void RefuseNul(string text)
    {
        if (text.Contains('\0'))
        {
            throw new PitrException("PitrPS.InvalidText", ErrorKind.InvalidArgument, "A name or text for SQL holds a NUL character.", "Remove it from the name that was given.");
        }
    }
}
