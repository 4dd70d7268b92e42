namespace PitrPS.Tests.Runbooks;

public sealed class EmergencyTests(RunbookSession session) : IClassFixture<RunbookSession>
{
    private const string Runbook = "Restore-LostTable";

    private readonly RunbookSession _session = session.Begin("$incidents = @((New-Incident 700 other), (New-Incident 701 lost))");

    [Fact]
    public void Freezes_before_anything_else_and_goes_all_the_way()
    {
        var run = _session.Runbook(Runbook, "-Table lost -Confirm:$false");
        Assert.Equal(0, run.Code);
        Assert.Equal(["connect db2", "freeze", "find lost", "connect db1", "recover", "restore to db1:15/main", "complete", "disconnect db1 db2"], _session.Calls);
        Assert.Equal(["Freeze", "Find", "Choose", "Recover", "Restore", "Complete"], run.Each("Step"));
        Assert.Empty(run.NotOk("Step"));
    }

    [Fact]
    public void Freezes_also_when_the_primary_is_down_and_recovers_nothing_then()
    {
        _session.Invoke("$down = 'db1'");
        var run = _session.Runbook(Runbook, "-Table lost -Confirm:$false");
        Assert.Equal(2, run.Code);
        Assert.Equal(["Recover: Failure", "Standby: Warning"], run.NotOk("Step"));
        Assert.DoesNotContain("recover", _session.Calls);
        Assert.Contains("frozen", run.Each("Message")[^1]);
    }

    [Theory]
    [InlineData("-Confirm:$false", 4)]
    [InlineData("-Table other,lost -Confirm:$false", 4)]
    [InlineData("-Table 'other,lost' -Confirm:$false", 4)]
    [InlineData("-Table nosuch -Confirm:$false", 5)]
    [InlineData("-TransactionId 799 -Confirm:$false", 5)]
    [InlineData("-Table lost", 6)]
    public void Never_guesses_and_never_asks_nobody_and_leaves_the_standby_frozen(string arguments, int code)
    {
        var run = _session.Runbook(Runbook, arguments);
        Assert.Equal(code, run.Code);
        Assert.DoesNotContain("recover", _session.Calls);
        Assert.Equal("freeze", _session.Calls[1]);
        Assert.Equal("Frozen", $"{_session.Invoke("$standbyStatus.Replay").Single()}");
        Assert.Contains("Resume-WalReplay", string.Join('\n', run.Each("NextStep")));
    }

    [Theory]
    [InlineData("-TransactionId 701")]
    [InlineData("-Table other,lost -TransactionId 701")]
    public void The_transaction_chooses_one_of_several(string arguments)
    {
        var run = _session.Runbook(Runbook, arguments + " -Confirm:$false");
        Assert.Equal(0, run.Code);
        Assert.Contains("before 701", string.Join('\n', run.Each("Message")));
    }

    [Theory]
    [InlineData("recover", "Recover", "freeze,find lost,connect db1,recover,freeze")]
    [InlineData("restore to db1:15/main", "Restore", "freeze,find lost,connect db1,recover,restore to db1:15/main,freeze")]
    public void A_step_that_fails_leaves_the_standby_frozen_and_says_how_to_go_on(string call, string step, string calls)
    {
        _session.Invoke($"$broken = '{call}'");
        var run = _session.Runbook(Runbook, "-Table lost -Confirm:$false");
        Assert.Equal(2, run.Code);
        Assert.Equal([$"{step}: Failure", "Standby: Warning"], run.NotOk("Step"));
        Assert.Equal(["Do this next.", "Run the same again to go on. To let the standby go on instead: Resume-WalReplay."], run.Each("NextStep").TakeLast(2));
        Assert.Equal($"connect db2,{calls}", string.Join(',', _session.Calls.SkipLast(1)));
    }

    [Fact]
    public void A_freeze_that_fails_is_said_at_once_and_nothing_is_looked_for()
    {
        _session.Invoke("$broken = 'freeze'");
        var run = _session.Runbook(Runbook, "-Table lost -Confirm:$false");
        Assert.Equal(2, run.Code);
        Assert.Equal(["Freeze: Failure"], run.NotOk("Step"));
        Assert.Equal(["connect db2", "freeze", "disconnect db2"], _session.Calls);
    }

    [Fact]
    public void Goes_on_with_the_recovery_that_an_earlier_run_left()
    {
        _session.Invoke("$standby.IsRunning = $false; $recovery = [PSCustomObject] @{ Target = 'before 701'; State = 'Ready'; StartedBy = 'me'; StartedAt = $now }");
        var run = _session.Runbook(Runbook, "-Table lost -Confirm:$false");
        Assert.Equal(0, run.Code);
        Assert.Contains("going on with that", run.Each("Message")[0]);
    }

    [Fact]
    public void The_standbys_own_way_to_the_primary_is_taken_from_the_inventory()
    {
        _session.Inventory("@{ Primary = 'db1'; Standby = 'db2'; PrimaryAddress = '10.0.0.10'; PrimarySshPort = 2222 }");
        Assert.Equal(0, _session.Runbook(Runbook, "-Table lost -Confirm:$false").Code);
        Assert.Contains("restore to db1:15/main 10.0.0.10", _session.Calls);
    }

    [Theory]
    [InlineData("-TransactionId seven")]
    [InlineData("-Since yesterday")]
    public void Wrong_words_touch_nothing(string arguments)
    {
        Assert.Equal(3, _session.Runbook(Runbook, "-Table lost " + arguments).Code);
        Assert.Empty(_session.Calls);
    }

    [Fact]
    public void Asks_for_the_pair_when_there_are_several()
    {
        _session.Inventory("@{ Primary = 'db1'; Standby = 'db2' }, @{ Primary = 'db1'; Standby = 'db3' }");
        var run = _session.Runbook(Runbook, "-Table lost");
        Assert.Equal(3, run.Code);
        Assert.Contains("db2, db3", Assert.Single(run.Errors));
        Assert.Empty(_session.Calls);
    }
}
