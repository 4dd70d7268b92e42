using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>One line of pg_hba.conf. Database, user and address are names as they are; quoting is done here.</summary>
/// <param name="Type">hostssl, host or local.</param>
/// <param name="Database">A database, or one of the keywords replication and all.</param>
/// <param name="User">The role.</param>
/// <param name="Address">An address with its prefix length, or the keyword all; null for local.</param>
/// <param name="Method">scram-sha-256, peer or reject.</param>
internal sealed record HbaEntry(string Type, string Database, string User, string? Address, string Method)
{
    /// <summary>The line; a role's name is always quoted, because an unquoted one could be a keyword.</summary>
    public string Render() => string.Join('\t', new[] { Type, Database is "replication" or "all" ? Database : Quote(Database), Quote(User), Address, Method }.OfType<string>());

    private static string Quote(string name) => '"' + name.Replace("\"", "\"\"", StringComparison.Ordinal) + '"';
}

/// <summary>
/// PitrPS's lines in pg_hba.conf: marked blocks ahead of all others, because the first line that matches decides.
/// Source: PostgreSQL documentation, "The pg_hba.conf File".
/// </summary>
internal static class HbaFile
{
    /// <summary>The file's lines with the block of this name holding these entries, and nothing else changed; no entries take the block out.</summary>
    public static string[] WithBlock(IReadOnlyList<string> lines, string name, IReadOnlyList<HbaEntry> entries)
    {
        var rest = new List<string>();
        var inside = false;
        foreach (var line in lines)
        {
            inside |= line == Begin(name);
            if (!inside)
            {
                rest.Add(line);
            }

            inside &= line != End(name);
        }

        if (inside)
        {
            throw new PitrException("PitrPS.HbaBlockDamaged", ErrorKind.InvalidData, $"pg_hba.conf has the line '{Begin(name)}' and no '{End(name)}' after it.",
                "Put the end line back, or take the whole block out, then run the same command again.");
        }

        if (entries.Count == 0)
        {
            return [.. rest];
        }

        var first = rest.FindIndex(l => l.Trim().Length > 0 && !l.TrimStart().StartsWith('#'));
        var end = rest.Count > 0 && rest[^1].Length == 0 ? rest.Count - 1 : rest.Count;
        rest.InsertRange(first < 0 ? end : first, [Begin(name), .. entries.Select(e => VendorFile.Line(e.Render())), End(name)]);
        return [.. rest];
    }

    /// <summary>The steps after which the server lets these in, without a restart. The block's name tells one operation's lines from another's.</summary>
    /// <exception cref="PitrException">When carried out: <c>PitrPS.HbaRejected</c>.</exception>
    public static IReadOnlyList<Step> Steps(PgServer server, string idPrefix, string block, IReadOnlyList<HbaEntry> entries)
    {
        var path = server.ConfigDirectory + "/pg_hba.conf";
        return
        [
            new Step(idPrefix + ".hba", entries.Count > 0 ? $"Let {string.Join(", ", entries.Select(e => e.User).Distinct())} in by pg_hba.conf" : $"Take the lines of {block} out of pg_hba.conf", server.Host)
            {
                IsDone = async run =>
                {
                    var lines = await VendorFile.ReadAsync(server, path, run.Cancel).ConfigureAwait(false);
                    return WithBlock(lines, block, entries).SequenceEqual(lines);
                },
                Do = async run => await VendorFile.WriteAsync(server, path,
                    WithBlock(await VendorFile.ReadAsync(server, path, run.Cancel).ConfigureAwait(false), block, entries), secret: false, run.Cancel).ConfigureAwait(false),
                Preview = entries.Count > 0 ? [$"edit {path}, ahead of its first line:", .. entries.Select(e => "| " + e.Render())] : [$"edit {path}: take the block '{block}' out"],
            },
            new Step(idPrefix + ".hba-reload", $"Let {server.Name} read pg_hba.conf again", server.Host)
            {
                IsDone = run => IsReadAsync(server, path, run),
                Do = run => ReloadAsync(server, path, run),
                Preview = [ServerControl.Display(server, "reload")],
            },
        ];
    }

    private static string Begin(string name) => $"# PitrPS begin {name}";

    private static string End(string name) => $"# PitrPS end {name}";

    // A file that is newer than the last reload has not been read; one that is wrong has not been taken over.
    private static async Task<bool> IsReadAsync(PgServer server, string path, StepRun run)
    {
        if (!await ServerControl.IsRunningAsync(server, run.Cancel).ConfigureAwait(false))
        {
            return true;
        }

        var changed = await run.RunAsync(RemoteCommand.Of("stat", "-L", "-c", "%.6Z", path).AsRoot()).ConfigureAwait(false);
        return (await ServerSql.QueryAsync(server, "postgres",
            $"SELECT extract(epoch FROM pg_conf_load_time()) >= {changed.Text.Trim()} AND NOT EXISTS (SELECT FROM pg_hba_file_rules WHERE error IS NOT NULL)", run.Feedback, run.Cancel).ConfigureAwait(false))[0].Flag(0);
    }

    private static async Task ReloadAsync(PgServer server, string path, StepRun run)
    {
        await ServerControl.ReloadAsync(server, run.Cancel).ConfigureAwait(false);
        var giveUp = DateTimeOffset.UtcNow + TimeSpan.FromSeconds(10);
        while (!await IsReadAsync(server, path, run).ConfigureAwait(false))
        {
            var wrong = await ServerSql.QueryAsync(server, "postgres", "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY 1 LIMIT 1", run.Feedback, run.Cancel).ConfigureAwait(false);
            if (wrong.Count > 0 || DateTimeOffset.UtcNow > giveUp)
            {
                throw new PitrException("PitrPS.HbaRejected", ErrorKind.InvalidData,
                    $"{server.Id} does not take {path} over{(wrong.Count > 0 ? $": line {wrong[0][0]}: {wrong[0][1]}" : "")}.",
                    "Mend that line (the server keeps to the lines that it had until then), and run the same command again.", server);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), run.Cancel).ConfigureAwait(false);
        }
    }
}
