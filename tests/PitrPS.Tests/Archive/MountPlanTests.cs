using PitrPS.Archive;
using PitrPS.Planning;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Planning;

namespace PitrPS.Tests.Archive;

/// <summary>What mounting and dismounting refuse before anything is changed, and what they would do.</summary>
public class MountPlanTests
{
    private readonly FakeRemoteHost _standby = new("standby");
    private readonly FakeRemoteHost _primary = new("primary");

    public MountPlanTests()
    {
        _standby.On("mountpoint -q", "");
        _standby.On("PreferredAuthentications=none", "");
        _primary.On("for suffix in", "");
        _primary.On("hostkey", "ssh-ed25519 AAAAC3 root@primary\n");
        _primary.WithFile("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n");
    }

    private PgServer Standby => ServerOn(_standby) with { ArchiveMountPoint = null };

    private PgServer Primary => ServerOn(_primary) with { ArchiveDirectory = "/srv/archive", SystemIdentifier = 42 };

    [Fact]
    public async Task The_plan_names_each_host_and_asks_for_no_secret_to_travel()
    {
        var planned = await MountAsync(new MountOptions(Standby, Primary, "/mnt/a/", "10.0.0.5", 2222));

        Assert.Equal("standby:15/main", planned.Plan.Subject);
        Assert.Same(_standby.Host, planned.Plan.Home);
        Assert.Equal([_primary.Host], planned.Plan.OtherHosts);
        Assert.Equal(["sshfs", "mount-folder", "key", "reader-group", "reader-account", "reader-folder", "reader-root", "reader-mountpoint", "reader-mount", "reader-sshd", "register", "reader-key", "known-hosts", "mount-point", "mount", "proof", "watch"],
            planned.Plan.Steps.Select(s => s.Id).Where(id => id != "state" && !id.StartsWith("script", StringComparison.Ordinal)));
        var would = planned.AsPlanned();
        Assert.True(would.IsPlanned);
        Assert.Equal("/mnt/a", would.ArchiveMountPoint);
        Assert.Equal(new PrimaryLink("10.0.0.5", 5432, 2222, null, "primary", "15/main"), would.Primary);

        // Only looked at so far: nothing was written, and no command but those that read was run.
        Assert.Empty(_standby.Written);
        Assert.Empty(_primary.Written);
        Assert.Equal(2, _standby.Commands.Count);
        Assert.Equal(2, _primary.Commands.Count);
    }

