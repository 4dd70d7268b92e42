using System.Management.Automation.Language;
using System.Management.Automation.Runspaces;
using PitrPS.Tests.Architecture;

namespace PitrPS.Tests.Module;

/// <summary>What has to run where there is no pwsh uses the language, .NET, programs and the core cmdlets alone.</summary>
public sealed class ScriptTests
{
    private static readonly string[] Programs = ["bash", "dotnet", "pwsh", "ssh"];

    private static readonly HashSet<string> CoreCmdlets = new(
        InitialSessionState.CreateDefault2().Commands.OfType<SessionStateCmdletEntry>().Select(c => c.Name), StringComparer.OrdinalIgnoreCase);

    public static TheoryData<string> Files
    {
        get
        {
            string[] folders = ["module", "scripts/help", "scripts/demo", "scripts/runbooks", "tests/bench"];
            var files = folders.Select(folder => Path.Join(Code.Root, folder)).Where(Directory.Exists)
                .SelectMany(folder => Directory.EnumerateFiles(folder, "*.ps*1", SearchOption.AllDirectories)).Append(Path.Join(Code.Root, "build.ps1"));
            return [.. files.Select(file => Path.GetRelativePath(Code.Root, file)).Order(StringComparer.Ordinal)];
        }
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Uses_core_cmdlets_only(string file)
    {
        var path = Path.Join(Code.Root, file);
        var known = new HashSet<string>(CoreCmdlets, StringComparer.OrdinalIgnoreCase);
        known.UnionWith(Programs);
        known.UnionWith(ManifestTests.Words("CmdletsToExport"));

        // Functions of the file itself, of those beside it, which dot-source one another, and of those that all of these dot-source from elsewhere.
        var read = new HashSet<string>(StringComparer.Ordinal);
        var toRead = new Queue<string>(Directory.EnumerateFiles(Path.GetDirectoryName(path)!, "*.ps*1"));
        while (toRead.TryDequeue(out var one))
        {
            if (read.Add(Path.GetFullPath(one)))
            {
                known.UnionWith(Parse(one).FindAll(a => a is FunctionDefinitionAst, true).Cast<FunctionDefinitionAst>().Select(f => f.Name));
                foreach (var dotted in Parse(one).FindAll(a => a is CommandAst { InvocationOperator: TokenKind.Dot }, true).Cast<CommandAst>().Select(c => c.CommandElements[0]).OfType<ExpandableStringExpressionAst>())
                {
                    toRead.Enqueue(dotted.Value.Replace("$PSScriptRoot", Path.GetDirectoryName(one), StringComparison.Ordinal));
                }
            }
        }

        var unknown = Parse(path).FindAll(a => a is CommandAst, true).Cast<CommandAst>()
            .Where(c => c.GetCommandName() is { } name && !known.Contains(name) && !name.Contains('/', StringComparison.Ordinal))
            .Select(c => $"{c.Extent.StartLineNumber}: {c.Extent.Text}");
        Assert.Empty(unknown);
    }

    private static ScriptBlockAst Parse(string path)
    {
        var ast = Parser.ParseFile(path, out _, out var errors);
        Assert.Empty(errors);
        return ast;
    }
}
