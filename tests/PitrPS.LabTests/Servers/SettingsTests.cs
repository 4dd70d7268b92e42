using PitrPS.LabTests.Infrastructure;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.LabTests.Servers;

/// <summary>PitrPS's own configuration file on a real server.</summary>
public sealed class SettingsTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>, IDisposable
{
    // Imports the module, whose types the tests speak to.
    private readonly PowerShellEngine _engine = new();

    public void Dispose() => _engine.Dispose();

    [LabFact]
    public async Task Reloads_or_restarts_as_needed_and_finds_nothing_to_do_the_second_time()
    {
        var started = Started(Lab.Primary);
        var reloaded = new Dictionary<string, string?> { ["archive_timeout"] = "1min", ["log_line_prefix"] = "it's \\ %m '" };
        Assert.Empty(await OwnedSettings.AnnouncementsAsync(Server(Lab.Primary), reloaded, Quiet.Feedback, default));
        Assert.True((await Apply(Lab.Primary, reloaded)).Changed > 0);
        Assert.Equal("60s|it's \\ %m '", hosts.Lab.Psql(Lab.Primary, "SELECT setting || unit, current_setting('log_line_prefix') FROM pg_settings WHERE name = 'archive_timeout'"));
        Assert.Equal(started, Started(Lab.Primary));

        // Another word for the same value is written, and nothing else.
        Assert.Equal(1, (await Apply(Lab.Primary, new() { ["archive_timeout"] = "60s" })).Changed);

        var restarted = new Dictionary<string, string?> { ["archive_mode"] = "on", ["archive_command"] = "true %p" };
        Assert.Contains("archive_mode", Assert.Single(await OwnedSettings.AnnouncementsAsync(Server(Lab.Primary), restarted, Quiet.Feedback, default)), StringComparison.Ordinal);
        await Apply(Lab.Primary, restarted);
        Assert.NotEqual(started, Started(Lab.Primary));
        Assert.Equal("on|true %p|f", hosts.Lab.Psql(Lab.Primary, "SELECT current_setting('archive_mode'), current_setting('archive_command'), (SELECT bool_or(pending_restart) FROM pg_settings)"));
        started = Started(Lab.Primary);
        Assert.Equal(0, (await Apply(Lab.Primary, restarted)).Changed);

        await Apply(Lab.Primary, new() { ["archive_mode"] = null, ["archive_command"] = null, ["archive_timeout"] = null, ["log_line_prefix"] = null });
        Assert.Equal("off|0", hosts.Lab.Psql(Lab.Primary, "SELECT current_setting('archive_mode'), current_setting('archive_timeout')"));
        Assert.Equal("*", hosts.Lab.Psql(Lab.Primary, "SHOW listen_addresses"));
    }

    [LabFact]
    public async Task What_somebody_set_with_ALTER_SYSTEM_gives_way_and_comes_back()
    {
        hosts.Lab.Psql(Lab.Standby, "ALTER SYSTEM SET checkpoint_timeout = '7min'");
        await Apply(Lab.Standby, new() { ["checkpoint_timeout"] = "9min" });
        Assert.Equal("9min", hosts.Lab.Psql(Lab.Standby, "SHOW checkpoint_timeout"));
        await Apply(Lab.Standby, new() { ["checkpoint_timeout"] = null });
        Assert.Equal("7min", hosts.Lab.Psql(Lab.Standby, "SHOW checkpoint_timeout"));
        hosts.Lab.Psql(Lab.Standby, "ALTER SYSTEM RESET ALL");
    }

