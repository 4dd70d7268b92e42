using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>What an object is to the tables that are carried back.</summary>
internal enum LostRole
{
    /// <summary>The tables, their partitions, and what is part of them: indexes, sequences, constraints, triggers, policies.</summary>
    Own,

    /// <summary>What they cannot exist without: schema, types, functions, a parent table.</summary>
    Need,

    /// <summary>What cannot exist without them, so that it must have gone in the same transaction: views, foreign keys towards them, publications.</summary>
    Dependent,

    /// <summary>What a dependent cannot exist without.</summary>
    DependentNeed,

    /// <summary>A column of another table that has a table's row type.</summary>
    Column,
}

/// <summary>An object of the recovered server's catalogs.</summary>
/// <param name="Role">What it is to the tables.</param>
/// <param name="ClassId">Its catalog, as in pg_depend.</param>
/// <param name="Oid">Its oid, the same on the primary before the incident: both have the same origin.</param>
/// <param name="Kind">relkind, contype or typtype ('A' for an array); a space for all else.</param>
/// <param name="Relation">The relation that it is part of; 0 for none.</param>
/// <param name="Name">Its bare name; empty where it has none.</param>
/// <param name="Identity">As pg_identify_object writes it.</param>
/// <param name="Description">As pg_describe_object writes it: for people.</param>
internal sealed record LostObject(LostRole Role, uint ClassId, uint Oid, char Kind, uint Relation, string Name, string Identity, string Description)
{
    /// <summary>The extension that it is a member of; 0 for none.</summary>
    public uint ExtensionOid { get; init; }

    public CatalogKey Key => new(ClassId, Oid);

    public bool IsTable => Role != LostRole.Column && ClassId == Catalogs.Class && Kind is 'r' or 'p' or 'f';

    public bool IsView => ClassId == Catalogs.Class && Kind is 'v' or 'm';

    public bool IsSequence => ClassId == Catalogs.Class && Kind == 'S';

    public bool IsForeignKey => ClassId == Catalogs.Constraint && Kind == 'f';
}

/// <summary>A row of a catalog.</summary>
internal readonly record struct CatalogKey(uint ClassId, uint Oid);

/// <summary>The catalogs' own oids, which are the same in every PostgreSQL (src/include/catalog).</summary>
internal static class Catalogs
{
    public const uint Type = 1247, Procedure = 1255, Class = 1259, Cast = 2605, Constraint = 2606, Default = 2604, Operator = 2617, Rule = 2618,
        Trigger = 2620, Namespace = 2615, Extension = 3079, Policy = 3256, Statistics = 3381, Publication = 6104, PublicationRelation = 6106;
}

/// <summary>Walks pg_depend on the recovered server from the tables outwards, and asks the primary what of all that it still has.</summary>
internal static class LostObjects
{
    /// <summary>Reads the objects. Documentation: chapter "pg_depend" for the kinds of dependency.</summary>
    public static async Task<IReadOnlyList<LostObject>> ReadAsync(ISqlSession scratch, IEnumerable<uint> tables, CancellationToken cancel)
    {
        var rows = await scratch.QueryAsync(Query(tables), cancel).ConfigureAwait(false);
        return [.. rows.Select(r => new LostObject(
            Enum.Parse<LostRole>(r.Text(0)), (uint)r.Number(1), (uint)r.Number(2), r.Text(3)[0], (uint)r.Number(4), r[5] is null or "_RETURN" ? "" : r.Text(5), r.Text(6), r.Text(7))
        { ExtensionOid = (uint)r.Number(8) })];
    }

    /// <summary>What of it the primary has: by oid, and what else stands there under the same identity.</summary>
    public static async Task<PresentObjects> PresentAsync(ISqlSession primary, IReadOnlyList<LostObject> objects, CancellationToken cancel)
    {
        var rows = await primary.QueryAsync(PresentQuery(objects), cancel).ConfigureAwait(false);
        return new PresentObjects(
            rows.Select(r => new CatalogKey((uint)r.Number(0), (uint)r.Number(1))).ToHashSet(),
            rows.GroupBy(r => ((uint)r.Number(0), r.Text(2))).ToDictionary(g => g.Key, g => (uint)g.First().Number(1)));
    }

    internal static string OidArray(IEnumerable<uint> oids) =>
        "'{" + string.Join(',', oids.Select(o => o.ToString(CultureInfo.InvariantCulture))) + "}'::oid[]";

