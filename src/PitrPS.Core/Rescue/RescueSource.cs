using System.Globalization;
using System.Text.Json;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>A statement that PitrPS makes itself, because pg_dump leaves the object out when only some tables are asked for.</summary>
/// <param name="Kind">fk, attach, attachindex, publication, default, constraint, setval, refresh.</param>
/// <param name="Key">The object that it makes or changes.</param>
/// <param name="Relation">The relation that it belongs to.</param>
/// <param name="Other">The other relation that it needs; 0 for none.</param>
/// <param name="Title">For people.</param>
/// <param name="Statement">The statement.</param>
/// <param name="Fallback">What is better than nothing when rows on the primary do not fit any more; null for nothing.</param>
internal sealed record MadeStatement(string Kind, CatalogKey Key, uint Relation, uint Other, string Title, string Statement, string? Fallback);

/// <summary>A role that an object on the recovered server belongs to or names.</summary>
/// <param name="Name">The role.</param>
/// <param name="Use">o for owner, a for a grant, r for a policy, as in pg_shdepend.</param>
/// <param name="Of">The object.</param>
internal sealed record NamedRole(string Name, char Use, CatalogKey Of);

/// <summary>What the recovered server says of the tables: read once, before anything is changed.</summary>
internal sealed record RescueSource
{
    public required string Encoding { get; init; }

    /// <summary>The tables as asked for and all their partitions, partitioned ones too, in the order in which they are made.</summary>
    public required IReadOnlyList<IncidentTable> Tables { get; init; }

    /// <summary>Those of them that hold rows.</summary>
    public required IReadOnlyList<CarriedTable> Carried { get; init; }

    /// <summary>For each table, the partitions that it is the sum of; itself where it holds rows.</summary>
    public required IReadOnlyDictionary<uint, IReadOnlyList<uint>> Leaves { get; init; }

    public required IReadOnlyList<LostObject> Objects { get; init; }

    public required IReadOnlyList<MadeStatement> Made { get; init; }

    public required IReadOnlyList<NamedRole> Roles { get; init; }

    /// <summary>Tablespaces other than the default that they lie in.</summary>
    public required IReadOnlyList<string> Tablespaces { get; init; }

    /// <summary>Bytes of the tables and their indexes.</summary>
    public required long TotalBytes { get; init; }

    public static async Task<RescueSource> ReadAsync(ISqlSession scratch, int version, IReadOnlyList<IncidentTable> asked, CancellationToken cancel)
    {
        var objects = await LostObjects.ReadAsync(scratch, asked.Select(t => t.Oid), cancel).ConfigureAwait(false);
        var own = objects.Where(o => o.Role == LostRole.Own).ToList();
        var oids = own.Where(o => o.IsTable).Select(o => o.Oid).ToList();
        var tables = await TablesAsync(scratch, asked, oids, cancel).ConfigureAwait(false);
        var carried = tables.Where(t => t.Carried is not null).Select((t, i) => t.Carried! with { Number = i + 1 }).ToList();
        return new RescueSource
        {
            Encoding = tables[0].Encoding,
            Tables = [.. tables.Select(t => t.Table)],
            Carried = carried,
            Leaves = Sums(tables),
            Objects = objects,
            Made = await MadeAsync(scratch, version, objects, oids, cancel).ConfigureAwait(false),
            Roles = await RolesAsync(scratch, objects, cancel).ConfigureAwait(false),
            Tablespaces = [.. tables.SelectMany(t => t.Tablespaces).Distinct().Order(StringComparer.Ordinal)],
            TotalBytes = tables.Sum(t => t.TotalBytes),
        };
    }

    private sealed record TableRow(IncidentTable Table, CarriedTable? Carried, IReadOnlyList<uint> Parents, string Encoding, IReadOnlyList<string> Tablespaces, long TotalBytes);

    private static async Task<List<TableRow>> TablesAsync(ISqlSession scratch, IReadOnlyList<IncidentTable> asked, IReadOnlyList<uint> oids, CancellationToken cancel)
    {
        var rows = await scratch.QueryAsync(
            $$"""
            SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
              -- A cast to text that somebody has made may lose something; the output function does not.
              (SELECT coalesce(json_agg(json_build_object('name', a.attname::text, 'notNull', a.attnotnull, 'output', CASE WHEN EXISTS (
                    SELECT FROM pg_catalog.pg_cast k WHERE k.oid >= 16384 AND k.castsource IN (y.oid, y.typbasetype) AND k.casttarget = 'text'::regtype AND k.castmethod = 'f') THEN y.typoutput::regproc::text END)
                  ORDER BY a.attnum), '[]')
                FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
              EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''),
              (SELECT coalesce(json_agg(i.inhparent::bigint), '[]') FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid AND c.relispartition),
              CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_table_size(c.oid) ELSE 0 END, CASE WHEN c.relkind = 'r' THEN pg_catalog.pg_total_relation_size(c.oid) ELSE 0 END,
              pg_catalog.getdatabaseencoding(),
              (SELECT coalesce(json_agg(DISTINCT s.spcname::text), '[]') FROM pg_catalog.pg_tablespace s JOIN pg_catalog.pg_class r ON r.reltablespace = s.oid
                WHERE r.oid = c.oid OR r.oid IN (SELECT x.indexrelid FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid))
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = ANY ({{LostObjects.OidArray(oids)}}) ORDER BY c.oid
            """, cancel).ConfigureAwait(false);
        return [.. rows.Select(r =>
        {
            var oid = (uint)r.Number(0);
            var known = asked.FirstOrDefault(t => t.Oid == oid);
            var table = new IncidentTable(scratch.Database, r.Text(1), r.Text(2), oid, known?.FirstLock);
            var columns = JsonSerializer.Deserialize<CarriedColumn[]>(r.Text(5), JsonSerializerOptions.Web)!;
            return new TableRow(
                table,
                r.Text(3) == "r" ? new CarriedTable(0, oid, table.Schema, table.Name, columns, r.Flag(6), r.Text(4) == "u", r.Number(8)) : null,
                JsonSerializer.Deserialize<uint[]>(r.Text(7))!, r.Text(10), JsonSerializer.Deserialize<string[]>(r.Text(11))!, r.Number(9));
        })];
    }

