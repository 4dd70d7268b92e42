namespace PitrPS.Servers;

/// <summary>Opens SQL sessions on servers.</summary>
internal static class ServerSql
{
    /// <summary>
    /// A session on one database. Several statements in one call are one transaction, and the last one's rows come back;
    /// nothing of a session (SET, temporary tables, locks) may be counted on in the next call.
    /// </summary>
    /// <exception cref="PitrException"><c>PitrPS.PlannedObject</c> for a server that is only planned; what the session throws, see <see cref="ISqlSession"/>.</exception>
    public static Task<ISqlSession> OpenAsync(PgServer server, string database, IFeedback feedback, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        if (server.IsPlanned)
        {
            throw new PitrException("PitrPS.PlannedObject", ErrorKind.InvalidOperation,
                $"{server.Id} exists only as a plan: it came from a command that ran with -WhatIf, so it cannot be asked anything.",
                "Run the commands before this one without -WhatIf.", server);
        }

        return Task.FromResult<ISqlSession>(new PsqlSession(server, database, feedback));
    }

    /// <summary>One query on the database postgres as the server's OS user, whether or not the server has a role for PitrPS.</summary>
    public static async Task<IReadOnlyList<SqlRow>> ByPsqlAsync(PgServer server, string sql, IFeedback feedback, CancellationToken cancel)
    {
        await using var session = new PsqlSession(server, "postgres", feedback);
        return await session.QueryAsync(sql, cancel).ConfigureAwait(false);
    }

    /// <summary>One query in a session of its own.</summary>
    public static async Task<IReadOnlyList<SqlRow>> QueryAsync(PgServer server, string database, string sql, IFeedback feedback, CancellationToken cancel)
    {
        await using var session = await OpenAsync(server, database, feedback, cancel).ConfigureAwait(false);
        return await session.QueryAsync(sql, cancel).ConfigureAwait(false);
    }
}
