using System.Diagnostics;
using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Rescue;

/// <summary>
/// A primary that has lost many tables in one transaction, and the recovered server that has them. Each test brings other tables back, so they do not meet.
/// $recovery is in the session; <see cref="Before"/> is what pg_dump said of everything before.
/// </summary>
public sealed partial class LostTables : PreparedHosts
{
    public LostTables()
        : base(Snapshots.Standby)
    {
        if (Lab.WhyNot() is not null)
        {
            return;
        }

        Run("$standby = $standby | Set-ReplicationDelay -Delay 00:00:00").ThrowOnError();
        Sql("CREATE DATABASE shop", "postgres");
        Sql(Roles);
        Sql(Rich);
        Sql(Others);
        foreach (var table in Dumped)
        {
            Before[table] = Dump(table);
        }

        var position = Sql("SELECT pg_current_wal_lsn()");
        Await($"SELECT pg_last_wal_replay_lsn() >= '{position}'");
        Run("$standby = $standby | Set-ReplicationDelay -Delay 3.00:00:00").ThrowOnError();
        Sql("CREATE TABLE heartbeat ()");
        Sql(Drop);
        Sql(Since);
        var flushed = Sql("SELECT pg_current_wal_lsn()");
        Await($"SELECT pg_last_wal_receive_lsn() >= '{flushed}'");
        Run("$recovery = $standby | Find-PgIncident -Database shop | Invoke-PitrRecovery -Confirm:$false").ThrowOnError();
    }

    public Dictionary<string, string> Before { get; } = [];

    /// <summary>SQL on the primary.</summary>
    public string Sql(string sql, string database = "shop") => Lab.Psql(Infrastructure.Lab.Primary, sql, database);

    public bool Has(string relation) => Sql($"SELECT to_regclass('{relation.Replace("'", "''", StringComparison.Ordinal)}') IS NOT NULL") == "t";

    /// <summary>Definition and rows of a pattern on the primary as pg_dump sees them, without what differs from call to call and without the values of sequences.</summary>
    public string Dump(string pattern)
    {
        var dump = Lab.Exec(Infrastructure.Lab.Primary, "runuser", "-u", "postgres", "--", "pg_dump", "-d", "shop", "-t", pattern);
        return Passing().Replace(dump, "");
    }

