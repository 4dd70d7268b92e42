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

    /// <summary>
    /// SELECT of one row: number, count, sum. The columns go by name, so that the same rows give the same sum where the columns stand in another order.
    /// Generated columns are left out: they are not carried but computed again. hashtextextended: source src/backend/access/hash/hashfunc.c, since 11.
    /// </summary>
    public static string Query(CarriedTable table) =>
        $"""SELECT {table.Number.ToString(CultureInfo.InvariantCulture)}, count(*), coalesce(sum(pg_catalog.hashtextextended(ROW({string.Join(", ", table.Columns.Order(StringComparer.Ordinal).Select(c => "t." + Sql.Identifier(c)))})::text COLLATE "C", 0)), 0) FROM ONLY {table.QualifiedName} t""";
}
