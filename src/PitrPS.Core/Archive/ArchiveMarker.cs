using System.Globalization;

namespace PitrPS.Archive;

/// <summary>
/// The file that says whose archive a directory is. The scripts on the hosts read it too: an archive without it is not written to,
/// and a mount without it is not there.
/// </summary>
/// <param name="Format">1.</param>
/// <param name="SystemIdentifier">Of the cluster whose WAL it holds.</param>
/// <param name="WalSegmentSize">Bytes.</param>
internal sealed record ArchiveMarker(int Format, ulong SystemIdentifier, long WalSegmentSize)
{
    public const string FileName = "pitrps-archive.id";

    public const int CurrentFormat = 1;

    public static string Render(ulong systemIdentifier, long walSegmentSize) => string.Create(CultureInfo.InvariantCulture,
        $"""
        # This directory is a PostgreSQL WAL archive, set up by PitrPS. Leave this file here: without it nothing is archived or restored.
        format={CurrentFormat}
        system_identifier={systemIdentifier}
        wal_segment_size={walSegmentSize}

        """);

    /// <summary>Null when the text is no marker.</summary>
    public static ArchiveMarker? Parse(string text)
    {
        var values = text.Split('\n').Select(l => l.Trim().Split('=', 2)).Where(p => p.Length == 2 && !p[0].StartsWith('#'))
            .GroupBy(p => p[0]).ToDictionary(g => g.Key, g => g.Last()[1]);
        return int.TryParse(values.GetValueOrDefault("format"), NumberStyles.None, CultureInfo.InvariantCulture, out var format)
            && ulong.TryParse(values.GetValueOrDefault("system_identifier"), NumberStyles.None, CultureInfo.InvariantCulture, out var cluster)
            && long.TryParse(values.GetValueOrDefault("wal_segment_size"), NumberStyles.None, CultureInfo.InvariantCulture, out var size)
            ? new ArchiveMarker(format, cluster, size)
            : null;
    }
}
