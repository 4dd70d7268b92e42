using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Servers;

public class OwnedSettingsTests
{
    private const string Auto = "/var/lib/postgresql/15/main/postgresql.auto.conf";

    private readonly FakeRemoteHost _fake = new();
    private readonly PgServer _server;
    private bool _hasDirectory = true;
    private bool _neighboursWin;

    public OwnedSettingsTests()
    {
        _server = TestServers.On(_fake, "standby") with { Host = _fake.Host };
        _fake.On("stat -L", c => new CommandResult(0, $"600 postgres postgres\n{c.Arguments[^1]}\n", "")).On("rm -f", c =>
        {
            _fake.Files.Remove(c.Arguments[^1]);
            return new CommandResult(0, "", "");
        }).On("neighbours", _ => new CommandResult(0, (_hasDirectory ? "directory\n" : "") + (_neighboursWin ? "neighbours\n" : ""), ""))
            .On("mkdir", _ => Directory(true)).On("rmdir", _ => Directory(false));
        _fake.WithFile("/etc/postgresql/15/main/postgresql.conf", "port = 5432\n", 0x1A4, "postgres", "postgres");
    }

    [Fact]
    public void Settings_of_different_operations_lie_side_by_side_sorted()
    {
        var text = OwnedSettings.Merge(null, new Dictionary<string, string?> { ["wal_level"] = "replica", ["archive_mode"] = "on" });
        text = OwnedSettings.Merge(text, new Dictionary<string, string?> { ["restore_command"] = "it's \\ %f", ["Archive_Mode"] = null });

        Assert.Equal(["restore_command = 'it''s \\\\ %f'", "wal_level = 'replica'"], ConfigText.Lines(text).Where(l => !l.StartsWith('#')));
        Assert.Equal(text, OwnedSettings.Merge(text, new Dictionary<string, string?>()));
    }