    [LabFact]
    public async Task A_file_of_somebody_elses_that_is_read_later_gives_way_and_a_setting_of_a_role_that_wins_is_named()
    {
        hosts.Lab.Shell(Lab.Standby, "echo \"work_mem = '5MB'\" > /etc/postgresql/15/main/conf.d/99-theirs.conf");
        try
        {
            await Apply(Lab.Standby, new() { ["work_mem"] = "6MB" });
            Assert.Equal("6MB", hosts.Lab.Psql(Lab.Standby, "SHOW work_mem"));

            hosts.Lab.Psql(Lab.Standby, "ALTER ROLE ALL SET work_mem = '7MB'");
            var error = await Assert.ThrowsAsync<PitrException>(() => Apply(Lab.Standby, new() { ["work_mem"] = "8MB" }));
            Assert.Equal("PitrPS.SettingOverridden", error.Id);
            Assert.Contains("(source: global)", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            hosts.Lab.Psql(Lab.Standby, "ALTER ROLE ALL RESET work_mem");
            await Apply(Lab.Standby, new() { ["work_mem"] = null });
            Assert.Equal("5MB", hosts.Lab.Psql(Lab.Standby, "SHOW work_mem"));
            hosts.Lab.Shell(Lab.Standby, "rm /etc/postgresql/15/main/conf.d/99-theirs.conf");
        }
    }

    [LabFact]
    public async Task A_value_that_the_server_refuses_is_an_error_and_a_line_in_the_vendors_file_gives_way()
    {
        Assert.Equal("PitrPS.SettingRejected", (await Assert.ThrowsAsync<PitrException>(() => Apply(Lab.Standby, new() { ["archive_timeout"] = "nonsense" }))).Id);
        await Apply(Lab.Standby, new() { ["archive_timeout"] = null });

        hosts.Lab.Shell(Lab.Standby, "echo 'commit_delay = 5' >> /etc/postgresql/15/main/postgresql.conf");
        await Apply(Lab.Standby, new() { ["commit_delay"] = "6" });
        Assert.Equal("6", hosts.Lab.Psql(Lab.Standby, "SHOW commit_delay"));
    }

    [LabFact]
    public async Task Starts_and_stops_by_the_unit_and_says_what_the_log_says_when_it_cannot()
    {
        var server = Server(Lab.Standby);
        await ServerControl.StopAsync(server, Quiet.Feedback, default);
        Assert.False(await ServerControl.IsRunningAsync(server, default));
        Assert.Equal("inactive", hosts.Lab.Shell(Lab.Standby, "systemctl is-active postgresql@15-main || true").Trim());

        // What is stopped takes settings into its files, and they count when it starts.
        await Apply(Lab.Standby, new() { ["max_wal_senders"] = "none at all" });
        var error = await Assert.ThrowsAsync<PitrException>(() => ServerControl.StartAsync(server, Quiet.Feedback, default));
        Assert.Equal("PitrPS.ServerStartFailed", error.Id);
        Assert.Contains("max_wal_senders", error.Message, StringComparison.Ordinal);

        await Apply(Lab.Standby, new() { ["max_wal_senders"] = "11" });
        await ServerControl.StartAsync(server, Quiet.Feedback, default);
        Assert.Equal("11", hosts.Lab.Psql(Lab.Standby, "SHOW max_wal_senders"));
    }

    private async Task<PlanOutcome> Apply(string host, Dictionary<string, string?> settings)
    {
        var server = Server(host);
        var plan = new Plan { Operation = "Test-Settings", Subject = server.Id, Home = server.Host, Steps = OwnedSettings.Steps(server, "test", settings) };
        return await new PlanRunner(Quiet.Feedback, "test").RunAsync(plan, default);
    }

    private PgServer Server(string host) => (PgServer)hosts.Get(host == Lab.Primary ? "$primary" : "$standby")[0].BaseObject;

    private string Started(string host) => hosts.Lab.Psql(host, "SELECT pg_postmaster_start_time()");
}

/// <summary>Says nothing. A class of its own, so that the module's types are asked for only once it has been imported.</summary>
internal sealed class Quiet : IFeedback
{
    public static readonly IFeedback Feedback = new Quiet();

    public void Verbose(string text)
    {
    }

    public void Warning(string text)
    {
    }

    public void Progress(ProgressNote note)
    {
    }
}
