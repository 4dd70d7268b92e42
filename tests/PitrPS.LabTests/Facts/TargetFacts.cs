using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Facts;

/// <summary>How a recovery of a stopped standby's files ends; the sentences of the log are those that PitrPS reads.</summary>
public abstract class TargetFacts(FactServers servers)
{
    // A table of 100 rows, a transaction that writes and drops it, whose COMMIT is at $commit; the standby has received it and holds it back. After it, "later".
    private const string Dropped =
        """
        p 'DROP TABLE IF EXISTS t, o CASCADE; CREATE TABLE t AS SELECT generate_series(1, 100) AS i; CREATE TABLE o (note text)'
        standby "recovery_min_apply_delay = '1h'"
        from=$(p 'SELECT pg_current_wal_lsn()')
        p "BEGIN; INSERT INTO o VALUES ('lost with it'); DROP TABLE t; COMMIT"
        commit=$(wal $from -r Transaction | sed -n 's/.*lsn: \([^,]*\),.*desc: COMMIT .*rels:.*/\1/p' | head -n 1)
        p "INSERT INTO o VALUES ('later')"; arrived

        """;

    private string[] Fact(string script) => servers.Fact(script);

    [LabFact]
    public void Stopping_just_before_the_COMMIT_and_promoting_rolls_the_DROP_back() => Assert.Equal(
        ["said: stopping", "said: timeline", "recovering: f", "rows: 100", "of the others: 0", "no signal file", "read-only: off",
            "first page of timeline 1", "read as timeline 1: 0", "read as timeline 2: 1"],
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
            # The new timeline's first segment is its ancestor's, up to where it begins.
            segment=$(s 'SELECT pg_walfile_name(pg_current_wal_lsn())')
            echo "first page of timeline $(od -An -tu4 -j4 -N4 $S/pg_wal/$segment | tr -d ' ')"
            # A restore point does not wait until it is written; a COMMIT does.
            s "SELECT pg_create_restore_point('on the new one')" > /dev/null; s 'CREATE TABLE written ()'
            for timeline in 1 2; do echo "read as timeline $timeline: $(as $B/pg_waldump -p $S/pg_wal -t $timeline -s $from -r XLOG 2>/dev/null | grep -c 'RESTORE_POINT on the new one' || true)"; done
            """));

    [LabFact]
    public void A_target_is_inclusive_unless_it_is_told_otherwise() => Assert.Equal(
        ["on latest", "said: stopping after", "rows: gone"],
        Fact(Dropped + """
            p "SELECT string_agg(boot_val, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('recovery_target_inclusive', 'recovery_target_timeline')"
            recover "recovery_target_lsn = '$commit'" 'recovery_target_action = promote' 'recovery_target_timeline = 1'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            said 'recovery stopping after WAL location' 'stopping after'
            echo "rows: $(s 'SELECT count(*) FROM t' 2>/dev/null || echo gone)"
            """));

    [LabFact]
    public void A_restore_point_is_applied_whatever_inclusive_says_and_immediate_stops_where_the_files_are_consistent() => Assert.Equal(
        ["said: point", "said: consistent", "of the others: 0"],
        Fact(Dropped + """
            # Nobody waits until a restore point is on the disk, and so is sent; a COMMIT brings it there.
            p "SELECT pg_create_restore_point('here')" > /dev/null; p "INSERT INTO o VALUES ('after it')"; arrived
            recover "recovery_target_name = 'here'" 'recovery_target_inclusive = off' 'recovery_target_action = promote'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            said 'recovery stopping at restore point "here", time' point
            standby "recovery_min_apply_delay = '1h'"
            p "INSERT INTO o VALUES ('waits')"; arrived; before=$(s 'SELECT count(*) FROM o')
            recover "recovery_target = 'immediate'" 'recovery_target_action = promote'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            said 'recovery stopping after reaching consistency' consistent
            echo "of the others: $(( $(s 'SELECT count(*) FROM o') - before ))"
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
        ["ended", "said: too little"],
        Fact(Dropped + """
            recover "recovery_target_lsn = 'F/0'" 'recovery_target_action = promote' > /dev/null 2>&1
            until_ gone; echo ended
            said 'FATAL:  recovery ended before configured recovery target was reached' 'too little'
            """));

