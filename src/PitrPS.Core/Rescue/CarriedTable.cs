using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>A table whose rows are carried: an ordinary table, or a partition of a partitioned one.</summary>
/// <param name="Number">Its place in the stream, from 1.</param>
/// <param name="Oid">On both servers before the incident; on the recovered server now.</param>
/// <param name="Schema">The schema.</param>
/// <param name="Name">The name.</param>
/// <param name="Columns">The columns that have rows' own values: neither dropped nor generated, in the table's order.</param>
/// <param name="HasGenerated">It has generated columns too.</param>
/// <param name="Unlogged">Its rows never were in the WAL, so it is empty on the recovered server.</param>
/// <param name="Bytes">Its size on the recovered server, without indexes.</param>
internal sealed record CarriedTable(int Number, uint Oid, string Schema, string Name, IReadOnlyList<CarriedColumn> Columns, bool HasGenerated, bool Unlogged, long Bytes)
{
    public string QualifiedName => Sql.Qualified(Schema, Name);

    /// <summary>On the recovered server. The text is in the database's own encoding, so that nothing is converted.</summary>
    public string CopyOut(string encoding) => $"COPY {QualifiedName}{ColumnList} TO STDOUT WITH (ENCODING {Sql.Literal(encoding)})";

    /// <summary>
    /// On the primary. FREEZE: the table is made in the same transaction, so nobody can see the rows too early, and no later reader has to write them again
    /// (documentation, COPY).
    /// </summary>
    public string CopyIn(string encoding) => $"COPY {QualifiedName}{ColumnList} FROM STDIN WITH (FREEZE, ENCODING {Sql.Literal(encoding)})";

    // Without generated columns the list says nothing, and a table without columns could not have one.
    private string ColumnList => HasGenerated ? $" ({string.Join(", ", Columns.Select(c => Sql.Identifier(c.Name)))})" : "";
}

/// <summary>A column whose values are carried.</summary>
/// <param name="Name">Its name.</param>
/// <param name="NotNull">It has no NULL.</param>
/// <param name="Output">Its type's output function, as SQL calls it; null where a cast to text gives the same.</param>
internal sealed record CarriedColumn(string Name, bool NotNull = false, string? Output = null);
