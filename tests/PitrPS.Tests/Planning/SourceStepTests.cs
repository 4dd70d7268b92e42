using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Planning;

/// <summary>Package sources and SELinux as steps of a plan.</summary>
public class SourceStepTests
{
    private static readonly PackageSource Source = new("extra", "Add the extra source", RemoteCommand.Of("add-it")) { Preview = ["add it"] };

    [Fact]
    public async Task A_source_is_added_only_while_the_packages_are_not_on_offer()
    {
        var fake = new FakeRemoteHost("el", new RhelPlatform(9)).On("rpm -q --quiet wanted", exitCode: 1).On("list available", exitCode: 1).On("add-it");
        var step = Steps.Source(fake.Host, Source, ["wanted"]);
        var run = RunOf(step, fake);

        Assert.False(await step.IsDone(run));
        await step.Do(run);
        // Still not on offer: it is the next source's turn.
        Assert.True(await step.IsDone(run));

        fake.On("list available");
        Assert.True(await Steps.Source(fake.Host, Source, ["wanted"]).IsDone(RunOf(step, fake)));
    }

    [Fact]
    public async Task A_source_that_was_asked_for_is_added_though_others_have_the_packages()
    {
        var fake = new FakeRemoteHost("el", new RhelPlatform(9)).On("rpm -q --quiet wanted", exitCode: 1).On("list available").On("is-it-there", exitCode: 1);
        var step = Steps.Source(fake.Host, Source with { IsThere = RemoteCommand.Of("is-it-there") }, ["wanted"]);

        Assert.False(await step.IsDone(RunOf(step, fake)));
    }

    [Theory]
    [InlineData(PackageSource.Unreachable, "PitrPS.RepositoryUnreachable")]
    [InlineData(PackageSource.OtherKey, "PitrPS.RepositoryKeyMismatch")]
    [InlineData(PackageSource.Invalid, "PitrPS.RepositoryInvalid")]
    [InlineData(1, "PitrPS.RemoteCommandFailed")]
    public async Task Why_a_source_cannot_be_added_is_told_apart(int code, string id)
    {
        var fake = new FakeRemoteHost("el", new RhelPlatform(9)).On("add-it", "ABCD", code, "said so");
        var step = Steps.Source(fake.Host, Source, ["wanted"]);

        var error = await Assert.ThrowsAsync<PitrException>(() => step.Do(RunOf(step, fake)));

        Assert.Equal(id, error.Id);
        Assert.Contains(code == PackageSource.OtherKey ? "ABCD" : "said so", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SELinux_is_no_step_on_a_host_without_it()
    {
        var without = new FakeRemoteHost().Host;
        Assert.Empty(SelinuxSteps.Label(without, "x", "/srv/archive", SelinuxSteps.DatabaseType));
        Assert.Empty(SelinuxSteps.Port(without, "x", 5433, SelinuxSteps.DatabasePortType));
    }

    [Fact]
    public async Task SELinux_types_are_written_down_as_rules_whose_path_is_no_pattern()
    {
        var (fake, host) = WithSelinux();
        var label = Assert.Single(SelinuxSteps.Label(host, "selinux", "/srv/wal.d", SelinuxSteps.DatabaseType));
        Assert.Equal(["semanage fcontext -a -t postgresql_db_t '/srv/wal\\.d(/.*)?'", "restorecon -R /srv/wal.d"], label.Preview);
        fake.On("restorecon");
        await label.Do(RunOf(label, fake));
        Assert.Contains("/srv/wal\\.d(/.*)?", fake.Commands[^1].Arguments);

        var port = Assert.Single(SelinuxSteps.Port(host, "selinux", 5433, SelinuxSteps.DatabasePortType));
        Assert.Equal(["semanage port -a -t postgresql_port_t -p tcp 5433"], port.Preview);
    }

    internal static (FakeRemoteHost Fake, PgHost Host) WithSelinux()
    {
        var fake = new FakeRemoteHost("el", new RhelPlatform(9));
        return (fake, new PgHost("el", "192.0.2.9", 22, "dba", new HostFacts(new RhelPlatform(9), "Rocky Linux 9", "0123456789abcdef0123456789abcdef") { HasSelinux = true }, fake));
    }

    private static StepRun RunOf(Step step, FakeRemoteHost fake)
    {
        var plan = new Plan { Operation = "Test", Subject = "x", Home = fake.Host, Steps = [step] };
        return new StepRun(step, plan, Journal.For(plan, "me", DateTimeOffset.UnixEpoch), new SilentFeedback(), default);
    }
}