    private static Dictionary<uint, IReadOnlyList<uint>> Sums(List<TableRow> tables)
    {
        var children = tables.SelectMany(t => t.Parents.Select(p => (Parent: p, t.Table.Oid))).ToLookup(e => e.Parent, e => e.Oid);
        var holds = tables.Where(t => t.Carried is not null).Select(t => t.Table.Oid).ToHashSet();
        IEnumerable<uint> Below(uint oid) => holds.Contains(oid) ? [oid] : children[oid].SelectMany(Below);
        return tables.ToDictionary(t => t.Table.Oid, t => (IReadOnlyList<uint>)[.. Below(t.Table.Oid)]);
    }

    private static async Task<IReadOnlyList<NamedRole>> RolesAsync(ISqlSession scratch, IReadOnlyList<LostObject> objects, CancellationToken cancel)
    {
        var keys = string.Join(", ", objects.Where(o => o.Role != LostRole.Column).Select(o => string.Create(CultureInfo.InvariantCulture, $"({o.ClassId}::oid, {o.Oid}::oid)")));
        var rows = await scratch.QueryAsync(
            $"""
            SELECT DISTINCT r.rolname, d.deptype, d.classid, d.objid FROM pg_catalog.pg_shdepend d
            JOIN pg_catalog.pg_database b ON b.oid = d.dbid AND b.datname = pg_catalog.current_database()
            JOIN pg_catalog.pg_roles r ON d.refclassid = 1260 AND r.oid = d.refobjid
            WHERE d.deptype IN ('o', 'a', 'r') AND (d.classid, d.objid) IN (VALUES {keys})
            """, cancel).ConfigureAwait(false);
        return [.. rows.Select(r => new NamedRole(r.Text(0), r.Text(1)[0], new CatalogKey((uint)r.Number(2), (uint)r.Number(3))))];
    }

