using System.Text.Json;
using System.Text.Json.Serialization;
using PitrPS.Hosts;

namespace PitrPS.Planning;

internal enum StepState
{
    Pending,
    Running,
    Done,
    Undone,
}

internal enum OperationState
{
    /// <summary>A client is at it, or was when it was lost.</summary>
    Running,

    /// <summary>The user stopped it.</summary>
    Stopped,

    /// <summary>A step failed.</summary>
    Failed,

    /// <summary>A step failed and the steps before it were undone.</summary>
    Undone,

    Done,
}

internal sealed class JournalStep
{
    public required string Id { get; init; }

    public required string Title { get; init; }

    public required string Host { get; init; }

    public StepState State { get; set; }

    public DateTimeOffset? At { get; set; }
}

/// <summary>
/// What an operation has done so far, in one root-only file on its home host. It is replaced whole and atomically before each step and at the end,
/// so that a client that is killed at any moment leaves the step it was at. That a step is done is written with the beginning of the next one:
/// whoever goes on asks its check anyway.
/// </summary>
internal sealed class Journal
{
    public const int CurrentFormat = 1;

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    [JsonIgnore]
    public PgHost? Home { get; private set; }

    public int Format { get; init; } = CurrentFormat;

    public required string Operation { get; init; }

    public required string Subject { get; init; }

    /// <summary>What its lock is held for, where that is not the subject.</summary>
    public string? LockName { get; init; }

    public IReadOnlyDictionary<string, string> Parameters { get; init; } = new Dictionary<string, string>();

    /// <summary>user@machine of the client that began it, or took it over.</summary>
    public required string Client { get; set; }

    public required DateTimeOffset StartedAt { get; init; }

    public DateTimeOffset ChangedAt { get; set; }

    public OperationState State { get; set; }

    public string? Failure { get; set; }

    public string? WayBack { get; init; }

    public List<JournalStep> Steps { get; init; } = [];

    public Dictionary<string, string> Notes { get; init; } = [];

    public static string PathOf(string operation, string subject) =>
        $"{HostPaths.Operations}/{HostPaths.FileName(operation)}--{HostPaths.FileName(subject)}.json";

    /// <summary>A journal that is on nobody's disk yet; the first save puts it on the home host.</summary>
    public static Journal For(Plan plan, string client, DateTimeOffset now) => new()
    {
        Home = plan.Home,
        Operation = plan.Operation,
        Subject = plan.Subject,
        LockName = plan.LockName,
        Parameters = plan.Parameters,
        Client = client,
        StartedAt = now,
        ChangedAt = now,
        WayBack = plan.WayBack,
        Steps = [.. plan.Steps.Select(step => new JournalStep { Id = step.Id, Title = step.Title, Host = step.Host.Name })],
    };

    /// <summary>The unfinished journal of this operation on this subject; null if there is none.</summary>
    /// <exception cref="PitrException"><c>PitrPS.JournalUnreadable</c></exception>
    public static async Task<Journal?> FindAsync(PgHost home, string operation, string subject, CancellationToken cancel)
    {
        var path = PathOf(operation, subject);
        var text = await home.ReadTextAsync(path, cancel).ConfigureAwait(false);
        return text is null ? null : Parse(home, path, text);
    }

    /// <summary>All unfinished journals of a host.</summary>
    public static async Task<IReadOnlyList<Journal>> AllAsync(PgHost home, CancellationToken cancel)
    {
        home.RequireRoot("Looking for unfinished operations");
        var list = await home.RunCheckedAsync(
            RemoteCommand.Shell("""[ ! -d "$1" ] || find "$1" -maxdepth 1 -name '*.json' | sort""", HostPaths.Operations).AsRoot(), cancel).ConfigureAwait(false);
        var journals = new List<Journal>();
        foreach (var path in list.Lines)
        {
            if (await home.ReadTextAsync(path, cancel).ConfigureAwait(false) is { } text)
            {
                journals.Add(Parse(home, path, text));
            }
        }

        return journals;
    }

    public static Journal Parse(PgHost home, string path, string text)
    {
        Journal? journal;
        try
        {
            journal = JsonSerializer.Deserialize<Journal>(text, Json);
        }
        catch (JsonException e)
        {
            throw Unreadable(home, path, e.Message, e);
        }

        if (journal is null || journal.Format > CurrentFormat)
        {
            throw Unreadable(home, path, journal is null ? "it is empty" : $"its format is {journal.Format}, this PitrPS knows up to {CurrentFormat}");
        }

        journal.Home = home;
        return journal;
    }

    public string Render() => JsonSerializer.Serialize(this, Json) + "\n";

    public Task SaveAsync(CancellationToken cancel)
    {
        ChangedAt = DateTimeOffset.UtcNow;
        return Home!.Remote.WriteFileAsync(RemoteFile.Text(PathOf(Operation, Subject), Render(), 0x180 /* 0600 */), cancel);
    }

    public async Task NoteAsync(string key, string value, CancellationToken cancel)
    {
        if (Notes.TryGetValue(key, out var known) && known == value)
        {
            return;
        }

        Notes[key] = value;
        await SaveAsync(cancel).ConfigureAwait(false);
    }

    public Task MarkAsync(Step step, StepState state, CancellationToken cancel)
    {
        Mark(step, state);
        return SaveAsync(cancel);
    }

    /// <summary>In memory; the next save writes it.</summary>
    public void Mark(Step step, StepState state)
    {
        var entry = Steps.FirstOrDefault(s => s.Id == step.Id);
        if (entry is null)
        {
            Steps.Add(entry = new JournalStep { Id = step.Id, Title = step.Title, Host = step.Host.Name });
        }

        entry.State = state;
        entry.At = DateTimeOffset.UtcNow;
    }

    /// <summary>Moves the finished journal to the history; the newest 100 are kept there.</summary>
    public async Task CloseAsync(OperationState state, CancellationToken cancel)
    {
        State = state;
        ChangedAt = DateTimeOffset.UtcNow;
        var text = Render();
        await Home!.RunCheckedAsync(RemoteCommand.Shell(
            """
            umask 077; mkdir -p "$2" && cat > "$2/.closing" && [ "$(stat -c %s "$2/.closing")" = "$4" ] && mv -f -- "$2/.closing" "$2/$3" && rm -f -- "$1" && cd "$2" && ls -1 | sort -r | tail -n +101 | while IFS= read -r old; do rm -f -- "$old"; done
            """,
            PathOf(Operation, Subject), HostPaths.History,
            $"{ChangedAt:yyyyMMdd'T'HHmmss'.'fff'Z'}-{HostPaths.FileName(Operation)}--{HostPaths.FileName(Subject)}.json",
            System.Text.Encoding.UTF8.GetByteCount(text).ToString(System.Globalization.CultureInfo.InvariantCulture)).AsRoot().WithInput(text), cancel).ConfigureAwait(false);
    }

    private static PitrException Unreadable(PgHost home, string path, string why, Exception? inner = null) =>
        new("PitrPS.JournalUnreadable", ErrorKind.InvalidData, $"The journal {path} on {home.Name} cannot be read: {why}.",
            "If a newer PitrPS wrote it, go on with that one. Otherwise look at the file, note what it says, and move it away.", home, inner);
}
