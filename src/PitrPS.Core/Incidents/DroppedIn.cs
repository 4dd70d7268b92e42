using System.Globalization;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>
/// What was dropped in one database, and where its names come from: the standby's catalogs, or the WAL for what is younger than them.
/// </summary>
/// <param name="oid">pg_database.oid.</param>
/// <param name="database">Null for one that is younger than the standby's catalogs or takes no connections.</param>
/// <param name="catalogs">The standby's catalogs.</param>
/// <param name="transactions">What was read of the range.</param>
/// <param name="journal">The changes of pg_class.</param>
/// <param name="from">Where the range begins.</param>
/// <param name="major">The major version.</param>
internal sealed class DroppedIn(
    uint oid, CatalogDatabase? database, IStandbyCatalogs catalogs, WalTransactions transactions, ClassJournal journal, Lsn from, int major)
{
    /// <summary>pg_class's oid, which is its file's number too until it is rewritten.</summary>
    public const uint PgClass = 1259;

    private const uint PgNamespace = 2615;

    private readonly Dictionary<WalCommit, List<IncidentTable>> _tables = [];
    private readonly Dictionary<uint, string> _newSchemas = [];
    private IReadOnlyDictionary<uint, string>? _schemas;
    private bool _schemasSearched;
    private (WalFileNode Class, WalFileNode Namespace)? _catalogFiles;

    public uint Oid => oid;

    /// <summary>Where the range begins.</summary>
    public Lsn From => from;

    public string Name => database?.Name ?? NameOf(oid);

    public IEnumerable<DroppedTables> Found =>
        _tables.Select(t => new DroppedTables(t.Key, [.. t.Value.OrderBy(x => x.FirstLock ?? default).ThenBy(x => x.Oid)]));

    public static string NameOf(uint oid) => string.Create(CultureInfo.InvariantCulture, $"oid {oid}");

    public async Task<IReadOnlyList<CatalogRelation>> RelationsAsync(IReadOnlyCollection<uint> oids, IReadOnlyCollection<uint> files, IReadOnlyCollection<TupleId> rows, CancellationToken cancel) =>
        database is null || oids.Count + files.Count + rows.Count == 0 ? [] : await catalogs.RelationsAsync(database, oids, files, rows, cancel).ConfigureAwait(false);

    /// <inheritdoc cref="IStandbyCatalogs.RemoversAsync"/>
    public async Task<IReadOnlyDictionary<uint, uint>> RemoversAsync(IReadOnlyCollection<uint> oids, CancellationToken cancel) =>
        database is null || oids.Count == 0 ? new Dictionary<uint, uint>() : await catalogs.RemoversAsync(database, oids, cancel).ConfigureAwait(false);

    /// <summary>The changes of pg_class in these stretches.</summary>
    public async Task<IReadOnlyList<CatalogChange>> ClassChangesAsync(IEnumerable<(Lsn From, Lsn To)> stretches, CancellationToken cancel) =>
        await journal.ReadAsync(stretches, (await FilesAsync(cancel).ConfigureAwait(false)).Class, cancel).ConfigureAwait(false);

    /// <summary>The rows of pg_class that these INSERTs bring; those that cannot be read are left out.</summary>
    public async Task<Dictionary<CatalogChange, ClassRow>> ClassesAsync(IReadOnlyList<CatalogChange> inserts, CancellationToken cancel)
    {
        var tuples = await journal.TuplesAsync(inserts, cancel).ConfigureAwait(false);
        return inserts.Zip(tuples, (insert, tuple) => (insert, Row: ClassRow.From(tuple, major))).Where(p => p.Row is not null).ToDictionary(p => p.insert, p => p.Row!);
    }

    /// <summary>A table that the standby still has.</summary>
    public void Add(WalCommit commit, CatalogRelation row)
    {
        if (row.IsTable)
        {
            AddOnce(commit, new IncidentTable(Name, row.Schema, row.Name, row.Oid, transactions.FirstLock(commit, oid, row.Oid)) { IsUnlogged = row.Persistence == 'u' });
        }
    }

    /// <summary>A table that is younger than the standby's catalogs, as the WAL has it.</summary>
    public async Task AddNewerAsync(WalCommit commit, ClassRow row, CancellationToken cancel)
    {
        if (row.Kind is 'r' or 'p' && row.Persistence != 't')
        {
            var schema = await SchemaAsync(row.Namespace, commit.At, cancel).ConfigureAwait(false);
            AddOnce(commit, new IncidentTable(Name, schema, row.Name, row.Oid, transactions.FirstLock(commit, oid, row.Oid)) { IsUnlogged = row.Persistence == 'u', IsNewerThanStandby = true });
        }
    }

    /// <summary>A relation of which nothing is known but that it had storage and others could see it.</summary>
    public void AddUnknown(WalCommit commit, uint relation) =>
        AddOnce(commit, new IncidentTable(Name, "", NameOf(relation), relation, transactions.FirstLock(commit, oid, relation)) { IsNewerThanStandby = true, IsNameKnown = false });

    private async Task<(WalFileNode Class, WalFileNode Namespace)> FilesAsync(CancellationToken cancel)
    {
        if (_catalogFiles is null)
        {
            var (ofClass, ofNamespace) = database is null ? (PgClass, PgNamespace) : await catalogs.FilesAsync(database, cancel).ConfigureAwait(false);
            _catalogFiles = (new WalFileNode(oid, ofClass), new WalFileNode(oid, ofNamespace));
        }

        return _catalogFiles.Value;
    }

    private void AddOnce(WalCommit commit, IncidentTable table)
    {
        if (!_tables.TryGetValue(commit, out var tables))
        {
            _tables[commit] = tables = [];
        }

        if (tables.All(t => t.Oid != table.Oid))
        {
            tables.Add(table);
        }
    }

    // The standby's schemas; a schema that is younger than they are is looked for in the WAL, once.
    private async Task<string> SchemaAsync(uint schema, Lsn before, CancellationToken cancel)
    {
        _schemas ??= database is null ? new Dictionary<uint, string> { [2200] = "public" } : await catalogs.SchemasAsync(database, cancel).ConfigureAwait(false);
        if (_schemas.TryGetValue(schema, out var name) || _newSchemas.TryGetValue(schema, out name))
        {
            return name;
        }

        if (!_schemasSearched)
        {
            _schemasSearched = true;
            var changes = await journal.ReadAsync([(from, before)], (await FilesAsync(cancel).ConfigureAwait(false)).Namespace, cancel).ConfigureAwait(false);
            foreach (var tuple in await journal.TuplesAsync([.. changes.Where(c => c.Change == RowChange.Insert)], cancel).ConfigureAwait(false))
            {
                if (NamespaceRow.From(tuple) is { } row)
                {
                    _newSchemas[row.Oid] = row.Name;
                }
            }
        }

        return _newSchemas.GetValueOrDefault(schema, NameOf(schema));
    }
}
