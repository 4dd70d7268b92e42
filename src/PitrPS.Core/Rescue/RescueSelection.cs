using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>
/// What of the lost objects is made again on the primary: with the tables, or not at all (<see cref="Must"/>); or after them, as far as it goes (<see cref="Also"/>).
/// Everything that depended on a table must have gone in the transaction that dropped it, so making it again undoes that transaction and nothing else.
/// </summary>
internal sealed record RescueSelection
{
    /// <summary>The tables, what is part of them, and what they need and the primary has lost.</summary>
    public required IReadOnlySet<CatalogKey> Must { get; init; }

    /// <summary>Views, functions and so on that depended on them, and what those need.</summary>
    public required IReadOnlySet<CatalogKey> Also { get; init; }

    /// <summary>The relations that pg_dump is asked for by name; empty when only a dump of all definitions has what is wanted.</summary>
    public required IReadOnlyList<LostObject> DumpOnly { get; init; }

    /// <summary>What is known already not to come back, and what the user should know.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <exception cref="PitrException">
    /// <c>PitrPS.TableExists</c>, <c>PitrPS.NameTaken</c>, <c>PitrPS.ParentMissing</c>, <c>PitrPS.TableOfExtension</c>
    /// </exception>
    public static RescueSelection Choose(RescueSource source, PresentObjects primary, PgServer to)
    {
        var own = source.Objects.Where(o => o.Role == LostRole.Own).ToList();
        RefuseWhatIsThere(own, primary, to);
        RefuseWhatHasNoPlace(source.Objects, own, primary, to);

        var notes = new List<string>();
        var tree = own.Where(o => o.IsTable).Select(o => o.Oid).ToHashSet();
        var needs = source.Objects.Where(o => o.Role == LostRole.Need).ToList();
        foreach (var other in needs.Where(n => !primary.Keys.Contains(n.Key) && primary.Serves(n) && n.ClassId != Catalogs.Class))
        {
            notes.Add($"{other.Description} on the primary is not the one that it had: it was made again since, and is used as it is");
        }

        var must = own.Where(o => !primary.Keys.Contains(o.Key)).Select(o => o.Key).Concat(needs.Where(n => !primary.Serves(n) && !IsInExtension(n, source.Objects, primary)).Select(n => n.Key)).ToHashSet();
        var also = new HashSet<CatalogKey>();
        var roots = new List<LostObject>();
        var dependents = source.Objects.Where(o => o.Role == LostRole.Dependent && !primary.Serves(o)).ToList();
        var views = dependents.Where(d => d.IsView).Select(d => d.Oid).ToHashSet();
        foreach (var d in dependents)
        {
            if (d.IsTable)
            {
                notes.Add($"{d.Description} depended on it and was lost with it; bring it back too by naming it with -Table");
            }
            else if (MadeByUs(d, tree, views) || IsPartOfTable(d, dependents))
            {
                continue;
            }
            else
            {
                also.Add(d.Key);
                roots.Add(d);
            }
        }

        foreach (var n in source.Objects.Where(o => o.Role == LostRole.DependentNeed && !primary.Serves(o)))
        {
            if (n.IsTable || n.IsView || (n.Relation != 0 && !n.IsSequence))
            {
                if (n.IsTable)
                {
                    notes.Add($"{n.Description} is not on the primary, so what depends on both does not come back; bring it back too by naming it with -Table");
                }

                continue;
            }

            also.Add(n.Key);
            roots.Add(n);
        }

        notes.AddRange(source.Objects.Where(o => o.Role == LostRole.Column).Select(c => $"{c.Description} had the table's row type and was lost with it; its values stay lost"));
        var byName = own.Where(o => o.IsTable).Concat(roots.Where(r => r.IsView || r.IsSequence)).Concat(needs.Where(n => n.IsSequence && must.Contains(n.Key))).ToList();
        var covered = byName.Select(o => o.Oid).ToHashSet();
        var whole = roots.Concat(needs.Where(n => must.Contains(n.Key))).Any(o => !covered.Contains(o.Relation) && !covered.Contains(o.Oid));
        return new RescueSelection { Must = must, Also = also, DumpOnly = whole ? [] : byName, Notes = notes };
    }

    // Foreign keys, publications, and what hangs on tables that are still there: pg_dump gives it only with those tables.
    private static bool MadeByUs(LostObject o, HashSet<uint> tree, HashSet<uint> views) =>
        o.IsForeignKey || o.ClassId == Catalogs.PublicationRelation
        || (o.ClassId is Catalogs.Default or Catalogs.Constraint && o.Relation != 0 && !tree.Contains(o.Relation) && !views.Contains(o.Relation));

    private static bool IsPartOfTable(LostObject o, List<LostObject> dependents) =>
        o.Relation != 0 && !o.IsTable && dependents.Any(d => d.IsTable && d.Oid == o.Relation);

    // A type of an extension that has gone comes with the extension.
    private static bool IsInExtension(LostObject o, IReadOnlyList<LostObject> objects, PresentObjects primary) =>
        o.ClassId != Catalogs.Extension && o.ExtensionOid != 0 && objects.Any(e => e.ClassId == Catalogs.Extension && e.Oid == o.ExtensionOid && !primary.Serves(e));

    private static void RefuseWhatIsThere(List<LostObject> own, PresentObjects primary, PgServer to)
    {
        foreach (var o in own.Where(o => o.IsTable))
        {
            var same = primary.Keys.Contains(o.Key);
            if (same || primary.Serves(o))
            {
                throw new PitrException("PitrPS.TableExists", ErrorKind.ResourceExists,
                    same ? $"{o.Description} was not lost: the same table is on {to.Id} (it may have another name there)."
                        : $"{to.Id} has a {o.Description} again already, made after the one that was lost.",
                    "Nothing was changed. Rename or drop the table on the primary if the recovered one should take its place, or name the other tables with -Table.", to);
            }
        }

        // An array type's name gives way by itself.
        if (own.FirstOrDefault(o => o.ClassId is Catalogs.Class or Catalogs.Type && o.Kind != 'A' && !primary.Keys.Contains(o.Key) && primary.Serves(o)) is { } taken)
        {
            throw new PitrException("PitrPS.NameTaken", ErrorKind.ResourceExists,
                $"{taken.Description} belongs to the lost table, and {to.Id} has another object of that name now.",
                "Nothing was changed. Rename that object on the primary, then run the same command again.", to);
        }
    }

    private static void RefuseWhatHasNoPlace(IReadOnlyList<LostObject> objects, List<LostObject> own, PresentObjects primary, PgServer to)
    {
        if (objects.FirstOrDefault(o => o.Role == LostRole.Need && (o.IsTable || o.IsView) && !primary.Serves(o)) is { } parent)
        {
            throw new PitrException("PitrPS.ParentMissing", ErrorKind.ObjectNotFound,
                $"The table needs {parent.Description}, which is not on {to.Id} either.",
                $"Nothing was changed. Bring both back together: -Table with the names of both.", to);
        }

        if (own.FirstOrDefault(o => o.IsTable && o.ExtensionOid != 0) is { } member)
        {
            throw new PitrException("PitrPS.TableOfExtension", ErrorKind.InvalidOperation,
                $"{member.Description} is part of an extension, and is made by CREATE EXTENSION only.",
                "Nothing was changed. Make the extension again on the primary, then copy the rows from the recovered server with \\copy.", to);
        }
    }
}
