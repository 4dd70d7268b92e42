using System.Globalization;
using System.Text.RegularExpressions;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>
/// A stanza of pgBackRest as a server's host reaches it: with the site's own pgbackrest.conf, as the server's OS user. PitrPS never writes to it.
/// Source: pgBackRest's documentation, "Command Reference".
/// </summary>
/// <param name="Server">On whose host, and by whose data directory, it is asked.</param>
/// <param name="Stanza">Its name.</param>
internal sealed partial record PgBackRest(PgServer Server, string Stanza)
{
    private const string SourcePrefix = "pgbackrest:";

    // One segment is some processes and a connection to the repository's host; asked side by side they cost a third.
    private const string Lanes = "4";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan FetchLimit = TimeSpan.FromHours(6);

    /// <summary>The first argument of pitrps-restore.</summary>
    public string Source => SourcePrefix + Stanza;

    /// <summary>archive_command, as the tool's documentation has it.</summary>
    public static string ArchiveCommand(string stanza) => $"pgbackrest --stanza={stanza} archive-push %p";

    /// <summary>The stanza of an archive_command that is pgBackRest's alone; null for any other.</summary>
    public static string? StanzaOfArchiveCommand(string command) => StanzaOf(command, "archive-push");

    /// <summary>The stanza from which a restore_command reads, whether the tool's own or ours; null for any other.</summary>
    public static string? StanzaOfRestoreCommand(string command) =>
        OurSource().Match(command) is { Success: true } ours && command.StartsWith(ArchiveScripts.RestorePath + " ", StringComparison.Ordinal) ? ours.Groups[1].Value : StanzaOf(command, "archive-get");

    /// <summary>Where this standby gets WAL by pgBackRest; null where it does not.</summary>
    public static PgBackRest? Of(PgServer standby, string restoreCommand) =>
        (standby.RestoreRepository?.Stanza ?? (standby.ArchiveMountPoint is null ? StanzaOfRestoreCommand(restoreCommand) : null)) is { } stanza ? new PgBackRest(standby, stanza) : null;

    /// <exception cref="PitrException"><c>PitrPS.InvalidStanza</c></exception>
    public static void RequireStanza(string stanza, object target)
    {
        if (!StanzaName().IsMatch(stanza))
        {
            throw new PitrException("PitrPS.InvalidStanza", ErrorKind.InvalidArgument, $"'{stanza}' is not the name of a stanza.",
                "Give the name that its section has in pgbackrest.conf: letters, digits, '-', '_' and '.'.", target);
        }
    }

    /// <summary>Asks for the stanza's state.</summary>
    /// <exception cref="PitrException"><c>PitrPS.PgBackRestMissing</c>, <c>PitrPS.RepositoryUnreachable</c></exception>
    public async Task<PgBackRestInfo> InfoAsync(CancellationToken cancel)
    {
        CommandResult said;
        try
        {
            said = await Server.Host.Remote.RunAsync(RemoteCommand.Shell(InfoScript, Stanza).As(Server.OsUser).WithTimeout(Limit), cancel).ConfigureAwait(false);
        }
        catch (PitrException e) when (e.Id == "PitrPS.CommandTimeout")
        {
            throw Unreachable(e.Message);
        }

        if (said.ExitCode == NotThere)
        {
            throw new PitrException("PitrPS.PgBackRestMissing", ErrorKind.NotInstalled, $"{Server.OsUser} on {Server.Host.Name} finds no program pgbackrest.",
                "Install pgBackRest there and configure it (pgbackrest.conf) as for your other hosts, then run the same command again.", Server);
        }

        if (!said.Succeeded)
        {
            throw Unreachable(said.ErrorOutput.Trim());
        }

        try
        {
            return PgBackRestInfo.Parse(said.Output, Stanza);
        }
        catch (FormatException e)
        {
            throw Unreachable(e.Message);
        }
    }

