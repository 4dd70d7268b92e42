using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Tests.Recovery;

public class TargetFinderTests
{
    // As pg_waldump 15.18 prints them.
    private const string Early = "rmgr: Transaction len (rec/tot):     34/    34, tx:        727, lsn: 0/054ED9E0, prev 0/054ED9A0, desc: COMMIT 2026-11-23 15:42:50.029044 UTC";
    private const string Aborted = "rmgr: Transaction len (rec/tot):     34/    34, tx:       7281, lsn: 0/054EDA00, prev 0/054ED9E0, desc: ABORT 2026-11-23 15:42:51.500000 UTC";
    private const string Drop = "rmgr: Transaction len (rec/tot):    477/   477, tx:        743, lsn: 0/05586688, prev 0/05586650, desc: COMMIT 2026-11-23 16:28:58.945824 UTC; rels: base/5/16400 base/5/16403; subxacts: 744; dropped stats: 2/5/16400; inval msgs: catcache 80";
    private const string Prepare = "rmgr: Transaction len (rec/tot):   1877/  1877, tx:        741, lsn: 0/05584AA8, prev 0/05584A70, desc: PREPARE gid gx: 2026-11-23 16:28:58.804508 UTC; rels(commit): base/5/16384";
    private const string CommitPrepared = "rmgr: Transaction len (rec/tot):    900/   900, tx:          0, lsn: 0/05590000, prev 0/05586650, desc: COMMIT_PREPARED 741: 2026-11-23 16:30:00.000000 UTC; rels: base/5/16384";
    private const string Point = "rmgr: XLOG        len (rec/tot):     98/    98, tx:          0, lsn: 0/05575DD8, prev 0/05575C40, desc: RESTORE_POINT before the drop";

    [Fact]
    public void Finds_the_first_commit_or_abort_at_or_after_a_time()
    {
        var at = new DateTimeOffset(2026, 11, 23, 15, 42, 51, TimeSpan.Zero);
        Assert.Equal([Aborted], Shell.Awk(TargetFinder.TimeCondition(at), Early, Aborted, Drop));
        Assert.Equal([Early], Shell.Awk(TargetFinder.TimeCondition(at.AddMicroseconds(-970956)), Early, Aborted));
        Assert.Empty(Shell.Awk(TargetFinder.TimeCondition(at.AddDays(1)), Early, Aborted, Drop));
    }

    [Fact]
    public void A_prepare_is_no_end_of_a_transaction() =>
        Assert.Empty(Shell.Awk(TargetFinder.TimeCondition(DateTimeOffset.UnixEpoch), Prepare));

    [Fact]
    public void A_time_in_another_zone_is_compared_as_UTC() =>
        Assert.Equal([Drop[..Drop.IndexOf("; inval", StringComparison.Ordinal)]], Shell.Awk(TargetFinder.TimeCondition(new DateTimeOffset(2026, 11, 23, 17, 0, 0, TimeSpan.FromHours(1))), Early, Aborted, Drop));

    [Theory]
    [InlineData(743u, Drop)]
    [InlineData(741u, CommitPrepared)]
    [InlineData(727u, Early)]
    public void Finds_the_commit_of_a_top_level_transaction(uint xid, string expected)
    {
        var found = Assert.Single(Shell.Awk(TargetFinder.CommitCondition(xid), Early, Aborted, Prepare, Drop, CommitPrepared));
        Assert.StartsWith(found, expected, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(7281u)]
    [InlineData(744u)]
    [InlineData(74u)]
    public void Finds_no_commit_of_an_aborted_transaction_or_of_a_subtransaction(uint xid) =>
        Assert.Empty(Shell.Awk(TargetFinder.CommitCondition(xid), Early, Aborted, Prepare, Drop, CommitPrepared));

    [Fact]
    public void Reads_the_whole_name_of_a_restore_point() => Assert.Equal("before the drop", TargetFinder.NameOf(Point));

    [Fact]
    public void Reads_the_length_of_a_record_and_the_files_that_a_commit_removes()
    {
        Assert.Equal(477, TargetFinder.LengthOf(Drop));
        Assert.Equal(["base/5/16400", "base/5/16403"], TargetFinder.FilesOf(Drop));
        Assert.Empty(TargetFinder.FilesOf(Early));
    }

    [Fact]
    public void Reads_where_a_tablespace_is_made() =>
        Assert.Equal(["/srv/my \"space\""], TargetFinder.TablespaceOf("rmgr: Tablespace  len (rec/tot):     42/    42, tx:        760, lsn: 0/0F003A58, prev 0/0F003A18, desc: CREATE 16600 \"/srv/my \"space\"\""));

    [Fact]
    public void A_target_becomes_exactly_one_setting()
    {
        var lsn = new ResolvedTarget(Lsn.Parse("0/5586688"), 1, Lsn.Parse("0/5586900"));
        Assert.Equal(("recovery_target_lsn", "0/5586688"), lsn.Setting);
        Assert.Equal(("recovery_target_name", "before the drop"), (lsn with { RestorePoint = "before the drop" }).Setting);
    }
}