    [Fact]
    public async Task Changes_the_vendors_file_only_to_include_the_directory()
    {
        await CarryOut(OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["archive_mode"] = "on" }, SettingsReach.Files));

        var vendor = ConfigText.Lines(_fake.TextOf("/etc/postgresql/15/main/postgresql.conf"));
        Assert.Equal("port = 5432", vendor[0]);
        Assert.Equal(new ConfigEntry("include_if_exists", "conf.d/50-pitrps.conf"), ConfigText.Parse(vendor[1]));
        var own = _fake.Files[OwnedSettings.PathOf(_server)];
        Assert.Equal(("postgres", 0x1A4), (own.Owner, own.Mode));
        Assert.Equal("on", (await OwnedSettings.ReadAsync(_server, default))["archive_mode"]);
    }

    [Fact]
    public async Task What_ALTER_SYSTEM_had_set_is_kept_root_only_and_given_back()
    {
        _fake.WithFile(Auto, "# Do not edit\nprimary_conninfo = 'password=geheim'\nwork_mem = '1GB'\n", 0x180, "postgres", "postgres");

        await CarryOut(OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["primary_conninfo"] = "host=p" }, SettingsReach.Files));

        Assert.Equal("# Do not edit\nwork_mem = '1GB'\n", _fake.TextOf(Auto));
        var taken = _fake.Files[OwnedSettings.TakenPathOf(_server)];
        Assert.Equal((0x180, "root", true), (taken.Mode, taken.Owner, taken.Secret));
        Assert.All(_fake.Shown, shown => Assert.DoesNotContain("geheim", shown, StringComparison.Ordinal));

        await CarryOut(OwnedSettings.Steps(_server, "y", new Dictionary<string, string?> { ["primary_conninfo"] = null }, SettingsReach.Files));

        Assert.Equal("# Do not edit\nprimary_conninfo = 'password=geheim'\nwork_mem = '1GB'\n", _fake.TextOf(Auto));
        Assert.DoesNotContain(OwnedSettings.TakenPathOf(_server), _fake.Files.Keys);
        Assert.Empty(await OwnedSettings.ReadAsync(_server, default));
    }

    [Theory]
    [InlineData("port = 5432\n", "a = '1'\nrecovery_min_apply_delay='3d' # theirs\nb=2\n  Recovery_Min_Apply_Delay = 5\n", true, false)]
    [InlineData("include_dir 'conf.d'", "recovery_min_apply_delay = '3d'", true, true)]
    [InlineData("recovery_min_apply_delay = 1d\r\n# M\u00fcller\n\n", "", false, false)]
    [InlineData("", "\n\nrecovery_min_apply_delay = 7", false, false)]
    public async Task A_server_of_somebody_elses_is_left_as_it_was_byte_for_byte(string conf, string auto, bool hasDirectory, bool neighboursWin)
    {
        (_hasDirectory, _neighboursWin) = (hasDirectory, neighboursWin);
        const string path = "/etc/postgresql/15/main/postgresql.conf";
        // In Latin-1, which no UTF-8 decoder gives back.
        _fake.Files[path] = new RemoteFile(path, System.Text.Encoding.Latin1.GetBytes(conf), 0x1A4, "postgres", "postgres");
        _fake.WithFile(Auto, auto, 0x180, "postgres", "postgres");
        var (before, autoBefore) = (_fake.Files[path].Content.ToArray(), _fake.Files[Auto].Content.ToArray());

        await CarryOut(OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["recovery_min_apply_delay"] = "99" }, SettingsReach.Files));
        Assert.DoesNotContain("recovery_min_apply_delay", _fake.TextOf(Auto), StringComparison.OrdinalIgnoreCase);
        Assert.True(_hasDirectory);
        await CarryOut(OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["work_mem"] = "1MB" }, SettingsReach.Files));
        await CarryOut(OwnedSettings.Steps(_server, "y", new Dictionary<string, string?> { ["recovery_min_apply_delay"] = null }, SettingsReach.Files));
        Assert.Contains(OwnedSettings.PathOf(_server), _fake.Files.Keys);
        await CarryOut(OwnedSettings.Steps(_server, "y", new Dictionary<string, string?> { ["work_mem"] = null }, SettingsReach.Files));

        Assert.Equal(before, _fake.Files[path].Content.ToArray());
        Assert.Equal(autoBefore, _fake.Files[Auto].Content.ToArray());
        Assert.DoesNotContain(_fake.Files.Keys, k => k.Contains("conf.d", StringComparison.Ordinal) || k.EndsWith(".taken.conf", StringComparison.Ordinal));
        Assert.Equal(hasDirectory, _hasDirectory);
    }

    [Fact]
    public async Task Between_two_steps_a_setting_is_never_the_default()
    {
        _fake.WithFile(Auto, "recovery_min_apply_delay = '3d'\n", 0x180, "postgres", "postgres");
        bool IsSomewhere() => _fake.TextOf(Auto).Contains("recovery_min_apply_delay", StringComparison.Ordinal)
            || (_fake.Files.ContainsKey(OwnedSettings.PathOf(_server)) && _fake.TextOf(OwnedSettings.PathOf(_server)).Contains("recovery_min_apply_delay", StringComparison.Ordinal));

        foreach (var value in new[] { "99", null })
        {
            foreach (var step in OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["recovery_min_apply_delay"] = value }, SettingsReach.Files))
            {
                await CarryOut([step]);
                Assert.True(IsSomewhere(), step.Title);
            }
        }
    }

    [Fact]
    public async Task What_was_set_anew_with_ALTER_SYSTEM_meanwhile_is_not_overwritten()
    {
        _fake.WithFile(Auto, "work_mem = '1GB'\n", 0x180, "postgres", "postgres");
        await CarryOut(OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["work_mem"] = "2MB" }, SettingsReach.Files));
        _fake.WithFile(Auto, "work_mem = '3GB'\n", 0x180, "postgres", "postgres");
        await CarryOut(OwnedSettings.Steps(_server, "y", new Dictionary<string, string?> { ["work_mem"] = null }, SettingsReach.Files));
        Assert.Equal("work_mem = '3GB'\n", _fake.TextOf(Auto));
    }

    [Fact]
    public async Task Of_a_stopped_server_only_the_files_are_checked()
    {
        _fake.On("psql", exitCode: 2, error: "psql: error: connection to server failed: No such file or directory\n").On("postmaster.pid", "");
        var steps = OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["archive_mode"] = "on" });

        await CarryOut(steps);

        Assert.DoesNotContain(_fake.Shown, shown => shown.Contains("systemctl start", StringComparison.Ordinal) || shown.Contains("systemctl restart", StringComparison.Ordinal) || shown.Contains("pg_ctl", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("off", false)]
    [InlineData("on", true)]
    public async Task Of_a_running_server_the_running_value_counts(string running, bool done)
    {
        _fake.On("psql", c => new CommandResult(0, Reply(c, ["archive_mode", running, null, "enum", "postmaster", "/x", "default"]), ""));
        var steps = OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["archive_mode"] = "on" });

        Assert.Equal(done, await steps.Single(s => s.Id == "x.restart").IsDone(Run(steps[0])));
        Assert.True(await steps.Single(s => s.Id == "x.reload").IsDone(Run(steps[0])));
        Assert.Equal(done ? 0 : 1, (await OwnedSettings.AnnouncementsAsync(_server, new Dictionary<string, string?> { ["archive_mode"] = "on" }, new SilentFeedback(), default)).Count);
    }

    [Fact]
    public async Task A_command_that_cannot_be_seen_while_archiving_is_off_needs_no_reload()
    {
        _fake.On("psql", c => new CommandResult(0, Reply(c, ["archive_command", "(disabled)", null, "string", "sighup", "/x", "configuration file"]), ""));
        var steps = OwnedSettings.Steps(_server, "x", new Dictionary<string, string?> { ["archive_command"] = "cp %p /a/%f" });

        Assert.True(await steps.Single(s => s.Id == "x.reload").IsDone(Run(steps[0])));
    }

    // As psql prints it; the marks are those that the script set.
    private static string Reply(RemoteCommand command, params string?[][] rows)
    {
        var script = System.Text.Encoding.UTF8.GetString(command.Input.Span);
        var mark = script[(script.IndexOf("fieldsep '<", StringComparison.Ordinal) + 11)..][..16];
        return string.Concat(rows.Select(r => string.Join($"<{mark}|", r.Select(v => v ?? $"<{mark}~")) + "\0"));
    }

    private CommandResult Directory(bool isThere)
    {
        _hasDirectory = isThere;
        return new CommandResult(0, "", "");
    }

    private async Task CarryOut(IReadOnlyList<Step> steps)
    {
        foreach (var step in steps)
        {
            var run = Run(step);
            if (!await step.IsDone(run))
            {
                await step.Do(run);
                Assert.True(await step.IsDone(run), step.Title);
            }
        }
    }

    private StepRun Run(Step step)
    {
        var plan = new Plan { Operation = "Test", Subject = "x", Home = _fake.Host, Steps = [step] };
        return new StepRun(step, plan, Journal.For(plan, "me", DateTimeOffset.UnixEpoch), new SilentFeedback(), default);
    }
}