    [LabFact]
    public void Two_targets_are_refused_also_when_the_second_is_empty() => Assert.Equal(
        ["did not start", "said: two", "did not start", "said: two"],
        Fact(Dropped + """
            for second in x ''; do
              recover "recovery_target_lsn = '$commit'" "recovery_target_name = '$second'" 2>/dev/null
              said 'multiple recovery targets specified' two
            done
            """));

    [LabFact]
    public void A_transaction_that_has_passed_a_subtransaction_and_a_time_after_the_last_COMMIT_are_never_reached() => Assert.Equal(
        ["passed: ended", "said: never", "sub: ended", "said: never", "time: ended", "said: never"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            passed=$(p 'SELECT pg_current_xact_id()')
            standby "recovery_min_apply_delay = '1h'"
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s; INSERT INTO t VALUES (2); COMMIT'; arrived
            sub=$(wal $from -r Transaction | sed -n 's/.*desc: COMMIT .*subxacts: \([0-9]*\).*/\1/p' | head -n 1)
            for target in "passed xid $passed" "sub xid $sub" 'time time 2099-01-01'; do
              set -- $target
              recover "recovery_target_$2 = '$3'" 'recovery_target_action = promote' 'recovery_min_apply_delay = 0' > /dev/null 2>&1
              until_ gone; echo "$1: ended"
              said 'FATAL:  recovery ended before configured recovery target was reached' never
            done
            """));

    [LabFact]
    public void In_place_the_table_is_locked_before_the_COMMIT_and_not_before_the_LOCK_and_a_resume_at_the_target_promotes() => Assert.Equal(
        ["before the LOCK: 100", "before the COMMIT: canceling statement due to lock timeout", "target out: recovering t, timeline 1, waits in RecoveryApplyDelay", "promoted: t"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT generate_series(1, 100) AS i'
            standby "recovery_min_apply_delay = '1h'"
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'SELECT pg_current_xact_id()' > /dev/null; p 'DROP TABLE t'; p 'SELECT pg_current_xact_id()' > /dev/null; arrived
            lock=$(wal $from -r Standby | sed -n 's/.*lsn: \([^,]*\),.*LOCK xid.*/\1/p' | head -n 1)
            commit=$(wal $from -r Transaction | sed -n 's/.*lsn: \([^,]*\),.*desc: COMMIT .*rels:.*/\1/p' | head -n 1)
            pause_at() {
              stop_standby fast
              set_standby "recovery_target_lsn = '$1'" 'recovery_target_inclusive = off' 'recovery_target_action = pause' 'recovery_min_apply_delay = 0'
              start; until_ s 'SELECT pg_is_wal_replay_paused()'
            }
            pause_at $lock
            echo "before the LOCK: $(s 'SELECT count(*) FROM t')"
            pause_at $commit
            echo "before the COMMIT: $(s "SET lock_timeout = '100ms'; SELECT count(*) FROM t" 2>&1 | sed -n 's/^ERROR:  //p')"
            set_standby "recovery_min_apply_delay = '1h'"; restart
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            echo "target out: recovering $(s 'SELECT pg_is_in_recovery()'), timeline $(s 'SELECT timeline_id FROM pg_control_checkpoint()'), waits in $(waits)"
            pause_at $commit
            s 'SELECT pg_wal_replay_resume()'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            echo "promoted: $(s 'SELECT NOT pg_is_in_recovery()')"
            """));

    [LabFact]
    public void A_promotion_that_a_power_cut_ends_before_its_timeline_stands_starts_without_the_target() => Assert.Equal(
        ["signal gone, timeline 1", "the table is gone, timeline 1"],
        Fact(Dropped + """
            timeline() { as $B/pg_controldata -D $S | sed -n "s/^Latest checkpoint's TimeLineID: *//p"; }
            recover "recovery_target_lsn = '$commit'" 'recovery_target_inclusive = off' 'recovery_target_action = pause' 'recovery_min_apply_delay = 0'
            until_ s 'SELECT pg_is_wal_replay_paused()'
            # The new timeline is in the control file when the checkpoint at the end of recovery is through.
            kill -STOP $(s "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
            s 'SELECT pg_wal_replay_resume()'
            signal_gone() { [ -e $S/recovery.signal ] || echo t; }
            until_ signal_gone; echo "signal gone, timeline $(timeline)"
            read -r server < $S/postmaster.pid; kill -KILL $server $(ps -o pid= --ppid $server)
            no_server() { [ -e /proc/$server ] || echo t; }
            until_ no_server
            start
            echo "the table is $(s "SELECT coalesce(to_regclass('t')::text, 'gone')"), timeline $(timeline)"
            """));