    private static async Task<IReadOnlyList<MadeStatement>> MadeAsync(
        ISqlSession scratch, int version, IReadOnlyList<LostObject> objects, IReadOnlyList<uint> tables, CancellationToken cancel)
    {
        string Oids(Func<LostObject, bool> which) => LostObjects.OidArray(objects.Where(which).Select(o => o.Oid));

        // Row filters and column lists of publications came with 15.
        var publicationDetail = PgVersion.HasPublicationFilters(version)
            ? """
              || coalesce((SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')' FROM pg_catalog.pg_attribute a WHERE a.attrelid = u.prrelid AND a.attnum = ANY (u.prattrs)), '')
              || coalesce(' WHERE (' || pg_catalog.pg_get_expr(u.prqual, u.prrelid) || ')', '')
              """
            : "";
        var rows = await scratch.QueryAsync(
            $$"""
            SELECT 'fk', 2606, k.oid, k.conrelid, k.confrelid, pg_catalog.pg_describe_object(2606, k.oid, 0),
              f.head || pg_catalog.pg_get_constraintdef(k.oid) || f.tail,
              CASE WHEN k.convalidated AND c.relkind <> 'p' THEN f.head || pg_catalog.pg_get_constraintdef(k.oid) || ' NOT VALID' || f.tail END
            FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            CROSS JOIN LATERAL (SELECT format('ALTER TABLE %s%I.%I ADD CONSTRAINT %I ', CASE WHEN c.relkind = 'p' THEN '' ELSE 'ONLY ' END, n.nspname, c.relname, k.conname) AS head,
              coalesce(format('; COMMENT ON CONSTRAINT %I ON %I.%I IS ', k.conname, n.nspname, c.relname) || quote_literal(pg_catalog.obj_description(k.oid, 'pg_constraint')), '') AS tail) f
            WHERE k.contype = 'f' AND k.conparentid = 0 AND k.oid = ANY ({{Oids(o => o.IsForeignKey)}})
            UNION ALL
            SELECT CASE WHEN c.relkind IN ('i', 'I') THEN 'attachindex' ELSE 'attach' END, 1259, c.oid, CASE WHEN c.relkind IN ('i', 'I') THEN xc.indrelid ELSE c.oid END,
              CASE WHEN c.relkind IN ('i', 'I') THEN xp.indrelid ELSE p.oid END,
              CASE WHEN c.relkind IN ('i', 'I') THEN 'index ' ELSE 'partition ' END || format('%I.%I of %I.%I', n.nspname, c.relname, pn.nspname, p.relname),
              CASE WHEN c.relkind IN ('i', 'I') THEN format('ALTER INDEX %I.%I ATTACH PARTITION %I.%I', pn.nspname, p.relname, n.nspname, c.relname)
                ELSE format('ALTER TABLE ONLY %I.%I ATTACH PARTITION %I.%I %s', pn.nspname, p.relname, n.nspname, c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid)) END, NULL
            FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
            LEFT JOIN pg_catalog.pg_index xc ON xc.indexrelid = c.oid LEFT JOIN pg_catalog.pg_index xp ON xp.indexrelid = p.oid
            WHERE c.oid = ANY ({{Oids(o => o.Role == LostRole.Own && o.ClassId == Catalogs.Class && !o.IsSequence)}})
            UNION ALL
            SELECT 'publication', 6106, u.oid, u.prrelid, 0, format('membership of %I.%I in publication %I', n.nspname, c.relname, b.pubname),
              format('ALTER PUBLICATION %I ADD TABLE ONLY %I.%I', b.pubname, n.nspname, c.relname) {{publicationDetail}}, NULL
            FROM pg_catalog.pg_publication_rel u JOIN pg_catalog.pg_publication b ON b.oid = u.prpubid JOIN pg_catalog.pg_class c ON c.oid = u.prrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE u.oid = ANY ({{Oids(o => o.ClassId == Catalogs.PublicationRelation)}})
            UNION ALL
            SELECT 'default', 2604, d.oid, d.adrelid, 0, format('default of %I.%I.%I', n.nspname, c.relname, a.attname),
              format('ALTER TABLE ONLY %I.%I ALTER COLUMN %I SET DEFAULT %s', n.nspname, c.relname, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid)), NULL
            FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = ''
            WHERE d.oid = ANY ({{Oids(o => o.ClassId == Catalogs.Default && o.Role == LostRole.Dependent)}}) AND c.relkind IN ('r', 'p', 'f')
            UNION ALL
            SELECT 'constraint', 2606, k.oid, k.conrelid, 0, pg_catalog.pg_describe_object(2606, k.oid, 0),
              format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid)), NULL
            FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE k.contype IN ('c', 'u', 'p', 'x') AND k.conparentid = 0 AND k.coninhcount = 0
              AND k.oid = ANY ({{Oids(o => o.ClassId == Catalogs.Constraint && o.Role == LostRole.Dependent)}}) AND c.relkind IN ('r', 'p', 'f')
            UNION ALL
            SELECT 'refresh', 1259, c.oid, c.oid, 0, format('content of materialized view %I.%I', n.nspname, c.relname), format('REFRESH MATERIALIZED VIEW %I.%I', n.nspname, c.relname), NULL
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind = 'm' AND c.relispopulated AND c.oid = ANY ({{Oids(o => o.IsView && o.Role == LostRole.Dependent)}})
            """, cancel).ConfigureAwait(false);
        var made = rows.Select(r => new MadeStatement(
            r.Text(0), new CatalogKey((uint)r.Number(1), (uint)r.Number(2)), (uint)r.Number(3), (uint)r.Number(4), r.Text(5), r.Text(6), r[7])).ToList();
        var sequences = objects.Where(o => o.IsSequence && o.Role is (LostRole.Own or LostRole.Need or LostRole.DependentNeed)).ToList();
        if (sequences.Count > 0)
        {
            // From 15 on those of unlogged tables are unlogged as well; their values never were in the WAL, and while a server replays, reading them is an error.
            var readable = (await scratch.QueryAsync($"SELECT oid FROM pg_catalog.pg_class WHERE oid = ANY ({LostObjects.OidArray(sequences.Select(s => s.Oid))}) AND relpersistence <> 'u'", cancel).ConfigureAwait(false)).Select(r => (uint)r.Number(0)).ToHashSet();
            sequences.RemoveAll(s => !readable.Contains(s.Oid));
        }

        if (sequences.Count > 0)
        {
            // A sequence's state can only be read from itself; its name comes from its identity, which is quoted already.
            var values = await scratch.QueryAsync(string.Join(" UNION ALL ", sequences.Select(s =>
                $"SELECT {s.Oid.ToString(CultureInfo.InvariantCulture)}, last_value, is_called FROM {s.Identity}")), cancel).ConfigureAwait(false);
            made.AddRange(values.Select(v =>
            {
                var sequence = sequences.First(s => s.Oid == (uint)v.Number(0));
                return new MadeStatement("setval", sequence.Key, sequence.Oid, 0, $"value of sequence {sequence.Identity}",
                    $"SELECT pg_catalog.setval({Sql.Literal(sequence.Identity)}::regclass, {v.Text(1)}, {(v.Flag(2) ? "true" : "false")})", null);
            }));
        }

        return made;
    }
}
