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

    [Fact]
    public void Inclusive_of_a_time_is_the_first_commit_after_it()
    {
        var at = new DateTimeOffset(2026, 11, 23, 15, 42, 50, TimeSpan.Zero).AddMicroseconds(29044);
        Assert.Equal([Early], Shell.Awk(TargetFinder.TimeCondition(at), Early, Aborted));
        Assert.Equal([Aborted], Shell.Awk(TargetFinder.TimeCondition(at, inclusive: true), Early, Aborted));
    }

    [Theory]
    [InlineData(743u, Drop)]
    [InlineData(744u, Drop)]
    [InlineData(741u, CommitPrepared)]
    [InlineData(727u, Early)]
    [InlineData(7281u, Aborted)]
    public void Finds_the_record_with_which_a_transaction_ends_or_the_one_that_it_is_a_part_of(uint xid, string expected)
    {
        var found = Assert.Single(Shell.Awk(TargetFinder.EndCondition(xid), Early, Aborted, Prepare, Drop, CommitPrepared));
        Assert.StartsWith(found, expected, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(13, 526u, 525u)]
    [InlineData(15, 765u, 764u)]
    [InlineData(15, 835u, 800u)]
    [InlineData(13, 596u, 561u)]
    public void Finds_the_top_level_transaction_of_a_subtransaction_in_what_each_version_writes(int major, uint xid, uint top)
    {
        var found = Assert.Single(Shell.Awk(TargetFinder.EndCondition(xid), [.. new Incidents.Samples(major).Wal]));
        Assert.Equal(top, TargetFinder.TransactionOf(found));
        Assert.Equal([$"Transaction {xid} is a subtransaction of {top}, which ends at 0/5."], TargetFinder.NotesOn(xid, found, Lsn.Parse("0/5")));
        Assert.Empty(TargetFinder.NotesOn(top, found, Lsn.Parse("0/5")));
    }

    [Theory]
    [InlineData(74u)]
    [InlineData(43u)]
    [InlineData(4u)]
    public void Finds_no_transaction_whose_number_is_only_a_part_of_anothers(uint xid) =>
        Assert.Empty(Shell.Awk(TargetFinder.EndCondition(xid), Early, Aborted, Prepare, Drop, CommitPrepared));

    [Fact]
    public void Says_that_a_transaction_was_rolled_back() =>
        Assert.Equal(["Transaction 7281 was rolled back at 0/54EDA00."], TargetFinder.NotesOn(7281, Aborted, Lsn.Parse("0/54EDA00")));

    [Fact]
    public void Knows_a_prepared_transaction_by_its_own_number() => Assert.Equal((741u, 743u), (TargetFinder.TransactionOf(CommitPrepared), TargetFinder.TransactionOf(Drop)));

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
    public void A_target_becomes_exactly_one_setting_with_its_side_and_its_timeline()
    {
        var lsn = new ResolvedTarget(Lsn.Parse("0/5586688"), 2, Lsn.Parse("0/5586900"));
        Assert.Equal("recovery_target_inclusive=off recovery_target_lsn=0/5586688 recovery_target_timeline=2", Settings(lsn));
        Assert.Equal("recovery_target_inclusive=on recovery_target_lsn=0/5586688 recovery_target_timeline=2", Settings(lsn with { Inclusive = true }));
        Assert.Equal("recovery_target_inclusive=off recovery_target_name=before the drop recovery_target_timeline=2", Settings(lsn with { RestorePoint = "before the drop" }));
        Assert.Equal("recovery_target=immediate recovery_target_inclusive=off recovery_target_timeline=2", Settings(lsn with { IsImmediate = true }));
        Assert.Equal((false, true, true, false), (lsn.StopsAfter, (lsn with { Inclusive = true }).StopsAfter, (lsn with { RestorePoint = "x" }).StopsAfter, (lsn with { IsImmediate = true }).StopsAfter));
    }

    private static string Settings(ResolvedTarget target) => string.Join(' ', target.Settings.OrderBy(s => s.Key, StringComparer.Ordinal).Select(s => $"{s.Key}={s.Value}"));
}
