using System.Globalization;
using System.Text;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>One piece of the transaction on the primary.</summary>
/// <param name="Number">Its place.</param>
/// <param name="Phase">When it is run.</param>
/// <param name="Title">For people.</param>
/// <param name="Statements">What is run.</param>
/// <param name="Fallback">What is run instead where the primary's rows do not fit; null for nothing.</param>
internal sealed record RestorePart(int Number, RestorePhase Phase, string Title, string Statements, string? Fallback);

internal enum RestorePhase
{
    /// <summary>Before the rows come: schema, types, functions, tables, sequences. Must work.</summary>
    Define = 1,

    /// <summary>After the rows: indexes, constraints, triggers, policies, sequences' values, comments. Must work.</summary>
    Finish = 2,

    /// <summary>Grants, foreign keys and what depends on the tables: each by itself, as far as it goes.</summary>
    Extra = 3,
}

/// <summary>
/// The one transaction on the primary, as text: what runs before the rows (<see cref="Begin"/>), the COPY of each table, what runs after them (<see cref="Finish"/>),
/// and what must be true before COMMIT (<see cref="End"/>); and the two scripts for the recovered server, rows and proofs.
/// psql itself reads nothing in the definitions: they are literals that a DO block executes.
/// </summary>
internal sealed record RestoreScript
{
    public required IReadOnlyList<RestorePart> Parts { get; init; }

    public required IReadOnlyList<CarriedTable> Tables { get; init; }

    public required string Begin { get; init; }

    public required IReadOnlyList<string> Copies { get; init; }

    public required string Finish { get; init; }

    public required string End { get; init; }

    /// <summary>What the transaction does, for people.</summary>
    public IReadOnlyList<string> Preview =>
    [
        .. Parts.Where(p => p.Phase == RestorePhase.Define).SelectMany(Lines), .. Copies,
        .. Parts.Where(p => p.Phase != RestorePhase.Define).SelectMany(Lines), "compare rows and checksums with the recovered server's, then COMMIT",
    ];

    private static IEnumerable<string> Lines(RestorePart part) => part.Statements.Split('\n').Select(l => l.TrimEnd()).Where(l => l.Length > 0 && !l.StartsWith("SET LOCAL ", StringComparison.Ordinal));

    /// <summary>For the recovered server: all rows, each table ended by a line with \.</summary>
    public required string Rows { get; init; }

    /// <summary>For the recovered server: number, rows and sum of each table, as rows of COPY.</summary>
    public required string Proofs { get; init; }

    /// <summary>
    /// What decides how a value looks as text, the same on both servers. A money value is read with the fraction digits that it was written with;
    /// a regclass is written with its schema.
    /// </summary>
    private const string TextSettings =
        """
        SET client_encoding = 'UTF8'; SET search_path = ''; SET standard_conforming_strings = on; SET quote_all_identifiers = off;
        SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET bytea_output = 'hex'; SET extra_float_digits = 3;
        SET lc_monetary = 'C'; SET xmlbinary = 'base64'; SET xmloption = 'content'; SET row_security = off; SET synchronize_seqscans = off;
        SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET client_min_messages = 'warning';

        """;

