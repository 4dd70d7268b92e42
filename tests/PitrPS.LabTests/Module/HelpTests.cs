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
        Assert.DoesNotContain("-WhatIf", text);
        Assert.Contains("[-WhatIf] [-Confirm] [<CommonParameters>]", Whitespace().Replace(_engine.Render("Get-Help Set-ReplicationDelay"), " "));
    }

    [Fact]
    public void There_is_a_topic_about_the_whole() => Assert.Contains("delayed standbys, over SSH", _engine.Render("Get-Help about_PitrPS"));

    [Fact]
    public void Every_error_is_explained_with_what_to_do_next()
    {
        var topic = _engine.Render("Get-Help about_PitrErrors");
        var ids = Directory.EnumerateFiles(Path.Join(RepositoryPaths.Root, "src"), "*.cs", SearchOption.AllDirectories)
            .SelectMany(file => ErrorId().Matches(File.ReadAllText(file))).Select(match => match.Groups[1].Value).Distinct().ToList();
        Assert.NotEmpty(ids);
        Assert.All(ids, id => Assert.Matches(new Regex($@"^  {Regex.Escape(id)}( \(\w+\))?\r?\n    \S(?s:.*?)\n    > ", RegexOptions.Multiline), topic));
    }

    [GeneratedRegex("""\(\s*"(PitrPS\.[A-Z]\w+)",""")]
    private static partial Regex ErrorId();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Whitespace();
}
