using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Facts;

/// <summary>What the delay of a standby holds back, and what a pause does and forgets.</summary>
public abstract class DelayFacts(FactServers servers)
{
    private string[] Fact(string script) => servers.Fact(script);

    [LabFact]
    public void The_delay_holds_back_COMMITs_only_so_a_DROP_after_a_quiet_time_locks_its_table_at_once() => Assert.Equal(
        ["still there: 1", "replayed the lock: t", "waits in RecoveryApplyDelay", "canceling statement due to lock timeout"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 1 AS i'
            standby "recovery_min_apply_delay = '1h'"
            before=$(p 'SELECT pg_current_wal_lsn()')
            p 'DROP TABLE t'
            arrived
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            echo "still there: $(s "SELECT count(*) FROM pg_class WHERE relname = 't'")"
            lock=$(wal $before -r Standby -n 20 | sed -n 's/.*lsn: \([^,]*\),.*LOCK xid.*/\1/p' | head -n 1)
            echo "replayed the lock: $(s "SELECT pg_last_wal_replay_lsn() > '$lock'")"
            echo "waits in $(waits)"
            s "SET lock_timeout = '100ms'; SELECT * FROM t" 2>&1 | sed -n 's/^ERROR:  //p'
            """));

    [LabFact]
    public void A_pause_is_forgotten_by_a_crash_and_the_raised_delay_is_not() => Assert.Equal(
        ["paused: t", "paused after the crash: f", "applied after the crash: 0", "applied after the resume: 0", "in the end: 1"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'"
            p 'INSERT INTO t VALUES (1)'; arrived
            s 'SELECT pg_wal_replay_pause()'
            set_standby 'recovery_min_apply_delay = 2147483647'; reload
            echo "paused: $(s 'SELECT pg_is_wal_replay_paused()')"
            kill -9 $(head -n 1 $S/postmaster.pid)
            until_ sh -c "[ -z \"\$(pgrep -f 'postgres.*startup' | while read -r x; do readlink /proc/\$x/cwd; done | grep -x $S)\" ] && echo t"
            sleep 0.3; start
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            echo "paused after the crash: $(s 'SELECT pg_is_wal_replay_paused()')"
            echo "applied after the crash: $(s 'SELECT count(*) FROM t')"
            s 'SELECT pg_wal_replay_pause()'
            set_standby "recovery_min_apply_delay = '1h'"; reload
            until_ s "SELECT setting = '3600000' FROM pg_settings WHERE name = 'recovery_min_apply_delay'"
            s 'SELECT pg_wal_replay_resume()'; sleep 0.3
            echo "applied after the resume: $(s 'SELECT count(*) FROM t')"
            set_standby 'recovery_min_apply_delay = 0'; reload
            until_ s 'SELECT count(*) = 1 FROM t'
            echo "in the end: $(s 'SELECT count(*) FROM t')"
            """));

    [LabFact]
    public void A_delay_that_was_lowered_during_a_pause_lets_the_record_through_at_the_resume() => Assert.Equal(
        ["0", "1"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'"
            p 'INSERT INTO t VALUES (1)'; arrived
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            s 'SELECT pg_wal_replay_pause()'
            set_standby 'recovery_min_apply_delay = 0'; reload
            until_ s "SELECT wait_event = 'RecoveryPause' FROM pg_stat_activity WHERE backend_type = 'startup'"
            set_standby "recovery_min_apply_delay = '1h'"; reload
            until_ s "SELECT setting = '3600000' FROM pg_settings WHERE name = 'recovery_min_apply_delay'"
            s 'SELECT count(*) FROM t'
            s 'SELECT pg_wal_replay_resume()'
            until_ s 'SELECT count(*) = 1 FROM t'
            s 'SELECT count(*) FROM t'
            """));

    [LabFact]
    public void A_pause_that_was_asked_for_in_the_delay_is_told_by_its_state_from_14_on_and_by_the_wait_before() => Assert.Equal(
        [servers.Major >= 14 ? "pause requested" : "no such function", "RecoveryApplyDelay"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'"
            p 'INSERT INTO t VALUES (1)'; arrived
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            s 'SELECT pg_wal_replay_pause()'
            s 'SELECT pg_get_wal_replay_pause_state()' 2>/dev/null || echo 'no such function'
            waits
            """));

