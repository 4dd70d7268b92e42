using System.Collections.ObjectModel;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace PitrPS.Tests;

public class ListedTests
{
    public static TheoryData<string, string> Lists
    {
        get
        {
            var lists = new TheoryData<string, string>();
            foreach (var property in typeof(Listed).Assembly.GetExportedTypes().SelectMany(t => t.GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)))
            {
                if (property.PropertyType.IsGenericType && property.PropertyType.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) && property.SetMethod is not null)
                {
                    lists.Add(property.DeclaringType!.FullName!, property.Name);
                }
            }

            return lists;
        }
    }

    [Theory]
    [MemberData(nameof(Lists))]
    public void PowerShell_takes_the_first_element_of_each_list_that_a_cmdlet_emits(string type, string name)
    {
        var property = typeof(Listed).Assembly.GetType(type)!.GetProperty(name)!;
        var element = property.PropertyType.GenericTypeArguments[0];
        var target = RuntimeHelpers.GetUninitializedObject(property.DeclaringType!);
        var list = Activator.CreateInstance(typeof(ReadOnlyCollection<>).MakeGenericType(element), Array.CreateInstance(element, 2));

        property.SetValue(target, list);

        Assert.IsType(element.MakeArrayType(), property.GetValue(target));
    }
}
