using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Rescue;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Rescue;

public class RescueSelectionTests
{
    private static readonly LostObject Table = new(LostRole.Own, Catalogs.Class, 100, 'r', 100, "orders", "sales.orders", "table sales.orders");
    private static readonly LostObject RowType = new(LostRole.Own, Catalogs.Type, 101, 'c', 100, "orders", "sales.orders", "type sales.orders");
    private static readonly LostObject ArrayType = new(LostRole.Own, Catalogs.Type, 102, 'A', 100, "_orders", "sales.orders[]", "type sales.orders[]");
    private static readonly LostObject Index = new(LostRole.Own, Catalogs.Class, 103, 'i', 100, "orders_i", "sales.orders_i", "index sales.orders_i");
    private static readonly LostObject Schema = new(LostRole.Need, Catalogs.Namespace, 104, ' ', 0, "sales", "sales", "schema sales");
    private static readonly LostObject Mood = new(LostRole.Need, Catalogs.Type, 105, 'e', 0, "mood", "sales.mood", "type sales.mood");
    private static readonly LostObject View = new(LostRole.Dependent, Catalogs.Class, 110, 'v', 110, "v", "public.v", "view public.v");
    private static readonly LostObject ViewRule = new(LostRole.Dependent, Catalogs.Rule, 111, ' ', 110, "", "\"_RETURN\" on public.v", "rule _RETURN on view public.v");
    private static readonly LostObject ForeignKey = new(LostRole.Dependent, Catalogs.Constraint, 112, 'f', 200, "lines_fkey", "lines_fkey on public.lines", "constraint lines_fkey on table public.lines");
    private static readonly LostObject Function = new(LostRole.Dependent, Catalogs.Procedure, 113, 'f', 0, "cheap", "public.cheap()", "function public.cheap()");
    private static readonly LostObject Child = new(LostRole.Dependent, Catalogs.Class, 114, 'r', 114, "chi", "public.chi", "table public.chi");

    private readonly PgServer _to = new()
    {
        Host = new FakeRemoteHost("primary").Host,
        Name = "15/main",
        Version = 15,
        Port = 5432,
        DataDirectory = "/d",
        ConfigDirectory = "/c",
        BinDirectory = "/b",
    };

    private static RescueSource Source(params LostObject[] objects) => new()
    {
        Encoding = "UTF8",
        Tables = [new IncidentTable("shop", "sales", "orders", 100, null)],
        Carried = [],
        Leaves = new Dictionary<uint, IReadOnlyList<uint>>(),
        Objects = objects,
        Made = [],
        Roles = [],
        Tablespaces = [],
        TotalBytes = 0,
    };

    private static PresentObjects Present(params LostObject[] objects) =>
        new(objects.Select(o => o.Key).ToHashSet(), objects.ToDictionary(o => (o.ClassId, o.Identity), o => o.Oid));

    /// <summary>What stands under the same name but is another object.</summary>
    private static PresentObjects Another(LostObject o) => new(new HashSet<CatalogKey> { new(o.ClassId, 9999) }, new Dictionary<(uint, string), uint> { [(o.ClassId, o.Identity)] = 9999 });

    private RescueSelection Choose(PresentObjects present, params LostObject[] objects) => RescueSelection.Choose(Source(objects), present, _to);

    private string Refusal(PresentObjects present, params LostObject[] objects) => Assert.Throws<PitrException>(() => Choose(present, objects)).Id;

    [Fact]
    public void A_table_by_itself_is_dumped_by_name()
    {
        var chosen = Choose(Present(Schema), Table, RowType, ArrayType, Index, Schema);
        Assert.Equal([Table], chosen.DumpOnly);
        Assert.Equal(new HashSet<CatalogKey> { Table.Key, RowType.Key, ArrayType.Key, Index.Key }, chosen.Must);
        Assert.Empty(chosen.Also);
        Assert.Empty(chosen.Notes);
    }

    [Fact]
    public void A_view_that_went_with_it_is_made_again_after_it()
    {
        var chosen = Choose(Present(Schema), Table, Schema, View, ViewRule);
        Assert.Equal([Table, View], chosen.DumpOnly);
        Assert.Equal(new HashSet<CatalogKey> { View.Key, ViewRule.Key }, chosen.Also);
    }

    [Fact]
    public void A_foreign_key_of_another_table_needs_no_dump_of_that_table()
    {
        var chosen = Choose(Present(Schema), Table, Schema, ForeignKey);
        Assert.Equal([Table], chosen.DumpOnly);
        Assert.Empty(chosen.Also);
    }

    [Fact]
    public void A_schema_or_type_that_has_gone_too_is_made_with_it_and_only_a_whole_dump_has_that()
    {
        var chosen = Choose(Present(), Table, Schema, Mood);
        Assert.Contains(Schema.Key, chosen.Must);
        Assert.Contains(Mood.Key, chosen.Must);
        Assert.Empty(chosen.DumpOnly);
        Assert.Empty(Choose(Present(Schema), Table, Schema, Function).DumpOnly);
    }

    [Fact]
    public void A_type_that_was_made_again_since_is_used_and_said()
    {
        var chosen = Choose(Another(Mood) with { Keys = new HashSet<CatalogKey> { Schema.Key } }, Table, Schema, Mood);
        Assert.DoesNotContain(Mood.Key, chosen.Must);
        Assert.Contains("sales.mood", Assert.Single(chosen.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void A_child_table_that_went_with_it_is_named_not_made()
    {
        var chosen = Choose(Present(Schema), Table, Schema, Child);
        Assert.DoesNotContain(Child.Key, chosen.Must.Concat(chosen.Also));
        Assert.Contains("public.chi", Assert.Single(chosen.Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void A_column_of_its_row_type_stays_lost_and_is_named()
    {
        var column = new LostObject(LostRole.Column, Catalogs.Class, 300, ' ', 300, "", "", "column o of table public.holder");
        Assert.Contains("column o of table public.holder", Assert.Single(Choose(Present(Schema), Table, Schema, column).Notes), StringComparison.Ordinal);
    }

    [Fact]
    public void A_table_that_was_never_lost_is_refused() => Assert.Equal("PitrPS.TableExists", Refusal(Present(Table, Schema), Table, Schema));

    [Fact]
    public void A_table_of_that_name_made_since_is_refused() => Assert.Equal("PitrPS.TableExists", Refusal(Another(Table), RowType, Index, Table));

    [Fact]
    public void Another_object_with_the_name_of_its_index_is_refused() => Assert.Equal("PitrPS.NameTaken", Refusal(Another(Index), Table, Index));

    [Fact]
    public void An_array_type_of_that_name_is_in_nobodys_way() => Assert.Equal([Table], Choose(Another(ArrayType), Table, ArrayType).DumpOnly);

    [Fact]
    public void A_partition_is_refused_while_its_table_is_missing() =>
        Assert.Equal("PitrPS.ParentMissing", Refusal(Present(), Table, new LostObject(LostRole.Need, Catalogs.Class, 90, 'p', 90, "logs", "public.logs", "table public.logs")));

    [Fact]
    public void A_table_of_an_extension_is_refused() => Assert.Equal("PitrPS.TableOfExtension", Refusal(Present(), Table with { ExtensionOid = 77 }));
}