    /// <summary>The stanza is there, can be read, and is this cluster's.</summary>
    /// <exception cref="PitrException">
    /// <c>PitrPS.PgBackRestMissing</c>, <c>PitrPS.RepositoryUnreachable</c>, <c>PitrPS.StanzaNotFound</c>, <c>PitrPS.StanzaOfAnotherCluster</c>
    /// </exception>
    public async Task<PgBackRestInfo> RequireAsync(ulong? cluster, CancellationToken cancel)
    {
        var info = await InfoAsync(cancel).ConfigureAwait(false);
        if (info.IsMissing)
        {
            throw new PitrException("PitrPS.StanzaNotFound", ErrorKind.ObjectNotFound, $"pgBackRest on {Server.Host.Name} has no stanza '{Stanza}' in its repository{Words(info.Problem)}.",
                $"See that pgbackrest.conf there names the right repository. If the stanza was never made: pgbackrest --stanza={Stanza} stanza-create, as {Server.OsUser} on the primary (or on the repository's host). Then run the same command again.", Server);
        }

        if (info.Problem is { } problem)
        {
            throw Unreachable(problem);
        }

        if (cluster is { } ours && info.OtherThan(ours) is { } other)
        {
            throw new PitrException("PitrPS.StanzaOfAnotherCluster", ErrorKind.InvalidData, $"The stanza '{Stanza}' is that of the cluster {other}; here the cluster {ours} is asked for.",
                "Give the stanza of this cluster. If the cluster was made anew or upgraded, see pgbackrest stanza-upgrade.", Server);
        }

        return info;
    }

    /// <summary>What the tool itself says against archiving; for a message.</summary>
    public async Task<string> CheckAsync(CancellationToken cancel)
    {
        var said = await Server.Host.Remote.RunAsync(RemoteCommand.Of("pgbackrest", "--stanza=" + Stanza, "--log-level-console=off", "--log-level-file=off", "--log-level-stderr=warn", "--archive-timeout=10", "check")
            .As(Server.OsUser).WithTimeout(Limit), cancel).ConfigureAwait(false);
        return said.Succeeded ? "pgbackrest check finds nothing wrong" : $"pgbackrest check says: {said.ErrorOutput.Trim()}";
    }

    /// <summary>
    /// The names of the segments that any repository has from this number on, and of all history files; with what is appended to a name in the repository taken away.
    /// </summary>
    public async Task<IReadOnlyList<string>> NamesAsync(PgBackRestInfo info, ulong cluster, WalSegment from, CancellationToken cancel)
    {
        var names = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var archive in info.ArchivesOf(cluster))
        {
            var said = await Server.Host.Remote.RunAsync(RemoteCommand.Shell(ListScript, archive.Repository.ToString(CultureInfo.InvariantCulture), $"archive/{Stanza}/{archive.Id}", from.Name[8..])
                .As(Server.OsUser).WithTimeout(Limit), cancel).ConfigureAwait(false);
            if (!said.Succeeded)
            {
                throw Unreachable(said.ErrorOutput.Trim());
            }

            names.UnionWith(said.Lines);
        }