    [LabFact]
    public void A_pause_without_anything_to_apply_stops_the_startup_process_itself() => Assert.Equal(
        ["RecoveryPause"],
        Fact("""
            standby 'recovery_min_apply_delay = 0'
            s 'SELECT pg_wal_replay_pause()'
            p 'CREATE TABLE IF NOT EXISTS u (i int); INSERT INTO u VALUES (1)'
            until_ s "SELECT wait_event = 'RecoveryPause' FROM pg_stat_activity WHERE backend_type = 'startup'"
            waits
            """));

    [LabFact]
    public void The_largest_delay_is_an_int_of_milliseconds_and_a_running_wait_notices_a_new_one_at_once() => Assert.Equal(
        ["2147483647 ms", "refused", "applied"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby 'recovery_min_apply_delay = 2147483647'
            s "SELECT max_val || ' ' || unit FROM pg_settings WHERE name = 'recovery_min_apply_delay'"
            s 'ALTER SYSTEM SET recovery_min_apply_delay = 2147483648' 2>/dev/null || echo refused
            p 'INSERT INTO t VALUES (1)'; arrived
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            set_standby "recovery_min_apply_delay = '10ms'"; reload
            until_ s 'SELECT count(*) = 1 FROM t'
            echo applied
            """));

    [LabFact]
    public void A_target_needs_a_restart_a_restore_command_a_reload_from_14_on_and_the_primarys_address_only_a_reload() => Assert.Equal(
        ["primary_conninfo sighup", servers.Major >= 14 ? "restore_command sighup" : "restore_command postmaster", "recovery_min_apply_delay sighup", "recovery_target_lsn postmaster"],
        Fact("""
            p "SELECT name || ' ' || context FROM pg_settings WHERE name IN ('recovery_target_lsn', 'restore_command', 'primary_conninfo', 'recovery_min_apply_delay') ORDER BY array_position(ARRAY['primary_conninfo', 'restore_command', 'recovery_min_apply_delay'], name)"
            """));

    [LabFact]
    public void Any_assigned_transaction_id_writes_a_COMMIT_which_is_what_a_heartbeat_is() => Assert.Equal(
        ["1"],
        Fact("""
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'SELECT pg_current_xact_id()' > /dev/null
            sleep 0.3
            wal $from -r Transaction | grep -c COMMIT
            """));

    [LabFact]
    public void After_a_restart_a_delayed_standby_does_not_stream_until_it_has_applied_what_it_has() => Assert.Equal(
        ["streaming before", "no receiver after, delayed in RecoveryApplyDelay", "back before the position: f"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'"
            p 'INSERT INTO t VALUES (1)'; arrived
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            was=$(s 'SELECT pg_last_wal_replay_lsn()')
            echo "$(s 'SELECT status FROM pg_stat_wal_receiver') before"
            restart
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            echo "$(s "SELECT CASE count(*) WHEN 0 THEN 'no receiver' ELSE 'a receiver' END FROM pg_stat_wal_receiver") after, delayed in $(waits)"
            echo "back before the position: $(s "SELECT pg_last_wal_replay_lsn() < '$was'")"
            """));

