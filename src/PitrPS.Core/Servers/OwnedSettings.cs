using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>How far <see cref="OwnedSettings.Steps"/> carries a change.</summary>
internal enum SettingsReach
{
    /// <summary>Reload, and restart where a changed setting needs it.</summary>
    Restart,

    /// <summary>Reload only: none of the settings needs more, or the caller restarts the server itself later.</summary>
    Reload,

    /// <summary>Files only: the server is stopped or is started by a later step.</summary>
    Files,
}

/// <summary>
/// The settings that PitrPS has on a server: one file of its own in conf.d, included by postgresql.conf, in which the settings of all operations lie side by side.
/// postgresql.auto.conf is read last and wins, so entries of the same names are taken out of it, kept root-only, and put back when PitrPS gives the setting up.
/// The file is readable by everybody: no secret may be in a value.
/// </summary>
internal static class OwnedSettings
{
    public const string IncludeDirectory = "conf.d";
    public const string FileName = "50-pitrps.conf";

    private const string Header =
        """
        # Written by PitrPS, sorted by name. Its cmdlets change these settings; what is edited here by hand
        # is kept only until they do. PostgreSQL reads it by the include_dir line in postgresql.conf.
        """;

    public static string PathOf(PgServer server) => $"{server.ConfigDirectory}/{IncludeDirectory}/{FileName}";

    public static string AutoConfOf(PgServer server) => server.DataDirectory + "/postgresql.auto.conf";

    /// <summary>Where what was taken out of postgresql.auto.conf waits; root-only, because primary_conninfo can hold a password.</summary>
    public static string TakenPathOf(PgServer server) => $"{HostPaths.Servers}/{HostPaths.FileName(server.Name)}.taken.conf";

    /// <summary>The whole owned file; the one renderer.</summary>
    public static string Render(IEnumerable<KeyValuePair<string, string>> settings) =>
        Header + "\n" + ConfigText.Text(settings.OrderBy(s => s.Key, StringComparer.Ordinal).Select(s => ConfigText.Render(new ConfigEntry(s.Key, s.Value))));

    /// <summary>The owned file with these settings put in; null takes one out.</summary>
    public static string Merge(string? text, IReadOnlyDictionary<string, string?> settings)
    {
        var values = ConfigText.Values(ConfigText.Lines(text));
        foreach (var (name, value) in settings)
        {
            values.Remove(name);
            if (value is not null)
            {
                values[name] = value;
            }
        }

        return Render(values);
    }

    /// <summary>What the owned file says now; empty where there is none.</summary>
    public static async Task<IReadOnlyDictionary<string, string>> ReadAsync(PgServer server, CancellationToken cancel) =>
        ConfigText.Values(ConfigText.Lines(await server.Host.ReadTextAsync(PathOf(server), cancel).ConfigureAwait(false)));

    /// <summary>
    /// The steps that give the server these settings; a null value gives one up (and puts back what was taken from postgresql.auto.conf for it).
    /// Their checks ask the running server, or, when it is stopped, the files alone.
    /// </summary>
    /// <exception cref="PitrException">When carried out: <c>PitrPS.SettingRejected</c>, <c>PitrPS.SettingOverridden</c>.</exception>
    public static IReadOnlyList<Step> Steps(PgServer server, string idPrefix, IReadOnlyDictionary<string, string?> settings, SettingsReach reach = SettingsReach.Restart)
    {
        var wanted = settings.ToDictionary(s => s.Key.ToLowerInvariant(), s => s.Value);
        string[] set = [.. wanted.Where(s => s.Value is not null).Select(s => s.Key).Order(StringComparer.Ordinal)];
        string[] given = [.. wanted.Where(s => s.Value is null).Select(s => s.Key).Order(StringComparer.Ordinal)];
        var steps = new List<Step> { IncludeStep(server, idPrefix + ".include", set), FileStep(server, idPrefix + ".file", wanted) };
        if (set.Length > 0)
        {
            steps.Add(TakeOutStep(server, idPrefix + ".auto", set));
        }

        if (given.Length > 0)
        {
            steps.Add(GiveBackStep(server, idPrefix + ".back", given));
        }

        if (reach != SettingsReach.Files)
        {
            steps.Add(ReloadStep(server, idPrefix + ".reload", wanted));
        }

        if (reach == SettingsReach.Restart)
        {
            steps.Add(ServerControl.RestartStep(server, idPrefix + ".restart", $"Restart {server.Name} if a setting needs it ({string.Join(", ", wanted.Keys.Order(StringComparer.Ordinal))})",
                async run => await StatesAsync(server, wanted, run.Feedback, run.Cancel).ConfigureAwait(false) is not { } states || states.Where(s => s.NeedsRestart).All(s => s.IsRight)));
        }

        return steps;
    }

