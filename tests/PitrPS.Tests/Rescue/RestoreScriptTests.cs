using PitrPS.Incidents;
using PitrPS.Rescue;

namespace PitrPS.Tests.Rescue;

public class RestoreScriptTests
{
    private const string Outcome = "/var/lib/pitrps-restore-0123456789ab/outcome";

    private static readonly LostObject Table = new(LostRole.Own, Catalogs.Class, 100, 'r', 100, "T a", "public.\"T a\"", "table public.\"T a\"");
    private static readonly LostObject Index = new(LostRole.Own, Catalogs.Class, 103, 'i', 100, "i", "public.i", "index public.i");
    private static readonly LostObject Lines = new(LostRole.DependentNeed, Catalogs.Class, 200, 'r', 200, "lines", "public.lines", "table public.lines");
    private static readonly LostObject ForeignKey = new(LostRole.Dependent, Catalogs.Constraint, 112, 'f', 200, "fk", "fk on public.lines", "constraint fk on table public.lines");

    private static readonly MadeStatement TheKey = new("fk", ForeignKey.Key, 200, 100, "constraint fk on table public.lines", "ALTER TABLE public.lines ADD x", "ALTER TABLE public.lines ADD x NOT VALID");

    private static DumpEntry Entry(int id, uint catalog, uint oid, string type, string statements, string? tablespace = "", params int[] on) => new(id, catalog, oid, on, "it", type, tablespace, "heap", statements);

    private static RescueSource Source(IReadOnlyList<MadeStatement> made, bool generated = false) => new()
    {
        Encoding = "LATIN1",
        Tables = [new IncidentTable("shop", "public", "T a", 100, null)],
        Carried = [new CarriedTable(1, 100, "public", "T a", [new("a"), new("B")], generated, false, 1)],
        Leaves = new Dictionary<uint, IReadOnlyList<uint>> { [100] = [100] },
        Objects = [Table, Index, Lines, ForeignKey],
        Made = made,
        Roles = [],
        Tablespaces = ["fast"],
        TotalBytes = 1,
    };

    private static RestoreScript Compose(
        IReadOnlyList<DumpEntry> dump, IReadOnlyList<MadeStatement>? made = null, IEnumerable<LostObject>? present = null, string[]? missingTablespaces = null, bool generated = false)
    {
        var there = (present ?? [Lines]).ToList();
        return RestoreScript.Compose(
            Source(made ?? [], generated), new RescueSelection { Must = new HashSet<CatalogKey> { Table.Key, Index.Key }, Also = new HashSet<CatalogKey>(), DumpOnly = [Table], Notes = [] }, dump,
            new PresentObjects(there.Select(o => o.Key).ToHashSet(), there.ToDictionary(o => (o.ClassId, o.Identity), o => o.Oid)), (missingTablespaces ?? []).ToHashSet(), Outcome);
    }

    private static IReadOnlyList<DumpEntry> Plain =>
    [
        Entry(1, Catalogs.Class, 100, "TABLE", "CREATE TABLE public.\"T a\" (a int, \"B\" text);", "fast"),
        Entry(2, Catalogs.Class, 103, "INDEX", "CREATE INDEX i ON public.\"T a\" (a);"),
        Entry(3, Catalogs.Class, 999, "TABLE", "CREATE TABLE public.somebody_elses ();"),
        Entry(4, 0, 0, "ACL", "GRANT SELECT ON TABLE public.\"T a\" TO r;\nGRANT INSERT ON TABLE public.\"T a\" TO gone;", "", 1),
        Entry(5, 0, 0, "COMMENT", "COMMENT ON TABLE public.\"T a\" IS 'x';", "", 1),
        Entry(6, 0, 0, "ACL", "GRANT ALL ON TABLE public.somebody_elses TO r;", "", 3),
        Entry(7, 0, 0, "ACL", "GRANT UPDATE(a) ON TABLE public.\"T a\" TO r;", "", 1, 4),
    ];