    [LabFact]
    public void A_promotion_of_a_delayed_standby_replays_all_that_it_has_held_back() => Assert.Equal(
        ["held back", "the table is gone"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'"
            p 'DROP TABLE t'; arrived
            [ "$(s "SELECT count(*) FROM pg_class WHERE relname = 't'")" = 1 ] && echo 'held back'
            s 'SELECT pg_promote()' > /dev/null
            [ "$(s "SELECT count(*) FROM pg_class WHERE relname = 't'")" = 0 ] && echo 'the table is gone'
            """));

    [LabFact]
    public void The_files_of_a_dropped_database_go_at_once_unless_an_earlier_COMMIT_is_held_back() => Assert.Equal(
        ["one: gone, still in the catalog: 1", "two: there"],
        Fact("""
            p 'DROP DATABASE IF EXISTS one'; p 'DROP DATABASE IF EXISTS two'; p 'CREATE DATABASE one'; p 'CREATE DATABASE two'
            one=$(p "SELECT oid FROM pg_database WHERE datname = 'one'") two=$(p "SELECT oid FROM pg_database WHERE datname = 'two'")
            standby "recovery_min_apply_delay = '1h'"
            p 'DROP DATABASE one'
            until_ sh -c "[ -e $S/base/$one ] || echo t"
            echo "one: gone, still in the catalog: $(s "SELECT count(*) FROM pg_database WHERE datname = 'one'")"
            p 'DROP DATABASE two'; arrived
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            [ -e $S/base/$two ] && echo 'two: there'
            """));

    [LabFact]
    public void WAL_that_is_held_back_stays_in_pg_wal_whatever_the_restartpoints_remove() => Assert.Equal(
        ["removed before it: yes", "missing after it: 0"],
        Fact("""
            p 'DROP TABLE IF EXISTS t; CREATE TABLE t (i int)'
            standby "recovery_min_apply_delay = '1h'" 'wal_keep_size = 0' 'min_wal_size = 32MB' 'wal_recycle = off'
            # A segment without a record in it is not switched.
            first=$(p "SELECT pg_walfile_name(pg_create_restore_point('x'))")
            p 'SELECT pg_switch_wal()' > /dev/null; p 'CHECKPOINT'; arrived
            until_ s "SELECT pg_last_wal_replay_lsn() >= '$(p 'SELECT pg_current_wal_lsn()')'"
            for i in 1 2 3; do p "INSERT INTO t VALUES ($i)"; p 'SELECT pg_switch_wal()' > /dev/null; done
            p 'INSERT INTO t VALUES (4)'; arrived
            s 'CHECKPOINT'
            [ -e $S/pg_wal/$first ] || echo 'removed before it: yes'
            redo=$(as $B/pg_controldata -D $S | sed -n "s/^Latest checkpoint's REDO WAL file: *//p")
            echo "missing after it: $(p "SELECT name FROM pg_ls_waldir() WHERE name BETWEEN '$redo' AND pg_walfile_name('$(s 'SELECT pg_last_wal_receive_lsn()')')" | while read -r name; do [ -e $S/pg_wal/$name ] || echo "$name"; done | wc -l)"
            """));

    [LabFact]
    public void Settings_lower_than_the_primarys_stop_replay_from_14_on_and_the_server_before_and_no_such_standby_starts() => Assert.Equal(
        servers.Major >= 14 ? ["paused: paused", "ended by the resume", "did not start", "said: insufficient"] : ["ended", "did not start", "said: insufficient"],
        Fact("""
            standby 'recovery_min_apply_delay = 0' 'max_connections = 20'
            trap 'sed -i "s/^max_connections = .*/max_connections = 20/" $D/primary/postgresql.conf; as $B/pg_ctl -D $D/primary -s -w -l $D/primary.log restart' EXIT
            sed -i 's/^max_connections = .*/max_connections = 40/' $D/primary/postgresql.conf
            as $B/pg_ctl -D $D/primary -s -w -l $D/primary.log restart
            if [ $V -ge 14 ]; then
              until_ s "SELECT pg_get_wal_replay_pause_state() = 'paused'"
              echo "paused: $(s 'SELECT pg_get_wal_replay_pause_state()')"
              s 'SELECT pg_wal_replay_resume()'; said_ended='ended by the resume'
            else
              said_ended=ended
            fi
            until_ gone
            echo "$said_ended"
            stop_standby fast
            start 2>/dev/null || echo 'did not start'
            said 'insufficient parameter settings|hot standby is not possible because' insufficient
            """));
}

[Collection(On13.Name)]
public sealed class DelayFacts13(FactServers13 servers) : DelayFacts(servers);

[Collection(On15.Name)]
public sealed class DelayFacts15(FactServers15 servers) : DelayFacts(servers);

[Collection(On17.Name)]
public sealed class DelayFacts17(FactServers17 servers) : DelayFacts(servers);