    [LabFact]
    public void Where_nobody_can_read_at_the_target_to_pause_there_is_to_promote() => Assert.Equal(
        ["promoted: t", "asked for: pause"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            # More subtransactions than a snapshot names, open as long as the standby recovers.
            { echo 'BEGIN;'; for i in $(seq 70); do echo "SAVEPOINT s; INSERT INTO t VALUES ($i);"; done; echo 'SELECT pg_sleep(60);'; } | as psql -XAtq -h $D -p 6001 -d postgres > /dev/null 2>&1 &
            trap "p \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'\" > /dev/null; wait" EXIT
            until_ p "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            stop_standby; rm -rf $S $D/standby.log
            as $B/pg_basebackup -h $D -p 6001 -D $S -c fast -X stream --no-sync
            echo "include 'own.conf'" >> $S/postgresql.conf; as touch $S/standby.signal
            p 'SELECT pg_current_xact_id()' > /dev/null; stop=$(p 'SELECT pg_current_wal_lsn()'); p 'SELECT pg_current_xact_id()' > /dev/null
            set_standby "recovery_target_lsn = '$stop'" 'recovery_target_action = pause'
            start || true
            until_ s 'SELECT NOT pg_is_in_recovery()'
            echo "promoted: $(s 'SELECT NOT pg_is_in_recovery()')"
            echo "asked for: $(s 'SHOW recovery_target_action')"
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
        ["1: promoted", "200: did not start", "a standby, 1: streams", "a standby, 126: ended"],
        Fact(Dropped + """
            recover "restore_command = 'exit 1'"
            until_ s 'SELECT NOT pg_is_in_recovery()'; echo '1: promoted'
            standby 'recovery_min_apply_delay = 0'
            echo "200: $(recover "restore_command = 'exit 200'" 2>/dev/null)"
            standby "restore_command = 'exit 1'"; echo 'a standby, 1: streams'
            stop_standby fast; set_standby "restore_command = 'exit 126'"; start 2>/dev/null || true
            until_ gone; echo 'a standby, 126: ended'
            """));

    [LabFact]
    public void A_segment_that_is_too_short_ends_a_recovery_and_is_retried_by_a_standby_and_one_that_is_too_long_ends_either() => Assert.Equal(
        ["did not start", "said: size", "the standby runs", "too long, a standby: ended", "said: size"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby 'recovery_min_apply_delay = 0'
            printf 'case $2 in *.history) exit 1 ;; esac; head -c 1000 /dev/zero > "$1"\n' > $D/short.sh
            stop_standby fast; set_standby "primary_conninfo = ''" "restore_command = 'sh $D/short.sh %p %f'"; start
            sleep 0.5; alive=$(s 'SELECT 1')
            recover "restore_command = 'sh $D/short.sh %p %f'" 2>/dev/null
            said 'archive file .* has wrong size: 1000 ' size
            [ "$alive" = 1 ] && echo 'the standby runs'
            standby 'recovery_min_apply_delay = 0'
            sed -i 's/head -c 1000/head -c 16777217/' $D/short.sh; stop_standby fast
            set_standby "primary_conninfo = ''" "restore_command = 'sh $D/short.sh %p %f'"; rm $D/standby.log; start 2>/dev/null || true
            until_ gone; echo 'too long, a standby: ended'
            said 'archive file .* has wrong size: 16777217 ' size
            """));

    [LabFact]
    public void A_segment_of_zeros_is_where_the_WAL_ends_and_without_a_target_the_server_is_promoted_there() => Assert.Equal(
        ["rows: 1"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'"
            p 'INSERT INTO t VALUES (1)'; p 'SELECT pg_switch_wal()' > /dev/null; p 'INSERT INTO t VALUES (2)'; arrived
            second=$(p 'SELECT pg_walfile_name(pg_current_wal_lsn())')
            stop_standby fast; rm $S/pg_wal/$second
            printf "[ \$2 = $second ] || exit 1; head -c 16777216 /dev/zero > \$1\n" > $D/zeros.sh
            recover "restore_command = 'sh $D/zeros.sh %p %f'"
            until_ s 'SELECT NOT pg_is_in_recovery()'
            echo "rows: $(s 'SELECT count(*) FROM t')"
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
