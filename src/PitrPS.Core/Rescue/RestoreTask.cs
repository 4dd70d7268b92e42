using System.Globalization;
using System.Text.Json;
using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>
/// What one restore is about, as its journal keeps it, so that the next client can finish it and say what came of it: also when the recovered server is gone by then.
/// </summary>
internal sealed record RestoreTask
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    /// <summary>Names its folders, its unit, its key and its session on the primary.</summary>
    public required string Id { get; init; }

    public required string Primary { get; init; }

    public required string Database { get; init; }

    /// <summary>The tables that were asked for, and all their partitions.</summary>
    public required IReadOnlyList<RestoredName> Tables { get; init; }

    /// <summary>What each part of the transaction is, for what is said about it.</summary>
    public required IReadOnlyDictionary<int, string> Parts { get; init; }

    /// <summary>What was known before not to come back.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    public required DateTimeOffset Began { get; init; }

    public string Name => UnfinishedRestore.NameOf(Id);

    public string PrimaryFolder => UnfinishedRestore.PrimaryFolder(Id);

    public string StandbyFolder => UnfinishedRestore.StandbyFolder(Id);

    public string OutcomeFile => PrimaryFolder + "/outcome";

    /// <summary>As pg_stat_activity shows the session on the primary.</summary>
    public string ApplicationName => "pitrps restore " + Id;

    public string Render() => JsonSerializer.Serialize(this, Json);

    public static RestoreTask Parse(string text) => JsonSerializer.Deserialize<RestoreTask>(text, Json) ?? throw new JsonException("The journal's task is empty.");
}

/// <summary>A table, and which of the carried tables it is the sum of.</summary>
/// <param name="Schema">The schema.</param>
/// <param name="Name">The name.</param>
/// <param name="Oid">On the recovered server.</param>
/// <param name="Numbers">Places in the stream.</param>
/// <param name="Asked">False for a partition that came with its table.</param>
internal sealed record RestoredName(string Schema, string Name, uint Oid, IReadOnlyList<int> Numbers, bool Asked)
{
    public IncidentTable In(string database, PitrRecovery recovery) =>
        recovery.Incident?.Tables.FirstOrDefault(t => t.Oid == Oid && t.Database == database) ?? new IncidentTable(database, Schema, Name, Oid, null);
}

/// <summary>What the transaction on the primary has left in its outcome file.</summary>
/// <param name="TransactionId">With its epoch, as pg_current_xact_id gives it; null before it began.</param>
/// <param name="Tables">What was counted on the recovered server and on the primary, by place in the stream.</param>
/// <param name="Parts">The parts that did not work: number, "failed" or "fallback", and PostgreSQL's message.</param>
internal sealed record RestoreOutcome(
    ulong? TransactionId, IReadOnlyDictionary<int, (RowProof Sent, RowProof Found)> Tables, IReadOnlyList<(int Part, string How, string Error)> Parts)
{
    public static RestoreOutcome Parse(string? text)
    {
        ulong? xid = null;
        var tables = new Dictionary<int, (RowProof, RowProof)>();
        var parts = new List<(int, string, string)>();
        foreach (var line in (text ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var words = line.Split(' ', 4);
            switch (words)
            {
                case ["xid", var id]:
                    xid = ulong.Parse(id, CultureInfo.InvariantCulture);
                    break;
                case ["table", var n, var sent, var rest] when rest.Split(' ') is [var sentSum, var found, var foundSum]:
                    tables[int.Parse(n, CultureInfo.InvariantCulture)] = (RowProof.Parse(sent, sentSum), RowProof.Parse(found, foundSum));
                    break;
                case ["part", var n, var how, var error]:
                    parts.Add((int.Parse(n, CultureInfo.InvariantCulture), how, error));
                    break;
            }
        }

        return new RestoreOutcome(xid, tables, parts);
    }

    /// <summary>What did not come back, or not as it was, in words.</summary>
    public IEnumerable<string> Failures(RestoreTask task) => Parts.Select(p =>
    {
        var title = task.Parts.GetValueOrDefault(p.Part, string.Create(CultureInfo.InvariantCulture, $"part {p.Part}"));
        return p.How == "fallback"
            ? $"{title} is back as NOT VALID, because rows on the primary do not fit it any more ({p.Error}); mend them, then ALTER TABLE … VALIDATE CONSTRAINT"
            : $"{title} did not come back: {p.Error}";
    });
}
