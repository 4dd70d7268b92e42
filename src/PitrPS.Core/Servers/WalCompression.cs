namespace PitrPS.Servers;

/// <summary>How the segments of a WAL archive are compressed.</summary>
public enum WalCompression
{
    /// <summary>Not at all: each is a sparse copy.</summary>
    None,
    /// <summary>By zstd, as SEGMENT.zst: the smaller one.</summary>
    Zstd,
    /// <summary>By lz4, as SEGMENT.lz4: the faster one.</summary>
    Lz4,
}
