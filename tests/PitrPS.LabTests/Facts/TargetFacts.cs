using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Facts;

/// <summary>How a recovery of a stopped standby's files ends; the sentences of the log are those that PitrPS reads.</summary>
public abstract class TargetFacts(FactServers servers)
{
    // A table of 100 rows, a transaction that writes and drops it, whose COMMIT is at $commit; the standby has received it and holds it back. After it, "later".
    private const string Dropped =
        """
        p 'DROP TABLE IF EXISTS t; DROP TABLE IF EXISTS o; CREATE TABLE t AS SELECT generate_series(1, 100) AS i; CREATE TABLE o (note text)'
        standby "recovery_min_apply_delay = '1h'"
        from=$(p 'SELECT pg_current_wal_lsn()')
        p "BEGIN; INSERT INTO o VALUES ('lost with it'); DROP TABLE t; COMMIT"
        commit=$(wal $from -r Transaction | sed -n 's/.*lsn: \([^,]*\),.*desc: COMMIT .*rels:.*/\1/p' | head -n 1)
        p "INSERT INTO o VALUES ('later')"; arrived

        """;

    private string[] Fact(string script) => servers.Fact(script);

    [LabFact]
    public void Stopping_just_before_the_COMMIT_and_promoting_rolls_the_DROP_back() => Assert.Equal(
        ["said: stopping", "said: timeline", "recovering: f", "rows: 100", "of the others: 0", "no signal file", "read-only: off"],
        Fact(Dropped + """
            recover "recovery_target_lsn = '$commit'" 'recovery_target_inclusive = off' 'recovery_target_action = promote' 'recovery_target_timeline = 1' 'recovery_min_apply_delay = 0'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            said 'recovery stopping before WAL location' stopping
            said 'selected new timeline ID: 2' timeline
            echo "recovering: $(s 'SELECT pg_is_in_recovery()')"
            echo "rows: $(s 'SELECT count(*) FROM t')"
            echo "of the others: $(s 'SELECT count(*) FROM o')"
            ls $S/*.signal 2>/dev/null || echo 'no signal file'
            echo "read-only: $(s 'SHOW transaction_read_only')"
            """));

    [LabFact]
    public void A_target_is_inclusive_unless_it_is_told_otherwise() => Assert.Equal(
        ["on", "said: stopping after", "rows: gone"],
        Fact(Dropped + """
            p "SELECT boot_val FROM pg_settings WHERE name = 'recovery_target_inclusive'"
            recover "recovery_target_lsn = '$commit'" 'recovery_target_action = promote' 'recovery_target_timeline = 1'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            said 'recovery stopping after WAL location' 'stopping after'
            echo "rows: $(s 'SELECT count(*) FROM t' 2>/dev/null || echo gone)"
            """));

    [LabFact]
    public void With_the_delay_still_set_the_target_is_not_reached() => Assert.Equal(
        ["waits in RecoveryApplyDelay"],
        Fact(Dropped + """
            p "INSERT INTO o VALUES ('held back before the target')"; arrived
            later=$(p 'SELECT pg_current_wal_lsn()')
            recover "recovery_target_lsn = '$later'" 'recovery_target_action = promote' "recovery_min_apply_delay = '1h'"
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            echo "waits in $(waits)"
            """));

