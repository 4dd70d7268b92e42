using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Tests.Servers;

public class SqlErrorsTests
{
    private static readonly PgServer Server = TestServers.Primary();

    [Fact]
    public void An_error_keeps_its_state_message_detail_and_hint()
    {
        var error = SqlErrors.FromPsql(Server, "db", 3, "psql:<stdin>:8: ERROR:  42P01: relation \"t\" does not exist\nHINT:  look elsewhere\nLOCATION:  parserOpenTable, parse_relation.c:1392\n");

        Assert.Equal("PitrPS.SqlFailed", error.Id);
        Assert.Equal("42P01", error.SqlState());
        Assert.Equal(ErrorKind.ObjectNotFound, error.Kind);
        Assert.Contains("relation \"t\" does not exist HINT:  look elsewhere (SQLSTATE 42P01)", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("LOCATION", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_translated_severity_is_read_as_well() =>
        Assert.Equal("42501", SqlErrors.FromPsql(Server, "db", 3, "FEHLER:  42501: keine Berechtigung\n").SqlState());

    [Theory]
    [InlineData(2, "psql: error: connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: No such file or directory\n\tIs the server running locally and accepting connections on that socket?\n")]
    [InlineData(2, "psql: error: connection to server on socket \"/x\" failed: FATAL:  the database system is starting up\n")]
    [InlineData(2, "FATAL:  57P01: terminating connection due to administrator command\nLOCATION:  ProcessInterrupts, postgres.c:3211\nserver closed the connection unexpectedly\n")]
    [InlineData(2, "WARNING:  57P02: terminating connection because of crash of another server process\nserver closed the connection unexpectedly\n")]
    public void A_server_that_is_not_there_or_goes_away_is_unavailable(int code, string said)
    {
        var error = SqlErrors.FromPsql(Server, "db", code, said);

        Assert.Equal("PitrPS.ServerUnavailable", error.Id);
        Assert.Null(error.SqlState());
        Assert.Contains("postgresql@15-main.service", error.NextStep, StringComparison.Ordinal);
    }

    [Fact]
    public void A_database_that_does_not_exist_is_not_a_server_that_does_not_answer() =>
        Assert.Equal("3D000", SqlErrors.FromPsql(Server, "nodb", 2, "psql: error: connection to server on socket \"/x\" failed: FATAL:  database \"nodb\" does not exist\n").SqlState());

    [Fact]
    public void A_missing_psql_is_said_to_be_missing() =>
        Assert.Equal("PitrPS.PsqlMissing", SqlErrors.FromPsql(Server, "db", 127, "sh: 1: psql: not found").Id);

    [Fact]
    public void A_lock_that_is_held_is_busy() =>
        Assert.Equal(ErrorKind.ResourceBusy, SqlErrors.From(Server, "db", "55P03", "canceling statement due to lock timeout").Kind);
}

/// <summary>Servers as the tests of this folder need them.</summary>
internal static class TestServers
{
    public static PgServer Primary(IRemoteHost? remote = null) => On(remote, "primary") with { IsRunning = true, Role = ServerRole.Primary };

    public static PgServer On(IRemoteHost? remote, string host, int version = 15, string cluster = "main", int port = 5432) => new()
    {
        Host = new PgHost(host, host, 22, "dba", new HostFacts(new DebianPlatform(), "Debian GNU/Linux 12 (bookworm)", "0"), remote!),
        Name = $"{version}/{cluster}",
        Version = version,
        Port = port,
        DataDirectory = $"/var/lib/postgresql/{version}/{cluster}",
        ConfigDirectory = $"/etc/postgresql/{version}/{cluster}",
        BinDirectory = $"/usr/lib/postgresql/{version}/bin",
        ServiceUnit = $"postgresql@{version}-{cluster}.service",
    };
}
