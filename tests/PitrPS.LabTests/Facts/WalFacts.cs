using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Facts;

/// <summary>What the WAL says of changes, as pg_waldump prints it, and how archiving is set.</summary>
public abstract class WalFacts(FactServers servers)
{
    private string[] Fact(string script) => servers.Fact(script);

    [LabFact]
    public void A_DROP_in_a_savepoint_has_its_LOCK_under_the_subtransaction_and_its_file_in_the_COMMIT() => Assert.Equal(
        ["LOCK names the oid: 1", "COMMIT names the file: 1", "COMMIT names the subtransaction: 1", servers.Major >= 15 ? "dropped stats: 1" : "dropped stats: 0"],
        Fact("""
            p 'DROP TABLE IF EXISTS a, b CASCADE; CREATE TABLE a (i int); CREATE TABLE b (i int)'; p 'VACUUM FULL b'
            oid=$(p "SELECT 'b'::regclass::oid"); file=$(p "SELECT pg_relation_filepath('b')")
            [ "$oid" != "${file##*/}" ] || exit 1
            from=$(p 'SELECT pg_current_wal_lsn()')
            as psql -XAtq -h $D -p 6001 -d postgres <<'SQL'
            BEGIN; INSERT INTO a VALUES (1); SAVEPOINT s; DROP TABLE b; RELEASE s; COMMIT;
            SQL
            wal $from > $D/wal; chmod 644 $D/wal
            sub=$(sed -n "s/.*desc: LOCK xid \([0-9]*\) db [0-9]* rel $oid .*/\1/p" $D/wal | head -n 1)
            echo "LOCK names the oid: $(grep -c "rmgr: Standby .*tx: *$sub, .*LOCK xid $sub db [0-9]* rel $oid " $D/wal)"
            echo "COMMIT names the file: $(grep -c "desc: COMMIT .*; rels: $file\(;\| \|$\)" $D/wal)"
            echo "COMMIT names the subtransaction: $(grep -c "desc: COMMIT .*; subxacts: $sub\(;\|$\)" $D/wal)"
            echo "dropped stats: $(grep -c "desc: COMMIT .*; dropped stats: 2/[0-9]*/$oid\(;\|$\)" $D/wal || true)"
            """));

    [LabFact]
    public void A_snapshot_says_that_a_transaction_has_too_many_subtransactions_and_a_change_of_settings_names_them() => Assert.Equal(
        ["overflowed: yes", "max_connections=20 max_worker_processes=8 max_wal_senders=10 max_prepared_xacts=5 max_locks_per_xact=64 wal_level=replica", servers.Major >= 15 ? "physical" : "no such command"],
        Fact("""
            p 'DROP TABLE IF EXISTS a CASCADE; CREATE TABLE a (i int)'
            from=$(p 'SELECT pg_current_wal_lsn()')
            { echo 'BEGIN;'; for i in $(seq 70); do echo "SAVEPOINT s$i; INSERT INTO a VALUES ($i);"; done; echo 'SELECT pg_sleep(2); COMMIT;'; } | as psql -XAtq -h $D -p 6001 -d postgres > /dev/null &
            sleep 1; p 'CHECKPOINT'; wait
            wal $from -r Standby | grep -q 'RUNNING_XACTS nextXid [0-9]* latestCompletedXid [0-9]* oldestRunningXid [0-9]*; 1 xacts: .*; subxid ov' && echo 'overflowed: yes'
            from=$(p 'SELECT pg_current_wal_lsn()'); as $B/pg_ctl -D $D/primary -s -w -m fast stop; echo 'wal_log_hints = on' >> $D/primary/postgresql.conf; as $B/pg_ctl -D $D/primary -s -w -l $D/primary.log start
            wal $from -r XLOG | sed -n 's/.* desc: PARAMETER_CHANGE \(.*\) wal_log_hints=on .*/\1/p'
            p "SELECT pg_create_physical_replication_slot('kept', true)" > /dev/null
            as psql -XAtq -d "host=$D port=6001 replication=true" -c 'READ_REPLICATION_SLOT kept' 2>/dev/null | sed -n 's/^physical|[0-9A-F]*\/[0-9A-F]*|1$/physical/p' | grep . || echo 'no such command'
            p "SELECT pg_drop_replication_slot('kept')" > /dev/null
            """));

