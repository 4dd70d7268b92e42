using System.Text.RegularExpressions;

namespace PitrPS.Servers;

/// <summary>What PostgreSQL says when it refuses, as our errors; the same for both ways to a server.</summary>
internal static partial class SqlErrors
{
    private const string StateKey = "SqlState";

    /// <summary>The SQLSTATE of a <c>PitrPS.SqlFailed</c>; null for any other error.</summary>
    public static string? SqlState(this PitrException error) => error.Data[StateKey] as string;

    /// <param name="server">The server.</param>
    /// <param name="database">The database.</param>
    /// <param name="state">Five characters (PostgreSQL documentation, appendix "PostgreSQL Error Codes").</param>
    /// <param name="message">The primary message, with detail and hint.</param>
    /// <param name="inner">The cause.</param>
    public static PitrException From(PgServer server, string database, string state, string message, Exception? inner = null)
    {
        if (MeansUnavailable(state))
        {
            return Unavailable(server, message, inner);
        }

        var error = new PitrException("PitrPS.SqlFailed", Kind(state),
            $"{server.Id}, database {database}: {message} (SQLSTATE {state})", NextStep(state), server, inner);
        error.Data[StateKey] = state;
        return error;
    }

    public static PitrException Unavailable(PgServer server, string why, Exception? inner = null) =>
        new("PitrPS.ServerUnavailable", ErrorKind.ResourceUnavailable, $"The server {server.Id} does not answer on port {server.Port}: {why}",
            server.ServiceUnit is { } unit
                ? $"Look at it with 'systemctl status {unit}' and its log on {server.Host.Name}; start it with 'systemctl start {unit}' if it is stopped."
                : $"Look at its log on {server.Host.Name} and start it if it is stopped.", server, inner);

    /// <summary>Reads what psql with VERBOSITY verbose wrote to standard error.</summary>
    public static PitrException FromPsql(PgServer server, string database, int exitCode, string said)
    {
        var found = Reported().Match(said);
        if (found.Success)
        {
            var message = string.Join(" ", Lines(said[found.Groups[2].Index..]));
            return From(server, database, found.Groups[1].Value, message);
        }

        if (exitCode is 127 or 126)
        {
            return new PitrException("PitrPS.PsqlMissing", ErrorKind.NotInstalled, $"psql cannot be run on {server.Host.Name}: {said.Trim()}",
                $"Install the client programs of PostgreSQL {server.Version} on it.", server);
        }

        // At the connection's start libpq has no SQLSTATE to show; exit code 2 is psql's "connection went bad".
        if (NoDatabase().IsMatch(said))
        {
            return From(server, database, "3D000", string.Join(" ", Lines(said)));
        }

        return exitCode == 2
            ? Unavailable(server, string.Join(" ", Lines(said)))
            : From(server, database, "XX000", said.Trim().Length > 0 ? string.Join(" ", Lines(said)) : $"psql ended with {exitCode} and said nothing");
    }

    // Class 08 is a connection exception; 57P01 to 57P03: shutting down, crashed, starting up.
    private static bool MeansUnavailable(string state) =>
        state.StartsWith("08", StringComparison.Ordinal) || state is "57P01" or "57P02" or "57P03";

    private static ErrorKind Kind(string state) => state switch
    {
        "42501" => ErrorKind.PermissionDenied,
        "55P03" or "55006" => ErrorKind.ResourceBusy,
        "3D000" or "42P01" or "42704" or "42883" or "3F000" => ErrorKind.ObjectNotFound,
        _ when state.StartsWith("28", StringComparison.Ordinal) => ErrorKind.AuthenticationError,
        _ when state.StartsWith("53", StringComparison.Ordinal) => ErrorKind.ResourceUnavailable,
        _ => ErrorKind.InvalidResult,
    };

    private static string NextStep(string state) => state switch
    {
        "55P03" => "Another session holds the lock. See pg_stat_activity and pg_locks for whose it is, end or wait for it, and run the same command again.",
        "25006" => "The server is a standby or read-only. Give the primary instead.",
        "3D000" => "Look with 'psql -l' on the host for the database's name.",
        "53300" => "All connections of the server are taken. End some, or raise max_connections, and run the same command again.",
        _ when state.StartsWith("28", StringComparison.Ordinal) => "Look at pg_hba.conf and at the role's password, or give another -DatabaseCredential.",
        _ => "Mend on the server what the message says, and run the same command again: it goes on where it stopped.",
    };

    private static IEnumerable<string> Lines(string said) =>
        said.Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0 && !l.StartsWith("LOCATION:", StringComparison.Ordinal) && l != "^");

    // "ERROR:  42P01: relation ...", with "psql:<stdin>:5: " before it or not; the severity may be translated.
    [GeneratedRegex(@"^(?:psql:\S+ )?(?!WARNING|NOTICE)\p{L}+:  ([0-9A-Z]{5}): (.)", RegexOptions.Multiline | RegexOptions.CultureInvariant)]
    private static partial Regex Reported();

    [GeneratedRegex("database \".*\" does not exist", RegexOptions.CultureInvariant)]
    private static partial Regex NoDatabase();
}
