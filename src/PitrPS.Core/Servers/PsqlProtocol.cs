using System.Security.Cryptography;
using System.Text;

namespace PitrPS.Servers;

/// <summary>
/// How a statement goes into psql and how rows come out, so that newlines, tabs, quotes, empty strings and NULL all survive.
/// Records end with a zero byte, which no PostgreSQL value can hold; fields and NULL are marked by a random word made for each call.
/// </summary>
internal static class PsqlProtocol
{
    public static string NewMark() => RandomNumberGenerator.GetHexString(16, lowercase: true);

    /// <summary>
    /// The script for psql's standard input. The statement is handed to \gexec as a literal, so that psql itself reads nothing in it
    /// (no variables, no backslash commands), and several statements go to the server in one message: one transaction, as Npgsql does it.
    /// </summary>
    public static string Script(string sql, string mark) =>
        $$"""
        \set QUIET on
        \set VERBOSITY verbose
        \set SHOW_ALL_RESULTS off
        \pset pager off
        \pset fieldsep '{{FieldSeparator(mark)}}'
        \pset recordsep_zero
        \pset null '{{Null(mark)}}'
        SELECT {{Sql.Literal(sql)}} \gexec

        """;

    public static IReadOnlyList<SqlRow> Parse(string output, string mark)
    {
        var rows = new List<SqlRow>();
        var start = 0;
        for (int end; (end = output.IndexOf('\0', start)) >= 0; start = end + 1)
        {
            var values = output[start..end].Split(FieldSeparator(mark), StringSplitOptions.None);
            rows.Add(new SqlRow([.. values.Select(v => v == Null(mark) ? null : v)]));
        }

        return start == output.Length
            ? rows
            : throw new PitrException("PitrPS.RemoteOutputUnreadable", ErrorKind.InvalidResult,
                $"psql's output ends in the middle of a row: {Tail(output[start..])}", "Run the same command again with -Verbose, and look at psql on the host.");
    }

    private static string FieldSeparator(string mark) => "<" + mark + "|";

    private static string Null(string mark) => "<" + mark + "~";

    private static string Tail(string text) => text.Length <= 80 ? text : text[..80] + "…";
}
