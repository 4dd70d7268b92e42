using PitrPS.Rescue;

namespace PitrPS.Tests.Rescue;

public class TableCatalogTests
{
    private static readonly CatalogItem Index = new("s.t", "index", "s.i", "CREATE INDEX i");
    private static readonly CatalogItem Owner = new("s.t", "owner", "", "app");
    private static readonly CatalogItem Column = new("s.t", "column", "a", "integer");

    [Fact]
    public void What_is_the_same_on_both_is_no_difference() => Assert.Empty(TableCatalog.Compare([Index, Owner], [Owner, Index with { }]));

    [Fact]
    public void What_is_missing_or_another_is_named()
    {
        var differences = TableCatalog.Compare([Index, Owner, Column], [Owner with { Definition = "postgres" }, Column]);
        Assert.Equal(["s.t: index s.i is not back", "s.t: owner was 'app' and is 'postgres'"], differences.Select(d => d.ToString()));
    }

    [Fact]
    public void The_summary_counts_only_what_came_back_as_it_was()
    {
        CatalogItem[] was = [Index, Owner, Column, Column with { Name = "b" }, Column with { Table = "s.other" }];
        var differences = TableCatalog.Compare(was, [Owner, Column, Column with { Name = "b" }]);
        Assert.Equal("back as before: 2 columns", TableCatalog.Summary(was, differences, "s.t"));
    }
}
