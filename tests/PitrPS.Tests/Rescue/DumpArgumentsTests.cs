using PitrPS.Rescue;

namespace PitrPS.Tests.Rescue;

public class DumpArgumentsTests
{
    [Theory]
    [InlineData("public.pitr2", "\"public\".\"pitr2\"")]
    [InlineData("sales.\"Orders\"", "\"sales\".\"Orders\"")]
    [InlineData("\"a.b\".\"c.d\"", "\"a.b\".\"c.d\"")]
    [InlineData("\"-We\"\"ird.S\".\"-ta'b \"\"$*?[ü\nx\"", "\"-We\"\"ird.S\".\"-ta'b \"\"$*?[ü\nx\"")]
    [InlineData("public.\"ends with \"\"\"", "\"public\".\"ends with \"\"\"")]
    public void A_pattern_names_one_relation_literally(string identity, string pattern) => Assert.Equal(pattern, DumpArguments.Pattern(identity));
}
