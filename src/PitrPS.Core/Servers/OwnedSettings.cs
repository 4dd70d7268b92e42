using System.Globalization;
using System.Text;
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
/// postgresql.auto.conf is read last and wins, so entries of the same names are taken out of it, kept root-only, and put back where they were when PitrPS gives the setting up.
/// With the last setting the file, the line that includes it and a directory that was made for it go, too: a server that somebody else set up is left as it was, byte for byte.
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
        var steps = new List<Step>();

        // A server that is started at any moment in between has either the old value or the new one, never the default.
        if (given.Length > 0)
        {
            steps.Add(GiveBackStep(server, idPrefix + ".back", given));
        }

        if (set.Length > 0)
        {
            steps.Add(IncludeStep(server, idPrefix + ".include", set));
        }

        steps.Add(FileStep(server, idPrefix + ".file", wanted));
        steps.Add(set.Length > 0 ? TakeOutStep(server, idPrefix + ".auto", set) : LeaveStep(server, idPrefix + ".leave"));

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

    /// <summary>Entries of these names are out of postgresql.auto.conf; their lines are kept for <see cref="GiveBackStep"/>.</summary>
    public static Step TakeOutStep(PgServer server, string id, IReadOnlyCollection<string> names) => new(id, $"Take {string.Join(", ", names)} out of postgresql.auto.conf, which would win", server.Host)
    {
        IsDone = async run => ConfigText.TakeOut(await VendorFile.ReadAsync(server, AutoConfOf(server), run.Cancel).ConfigureAwait(false), names).Taken.Count == 0,
        Do = async run =>
        {
            var (lines, taken) = ConfigText.TakeOut(await VendorFile.ReadAsync(server, AutoConfOf(server), run.Cancel).ConfigureAwait(false), names);
            var before = await TakenAsync(server, run.Cancel).ConfigureAwait(false);

            // A run that ended just here has kept them already.
            await KeepTakenAsync(server, before.TakeLast(taken.Count).SequenceEqual(taken) ? before : [.. before, .. taken], run.Cancel).ConfigureAwait(false);
            await VendorFile.WriteAsync(server, AutoConfOf(server), lines, secret: true, run.Cancel).ConfigureAwait(false);
        },
        Preview = [$"edit {AutoConfOf(server)}; lines found are kept in {TakenPathOf(server)}"],
    };

    /// <summary>What was taken out of postgresql.auto.conf under these names is in it again.</summary>
    public static Step GiveBackStep(PgServer server, string id, IReadOnlyCollection<string> names)
    {
        bool IsOne(TakenLine line) => ConfigText.Parse(line.Line) is { } entry && names.Any(entry.Is);
        return new Step(id, $"Put back into postgresql.auto.conf what was taken out for {string.Join(", ", names)}", server.Host)
        {
            IsDone = async run => !(await TakenAsync(server, run.Cancel).ConfigureAwait(false)).Any(IsOne),
            Do = async run =>
            {
                var taken = await TakenAsync(server, run.Cancel).ConfigureAwait(false);
                var lines = await VendorFile.ReadAsync(server, AutoConfOf(server), run.Cancel).ConfigureAwait(false);
                await VendorFile.WriteAsync(server, AutoConfOf(server), ConfigText.PutBack(lines, [.. taken.Where(IsOne)]), secret: true, run.Cancel).ConfigureAwait(false);
                await KeepTakenAsync(server, [.. taken.Where(t => !IsOne(t))], run.Cancel).ConfigureAwait(false);
            },
            Preview = [$"move lines from {TakenPathOf(server)}, if any, to {AutoConfOf(server)}"],
        };
    }

    private static Step IncludeStep(PgServer server, string id, IReadOnlyCollection<string> names)
    {
        var path = server.ConfigDirectory + "/postgresql.conf";
        var directory = $"{server.ConfigDirectory}/{IncludeDirectory}";
        const string file = $"{IncludeDirectory}/{FileName}";

        // Files of the same directory that are read after ours.
        async Task<(bool HasDirectory, bool NeighboursWin)> LookAsync(StepRun run)
        {
            var said = (await run.RunAsync(RemoteCommand.Shell(
                """
                [ -d "$1" ] || exit 0
                echo directory
                LC_ALL=C; export LC_ALL
                for f in "$1"/*.conf; do
                  [ -f "$f" ] && [ "${f##*/}" \> "$2" ] && grep -qEi "^[[:space:]]*($3)[[:space:]=]" "$f" && { echo neighbours; break; }
                done
                exit 0
                """, directory, FileName, string.Join('|', names.Append("include").Append("include_dir").Append("include_if_exists"))).AsRoot()).ConfigureAwait(false)).Lines;
            return (said.Contains("directory"), said.Contains("neighbours"));
        }

        return new Step(id, $"Let postgresql.conf include {file}", server.Host)
        {
            IsDone = async run =>
            {
                var (hasDirectory, neighboursWin) = await LookAsync(run).ConfigureAwait(false);
                return hasDirectory && await VendorFile.ReadAsync(server, path, run.Cancel).ConfigureAwait(false) is var lines
                    && ConfigText.WithInclude(lines, server.ConfigDirectory, file, names, neighboursWin) == lines;
            },
            Do = async run =>
            {
                var (hasDirectory, neighboursWin) = await LookAsync(run).ConfigureAwait(false);
                if (!hasDirectory)
                {
                    await ServerState.UpdateAsync(server.Host, server.Name, state => state with { ConfigDirectoryIsOurs = true }, run.Cancel).ConfigureAwait(false);
                    await run.RunAsync(RemoteCommand.Of("mkdir", "-m", "0755", directory).As(server.OsUser)).ConfigureAwait(false);
                }

                var lines = await VendorFile.ReadAsync(server, path, run.Cancel).ConfigureAwait(false);
                var included = ConfigText.WithInclude(lines, server.ConfigDirectory, file, names, neighboursWin);
                if (included != lines)
                {
                    await VendorFile.WriteAsync(server, path, included, secret: false, run.Cancel).ConfigureAwait(false);
                }
            },
            Preview = [$"make {directory} and add \"{ConfigText.IncludeLine(file).Split('\t')[0]}\" to {path}, unless it is read there already"],
        };
    }

    // Nothing of ours is left in the file, so the file goes, and all that was made for it.
    private static Step LeaveStep(PgServer server, string id)
    {
        var path = server.ConfigDirectory + "/postgresql.conf";
        var directory = $"{server.ConfigDirectory}/{IncludeDirectory}";
        return new Step(id, $"Leave no trace of {FileName} when nothing is in it any more", server.Host)
        {
            IsDone = async run => (await server.Host.ReadTextAsync(PathOf(server), run.Cancel).ConfigureAwait(false) is { } text
                ? ConfigText.Values(ConfigText.Lines(text)).Count > 0
                : !Array.Exists(await VendorFile.ReadAsync(server, path, run.Cancel).ConfigureAwait(false), ConfigText.IsOurInclude)
                    && (await ServerState.ReadAsync(server.Host, server.Name, run.Cancel).ConfigureAwait(false)).ConfigDirectoryIsOurs != true),
            Do = async run =>
            {
                var lines = await VendorFile.ReadAsync(server, path, run.Cancel).ConfigureAwait(false);
                if (Array.Exists(lines, ConfigText.IsOurInclude))
                {
                    await VendorFile.WriteAsync(server, path, ConfigText.WithoutInclude(lines), secret: false, run.Cancel).ConfigureAwait(false);
                }

                await run.RunAsync(RemoteCommand.Of("rm", "-f", "--", PathOf(server)).AsRoot()).ConfigureAwait(false);
                if ((await ServerState.ReadAsync(server.Host, server.Name, run.Cancel).ConfigureAwait(false)).ConfigDirectoryIsOurs == true)
                {
                    // What somebody else has put there meanwhile stays.
                    await run.RunAsync(RemoteCommand.Shell("""[ ! -d "$1" ] || rmdir --ignore-fail-on-non-empty -- "$1" """, directory).AsRoot()).ConfigureAwait(false);
                    await ServerState.UpdateAsync(server.Host, server.Name, state => state with { ConfigDirectoryIsOurs = null }, run.Cancel).ConfigureAwait(false);
                }
            },
            Preview = [$"if it holds no setting any more: rm {PathOf(server)}, take its line out of {path}"],
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

    private const string PlaceMark = "# line ";
    private const string UnendedMark = ", without a newline";

    // Each line under one that says where it was.
    private static async Task<IReadOnlyList<TakenLine>> TakenAsync(PgServer server, CancellationToken cancel)
    {
        var taken = new List<TakenLine>();
        var (place, isUnended) = (0, false);
        foreach (var line in await VendorFile.ReadAsync(server, TakenPathOf(server), cancel).ConfigureAwait(false))
        {
            if (line.StartsWith(PlaceMark, StringComparison.Ordinal))
            {
                isUnended = line.EndsWith(UnendedMark, StringComparison.Ordinal);
                place = int.Parse(line[PlaceMark.Length..].Replace(UnendedMark, "", StringComparison.Ordinal), NumberStyles.None, CultureInfo.InvariantCulture);
            }
            else if (ConfigText.Parse(line) is not null)
            {
                taken.Add(new TakenLine(place, line, isUnended));
            }
        }

        return taken;
    }

    private static async Task KeepTakenAsync(PgServer server, IReadOnlyList<TakenLine> taken, CancellationToken cancel)
    {
        if (taken.Count == 0)
        {
            await server.Host.RunCheckedAsync(RemoteCommand.Of("rm", "-f", "--", TakenPathOf(server)).AsRoot(), cancel).ConfigureAwait(false);
            return;
        }

        var text = "# Taken out of postgresql.auto.conf by PitrPS, the last line first. It puts them back when it gives these settings up.\n"
            + string.Concat(taken.Select(t => string.Create(CultureInfo.InvariantCulture, $"{PlaceMark}{t.Place}{(t.IsUnended ? UnendedMark : "")}\n{t.Line}\n")));
        await server.Host.Remote.WriteFileAsync(new RemoteFile(TakenPathOf(server), Encoding.Latin1.GetBytes(text), 0x180 /* 0600 */) { Secret = true }, cancel).ConfigureAwait(false);
    }

    private sealed record SettingState(string Name, string? Wanted, string Setting, string Source, bool NeedsRestart, bool IsRight);
}
