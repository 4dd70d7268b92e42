using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>
/// SQL by psql as the database's OS user over SSH: works on servers that nobody has prepared, on hot standbys, and where sshd forwards nothing.
/// Each call is a session of its own; nothing that is SET or opened lives on to the next.
/// </summary>
internal sealed class PsqlSession(PgServer server, string database, IFeedback feedback) : ISqlSession
{
    // A query's own limits are the server's (lock_timeout) and the caller's token; this only ends what nobody waits for any more.
    private static readonly TimeSpan Limit = TimeSpan.FromHours(24);

    public string Database { get; } = database;

    public async Task<IReadOnlyList<SqlRow>> QueryAsync(string sql, CancellationToken cancel)
    {
        var mark = PsqlProtocol.NewMark();
        var result = await server.Host.Remote.RunAsync(Command(server, Database).WithInput(PsqlProtocol.Script(sql, mark)), cancel).ConfigureAwait(false);
        if (!result.Succeeded)
        {
            throw SqlErrors.FromPsql(server, Database, result.ExitCode, result.ErrorOutput);
        }

        if (result.ErrorOutput.Trim() is { Length: > 0 } said)
        {
            feedback.Verbose($"{server.Id}: psql: {said}");
        }

        return PsqlProtocol.Parse(result.Output, mark);
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    /// <summary>psql with nothing in its arguments but where the server is.</summary>
    public static RemoteCommand Command(PgServer server, string database) =>
        RemoteCommand.Of(server.Program("psql"), "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1",
            "-h", server.SocketDirectory, "-p", server.Port.ToString(System.Globalization.CultureInfo.InvariantCulture), "-d", ConnectionString(database, server.SocketRole)) with
        {
            User = server.OsUser,
            Timeout = Limit,
            Environment = new Dictionary<string, string>
            {
                ["PGAPPNAME"] = SqlDefaults.ApplicationName,
                ["PGCLIENTENCODING"] = "UTF8",
                ["PGCONNECT_TIMEOUT"] = "10",
                ["PGOPTIONS"] = SqlDefaults.Options,
            },
        };

    // A bare name with '=' or a URI's beginning in it would be read as a connection string.
    public static string ConnectionString(string database, string? role) => "dbname=" + Quote(database) + (role is null ? "" : " user=" + Quote(role));

    private static string Quote(string value) => "'" + value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("'", "\\'", StringComparison.Ordinal) + "'";
}
