using System.Globalization;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>One property or part of a table, as the catalogs have it.</summary>
/// <param name="Table">The table, schema.name.</param>
/// <param name="Kind">owner, column, index, constraint, grant and so on.</param>
/// <param name="Name">Which one; empty where there is only one.</param>
/// <param name="Definition">What it is.</param>
internal sealed record CatalogItem(string Table, string Kind, string Name, string Definition);

/// <summary>
/// Everything that the catalogs say of a table and of what depends on it, in a form that is the same on two servers when the tables are:
/// by names, never by oids, and without what moves on by itself (statistics, sequences' values).
/// </summary>
internal static class TableCatalog
{
    public static async Task<IReadOnlyList<CatalogItem>> ReadAsync(ISqlSession session, int version, IEnumerable<IncidentTable> tables, CancellationToken cancel)
    {
        var rows = await session.QueryAsync(Query(version, tables), cancel).ConfigureAwait(false);
        return [.. rows.Select(r => new CatalogItem(r.Text(0), r.Text(1), r[2] ?? "", r[3] ?? ""))];
    }

    /// <summary>What the primary lacks, and what is another there.</summary>
    public static IReadOnlyList<CatalogDifference> Compare(IReadOnlyList<CatalogItem> recovered, IReadOnlyList<CatalogItem> primary)
    {
        var there = primary.GroupBy(Key).ToDictionary(g => g.Key, g => g.First());
        return [.. recovered.Select(r => (Was: r, Is: there.GetValueOrDefault(Key(r)))).Where(p => p.Is is null || p.Is.Definition != p.Was.Definition)
            .Select(p => new CatalogDifference(p.Was, p.Is?.Definition))];

        static (string, string, string) Key(CatalogItem i) => (i.Table, i.Kind, i.Name);
    }

