using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Npgsql;
using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>
/// SQL by Npgsql through a port that SSH forwards to the server's own loopback. One connection, never pooled; between calls it is as if it were new,
/// so that nothing works here that does not work by psql.
/// </summary>
internal sealed class NpgsqlSession : ISqlSession
{
    // A link that hangs says nothing: while a query takes long, the host is asked whether it is there.
    private static readonly TimeSpan AskEvery = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ClosingLimit = TimeSpan.FromSeconds(1);

    private readonly PgServer _server;
    private readonly NpgsqlDataSource _source;
    private readonly NpgsqlConnection _connection;
    private readonly IForwardedPort _port;
    private readonly IFeedback _feedback;
    private bool _isUsed;

    private NpgsqlSession(PgServer server, string database, NpgsqlDataSource source, NpgsqlConnection connection, IForwardedPort port, IFeedback feedback)
    {
        (_server, Database, _source, _connection, _port, _feedback) = (server, database, source, connection, port, feedback);
    }

    public string Database { get; }

    /// <summary>Opens the connection. Refusals are <see cref="PostgresException"/>, a port that leads nowhere <see cref="NpgsqlException"/>: the caller decides about another way.</summary>
    public static async Task<NpgsqlSession> OpenAsync(PgServer server, string database, ServerLogin login, IFeedback feedback, CancellationToken cancel)
    {
        var port = await server.Host.Remote.ForwardAsync(server.Port, cancel).ConfigureAwait(false);
        var source = Source(port.LocalPort, database, login);
        try
        {
            var connection = await source.OpenConnectionAsync(cancel).AsTask().WaitAsync(cancel).ConfigureAwait(false);
            return new NpgsqlSession(server, database, source, connection, port, feedback);
        }
        catch
        {
            await source.DisposeAsync().ConfigureAwait(false);
            await port.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    // Every value comes as text, so the server's types need not be looked up.
    private static NpgsqlDataSource Source(int localPort, string database, ServerLogin login)
    {
        var builder = new NpgsqlSlimDataSourceBuilder(ConnectionString(localPort, database, login));
        builder.EnableTransportSecurity();
        builder.ConfigureTypeLoading(types => types.EnableTypeLoading(false));
        return builder.Build();
    }

    /// <summary>Nothing in it depends on the environment of the client.</summary>
    internal static string ConnectionString(int localPort, string database, ServerLogin login) => new NpgsqlConnectionStringBuilder
    {
        Host = "127.0.0.1",
        Port = localPort,
        Database = database,
        Username = login.User,
        Password = login.Password.Reveal(),
        ApplicationName = SqlDefaults.ApplicationName,
        Options = SqlDefaults.Options,
        Timezone = "UTC",
        ClientEncoding = "UTF8",
        Pooling = false,
        Enlist = false,
        Timeout = 10,
        CommandTimeout = 0,
        CancellationTimeout = 500,
        IncludeErrorDetail = true,
        GssEncryptionMode = GssEncryptionMode.Disable,

        // The way is inside SSH up to the host itself. Whoever else may listen on that port there must not get a password in the clear.
        SslMode = login.IsGiven ? SslMode.Prefer : SslMode.Disable,
        RequireAuth = login.IsGiven ? "ScramSHA256,MD5" : "ScramSHA256",
    }.ConnectionString;

    public async Task<IReadOnlyList<SqlRow>> QueryAsync(string sql, CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var query = ReadAsync(sql, stop.Token);
        try
        {
            while (await Task.WhenAny(query, Task.Delay(AskEvery, cancel)).ConfigureAwait(false) != query)
            {
                cancel.ThrowIfCancellationRequested();
                await _server.Host.Remote.RunAsync(RemoteCommand.Of("true"), cancel).ConfigureAwait(false);
            }

            var rows = await query.ConfigureAwait(false);
            _feedback.Verbose(string.Create(CultureInfo.InvariantCulture, $"{_server.Id}: SQL on {Database} ({rows.Count} rows, {watch.ElapsedMilliseconds} ms)"));
            return rows;
        }
        catch (PostgresException e)
        {
            throw SqlErrors.From(_server, Database, e.SqlState, Message(e), e);
        }
        catch (Exception e) when (e is NpgsqlException or IOException or SocketException or ObjectDisposedException)
        {
            // If it is the host that has gone, this says so.
            await _server.Host.Remote.RunAsync(RemoteCommand.Of("true"), cancel).ConfigureAwait(false);
            throw SqlErrors.Unavailable(_server, e.Message, e);
        }
        finally
        {
            if (!query.IsCompleted)
            {
                await stop.CancelAsync().ConfigureAwait(false);
                _ = query.ContinueWith(t => t.Exception, TaskScheduler.Default);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            await _connection.CloseAsync().WaitAsync(ClosingLimit).ConfigureAwait(false);
        }
        catch (Exception e) when (e is TimeoutException or NpgsqlException or IOException or InvalidOperationException)
        {
            // The server notices by itself when the forwarded port is closed.
        }

        await _source.DisposeAsync().ConfigureAwait(false);
        await _port.DisposeAsync().ConfigureAwait(false);
    }

    internal static string Message(PostgresException e) =>
        string.Join(" ", new[] { e.MessageText, e.Detail is null ? null : "DETAIL: " + e.Detail, e.Hint is null ? null : "HINT: " + e.Hint }.OfType<string>());

    private async Task<IReadOnlyList<SqlRow>> ReadAsync(string sql, CancellationToken cancel)
    {
        if (_isUsed)
        {
            await using var discard = new NpgsqlCommand("DISCARD ALL", _connection);
            await discard.ExecuteNonQueryAsync(cancel).ConfigureAwait(false);
        }

        _isUsed = true;
        await using var command = new NpgsqlCommand(sql, _connection) { AllResultTypesAreUnknown = true };
        await using var reader = await command.ExecuteReaderAsync(cancel).ConfigureAwait(false);
        List<SqlRow> rows;
        do
        {
            rows = [];
            while (await reader.ReadAsync(cancel).ConfigureAwait(false))
            {
                var values = new string?[reader.FieldCount];
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = await reader.IsDBNullAsync(i, cancel).ConfigureAwait(false) ? null : reader.GetString(i);
                }

                rows.Add(new SqlRow(values));
            }
        }
        while (await reader.NextResultAsync(cancel).ConfigureAwait(false));
        return rows;
    }
}
