using System.Text.Json;

namespace PitrPS.Tests.Runbooks;

public sealed class WeeklyStatusTests(RunbookSession session) : IClassFixture<RunbookSession>
{
    private const string Runbook = "Get-PitrStatus";

    private readonly RunbookSession _session = session.Begin();

    [Fact]
    public void Has_an_object_for_each_server_with_how_far_back_one_can_go()
    {
        var run = _session.Runbook(Runbook);
        Assert.Equal((0, 2), (run.Code, run.Objects.Count));
        Assert.Equal(["Primary", "Standby"], run.Each("Role"));
        Assert.Equal("15.8", $"{run.Objects[1].Properties["Version"].Value}");
        Assert.Equal(new TimeSpan(3, 0, 1, 0), run.Objects[1].Properties["CanGoBack"].Value);
        Assert.Equal("100", $"{run.Objects[1].Properties["ReceiveLagBytes"].Value}");
    }

    [Fact]
    public void Writes_JSON_with_UTC_times_numbers_and_lists()
    {
        _session.Invoke("""$standbyStatus.Warnings = @('say "one"', 'two')""");
        var path = Path.Join(_session.Folder, "status.json");
        Assert.Equal(1, _session.Runbook(Runbook, $"-Path '{path}'").Code);
        var standby = JsonDocument.Parse(File.ReadAllText(path)).RootElement[1];
        Assert.Equal("3.00:00:00", standby.GetProperty("Delay").GetString());
        Assert.Equal(1000, standby.GetProperty("HeldBackBytes").GetInt64());
        Assert.True(standby.GetProperty("ArchiveReadable").GetBoolean());
        Assert.Equal(JsonValueKind.Null, standby.GetProperty("Problem").ValueKind);
        Assert.Equal("""say "one"|two""", string.Join('|', standby.GetProperty("Warnings").EnumerateArray().Select(w => w.GetString())));
        Assert.EndsWith("Z", standby.GetProperty("CanGoBackTo").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Writes_CSV_that_quotes_what_has_to_be_quoted()
    {
        _session.Invoke("""$standbyStatus.Warnings = @('say "one"', 'two, three')""");
        var path = Path.Join(_session.Folder, "status.csv");
        _session.Runbook(Runbook, $"-Path '{path}'");
        var lines = File.ReadAllLines(path);
        Assert.Equal(3, lines.Length);
        Assert.StartsWith("\"Pair\",\"Server\",\"Role\",", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("\"shop\",\"db2:15/main\",\"Standby\",\"\",", lines[2], StringComparison.Ordinal);
        Assert.EndsWith(",\"say \"\"one\"\"; two, three\"", lines[2], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("$standbyStatus.Replay = 'Frozen'", 1)]
    [InlineData("$operations = @('New-PgStandby on db2: Failed')", 1)]
    [InlineData("$standby.IsRunning = $false", 2)]
    [InlineData("$down = 'db1'", 2)]
    public void The_exit_code_says_whether_somebody_should_look(string spoil, int code)
    {
        _session.Invoke(spoil);
        var run = _session.Runbook(Runbook);
        Assert.Equal((code, 2), (run.Code, run.Objects.Count));
    }

    [Fact]
    public void A_file_that_cannot_be_written_ends_with_4_after_the_objects()
    {
        var run = _session.Runbook(Runbook, $"-Path '{Path.Join(_session.Folder, "not", "there.csv")}'");
        Assert.Equal((4, 2, 1), (run.Code, run.Objects.Count, run.Errors.Count));
    }

    [Fact]
    public void Another_kind_of_file_is_wrong_use() => Assert.Equal(3, _session.Runbook(Runbook, "-Path status.xlsx").Code);
}
