using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>A database as the standby knows it.</summary>
/// <param name="Oid">pg_database.oid.</param>
/// <param name="Name">Its name.</param>
internal sealed record CatalogDatabase(uint Oid, string Name);

/// <summary>A relation as the standby's pg_class has it.</summary>
internal sealed record CatalogRelation(uint Oid, string Schema, string Name, char Kind, char Persistence, uint FileNode, TupleId Row)
{
    /// <summary>What DROP TABLE drops and somebody may want back: ordinary and partitioned tables, logged or unlogged, not temporary ones.</summary>
    public bool IsTable => Kind is 'r' or 'p' && Persistence != 't';
}

/// <summary>
/// The catalogs of a delayed standby: they still name what was dropped. Only catalogs are read, never a dropped table, which the startup process may hold locked already.
/// </summary>
internal interface IStandbyCatalogs
{
    /// <summary>The databases that can be connected to.</summary>
    Task<IReadOnlyList<CatalogDatabase>> DatabasesAsync(CancellationToken cancel);

    /// <summary>The files of pg_class and pg_namespace of a database.</summary>
    Task<(uint Class, uint Namespace)> FilesAsync(CatalogDatabase database, CancellationToken cancel);

    /// <summary>The relations with one of these oids, files or places in pg_class.</summary>
    Task<IReadOnlyList<CatalogRelation>> RelationsAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, IReadOnlyCollection<uint> files, IReadOnlyCollection<TupleId> rows, CancellationToken cancel);

    /// <summary>
    /// Of these relations those whose removal the standby has replayed, though not its commit, each with the (sub)transaction that removes it.
    /// Nothing but DROP touches the pg_attribute rows of a table's system columns.
    /// </summary>
    Task<IReadOnlyDictionary<uint, uint>> RemoversAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, CancellationToken cancel);

    /// <summary>Schema names by oid.</summary>
    Task<IReadOnlyDictionary<uint, string>> SchemasAsync(CatalogDatabase database, CancellationToken cancel);
}

/// <summary>The catalogs by SQL.</summary>
internal sealed class StandbyCatalogs(PgServer server, IFeedback feedback) : IStandbyCatalogs
{
    // Keeps one statement to some 100 kB.
    private const int AtOnce = 5000;

    public async Task<IReadOnlyList<CatalogDatabase>> DatabasesAsync(CancellationToken cancel) =>
        [.. (await ServerSql.QueryAsync(server, "postgres", "SELECT oid, datname FROM pg_catalog.pg_database WHERE datallowconn", feedback, cancel).ConfigureAwait(false))
            .Select(r => new CatalogDatabase((uint)r.Number(0), r.Text(1)))];

    public async Task<(uint Class, uint Namespace)> FilesAsync(CatalogDatabase database, CancellationToken cancel)
    {
        var row = (await ServerSql.QueryAsync(server, database.Name,
            "SELECT pg_relation_filenode('pg_catalog.pg_class'), pg_relation_filenode('pg_catalog.pg_namespace')", feedback, cancel).ConfigureAwait(false))[0];
        return ((uint)row.Number(0), (uint)row.Number(1));
    }

    public async Task<IReadOnlyList<CatalogRelation>> RelationsAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, IReadOnlyCollection<uint> files, IReadOnlyCollection<TupleId> rows, CancellationToken cancel)
    {
        await using var sql = await ServerSql.OpenAsync(server, database.Name, feedback, cancel).ConfigureAwait(false);
        var found = new List<CatalogRelation>();
        async Task AskAsync(string column, string type, IEnumerable<string> values)
        {
            foreach (var some in values.Chunk(AtOnce))
            {
                var answer = await sql.QueryAsync(
                    $$"""
                    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relfilenode, c.ctid
                      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                     WHERE c.{{column}} = ANY ('{{{string.Join(',', some)}}}'::{{type}}[])
                    """, cancel).ConfigureAwait(false);
                found.AddRange(answer.Select(From));
            }
        }

        await AskAsync("oid", "oid", oids.Select(Text)).ConfigureAwait(false);
        await AskAsync("relfilenode", "oid", files.Select(Text)).ConfigureAwait(false);
        await AskAsync("ctid", "tid", rows.Select(r => $"\"{r}\"")).ConfigureAwait(false);
        return [.. found.Distinct()];
    }

    public async Task<IReadOnlyDictionary<uint, uint>> RemoversAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, CancellationToken cancel) =>
        (await ServerSql.QueryAsync(server, database.Name,
            $"SELECT attrelid, xmax FROM pg_catalog.pg_attribute WHERE attnum = -1 AND xmax <> '0' AND attrelid = ANY ('{{{string.Join(',', oids.Select(Text))}}}'::oid[])", feedback, cancel).ConfigureAwait(false))
            .ToDictionary(r => (uint)r.Number(0), r => (uint)r.Number(1));

    public async Task<IReadOnlyDictionary<uint, string>> SchemasAsync(CatalogDatabase database, CancellationToken cancel) =>
        (await ServerSql.QueryAsync(server, database.Name, "SELECT oid, nspname FROM pg_catalog.pg_namespace", feedback, cancel).ConfigureAwait(false))
            .ToDictionary(r => (uint)r.Number(0), r => r.Text(1));

    private static CatalogRelation From(SqlRow row)
    {
        var place = row.Text(6).Trim('(', ')').Split(',');
        return new CatalogRelation((uint)row.Number(0), row.Text(1), row.Text(2), row.Text(3)[0], row.Text(4)[0], (uint)row.Number(5),
            new TupleId(uint.Parse(place[0], CultureInfo.InvariantCulture), ushort.Parse(place[1], CultureInfo.InvariantCulture)));
    }

    private static string Text(uint number) => number.ToString(CultureInfo.InvariantCulture);
}