    private static string Query(IEnumerable<uint> tables) =>
        $$"""
        WITH RECURSIVE tree(oid) AS (
          SELECT unnest({{OidArray(tables)}})
          UNION
          SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.oid
          JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition AND c.relkind IN ('r', 'p', 'f')
        ), own(classid, objid) AS (
          SELECT 1259::oid, oid FROM tree
          UNION
          SELECT d.classid, d.objid FROM own o JOIN pg_catalog.pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid
          LEFT JOIN pg_catalog.pg_class c ON d.classid = 1259 AND c.oid = d.objid
          LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 2606 AND k.oid = d.objid
          WHERE d.deptype IN ('a', 'i', 'P', 'S') AND d.classid <> 6106
            AND (c.oid IS NULL OR c.relkind IN ('i', 'I', 'S', 't', 'c')) AND (k.oid IS NULL OR k.contype <> 'f')
        ), dep(classid, objid) AS (
          SELECT classid, objid FROM own
          UNION
          SELECT x.classid, x.objid FROM dep d CROSS JOIN LATERAL (
            SELECT r.classid, r.objid FROM pg_catalog.pg_depend r
            WHERE r.refclassid = d.classid AND r.refobjid = d.objid AND r.deptype IN ('n', 'a', 'i', 'P', 'S') AND NOT (r.classid = 1259 AND r.objsubid <> 0)
            UNION ALL
            SELECT f.refclassid, f.refobjid FROM pg_catalog.pg_depend f
            WHERE f.classid = d.classid AND f.objid = d.objid AND f.deptype = 'i' AND f.refobjid >= 16384 AND f.refobjsubid = 0
          ) x
        ), need(classid, objid, strict) AS (
          SELECT d.classid, d.objid, (d.classid, d.objid) IN (SELECT classid, objid FROM own) FROM dep d
          UNION
          SELECT f.refclassid, f.refobjid, n.strict FROM need n JOIN pg_catalog.pg_depend f ON f.classid = n.classid AND f.objid = n.objid
          WHERE f.refobjid >= 16384 AND f.deptype IN ('n', 'a', 'i', 'e', 'P', 'S') AND n.classid <> 3079
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE n.classid = 1259 AND c.oid = n.objid AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
                            AND (n.classid, n.objid) NOT IN (SELECT classid, objid FROM dep))
        ), found(role, classid, objid) AS (
          SELECT 'Own', classid, objid FROM own
          UNION ALL
          SELECT 'Dependent', classid, objid FROM dep WHERE (classid, objid) NOT IN (SELECT classid, objid FROM own)
          UNION ALL
          SELECT CASE WHEN bool_or(strict) THEN 'Need' ELSE 'DependentNeed' END, classid, objid FROM need
          WHERE (classid, objid) NOT IN (SELECT classid, objid FROM dep) GROUP BY classid, objid
        )
        SELECT f.role, f.classid, f.objid,
          coalesce(c.relkind, k.contype, CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN 'A' ELSE t.typtype END, ' '),
          coalesce(x.indrelid, CASE WHEN f.classid = 1259 THEN c.oid END, k.conrelid, t.typrelid, e.typrelid, g.tgrelid, r.ev_class, p.polrelid, a.adrelid, s.stxrelid, u.prrelid, 0),
          {{Names("f.classid", "f.objid")}}, o.identity, pg_catalog.pg_describe_object(f.classid, f.objid, 0),
          coalesce((SELECT m.refobjid FROM pg_catalog.pg_depend m WHERE m.classid = f.classid AND m.objid = f.objid AND m.deptype = 'e' LIMIT 1), 0)
        FROM found f CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.classid, f.objid, 0) o
        LEFT JOIN pg_catalog.pg_class c ON f.classid = 1259 AND c.oid = f.objid
        LEFT JOIN pg_catalog.pg_index x ON f.classid = 1259 AND x.indexrelid = f.objid
        LEFT JOIN pg_catalog.pg_constraint k ON f.classid = 2606 AND k.oid = f.objid
        LEFT JOIN pg_catalog.pg_type t ON f.classid = 1247 AND t.oid = f.objid
        LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typrelid = 0
        LEFT JOIN pg_catalog.pg_trigger g ON f.classid = 2620 AND g.oid = f.objid
        LEFT JOIN pg_catalog.pg_rewrite r ON f.classid = 2618 AND r.oid = f.objid
        LEFT JOIN pg_catalog.pg_policy p ON f.classid = 3256 AND p.oid = f.objid
        LEFT JOIN pg_catalog.pg_attrdef a ON f.classid = 2604 AND a.oid = f.objid
        LEFT JOIN pg_catalog.pg_statistic_ext s ON f.classid = 3381 AND s.oid = f.objid
        LEFT JOIN pg_catalog.pg_publication_rel u ON f.classid = 6106 AND u.oid = f.objid
        WHERE o.schema IS DISTINCT FROM 'pg_toast' AND (g.oid IS NULL OR NOT g.tgisinternal)
        UNION ALL
        SELECT 'Column', 1259, d.objid, ' ', d.objid, '', '', pg_catalog.pg_describe_object(1259, d.objid, d.objsubid), 0
        FROM pg_catalog.pg_depend d JOIN dep ON d.refclassid = dep.classid AND d.refobjid = dep.objid
        WHERE d.classid = 1259 AND d.objsubid <> 0 AND (d.classid, d.objid) NOT IN (SELECT classid, objid FROM dep)
        """;