    [LabFact]
    public void A_target_that_has_been_replayed_already_ends_the_server() => Assert.Equal(
        ["did not start", "said: too early"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby 'recovery_min_apply_delay = 0'
            early=$(p 'SELECT pg_current_wal_lsn()')
            p 'INSERT INTO t VALUES (1)'; p 'INSERT INTO t VALUES (2)'; arrived
            until_ s 'SELECT count(*) = 2 FROM t'
            recover "recovery_target_lsn = '$early'" 'recovery_target_inclusive = off' 'recovery_target_action = promote' 2>/dev/null
            said 'FATAL:  requested recovery stop point is before consistent recovery point' 'too early'
            """));

    [LabFact]
    public void WAL_that_ends_before_the_target_ends_the_server() => Assert.Equal(
        ["did not start", "said: too little"],
        Fact(Dropped + """
            recover "recovery_target_lsn = 'F/0'" 'recovery_target_action = promote' 2>/dev/null
            said 'FATAL:  recovery ended before configured recovery target was reached' 'too little'
            """));

    [LabFact]
    public void Two_targets_are_refused() => Assert.Equal(
        ["did not start", "said: two"],
        Fact(Dropped + """
            recover "recovery_target_lsn = '$commit'" "recovery_target_name = 'x'" 2>/dev/null
            said 'multiple recovery targets specified' two
            """));

    [LabFact]
    public void A_recovery_needs_a_restore_command_and_false_is_one() => Assert.Equal(
        ["did not start", "said: needed"],
        Fact(Dropped + """
            recover "recovery_target_lsn = '$commit'" "restore_command = ''" 2>/dev/null
            said 'must specify .?restore_command' needed
            """));

    [LabFact]
    public void A_restore_command_that_ends_with_1_ends_the_recovery_and_one_that_ends_with_126_or_more_the_server() => Assert.Equal(
        ["1: promoted", "200: did not start"],
        Fact(Dropped + """
            recover "restore_command = 'exit 1'"
            until_ s 'SELECT NOT pg_is_in_recovery()'; echo '1: promoted'
            standby 'recovery_min_apply_delay = 0'
            echo "200: $(recover "restore_command = 'exit 200'" 2>/dev/null)"
            """));

    [LabFact]
    public void A_segment_of_the_wrong_size_ends_a_recovery_and_is_retried_by_a_standby() => Assert.Equal(
        ["did not start", "said: size", "the standby runs"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby 'recovery_min_apply_delay = 0'
            printf 'case $2 in *.history) exit 1 ;; esac; head -c 1000 /dev/zero > "$1"\n' > $D/short.sh
            stop_standby fast; set_standby "primary_conninfo = ''" "restore_command = 'sh $D/short.sh %p %f'"; start
            sleep 0.5; alive=$(s 'SELECT 1')
            recover "restore_command = 'sh $D/short.sh %p %f'" 2>/dev/null
            said 'archive file .* has wrong size: 1000 ' size
            [ "$alive" = 1 ] && echo 'the standby runs'
            """));

    [LabFact]
    public void A_DROP_that_was_prepared_before_the_target_keeps_its_lock_until_it_is_rolled_back() => Assert.Equal(
        ["locked", "-1/ AccessExclusiveLock", "rows: 100"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT generate_series(1, 100) AS i'
            standby "recovery_min_apply_delay = '1h'" 'max_prepared_transactions = 5'
            p "BEGIN; DROP TABLE t; PREPARE TRANSACTION 'two'"
            stop=$(p 'SELECT pg_current_wal_lsn()')
            p 'SELECT pg_current_xact_id()' > /dev/null; p "COMMIT PREPARED 'two'"; arrived
            recover "recovery_target_lsn = '$stop'" 'recovery_target_inclusive = off' 'recovery_target_action = promote' 'max_prepared_transactions = 5'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            s "SET lock_timeout = '100ms'; SELECT count(*) FROM t" 2>&1 | grep -q 'lock timeout' && echo locked
            s "SELECT l.virtualtransaction || ' ' || l.mode FROM pg_locks l JOIN pg_prepared_xacts x ON l.virtualtransaction = '-1/' || x.transaction::text WHERE l.mode = 'AccessExclusiveLock' AND l.locktype = 'relation'" | sed 's,/[0-9]* ,/ ,' | head -n 1
            s "ROLLBACK PREPARED 'two'"
            echo "rows: $(s 'SELECT count(*) FROM t')"
            """));

    [LabFact]
    public void A_standby_that_was_stopped_cleanly_begins_again_at_its_restartpoint_as_pg_control_says() => Assert.Equal(
        ["shut down in recovery", "said: redo", "not after the position: t"],
        Fact(Dropped + """
            was=$(s 'SELECT pg_last_wal_replay_lsn()')
            stop_standby fast
            as $B/pg_controldata -D $S | sed -n 's/^Database cluster state: *//p'
            redo=$(as $B/pg_controldata -D $S | sed -n "s/^Latest checkpoint's REDO location: *//p")
            rm -f $D/standby.log; start
            said "redo starts at $redo" redo
            echo "not after the position: $(s "SELECT '$redo'::pg_lsn <= '$was'")"
            """));

    [LabFact]
    public void An_unlogged_table_cannot_be_read_on_a_standby_and_is_empty_after_a_promotion() => Assert.Equal(
        ["cannot access temporary or unlogged relations during recovery", "0"],
        Fact("""
            p 'DROP TABLE IF EXISTS v; CREATE UNLOGGED TABLE v AS SELECT 1 AS i'
            standby 'recovery_min_apply_delay = 0'
            s 'SELECT * FROM v' 2>&1 | sed -n 's/^ERROR:  //p'
            s 'SELECT pg_promote()' > /dev/null
            s 'SELECT count(*) FROM v'
            """));
}

[Collection(On13.Name)]
public sealed class TargetFacts13(FactServers13 servers) : TargetFacts(servers);

[Collection(On15.Name)]
public sealed class TargetFacts15(FactServers15 servers) : TargetFacts(servers);

[Collection(On17.Name)]
public sealed class TargetFacts17(FactServers17 servers) : TargetFacts(servers);
