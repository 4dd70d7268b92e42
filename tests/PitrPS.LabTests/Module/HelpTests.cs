using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

public sealed partial class HelpTests : IDisposable
{
    private readonly PowerShellEngine _engine = new(width: 120);

    public void Dispose() => _engine.Dispose();

    [Fact]
    public void Every_cmdlet_and_every_parameter_has_its_text_in_Get_Help()
    {
        var bare = _engine.Get(
            """
            foreach ($command in Get-Command -Module PitrPS) {
                $help = Get-Help $command.Name -Full
                if (-not $help.Synopsis -or $help.Synopsis.Trim().StartsWith($command.Name)) { $command.Name }
                if (@($help.examples.example).Count -eq 0) { "$($command.Name): no example" }
                foreach ($parameter in $help.parameters.parameter) {
                    if (-not $parameter.description[0].Text) { "$($command.Name) -$($parameter.name)" }
                }
            }
            """);
        Assert.Empty(bare.Select(b => b.ToString()));
    }

    [Fact]
    public void Get_Help_shows_syntax_parameters_and_examples_of_a_cmdlet()
    {
        var text = _engine.Render("Get-Help Connect-PgHost -Full");
        Assert.Contains("Connect-PgHost [-Name] <string[]>", Whitespace().Replace(text, " "));
        Assert.Contains("-KnownHostsFile <string>", text);
        Assert.Contains("Example 1", text);
    }

    [Theory]
    [InlineData("about_PitrPS", "delayed standby")]
    [InlineData("about_PitrErrors", "PitrPS.HostKeyChanged")]
    public void There_are_topics_about_the_whole(string topic, string text) => Assert.Contains(text, _engine.Render($"Get-Help {topic}"));

    [GeneratedRegex(@"\s+")]
    private static partial Regex Whitespace();
}
