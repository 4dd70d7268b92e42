using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

public class CloneTests
{
    private const string Folder = "/var/lib/postgresql/15/main.pitrps-clone-0-3D79CC8";

    private static readonly PgServer Standby = TestStandby.On(new FakeRemoteHost());

    private static CloneServer Clone(PgServer? standby = null) => CloneServer.Of(standby ?? Standby, "0-3D79CC8", Folder, 15433);

    private static RecoveryRecord Record => TestStandby.Record(Standby) with { Way = RecoveryWay.Clone, CloneId = "0-3D79CC8", Layer = Folder, Port = 15433 };

    [Fact]
    public void The_same_target_is_the_same_clone()
    {
        Assert.Equal("0-3D79CC8", CloneServer.IdOf(Record));
        Assert.Equal("0-3D79CC8-tl3", CloneServer.IdOf(Record with { Timeline = 3 }));
        Assert.Equal("0-3D79CC8-after", CloneServer.IdOf(Record with { Target = RecordedTarget.Of(new RecoveryTarget.Name("noon")) }));
        Assert.Equal("0-3D79CC8-now", CloneServer.IdOf(Record with { Target = RecordedTarget.Of(new RecoveryTarget.Immediate()) }));
    }

    [Fact]
    public void Its_record_is_its_own_and_its_journals_are_not_the_standbys()
    {
        Assert.Equal("/var/lib/pitrps/clones/15-main--0-3D79CC8.json", RecoveryRecord.PathOf("15/main", "0-3D79CC8"));
        Assert.NotEqual(RecoveryRecord.PathOf("15/main"), RecoveryRecord.PathOf("15/main", "0-3D79CC8"));
        Assert.Equal(Standby.Id, RecoveryRecord.SubjectOf(Standby, null));
        Assert.NotEqual(Standby.Id, RecoveryRecord.SubjectOf(Standby, "0-3D79CC8"));
        Assert.Equal(Record.CloneId, RecoveryRecord.Parse(Standby, Record.Render()).CloneId);
    }

    [Fact]
    public void The_copy_stops_the_standby_and_starts_it_again_whatever_comes_of_it()
    {
        var text = Clone().CopyUnitText("copies");
        Assert.Contains("\nConflicts=postgresql@15-main.service\nAfter=postgresql@15-main.service\n", text, StringComparison.Ordinal);
        Assert.Contains($"\nExecStopPost=/bin/sh {Folder}/pitrps-clone back {Folder}\n", text, StringComparison.Ordinal);
        Assert.DoesNotContain("Conflicts", Clone(Standby with { ServiceUnit = null }).CopyUnitText("copies"), StringComparison.Ordinal);
    }

