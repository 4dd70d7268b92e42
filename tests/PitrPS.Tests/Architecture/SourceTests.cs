using System.Text.RegularExpressions;

namespace PitrPS.Tests.Architecture;

public sealed partial class SourceTests
{
    // Put together, so that this file does not have what it forbids.
    private static readonly string[] Forbidden =
        ["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Exception", "Thread" + ".Sleep", "StrictHostKeyChecking" + "=no", "Start" + "-Sleep"];

    [Fact]
    public void Nothing_is_left_for_later_and_nothing_waits_by_sleeping()
    {
        var found = from file in Sources("src", "module", "scripts", "tests").Append(Path.Join(Code.Root, "build.ps1"))
                    let text = File.ReadAllText(file)
                    from word in Forbidden
                    where text.Contains(word, StringComparison.Ordinal)
                    select $"{Path.GetRelativePath(Code.Root, file)}: {word}";
        Assert.Empty(found);
    }

    [Fact]
    public void No_class_is_a_drawer_for_everything()
    {
        var found = Code.Core.GetTypes().Concat(Code.Cmdlets.GetTypes()).Where(t => t.Name.EndsWith("Utils", StringComparison.Ordinal)
            || t.Name.EndsWith("Helper", StringComparison.Ordinal) || t.Name.EndsWith("Manager", StringComparison.Ordinal));
        Assert.Empty(found.Select(t => t.FullName));
    }

    [Fact]
    public void Error_ids_are_stable_words()
    {
        var ids = Code.Strings(Code.Core).Concat(Code.Strings(Code.Cmdlets)).Select(s => s.Text).Where(s => IdLike().IsMatch(s)).Distinct().ToList();
        Assert.NotEmpty(ids);
        Assert.All(ids, id => Assert.Matches("^PitrPS(\\.[A-Z][A-Za-z]+)+$", id));
    }

    [Fact]
    public void What_differs_between_versions_of_PostgreSQL_is_known_to_one_file()
    {
        var found = from file in Sources("src")
                    where Path.GetExtension(file) == ".cs" && Path.GetFileName(file) != "PgVersion.cs"
                    from line in File.ReadLines(file).Index()
                    where VersionCompared().IsMatch(line.Item)
                    select $"{Path.GetRelativePath(Code.Root, file)}:{line.Index + 1}: {line.Item.Trim()}";
        Assert.Empty(found);
        Assert.Matches(VersionCompared(), "if (server.Version >= 14)");
        Assert.Matches(VersionCompared(), "major is 13 or 14");
        Assert.Matches(VersionCompared(), "major switch { 13 => 1 }");
    }

    [GeneratedRegex(@"\b\w*([Vv]ersion|[Mm]ajor|VersionNumber)\b\)?\s*(([<>]=?|==|!=|\bis\b)\s*(not\s+)?[<>=]*\s*\d|switch\s*\{\s*[<>=]*\s*\d)")]
    private static partial Regex VersionCompared();

    [GeneratedRegex(@"^PitrPS\.\S+$")]
    private static partial Regex IdLike();

    private static IEnumerable<string> Sources(params string[] folders) =>
        from folder in folders
        from file in Directory.EnumerateFiles(Path.Join(Code.Root, folder), "*", SearchOption.AllDirectories)
        where Path.GetExtension(file) is ".cs" or ".ps1" or ".psm1" or ".psd1" or ".sh"
        where !file.Split(Path.DirectorySeparatorChar).Any(part => part is "bin" or "obj")
        select file;
}
