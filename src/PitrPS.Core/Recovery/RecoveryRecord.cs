using System.Text.Json;
using System.Text.Json.Serialization;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// A recovery that is under way, in one root-only file on the standby's host from its beginning until Complete-PitrRecovery: whoever connects next finds it there.
/// </summary>
internal sealed record RecoveryRecord
{
    public const int CurrentFormat = 1;

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Converters = { new LsnConverter(), new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    public int Format { get; init; } = CurrentFormat;

    public required RecordedTarget Target { get; init; }

    public RecoveryWay Way { get; init; }

    /// <summary>Where the target was found in the WAL.</summary>
    public required Lsn Stop { get; init; }

    public required uint Timeline { get; init; }

    public RecordedIncident? Incident { get; init; }

    public required DateTimeOffset StartedAt { get; init; }

    public required string StartedBy { get; init; }

    /// <summary>The directory of the scratch server's layer, or of the clone; empty for a way without one.</summary>
    public string Layer { get; init; } = "";

    /// <summary>The id of a clone; null for the other ways, of which a standby has one recovery at a time.</summary>
    public string? CloneId { get; init; }

    /// <summary>A clone's port.</summary>
    public int? Port { get; init; }

    /// <summary>The standby ran when the recovery began, so it is started again when it fails.</summary>
    public bool StandbyRan { get; init; }

    public string WalSource { get; init; } = "pg_wal";

    /// <summary>From where the WAL is replayed, where that is known.</summary>
    public Lsn? WalFrom { get; init; }

    /// <summary>The one run of the scratch server's unit that was found to be where it should, and that all that follows is about; null until then.</summary>
    public string? Invocation { get; init; }

    public TimeSpan? Elapsed { get; init; }

    /// <summary>Up to where the standby itself had applied the WAL when it was stopped.</summary>
    public Lsn? Replayed { get; init; }

    public Lsn? RecoveredTo { get; init; }

    public uint? ScratchTimeline { get; init; }

    public long? WalBytes { get; init; }

    public long? LayerBytes { get; init; }

    /// <summary>What the plan said that the layer would take, or would take at most.</summary>
    public long? ExpectedLayerBytes { get; init; }

    /// <summary>The scratch server is open to whoever the standby's pg_hba.conf lets in by a socket.</summary>
    public bool KeepsRunning { get; init; }

    /// <summary>Where a standby that is promoted is to archive.</summary>
    public string? ArchivePath { get; init; }

    /// <summary>Settings of the standby itself that are raised for it, because the primary had more by then.</summary>
    public IReadOnlyList<SettingToRaise> Raised { get; init; } = [];

    /// <summary>What PitrPS's own file on the standby said before of what is raised, and of what one that is promoted is to archive by.</summary>
    public IReadOnlyDictionary<string, string?> SettingsBefore { get; init; } = new Dictionary<string, string?>();

    /// <summary>Tables that have been proven to be back on a primary.</summary>
    public IReadOnlyList<RecordedTable> Restored { get; init; } = [];

    public static string PathOf(string serverName, string? clone = null) =>
        clone is null ? $"{HostPaths.Recoveries}/{HostPaths.FileName(serverName)}.json" : $"{HostPaths.Clones}/{HostPaths.FileName(serverName)}--{clone}.json";

    /// <summary>What journals of this recovery, and of restores from it, are about: the standby, or one clone of it.</summary>
    public static string SubjectOf(PgServer standby, string? clone) => clone is null ? standby.Id : $"{standby.Id}/clone-{clone}";

    public string Render() => JsonSerializer.Serialize(this, Json) + "\n";

    public static RecoveryRecord Parse(PgServer standby, string text)
    {
        try
        {
            if (JsonSerializer.Deserialize<RecoveryRecord>(text, Json) is { Format: <= CurrentFormat } record)
            {
                return record;
            }
        }
        catch (JsonException e)
        {
            throw Unreadable(standby, e.Message, e);
        }

        throw Unreadable(standby, $"a newer PitrPS wrote it; this one knows formats up to {CurrentFormat}");
    }

    /// <summary>The recovery that is under way on this standby; null when there is none.</summary>
    /// <exception cref="PitrException"><c>PitrPS.RecoveryUnreadable</c></exception>
    public static Task<RecoveryRecord?> ReadAsync(PgServer standby, CancellationToken cancel) => ReadAsync(standby, null, cancel);

    /// <summary>The recovery that is under way on this standby, or the one that made this clone of it.</summary>
    /// <exception cref="PitrException"><c>PitrPS.RecoveryUnreadable</c></exception>
    public static async Task<RecoveryRecord?> ReadAsync(PgServer standby, string? clone, CancellationToken cancel) =>
        await standby.Host.ReadTextAsync(PathOf(standby.Name, clone), cancel).ConfigureAwait(false) is { } text ? Parse(standby, text) : null;

    /// <summary>Those of the standby's clones, oldest first.</summary>
    /// <exception cref="PitrException"><c>PitrPS.RecoveryUnreadable</c></exception>
    public static async Task<IReadOnlyList<RecoveryRecord>> ClonesAsync(PgServer standby, CancellationToken cancel)
    {
        var prefix = HostPaths.FileName(standby.Name) + "--";
        var listed = await standby.Host.RunCheckedAsync(RemoteCommand.Shell("""[ ! -d "$1" ] || ls -A -- "$1" """, HostPaths.Clones).AsRoot(), cancel).ConfigureAwait(false);
        var found = new List<RecoveryRecord>();
        foreach (var name in listed.Lines.Where(n => n.StartsWith(prefix, StringComparison.Ordinal) && n.EndsWith(".json", StringComparison.Ordinal)))
        {
            if (await ReadAsync(standby, name[prefix.Length..^".json".Length], cancel).ConfigureAwait(false) is { } record)
            {
                found.Add(record);
            }
        }

        return [.. found.OrderBy(r => r.StartedAt)];
    }

    public Task WriteAsync(PgServer standby, CancellationToken cancel) =>
        standby.Host.Remote.WriteFileAsync(RemoteFile.Text(PathOf(standby.Name, CloneId), Render(), 0x180 /* 0600 */), cancel);

    public static Task RemoveAsync(PgServer standby, string? clone, CancellationToken cancel) =>
        standby.Host.RunCheckedAsync(RemoteCommand.Of("rm", "-f", "--", PathOf(standby.Name, clone)).AsRoot(), cancel);

    /// <summary>
    /// Notes that tables are back on the primary, so that a later session's Complete-PitrRecovery knows it. Only called under the lock of the standby.
    /// </summary>
    public static async Task MarkRestoredAsync(PgServer standby, string? clone, IReadOnlyList<ProvenTable> tables, CancellationToken cancel)
    {
        if (await ReadAsync(standby, clone, cancel).ConfigureAwait(false) is { } record)
        {
            var marks = tables.Where(t => !t.IsPlanned)
                .Select(t => new RecordedTable(t.Table.Database, t.Table.Schema, t.Table.Name, t.Table.Oid, t.Rows, t.Checksum, t.To.Id, DateTimeOffset.UtcNow, t.Notes));
            await (record with { Restored = [.. record.Restored.Where(r => !tables.Any(t => r.Is(t.Table))), .. marks] }).WriteAsync(standby, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>The record at <see cref="Stop"/> is applied, too: a restore point, or a target that was asked for inclusively. Of a time, the first commit after it is the one that is not applied.</summary>
    [JsonIgnore]
    public bool StopsAfter => Target.Kind == "restorePoint" || (Target is { Inclusive: true, Kind: not "time" });

    /// <summary>
    /// Why a server that says of its recovery that it stopped there, and left that timeline at that position, is not where it should be; null when it is.
    /// </summary>
    /// <param name="where">The words of its log after "recovery stopping".</param>
    /// <param name="from">The timeline that it left.</param>
    /// <param name="end">Where it left it: the end of the last record that was applied.</param>
    /// <param name="applied">What the standby itself had applied.</param>
    public string? Missed(string where, uint from, Lsn end, Lsn? applied)
    {
        var expected = Target.Kind switch
        {
            "immediate" => "after reaching consistency",
            "restorePoint" => $"at restore point \"{Target.Value}\"",
            _ => $"{(StopsAfter ? "after" : "before")} WAL location (LSN) \"{Stop}\"",
        };
        if (!where.StartsWith(expected, StringComparison.Ordinal))
        {
            return $"its log says that recovery stopped {where}, not {expected}";
        }

        return MissedEnd(from, end, applied);
    }

    /// <summary>The same by where the new timeline begins alone.</summary>
    public string? MissedEnd(uint from, Lsn end, Lsn? applied)
    {
        var latest = Target.Kind == "immediate" && applied > Stop ? applied.Value : Stop;
        return from != Timeline || (StopsAfter ? end <= Stop : end > latest)
            ? $"it left timeline {from} at {end}, not timeline {Timeline} {(StopsAfter ? "after" : "at or before")} {latest}"
            : null;
    }

    /// <summary>The same target as that one, however it was given.</summary>
    public bool IsFor(RecoveryTarget target) => Target == RecordedTarget.Of(target) || (target is RecoveryTarget.Lsn { Inclusive: false } lsn && !StopsAfter && Target.Kind != "immediate" && lsn.Position == Stop && (lsn.Timeline ?? Timeline) == Timeline);

    private static PitrException Unreadable(PgServer standby, string why, Exception? inner = null) =>
        new("PitrPS.RecoveryUnreadable", ErrorKind.InvalidData, $"The recovery that {PathOf(standby.Name)} on {standby.Host.Name} records cannot be read: {why}.",
            $"Go on with the PitrPS that wrote it. Otherwise start {standby.ServiceUnit ?? "the standby"}, which ends the scratch server, and move the file away.", standby, inner);
}

/// <summary>A <see cref="RecoveryTarget"/> as it is written down.</summary>
internal sealed record RecordedTarget(string Kind, string Value, bool Inclusive = false, uint? Timeline = null)
{
    public static RecordedTarget Of(RecoveryTarget target)
    {
        var (kind, value) = target switch
        {
            RecoveryTarget.Lsn lsn => ("lsn", lsn.Position.ToString()),
            RecoveryTarget.Time time => ("time", time.At.ToUniversalTime().ToString("O", System.Globalization.CultureInfo.InvariantCulture)),
            RecoveryTarget.Xid xid => ("transaction", xid.TransactionId.ToString(System.Globalization.CultureInfo.InvariantCulture)),
            RecoveryTarget.Name point => ("restorePoint", point.Value),
            RecoveryTarget.Immediate => ("immediate", ""),
            _ => throw new ArgumentOutOfRangeException(nameof(target)),
        };
        return new RecordedTarget(kind, value, target.Inclusive, target.Timeline);
    }

    public RecoveryTarget ToTarget()
    {
        RecoveryTarget target = Kind switch
        {
            "lsn" => new RecoveryTarget.Lsn(Lsn.Parse(Value)),
            "time" => new RecoveryTarget.Time(DateTimeOffset.Parse(Value, System.Globalization.CultureInfo.InvariantCulture)),
            "transaction" => new RecoveryTarget.Xid(uint.Parse(Value, System.Globalization.CultureInfo.InvariantCulture)),
            "restorePoint" => new RecoveryTarget.Name(Value),
            "immediate" => new RecoveryTarget.Immediate(),
            _ => throw new FormatException($"'{Kind}' is not a kind of target."),
        };
        return target with { Inclusive = Inclusive, Timeline = Timeline };
    }
}

/// <summary>A <see cref="PgIncident"/> as it is written down; the standby is the one whose host the file is on.</summary>
internal sealed record RecordedIncident(IncidentKind Kind, IReadOnlyList<IncidentTable> Tables, uint TransactionId, Lsn? LockLsn, Lsn CommitLsn, DateTimeOffset CommittedAt, uint Timeline)
{
    public static RecordedIncident Of(PgIncident incident) =>
        new(incident.Kind, incident.Tables, incident.TransactionId, incident.LockLsn, incident.CommitLsn, incident.CommittedAt, incident.Timeline);

    public PgIncident ToIncident(PgServer standby) => new()
    {
        Standby = standby,
        Kind = Kind,
        Tables = Tables,
        TransactionId = TransactionId,
        LockLsn = LockLsn,
        CommitLsn = CommitLsn,
        CommittedAt = CommittedAt,
        Timeline = Timeline,
    };
}

/// <summary>A table that is proven to be back on a primary.</summary>
/// <param name="Table">The table.</param>
/// <param name="Rows">On both sides.</param>
/// <param name="Checksum">The same on both sides.</param>
/// <param name="To">The primary.</param>
internal sealed record ProvenTable(IncidentTable Table, long Rows, string Checksum, PgServer To)
{
    /// <summary>What came back with it, and what could not.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>It would be brought back (-WhatIf); nothing is recorded of it.</summary>
    public bool IsPlanned { get; init; }
}

/// <summary>The same as it is written down.</summary>
internal sealed record RecordedTable(string Database, string Schema, string Name, uint Oid, long Rows, string Checksum, string To, DateTimeOffset At, IReadOnlyList<string>? Notes = null)
{
    public bool Is(IncidentTable table) => Database == table.Database && Oid == table.Oid;
}

/// <summary>"0/3D6D260" in JSON.</summary>
internal sealed class LsnConverter : JsonConverter<Lsn>
{
    public override Lsn Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        Lsn.TryParse(reader.GetString(), out var lsn) ? lsn : throw new JsonException($"'{reader.GetString()}' is not a WAL position.");

    public override void Write(Utf8JsonWriter writer, Lsn value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}
