using PitrPS.LabTests.Infrastructure;
using PitrPS.Servers;

namespace PitrPS.LabTests.Servers;

/// <summary>The two ways to a server's SQL, as the rest of the module uses them.</summary>
public sealed class SqlWaysTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>, IDisposable
{
    // Imports the module, whose types the tests speak to.
    private readonly PowerShellEngine _engine = new();

    public void Dispose() => _engine.Dispose();

    private const string Npgsql = nameof(NpgsqlSession);
    private const string Psql = nameof(PsqlSession);

    [LabTheory]
    [InlineData("SELECT 1, NULL, ''")]
    [InlineData("SELECT E'a\\nb\\r\\n\\tc', 'it''s \"quoted\"', E'back\\\\slash', ' both ends ', E'\\x1f\\x1e\\x01'")]
    [InlineData("SELECT 'grün ☃ 𝄞', U&'\\00e9', chr(8232)")]
    [InlineData("SELECT '\\xdeadbeef00'::bytea, ''::bytea, ARRAY[1,NULL,3], ARRAY['a,b','c\"d',NULL], '{}'::text[]")]
    [InlineData("SELECT timestamptz '2026-11-23 12:34:56.789+02', timestamp '0044-03-15 BC', interval '1 mon -3 days 04:05:06', date '1999-01-08', time '04:05'")]
    [InlineData("SELECT true, false, 1.10::numeric, 1e300::float8, 'NaN'::float8, 0.1::float4, -5::int8, '7/1A'::pg_lsn, 726::text::xid")]
    [InlineData("SELECT '{\"a\": [1, null]}'::jsonb, ROW(1,NULL,'x y'), int4range(1,5), '10.0.0.1/32'::inet, 'a'::\"char\"")]
    [InlineData("SELECT generate_series(1, 3), NULL UNION ALL SELECT NULL, 4")]
    [InlineData("SELECT 1 WHERE false")]
    [InlineData("SHOW search_path")]
    [InlineData("SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout','TimeZone','DateStyle','client_encoding','statement_timeout','standard_conforming_strings','extra_float_digits') ORDER BY 1")]
    [InlineData("CREATE TEMP TABLE t (i int); INSERT INTO t VALUES (1), (2); SELECT count(*) FROM t")]
    [InlineData("DO $x$ BEGIN PERFORM 1; END $x$")]
    [InlineData("SELECT (ARRAY[10,20,30])[2:3], 'a' ~ E'\\\\w', $tag$ ; :name 'x' $tag$, '%s @p :x \\d'")]
    public void Give_the_same_text(string sql)
    {
        var (way, rows) = Query(sql);
        Assert.Equal(Npgsql, way);
        Assert.Equal(ByPsql(sql), rows);
    }

    [LabTheory]
    [InlineData("SELECT 1 FROM no_such_table", "42P01")]
    [InlineData("SELECT 1/0", "22012")]
    [InlineData("DO $$ BEGIN RAISE EXCEPTION 'boo' USING DETAIL = 'dd', HINT = 'hh', ERRCODE = 'P0042'; END $$", "P0042")]
    [InlineData("CREATE TABLE public.half (i int); SELECT 1/0", "22012")]
    public void Give_the_same_error(string sql, string state)
    {
        var byNpgsql = Assert.Throws<PitrException>(() => Query(sql));
        var byPsql = Assert.Throws<PitrException>(() => ByPsql(sql));
        Assert.Equal("PitrPS.SqlFailed", byNpgsql.Id);
        Assert.Equal("PitrPS.SqlFailed", byPsql.Id);
        Assert.Contains($"(SQLSTATE {state})", byNpgsql.Message, StringComparison.Ordinal);
        Assert.Contains($"(SQLSTATE {state})", byPsql.Message, StringComparison.Ordinal);
        Assert.Equal("0", hosts.Lab.Psql(Lab.Primary, "SELECT count(*) FROM pg_class WHERE relname = 'half'"));
    }

    [LabFact]
    public void Leave_no_connection_behind()
    {
        Query("SELECT 1");
        for (var i = 0; i < 50 && Connections() != "0"; i++)
        {
            Thread.Yield();
        }

        Assert.Equal("0", Connections());
    }

