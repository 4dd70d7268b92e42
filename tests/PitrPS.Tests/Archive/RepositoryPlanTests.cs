using PitrPS.Archive;
using PitrPS.Planning;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Planning;

namespace PitrPS.Tests.Archive;

/// <summary>Archiving to, and restoring from, a repository that a tool of the site's own keeps.</summary>
public sealed class RepositoryPlanTests
{
    private static readonly WalRepository Main = new(WalRepositoryKind.PgBackRest, "main");

    private readonly FakeRemoteHost _standby = new("standby");
    private readonly FakeRemoteHost _primary = new("primary");

    private PgServer Standby => MountPlanTests.ServerOn(_standby) with { ArchiveMountPoint = null };

    private PgServer Primary => MountPlanTests.ServerOn(_primary) with { ArchiveRepository = Main, SystemIdentifier = 42 };

    [Fact]
    public async Task The_plan_for_a_new_primary_sets_the_tools_own_command_and_keeps_no_archive()
    {
        var planned = await EnableAsync(new RepositoryOptions(Primary with { IsPlanned = true, ArchiveRepository = null }, "main", TimeSpan.FromMinutes(1), TimeSpan.FromMinutes(1), null, null, Force: false));

        var preview = string.Join('\n', planned.Plan.Steps.SelectMany(s => s.Preview));
        Assert.Contains("archive_command = 'pgbackrest --stanza=main archive-push %p'", preview, StringComparison.Ordinal);
        Assert.Contains("heartbeat", planned.Plan.Steps.Select(s => s.Id));
        Assert.DoesNotContain(planned.Plan.Steps, s => s.Id is "directory" or "marker" || s.Id.StartsWith("script", StringComparison.Ordinal));
        Assert.Equal(Main, planned.AsPlanned().ArchiveRepository);
        Assert.Null(planned.AsPlanned().ArchiveDirectory);
    }

    [Theory]
    [InlineData("main", 60, 60, 7, "PitrPS.NotWithRepository")]
    [InlineData("ma in", 60, 60, null, "PitrPS.InvalidStanza")]
    [InlineData("main", -1, 60, null, "PitrPS.InvalidInterval")]
    [InlineData("main", 60, 0, null, "PitrPS.InvalidInterval")]
    public async Task What_makes_no_sense_is_refused(string stanza, int heartbeat, int timeout, int? retainDays, string id)
    {
        var options = new RepositoryOptions(Primary, stanza, TimeSpan.FromSeconds(heartbeat), TimeSpan.FromSeconds(timeout), retainDays is { } days ? TimeSpan.FromDays(days) : null, null, Force: false);

        Assert.Equal(id, (await Assert.ThrowsAsync<PitrException>(() => EnableAsync(options))).Id);
        Assert.Empty(_primary.Commands);
    }

    [Fact]
    public async Task Its_compression_is_the_tools_own() => Assert.Equal("PitrPS.NotWithRepository", (await Assert.ThrowsAsync<PitrException>(() =>
        EnableAsync(new RepositoryOptions(Primary, "main", TimeSpan.Zero, TimeSpan.FromMinutes(1), null, WalCompression.Zstd, Force: false)))).Id);

    [Theory]
    [InlineData("pgbackrest --stanza=main archive-push %p", true)]
    [InlineData("/opt/bin/pgbackrest --config=/srv/c.conf --stanza=main archive-push \"%p\"", true)]
    [InlineData("pgbackrest --stanza=other archive-push %p", false)]
    [InlineData("/usr/local/lib/pitrps/pitrps-archive /srv/archive \"%p\" \"%f\"", false)]
    public void A_command_that_fills_the_stanza_is_adopted(string command, bool fills) => Assert.Equal(fills, RepositoryPlan.Fills(command, "main"));

    [Fact]
    public async Task Nothing_is_mounted_but_the_stanza_is_tried_and_remembered()
    {
        _standby.On("info --output=json", Info(42));

        var planned = await MountAsync(new MountOptions(Standby, Primary, null, "10.0.0.5", null));

        Assert.Equal(["stanza", "scripts", "script-pitrps-archive", "script-pitrps-restore", "script-pitrps-prefetch", "state"], planned.Plan.Steps.Select(s => s.Id));
        Assert.Equal(Main, planned.AsPlanned().RestoreRepository);
        Assert.Equal(new PrimaryLink("10.0.0.5", 5432, 22, null, "primary", "15/main"), planned.AsPlanned().Primary);
        Assert.Equal("/usr/local/lib/pitrps/pitrps-restore pgbackrest:main \"%f\" \"%p\"", ArchiveScripts.RestoreCommandOf(planned.AsPlanned()));
        Assert.Empty(_standby.Written);
        Assert.Empty(_primary.Commands);
    }

    [Fact]
    public async Task A_standby_that_does_not_reach_the_stanza_is_refused_before_anything_is_changed()
    {
        _standby.On("info --output=json", Info(43));
        Assert.Equal("PitrPS.StanzaOfAnotherCluster", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, null, null, null)))).Id);

        _standby.On("info --output=json", "", 127);
        Assert.Equal("PitrPS.PgBackRestMissing", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, null, null, null)))).Id);
        Assert.Empty(_standby.Written);
    }

    [Fact]
    public async Task A_mount_and_a_repository_are_not_mixed()
    {
        _standby.On("info --output=json", Info(42));

        Assert.Equal("PitrPS.ArchiveMountedElsewhere", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby with { ArchiveMountPoint = "/mnt/a" }, Primary, null, null, null)))).Id);
        var directory = Primary with { ArchiveRepository = null, ArchiveDirectory = "/srv/a" };
        Assert.Equal("PitrPS.ArchiveMountedElsewhere", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby with { RestoreRepository = Main }, directory, "/mnt/a", null, null)))).Id);
        Assert.Equal("PitrPS.MountPointRequired", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, directory, null, null, null)))).Id);
    }

    [Fact]
    public async Task What_reads_the_repository_is_not_taken_away_unless_forced()
    {
        var standby = Standby with { RestoreRepository = Main, IsStandby = true };
        _standby.WithFile(OwnedSettings.PathOf(standby), OwnedSettings.Render([new("restore_command", ArchiveScripts.RestoreCommandOf(standby)!)]));

        Assert.Equal("PitrPS.MountInUse", (await Assert.ThrowsAsync<PitrException>(() => DismountPlan.BuildAsync(new DismountOptions(standby, Primary, Force: false), new SilentFeedback(), default))).Id);
        var planned = await DismountPlan.BuildAsync(new DismountOptions(standby, Primary, Force: true), new SilentFeedback(), default);

        Assert.Equal(["asked", "state"], planned.Plan.Steps.Select(s => s.Id));
        Assert.Empty(planned.Plan.OtherHosts);
        Assert.Null(planned.AsPlanned().RestoreRepository);
    }

    private static string Info(ulong cluster) =>
        $$$"""[{"archive":[],"backup":[],"cipher":"none","db":[{"id":1,"repo-key":1,"system-id":{{{cluster}}},"version":"15"}],"name":"main","repo":[{"cipher":"none","key":1,"status":{"code":0,"message":"ok"}}],"status":{"code":0,"message":"ok"}}]""";

    private static Task<Planned<PgServer>> EnableAsync(RepositoryOptions options) => RepositoryPlan.BuildAsync(options, new SilentFeedback(), default);

    private static Task<Planned<PgServer>> MountAsync(MountOptions options) => MountPlan.BuildAsync(options, new SilentFeedback(), default);
}
