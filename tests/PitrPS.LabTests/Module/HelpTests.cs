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

    /// <summary>The code in it is read by PowerShell's own parser: the commands and parameters that it names are there, and so are the errors.</summary>
    [Theory]
    [InlineData("about_PitrPS")]
    [InlineData("about_PitrRecovery")]
    public void A_topic_names_only_what_there_is(string topic)
    {
        var text = File.ReadAllText(Path.Join(RepositoryPaths.Root, "module", "en-US", topic + ".help.txt"));
        Assert.Equal(text.ReplaceLineEndings("\n").Trim(), _engine.Render($"Get-Help {topic}").ReplaceLineEndings("\n").Trim());
        Assert.All(text.Split('\n'), line => Assert.True(line.Length <= 80, line));

        var code = string.Join('\n', text.Split('\n').Where(line => CodeLine().IsMatch(line)));
        var wrong = _engine.Get(
            """
            $tokens = $errors = $null
            $tree = [Management.Automation.Language.Parser]::ParseInput($code, [ref] $tokens, [ref] $errors)
            $errors | ForEach-Object { "$_" }
            foreach ($use in $tree.FindAll({ $args[0] -is [Management.Automation.Language.CommandAst] }, $true)) {
                $command = Get-Command $use.GetCommandName() -ErrorAction Ignore
                # The hosted engine has the core commands only.
                if (-not $command) { if ($use.GetCommandName() -ne 'Format-List') { "there is no $($use.GetCommandName())" }; continue }
                foreach ($name in ($use.CommandElements | Where-Object { $_ -is [Management.Automation.Language.CommandParameterAst] }).ParameterName) {
                    if (-not $command.Parameters.ContainsKey($name)) { "$($command.Name) has no -$name" }
                }
            }
            """, ("code", code));
        Assert.Empty(wrong.Select(w => w.ToString()));
        Assert.True(code.Split('\n').Length > 8);

        var errors = _engine.Render("Get-Help about_PitrErrors");
        Assert.All(NamedError().Matches(text).Select(m => m.Value), id => Assert.Contains($"\n  {id}", errors.ReplaceLineEndings("\n"), StringComparison.Ordinal));
    }

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

    [GeneratedRegex(@"PitrPS\.[A-Z]\w+")]
    private static partial Regex NamedError();

    // What can be typed: a pipeline, or an assignment of one.
    [GeneratedRegex(@"^ {4,}(\$\w+ (=|\|) |(Install|Mount|New|Set|Where|Restore|Enable)-\w+ -?\S+.*(\||$)(?<![.:,;]$))")]
    private static partial Regex CodeLine();

    [GeneratedRegex(@"\s+")]
    private static partial Regex Whitespace();
}
