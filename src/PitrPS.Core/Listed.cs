namespace PitrPS;

/// <summary>Lists in objects that cmdlets emit.</summary>
internal static class Listed
{
    /// <summary>
    /// The list as an array. PowerShell's [0] asks the type for an indexer of its own: of an array it gives the first element, of the types that the compiler makes for a list the whole list.
    /// </summary>
    public static IReadOnlyList<T> Of<T>(IReadOnlyList<T> list) => list as T[] ?? list.ToArray();
}
