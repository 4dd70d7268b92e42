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
            p 'DROP TABLE IF EXISTS a, b; CREATE TABLE a (i int); CREATE TABLE b (i int)'; p 'VACUUM FULL b'
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
    public void A_TRUNCATE_removes_a_file_and_drops_no_statistics() => Assert.Equal(
        ["rels: 1", "dropped stats of it: 0", "a new file: 1"],
        Fact("""
            p 'DROP TABLE IF EXISTS a; CREATE TABLE a AS SELECT 1 AS i'
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
            p 'DROP TABLE IF EXISTS a; CREATE TABLE a (i int)'
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
            p 'DROP TABLE IF EXISTS a; CREATE TABLE a (i int)'
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
            p 'DROP TABLE IF EXISTS a; CREATE TABLE a (i int); DROP TABLE a'
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
    public void An_archive_library_is_there_from_15_on_and_beside_a_command_it_is_an_error_from_16_on() => Assert.Equal(
        servers.Major switch { 13 => ["no library"], 15 => ["command ignored, library works: ok"], _ => ["refused"] },
        Fact("""
            if [ $V -lt 15 ]; then p "SELECT 'no library' WHERE NOT EXISTS (SELECT FROM pg_settings WHERE name = 'archive_library')"; exit; fi
            as mkdir -p $D/lib
            stop_all() { as $B/pg_ctl -D $D/third -s -m immediate stop 2>/dev/null || true; rm -rf $D/third; }
            rm -rf $D/third; as cp -a $D/primary $D/third; rm -f $D/third/postmaster.pid; trap stop_all EXIT
            printf '%s\n' 'port = 6003' 'archive_mode = on' "archive_command = 'touch $D/lib/by_command'" "archive_library = 'basic_archive'" "basic_archive.archive_directory = '$D/lib'" >> $D/third/postgresql.conf
            as $B/pg_ctl -D $D/third -s -w -t 20 -l $D/third.log start || true
            psql3() { as psql -XAtq -h $D -p 6003 -d postgres -c "$1"; }
            psql3 "SELECT pg_logical_emit_message(false, 'x', 'y'); SELECT pg_switch_wal()" > /dev/null 2>&1 || true
            n=0; while [ ! -e $D/lib/by_command ] && [ -z "$(ls $D/lib)" ] && ! grep -q 'both' $D/third.log && [ $n -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
            grep -q '"archive_command" and "archive_library"\|both archive_command and archive_library\|archive_command and archive_library' $D/third.log && echo refused || { [ ! -e $D/lib/by_command ] && echo 'command ignored, library works: ok'; }
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