    [Fact]
    public void Tables_come_before_the_rows_indexes_after_them_and_what_depends_last()
    {
        var script = Compose(Plain, [TheKey]);
        Assert.Equal(
        [
            (RestorePhase.Define, "TABLE it"), (RestorePhase.Define, "privileges as if there were no default privileges"),
            (RestorePhase.Finish, "INDEX it"), (RestorePhase.Finish, "COMMENT it"), (RestorePhase.Finish, "statistics of public.T a"),
            (RestorePhase.Extra, "grant: GRANT SELECT ON TABLE public.\"T a\" TO r;"), (RestorePhase.Extra, "grant: GRANT INSERT ON TABLE public.\"T a\" TO gone;"),
            (RestorePhase.Extra, "grant: GRANT UPDATE(a) ON TABLE public.\"T a\" TO r;"), (RestorePhase.Extra, "constraint fk on table public.lines"),
        ], script.Parts.Select(p => (p.Phase, p.Title)));
        Assert.Equal(Enumerable.Range(1, script.Parts.Count), script.Parts.Select(p => p.Number));
    }

    [Fact]
    public void What_nobody_asked_for_is_not_made() =>
        Assert.DoesNotContain(Compose(Plain).Parts, p => p.Statements.Contains("somebody_elses", StringComparison.Ordinal));

    [Fact]
    public void A_foreign_key_is_left_out_while_its_other_table_is_missing_or_when_it_is_there_already()
    {
        Assert.DoesNotContain(Compose(Plain, [TheKey], []).Parts, p => p.Title == TheKey.Title);
        Assert.DoesNotContain(Compose(Plain, [TheKey], [Lines, ForeignKey]).Parts, p => p.Title == TheKey.Title);
        Assert.Equal(TheKey.Fallback, Compose(Plain, [TheKey]).Parts.Single(p => p.Title == TheKey.Title).Fallback);
    }

    [Fact]
    public void A_tablespace_that_the_primary_lacks_becomes_the_default()
    {
        Assert.StartsWith("SET LOCAL default_tablespace = \"fast\";", Compose(Plain).Parts[0].Statements, StringComparison.Ordinal);
        Assert.StartsWith("SET LOCAL default_tablespace = '';", Compose(Plain, missingTablespaces: ["fast"]).Parts[0].Statements, StringComparison.Ordinal);
    }

    [Fact]
    public void Rows_travel_in_the_databases_own_encoding_and_are_frozen()
    {
        var script = Compose(Plain);
        Assert.Equal(["COPY \"public\".\"T a\" FROM STDIN WITH (FREEZE, ENCODING 'LATIN1')", "COPY pg_temp.pitrps_sent FROM STDIN"], script.Copies);
        Assert.Contains("COPY \"public\".\"T a\" TO STDOUT WITH (ENCODING 'LATIN1');\n\\echo '\\\\.'\n", script.Rows, StringComparison.Ordinal);
    }

    [Fact]
    public void Generated_columns_are_computed_again_not_carried() =>
        Assert.Equal("COPY \"public\".\"T a\" (\"a\", \"B\") FROM STDIN WITH (FREEZE, ENCODING 'LATIN1')", Compose(Plain, generated: true).Copies[0]);

    [Fact]
    public void Both_sides_write_values_with_the_same_settings()
    {
        var script = Compose(Plain);
        foreach (var setting in new[] { "DateStyle", "IntervalStyle", "TimeZone", "bytea_output", "extra_float_digits", "lc_monetary", "search_path", "xmlbinary" })
        {
            var line = script.Begin.Split(';').Single(s => s.Contains($"SET {setting} ", StringComparison.Ordinal)).Trim();
            Assert.Contains(line, script.Rows, StringComparison.Ordinal);
            Assert.Contains(line, script.Proofs, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_transactions_id_is_on_the_disk_before_anything_is_made()
    {
        var begin = Compose(Plain).Begin;
        Assert.True(begin.IndexOf("pg_current_xact_id", StringComparison.Ordinal) < begin.IndexOf($"\\! sync {Outcome}", StringComparison.Ordinal));
        Assert.True(begin.IndexOf($"\\! sync {Outcome}", StringComparison.Ordinal) < begin.IndexOf("CREATE TABLE public", StringComparison.Ordinal));
    }

    [Fact]
    public void Psql_reads_nothing_in_a_definition()
    {
        var script = Compose([Entry(1, Catalogs.Class, 100, "TABLE", "CREATE TABLE public.\"T a\" (a text DEFAULT E'\\\\! id');\n\\! id\n:x 'q'")]);
        var line = script.Begin.Split('\n').Single(l => l.StartsWith("INSERT INTO pg_temp.pitrps_part VALUES (1,", StringComparison.Ordinal));
        Assert.Contains(" E'SET LOCAL", line, StringComparison.Ordinal);
        Assert.Contains("\\\\! id", script.Begin, StringComparison.Ordinal);
        Assert.DoesNotContain("\n\\! id", script.Begin, StringComparison.Ordinal);
    }
}
