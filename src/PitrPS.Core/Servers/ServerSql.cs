using System.Net.Sockets;
using Npgsql;

namespace PitrPS.Servers;

/// <summary>Opens SQL sessions on servers.</summary>
internal static class ServerSql
{
    /// <summary>
    /// A session on one database: by Npgsql where PitrPS has a role (its own, or the one the user gave) and sshd forwards a port, else by psql as the server's OS user.
    /// Several statements in one call are one transaction, and the last one's rows come back;
    /// nothing of a session (SET, temporary tables, locks) may be counted on in the next call.
    /// </summary>
    /// <exception cref="PitrException"><c>PitrPS.PlannedObject</c> for a server that is only planned, <c>PitrPS.VersionUnsupported</c> for one that is too old; what the session throws, see <see cref="ISqlSession"/>.</exception>
    public static async Task<ISqlSession> OpenAsync(PgServer server, string database, IFeedback feedback, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        if (server.IsPlanned)
        {
            throw new PitrException("PitrPS.PlannedObject", ErrorKind.InvalidOperation,
                $"{server.Id} exists only as a plan: it came from a command that ran with -WhatIf, so it cannot be asked anything.",
                "Run the commands before this one without -WhatIf.", server);
        }

        PgVersion.Require(server);
        var logins = ServerLogins.Of(server.Host);
        if (await logins.FindAsync(server, cancel).ConfigureAwait(false) is { } login)
        {
            try
            {
                return await NpgsqlSession.OpenAsync(server, database, login, feedback, cancel).ConfigureAwait(false);
            }
            catch (PostgresException e) when (login.IsGiven || e.SqlState == PostgresErrorCodes.InvalidCatalogName)
            {
                throw SqlErrors.From(server, database, e.SqlState, NpgsqlSession.Message(e), e);
            }
            catch (Exception e) when (e is NpgsqlException or IOException or SocketException or TimeoutException)
            {
                // No forwarding, no such role (a standby that was set up by others), or no server: psql works without the first two, and says the third.
                logins.Failed(server);
                feedback.Verbose($"{server.Id}: no login as {login.User} through SSH ({e.Message.TrimEnd('.')}); goes on with psql.");
            }
        }

        return new PsqlSession(server, database, feedback);
    }

    /// <summary>One query in a session of its own.</summary>
    public static async Task<IReadOnlyList<SqlRow>> QueryAsync(PgServer server, string database, string sql, IFeedback feedback, CancellationToken cancel)
    {
        await using var session = await OpenAsync(server, database, feedback, cancel).ConfigureAwait(false);
        return await session.QueryAsync(sql, cancel).ConfigureAwait(false);
    }

    /// <summary>One query on the database postgres as the server's OS user, whether or not the server has a role for PitrPS.</summary>
    public static async Task<IReadOnlyList<SqlRow>> ByPsqlAsync(PgServer server, string sql, IFeedback feedback, CancellationToken cancel)
    {
        await using var session = new PsqlSession(server, "postgres", feedback);
        return await session.QueryAsync(sql, cancel).ConfigureAwait(false);
    }
}
