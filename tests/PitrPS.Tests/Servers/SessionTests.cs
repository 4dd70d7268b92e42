using Npgsql;
using PitrPS.Hosts;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Servers;

public class SessionTests
{
    private readonly FakeRemoteHost _fake = new();
    private readonly PgServer _server;

    public SessionTests() => _server = TestServers.On(_fake, "standby") with { Host = _fake.Host };

    [Fact]
    public async Task Psql_runs_as_the_servers_OS_user_and_gets_its_SQL_by_standard_input()
    {
        _fake.On("psql", "");

        await ServerSql.ByPsqlAsync(_server, "SELECT 'geheim'", new SilentFeedback(), default);

        var command = Assert.Single(_fake.Commands);
        Assert.Equal("postgres", command.User);
        Assert.Equal("/usr/lib/postgresql/15/bin/psql", command.Arguments[0]);
        Assert.Contains("-X", command.Arguments);
        Assert.Contains("ON_ERROR_STOP=1", command.Arguments);
        Assert.Contains("search_path=", command.Environment["PGOPTIONS"], StringComparison.Ordinal);
        Assert.DoesNotContain("geheim", command.Display, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_database_whose_name_looks_like_a_connection_string_is_a_name()
    {
        _fake.On("psql", "");
        await using var session = new PsqlSession(_server, "host=evil user='x' \\", new SilentFeedback());

        await session.QueryAsync("SELECT 1", default);

        Assert.Equal(@"dbname='host=evil user=\'x\' \\'", _fake.Commands[0].Arguments[^1]);
    }

    [Fact]
    public async Task A_server_without_a_secret_is_asked_by_psql_and_one_with_a_secret_by_a_forwarded_port()
    {
        await using (var session = await ServerSql.OpenAsync(_server, "postgres", new SilentFeedback(), default))
        {
            Assert.IsType<PsqlSession>(session);
        }

        Assert.Empty(_fake.Forwarded);

        // The fake's forwarded port leads to nobody: then psql again, and no second try at once.
        _fake.WithFile(ProvisionedRole.SecretPathOf(_server), "abc\n");
        var unused = _server with { Port = 1 };
        for (var i = 0; i < 2; i++)
        {
            await using var session = await ServerSql.OpenAsync(unused, "postgres", new SilentFeedback(), default);
            Assert.IsType<PsqlSession>(session);
        }

        Assert.Equal([1], _fake.Forwarded);
    }

    [Fact]
    public async Task A_planned_server_is_not_asked() =>
        Assert.Equal("PitrPS.PlannedObject", (await Assert.ThrowsAsync<PitrException>(() => ServerSql.OpenAsync(_server with { IsPlanned = true }, "postgres", new SilentFeedback(), default))).Id);

    [Fact]
    public void The_provisioned_role_never_sends_its_password_in_the_clear_and_leaves_no_pool()
    {
        var own = new NpgsqlConnectionStringBuilder(NpgsqlSession.ConnectionString(1, "db", new ServerLogin("pitrps", new Secret("p;w"), false)));

        Assert.Equal("ScramSHA256", own.RequireAuth);
        Assert.False(own.Pooling);
        Assert.Equal("PitrPS", own.ApplicationName);
        Assert.Equal("p;w", own.Password);
        Assert.Equal("127.0.0.1", own.Host);
        Assert.Equal("ScramSHA256,MD5", new NpgsqlConnectionStringBuilder(NpgsqlSession.ConnectionString(1, "db", new ServerLogin("x", new Secret("y"), true))).RequireAuth);
    }

    [Fact]
    public async Task A_login_that_failed_rests_a_given_one_stays_and_a_changed_one_is_read_anew()
    {
        _fake.WithFile(ProvisionedRole.SecretPathOf(_server), "one\n");
        var logins = ServerLogins.Of(_fake.Host);
        Assert.Equal("one", (await logins.FindAsync(_server, default))!.Password.Reveal());

        logins.Failed(_server);
        Assert.Null(await logins.FindAsync(_server, default));
        Assert.NotNull(await logins.FindAsync(_server with { Port = 5999 }, default));

        _fake.WithFile(ProvisionedRole.SecretPathOf(_server), "two\n");
        logins.Changed(_server);
        Assert.Equal("two", (await logins.FindAsync(_server, default))!.Password.Reveal());

        logins.Give(_server, "someone", new Secret("three"));
        logins.Changed(_server);
        Assert.Equal(new ServerLogin("someone", (await logins.FindAsync(_server, default))!.Password, true), await logins.FindAsync(_server, default));
    }

    [Theory]
    [InlineData("ActiveState=active\nSubState=running\nResult=success\npid=12\nstarted=1795450430\nstatus=ready\n", true, "Accepting", false)]
    [InlineData("ActiveState=failed\nSubState=failed\nResult=protocol\n", false, "Silent", true)]
    [InlineData("ActiveState=activating\nSubState=start\nResult=success\npid=12\nstatus=starting\n", true, "Rejecting", false)]
    [InlineData("pid=\n", false, "Silent", false)]
    public void Reads_what_a_look_at_a_server_printed(string output, bool running, string readiness, bool failed)
    {
        var probe = ServerProbe.Parse(output);

        Assert.Equal((running, readiness, failed), (probe.IsRunning, probe.Readiness.ToString(), probe.UnitHasFailed));
    }
}