    [LabFact]
    public void A_TRUNCATE_removes_a_file_and_drops_no_statistics() => Assert.Equal(
        ["rels: 1", "dropped stats of it: 0", "a new file: 1"],
        Fact("""
            p 'DROP TABLE IF EXISTS a CASCADE; CREATE TABLE a AS SELECT 1 AS i'
            oid=$(p "SELECT 'a'::regclass::oid"); file=$(p "SELECT pg_relation_filepath('a')")
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'TRUNCATE a'
            new=$(p "SELECT pg_relation_filepath('a')")
            wal $from > $D/wal
            echo "rels: $(grep -c "desc: COMMIT .*; rels: .*$file" $D/wal)"
            echo "dropped stats of it: $(grep -c "dropped stats: .*2/[0-9]*/$oid\b" $D/wal || true)"
            echo "a new file: $(grep -c "rmgr: Storage .*CREATE $new" $D/wal)"
            """));

    [LabFact]
    public void What_rewrites_a_relation_drops_the_statistics_of_transient_ones_only() => Assert.Equal(
        ["old files: 2", "dropped stats of them: 0", servers.Major >= 15 ? "of others: yes" : "of others: no"],
        Fact("""
            p 'DROP TABLE IF EXISTS a CASCADE; CREATE TABLE a AS SELECT 1 AS i; CREATE MATERIALIZED VIEW m AS SELECT * FROM a'
            oids=$(p "SELECT 'a'::regclass::oid || '|' || 'm'::regclass::oid"); files=$(p "SELECT pg_relation_filepath('a') || '|' || pg_relation_filepath('m')")
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'VACUUM FULL a'; p 'REFRESH MATERIALIZED VIEW m'
            wal $from -r Transaction > $D/wal
            echo "old files: $(grep -cE "desc: COMMIT .*; rels: .*($files)\b" $D/wal)"
            echo "dropped stats of them: $(grep -cE "dropped stats: .*2/[0-9]*/($oids)\b" $D/wal || true)"
            grep -q 'dropped stats: .*2/' $D/wal && echo 'of others: yes' || echo 'of others: no'
            """));

    [LabFact]
    public void What_a_switch_leaves_of_a_segment_is_nearly_all_zeros() => Assert.Equal(
        ["zeros: yes"],
        Fact("""
            p 'SELECT pg_current_xact_id()' > /dev/null
            segment=$(p 'SELECT pg_walfile_name(pg_switch_wal())')
            [ "$(tail -c 4194304 $D/primary/pg_wal/$segment | tr -d '\000' | wc -c)" -lt 41943 ] && echo 'zeros: yes'
            """));

    [LabFact]
    public void A_tablespace_is_an_absolute_link_so_a_layer_over_the_data_directory_does_not_cover_it() => Assert.Equal(
        ["/var/lib/postgresql/facts/space"],
        Fact("""
            as mkdir -p $D/space
            p "CREATE TABLESPACE space LOCATION '$D/space'"
            readlink $D/primary/pg_tblspc/*
            p 'DROP TABLESPACE space'
            """));

    [LabFact]
    public void A_transaction_that_was_rolled_back_names_files_too() => Assert.Equal(
        ["ABORT: 1", "COMMIT: 0"],
        Fact("""
            from=$(p 'SELECT pg_current_wal_lsn()')
            as psql -XAtq -h $D -p 6001 -d postgres -c 'BEGIN; CREATE TABLE never (i int); ROLLBACK'
            p 'CHECKPOINT'
            wal $from -r Transaction > $D/wal
            echo "ABORT: $(grep -c 'desc: ABORT .*; rels: ' $D/wal)"
            echo "COMMIT: $(grep -c 'desc: COMMIT .*; rels: ' $D/wal || true)"
            """));