    public static RestoreScript Compose(RescueSource source, RescueSelection chosen, IReadOnlyList<DumpEntry> dump, PresentObjects primary, IReadOnlySet<string> missingTablespaces, string outcomeFile)
    {
        var parts = new PartList(missingTablespaces);
        var objects = source.Objects.GroupBy(o => o.Key).ToDictionary(g => g.Key, g => g.First());
        var byId = dump.ToDictionary(e => e.Id);
        var tree = source.Tables.Select(t => t.Oid).ToHashSet();
        var made = source.Made.Where(m => m.Kind != "setval" || chosen.Must.Contains(m.Key) || chosen.Also.Contains(m.Key)).ToList();

        // Foreign keys and publications have statements of their own, wherever pg_dump gives them too.
        bool Belongs(DumpEntry e, IReadOnlySet<CatalogKey> keys) =>
            e.ClassId != 0 ? keys.Contains(new CatalogKey(e.ClassId, e.Oid))
                : e.Dependencies.Count > 0 && byId.TryGetValue(e.Dependencies[0], out var of) && of.Id != e.Id && Belongs(of, keys);
        var must = dump.Where(e => Belongs(e, chosen.Must)).ToList();
        foreach (var e in must.Where(e => PhaseOf(e, objects, byId) == RestorePhase.Define))
        {
            parts.Add(RestorePhase.Define, e);
        }

        parts.Add(RestorePhase.Define, made.Where(m => m.Kind == "attach" && tree.Contains(m.Other)));
        parts.Add(RestorePhase.Define, "privileges as if there were no default privileges", ForgetDefaultPrivileges(source.Objects.Where(o => chosen.Must.Contains(o.Key))));
        foreach (var e in must.Where(e => PhaseOf(e, objects, byId) == RestorePhase.Finish))
        {
            parts.Add(RestorePhase.Finish, e);
        }

        parts.Add(RestorePhase.Finish, made.Where(m => m.Kind == "attachindex" && tree.Contains(m.Other)));
        parts.Add(RestorePhase.Finish, made.Where(m => m.Kind == "setval" && chosen.Must.Contains(m.Key)));
        foreach (var table in source.Tables.Where(t => !made.Any(m => m.Kind == "attach" && m.Relation == t.Oid && tree.Contains(m.Other))))
        {
            // A partitioned table's ANALYZE does its partitions too.
            parts.Add(RestorePhase.Finish, $"statistics of {table}", $"ANALYZE {Sql.Qualified(table.Schema, table.Name)}");
        }

        foreach (var e in must.Where(e => PhaseOf(e, objects, byId) == RestorePhase.Extra))
        {
            parts.Add(RestorePhase.Extra, e);
        }

        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind == "attach" && !tree.Contains(m.Other)));
        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind == "attachindex" && !tree.Contains(m.Other)));
        var also = dump.Where(e => Belongs(e, chosen.Also)).ToList();
        foreach (var e in also.Where(e => PhaseOf(e, objects, byId) != RestorePhase.Extra))
        {
            parts.Add(RestorePhase.Extra, e);
        }

        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind == "setval" && chosen.Also.Contains(m.Key)));
        parts.Add(RestorePhase.Extra, "privileges as if there were no default privileges", ForgetDefaultPrivileges(source.Objects.Where(o => chosen.Also.Contains(o.Key))));
        foreach (var e in also.Where(e => PhaseOf(e, objects, byId) == RestorePhase.Extra))
        {
            parts.Add(RestorePhase.Extra, e);
        }

        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind is "default" or "constraint" && Here(m.Relation) && !primary.Keys.Contains(m.Key)));
        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind == "refresh" && chosen.Also.Contains(m.Key)));
        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind == "publication"));
        // Last, because it holds a lock on the other table until the end.
        parts.Add(RestorePhase.Extra, made.Where(m => m.Kind == "fk" && Here(m.Relation) && Here(m.Other) && !(objects.TryGetValue(m.Key, out var key) && primary.Serves(key))));
        return Write(parts.All, source, outcomeFile);

        bool Here(uint relation) => tree.Contains(relation) || (objects.TryGetValue(new CatalogKey(Catalogs.Class, relation), out var o) && primary.Serves(o));
    }

    private static RestorePhase PhaseOf(DumpEntry entry, Dictionary<CatalogKey, LostObject> objects, Dictionary<int, DumpEntry> byId)
    {
        switch (entry.Type)
        {
            case "ACL" or "SECURITY LABEL":
                return RestorePhase.Extra;
            case "COMMENT" when entry.Dependencies.Count > 0 && byId.TryGetValue(entry.Dependencies[0], out var of) && of.Type == "FK CONSTRAINT":
                return RestorePhase.Extra;
            case "COMMENT" or "ROW SECURITY" or "RULE" or "TRIGGER" or "POLICY" or "CONSTRAINT" or "CHECK CONSTRAINT" or "STATISTICS" or "INDEX":
                return RestorePhase.Finish;
            default:
                return objects.TryGetValue(new CatalogKey(entry.ClassId, entry.Oid), out var o) && o.ClassId == Catalogs.Class && o.Kind is 'i' or 'I'
                    ? RestorePhase.Finish : RestorePhase.Define;
        }
    }

    /// <summary>
    /// Takes away what ALTER DEFAULT PRIVILEGES on the primary has granted to the new relations, so that their grants are the lost ones
    /// and nobody else's; pg_dump does not, because it counts from an empty database.
    /// </summary>
    private static string? ForgetDefaultPrivileges(IEnumerable<LostObject> objects)
    {
        var names = objects.Where(o => o.IsTable || o.IsView || o.IsSequence).Select(o => Sql.Literal(o.Identity)).ToList();
        return names.Count == 0 ? null :
            $"""
            DO $pitrps$ DECLARE g record; BEGIN
              FOR g IN SELECT DISTINCT format('REVOKE ALL ON %s %I.%I FROM %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END) AS statement
                FROM unnest(ARRAY[{string.Join(", ", names)}]::text[]) AS wanted(name) JOIN pg_catalog.pg_class c ON c.oid = to_regclass(wanted.name) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                CROSS JOIN LATERAL pg_catalog.aclexplode(c.relacl) a WHERE a.grantee <> c.relowner
              LOOP EXECUTE g.statement; END LOOP;
            END $pitrps$
            """;
    }

    private static RestoreScript Write(IReadOnlyList<RestorePart> parts, RescueSource source, string outcomeFile)
    {
        var begin = new StringBuilder(TextSettings);
        begin.Append(
            """
            SET lock_timeout = '30s'; SET check_function_bodies = off;
            CREATE TEMP TABLE pitrps_part (n int PRIMARY KEY, phase int NOT NULL, statements text NOT NULL, fallback text, error text) ON COMMIT DROP;
            CREATE TEMP TABLE pitrps_sent (n int PRIMARY KEY, row_count bigint NOT NULL, row_sum numeric NOT NULL) ON COMMIT DROP;
            CREATE TEMP TABLE pitrps_found (n int PRIMARY KEY, row_count bigint NOT NULL, row_sum numeric NOT NULL) ON COMMIT DROP;
            CREATE TEMP TABLE pitrps_go (word text) ON COMMIT DROP;

            """);
        begin.Append($"\\o {outcomeFile}\nSELECT 'xid ' || pg_catalog.pg_current_xact_id();\n\\o\n\\! sync {outcomeFile}\nSELECT 'pitrps stage defining';\n");
        foreach (var part in parts)
        {
            begin.Append(CultureInfo.InvariantCulture, $"-- {part.Title.ReplaceLineEndings(" ")}\nINSERT INTO pg_temp.pitrps_part VALUES ({part.Number}, {(int)part.Phase}, {Sql.Literal(part.Statements)}, {(part.Fallback is null ? "NULL" : Sql.Literal(part.Fallback))});\n");
        }

        begin.Append(RunAll(RestorePhase.Define)).Append("SELECT 'pitrps stage copying';\n");
        return new RestoreScript
        {
            Parts = parts,
            Tables = source.Carried,
            Begin = begin.ToString(),
            Copies = [.. source.Carried.Select(t => t.CopyIn(source.Encoding)), "COPY pg_temp.pitrps_sent FROM STDIN"],
            Finish = FinishText(source, outcomeFile),
            End = "DO $pitrps$ BEGIN IF NOT EXISTS (SELECT FROM pg_temp.pitrps_go WHERE word = 'go') THEN RAISE 'the standby has not said that this may be committed'; END IF; END $pitrps$;\n",
            Rows = TextSettings + "SET lock_timeout = '30s';\nBEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n" + string.Concat(source.Carried.Select(t => $"{(t.Unlogged ? "" : t.CopyOut(source.Encoding) + ";\n")}\\echo '\\\\.'\n")) + "COMMIT;\n",
            // An unlogged table has no rows there, and while a server replays, reading it is an error.
            Proofs = TextSettings + "SET lock_timeout = '30s';\n" + string.Concat(source.Carried.Select(t => $"SELECT concat_ws(E'\\t', n, c, s) FROM ({(t.Unlogged ? $"VALUES ({t.Number}, 0, 0)" : RowProof.Query(t))}) q(n, c, s);\n")),
        };
    }

    private static string FinishText(RescueSource source, string outcomeFile)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture,
            $"""
            DO $pitrps$ BEGIN IF (SELECT count(*) FROM pg_temp.pitrps_sent) <> {source.Carried.Count} THEN RAISE 'the rows have not come to their end'; END IF; END $pitrps$;
            SELECT 'pitrps stage indexing';

            """);
        text.Append(RunAll(RestorePhase.Finish)).Append("SELECT 'pitrps stage comparing';\n");
        foreach (var table in source.Carried)
        {
            text.Append($"INSERT INTO pg_temp.pitrps_found {RowProof.Query(table)};\n");
        }

        text.Append(
            $"""
            DO $pitrps$ DECLARE r record; BEGIN
              FOR r IN SELECT s.n, s.row_count AS sent, f.row_count AS found, s.row_sum <> f.row_sum AS other FROM pg_temp.pitrps_sent s JOIN pg_temp.pitrps_found f USING (n) LOOP
                IF r.sent <> r.found OR r.other THEN RAISE 'table % of the restore: % rows were sent and % arrived, checksums differ: %', r.n, r.sent, r.found, r.other USING ERRCODE = 'data_corrupted'; END IF;
              END LOOP;
            END $pitrps$;
            SELECT 'pitrps stage dependents';
            SET lock_timeout = '5s';
            DO $pitrps$ DECLARE p record; BEGIN
              FOR p IN SELECT n, statements, fallback FROM pg_temp.pitrps_part WHERE phase = {(int)RestorePhase.Extra} ORDER BY n LOOP
                BEGIN
                  EXECUTE p.statements;
                EXCEPTION
                  WHEN foreign_key_violation THEN
                    UPDATE pg_temp.pitrps_part SET error = SQLERRM WHERE n = p.n;
                    IF p.fallback IS NOT NULL THEN
                      BEGIN
                        EXECUTE p.fallback;
                      EXCEPTION WHEN OTHERS THEN
                        UPDATE pg_temp.pitrps_part SET fallback = NULL, error = SQLERRM WHERE n = p.n;
                      END;
                    END IF;
                  WHEN OTHERS THEN
                    UPDATE pg_temp.pitrps_part SET fallback = NULL, error = SQLERRM WHERE n = p.n;
                END;
              END LOOP;
            END $pitrps$;
            \o | cat >> {outcomeFile}
            SELECT concat_ws(' ', 'table', s.n, s.row_count, s.row_sum, f.row_count, f.row_sum) FROM pg_temp.pitrps_sent s JOIN pg_temp.pitrps_found f USING (n) ORDER BY s.n;
            SELECT concat_ws(' ', 'part', n, CASE WHEN fallback IS NULL THEN 'failed' ELSE 'fallback' END, translate(error, E'\r\n', '  ')) FROM pg_temp.pitrps_part WHERE error IS NOT NULL ORDER BY n;
            \o
            \! sync {outcomeFile}
            SELECT 'pitrps verified';

            """);
        return text.ToString();
    }

    private static string RunAll(RestorePhase phase) =>
        $"DO $pitrps$ DECLARE p record; BEGIN FOR p IN SELECT statements FROM pg_temp.pitrps_part WHERE phase = {(int)phase} ORDER BY n LOOP EXECUTE p.statements; END LOOP; END $pitrps$;\n";

    private sealed class PartList(IReadOnlySet<string> missingTablespaces)
    {
        private readonly List<RestorePart> _parts = [];

        public IReadOnlyList<RestorePart> All => _parts;

        public void Add(RestorePhase phase, DumpEntry entry)
        {
            if (entry.Statements.Length == 0)
            {
                return;
            }

            if (entry.Type == "ACL")
            {
                // One by one: a role that has gone since must not cost the others their grants.
                foreach (var statement in DumpText.Split(entry.Statements))
                {
                    Add(phase, $"grant: {statement}", statement);
                }

                return;
            }

            var tablespace = entry.Tablespace is { } t && !missingTablespaces.Contains(t) ? t : "";
            var settings = $"SET LOCAL default_tablespace = {(tablespace.Length == 0 ? "''" : Sql.Identifier(tablespace))};\n"
                + (entry.AccessMethod is { Length: > 0 } method ? $"SET LOCAL default_table_access_method = {Sql.Identifier(method)};\n" : "");
            Add(phase, $"{entry.Type} {entry.Title}", (entry.Type is "TABLE" or "INDEX" or "CONSTRAINT" or "MATERIALIZED VIEW" ? settings : "") + entry.Statements);
        }

        public void Add(RestorePhase phase, IEnumerable<MadeStatement> made)
        {
            foreach (var m in made)
            {
                Add(phase, m.Title, m.Statement, m.Fallback);
            }
        }

        public void Add(RestorePhase phase, string title, string? statements, string? fallback = null)
        {
            if (statements is not null)
            {
                _parts.Add(new RestorePart(_parts.Count + 1, phase, title, statements, fallback));
            }
        }
    }
}