    // pg_identify_object fails on 13 for what does not exist, so it is only asked about rows that were found.
    private static string PresentQuery(IReadOnlyList<LostObject> objects)
    {
        var ids = string.Join(", ", objects.Select(o => o.Key).Distinct().Select(k => string.Create(CultureInfo.InvariantCulture, $"({k.ClassId}::oid, {k.Oid}::oid)")));
        var names = objects.Where(o => o.Name.Length > 0).Select(o => o.Name).Distinct().Select(Sql.Literal);
        return $"""
            WITH here(classid, oid, name) AS ({CatalogUnion})
            SELECT DISTINCT h.classid, h.oid, (pg_catalog.pg_identify_object(h.classid, h.oid, 0)).identity
            FROM here h WHERE (h.classid, h.oid) IN (VALUES {ids}) OR h.name = ANY (ARRAY[{string.Join(", ", names)}]::text[])
            """;
    }

    private static readonly (uint Class, string Catalog, string Name)[] Named =
    [
        (Catalogs.Namespace, "pg_namespace", "nspname"), (Catalogs.Extension, "pg_extension", "extname"), (Catalogs.Type, "pg_type", "typname"),
        (Catalogs.Procedure, "pg_proc", "proname"), (Catalogs.Class, "pg_class", "relname"), (3456, "pg_collation", "collname"),
        (Catalogs.Operator, "pg_operator", "oprname"), (2616, "pg_opclass", "opcname"), (2753, "pg_opfamily", "opfname"), (2601, "pg_am", "amname"),
        (2612, "pg_language", "lanname"), (3602, "pg_ts_config", "cfgname"), (3600, "pg_ts_dict", "dictname"), (1417, "pg_foreign_server", "srvname"),
        (2328, "pg_foreign_data_wrapper", "fdwname"), (Catalogs.Constraint, "pg_constraint", "conname"), (Catalogs.Trigger, "pg_trigger", "tgname"),
        (Catalogs.Rule, "pg_rewrite", "rulename"), (Catalogs.Policy, "pg_policy", "polname"), (Catalogs.Statistics, "pg_statistic_ext", "stxname"),
        (Catalogs.Publication, "pg_publication", "pubname"),
    ];

    private static string CatalogUnion =>
        string.Join(" UNION ALL ", Named.Select(n => $"SELECT {n.Class}::oid, oid, {n.Name}::text FROM pg_catalog.{n.Catalog}"))
        + " UNION ALL SELECT 2604::oid, oid, NULL FROM pg_catalog.pg_attrdef UNION ALL SELECT 6106::oid, oid, NULL FROM pg_catalog.pg_publication_rel UNION ALL SELECT 2605::oid, oid, NULL FROM pg_catalog.pg_cast";

    private static string Names(string classId, string oid) =>
        $"CASE {classId} " + string.Join(" ", Named.Select(n => $"WHEN {n.Class} THEN (SELECT n.{n.Name}::text FROM pg_catalog.{n.Catalog} n WHERE n.oid = {oid})")) + " END";
}

/// <summary>What the primary has of the lost objects.</summary>
/// <param name="Keys">By catalog and oid: the very same object.</param>
/// <param name="Identities">By catalog and identity: whatever stands under that name now, and its oid.</param>
internal sealed record PresentObjects(IReadOnlySet<CatalogKey> Keys, IReadOnlyDictionary<(uint ClassId, string Identity), uint> Identities)
{
    /// <summary>It is there, or something else that can serve in its place.</summary>
    public bool Serves(LostObject o) => Keys.Contains(o.Key) || Identities.ContainsKey((o.ClassId, o.Identity));
}
