using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Tests.Incidents;

/// <summary>
/// What real servers wrote: pg_waldump's lines (the invalidation messages cut), the delayed standby's catalogs, the raw bytes of INSERTs into pg_class.
/// All three versions ran the same statements.
/// </summary>
internal sealed partial class Samples(int major)
{
    private static string Folder => Path.Combine(AppContext.BaseDirectory, "Incidents", "Samples");

    public static IEnumerable<string> Lines(string name) => File.ReadLines(Path.Combine(Folder, name));

    public IReadOnlyList<string> Wal { get; } = [.. Lines($"wal-{major}.txt")];

    public SampleCatalogs Catalogs { get; } = new([.. Lines($"catalogs-{major}.txt").Select(l => l.Split('|'))]);

    public SampleReader Reader => new(Wal, Lines($"inserts-{major}.txt").Select(l => l.Split(' ')).ToDictionary(p => Lsn.Parse(p[0]), p => Convert.FromBase64String(p[1])));

    public static Lsn LsnOf(string line) => Lsn.Parse(LsnInLine().Match(line).Groups[1].Value);

    [GeneratedRegex(", lsn: ([0-9A-F]+/[0-9A-F]+),")]
    private static partial Regex LsnInLine();

    /// <summary>What a search finds, given these lines in place of the sample's or its own.</summary>
    public async Task<IReadOnlyList<DroppedTables>> FindAsync(IReadOnlyList<string>? wal = null, NoFeedback? feedback = null, Func<string, bool>? isWanted = null)
    {
        var lines = wal ?? Wal;
        var transactions = new WalTransactions();
        foreach (var line in lines)
        {
            transactions.Take(line);
        }

        var finder = new DropFinder(Reader with { Lines = lines }, Catalogs, transactions, LsnOf(lines[0]), TestServer.Of(major), feedback ?? new NoFeedback());
        return await finder.FindAsync([.. DropFinder.Candidates(transactions, major).Where(c => c.At >= Catalogs.Replayed)], isWanted ?? (_ => true), CancellationToken.None);
    }
}

/// <summary>WAL that is text. The conditions are awk's, so all lines of a stretch come; the journal sorts out what it asked for.</summary>
internal sealed record SampleReader(IReadOnlyList<string> Lines, IReadOnlyDictionary<Lsn, byte[]> Bytes) : IWalReader
{
    public Task<WalScanEnd> ReadAsync(Lsn from, Lsn to, WalFilter filter, Action<string> line, CancellationToken cancel)
    {
        foreach (var text in Lines.Where(l => Samples.LsnOf(l) >= from && Samples.LsnOf(l) < to))
        {
            line(text);
        }

        return Task.FromResult(new WalScanEnd(to, null));
    }

    public Task<IReadOnlyList<byte[]>> BytesAsync(IReadOnlyList<(Lsn From, long Count)> stretches, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<byte[]>>([.. stretches.Select(s => Bytes.GetValueOrDefault(s.From) ?? [])]);
}

/// <summary>The catalogs of the standby that the sample was taken from, as they were at its position.</summary>
internal sealed class SampleCatalogs(IReadOnlyList<string[]> rows) : IStandbyCatalogs
{
    public Lsn Replayed { get; } = Lsn.Parse(rows.Single(r => r[0] == "replayed")[1]);

    public Task<IReadOnlyList<CatalogDatabase>> DatabasesAsync(CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<CatalogDatabase>>([.. rows.Where(r => r[0] == "database").Select(r => new CatalogDatabase(Number(r[1]), r[2]))]);

    public Task<(uint Class, uint Namespace)> FilesAsync(CatalogDatabase database, CancellationToken cancel) =>
        Task.FromResult(rows.Where(r => r[0] == "files" && r[1] == database.Name).Select(r => (Number(r[2]), Number(r[3]))).Single());

    public Task<IReadOnlyList<CatalogRelation>> RelationsAsync(
        CatalogDatabase database, IReadOnlyCollection<uint> oids, IReadOnlyCollection<uint> files, IReadOnlyCollection<TupleId> places, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<CatalogRelation>>([.. rows.Where(r => r[0] == "relation" && r[1] == database.Name).Select(RelationOf)
            .Where(r => oids.Contains(r.Oid) || files.Contains(r.FileNode) || places.Contains(r.Row))]);

    /// <summary>What <see cref="RemoversAsync"/> answers.</summary>
    public Dictionary<uint, uint> Removers { get; } = [];

    public Task<IReadOnlyDictionary<uint, uint>> RemoversAsync(CatalogDatabase database, IReadOnlyCollection<uint> oids, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyDictionary<uint, uint>>(Removers.Where(r => oids.Contains(r.Key)).ToDictionary());

    public Task<IReadOnlyDictionary<uint, string>> SchemasAsync(CatalogDatabase database, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyDictionary<uint, string>>(rows.Where(r => r[0] == "schema" && r[1] == database.Name).ToDictionary(r => Number(r[2]), r => r[3]));

    private static CatalogRelation RelationOf(string[] row)
    {
        var place = row[4].Trim('(', ')').Split(',');
        return new CatalogRelation(Number(row[2]), row[7], row[8], row[5][0], row[6][0], Number(row[3]), new TupleId(Number(place[0]), (ushort)Number(place[1])));
    }

    private static uint Number(string text) => uint.Parse(text, CultureInfo.InvariantCulture);
}

/// <summary>Keeps what was said.</summary>
internal sealed class NoFeedback : IFeedback
{
    public List<string> Warnings { get; } = [];

    public void Verbose(string text)
    {
    }

    public void Warning(string text) => Warnings.Add(text);

    public void Progress(ProgressNote note)
    {
    }
}

internal static class TestServer
{
    public static PgServer Of(int major, TestPlace? place = null) => new()
    {
        Host = place?.Host ?? new Fakes.FakeRemoteHost().Host,
        Name = $"{major}/main",
        Version = major,
        Port = 5432,
        DataDirectory = place?.DataDirectory ?? $"/var/lib/postgresql/{major}/main",
        ConfigDirectory = $"/etc/postgresql/{major}/main",
        BinDirectory = place?.BinDirectory ?? $"/usr/lib/postgresql/{major}/bin",
        WalSegmentSize = 1 << 20,
        IsRunning = true,
        IsStandby = true,
        Role = ServerRole.Standby,
    };
}

/// <summary>A host with directories of its own.</summary>
internal sealed record TestPlace(PitrPS.Hosts.PgHost Host, string DataDirectory, string BinDirectory);