    /// <summary>What must be announced of these settings: which of them restart the server. Nothing for a server that is stopped or planned.</summary>
    public static async Task<IReadOnlyList<string>> AnnouncementsAsync(PgServer server, IReadOnlyDictionary<string, string?> settings, IFeedback feedback, CancellationToken cancel)
    {
        if (server.IsPlanned || await StatesAsync(server, settings, feedback, cancel).ConfigureAwait(false) is not { } states)
        {
            return [];
        }

        string[] names = [.. states.Where(s => s.NeedsRestart && !s.IsRight).Select(s => s.Name).Order(StringComparer.Ordinal)];
        return names.Length == 0 ? [] : [$"{server.Id} is restarted, and its sessions are ended, because of {string.Join(", ", names)}."];
    }

    /// <summary>Entries of these names are out of postgresql.auto.conf; what they were is kept for <see cref="GiveBackStep"/>.</summary>
    public static Step TakeOutStep(PgServer server, string id, IReadOnlyCollection<string> names) => new(id, $"Take {string.Join(", ", names)} out of postgresql.auto.conf, which would win", server.Host)
    {
        IsDone = async run => ConfigText.Without(ConfigText.Lines(await server.Host.ReadTextAsync(AutoConfOf(server), run.Cancel).ConfigureAwait(false)), names).Removed.Count == 0,
        Do = async run =>
        {
            var (lines, removed) = ConfigText.Without(ConfigText.Lines(await server.Host.ReadTextAsync(AutoConfOf(server), run.Cancel).ConfigureAwait(false)), names);
            await ChangeTakenAsync(server, taken =>
            {
                foreach (var (name, value) in removed)
                {
                    taken[name] = value;
                }
            }, run.Cancel).ConfigureAwait(false);
            await WriteAutoConfAsync(server, lines, run.Cancel).ConfigureAwait(false);
        },
        Preview = [$"edit {AutoConfOf(server)}; entries found are kept in {TakenPathOf(server)}"],
    };

    /// <summary>What was taken out of postgresql.auto.conf under these names is in it again.</summary>
    public static Step GiveBackStep(PgServer server, string id, IReadOnlyCollection<string> names) => new(id, $"Put back into postgresql.auto.conf what was taken out for {string.Join(", ", names)}", server.Host)
    {
        IsDone = async run => !(await TakenAsync(server, run.Cancel).ConfigureAwait(false)).Keys.Any(k => names.Contains(k, StringComparer.OrdinalIgnoreCase)),
        Do = async run =>
        {
            var taken = await TakenAsync(server, run.Cancel).ConfigureAwait(false);
            string[] back = [.. taken.Keys.Where(k => names.Contains(k, StringComparer.OrdinalIgnoreCase))];
            var (lines, _) = ConfigText.Without(ConfigText.Lines(await server.Host.ReadTextAsync(AutoConfOf(server), run.Cancel).ConfigureAwait(false)), back);
            await WriteAutoConfAsync(server, [.. lines, .. back.Select(k => ConfigText.Render(new ConfigEntry(k, taken[k])))], run.Cancel).ConfigureAwait(false);
            await ChangeTakenAsync(server, left => Array.ForEach(back, k => left.Remove(k)), run.Cancel).ConfigureAwait(false);
        },
        Preview = [$"move entries from {TakenPathOf(server)}, if any, to {AutoConfOf(server)}"],
    };

