using PitrPS.Rescue;

namespace PitrPS.Tests.Rescue;

public class RestoreOutcomeTests
{
    private static RestoreTask Task(params (int Number, string Title)[] parts) => new()
    {
        Id = "0123456789ab",
        Primary = "primary:15/main",
        Database = "shop",
        Tables = [new RestoredName("public", "pitr2", 16400, [1], true)],
        Parts = parts.ToDictionary(p => p.Number, p => p.Title),
        Notes = ["a note"],
        Began = new DateTimeOffset(2026, 11, 23, 12, 0, 0, TimeSpan.Zero),
    };

    [Fact]
    public void It_says_what_was_counted_on_both_sides()
    {
        var outcome = RestoreOutcome.Parse("xid 8589935401\ntable 1 2000 -5 2000 -5\ntable 2 0 0 0 0\n");
        Assert.Equal(8589935401UL, outcome.TransactionId);
        Assert.Equal(new RowProof(2000, unchecked((ulong)-5L)), outcome.Tables[1].Sent);
        Assert.Equal(outcome.Tables[1].Sent, outcome.Tables[1].Found);
        Assert.Equal(new RowProof(0, 0), outcome.Tables[2].Found);
        Assert.Empty(outcome.Parts);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("xi")]
    public void A_transaction_that_never_began_has_no_id(string? text) => Assert.Null(RestoreOutcome.Parse(text).TransactionId);

    [Fact]
    public void What_did_not_work_is_said_with_its_name_and_reason()
    {
        var outcome = RestoreOutcome.Parse("xid 1\npart 4 failed role \"x\" does not exist\npart 7 fallback insert violates foreign key\n");
        var said = outcome.Failures(Task((4, "grant to x"), (7, "constraint fk on table lines"))).ToList();
        Assert.Equal("grant to x did not come back: role \"x\" does not exist", said[0]);
        Assert.StartsWith("constraint fk on table lines is back as NOT VALID", said[1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_task_comes_out_of_the_journal_as_it_went_in()
    {
        var task = Task((1, "TABLE \"ü\n'x"));
        var again = RestoreTask.Parse(task.Render());
        Assert.Equal(task.Render(), again.Render());
        Assert.Equal(task.Parts[1], again.Parts[1]);
        Assert.Equal([1], again.Tables[0].Numbers);
        Assert.Equal("/run/pitrps/pitrps-restore-0123456789ab", again.StandbyFolder);
    }
}
