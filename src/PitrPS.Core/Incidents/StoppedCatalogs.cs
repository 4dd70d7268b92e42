using System.Buffers.Binary;
using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Incidents;

/// <summary>
/// The catalogs of a stopped standby, read from its files: rows whose insertion is committed and whose deletion is not, as the standby would see them when it starts,
/// which it had better not do when the delay has run out meanwhile.
/// Source: src/backend/utils/cache/relmapper.c, src/include/access/htup_details.h, src/backend/access/transam/clog.c.
/// </summary>
internal sealed class StoppedCatalogs(PgServer server) : IStandbyCatalogs
{
    private const uint PgNamespace = 2615;
    private const uint PgDatabase = 1262;
    private const uint PgAttribute = 1249;

    private readonly CommitLog _commits = new(name => server.Host.Remote.ReadFileAsync($"{server.DataDirectory}/pg_xact/{name}", default));
    private readonly Dictionary<uint, (string Folder, IReadOnlyList<(TupleId Place, ClassRow Row)> Classes)> _databases = [];

    public async Task<IReadOnlyList<CatalogDatabase>> DatabasesAsync(CancellationToken cancel)
    {
        var folder = server.DataDirectory + "/global";
        var rows = await RowsAsync(folder, await MappedAsync(folder, PgDatabase, cancel).ConfigureAwait(false), cancel).ConfigureAwait(false);
        // oid and name lie alike in pg_database and pg_namespace.
        return [.. rows.Select(r => NamespaceRow.From(new HeapTuple(r.Tuple.Data))).OfType<NamespaceRow>().Select(r => new CatalogDatabase(r.Oid, r.Name))];
    }

    public async Task<(uint Class, uint Namespace)> FilesAsync(CatalogDatabase database, CancellationToken cancel)
    {
        var (folder, classes) = await DatabaseAsync(database, cancel).ConfigureAwait(false);
        return (await MappedAsync(folder, DroppedIn.PgClass, cancel).ConfigureAwait(false), classes.First(c => c.Row.Oid == PgNamespace).Row.FileNode);
    }

    public async Task<IReadOnlyList<CatalogRelation>> RelationsAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, IReadOnlyCollection<uint> files, IReadOnlyCollection<TupleId> rows, CancellationToken cancel)
    {
        var (_, classes) = await DatabaseAsync(database, cancel).ConfigureAwait(false);
        var schemas = await SchemasAsync(database, cancel).ConfigureAwait(false);
        var (byOid, byFile, byPlace) = (oids.ToHashSet(), files.ToHashSet(), rows.ToHashSet());
        return [.. classes.Where(c => byOid.Contains(c.Row.Oid) || byFile.Contains(c.Row.FileNode) || byPlace.Contains(c.Place))
            .Select(c => new CatalogRelation(c.Row.Oid, schemas.GetValueOrDefault(c.Row.Namespace, DroppedIn.NameOf(c.Row.Namespace)), c.Row.Name, c.Row.Kind, c.Row.Persistence, c.Row.FileNode, c.Place))];
    }

    public async Task<IReadOnlyDictionary<uint, uint>> RemoversAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, CancellationToken cancel)
    {
        var (folder, _) = await DatabaseAsync(database, cancel).ConfigureAwait(false);
        var rows = await RowsAsync(folder, await MappedAsync(folder, PgAttribute, cancel).ConfigureAwait(false), cancel).ConfigureAwait(false);
        // attnum as 13 and 14 have it, which alone ask.
        return rows.Where(r => r.Tuple.Remover != 0 && r.Tuple.Data.Length >= 80 && BinaryPrimitives.ReadInt16LittleEndian(r.Tuple.Data.AsSpan(78)) == -1)
            .Select(r => (Relation: ClassRow.Number(r.Tuple.Data, 0), r.Tuple.Remover)).Where(r => oids.Contains(r.Relation)).ToDictionary(r => r.Relation, r => r.Remover);
    }

    public async Task<IReadOnlyDictionary<uint, string>> SchemasAsync(CatalogDatabase database, CancellationToken cancel)
    {
        var (folder, classes) = await DatabaseAsync(database, cancel).ConfigureAwait(false);
        var rows = await RowsAsync(folder, classes.First(c => c.Row.Oid == PgNamespace).Row.FileNode, cancel).ConfigureAwait(false);
        return rows.Select(r => NamespaceRow.From(new HeapTuple(r.Tuple.Data))).OfType<NamespaceRow>().ToDictionary(r => r.Oid, r => r.Name);
    }

    private async Task<(string Folder, IReadOnlyList<(TupleId Place, ClassRow Row)> Classes)> DatabaseAsync(CatalogDatabase database, CancellationToken cancel)
    {
        if (!_databases.TryGetValue(database.Oid, out var known))
        {
            // base, or the database's own tablespace.
            var said = await server.Host.RunCheckedAsync(RemoteCommand.Shell(
                """for d in "$1/base/$2" "$1"/pg_tblspc/*/PG_*/"$2"; do [ -f "$d/pg_filenode.map" ] && echo "$d" && exit; done; echo "no directory of database $2" >&2; exit 1""",
                server.DataDirectory, database.Oid.ToString(CultureInfo.InvariantCulture)).As(server.OsUser), cancel).ConfigureAwait(false);
            var folder = said.Text;
            var rows = await RowsAsync(folder, await MappedAsync(folder, DroppedIn.PgClass, cancel).ConfigureAwait(false), cancel).ConfigureAwait(false);
            known = (folder, [.. rows.Select(r => (r.Place, Row: ClassRow.From(new HeapTuple(r.Tuple.Data), server.Version))).Where(r => r.Row is not null).Select(r => (r.Place, r.Row!))]);
            _databases[database.Oid] = known;
        }

        return known;
    }

    // The file of a catalog that has no relfilenode of its own: magic, number of mappings, then oid and file of each.
    private async Task<uint> MappedAsync(string folder, uint catalog, CancellationToken cancel)
    {
        var map = await ReadAsync(folder + "/pg_filenode.map", cancel).ConfigureAwait(false);
        var count = map.Length < 8 ? 0 : BinaryPrimitives.ReadInt32LittleEndian(map.AsSpan(4));
        for (var i = 0; i < count && 16 + (8 * i) <= map.Length; i++)
        {
            if (ClassRow.Number(map, 8 + (8 * i)) == catalog)
            {
                return ClassRow.Number(map, 12 + (8 * i));
            }
        }

        throw Unreadable($"{folder}/pg_filenode.map does not name catalog {catalog}");
    }

    private async Task<IReadOnlyList<(TupleId Place, StoredTuple Tuple)>> RowsAsync(string folder, uint file, CancellationToken cancel)
    {
        var rows = new List<(TupleId, StoredTuple)>();
        foreach (var (place, tuple) in StoredTuple.InFile(await ReadAsync($"{folder}/{file.ToString(CultureInfo.InvariantCulture)}", cancel).ConfigureAwait(false)))
        {
            if (await tuple.IsVisibleAsync(_commits).ConfigureAwait(false))
            {
                rows.Add((place, tuple));
            }
        }

        return rows;
    }

    private async Task<byte[]> ReadAsync(string path, CancellationToken cancel) =>
        await server.Host.Remote.ReadFileAsync(path, cancel).ConfigureAwait(false) ?? throw Unreadable($"there is no {path}");

    private PitrException Unreadable(string why) => new("PitrPS.CatalogUnreadable", ErrorKind.InvalidData,
        $"The catalogs of {server.Id}, which is stopped, cannot be read from its files: {why}.",
        "Look whether the data directory is whole. Mind that a standby whose delay has run out applies what it held back as soon as it is started.", server);
}

