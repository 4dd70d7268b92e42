using System.Globalization;
using System.Text.Json;

namespace PitrPS.Archive;

/// <summary>What <c>pgbackrest info --output=json</c> says of one stanza. Source: pgBackRest's documentation, "Info Command", and src/command/info/info.c.</summary>
/// <param name="Repositories">Each configured repository: its number, a status code and what it means.</param>
/// <param name="Clusters">The cluster that the stanza has in each repository that could be read: of several, after an upgrade, the newest.</param>
/// <param name="Archives">The folders of WAL, "15-1".</param>
internal sealed record PgBackRestInfo(IReadOnlyList<PgBackRestInfo.Repository> Repositories, IReadOnlyList<PgBackRestInfo.Cluster> Clusters, IReadOnlyList<PgBackRestInfo.Archive> Archives)
{
    private const int MissingPath = 1;
    private const int NoBackup = 2;
    private const int MissingData = 3;

    internal sealed record Repository(int Key, int Code, string Message);

    internal sealed record Cluster(int Repository, int Id, ulong SystemIdentifier);

    internal sealed record Archive(int Repository, int Cluster, string Id, string? First, string? Last);

    /// <summary>The stanza was made in no repository.</summary>
    public bool IsMissing => Repositories.Count == 0 || Repositories.All(r => r.Code is MissingPath or MissingData);

    /// <summary>
    /// What is wrong, in the tool's words; null when every repository can be read. One that cannot counts although another can:
    /// what is asked for may lie there, and archive-get then says "not found" all the same.
    /// </summary>
    public string? Problem => Repositories.FirstOrDefault(r => r.Code is not (0 or NoBackup)) is { } bad
        ? string.Create(CultureInfo.InvariantCulture, $"repo{bad.Key}: {bad.Message.Split('\n')[0]}") : null;

    /// <summary>Another cluster than this one to which the stanza belongs now; null for none.</summary>
    public ulong? OtherThan(ulong systemIdentifier) => Clusters.GroupBy(c => c.Repository).Select(g => g.MaxBy(c => c.Id)!.SystemIdentifier)
        .Where(id => id != systemIdentifier).Select(id => (ulong?)id).FirstOrDefault();

    /// <summary>The folders that have the WAL of this cluster.</summary>
    public IEnumerable<Archive> ArchivesOf(ulong systemIdentifier) =>
        Archives.Where(a => Clusters.Any(c => c.Repository == a.Repository && c.Id == a.Cluster && c.SystemIdentifier == systemIdentifier));

    /// <summary>Whether this segment, or a later one of its timeline, has arrived in a repository.</summary>
    public bool HasReached(ulong systemIdentifier, string segment) =>
        ArchivesOf(systemIdentifier).Any(a => a.Last is { } last && last[..8] == segment[..8] && string.CompareOrdinal(last, segment) >= 0);

    /// <exception cref="FormatException">It is not what info prints.</exception>
    public static PgBackRestInfo Parse(string json, string stanza)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var found = document.RootElement.EnumerateArray().Where(e => e.GetProperty("name").GetString() == stanza).ToList();
            if (found is not [var it])
            {
                return new PgBackRestInfo([], [], []);
            }

            return new PgBackRestInfo(
                [.. it.GetProperty("repo").EnumerateArray().Select(r => new Repository(Number(r, "key"), Number(r.GetProperty("status"), "code"), r.GetProperty("status").GetProperty("message").GetString() ?? ""))],
                [.. it.GetProperty("db").EnumerateArray().Select(d => new Cluster(Number(d, "repo-key"), Number(d, "id"), d.GetProperty("system-id").GetUInt64()))],
                [.. it.GetProperty("archive").EnumerateArray().Select(a => new Archive(Number(a.GetProperty("database"), "repo-key"), Number(a.GetProperty("database"), "id"),
                    a.GetProperty("id").GetString() ?? "", a.GetProperty("min").GetString(), a.GetProperty("max").GetString()))]);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new FormatException($"'{(json.Length > 200 ? json[..200] : json)}' is not what pgbackrest info prints: {e.Message}", e);
        }
    }

    /// <summary>The segments and history files that <c>repo-ls --recurse --output=json</c> lists, by the names that PostgreSQL gives them: there a segment is NAME-CHECKSUM, with a suffix when it is compressed.</summary>
    /// <exception cref="PitrException"><c>PitrPS.UnexpectedOutput</c></exception>
    public static IReadOnlyList<ArchiveFile> ParseFiles(string json, long segmentSize)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var files = new List<ArchiveFile>();
            foreach (var entry in document.RootElement.EnumerateObject().Where(e => e.Value.GetProperty("type").GetString() == "file"))
            {
                var name = entry.Name[(entry.Name.LastIndexOf('/') + 1)..];
                var file = WalFile.Of(name.Length > 24 && name[24] == '-' ? name[..24] : name, segmentSize);
                if (file is WalFile.Segment or WalFile.History)
                {
                    var size = entry.Value.GetProperty("size").GetInt64();
                    files.Add(new ArchiveFile(file, size, size, DateTimeOffset.FromUnixTimeSeconds(entry.Value.GetProperty("time").GetInt64())));
                }
            }

            return files;
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new PitrException("PitrPS.UnexpectedOutput", ErrorKind.InvalidResult, $"'{(json.Length > 200 ? json[..200] : json)}' is not what pgbackrest repo-ls prints: {e.Message}",
                "See what pgbackrest repo-ls --output=json says on the host.", null, e);
        }
    }

    private static int Number(JsonElement element, string name) => element.GetProperty(name).GetInt32();
}