    [Fact]
    public async Task On_the_RHEL_family_EPEL_comes_first_and_SELinux_lets_the_server_read_the_mount_and_run_the_scripts()
    {
        var (fake, host) = SourceStepTests.WithSelinux();
        fake.On("mountpoint -q", "").On("PreferredAuthentications=none", "");
        var standby = Standby with { Host = host };

        var planned = await MountAsync(new MountOptions(standby, Primary, "/mnt/a", "10.0.0.5", 22));

        Assert.Equal(["epel", "codeready", "sshfs", "mount-folder"], planned.Plan.Steps.Select(s => s.Id).Take(4));
        Assert.Contains("context=system_u:object_r:postgresql_db_t:s0", string.Join('\n', planned.Plan.Steps.Single(s => s.Id == "mount").Preview), StringComparison.Ordinal);
        Assert.Contains("restorecon -R /usr/local/lib/pitrps", planned.Plan.Steps.Single(s => s.Id == "scripts-selinux").Preview);
        Assert.DoesNotContain("context=", string.Join('\n', (await MountAsync(new MountOptions(Standby, Primary, "/mnt/a", "10.0.0.5", 22))).Plan.Steps.Single(s => s.Id == "mount").Preview), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_New_PgStandby_has_noted_of_the_primary_is_kept()
    {
        var link = new PrimaryLink("10.0.0.5", 6432, 22, "pitrps_slot", "primary", "15/main");

        var planned = await MountAsync(new MountOptions(Standby with { Primary = link }, Primary, "/mnt/a", "10.0.0.5", 2222));

        Assert.Equal(link with { SshPort = 2222 }, planned.AsPlanned().Primary);
    }

    [Theory]
    [InlineData(4, "ssh: connect to host 10.0.0.5 port 22: Connection timed out", "PitrPS.PrimaryUnreachableFromStandby")]
    [InlineData(124, "", "PitrPS.PrimaryUnreachableFromStandby")]
    [InlineData(3, "", "PitrPS.PrimaryHostKeyMismatch")]
    public async Task A_primary_that_the_standby_does_not_reach_is_refused_with_the_way_out(int exitCode, string said, string id)
    {
        _standby.On("PreferredAuthentications=none", "", exitCode, said);

        var error = await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/mnt/a", "10.0.0.5", null)));

        Assert.Equal(id, error.Id);
        Assert.Contains("-PrimaryAddress", error.NextStep);
        Assert.Contains(said, error.Message);
    }

    [Theory]
    [InlineData("-oProxyCommand=evil")]
    [InlineData("a b")]
    [InlineData("host,x")]
    [InlineData("")]
    public async Task An_address_that_could_be_anything_else_is_refused(string address) =>
        Assert.Equal("PitrPS.InvalidAddress", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/mnt/a", address, null)))).Id);

    [Fact]
    public async Task A_primary_without_an_archive_and_a_second_mount_are_refused()
    {
        Assert.Equal("PitrPS.NoArchive", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary with { ArchiveDirectory = null }, "/mnt/a", null, null)))).Id);
        Assert.Equal("PitrPS.ArchiveMountedElsewhere", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby with { ArchiveMountPoint = "/mnt/b" }, Primary, "/mnt/a", null, null)))).Id);
    }

    [Fact]
    public async Task A_mount_that_a_recovery_needs_is_not_dismounted()
    {
        var error = await Assert.ThrowsAsync<PitrException>(() => DismountPlan.BuildAsync(
            new DismountOptions(Standby with { ArchiveMountPoint = "/mnt/a" }, Primary, Force: true, _ => Task.FromResult<string?>("the recovery that somebody began")), new SilentFeedback(), default));

        Assert.Equal("PitrPS.MountInUse", error.Id);
        Assert.Contains("the recovery that somebody began", error.Message);
    }

    [Fact]
    public async Task A_standby_that_restores_from_the_mount_is_not_left_without_it_except_by_force()
    {
        var standby = Standby with { ArchiveMountPoint = "/mnt/a", IsStandby = true };
        _standby.WithFile(OwnedSettings.PathOf(standby), OwnedSettings.Render([new("restore_command", ArchiveScripts.RestoreCommand(standby, "/mnt/a"))]));

        Assert.Equal("PitrPS.MountInUse", (await Assert.ThrowsAsync<PitrException>(() => DismountPlan.BuildAsync(new DismountOptions(standby, Primary, Force: false), new SilentFeedback(), default))).Id);
        var planned = await DismountPlan.BuildAsync(new DismountOptions(standby, null, Force: true), new SilentFeedback(), default);

        Assert.Contains(planned.Plan.Announcements, a => a.Contains("left with streaming alone", StringComparison.Ordinal));
        Assert.Contains(planned.Plan.Announcements, a => a.Contains("stays in /etc/ssh/pitrps-readers", StringComparison.Ordinal));
        Assert.All(planned.Plan.Steps, s => Assert.Same(_standby.Host, s.Host));
    }

    private static Task<Planned<PgServer>> MountAsync(MountOptions options) => MountPlan.BuildAsync(options, new SilentFeedback(), default);

    internal static PgServer ServerOn(FakeRemoteHost host) => new()
    {
        Host = host.Host,
        Name = "15/main",
        Version = 15,
        Port = 5432,
        DataDirectory = "/var/lib/postgresql/15/main",
        ConfigDirectory = "/etc/postgresql/15/main",
        BinDirectory = "/usr/lib/postgresql/15/bin",
        IsRunning = true,
    };
}