    private static Step IncludeStep(PgServer server, string id, IReadOnlyCollection<string> names)
    {
        var path = server.ConfigDirectory + "/postgresql.conf";
        var directory = $"{server.ConfigDirectory}/{IncludeDirectory}";
        return new Step(id, $"Let postgresql.conf include {IncludeDirectory}", server.Host)
        {
            IsDone = async run =>
                await run.TestAsync(RemoteCommand.Of("test", "-d", directory).AsRoot()).ConfigureAwait(false)
                && ConfigText.Lines(await server.Host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false)) is var lines
                && ConfigText.WithIncludeDirectory(lines, server.ConfigDirectory, IncludeDirectory, names) == lines,
            Do = async run =>
            {
                await run.RunAsync(RemoteCommand.Shell("""[ -d "$1" ] || mkdir -m 0755 "$1" """, directory).As(server.OsUser)).ConfigureAwait(false);
                var lines = ConfigText.Lines(await server.Host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false));
                var included = ConfigText.WithIncludeDirectory(lines, server.ConfigDirectory, IncludeDirectory, names);
                if (included != lines)
                {
                    await EditAsync(server, path, ConfigText.Text(included), secret: false, run.Cancel).ConfigureAwait(false);
                }
            },
            Preview = [$"make {directory} and add \"include_dir '{IncludeDirectory}'\" to {path}, unless they are there"],
        };
    }

    private static Step FileStep(PgServer server, string id, IReadOnlyDictionary<string, string?> settings) => new(id, $"Write {string.Join(", ", settings.Keys.Order(StringComparer.Ordinal))} to {FileName}", server.Host)
    {
        IsDone = async run =>
        {
            var now = await ReadAsync(server, run.Cancel).ConfigureAwait(false);
            return settings.All(s => now.GetValueOrDefault(s.Key) == s.Value);
        },
        Do = async run =>
        {
            var text = Merge(await server.Host.ReadTextAsync(PathOf(server), run.Cancel).ConfigureAwait(false), settings);
            await server.Host.Remote.WriteFileAsync(RemoteFile.Text(PathOf(server), text, 0x1A4 /* 0644 */, server.OsUser, server.OsUser), run.Cancel).ConfigureAwait(false);
        },
        Preview = [$"write {PathOf(server)} (644, {server.OsUser}), with:",
            .. settings.OrderBy(s => s.Key, StringComparer.Ordinal).Select(s => s.Value is { } value ? "| " + ConfigText.Render(new ConfigEntry(s.Key, value)) : $"| (no {s.Key} any more)")],
    };

    private static Step ReloadStep(PgServer server, string id, IReadOnlyDictionary<string, string?> settings) => new(id, $"Let {server.Name} read its configuration again", server.Host)
    {
        IsDone = async run => await StatesAsync(server, settings, run.Feedback, run.Cancel).ConfigureAwait(false) is not { } states || states.Where(s => !s.NeedsRestart).All(s => s.IsRight),
        Do = async run =>
        {
            await ServerControl.ReloadAsync(server, run.Cancel).ConfigureAwait(false);
            await WaitUntilReadAsync(server, settings, run).ConfigureAwait(false);
        },
        Preview = [ServerControl.Display(server, "reload")],
    };

    // The postmaster reads the files some milliseconds after the signal; a setting that then is still not so has a reason, which pg_file_settings knows.
    private static async Task WaitUntilReadAsync(PgServer server, IReadOnlyDictionary<string, string?> settings, StepRun run)
    {
        var begun = DateTimeOffset.UtcNow;
        var wait = TimeSpan.FromMilliseconds(30);
        while (true)
        {
            var states = await StatesAsync(server, settings, run.Feedback, run.Cancel).ConfigureAwait(false);
            if (states is null || states.Where(s => !s.NeedsRestart).All(s => s.IsRight))
            {
                return;
            }

            var waited = DateTimeOffset.UtcNow - begun;
            if (waited > TimeSpan.FromSeconds(2))
            {
                await ThrowIfRefusedAsync(server, states, run).ConfigureAwait(false);
            }

            if (waited > TimeSpan.FromSeconds(10))
            {
                throw Overridden(server, states.First(s => !s.IsRight && !s.NeedsRestart), null);
            }

            await Task.Delay(wait, run.Cancel).ConfigureAwait(false);
            wait = TimeSpan.FromMilliseconds(Math.Min(1000, wait.TotalMilliseconds * 2));
        }
    }

    private static async Task ThrowIfRefusedAsync(PgServer server, IReadOnlyList<SettingState> states, StepRun run)
    {
        var rows = await ServerSql.QueryAsync(server, "postgres",
            $"""
            SELECT pg_catalog.lower(name), sourcefile, sourceline, applied, error FROM pg_catalog.pg_file_settings
            WHERE error IS NOT NULL OR pg_catalog.lower(name) IN ({string.Join(", ", states.Select(s => Sql.Literal(s.Name)))}) ORDER BY seqno
            """, run.Feedback, run.Cancel).ConfigureAwait(false);
        foreach (var row in rows)
        {
            // A line that cannot be read at all keeps the server from taking over anything; it has no name.
            if (row is { Values: [null, _, _, _, { } error] })
            {
                throw new PitrException("PitrPS.SettingRejected", ErrorKind.InvalidData,
                    $"{server.Id} refuses its configuration: {row[1]}, line {row[2]}: {error}",
                    "Mend that line; until then the server keeps to what it had. Then run the same command again.", server);
            }
        }

        foreach (var state in states.Where(s => s is { IsRight: false, NeedsRestart: false, Wanted: not null }))
        {
            if (rows.LastOrDefault(r => r[0] == state.Name) is { } last && last[1] != PathOf(server))
            {
                throw Overridden(server, state, $"{last[1]}, line {last[2]}");
            }

            if (rows.LastOrDefault(r => r[0] == state.Name) is { } own && own[4] is { } refused)
            {
                throw new PitrException("PitrPS.SettingRejected", ErrorKind.InvalidData, $"{server.Id} refuses {state.Name} = {ConfigText.Quote(state.Wanted!)}: {refused}",
                    "Look at the server's log for the reason; it keeps to the value that it had.", server);
            }
        }
    }

    private static PitrException Overridden(PgServer server, SettingState state, string? where) =>
        new("PitrPS.SettingOverridden", ErrorKind.ResourceBusy,
            $"{state.Name} of {server.Id} should be {(state.Wanted is null ? "as it was before PitrPS" : ConfigText.Quote(state.Wanted))}, but is {ConfigText.Quote(state.Setting)}{(where is null ? $" (source: {state.Source})" : $", as {where} says")}.",
            "Take that line (or option of the command line, or ALTER ROLE/DATABASE setting) away and run the same command again.", server);

    // Null when the server does not run: then only the files can be looked at.
    private static async Task<IReadOnlyList<SettingState>?> StatesAsync(PgServer server, IReadOnlyDictionary<string, string?> settings, IFeedback feedback, CancellationToken cancel)
    {
        IReadOnlyList<SqlRow> rows;
        try
        {
            rows = await ServerSql.QueryAsync(server, "postgres",
                $"""
                SELECT pg_catalog.lower(name), setting, unit, vartype, context, sourcefile, source FROM pg_catalog.pg_settings
                WHERE pg_catalog.lower(name) IN ({string.Join(", ", settings.Keys.Select(k => Sql.Literal(k.ToLowerInvariant())))})
                """, feedback, cancel).ConfigureAwait(false);
        }
        catch (PitrException e) when (e.Id == "PitrPS.ServerUnavailable")
        {
            if (await ServerControl.IsRunningAsync(server, cancel).ConfigureAwait(false))
            {
                throw;
            }

            return null;
        }

        var own = PathOf(server);
        return [.. rows.Select(row =>
        {
            var wanted = settings.First(s => s.Key.Equals(row[0], StringComparison.OrdinalIgnoreCase)).Value;
            return new SettingState(row.Text(0), wanted, row[1] ?? "", row.Text(6), row[4] == "postmaster",
                wanted is null ? row[5] != own : IsHidden(row) || SettingValue.Same(wanted, row[1] ?? "", row[2], row.Text(3)));
        })];
    }

    // While archive_mode is off PostgreSQL shows this instead of the command; the restart that turns it on reads the files anyway.
    private static bool IsHidden(SqlRow row) => row[0] == "archive_command" && row[1] == "(disabled)";

    private static async Task<SortedDictionary<string, string>> TakenAsync(PgServer server, CancellationToken cancel) =>
        ConfigText.Values(ConfigText.Lines(await server.Host.ReadTextAsync(TakenPathOf(server), cancel).ConfigureAwait(false)));

    private static async Task ChangeTakenAsync(PgServer server, Action<SortedDictionary<string, string>> change, CancellationToken cancel)
    {
        var taken = await TakenAsync(server, cancel).ConfigureAwait(false);
        change(taken);
        if (taken.Count == 0)
        {
            await server.Host.RunCheckedAsync(RemoteCommand.Of("rm", "-f", "--", TakenPathOf(server)).AsRoot(), cancel).ConfigureAwait(false);
            return;
        }

        var text = "# Taken out of postgresql.auto.conf by PitrPS, which puts it back when it gives these settings up.\n"
            + ConfigText.Text(taken.Select(t => ConfigText.Render(new ConfigEntry(t.Key, t.Value))));
        await server.Host.Remote.WriteFileAsync(RemoteFile.Text(TakenPathOf(server), text, 0x180 /* 0600 */) with { Secret = true }, cancel).ConfigureAwait(false);
    }

    private static Task WriteAutoConfAsync(PgServer server, string[] lines, CancellationToken cancel) =>
        EditAsync(server, AutoConfOf(server), ConfigText.Text(lines), secret: true, cancel);

    // Somebody else's file keeps the mode and the owner that it has.
    public static async Task EditAsync(PgServer server, string path, string text, bool secret, CancellationToken cancel)
    {
        var stat = (await server.Host.RunCheckedAsync(RemoteCommand.Of("stat", "-L", "-c", "%a %U %G", path).AsRoot(), cancel).ConfigureAwait(false)).Text.Split(' ');
        await server.Host.Remote.WriteFileAsync(RemoteFile.Text(path, text, Convert.ToInt32(stat[0], 8), stat[1], stat[2]) with { Secret = secret }, cancel).ConfigureAwait(false);
    }

    private sealed record SettingState(string Name, string? Wanted, string Setting, string Source, bool NeedsRestart, bool IsRight);
}