    [LabFact]
    public async Task What_a_call_sets_is_gone_in_the_next()
    {
        await using var session = await ServerSql.OpenAsync(Server("$primary"), "postgres", Quiet.Feedback, CancellationToken.None);
        await session.QueryAsync("SET lock_timeout = '1s'; CREATE TEMP TABLE mine (i int)", CancellationToken.None);
        Assert.Equal([["10s", null]], Rows(await session.QueryAsync("SELECT current_setting('lock_timeout'), to_regclass('pg_temp.mine')", CancellationToken.None)));
    }

    [LabFact]
    public void Goes_on_by_psql_where_sshd_forwards_nothing()
    {
        hosts.Lab.Shell(Lab.Standby, "echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/00-test.conf && systemctl reload ssh");
        try
        {
            using var engine = hosts.NewSession();
            var (way, rows) = Query("SELECT 'still here'", engine, "$standby");
            Assert.Equal(Psql, way);
            Assert.Equal([["still here"]], rows);
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, "rm /etc/ssh/sshd_config.d/00-test.conf && systemctl reload ssh");
        }
    }

    [LabFact]
    public void Takes_the_credential_that_the_user_gave_and_shows_it_to_nobody()
    {
        hosts.Lab.Psql(Lab.Primary, "DROP ROLE IF EXISTS someone; CREATE ROLE someone LOGIN PASSWORD 'only-for-this-test'");
        using var engine = hosts.NewSession();
        const string Give = "($primary = $primaryHost | Get-PgServer -DatabaseCredential ([pscredential]::new('someone', $secure)))";
        var server = engine.Run(Give, ("secure", Secure("only-for-this-test"))).Single();

        var (way, rows) = Query("SELECT current_user", engine);
        Assert.Equal(Npgsql, way);
        Assert.Equal([["someone"]], rows);
        Assert.DoesNotContain("only-for-this-test", System.Management.Automation.PSSerializer.Serialize(server, 6), StringComparison.Ordinal);

        engine.Run(Give, ("secure", Secure("wrong"))).ThrowOnError();
        var refused = Assert.Throws<PitrException>(() => Query("SELECT 1", engine));
        Assert.Contains("(SQLSTATE 28P01)", refused.Message, StringComparison.Ordinal);
    }

    [LabFact]
    public void A_server_that_is_stopped_is_unavailable()
    {
        hosts.Lab.Shell(Lab.Standby, "systemctl stop postgresql@15-main");
        try
        {
            Assert.Equal("PitrPS.ServerUnavailable", Assert.Throws<PitrException>(() => Query("SELECT 1", server: "$standby")).Id);
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, "systemctl start postgresql@15-main");
        }
    }

    private string Connections() => hosts.Lab.Psql(Lab.Primary, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'PitrPS'");

    private (string Way, List<List<string?>> Rows) Query(string sql, PowerShellEngine? engine = null, string server = "$primary")
    {
        var session = Wait(ServerSql.OpenAsync(Server(server, engine), "postgres", Quiet.Feedback, CancellationToken.None));
        try
        {
            return (session.GetType().Name, Rows(Wait(session.QueryAsync(sql, CancellationToken.None))));
        }
        finally
        {
            session.DisposeAsync().AsTask().Wait();
        }
    }

    private List<List<string?>> ByPsql(string sql) => Rows(Wait(ServerSql.ByPsqlAsync(Server("$primary"), sql, Quiet.Feedback, CancellationToken.None)));

    private PgServer Server(string variable, PowerShellEngine? engine = null) => (PgServer)(engine ?? hosts.Engine).Get(variable)[0].BaseObject;

    private static T Wait<T>(Task<T> task) => task.GetAwaiter().GetResult();

    private static List<List<string?>> Rows(IReadOnlyList<SqlRow> rows) => [.. rows.Select(row => row.Values.ToList())];

    private static System.Security.SecureString Secure(string text) => new System.Net.NetworkCredential("", text).SecurePassword;
}
