using PitrPS.Incidents;

namespace PitrPS.Tests.Incidents;

public sealed class TablePatternTests
{
    [Theory]
    [InlineData("pitr2", "public", "pitr2", true)]
    [InlineData("pitr2", "sales", "pitr2", true)]
    [InlineData("PITR2", "public", "pitr2", true)]
    [InlineData("pitr2", "public", "Pitr2", true)]
    [InlineData("\"pitr2\"", "public", "Pitr2", false)]
    [InlineData("\"Pitr2\"", "public", "Pitr2", true)]
    [InlineData("public.pitr2", "public", "pitr2", true)]
    [InlineData("public.pitr2", "sales", "pitr2", false)]
    [InlineData("pitr", "public", "pitr2", false)]
    [InlineData("pitr?", "public", "pitr2", true)]
    [InlineData("pitr[13]", "public", "pitr2", false)]
    [InlineData("pitr[1-3]", "public", "pitr2", true)]
    [InlineData("*", "public", "pitr2", true)]
    [InlineData("s*.*", "sales", "orders", true)]
    [InlineData("\"*\"", "public", "pitr2", false)]
    [InlineData("\"*\"", "public", "*", true)]
    [InlineData("\"odd.schema\".\"Na\"\"me\"", "odd.schema", "Na\"me", true)]
    [InlineData("\"odd.schema\".*", "odd.schema", "anything", true)]
    [InlineData("a.b", "public", "a.b", false)]
    [InlineData("a+b", "public", "aab", false)]
    [InlineData("x", "public", "x\n", false)]
    public void Matches_as_a_person_means_it(string pattern, string schema, string name, bool matches) =>
        Assert.Equal(matches, TablePattern.Parse(pattern).Matches(new IncidentTable("db", schema, name, 1, null)));

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("a.")]
    [InlineData(".b")]
    [InlineData("a.b.c")]
    [InlineData("\"open")]
    [InlineData("\"\"")]
    [InlineData("a\"b")]
    [InlineData("\"a\"b")]
    public void Refuses_what_is_no_name(string pattern) =>
        Assert.Equal("PitrPS.InvalidTableName", Assert.Throws<PitrException>(() => TablePattern.Parse(pattern)).Id);

    [Theory]
    [InlineData("app", "app", true)]
    [InlineData("app", "App", true)]
    [InlineData("\"app\"", "App", false)]
    [InlineData("my.db", "my.db", true)]
    [InlineData("a*", "app", true)]
    public void Matches_a_name_on_its_own(string pattern, string name, bool matches) => Assert.Equal(matches, TablePattern.Name(pattern).IsMatch(name));
}
