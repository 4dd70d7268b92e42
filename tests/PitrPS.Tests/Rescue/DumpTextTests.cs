using PitrPS.Rescue;

namespace PitrPS.Tests.Rescue;

public class DumpTextTests
{
    private const string Start =
        """
        --
        -- PostgreSQL database dump
        --

        \restrict kRDbbbWH8tHneDl

        -- Started on 2026-11-23 15:48:17 UTC

        SET client_encoding = 'UTF8';
        SELECT pg_catalog.set_config('search_path', '', false);


        """;

    private const string End =
        """


        -- Completed on 2026-11-23 15:48:17 UTC

        --
        -- PostgreSQL database dump complete
        --

        \unrestrict kRDbbbWH8tHneDl

        """;

    private static string Entry(int id, uint catalog, uint oid, string type, string statements, string name = "t", string? on = null) =>
        $"--\n-- TOC entry {id} (class {catalog} OID {oid})\n{(on is null ? "" : $"-- Dependencies: {on}\n")}-- Name: {name}; Type: {type}; Schema: public; Owner: app\n--\n\n{statements}\n\n\n";

    [Fact]
    public void Each_entry_has_its_catalog_oid_and_statements()
    {
        var entries = DumpText.Parse(Start + Entry(219, 1259, 16410, "TABLE", "CREATE TABLE public.t (a int);\n\n\nALTER TABLE public.t OWNER TO app;") + Entry(3472, 0, 0, "ACL", "GRANT SELECT ON TABLE public.t TO r;", "TABLE t", "219") + End);
        Assert.Equal(2, entries.Count);
        Assert.Equal((219, 1259u, 16410u, "TABLE"), (entries[0].Id, entries[0].ClassId, entries[0].Oid, entries[0].Type));
        Assert.Equal("CREATE TABLE public.t (a int);\n\n\nALTER TABLE public.t OWNER TO app;", entries[0].Statements);
        Assert.Equal([219], entries[1].Dependencies);
        Assert.Equal("GRANT SELECT ON TABLE public.t TO r;", entries[1].Statements);
        Assert.Equal("public.TABLE t", entries[1].Title);
    }

    [Fact]
    public void A_tablespace_that_is_set_before_an_entry_belongs_to_it_and_to_those_after_it()
    {
        var entries = DumpText.Parse(Start + "SET default_tablespace = '';\n\nSET default_table_access_method = heap;\n\n"
            + Entry(1, 1259, 1, "TABLE", "CREATE TABLE a ();") + "SET default_tablespace = \"Fast \"\"disk\";\n\n" + Entry(2, 1259, 2, "TABLE", "CREATE TABLE b ();") + Entry(3, 1259, 3, "INDEX", "CREATE INDEX c ON b (x);") + End);
        Assert.Equal(["", "Fast \"disk", "Fast \"disk"], entries.Select(e => e.Tablespace));
        Assert.All(entries, e => Assert.Equal("heap", e.AccessMethod));
        Assert.Equal("CREATE TABLE a ();", entries[0].Statements);
    }

    // A table's owner chooses comments, names, defaults and function bodies; none of that may become a statement that runs as superuser.
    [Theory]
    [InlineData("COMMENT ON TABLE t IS '{0}';")]
    [InlineData("COMMENT ON TABLE t IS 'it''s {0}';")]
    [InlineData("ALTER TABLE t ALTER a SET DEFAULT E'\\'{0}';")]
    [InlineData("ALTER TABLE t ALTER a SET DEFAULT E'''\\'{0}';")]
    [InlineData("CREATE TABLE \"{0}\" (a int);")]
    [InlineData("CREATE FUNCTION f() AS $${0}$$;")]
    [InlineData("CREATE FUNCTION f() AS $_$ $$ {0} $$ $_$;")]
    [InlineData("SELECT 1 /* /* */ {0} */;")]
    public void What_looks_like_an_entry_inside_of_a_quote_is_none(string statement)
    {
        var trap = "\n" + Entry(9, 1259, 16410, "TABLE", "ALTER ROLE app SUPERUSER;") + "--\n-- PostgreSQL database dump complete\n--\n";
        var body = statement.Replace("{0}", trap, StringComparison.Ordinal);
        var entries = DumpText.Parse(Start + Entry(1, 1259, 16410, "TABLE", body) + Entry(2, 1259, 5, "TABLE", "CREATE TABLE u ();") + End);
        Assert.Equal([1, 2], entries.Select(e => e.Id));
        Assert.Equal(body, entries[0].Statements);
    }

    [Fact]
    public void An_entry_whose_head_is_not_as_pg_dump_writes_it_is_refused()
    {
        var dump = Start + "--\n-- TOC entry 1 (class 1259 OID 1)\n-- Name: a\nALTER ROLE app SUPERUSER; --; Type: TABLE; Schema: public; Owner: app\n--\n\nCREATE TABLE a ();\n\n\n" + End;
        Assert.Equal("PitrPS.DefinitionUnreadable", Assert.Throws<PitrException>(() => DumpText.Parse(dump)).Id);
    }

    [Fact]
    public void A_dump_that_ends_too_early_is_refused()
    {
        Assert.Equal("PitrPS.DefinitionUnreadable", Assert.Throws<PitrException>(() => DumpText.Parse(Start + Entry(1, 1259, 1, "TABLE", "CREATE TABLE a ();"))).Id);
        Assert.Equal("PitrPS.DefinitionUnreadable", Assert.Throws<PitrException>(() => DumpText.Parse(Start + Entry(1, 1259, 1, "TABLE", "COMMENT ON TABLE t IS 'never ends") + End)).Id);
    }

    [Fact]
    public void A_name_with_the_words_of_a_head_in_it_changes_no_head()
    {
        var entries = DumpText.Parse(Start + Entry(1, 1259, 7, "TABLE", "CREATE TABLE x ();", "x; Type: VIEW; Schema: s; Owner: o") + End);
        Assert.Equal("TABLE", Assert.Single(entries).Type);
    }

    [Fact]
    public void Grants_come_apart_into_single_statements_with_those_of_another_grantor_together()
    {
        var statements = DumpText.Split(
            """
            REVOKE ALL ON TABLE public.t FROM app;
            GRANT SELECT ON TABLE public.t TO "a;b";
            SET SESSION AUTHORIZATION reader;
            GRANT SELECT ON TABLE public.t TO other;
            RESET SESSION AUTHORIZATION;
            GRANT INSERT ON TABLE public.t TO writer;
            """);
        Assert.Equal(
        [
            "REVOKE ALL ON TABLE public.t FROM app;",
            "GRANT SELECT ON TABLE public.t TO \"a;b\";",
            "SET SESSION AUTHORIZATION reader;\nGRANT SELECT ON TABLE public.t TO other;\nRESET SESSION AUTHORIZATION;",
            "GRANT INSERT ON TABLE public.t TO writer;",
        ], statements);
    }
}
