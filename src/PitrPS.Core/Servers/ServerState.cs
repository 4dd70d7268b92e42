using System.Text.Json;
using System.Text.Json.Serialization;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>
/// What PitrPS remembers of a server, in one root-only file on the server's own host, so that a new session knows all that the one which set it up knew.
/// A server that others set up has none; then everything is discovered.
/// </summary>
internal sealed record ServerState
{
    public const int CurrentFormat = 1;

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    public int Format { get; init; } = CurrentFormat;

    public string? ArchiveDirectory { get; init; }

    public string? ArchiveMountPoint { get; init; }

    /// <summary>How the archive gets to its mount point; null for SSHFS, as older states have it.</summary>
    [JsonConverter(typeof(JsonStringEnumConverter<WalTransport>))]
    public WalTransport? ArchiveTransport { get; init; }

    /// <summary>pgBackRest's stanza to which the server archives, instead of a directory.</summary>
    public string? ArchiveStanza { get; init; }

    /// <summary>pgBackRest's stanza from which the standby restores, instead of a mount.</summary>
    public string? RestoreStanza { get; init; }

    public int? HeartbeatSeconds { get; init; }

    /// <summary>How long archived WAL is kept; null for ever.</summary>
    public int? RetainSeconds { get; init; }

    /// <summary>What compresses archived segments; null for nothing.</summary>
    [JsonConverter(typeof(JsonStringEnumConverter<WalCompression>))]
    public WalCompression? ArchiveCompression { get; init; }

    public PrimaryLink? Primary { get; init; }

    /// <summary>Milliseconds, as recovery_min_apply_delay has it; the delay to go back to while frozen.</summary>
    public long? DelayMilliseconds { get; init; }

    public DateTimeOffset? FrozenAt { get; init; }

    /// <summary>While frozen: whether the delay to go back to stood in PitrPS's own file; otherwise it is somebody else's, and taking ours out brings it back.</summary>
    public bool? DelayIsOurs { get; init; }

    /// <summary>The directory of PitrPS's settings file was made by it, and goes with it.</summary>
    public bool? ConfigDirectoryIsOurs { get; init; }

    /// <summary>Where a server without a unit writes its log, while it is stopped for a recovery.</summary>
    public string? LogFile { get; init; }

    /// <summary>While frozen: the role to log in with by the socket, where it is not called as the OS user; a scratch server has the same.</summary>
    public string? SocketRole { get; init; }

    /// <summary>How a standby that PitrPS promoted became a primary, so that the same command once more finds it done; gone when it is made a standby again.</summary>
    public PromotionNote? Promoted { get; init; }

    public static string FileNameOf(string serverName) => HostPaths.FileName(serverName) + ".json";

    public static string PathOf(string serverName) => $"{HostPaths.Servers}/{FileNameOf(serverName)}";

    /// <exception cref="JsonException">It is no state, or a newer PitrPS wrote it.</exception>
    public static ServerState Parse(string text)
    {
        var state = JsonSerializer.Deserialize<ServerState>(text, Json) ?? new ServerState();
        return state.Format <= CurrentFormat ? state : throw new JsonException($"its format is {state.Format}, this PitrPS knows up to {CurrentFormat}");
    }

    public string Render() => JsonSerializer.Serialize(this, Json) + "\n";

    public static async Task<ServerState> ReadAsync(PgHost host, string serverName, CancellationToken cancel) =>
        await host.ReadTextAsync(PathOf(serverName), cancel).ConfigureAwait(false) is { } text ? Parse(text) : new ServerState();

    /// <summary>Reads, changes and writes it back; only called under the operation's lock.</summary>
    public static async Task UpdateAsync(PgHost host, string serverName, Func<ServerState, ServerState> change, CancellationToken cancel)
    {
        var was = await ReadAsync(host, serverName, cancel).ConfigureAwait(false);
        var will = change(was);
        if (will != was)
        {
            await host.Remote.WriteFileAsync(RemoteFile.Text(PathOf(serverName), will.Render(), 0x180 /* 0600 */), cancel).ConfigureAwait(false);
        }
    }
}

/// <summary>A promotion that has succeeded.</summary>
/// <param name="Target">Where it was to stop, in words.</param>
/// <param name="RecoveredTo">The WAL position at which the new timeline begins.</param>
/// <param name="StartedAt">When it was started, by the clock of whoever did.</param>
/// <param name="StartedBy">By whom, from where.</param>
internal sealed record PromotionNote(string Target, string RecoveredTo, DateTimeOffset StartedAt, string StartedBy);