    [LabFact]
    public void Locks_that_are_held_are_repeated_by_the_snapshots_of_a_standby_under_no_transaction() => Assert.Equal(
        ["repeated: yes"],
        Fact("""
            p 'DROP TABLE IF EXISTS a CASCADE; CREATE TABLE a (i int)'
            oid=$(p "SELECT 'a'::regclass::oid")
            from=$(p 'SELECT pg_current_wal_lsn()')
            as psql -XAtq -h $D -p 6001 -d postgres -c 'BEGIN; DROP TABLE a; CHECKPOINT' > /dev/null 2>&1 &
            as psql -XAtq -h $D -p 6001 -d postgres -c 'BEGIN' -c 'DROP TABLE a' -c 'SELECT pg_sleep(1)' -c 'ROLLBACK' > /dev/null &
            sleep 0.5; p 'CHECKPOINT'; wait
            wal $from -r Standby > $D/wal
            grep -q "tx: *0, .*LOCK .*xid [0-9]* db [0-9]* rel $oid" $D/wal && echo 'repeated: yes'
            """));

    [LabFact]
    public void A_COMMIT_PREPARED_carries_the_files_and_the_transaction_that_it_commits() => Assert.Equal(
        ["1"],
        Fact("""
            p 'DROP TABLE IF EXISTS a CASCADE; CREATE TABLE a (i int)'
            file=$(p "SELECT pg_relation_filepath('a')")
            from=$(p 'SELECT pg_current_wal_lsn()')
            p "BEGIN; DROP TABLE a; PREPARE TRANSACTION 'one'"; p "COMMIT PREPARED 'one'"
            wal $from -r Transaction | grep -cE "desc: COMMIT_PREPARED [0-9]+: .*; rels: .*$file"
            """));

    [LabFact]
    public void pg_waldump_honours_every_manager_from_14_on_and_only_the_last_one_before() => Assert.Equal(
        [servers.Major >= 14 ? "Standby Transaction" : "Transaction"],
        Fact("""
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'DROP TABLE IF EXISTS a CASCADE; CREATE TABLE a (i int); DROP TABLE a'
            wal $from -r Standby -r Transaction | awk '$1 == "rmgr:" { print $2 }' | sort -u | paste -sd ' '
            """));

    [LabFact]
    public void A_full_page_image_says_how_it_is_compressed_from_15_on() => Assert.Equal(
        [servers.Major >= 15 ? "1" : "0"],
        Fact("p \"SELECT count(*) FROM pg_settings WHERE name = 'wal_compression' AND vartype = 'enum'\""));

    [LabFact]
    public void A_relations_kind_lies_where_PitrPS_looks_for_it_in_a_row_of_pg_class() => Assert.Equal(
        ["relpersistence,relkind after 114 bytes"],
        Fact("""
            p "SELECT string_agg(attname, ',' ORDER BY attnum) || ' after ' || (SELECT sum(attlen) FROM pg_attribute b WHERE b.attrelid = 'pg_class'::regclass AND b.attnum > 0 AND b.attnum < min(a.attnum)) || ' bytes' FROM pg_attribute a WHERE attrelid = 'pg_class'::regclass AND attname IN ('relpersistence', 'relkind')"
            """));

