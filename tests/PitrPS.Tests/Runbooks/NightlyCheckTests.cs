namespace PitrPS.Tests.Runbooks;

public sealed class NightlyCheckTests(RunbookSession session) : IClassFixture<RunbookSession>
{
    private const string Runbook = "Test-PitrPair";

    private readonly RunbookSession _session = session.Begin();

    [Fact]
    public void A_healthy_pair_is_all_OK_and_ends_with_0()
    {
        var run = _session.Runbook(Runbook);
        Assert.Equal(("", 0), (string.Join('\n', run.NotOk("Check")), run.Code));
        Assert.Empty(run.Errors);
        string[] both = ["Connect", "Server", "Operation", "Role"];
        Assert.Equal(both.Concat(["Recovery", "Replay", "Delay", "ReplayLag", "Mount", "Receiver", "Position", "Configuration", "Cluster", "Clock"]).Order(), Of(run, "db2:15/main"));
        Assert.Equal(both.Append("Archive").Order(), Of(run, "db1:15/main"));
        Assert.Contains("disconnect db1 db2", _session.Calls);
    }

    [Theory]
    [InlineData("$standbyStatus.Replay = 'Frozen'", "Replay: Warning")]
    [InlineData("$standbyStatus.Replay = 'PausedByHand'", "Replay: Warning")]
    [InlineData("$standbyStatus.Replay = 'PauseLost'", "Replay: Failure")]
    [InlineData("$standbyStatus.Replay = 'PausedAtTarget'", "Replay: Failure")]
    [InlineData("$standbyStatus.Replay = 'PausedForSettings'", "Replay: Failure")]
    [InlineData("$standbyStatus.Delay = [timespan]::Zero", "Delay: Failure")]
    [InlineData("$standbyStatus.Delay = $standbyStatus.EffectiveDelay = [timespan] '1.00:00:00'; $standbyStatus.ReplayedUpTo = $now.AddDays(-1)", "Delay: Failure")]
    [InlineData("$standbyStatus.EffectiveDelay = [timespan] '02:59:00'; $standbyStatus.ReplayedUpTo = $now.AddHours(-3)", "Delay: Failure")]
    [InlineData("$standbyStatus.ReplayedUpTo = $now.AddDays(-3).AddHours(-2)", "ReplayLag: Warning")]
    [InlineData("$standbyStatus.ArchiveMounted = $false", "Mount: Failure")]
    [InlineData("$standbyStatus.ArchiveMounted = $null", "Mount: Warning")]
    [InlineData("$standbyStatus.Receiver = 'none'; $standbyStatus.ArchiveMounted = $false", "Mount: Failure|Receiver: Failure")]
    [InlineData("$primaryStatus.Current = 5000 + 257MB", "Position: Warning")]
    [InlineData("$standbyStatus.Warnings = @('A recovery target is left in the configuration.')", "Configuration: Warning")]
    [InlineData("$standbyStatus.Role = 'Primary'", "Role: Failure")]
    [InlineData("$primaryStatus.Role = 'Standby'", "Role: Failure")]
    [InlineData("$primary.SystemIdentifier = 8", "Cluster: Failure")]
    [InlineData("$primary.Timeline = 2", "Cluster: Warning")]
    [InlineData("$primaryStatus.ArchiveFailing = '000000010000000000000003'", "Archive: Failure")]
    [InlineData("$primaryStatus.LastArchivedAt = $null", "Archive: Failure")]
    [InlineData("$primaryStatus.LastArchivedAt = $now.AddMinutes(-16)", "Archive: Warning")]
    [InlineData("$primaryStatus.Time = $now.AddMinutes(5); $primaryStatus.LastArchivedAt = $now.AddMinutes(4)", "Clock: Warning")]
    [InlineData("$recovery = [PSCustomObject] @{ Target = 'before LSN 0/1'; State = 'Ready'; StartedBy = 'me'; StartedAt = $now }", "Recovery: Warning")]
    [InlineData("$recovery = [PSCustomObject] @{ Target = 'before LSN 0/1'; State = 'Lost'; StartedBy = 'me'; StartedAt = $now }; $standby.IsRunning = $false", "Server: Warning|Recovery: Failure")]
    [InlineData("$standby.IsRunning = $false", "Server: Failure")]
    [InlineData("$operations = @([PSCustomObject] @{ Operation = 'New-PgStandby'; Subject = 'db2:15/main'; State = 'Abandoned'; Client = 'me'; StartedAt = $now; GoOn = 'Run it again.'; GoBack = $null; Failure = $null })", "Operation: Warning")]
    public void Whatever_is_wrong_has_a_check_and_an_exit_code_and_says_what_to_do(string spoil, string expected)
    {
        _session.Invoke(spoil);
        var run = _session.Runbook(Runbook);
        Assert.Equal(expected, string.Join('|', run.NotOk("Check")));
        Assert.Equal(expected.Contains("Failure", StringComparison.Ordinal) ? 2 : 1, run.Code);
        Assert.All(run.Objects.Where(o => $"{o.Properties["Status"].Value}" != "OK"), o => Assert.NotEqual("", $"{o.Properties["NextStep"].Value}"));
    }

    [Theory]
    [InlineData("$standbyStatus.Receiver = 'none'")]
    [InlineData("$standbyStatus.ReplayedUpTo = $now.AddDays(-9); $standbyStatus.Replayed = 5100")]
    [InlineData("$operations = @([PSCustomObject] @{ Operation = 'New-PgStandby'; Subject = 'db2:15/main'; State = 'Running'; Client = 'me'; StartedAt = $now; GoOn = 'Wait.'; GoBack = $null; Failure = $null })")]
    public void No_alarm_for_what_a_delayed_standby_does_every_day(string usual)
    {
        _session.Invoke(usual);
        var run = _session.Runbook(Runbook);
        Assert.Equal(("", 0), (string.Join('\n', run.NotOk("Check")), run.Code));
    }

    [Fact]
    public void A_host_that_is_down_is_its_own_failure_and_the_others_are_checked()
    {
        _session.Inventory("@{ Name = 'far'; Primary = 'db9'; Standby = 'db8' }, @{ Name = 'shop'; Primary = 'db1'; Standby = 'db2' }");
        _session.Invoke("$down = 'db8', 'db9'");
        var run = _session.Runbook(Runbook);
        Assert.Equal(2, run.Code);
        Assert.Equal("Connect: Failure|Connect: Failure", string.Join('|', run.NotOk("Check")));
        Assert.Equal("db8 is not reachable.", $"{run.Objects[0].Properties["Message"].Value}");
        Assert.Equal("Do this next.", $"{run.Objects[0].Properties["NextStep"].Value}");
        Assert.Equal(19, run.Each("Pair").Count(p => p == "shop"));
    }

    [Fact]
    public void What_a_host_says_cannot_command_a_terminal()
    {
        _session.Invoke("$standby.Host.OperatingSystem = \"Debian$([char] 27)[2J\"");
        Assert.DoesNotContain('\u001b', _session.Runbook(Runbook).Text);
    }

    private static IEnumerable<string> Of(RunbookRun run, string server) =>
        run.Objects.Where(o => $"{o.Properties["Server"].Value}" == server).Select(o => $"{o.Properties["Check"].Value}").Order();
}