/// <summary>Which transactions have committed: two bits for each, 01 for committed. Source: src/backend/access/transam/clog.c.</summary>
/// <param name="read">Reads a file of pg_xact; null where there is none.</param>
internal sealed class CommitLog(Func<string, Task<byte[]?>> read)
{
    private const uint PerFile = 32 * 8192 * 4;
    private readonly Dictionary<uint, byte[]> _files = [];

    public async Task<bool> HasCommittedAsync(uint transaction)
    {
        // Bootstrap and frozen.
        if (transaction is 1 or 2)
        {
            return true;
        }

        var file = transaction / PerFile;
        if (!_files.TryGetValue(file, out var bytes))
        {
            // A file that is gone held only transactions that everything has long been frozen for.
            _files[file] = bytes = await read(file.ToString("X4", CultureInfo.InvariantCulture)).ConfigureAwait(false) ?? [];
        }

        var at = (int)(transaction % PerFile / 4);
        return at < bytes.Length && ((bytes[at] >> (int)(transaction % 4 * 2)) & 3) == 1;
    }
}

/// <summary>A tuple on a page, with who inserted and who removed it. Source: src/include/access/htup_details.h.</summary>
/// <param name="Data">The columns.</param>
/// <param name="Inserter">xmin.</param>
/// <param name="Remover">xmax of a deletion or an update; 0 for none, and for a mere lock.</param>
/// <param name="State">infomask.</param>
internal sealed record StoredTuple(byte[] Data, uint Inserter, uint Remover, ushort State)
{
    private const int Page = 8192;
    private const ushort XmaxLockOnly = 0x0080, XminCommitted = 0x0100, XminInvalid = 0x0200, XmaxCommitted = 0x0400, XmaxInvalid = 0x0800, XmaxIsMulti = 0x1000;

    public static IEnumerable<(TupleId Place, StoredTuple Tuple)> InFile(byte[] file)
    {
        for (var block = 0; (block + 1) * Page <= file.Length; block++)
        {
            var page = file.AsMemory(block * Page, Page);
            var pointers = (BinaryPrimitives.ReadUInt16LittleEndian(page.Span[12..]) - 24) / 4;
            for (var offset = 1; offset <= pointers; offset++)
            {
                if (OnPage(page.Span, offset) is { } tuple)
                {
                    yield return (new TupleId((uint)block, (ushort)offset), tuple);
                }
            }
        }
    }

    /// <summary>Whether a new snapshot would see it.</summary>
    public async Task<bool> IsVisibleAsync(CommitLog commits)
    {
        // Both bits together mean frozen.
        var inserted = (State & XminCommitted) != 0 || ((State & XminInvalid) == 0 && await commits.HasCommittedAsync(Inserter).ConfigureAwait(false));
        return inserted && !(Remover != 0 && ((State & XmaxCommitted) != 0 || await commits.HasCommittedAsync(Remover).ConfigureAwait(false)));
    }

    private static StoredTuple? OnPage(ReadOnlySpan<byte> page, int offset)
    {
        if (HeapTuple.OnPage(page, offset) is not { } tuple)
        {
            return null;
        }

        var at = (int)(BinaryPrimitives.ReadUInt32LittleEndian(page[(24 + (4 * (offset - 1)))..]) & 0x7FFF);
        var state = BinaryPrimitives.ReadUInt16LittleEndian(page[(at + 20)..]);
        var removed = (state & (XmaxInvalid | XmaxLockOnly | XmaxIsMulti)) == 0;
        return new StoredTuple(tuple.Data, BinaryPrimitives.ReadUInt32LittleEndian(page[at..]), removed ? BinaryPrimitives.ReadUInt32LittleEndian(page[(at + 4)..]) : 0, state);
    }
}
