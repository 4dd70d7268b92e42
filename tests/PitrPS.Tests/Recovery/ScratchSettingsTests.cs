using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class ScratchSettingsTests
{
    [Fact]
    public void Sets_one_target_exclusive_on_a_timeline_by_number_with_no_delay()
    {
        var settings = Settings();
        Assert.Equal(["recovery_target_action", "recovery_target_inclusive", "recovery_target_lsn", "recovery_target_timeline"], settings.Keys.Where(k => k.StartsWith("recovery_target", StringComparison.Ordinal)));
        Assert.Equal("0/3D79CC8", settings["recovery_target_lsn"]);
        Assert.Equal("off", settings["recovery_target_inclusive"]);
        Assert.Equal("7", settings["recovery_target_timeline"]);
        Assert.Equal("promote", settings["recovery_target_action"]);
        Assert.Equal("0", settings["recovery_min_apply_delay"]);
    }

    [Theory]
    [InlineData("archive_mode", "off")]
    [InlineData("archive_cleanup_command", "")]
    [InlineData("recovery_end_command", "")]
    [InlineData("primary_conninfo", "")]
    [InlineData("primary_slot_name", "")]
    [InlineData("max_wal_senders", "0")]
    [InlineData("max_logical_replication_workers", "0")]
    [InlineData("synchronous_standby_names", "")]
    [InlineData("listen_addresses", "")]
    public void Archives_streams_and_answers_nobody(string name, string value) => Assert.Equal(value, Settings()[name]);

    [Fact]
    public void Has_a_port_and_a_socket_of_its_own()
    {
        var settings = Settings();
        Assert.Equal("15432", settings["port"]);
        Assert.Equal("/run/pitrps-scratch-15-main", settings["unix_socket_directories"]);
        Assert.Equal("/run/pitrps-scratch-15-main/pid", settings["external_pid_file"]);
        Assert.Equal("/var/lib/postgresql/15/main/pitrps-scratch.hba", settings["hba_file"]);
    }

    [Theory]
    [InlineData(13, new[] { "promote_trigger_file", "stats_temp_directory" })]
    [InlineData(14, new[] { "promote_trigger_file", "stats_temp_directory" })]
    [InlineData(15, new[] { "archive_library", "promote_trigger_file" })]
    [InlineData(16, new[] { "archive_library" })]
    [InlineData(17, new[] { "archive_library" })]
    [InlineData(18, new[] { "archive_library" })]
    public void Names_only_settings_that_the_version_has(int major, string[] expected) =>
        Assert.Equal(expected, Settings(major).Keys.Where(k => k is "promote_trigger_file" or "stats_temp_directory" or "archive_library"));

    [Theory]
    [InlineData("pg_stat_statements, pg_cron", "pg_stat_statements")]
    [InlineData("pg_cron", "")]
    [InlineData("\"$libdir/pg_cron\",timescaledb", "timescaledb")]
    public void Leaves_out_libraries_that_would_start_work_of_their_own(string loaded, string kept) =>
        Assert.Equal(kept, Settings(preload: loaded)["shared_preload_libraries"]);

    [Fact]
    public void Keeps_all_other_libraries_as_they_are() => Assert.DoesNotContain("shared_preload_libraries", Settings(preload: "timescaledb, pg_stat_statements").Keys);

    [Fact]
    public void Has_room_for_more_prepared_transactions_than_the_standby_and_for_as_many_as_the_WAL_asks_for()
    {
        Assert.Equal("1000", Settings(prepared: "500")["max_prepared_transactions"]);
        Assert.Equal("1200", Settings(prepared: "500", needed: 1200)["max_prepared_transactions"]);
    }

    [Fact]
    public void Restores_nothing_when_pg_wal_has_all() => Assert.Equal("false", ScratchSettings.RestoreCommand("cp /mnt/archive/%f %p", "/mnt/archive", []));

    [Theory]
    [InlineData("cp \"archive/%f\" \"%p\"")]
    [InlineData("")]
    public void Fetches_from_the_archive_only_what_pg_wal_lacks(string standbys)
    {
        var folder = Directory.CreateTempSubdirectory("pitrps-test").FullName;
        try
        {
            Directory.CreateDirectory(Path.Join(folder, "archive"));
            File.WriteAllText(Path.Join(folder, "archive", "000000010000000000000004"), "four");
            File.WriteAllText(Path.Join(folder, "archive", "000000010000000000000005"), "five");
            File.WriteAllText(Path.Join(folder, ScratchSettings.FetchFile), "000000010000000000000005\n000000010000000000000006\n");
            var command = ScratchSettings.RestoreCommand(standbys, "archive", ["000000010000000000000005"]);
            int Ask(string name) => Shell.Run(command.Replace("%f", name, StringComparison.Ordinal).Replace("%p", "got-" + name, StringComparison.Ordinal), "", folder).ExitCode;

            Assert.Equal(1, Ask("000000010000000000000004"));
            Assert.Equal(0, Ask("000000010000000000000005"));
            Assert.Equal("five", File.ReadAllText(Path.Join(folder, "got-000000010000000000000005")));
            Assert.NotEqual(0, Ask("000000010000000000000006"));
            Assert.Equal(1, Ask("00000002.history"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static Dictionary<string, string> Settings(int major = 15, string preload = "", string prepared = "0", long needed = 0)
    {
        var standby = TestStandby.On(new FakeRemoteHost()) with { Version = major };
        var survey = TestStandby.Survey with { Settings = new Dictionary<string, string> { ["shared_preload_libraries"] = preload, ["max_prepared_transactions"] = prepared } };
        return ScratchSettings.Of(ScratchServer.Of(standby, survey.Layer), new ResolvedTarget(Lsn.Parse("0/3D79CC8"), 7, Lsn.Parse("0/3D79D00")) { RequiredSettings = new Dictionary<string, long> { ["max_prepared_transactions"] = needed } }, survey, "false")
            .Select(s => s.Split('=', 2)).ToDictionary(s => s[0], s => s[1]);
    }
}
