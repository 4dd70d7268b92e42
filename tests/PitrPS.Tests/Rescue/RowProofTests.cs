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

    [Fact]
    public void The_columns_go_by_name_so_that_their_order_in_the_table_does_not_count()
    {
        static string Query(params string[] columns) => RowProof.Query(new CarriedTable(3, 1, "s", "t", columns, false, false, 0));
        Assert.Equal(Query("b", "a", "B"), Query("a", "B", "b"));
        Assert.Contains("""ROW(t."B", t."a", t."b")::text""", Query("b", "a", "B"), StringComparison.Ordinal);
        Assert.StartsWith("SELECT 3, count(*)", Query("a"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_without_columns_is_counted_too()
    {
        Assert.Contains("""ROW()::text""", RowProof.Query(new CarriedTable(1, 1, "s", "t", [], false, false, 0)), StringComparison.Ordinal);
    }

    [Fact]
    public void Only_the_table_itself_is_counted_and_its_name_is_quoted()
    {
        Assert.EndsWith("""FROM ONLY "we""ird"."-t x" t""", RowProof.Query(new CarriedTable(1, 1, "we\"ird", "-t x", ["a"], false, false, 0)), StringComparison.Ordinal);
    }
}
