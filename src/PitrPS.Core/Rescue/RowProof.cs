using System.Globalization;
using System.Numerics;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>
/// What proves that a table is the same on two servers: how many rows, and the sum of a 64-bit hash of each row's text, modulo 2^64.
/// A sum does not depend on the order of the rows, and unlike XOR it notices rows that came twice.
/// </summary>
/// <param name="Rows">Rows.</param>
/// <param name="Sum">The sum of the hashes.</param>
internal readonly record struct RowProof(long Rows, ulong Sum)
{
    public string Checksum => Sum.ToString("X16", CultureInfo.InvariantCulture);

    /// <summary>Of two tables together: a partitioned table is the sum of its partitions.</summary>
    public static RowProof operator +(RowProof left, RowProof right) => new(left.Rows + right.Rows, unchecked(left.Sum + right.Sum));

    /// <summary>From PostgreSQL's count(*) and its sum as numeric, which is signed and may be longer than 64 bits.</summary>
    public static RowProof Parse(string rows, string sum) =>
        new(long.Parse(rows, CultureInfo.InvariantCulture), (ulong)(BigInteger.Parse(sum, CultureInfo.InvariantCulture) & ulong.MaxValue));

    // An expression of 1,600 columns, one inside the other, would be too deep for the parser.
    private const int ChainLength = 40;

    private const string Null = "E'\\001NULL\\002'";

    /// <summary>
    /// SELECT of one row: number, count, sum. A row's hash is the hash of its columns' texts, each seeded with the one before, so that no value can move to the next column.
    /// The columns go by name, so that the same rows give the same sum where the columns stand in another order.
    /// Generated columns are left out: they are not carried but computed again. hashtextextended: source src/backend/access/hash/hashfunc.c, since 11;
    /// a third of the time of hashing ROW(…)::text.
    /// </summary>
    public static string Query(CarriedTable table) =>
        $"SELECT {table.Number.ToString(CultureInfo.InvariantCulture)}, count(*), coalesce(sum({RowHash(table.Columns)}), 0) FROM ONLY {table.QualifiedName} t";

    private static string RowHash(IEnumerable<CarriedColumn> columns) => columns.OrderBy(c => c.Name, StringComparer.Ordinal).Chunk(ChainLength)
        .Select((chain, i) => chain.Aggregate(i.ToString(CultureInfo.InvariantCulture), (seed, column) => $"pg_catalog.hashtextextended({Text(column)} COLLATE \"C\", {seed})"))
        .Aggregate((string?)null, (before, chain) => before is null ? chain : $"pg_catalog.hashint8extended({chain}, {before})") ?? "0::int8";

    private static string Text(CarriedColumn column)
    {
        var text = column.Output is { } output ? $"pg_catalog.textin({output}(t.{Sql.Identifier(column.Name)}))" : $"t.{Sql.Identifier(column.Name)}::text";
        return column.NotNull ? $"({text})" : $"coalesce({text}, {Null})";
    }
}