    [Fact]
    public void The_clone_starts_with_its_host_and_stops_cleanly()
    {
        var text = Clone().UnitText("a clone");
        Assert.Contains("WantedBy=multi-user.target", text, StringComparison.Ordinal);
        Assert.Contains("KillSignal=SIGINT", text, StringComparison.Ordinal);
        Assert.Contains("RuntimeDirectory=pitrps-clone-15-main-0-3D79CC8\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public void The_scripts_are_valid_for_a_POSIX_shell()
    {
        Assert.Equal(0, Shell.Run("exec sh -n", CloneServer.Script).ExitCode);
        Assert.Contains("version 1", CloneServer.Script.Split('\n')[1], StringComparison.Ordinal);
    }

    [Fact]
    public void Its_settings_are_its_own_and_fsync_can_be_changed_while_it_runs()
    {
        var survey = TestStandby.Survey with { AvailableMemory = 1L << 30, Settings = new Dictionary<string, string> { ["shared_buffers"] = "1048576" } };
        var settings = ScratchSettings.Of(Clone(), new ResolvedTarget(Lsn.Parse("0/3D79CC8"), 1, Lsn.Parse("0/3D79D00")), survey, "false").Select(s => s.Split('=', 2)).ToDictionary(s => s[0], s => s[1]);
        Assert.Equal(Folder + "/data", settings["data_directory"]);
        Assert.Equal("/etc/postgresql/15/main/postgresql.conf", settings["config_file"]);
        Assert.Equal(("off", "", "", "localhost", "15433"), (settings["archive_mode"], settings["primary_conninfo"], settings["primary_slot_name"], settings["listen_addresses"], settings["port"]));
        Assert.Equal("32768", settings["shared_buffers"]);
        Assert.Equal("off", settings["huge_pages"]);
        Assert.DoesNotContain("fsync", settings.Keys);
        Assert.DoesNotContain("restart_after_crash", settings.Keys);

        var rhel = Clone(Standby with { ConfigDirectory = Standby.DataDirectory });
        Assert.Equal(Folder + "/data", rhel.OwnConfig);
    }

    [Theory]
    [InlineData("ActiveState=active\nJob=", true, false, false)]
    [InlineData("ActiveState=inactive\nJob=7", true, false, false)]
    [InlineData("ActiveState=inactive\nJob=\nBegun=yes", false, false, false)]
    [InlineData("ActiveState=inactive\nJob=\nBegun=yes\nReplayed=0/3D00000\nBytes=9\nUnsettled=yes", true, false, false)]
    [InlineData("ActiveState=inactive\nJob=\nBegun=yes\nReplayed=0/3D00000\nBytes=9\nUnsettled=yes\nRebooted=yes", false, true, false)]
    [InlineData("ActiveState=inactive\nJob=\nBegun=yes\nReplayed=0/3D00000\nBytes=9\nEnabled=yes", true, false, true)]
    public void Tells_what_a_later_client_can_go_on_from(string said, bool ofUse, bool doubtful, bool settled)
    {
        var look = CopyLook.Parse(said);
        Assert.Equal((ofUse, doubtful, settled), (look.IsOfUse, look.IsDoubtful, look.IsSettled));
    }

    [Theory]
    [InlineData(null, "Begun=yes\nActiveState=active", "inactive", RecoveryState.Recovering)]
    [InlineData(null, "Begun=yes\nActiveState=inactive", "inactive", RecoveryState.Lost)]
    [InlineData(null, "ActiveState=inactive", "inactive", RecoveryState.Recovering)]
    [InlineData("a1", "Replayed=0/1\nEnabled=yes\nActiveState=inactive", "active", RecoveryState.Ready)]
    [InlineData("a0", "Replayed=0/1\nEnabled=yes\nActiveState=inactive", "active", RecoveryState.Ready)]
    [InlineData("a1", "Replayed=0/1\nEnabled=yes\nActiveState=inactive", "failed", RecoveryState.Stopped)]
    [InlineData("a1", "Replayed=0/1\nUnsettled=yes\nRebooted=yes\nActiveState=inactive", "failed", RecoveryState.Lost)]
    public void Says_where_it_stands(string? invocation, string copy, string active, RecoveryState expected)
    {
        var recovery = RecoveryReader.Of(Standby, Record with { Invocation = invocation, RecoveredTo = Lsn.Parse("0/3D79CC8") }, CopyLook.Parse(copy), TestStandby.Look(active, "a1", active == "active"));
        Assert.Equal(expected, recovery.State);
        Assert.Equal(expected == RecoveryState.Ready ? "sudo -u postgres psql -h /run/pitrps-clone-15-main-0-3D79CC8 -p 15433 -d postgres" : null, recovery.Connect);
        Assert.Equal("0-3D79CC8", recovery.CloneId);
    }

    private const string Survey =
        """
        stem /var/lib/postgresql/15/main.pitrps-clone
        free 2049 250000 4096
        place 2049 no 700000000 /var/lib/postgresql/15/main
        place 2049 no 100000000 /var/lib/postgresql/space
        free 2050 250000 4096
        place 2050 yes 9000000000 /srv/fast/space
        port 1538
        port 3C49
        mount yes
        """;

    [Fact]
    public void Counts_what_is_really_copied_against_what_each_file_system_has()
    {
        var survey = CloneSurvey.Parse(Survey);
        Assert.Equal(800_000_000, survey.CopiedBytes);
        Assert.Equal(0, survey.NeededOn("2050", 1 << 20));
        survey.Require(Standby, 10 << 20, makesTablespaces: true);
        var error = Assert.Throws<PitrException>(() => survey.Require(Standby, 200 << 20, makesTablespaces: false));
        Assert.Equal("PitrPS.CloneSpace", error.Id);
        Assert.Equal("PitrPS.CloneUnsupported", Assert.Throws<PitrException>(() => (survey with { CanMount = false }).Require(Standby, 0, makesTablespaces: true)).Id);
    }

    [Fact]
    public void Takes_a_port_that_neither_a_program_nor_another_clone_has()
    {
        var survey = CloneSurvey.Parse(Survey);
        Assert.Equal(15434, survey.PortFor(Standby, []));
        Assert.Equal(15435, survey.PortFor(Standby, [15434]));
    }

    [Fact]
    public async Task The_first_way_that_is_possible_is_taken_and_says_why()
    {
        var tried = new List<RecoveryWay>();
        var planned = await WayChoice.FirstAsync(Standby, way =>
        {
            tried.Add(way);
            return way == RecoveryWay.Scratch
                ? throw new PitrException("PitrPS.LayerUnsupported", ErrorKind.NotInstalled, "No layer can be laid.", "Mend it.")
                : RecoveryPlan.BuildAsync(RecoveryOptions.Of(TestStandby.Incident(Standby with { IsPlanned = true })) with { Way = way }, new Silence(), default);
        }, new Silence());
        Assert.Equal([RecoveryWay.Scratch, RecoveryWay.Clone], tried);
        Assert.Equal("No layer can be laid. So the way is Clone.", planned.Plan.Announcements[0]);
        Assert.Contains("copy its files", (await new PlanRunner(new Silence(), "test").PreviewAsync(planned.Plan, default)).Render(), StringComparison.Ordinal);
        Assert.Equal(("Clone", "0-3D79CC8"), ($"{planned.AsPlanned().Way}", planned.AsPlanned().CloneId));
    }

    [Fact]
    public async Task What_every_way_would_refuse_is_refused_at_once()
    {
        var error = await Assert.ThrowsAsync<PitrException>(() => WayChoice.FirstAsync(Standby, _ => throw new PitrException("PitrPS.WalMissing", ErrorKind.ObjectNotFound, "Gone.", "Find it."), new Silence()));
        Assert.Equal("PitrPS.WalMissing", error.Id);
    }

    [Fact]
    public async Task Only_a_clone_is_removed_as_one()
    {
        var scratch = RecoveryReader.Of(Standby, TestStandby.Record(Standby), TestStandby.Look());
        Assert.Equal("PitrPS.NotAClone", (await Assert.ThrowsAsync<PitrException>(() => CloneRemoval.BuildAsync(scratch, new Silence(), default))).Id);
    }

    private sealed class Silence : IFeedback
    {
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
}
