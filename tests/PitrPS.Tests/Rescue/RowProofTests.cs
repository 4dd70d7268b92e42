using PitrPS.Rescue;

namespace PitrPS.Tests.Rescue;

public class RowProofTests
{
    [Theory]
    [InlineData("0", 0UL)]
    [InlineData("1", 1UL)]
    [InlineData("-1", ulong.MaxValue)]
    [InlineData("18446744073709551616", 0UL)]
    [InlineData("-18446744073709551617", ulong.MaxValue)]
    [InlineData("36893488147419103239", 7UL)]
    public void A_sum_of_any_length_and_sign_is_taken_modulo_2_to_64(string numeric, ulong sum)
    {
        Assert.Equal(sum, RowProof.Parse("7", numeric).Sum);
    }

    [Fact]
    public void A_partitioned_table_is_the_sum_of_its_partitions()
    {
        var whole = RowProof.Parse("5", "-3") + RowProof.Parse("6", "10");
        Assert.Equal(new RowProof(11, 7), whole);
        Assert.Equal("0000000000000007", whole.Checksum);
    }

    private static string Query(params CarriedColumn[] columns) => RowProof.Query(new CarriedTable(3, 1, "s", "t", columns, false, false, 0));

    private static int Depth(string text) => text.Aggregate((Now: 0, Most: 0), (d, c) => c switch { '(' => (d.Now + 1, Math.Max(d.Most, d.Now + 1)), ')' => (d.Now - 1, d.Most), _ => d }).Most;

    [Fact]
    public void The_columns_go_by_name_so_that_their_order_in_the_table_does_not_count()
    {
        Assert.Equal(Query(new("b"), new("a"), new("B")), Query(new("a"), new("B"), new("b")));
        Assert.StartsWith("SELECT 3, count(*)", Query(new CarriedColumn("a")), StringComparison.Ordinal);
    }

    [Fact]
    public void Each_column_is_hashed_with_the_one_before_as_its_seed_and_null_is_not_the_empty_text() => Assert.Equal(
        """
        SELECT 3, count(*), coalesce(sum(pg_catalog.hashtextextended(coalesce(t."b"::text, E'\001NULL\002') COLLATE "C", pg_catalog.hashtextextended((t."a"::text) COLLATE "C", 0))), 0) FROM ONLY "s"."t" t
        """, Query(new("a", NotNull: true), new("b")));

    [Fact]
    public void A_type_with_a_cast_of_somebody_s_own_is_written_by_its_output_function() =>
        Assert.Contains("""coalesce(pg_catalog.textin(geo.point_out(t."p")), """, Query(new CarriedColumn("p", Output: "geo.point_out")), StringComparison.Ordinal);

    [Fact]
    public void A_table_of_1600_columns_is_no_expression_1600_deep()
    {
        var query = Query([.. Enumerable.Range(0, 1600).Select(i => new CarriedColumn($"c{i}"))]);
        Assert.InRange(Depth(query), 40, 100);
        Assert.All(Enumerable.Range(0, 1600), i => Assert.Contains($"t.\"c{i}\"::text", query, StringComparison.Ordinal));
    }

    [Fact]
    public void A_table_without_columns_is_counted_too() => Assert.Contains("sum(0::int8)", Query(), StringComparison.Ordinal);

    [Fact]
    public void Only_the_table_itself_is_counted_and_its_name_is_quoted() =>
        Assert.EndsWith("""FROM ONLY "we""ird"."-t x" t""", RowProof.Query(new CarriedTable(1, 1, "we\"ird", "-t x", [new("a")], false, false, 0)), StringComparison.Ordinal);
}