    [LabFact]
    public void The_archiver_counts_what_a_command_claims_and_a_library_goes_before_it_on_15_and_is_an_error_beside_it_from_16_on() => Assert.Equal(
        ["counted: t", servers.Major switch { 13 => "no library", 15 => "command ignored, library works: ok", _ => "refused" }],
        Fact("""
            as mkdir -p $D/lib
            stop_all() { as $B/pg_ctl -D $D/third -s -m immediate stop 2>/dev/null || true; rm -rf $D/third; }
            rm -rf $D/third; as cp -a $D/primary $D/third; rm -f $D/third/postmaster.pid; trap stop_all EXIT
            printf '%s\n' 'port = 6003' 'archive_mode = on' "archive_command = 'true'" >> $D/third/postgresql.conf
            as $B/pg_ctl -D $D/third -s -w -t 20 -l $D/third.log start || true
            psql3() { as psql -XAtq -h $D -p 6003 -d postgres -c "$1"; }
            switch() { psql3 "SELECT pg_current_xact_id()" > /dev/null; psql3 'SELECT pg_switch_wal()' > /dev/null 2>&1 || true; }
            switch
            until_ psql3 'SELECT archived_count > 0 FROM pg_stat_archiver'
            echo "counted: $(psql3 'SELECT archived_count > 0 FROM pg_stat_archiver')"
            if [ $V -lt 15 ]; then p "SELECT 'no library' WHERE NOT EXISTS (SELECT FROM pg_settings WHERE name = 'archive_library')"; exit; fi
            printf '%s\n' "archive_command = 'touch $D/lib/by_command'" "archive_library = 'basic_archive'" "basic_archive.archive_directory = '$D/lib'" >> $D/third/postgresql.conf
            as $B/pg_ctl -D $D/third -s -w -t 20 -m immediate -l $D/third.log restart || true
            switch
            n=0; while [ -z "$(ls $D/lib)" ] && ! grep -q 'archive_command.* and .*archive_library' $D/third.log && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
            grep -q 'archive_command.* and .*archive_library' $D/third.log && echo refused || { [ ! -e $D/lib/by_command ] && [ -n "$(ls $D/lib)" ] && echo 'command ignored, library works: ok'; }
            """));

    [LabFact]
    public void pg_dump_of_a_table_leaves_out_what_depends_on_it_from_outside() => Assert.Equal(
        ["table: 1", "its index: 1", "the view: 0", "the foreign key: 0"],
        Fact("""
            p 'DROP TABLE IF EXISTS parent, child CASCADE; CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent); CREATE VIEW over AS SELECT id FROM parent'
            as $B/pg_dump -h $D -p 6001 -d postgres -t public.parent > $D/dump
            echo "table: $(grep -c 'CREATE TABLE public.parent' $D/dump)"
            echo "its index: $(grep -c 'PRIMARY KEY' $D/dump)"
            echo "the view: $(grep -c 'CREATE VIEW' $D/dump || true)"
            echo "the foreign key: $(grep -c 'FOREIGN KEY' $D/dump || true)"
            """));

    [LabFact]
    public void postgresql_auto_conf_wins_and_of_several_lines_the_last_one_counts() => Assert.Equal(
        ["7min", "it's \\ 'here'"],
        Fact("""
            printf '%s\n' "checkpoint_timeout = '5min'" "checkpoint_timeout = '6min'" "log_line_prefix = 'it''s \\\\ ''here'''" >> $D/primary/postgresql.conf
            p "ALTER SYSTEM SET checkpoint_timeout = '7min'"
            as $B/pg_ctl -D $D/primary -s reload
            until_ p "SELECT setting = '420' FROM pg_settings WHERE name = 'checkpoint_timeout'"
            p 'SHOW checkpoint_timeout'; p 'SHOW log_line_prefix'
            p 'ALTER SYSTEM RESET checkpoint_timeout'
            """));
}

[Collection(On13.Name)]
public sealed class WalFacts13(FactServers13 servers) : WalFacts(servers);

[Collection(On15.Name)]
public sealed class WalFacts15(FactServers15 servers) : WalFacts(servers);

[Collection(On17.Name)]
public sealed class WalFacts17(FactServers17 servers) : WalFacts(servers);
