using PitrPS.Archive;
using PitrPS.Hosts;
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
        Assert.Equal("sshfs", (await MountAsync(new MountOptions(standby, Primary, "/mnt/a", "10.0.0.5", 22) { Packages = new PackageOrigin(HostsOwnOnly: true) })).Plan.Steps[0].Id);
        var mirror = await MountAsync(new MountOptions(standby, Primary, "/mnt/a", "10.0.0.5", 22) { Packages = new PackageOrigin("https://mirror/epel", "the key") });
        Assert.Equal(["repository", "sshfs"], mirror.Plan.Steps.Select(s => s.Id).Take(2));
        Assert.Contains("write /etc/yum.repos.d/pitrps-sshfs.repo: baseurl=https://mirror/epel, gpgcheck=1", mirror.Plan.Steps[0].Preview);
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
    public async Task What_others_have_mounted_is_proven_first_and_nothing_is_made_for_a_reader()
    {
        _standby.On("runuser -u nobody", ArchiveMarker.Render(42, 16 << 20));

        var planned = await MountAsync(new MountOptions(Standby, Primary, "/srv/wal", null, null, WalTransport.Local));

        Assert.Equal(["register", "proof", "state"], planned.Plan.Steps.Select(s => s.Id).Where(id => !id.StartsWith("script", StringComparison.Ordinal)));
        Assert.Equal(("/srv/wal", WalTransport.Local), (planned.AsPlanned().ArchiveMountPoint, planned.AsPlanned().ArchiveTransport));
        Assert.Empty(_primary.Written);
    }

    [Theory]
    [InlineData(1, "", "No such file or directory", "PitrPS.ArchiveNotThere")]
    [InlineData(9, "", "every user of the host can read it", "PitrPS.ArchiveReadableByAll")]
    [InlineData(0, "nonsense", "", "PitrPS.ArchiveOfAnotherCluster")]
    [InlineData(0, "format=1\nsystem_identifier=7\nwal_segment_size=16777216\n", "", "PitrPS.ArchiveOfAnotherCluster")]
    public async Task What_others_have_mounted_is_refused_where_it_is_not_the_archive_or_everybodys(int exitCode, string said, string complaint, string id)
    {
        _standby.On("runuser -u nobody", said, exitCode, complaint);

        var error = await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/srv/wal", null, null, WalTransport.Local)));

        Assert.Equal(id, error.Id);
        Assert.NotEmpty(error.NextStep);
        Assert.Empty(_standby.Written);
    }

    [Theory]
    [InlineData(null, "10.0.0.5:/srv/archive")]
    [InlineData("/export/wal", "10.0.0.5:/export/wal")]
    [InlineData("nas.example.com:/export/wal", "nas.example.com:/export/wal")]
    [InlineData("[fd00::5]:/export/wal", "[fd00::5]:/export/wal")]
    public async Task An_NFS_export_is_mounted_so_that_no_reader_waits_for_ever(string? export, string source)
    {
        var planned = await MountAsync(new MountOptions(Standby, Primary, "/mnt/a b", "10.0.0.5", null, WalTransport.Nfs, export));

        Assert.Equal(["register", "nfs", "mount-point", "mount", "proof", "watch", "state"], planned.Plan.Steps.Select(s => s.Id).Where(id => !id.StartsWith("script", StringComparison.Ordinal)));
        var unit = new NfsMount(Standby, "/mnt/a b", source).Files()["mnt-a\\x20b.mount"];
        Assert.Contains($"What={source}\nWhere=/mnt/a b\nType=nfs\nOptions=ro,nosuid,nodev,noexec,vers=4,soft,timeo=50,retrans=2,retry=0,lookupcache=positive,acdirmin=1,acdirmax=1\n", unit);
        Assert.Contains($"| What={source}", planned.Plan.Steps.Single(s => s.Id == "mount").Preview);
        Assert.Contains("apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 nfs-common", string.Join('\n', planned.Plan.Steps.Single(s => s.Id == "nfs").Preview));
        Assert.Contains("mnt-a\\x20b.mount", string.Join('\n', planned.Plan.Steps.Single(s => s.Id == "watch").Preview));
        Assert.DoesNotContain(_primary.Commands, c => c.Display.Contains("hostkey", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("nas;reboot:/export", "PitrPS.InvalidAddress")]
    [InlineData("-o evil:/export", "PitrPS.InvalidAddress")]
    [InlineData("nas:/export/../etc", "PitrPS.InvalidPath")]
    [InlineData("relative", "PitrPS.InvalidPath")]
    public async Task An_export_that_could_be_anything_else_is_refused(string export, string id) =>
        Assert.Equal(id, (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/mnt/a", "10.0.0.5", null, WalTransport.Nfs, export)))).Id);

    [Fact]
    public async Task Another_transport_for_the_same_mount_and_an_export_without_NFS_are_refused()
    {
        var mounted = Standby with { ArchiveMountPoint = "/mnt/a", ArchiveTransport = WalTransport.Sshfs };

        Assert.Equal("PitrPS.ArchiveMountedElsewhere", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(mounted, Primary, "/mnt/a", null, null, WalTransport.Nfs)))).Id);
        Assert.Equal("PitrPS.InvalidTransport", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/mnt/a", null, null, WalTransport.Local) { Packages = new PackageOrigin("https://x", "k") }))).Id);
        Assert.Equal("PitrPS.RepositoryKeyMissing", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/mnt/a", null, null) { Packages = new PackageOrigin("https://x") }))).Id);
        Assert.Equal("PitrPS.InvalidTransport", (await Assert.ThrowsAsync<PitrException>(() => MountAsync(new MountOptions(Standby, Primary, "/mnt/a", null, null, WalTransport.Local, "/x")))).Id);
    }

    [Theory]
    [InlineData(WalTransport.Local, "asked", "unregister", "state")]
    [InlineData(WalTransport.Nfs, "watch", "mount", "key", "asked", "mount-point", "unregister", "state")]
    public async Task Dismounting_takes_back_what_this_transport_made(WalTransport transport, params string[] steps)
    {
        var planned = await DismountPlan.BuildAsync(new DismountOptions(Standby with { ArchiveMountPoint = "/mnt/a", ArchiveTransport = transport }, Primary, Force: false), new SilentFeedback(), default);

        Assert.Equal(steps, planned.Plan.Steps.Select(s => s.Id));
        Assert.Equal(transport == WalTransport.Nfs, planned.Plan.Steps.Any(s => s.Preview.Contains("systemctl disable --now mnt-a.mount")));
        Assert.Null(planned.AsPlanned().ArchiveTransport);
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
