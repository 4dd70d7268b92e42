using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Servers;

public class InstallTests
{
    private static readonly IFeedback Quiet = new SilentFeedback();

    [Fact]
    public void Takes_the_systems_locale_where_it_is_a_UTF8_one_that_exists()
    {
        Assert.Equal("en_US.UTF-8", InstallSurvey.Parse(["locale=en_US.UTF-8", "known=C", "known=en_US.utf8"]).Locale);
        Assert.Equal("C.UTF-8", InstallSurvey.Parse(["locale=de_DE.UTF-8", "known=C.utf8", "known=en_US.utf8"]).Locale);
        Assert.Equal("C.UTF-8", InstallSurvey.Parse(["locale=en_US.ISO-8859-1", "known=C.UTF-8", "known=en_US.iso88591"]).Locale);
        Assert.Equal("C", InstallSurvey.Parse(["locale=en_US.ISO-8859-1", "known=C", "known=en_US.iso88591"]).Locale);
        Assert.Equal(new InstallSurvey("C", true, true, "ufw"), InstallSurvey.Parse(["port=taken", "data=there", "locale=", "firewall=ufw"]));
    }

    [Fact]
    public async Task Plans_a_new_server_on_a_bare_host()
    {
        var fake = Bare();

        var planned = await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 15, null, "main"), Quiet, default);

        Assert.Equal("standby:15/main", planned.Plan.Subject);
        Assert.Equal(["pgdg", "packages", "create", "settings.include", "settings.file", "settings.auto", "start", "enabled", "role.role", "role.hba", "role.hba-reload"], planned.Plan.Steps.Select(s => s.Id));
        Assert.True(planned.AsPlanned().IsPlanned);
        Assert.All(fake.Commands, c => Assert.DoesNotContain("apt-get", c.Display, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Opens_the_firewall_only_where_one_is_active()
    {
        var fake = Bare("firewall=ufw");

        var planned = await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 15, 5433, "main"), Quiet, default);

        Assert.Contains("ufw allow 5433/tcp", Assert.Single(planned.Plan.Steps, s => s.Id == "firewall").Preview[0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Plans_a_new_server_of_the_RHEL_family_with_its_source_and_its_certificate()
    {
        var fake = BareRhel(9, "firewall=firewalld");

        var planned = await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 17, 5433, "main"), Quiet, default);

        Assert.Equal(["pgdg", "module", "packages", "create", "certificate", "settings.include", "settings.file", "settings.auto", "start", "enabled", "firewall", "role.role", "role.hba", "role.hba-reload"],
            planned.Plan.Steps.Select(s => s.Id));
        Assert.Contains("firewall-cmd --quiet --permanent --add-port=5433/tcp", planned.Plan.Steps.Single(s => s.Id == "firewall").Preview[0], StringComparison.Ordinal);
        Assert.Contains("| ssl_key_file = '/etc/pitrps/17-main/tls/server.key'", planned.Plan.Steps.Single(s => s.Id == "settings.file").Preview);
        var server = planned.AsPlanned();
        Assert.Equal(("/var/lib/pgsql/17/data", "/var/lib/pgsql/17/data", "postgresql-17.service"), (server.DataDirectory, server.ConfigDirectory, server.ServiceUnit));
    }

    [Fact]
    public async Task Gives_a_port_that_is_not_PostgreSQLs_to_the_server_where_SELinux_is_on()
    {
        var fake = BareRhel(9);
        var host = new PgHost("el", "192.0.2.9", 22, "dba", new HostFacts(new RhelPlatform(9), "Rocky Linux 9", "0") { HasSelinux = true }, fake);

        Assert.Contains("selinux", (await InstallPlan.BuildAsync(new InstallOptions(host, 17, 5433, "main"), Quiet, default)).Plan.Steps.Select(s => s.Id));
        Assert.DoesNotContain("selinux", (await InstallPlan.BuildAsync(new InstallOptions(host, 17, null, "main"), Quiet, default)).Plan.Steps.Select(s => s.Id));
    }

    [Theory]
    [InlineData(7, 15)]
    [InlineData(9, 18)]
    public async Task Takes_the_newest_version_that_PGDG_has_for_the_release(int release, int major) =>
        Assert.Equal(major, (await InstallPlan.BuildAsync(new InstallOptions(BareRhel(release).Host, null, null, "main"), Quiet, default)).AsPlanned().Version);

    [Fact]
    public async Task Adds_no_source_for_a_version_that_nobody_has_built_nor_where_it_is_forbidden()
    {
        var fake = BareRhel(7);

        Assert.Equal("packages", (await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 99, null, "main"), Quiet, default)).Plan.Steps[0].Id);
        Assert.Equal("packages", (await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 13, null, "main") { Packages = new PackageOrigin(HostsOwnOnly: true) }, Quiet, default)).Plan.Steps[0].Id);
        Assert.Equal("PitrPS.PackageMissing",
            (await Assert.ThrowsAsync<PitrException>(() => InstallPlan.BuildAsync(new InstallOptions(fake.Host, null, null, "main") { Packages = new PackageOrigin(HostsOwnOnly: true) }, Quiet, default))).Id);
    }

    [Theory]
    [InlineData("ftp://mirror/x", "k", false, "PitrPS.InvalidRepository")]
    [InlineData("relative/x", "k", false, "PitrPS.InvalidRepository")]
    [InlineData("https://mirror/x y", "k", false, "PitrPS.InvalidRepository")]
    [InlineData("https://mirror/x\nenabled=0", "k", false, "PitrPS.InvalidRepository")]
    [InlineData("https://me:secret@mirror/x", "k", false, "PitrPS.InvalidRepository")]
    [InlineData("https://mirror/x", "k", true, "PitrPS.InvalidRepository")]
    [InlineData("https://mirror/x", null, false, "PitrPS.RepositoryKeyMissing")]
    public async Task Refuses_a_repository_that_cannot_be_one_or_whose_key_nobody_knows(string uri, string? key, bool none, string id)
    {
        var options = new InstallOptions(BareRhel(9).Host, 13, null, "main") { Packages = new PackageOrigin(uri, key, HostsOwnOnly: none) };

        Assert.Equal(id, (await Assert.ThrowsAsync<PitrException>(() => InstallPlan.BuildAsync(options, Quiet, default))).Id);
    }

    [Fact]
    public async Task Takes_a_folder_of_the_host_as_a_repository()
    {
        var origin = PackageOrigin.Of("/srv/packages", null, allowUnsigned: true, hostsOwnOnly: false, "x");

        var planned = await InstallPlan.BuildAsync(new InstallOptions(BareRhel(9).Host, 13, null, "main") { Packages = origin }, Quiet, default);

        Assert.Equal("repository", planned.Plan.Steps[0].Id);
        Assert.Contains("baseurl=file:///srv/packages, gpgcheck=0", planned.Plan.Steps[0].Preview[0], StringComparison.Ordinal);
        Assert.Contains("--nogpgcheck", planned.Plan.Steps[1].Preview[0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Takes_the_newest_version_on_offer_or_what_the_distribution_is_known_for()
    {
        var fake = Bare();
        Assert.Equal(15, (await InstallPlan.BuildAsync(new InstallOptions(fake.Host, null, null, "main"), Quiet, default)).AsPlanned().Version);

        fake.On("apt-cache", c => new CommandResult(c.Arguments.Contains("postgresql-16") ? 0 : 1, "", ""));
        Assert.Equal(16, (await InstallPlan.BuildAsync(new InstallOptions(fake.Host, null, null, "main"), Quiet, default)).AsPlanned().Version);
    }

    [Theory]
    [InlineData(12, "main", "", "PitrPS.VersionUnsupported")]
    [InlineData(15, "a/b", "", "PitrPS.InvalidText")]
    [InlineData(15, "a-b", "", "PitrPS.InvalidText")]
    [InlineData(15, "main", "port=taken", "PitrPS.PortInUse")]
    [InlineData(15, "main", "data=there", "PitrPS.DirectoryNotEmpty")]
    public async Task Refuses_what_cannot_be(int version, string cluster, string survey, string id)
    {
        var fake = Bare(survey);

        var error = await Assert.ThrowsAsync<PitrException>(() => InstallPlan.BuildAsync(new InstallOptions(fake.Host, version, null, cluster), Quiet, default));

        Assert.Equal(id, error.Id);
        Assert.Empty(fake.Written);
    }

    [Fact]
    public async Task Continues_a_cluster_of_its_own_that_was_begun_and_does_not_take_it_for_somebody_elses()
    {
        var fake = Bare("port=taken\ndata=there").On("/bin/sh -s", ExistingServer);
        var plan = (await InstallPlan.BuildAsync(new InstallOptions(Bare().Host, 15, null, "main"), Quiet, default)).Plan;
        var journal = Journal.For(plan, "me", DateTimeOffset.UnixEpoch);
        fake.WithFile(Journal.PathOf(plan.Operation, plan.Subject), journal.Render());

        var planned = await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 15, null, "main"), Quiet, default);

        Assert.Contains(planned.Plan.Steps, s => s.Id == "settings.file");
    }

    [Fact]
    public async Task Adopts_a_server_without_touching_its_settings()
    {
        var fake = Bare().On("/bin/sh -s", ExistingServer);

        var planned = await InstallPlan.BuildAsync(new InstallOptions(fake.Host, 15, null, "main"), Quiet, default);

        Assert.Equal(["start", "role.role", "role.hba", "role.hba-reload"], planned.Plan.Steps.Select(s => s.Id));
        Assert.Equal("PitrPS.ServerExists", (await Assert.ThrowsAsync<PitrException>(() => InstallPlan.BuildAsync(new InstallOptions(fake.Host, 15, 5999, "main"), Quiet, default))).Id);
    }

    [Fact]
    public async Task Does_not_start_a_stopped_standby_which_a_recovery_may_have_stopped()
    {
        var fake = Bare().On("/bin/sh -s", ExistingServer.Replace("pid=1\n", "standby=1\n", StringComparison.Ordinal).Split("recovering")[0].Replace("status=ready", "", StringComparison.Ordinal));

        Assert.Equal("PitrPS.ServerNotRunning", (await Assert.ThrowsAsync<PitrException>(() => InstallPlan.BuildAsync(new InstallOptions(fake.Host, 15, null, "main"), Quiet, default))).Id);
    }

    [Fact]
    public async Task Installs_behind_files_that_keep_packages_from_starting_servers_and_takes_them_away_again()
    {
        var fake = new FakeRemoteHost();
        var installed = false;
        var guardsWhile = new List<string>();
        fake.On("dpkg-query", _ => new CommandResult(installed ? 0 : 1, "", ""))
            .On("apt-cache", "")
            .On("mkdir", "")
            .On("apt-get install", _ =>
            {
                guardsWhile.AddRange(fake.Files.Keys);
                installed = true;
                return new CommandResult(0, "", "");
            })
            .On("rm -f", c =>
            {
                fake.Files.Remove(c.Arguments[^1]);
                return new CommandResult(0, "", "");
            });
        fake.WithFile("/usr/sbin/policy-rc.d", "somebody else's");
        var step = InstallPlan.PackagesStep(fake.Host, ["postgresql-15"]);
        var run = RunOf(step, fake);

        Assert.False(await step.IsDone(run));
        await step.Do(run);

        Assert.True(await step.IsDone(run));
        Assert.Contains("/etc/postgresql-common/createcluster.d/pitrps-install.conf", guardsWhile);
        Assert.Equal("somebody else's", fake.TextOf("/usr/sbin/policy-rc.d"));
        Assert.Single(fake.Files);
    }

    private const string ExistingServer =
        "cluster\nconfig=L2V0Yy9wb3N0Z3Jlc3FsLzE1L21haW4=\ndata=L3Zhci9saWIvcG9zdGdyZXNxbC8xNS9tYWlu\nmajor=15\nbin=/usr/lib/postgresql/15/bin\npid=1\nport=5432\nstatus=ready\nrecovering=false\n";

    private static FakeRemoteHost Bare(string survey = "") => new FakeRemoteHost()
        .On("/bin/sh -s", "")
        .On("/proc/net/tcp", survey + "\nlocale=en_US.UTF-8\nknown=en_US.utf8\n")
        .On("dpkg-query", exitCode: 1)
        .On("apt-cache", exitCode: 1);

    private static FakeRemoteHost BareRhel(int release, string survey = "") => new FakeRemoteHost("el", new RhelPlatform(release))
        .On("/bin/sh -s", "")
        .On("/proc/net/tcp", survey + "\nlocale=en_US.UTF-8\nknown=en_US.utf8\n")
        .On("rpm -q", exitCode: 1)
        .On("list available", exitCode: 1);

    private static StepRun RunOf(Step step, FakeRemoteHost fake)
    {
        var plan = new Plan { Operation = "Test", Subject = "x", Home = fake.Host, Steps = [step] };
        return new StepRun(step, plan, Journal.For(plan, "me", DateTimeOffset.UnixEpoch), Quiet, default);
    }
}

/// <summary>Says nothing.</summary>
internal sealed class SilentFeedback : IFeedback
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
