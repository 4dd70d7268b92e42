using System.Reflection;
using System.Reflection.Emit;
using System.Runtime.CompilerServices;

namespace PitrPS.Tests.Architecture;

/// <summary>The product's assemblies as the rules of this folder look at them.</summary>
internal static class Code
{
    private const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static readonly Dictionary<int, OpCode> OpCodesByValue =
        typeof(OpCodes).GetFields().Select(f => (OpCode)f.GetValue(null)!).ToDictionary(o => (int)(ushort)o.Value);

    public static Assembly Core { get; } = typeof(PitrException).Assembly;

    public static Assembly Cmdlets { get; } = typeof(Commands.PitrCmdlet).Assembly;

    public static string Root { get; } = FindRoot();

    public static IEnumerable<Type> CmdletTypes =>
        Cmdlets.GetExportedTypes().Where(t => t.GetCustomAttribute<System.Management.Automation.CmdletAttribute>() is not null).OrderBy(t => t.Name, StringComparer.Ordinal);

    /// <summary>The folder of a type below its project: the first word after PitrPS in its namespace; empty for the root files.</summary>
    public static string FolderOf(Type type) => (type.Namespace ?? "").Split('.') is ["PitrPS", var folder, ..] ? folder : "";

    /// <summary>Every type that a type's declaration or code names.</summary>
    public static IReadOnlySet<Type> ReferencesOf(Type type)
    {
        var found = new HashSet<Type>();
        Add(found, type.BaseType);
        foreach (var implemented in type.GetInterfaces())
        {
            Add(found, implemented);
        }

        foreach (var member in type.GetMembers(All))
        {
            AddMember(found, member);
            if (member is MethodBase method)
            {
                foreach (var named in Operands(method).OfType<MemberInfo>())
                {
                    AddMember(found, named);
                    Add(found, named as Type ?? named.DeclaringType);
                }
            }
        }

        return found;
    }

    /// <summary>The string literals in an assembly's code, with the type that has them.</summary>
    public static IEnumerable<(Type Type, string Text)> Strings(Assembly assembly) =>
        from type in assembly.GetTypes()
        from method in type.GetMembers(All).OfType<MethodBase>()
        from text in Operands(method).OfType<string>()
        select (type, text);

    private static void AddMember(HashSet<Type> found, MemberInfo member)
    {
        switch (member)
        {
            case FieldInfo field:
                Add(found, field.FieldType);
                break;
            case MethodBase method:
                Add(found, (method as MethodInfo)?.ReturnType);
                foreach (var parameter in method.GetParameters())
                {
                    Add(found, parameter.ParameterType);
                }

                foreach (var argument in method.IsGenericMethod ? method.GetGenericArguments() : [])
                {
                    Add(found, argument);
                }

                break;
        }
    }

    private static void Add(HashSet<Type> found, Type? type)
    {
        if (type is null || type.IsGenericParameter)
        {
            return;
        }

        if (type.HasElementType)
        {
            Add(found, type.GetElementType());
            return;
        }

        foreach (var argument in type.GenericTypeArguments)
        {
            Add(found, argument);
        }

        found.Add(type);
    }

    // What the instructions of a method name: types, members and strings.
    private static IEnumerable<object> Operands(MethodBase method)
    {
        if (method.GetMethodBody()?.GetILAsByteArray() is not { } il)
        {
            yield break;
        }

        var typeArguments = method.DeclaringType!.IsGenericType ? method.DeclaringType.GetGenericArguments() : null;
        var methodArguments = method.IsGenericMethod ? method.GetGenericArguments() : null;
        for (var at = 0; at < il.Length;)
        {
            var value = il[at++];
            var code = OpCodesByValue[value == 0xFE ? 0xFE00 | il[at++] : value];
            switch (code.OperandType)
            {
                case OperandType.InlineString:
                    yield return method.Module.ResolveString(BitConverter.ToInt32(il, at));
                    break;
                case OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok or OperandType.InlineType:
                    yield return method.Module.ResolveMember(BitConverter.ToInt32(il, at), typeArguments, methodArguments)!;
                    break;
            }

            at += code.OperandType switch
            {
                OperandType.InlineNone => 0,
                OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
                OperandType.InlineVar => 2,
                OperandType.InlineI8 or OperandType.InlineR => 8,
                OperandType.InlineSwitch => 4 + (4 * BitConverter.ToInt32(il, at)),
                _ => 4,
            };
        }
    }

    private static string FindRoot([CallerFilePath] string here = "") => Path.GetFullPath(Path.Join(Path.GetDirectoryName(here), "..", "..", ".."));
}