        return [.. names];
    }

    /// <summary>
    /// What the repositories have, as if it were a directory: each segment by its plain name with the bytes that it takes there, and the text of the history files.
    /// One that two repositories have counts once; one that a repository has twice is there twice, and archive-get refuses it.
    /// </summary>
    public async Task<ArchiveListing> ListingAsync(PgBackRestInfo info, ulong cluster, IFeedback feedback, CancellationToken cancel)
    {
        // What waits is read first, so that what is archived meanwhile is seen in one of both.
        var own = await Server.Host.RunCheckedAsync(RemoteCommand.Shell(OwnScript, Server.DataDirectory + "/pg_wal").As(Server.OsUser), cancel).ConfigureAwait(false);
        var listing = ArchiveListing.Parse(own.Output, Server.WalSegmentSize);
        var files = new Dictionary<string, List<ArchiveFile>>(StringComparer.Ordinal);
        var histories = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var archive in info.ArchivesOf(cluster))
        {
            var said = await Server.Host.Remote.RunAsync(RemoteCommand.Shell(
                """exec pgbackrest --repo="$1" --log-level-console=off --log-level-file=off --log-level-stderr=warn repo-ls "$2" --recurse --output=json""",
                archive.Repository.ToString(CultureInfo.InvariantCulture), $"archive/{Stanza}/{archive.Id}").As(Server.OsUser).WithTimeout(Limit), cancel).ConfigureAwait(false);
            var here = said.Succeeded ? PgBackRestInfo.ParseFiles(said.Output, Server.WalSegmentSize) : throw Unreachable(said.ErrorOutput.Trim());
            histories.UnionWith(here.Select(f => f.File).OfType<WalFile.History>().Select(h => h.Name));
            foreach (var same in here.Where(f => f.File is WalFile.Segment).GroupBy(f => f.File.Name).Where(g => !files.TryGetValue(g.Key, out var other) || g.Count() > other.Count))
            {
                files[same.Key] = [.. same];
            }
        }

        return listing with { Files = [.. files.Values.SelectMany(f => f)], Histories = histories.Count == 0 ? listing.Histories : await HistoriesAsync([.. histories], feedback, cancel).ConfigureAwait(false) };
    }

    private async Task<IReadOnlyDictionary<uint, string>> HistoriesAsync(IReadOnlyList<string> names, IFeedback feedback, CancellationToken cancel)
    {
        var (directory, _) = await MakeFolderAsync(cancel).ConfigureAwait(false);
        try
        {
            await FetchAsync(names, directory, feedback, cancel).ConfigureAwait(false);
            var said = await Server.Host.RunCheckedAsync(RemoteCommand.Shell("""cd -- "$1" && for h in *.history; do [ ! -f "$h" ] || sed "s/^/history $h /" -- "$h" || exit; done""", directory).As(Server.OsUser), cancel).ConfigureAwait(false);
            return ArchiveListing.Parse(said.Output, Server.WalSegmentSize).Histories;
        }
        finally
        {
            await RemoveFolderAsync(directory).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Gets files into a directory of the server's OS user, several at a time.
    /// </summary>
    /// <returns>The names of those that are there afterwards, and what was said of the first that could not be had.</returns>
    public async Task<(IReadOnlySet<string> Got, string? Problem)> FetchAsync(IReadOnlyList<string> names, string directory, IFeedback feedback, CancellationToken cancel)
    {
        var got = new HashSet<string>(StringComparer.Ordinal);
        string? problem = null;
        var activity = $"Getting WAL of {Server.Id} out of the repository";
        var shown = false;
        await using var process = await Server.Host.Remote.StartAsync(
            RemoteCommand.Shell(FetchScript, Stanza, Server.DataDirectory, directory, Lanes).As(Server.OsUser).WithTimeout(FetchLimit), cancel).ConfigureAwait(false);
        await process.WriteLineAsync(string.Join('\n', names) + "\n.", cancel).ConfigureAwait(false);
        while (await process.ReadLineAsync(cancel).ConfigureAwait(false) is { } line)
        {
            if (line.StartsWith("got ", StringComparison.Ordinal))
            {
                got.Add(line[4..]);
                shown |= got.Count > 4;
                if (shown)
                {
                    feedback.Progress(new ProgressNote(activity, $"{got.Count} of {names.Count} segments", got.Count, names.Count, "segments"));
                }
            }
            else if (line.StartsWith("failed ", StringComparison.Ordinal))
            {
                problem ??= line[7..];
            }
        }

        var ended = await process.Completion.ConfigureAwait(false);
        if (shown)
        {
            feedback.Progress(new ProgressNote(activity, "done") { Completed = true });
        }

        return (got, problem ?? (ended.Succeeded ? null : ended.ErrorOutput.Trim()));
    }

    /// <summary>
    /// Makes a private directory of the server's OS user, beside the data directory where he may, and says how many bytes are free there.
    /// One that a client left behind which was killed is removed by a later call.
    /// </summary>
    public async Task<(string Directory, long FreeBytes)> MakeFolderAsync(CancellationToken cancel)
    {
        var said = await Server.Host.RunCheckedAsync(RemoteCommand.Shell(FolderScript, Server.DataDirectory).As(Server.OsUser), cancel).ConfigureAwait(false);
        var free = said.Lines[1].Split(' ');
        return (said.Lines[0], long.Parse(free[0], CultureInfo.InvariantCulture) * long.Parse(free[1], CultureInfo.InvariantCulture));
    }

    /// <summary>Removes such a directory. One that cannot be removed now, because the host is gone, is removed by a later <see cref="MakeFolderAsync"/>.</summary>
    public async Task RemoveFolderAsync(string directory)
    {
        try
        {
            await Server.Host.Remote.RunAsync(RemoteCommand.Shell("""case $1 in /*/.pitrps-wal.??????) exec rm -rf -- "$1" ;; esac""", directory).As(Server.OsUser), CancellationToken.None).ConfigureAwait(false);
        }
        catch (PitrException)
        {
            // Whoever comes here has a result, or an error that says more.
        }
    }

    public PitrException Unreachable(string why) => new("PitrPS.RepositoryUnreachable", ErrorKind.ResourceUnavailable,
        $"pgBackRest on {Server.Host.Name} cannot read the stanza '{Stanza}' as {Server.OsUser}: {why}",
        $"See what 'pgbackrest --stanza={Stanza} info' says there as {Server.OsUser}, mend it, and run the same command again.", Server);

    private const int NotThere = 127;

    private const string InfoScript =
        """
        command -v pgbackrest >/dev/null || exit 127
        exec pgbackrest --stanza="$1" --log-level-console=off --log-level-file=off --log-level-stderr=warn info --output=json
        """;

    // In the repository a segment is called NAME-CHECKSUM, with a suffix when it is compressed.
    internal const string ListScript =
        """
        list=$(pgbackrest --repo="$1" --log-level-console=off --log-level-file=off --log-level-stderr=warn repo-ls "$2" --recurse) || exit
        printf '%s\n' "$list" | LC_ALL=C awk -v from="$3" '
          { sub(/.*\//, "") }
          /^[0-9A-F]+-/ && index($0, "-") == 25 && substr($0, 9, 16) >= (from "") { print substr($0, 1, 24) }
          /^[0-9A-F]+\.history/ && index($0, ".") == 9 { print substr($0, 1, 16) }'
        """;

    private const string OwnScript =
        """
        date -u +'clock %s.%N'
        find "$1/archive_status" -maxdepth 1 -name '*.ready' -printf 'ready %f\n' 2>/dev/null
        for h in "$1"/*.history; do
          [ ! -f "$h" ] || sed "s/^/own ${h##*/} /" -- "$h"
        done
        """;

    // The tool's spool and its prefetching are the server's; what is got here must not disturb them.
    internal const string FetchScript =
        """
        sed -n '/^\.$/q;p' | xargs -r -d '\n' -n 1 -P "$4" sh -c '
          said=$(pgbackrest --stanza="$0" --pg1-path="$1" --no-archive-async --log-level-console=off --log-level-file=off --log-level-stderr=warn archive-get "$3" "$2/$3" 2>&1)
          code=$?
          if [ "$code" -eq 0 ] && [ -f "$2/$3" ]; then echo "got $3"; else
            rm -f -- "$2/$3"
            echo "failed $3: $(printf "%s" "${said:-it is not in the repository}" | tr "\n" " ")"
          fi' "$1" "$2" "$3"
        """;

    internal const string FolderScript =
        """
        umask 077
        beside=${1%/*} elsewhere=${TMPDIR:-/var/tmp}
        find "$beside" "$elsewhere" -maxdepth 1 -type d -user "$(id -u)" -name '.pitrps-wal.??????' -mmin +1440 -exec rm -rf -- {} + 2>/dev/null
        directory=$(mktemp -d "$beside/.pitrps-wal.XXXXXX" 2>/dev/null) || directory=$(mktemp -d "$elsewhere/.pitrps-wal.XXXXXX") || exit
        echo "$directory"
        stat -f -c '%a %S' -- "$directory"
        """;

    private static string? StanzaOf(string command, string verb)
    {
        var words = command.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(w => w.Trim('"', '\'')).ToList();
        if (words.Count == 0 || words[0].Split('/')[^1] != "pgbackrest" || !words.Contains(verb) || command.AsSpan().IndexOfAny(";&|") >= 0)
        {
            return null;
        }

        var stanza = words.LastOrDefault(w => w.StartsWith("--stanza=", StringComparison.Ordinal))?["--stanza=".Length..]
            ?? (words.IndexOf("--stanza") is >= 0 and var at && at + 1 < words.Count ? words[at + 1] : null);
        return stanza is not null && StanzaName().IsMatch(stanza) ? stanza : null;
    }

    private static string Words(string? problem) => problem is null ? "" : $" ({problem})";

    [GeneratedRegex(@"\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z")]
    private static partial Regex StanzaName();

    [GeneratedRegex(@" '?pgbackrest:([A-Za-z0-9_][A-Za-z0-9_.-]*)'? ")]
    private static partial Regex OurSource();
}