    /// <summary>"3 columns, 2 indexes, 1 foreign key, 4 grants" of one table, as far as they are the same on both.</summary>
    public static string Summary(IReadOnlyList<CatalogItem> recovered, IReadOnlyList<CatalogDifference> differences, string table)
    {
        var back = recovered.Where(r => r.Table == table && !differences.Any(d => d.Was == r)).ToList();
        var counts = Counted.Select(k => (k.One, k.Many, Count: back.Count(b => k.Kinds.Contains(b.Kind)))).Where(c => c.Count > 0)
            .Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Count} {(c.Count == 1 ? c.One : c.Many)}"));
        return "back as before: " + string.Join(", ", counts);
    }

    private static readonly (string[] Kinds, string One, string Many)[] Counted =
    [
        (["column"], "column", "columns"), (["index"], "index", "indexes"), (["constraint"], "constraint", "constraints"), (["foreign key"], "foreign key", "foreign keys"),
        (["foreign key towards it"], "foreign key towards it", "foreign keys towards it"), (["sequence"], "sequence", "sequences"), (["trigger"], "trigger", "triggers"),
        (["rule"], "rule", "rules"), (["policy"], "policy", "policies"), (["statistics"], "extended statistics object", "extended statistics objects"),
        (["grant", "column grant"], "grant", "grants"), (["comment"], "comment", "comments"), (["dependent"], "dependent object", "dependent objects"),
        (["publication"], "publication", "publications"), (["partition"], "partition", "partitions"), (["child"], "child table", "child tables"),
    ];

    private static string Query(int version, IEnumerable<IncidentTable> tables)
    {
        // Of a column's options only those that a user can set; the server keeps some of its own there.
        var compression = PgVersion.HasColumnCompression(version) ? ", a.attcompression" : "";
        var wanted = string.Join(", ", tables.Select(t => $"({Sql.Literal(t.ToString())}, {Sql.Literal(t.Schema)}, {Sql.Literal(t.Name)})"));
        return $$"""
            WITH t AS MATERIALIZED (
              SELECT w.label, c.* FROM (VALUES {{wanted}}) w(label, nsp, rel) JOIN pg_catalog.pg_namespace n ON n.nspname = w.nsp
              JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.rel AND c.relkind IN ('r', 'p', 'f')
            )
            SELECT label, 'owner', '', pg_catalog.pg_get_userbyid(relowner)::text FROM t
            UNION ALL SELECT label, 'kind', '', concat_ws(' ', relkind, relpersistence) FROM t
            UNION ALL SELECT label, 'option', o.option_name, o.option_value FROM t CROSS JOIN LATERAL pg_catalog.pg_options_to_table(reloptions) o
            UNION ALL SELECT label, 'tablespace', '', coalesce((SELECT spcname::text FROM pg_catalog.pg_tablespace s WHERE s.oid = reltablespace), 'the default') FROM t
            UNION ALL SELECT label, 'access method', '', (SELECT amname::text FROM pg_catalog.pg_am m WHERE m.oid = relam) FROM t WHERE relam <> 0
            UNION ALL SELECT label, 'replica identity', '', relreplident::text FROM t
            UNION ALL SELECT label, 'row security', '', concat_ws(' ', relrowsecurity, relforcerowsecurity) FROM t
            UNION ALL SELECT label, 'partition of', i.inhparent::regclass::text, pg_catalog.pg_get_expr(relpartbound, t.oid) FROM t JOIN pg_catalog.pg_inherits i ON i.inhrelid = t.oid
            UNION ALL SELECT label, CASE WHEN i.inhrelid IN (SELECT oid FROM pg_catalog.pg_class WHERE relispartition) THEN 'partition' ELSE 'child' END, i.inhrelid::regclass::text, '' FROM t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
            UNION ALL SELECT label, 'partition key', '', pg_catalog.pg_get_partkeydef(t.oid) FROM t WHERE relkind = 'p'
            UNION ALL SELECT label, 'comment', coalesce((SELECT attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = d.objsubid AND d.objsubid > 0), ''), d.description
              FROM t JOIN pg_catalog.pg_description d ON d.classoid = 1259 AND d.objoid = t.oid
            UNION ALL SELECT t.label, 'security label', s.provider, s.label FROM t JOIN pg_catalog.pg_seclabel s ON s.classoid = 1259 AND s.objoid = t.oid AND s.objsubid = 0
            UNION ALL SELECT label, 'column', a.attname, concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                'DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, ''), nullif(a.attgenerated, ''), (SELECT quote_ident(collname) FROM pg_catalog.pg_collation c WHERE c.oid = a.attcollation),
                a.attstorage, a.attstattarget, (SELECT string_agg(concat(o.option_name, '=', o.option_value), ' ' ORDER BY o.option_name) FROM pg_catalog.pg_options_to_table(a.attoptions) o WHERE o.option_name IN ('n_distinct', 'n_distinct_inherited')), a.attislocal, a.attinhcount {{compression}})
              FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            UNION ALL SELECT label, 'index', x.indexrelid::regclass::text, concat_ws(' ', pg_catalog.pg_get_indexdef(x.indexrelid), i.reloptions, CASE WHEN x.indisclustered THEN 'clustered' END,
                CASE WHEN x.indisreplident THEN 'replica identity' END, CASE WHEN NOT x.indisvalid THEN 'not valid' END, (SELECT 'in ' || spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = i.reltablespace), pg_catalog.obj_description(i.oid, 'pg_class'))
              FROM t JOIN pg_catalog.pg_index x ON x.indrelid = t.oid JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
            UNION ALL SELECT label, CASE k.contype WHEN 'f' THEN 'foreign key' ELSE 'constraint' END, k.conname, concat_ws(' ', pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.obj_description(k.oid, 'pg_constraint'))
              FROM t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype <> 't'
            UNION ALL SELECT label, 'foreign key towards it', concat(k.conname, ' on ', k.conrelid::regclass), concat_ws(' ', pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.obj_description(k.oid, 'pg_constraint'))
              FROM t JOIN pg_catalog.pg_constraint k ON k.confrelid = t.oid AND k.conparentid = 0
            UNION ALL SELECT label, 'trigger', g.tgname, concat_ws(' ', pg_catalog.pg_get_triggerdef(g.oid), g.tgenabled, pg_catalog.obj_description(g.oid, 'pg_trigger')) FROM t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
            UNION ALL SELECT label, 'rule', r.rulename, concat_ws(' ', pg_catalog.pg_get_ruledef(r.oid), r.ev_enabled, pg_catalog.obj_description(r.oid, 'pg_rewrite')) FROM t JOIN pg_catalog.pg_rewrite r ON r.ev_class = t.oid
            UNION ALL SELECT label, 'policy', p.polname, concat_ws(' ', p.polcmd, p.polpermissive, (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_catalog.pg_get_userbyid(r)::text END, ',' ORDER BY 1) FROM unnest(p.polroles) r),
                pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) FROM t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid
            UNION ALL SELECT label, 'statistics', s.stxname, concat_ws(' ', pg_catalog.pg_get_statisticsobjdef(s.oid), pg_catalog.pg_get_userbyid(s.stxowner), s.stxstattarget) FROM t JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = t.oid
            UNION ALL SELECT label, 'grant', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END, string_agg(g.privilege_type || CASE WHEN g.is_grantable THEN '*' ELSE '' END, ',' ORDER BY g.privilege_type)
              FROM t CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(relacl, pg_catalog.acldefault('r', relowner))) g GROUP BY label, g.grantee
            UNION ALL SELECT label, 'column grant', concat(a.attname, ' to ', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_catalog.pg_get_userbyid(g.grantee)) END), string_agg(g.privilege_type || CASE WHEN g.is_grantable THEN '*' ELSE '' END, ',' ORDER BY g.privilege_type)
              FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped CROSS JOIN LATERAL pg_catalog.aclexplode(a.attacl) g GROUP BY label, a.attname, g.grantee
            UNION ALL SELECT label, 'sequence', s.seqrelid::regclass::text, concat_ws(' ', d.deptype, a.attname, pg_catalog.format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle, pg_catalog.pg_get_userbyid(c.relowner),
                (SELECT string_agg(concat(CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.pg_get_userbyid(g.grantee)::text END, '=', g.privilege_type), ',' ORDER BY 1) FROM pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault('s', c.relowner))) g))
              FROM t JOIN pg_catalog.pg_depend d ON d.refclassid = 1259 AND d.refobjid = t.oid AND d.classid = 1259 AND d.deptype IN ('a', 'i') JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid
              JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
            UNION ALL SELECT DISTINCT label, 'dependent', pg_catalog.pg_describe_object(CASE WHEN r.oid IS NULL THEN d.classid ELSE 1259 END, coalesce(r.ev_class, d.objid), CASE WHEN r.oid IS NULL THEN d.objsubid ELSE 0 END), coalesce(pg_catalog.pg_get_viewdef(r.ev_class), '')
              FROM t JOIN pg_catalog.pg_depend d ON d.refclassid = 1259 AND d.refobjid = t.oid AND d.deptype = 'n' LEFT JOIN pg_catalog.pg_rewrite r ON d.classid = 2618 AND r.oid = d.objid AND r.ev_class <> t.oid
              WHERE d.classid IN (1255, 1259, 2604, 2618, 3256) AND NOT (d.classid = 2618 AND r.oid IS NULL) AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE d.classid = 1259 AND i.inhrelid = d.objid AND i.inhparent = t.oid)
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE d.classid = 3256 AND p.oid = d.objid AND p.polrelid = t.oid)
            UNION ALL SELECT label, 'publication', p.pubname, concat_ws(' ', {{(PgVersion.HasPublicationFilters(version) ? "pg_catalog.pg_get_expr(u.prqual, u.prrelid), (SELECT string_agg(a.attname, ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = u.prrelid AND a.attnum = ANY (u.prattrs))" : "''")}})
              FROM t JOIN pg_catalog.pg_publication_rel u ON u.prrelid = t.oid JOIN pg_catalog.pg_publication p ON p.oid = u.prpubid
            ORDER BY 1, 2, 3
            """;
    }
}

/// <summary>What is not as it was.</summary>
/// <param name="Was">On the recovered server.</param>
/// <param name="Is">Its definition on the primary; null where it has none.</param>
internal sealed record CatalogDifference(CatalogItem Was, string? Is)
{
    /// <summary>"public.orders: index public.orders_low is not back".</summary>
    public override string ToString() =>
        $"{Was.Table}: {Was.Kind}{(Was.Name.Length > 0 ? " " + Was.Name : "")} " + (Is is null ? "is not back" : $"was '{Was.Definition}' and is '{Is}'");
}