    /// <summary>No file, key, line, unit, session or journal of any restore is on either host.</summary>
    public void AssertNothingLeft()
    {
        foreach (var host in new[] { Infrastructure.Lab.Primary, Infrastructure.Lab.Standby })
        {
            Assert.Equal("", Lab.Shell(host,
                """
                ls -d /var/lib/pitrps-restore* /run/pitrps/pitrps-restore* /run/systemd/transient/pitrps-restore* 2>/dev/null
                grep -l pitrps /var/lib/postgresql/.ssh/* 2>/dev/null
                find /var/lib/pitrps/operations /var/lib/pitrps/pointers /var/lib/pitrps/units -name '*estore*'
                pgrep -af 'pitrps-restore-[0-9a-f]' || true
                """).Trim());
        }

        Assert.Equal("0", Sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pitrps restore%'"));
    }

    /// <summary>
    /// Another session on the primary that has made a table of this name and not yet committed: the restore waits for it as soon as it makes its own.
    /// Disposing it rolls back and lets the restore go on.
    /// </summary>
    public Blockade Block(string table) => new(this, table);

    private void Await(string condition) => Waiting.For($"on the standby, {condition}", () => Lab.Psql(Infrastructure.Lab.Standby, condition) == "t");

    [GeneratedRegex(@"^(\\restrict|\\unrestrict|-- Dumped)[^\n]*|^SELECT pg_catalog\.setval\([^;]*;", RegexOptions.Multiline)]
    private static partial Regex Passing();

    public const string Weird = "-We\"ird.S chema.-ta'b \"$*?[ü\nx";

    private static readonly string[] Dumped =
        ["plain", "sales.*", "public.lines", "public.region", "public.v1", "public.v2", "public.mv", "public.logs*", "public.par", "public.chi", "\"-We\"\"ird.S chema\".*", "public.empty0", "public.unl", "public.kinds",
            "public.target", "public.pointer", "public.owned", "public.failing", "public.big1", "public.big2"];

    private const string Roles =
        """
        CREATE ROLE app; CREATE ROLE reader; CREATE ROLE "Odd ""role"; CREATE ROLE leaving; CREATE ROLE gone_owner;
        """;

    private const string Rich =
        """
        CREATE SCHEMA sales AUTHORIZATION app;
        CREATE TYPE sales.mood AS ENUM ('sad', 'ok', 'happy');
        CREATE DOMAIN sales.positive AS int CHECK (VALUE > 0);
        CREATE FUNCTION sales.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.changed = now(); RETURN NEW; END $$;
        CREATE TABLE public.region (id int PRIMARY KEY, name text);
        INSERT INTO public.region VALUES (1, 'n'), (2, 's');
        CREATE TABLE sales.orders (
          id bigserial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, region int REFERENCES public.region,
          mood sales.mood DEFAULT 'ok', qty sales.positive, price numeric(10,2), note text COLLATE "C", f double precision, b bytea,
          total numeric GENERATED ALWAYS AS (price * 2) STORED, changed timestamptz DEFAULT now(), arr int[], money money, span interval, doc jsonb,
          CONSTRAINT odd CHECK (price >= 0), gone int) WITH (fillfactor = 80, autovacuum_enabled = false);
        ALTER TABLE sales.orders DROP COLUMN gone;
        ALTER TABLE sales.orders OWNER TO app;
        ALTER TABLE sales.orders ALTER note SET STATISTICS 500, ALTER note SET STORAGE EXTERNAL, ALTER note SET (n_distinct = 100);
        CREATE INDEX orders_low ON sales.orders (lower(note)) WHERE price > 1;
        CREATE UNIQUE INDEX orders_u ON sales.orders (n) INCLUDE (price);
        ALTER TABLE sales.orders REPLICA IDENTITY USING INDEX orders_pkey;
        ALTER TABLE sales.orders CLUSTER ON orders_pkey;
        CREATE STATISTICS sales.st ON region, mood FROM sales.orders;
        CREATE TRIGGER tr BEFORE UPDATE ON sales.orders FOR EACH ROW EXECUTE FUNCTION sales.touch();
        ALTER TABLE sales.orders DISABLE TRIGGER tr;
        CREATE RULE ru AS ON DELETE TO sales.orders WHERE old.price > 1000 DO INSTEAD NOTHING;
        ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY pol ON sales.orders FOR SELECT TO reader USING (price < 100);
        COMMENT ON TABLE sales.orders IS E'it''s the \\ table\ntwo lines';
        COMMENT ON COLUMN sales.orders.qty IS 'c'; COMMENT ON INDEX sales.orders_low IS 'i'; COMMENT ON TRIGGER tr ON sales.orders IS 't';
        COMMENT ON CONSTRAINT orders_region_fkey ON sales.orders IS 'to its region';
        GRANT SELECT, INSERT ON sales.orders TO reader WITH GRANT OPTION;
        GRANT UPDATE (note) ON sales.orders TO "Odd ""role";
        GRANT DELETE ON sales.orders TO leaving;
        GRANT USAGE ON SEQUENCE sales.orders_id_seq TO reader;
        INSERT INTO sales.orders (region, mood, qty, price, note, f, b, arr, money, span, doc)
          SELECT 1 + i % 2, 'happy', 1 + i, i / 3.0, CASE WHEN i % 7 = 0 THEN NULL ELSE E'x\t\\"' || i || E'\n.' END, i / 7.0, decode(lpad(to_hex(i), 8, '0'), 'hex'), ARRAY[i, NULL],
            i::money, i * interval '1 hour 3 seconds', jsonb_build_object('a', i, 'b', '\."') FROM generate_series(1, 2000) i;
        CREATE TABLE public.lines (id int PRIMARY KEY, o bigint REFERENCES sales.orders ON DELETE CASCADE, d bigint DEFAULT nextval('sales.orders_id_seq'));
        INSERT INTO public.lines SELECT i, i FROM generate_series(1, 100) i;
        CREATE VIEW public.v1 AS SELECT id, total FROM sales.orders; CREATE VIEW public.v2 AS SELECT count(*) FROM public.v1;
        GRANT SELECT ON public.v1 TO reader; COMMENT ON VIEW public.v1 IS 'view';
        CREATE MATERIALIZED VIEW public.mv AS SELECT region, count(*) c FROM sales.orders GROUP BY 1; CREATE UNIQUE INDEX ON public.mv (region);
        CREATE FUNCTION public.cheap() RETURNS SETOF sales.orders LANGUAGE sql STABLE AS 'SELECT * FROM sales.orders WHERE price < 1';
        CREATE TABLE public.holder (id int, o sales.orders);
        CREATE POLICY pp ON public.region USING (EXISTS (SELECT FROM sales.orders o WHERE o.region = region.id));
        CREATE PUBLICATION pub FOR TABLE sales.orders;
        """;

    private const string Others =
        """
        CREATE TABLE plain (id int PRIMARY KEY, t text); INSERT INTO plain SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
        CREATE TABLE logs (at date, what text, id int) PARTITION BY RANGE (at);
        CREATE TABLE logs1 PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE logs2 (id int, what text, at date); ALTER TABLE logs ATTACH PARTITION logs2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        CREATE TABLE logsd PARTITION OF logs DEFAULT;
        CREATE INDEX logs_i ON logs (at); ALTER TABLE logs ADD PRIMARY KEY (at, id);
        INSERT INTO logs SELECT '2026-01-01'::date + i % 70, 'w' || i, i FROM generate_series(1, 3000) i;
        CREATE TABLE par (a int, b text); CREATE TABLE chi (c int) INHERITS (par); INSERT INTO par VALUES (1, 'p'); INSERT INTO chi VALUES (2, 'c', 3);
        CREATE SCHEMA "-We""ird.S chema";
        CREATE TABLE "-We""ird.S chema"."-ta'b ""$*?[ü
        x" ("-Cöl ""'\x" serial PRIMARY KEY, "select" text);
        INSERT INTO "-We""ird.S chema"."-ta'b ""$*?[ü
        x" ("select") VALUES ('a'), ('b\c');
        CREATE UNLOGGED TABLE unl (a int); INSERT INTO unl VALUES (1);
        CREATE TABLE empty0 (); INSERT INTO empty0 DEFAULT VALUES; INSERT INTO empty0 DEFAULT VALUES;
        CREATE TABLE target (id int PRIMARY KEY, v text); INSERT INTO target SELECT i, 'v' || i FROM generate_series(1, 50) i;
        CREATE TABLE pointer (id int REFERENCES target);
        CREATE TABLE owned (a int); ALTER TABLE owned OWNER TO gone_owner;
        CREATE TABLE failing (a int PRIMARY KEY); INSERT INTO failing SELECT generate_series(1, 100);
        CREATE TYPE pair AS (x int, y text); CREATE TYPE shade AS ENUM ('dark', 'light');
        CREATE FUNCTION shade_text(shade) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT ''all the same''::text'; CREATE CAST (shade AS text) WITH FUNCTION shade_text(shade);
        CREATE TABLE kinds (b bool, c char(5), n name, q "char", i inet, x xml, p point, r int4range, m bit(3), v tsvector, u uuid, k pair, ks pair[], s shade NOT NULL, o oid, l regclass, z timetz, h float4, e text[][]);
        INSERT INTO kinds VALUES (true, 'a', 'n', 'q', '10.0.0.1/8', '<a>&amp;</a>', '(1.5,2)', '[1,5)', B'101', 'fat cat', '7f0c2f2a-0000-4000-8000-000000000001', (1, 'it"s'), ARRAY[(2, NULL)::pair, NULL], 'light',
          1, 'region', '12:00+02', 'NaN', '{{a,"b c"},{NULL,""}}'), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'dark', NULL, NULL, NULL, NULL, NULL);
        CREATE TABLE again (a int); CREATE TABLE big1 (a int, t text); CREATE TABLE big2 (a int, t text); CREATE TABLE big3 (a int, t text); CREATE TABLE big4 (a int);
        INSERT INTO big1 SELECT i, repeat('x', 100) FROM generate_series(1, 50000) i; INSERT INTO big2 SELECT * FROM big1; INSERT INTO big3 SELECT * FROM big1;
        """;

    private const string Drop =
        """
        BEGIN; DROP SCHEMA sales CASCADE; DROP TABLE plain, logs, kinds, empty0, unl, target, owned, failing, again, big1, big2, big3, big4 CASCADE; DROP TABLE par CASCADE; DROP SCHEMA "-We""ird.S chema" CASCADE; COMMIT;
        """;

    // What went on meanwhile: default privileges, roles that left, rows that no longer fit, a new table with an old name.
    private const string Since =
        """
        ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
        DROP ROLE leaving; DROP ROLE gone_owner;
        INSERT INTO pointer VALUES (777);
        CREATE TABLE again (other text);
        """;
}

/// <summary>See <see cref="LostTables.Block"/>.</summary>
public sealed class Blockade : IDisposable
{
    private readonly LostTables _hosts;
    private readonly string _name;
    private readonly Task _session;

    internal Blockade(LostTables hosts, string table)
    {
        _hosts = hosts;
        _name = "blockade of " + table;
        _session = Task.Run(() =>
        {
            try
            {
                hosts.Sql($"SET application_name = '{_name}'; BEGIN; CREATE TABLE {table} (); SELECT pg_sleep(600)");
            }
            catch (InvalidOperationException)
            {
                // Ended by Dispose.
            }
        });
        while (hosts.Sql($"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{_name}' AND wait_event = 'PgSleep'") != "1")
        {
            Thread.Yield();
        }
    }

    /// <summary>Returns when a session waits for this one.</summary>
    public void WaitForSomebody()
    {
        var watch = Stopwatch.StartNew();
        while (_hosts.Sql($"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pitrps restore%' AND wait_event_type = 'Lock'") == "0")
        {
            Assert.True(watch.Elapsed < TimeSpan.FromMinutes(1), "No restore has come to the table that is held.");
            Thread.Yield();
        }
    }

    public void Dispose()
    {
        _hosts.Sql($"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{_name}'");
        _session.Wait();
    }
}
