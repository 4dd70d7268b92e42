using System.Management.Automation;
using System.Reflection;
using System.Xml;

namespace PitrPS.Tests.Architecture;

public sealed class CmdletTests
{
    private static readonly string[] ReadingVerbs = ["Get", "Find", "Test", "Connect", "Disconnect"];

    private static readonly string[] ApprovedVerbs =
    [
        .. new[] { typeof(VerbsCommon), typeof(VerbsCommunications), typeof(VerbsData), typeof(VerbsDiagnostic), typeof(VerbsLifecycle), typeof(VerbsOther), typeof(VerbsSecurity) }
            .SelectMany(t => t.GetFields()).Select(f => (string)f.GetValue(null)!),
    ];

    private static readonly Lazy<Dictionary<string, XmlElement>> Documentation = new(ReadDocumentation);

    public static TheoryData<string> Names => [.. Code.CmdletTypes.Select(t => t.Name)];

    [Fact]
    public void There_are_cmdlets() => Assert.NotEmpty(Code.CmdletTypes);

    [Theory]
    [MemberData(nameof(Names))]
    public void Is_named_as_PowerShell_names_things(string name)
    {
        var (type, cmdlet) = Find(name);
        Assert.Contains(cmdlet.VerbName, ApprovedVerbs);
        Assert.Matches("^(Pg|Wal|Pitr|Replication|Recovery)[A-Z][A-Za-z]*$", cmdlet.NounName);
        Assert.DoesNotMatch("[^s]s$", cmdlet.NounName.Replace("Status", "", StringComparison.Ordinal));
        Assert.Equal($"{cmdlet.VerbName}{cmdlet.NounName}Command", type.Name);
        Assert.True(type.IsSealed, $"{type.Name} is not sealed.");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Says_what_it_emits(string name)
    {
        var (type, cmdlet) = Find(name);
        if (cmdlet.VerbName != "Disconnect")
        {
            Assert.NotEmpty(type.GetCustomAttributes<OutputTypeAttribute>());
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Can_be_asked_what_it_would_do_when_it_changes_anything(string name)
    {
        var (_, cmdlet) = Find(name);
        Assert.Equal(!ReadingVerbs.Contains(cmdlet.VerbName), cmdlet.SupportsShouldProcess);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Is_a_short_file_of_its_own(string name)
    {
        var lines = File.ReadAllLines(Path.Join(Code.Root, "src", "PitrPS", "Commands", name + ".cs"));
        Assert.InRange(lines.Length, 1, 120);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Is_documented_with_an_example_that_calls_it(string name)
    {
        var (type, cmdlet) = Find(name);
        var member = Assert.Contains("T:" + type.FullName, Documentation.Value as IDictionary<string, XmlElement>);
        Assert.False(string.IsNullOrWhiteSpace(member.SelectSingleNode("summary")?.InnerText));
        var examples = member.SelectNodes("example")!.Cast<XmlElement>().ToList();
        Assert.NotEmpty(examples);
        Assert.All(examples, example =>
        {
            Assert.Contains($"{cmdlet.VerbName}-{cmdlet.NounName}", example.SelectSingleNode("code")?.InnerText);
            Assert.False(string.IsNullOrWhiteSpace(example.SelectSingleNode("para")?.InnerText), "An example does not say what it does.");
        });
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Has_a_text_for_each_parameter(string name)
    {
        var (type, _) = Find(name);
        var bare = from property in type.GetProperties()
                   where property.GetCustomAttributes<ParameterAttribute>().Any()
                   let key = $"P:{property.DeclaringType!.FullName}.{property.Name}"
                   where !Documentation.Value.TryGetValue(key, out var member) || string.IsNullOrWhiteSpace(member.SelectSingleNode("summary")?.InnerText)
                   select property.Name;
        Assert.Empty(bare);
    }

    private static (Type Type, CmdletAttribute Cmdlet) Find(string name)
    {
        var type = Code.CmdletTypes.Single(t => t.Name == name);
        return (type, type.GetCustomAttribute<CmdletAttribute>()!);
    }

    private static Dictionary<string, XmlElement> ReadDocumentation()
    {
        var document = new XmlDocument();
        document.Load(Path.ChangeExtension(Code.Cmdlets.Location, ".xml"));
        return document.SelectNodes("/doc/members/member")!.Cast<XmlElement>().ToDictionary(m => m.GetAttribute("name"));
    }
}
