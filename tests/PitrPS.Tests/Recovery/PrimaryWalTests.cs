using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;
using PitrPS.Tests.Incidents;

namespace PitrPS.Tests.Recovery;

public class PrimaryWalTests
{
    private readonly FakeRemoteHost _host = new();

    [Fact]
    public void Reads_how_far_the_primary_is_and_what_its_slot_keeps()
    {
        Assert.Equal(new PrimaryWal(Lsn.Parse("0/5000148"), Lsn.Parse("0/3000000")), PrimaryWal.Parse("7460000000000000001|1|0/5000148|\nphysical|0/3000000|1"));
        Assert.Equal(new PrimaryWal(Lsn.Parse("0/5000148"), null), PrimaryWal.Parse("7460000000000000001|1|0/5000148|"));
        Assert.Equal(new PrimaryWal(Lsn.Parse("0/5000148"), null), PrimaryWal.Parse("7460000000000000001|1|0/5000148|\n||"));
        Assert.Null(PrimaryWal.Parse(""));
    }

    [Fact]
    public async Task Asks_by_the_standbys_own_link_and_shows_its_password_to_nobody()
    {
        _host.On("primary_conninfo", "host=10.0.0.1 port=5432 user=repl password='se cret' dbname=replication\npitrps_standby\n");
        _host.On("IDENTIFY_SYSTEM", "7460000000000000001|1|0/5000148|\nphysical|0/3000000|1\n");
        Assert.Equal(Lsn.Parse("0/3000000"), (await PrimaryWal.AskAsync(TestStandby.On(_host), new NoFeedback(), default))!.KeptFrom);
        var asked = _host.Commands[^1];
        Assert.DoesNotContain("se cret", asked.Display, StringComparison.Ordinal);
        Assert.DoesNotContain(asked.Arguments, a => a.Contains("se cret", StringComparison.Ordinal));
        Assert.Contains("pitrps_standby", asked.Arguments);
    }

    [Fact]
    public async Task A_primary_that_does_not_answer_is_no_error()
    {
        _host.On("primary_conninfo", "host=10.0.0.1\n\n");
        _host.On("IDENTIFY_SYSTEM", "", exitCode: 2, error: "no route to host");
        Assert.Null(await PrimaryWal.AskAsync(TestStandby.On(_host), new NoFeedback(), default));
    }

    [Fact]
    public void Says_what_to_do_where_the_WAL_is_only_at_the_primary()
    {
        var range = WalRange.Of(TestServer.Of(15), WalRangeTests.Position(At(2)), WalRangeTests.Listing(1, 2, 3, 5), WalListing.Empty);
        var beyond = new PitrException("PitrPS.TargetBeyondWal", ErrorKind.InvalidOperation, "It ends.", "Wait.");
        var missing = new PitrException("PitrPS.WalMissing", ErrorKind.ObjectNotFound, "It is gone.", "Bring it.");
        var time = new RecoveryTarget.Time(DateTimeOffset.UnixEpoch);

        var ahead = new PrimaryWal(At(7), At(4) + 100);
        Assert.Contains("pg_switch_wal()", ahead.Explain(beyond, time, range).NextStep, StringComparison.Ordinal);
        Assert.Contains("before that", ahead.Explain(beyond, new RecoveryTarget.Lsn(At(9)), range).Message, StringComparison.Ordinal);
        Assert.Contains("before that", new PrimaryWal(At(6), null).Explain(beyond, new RecoveryTarget.Lsn(At(9)), range).Message, StringComparison.Ordinal);
        Assert.Contains("nothing after it either", new PrimaryWal(At(6), null).Explain(beyond, time, range).Message, StringComparison.Ordinal);
        Assert.Contains("slot keeps all of that in its pg_wal", ahead.Explain(missing, time, range).Message, StringComparison.Ordinal);
        Assert.Contains("archive_command", ahead.Explain(missing, time, range).NextStep, StringComparison.Ordinal);
        Assert.Same(missing, (ahead with { KeptFrom = At(5) }).Explain(missing, time, range));
        Assert.Same(missing, (ahead with { KeptFrom = null }).Explain(missing, time, range));

        var report = TargetReport.Unreachable(new RecoveryTargetReport { Standby = range.Server, Target = time, IsReachable = false }, range, ahead.Explain(missing, time, range), ahead);
        Assert.Equal(["000000010000000000000002 PgWal", "000000010000000000000003 PgWal", "000000010000000000000004 Primary", "000000010000000000000005 PgWal"], report.Segments.Select(s => s.ToString()));
        Assert.Equal(["000000010000000000000004"], report.MissingSegments);
        Assert.Equal(("PitrPS.WalMissing", At(7)), (Assert.Single(report.Problems).Id, report.PrimaryLsn));
    }

    private static Lsn At(int segment) => new((ulong)segment << 20);
}
