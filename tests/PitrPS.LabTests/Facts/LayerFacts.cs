using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Facts;

/// <summary>A second server on an overlay over a stopped standby's files, by hand: what it sees, what it takes, and what it leaves.</summary>
public abstract class LayerFacts(FactServers servers)
{
    [LabFact]
    public void A_server_on_a_layer_recovers_at_the_same_paths_copies_up_what_it_opens_and_killed_leaves_the_standby_as_it_was() => Assert.Equal(
        [
            "rows: 100, writable: t", "touched by the WAL: whole", "not touched: not in the layer", "once it was read: whole",
            "mounts left: 0", "changed files: 0", "the same position: t", "timeline 1, waits in RecoveryApplyDelay",
        ],
        servers.Fact("""
            p 'DROP TABLE IF EXISTS t, touched, other; CREATE TABLE t AS SELECT generate_series(1, 100) AS i; CREATE TABLE touched AS SELECT generate_series(1, 20000) AS i; CREATE TABLE other AS SELECT * FROM touched'
            touched=$(p "SELECT pg_relation_filepath('touched')") other=$(p "SELECT pg_relation_filepath('other')")
            p 'CHECKPOINT'; standby "recovery_min_apply_delay = '1h'"
            from=$(p 'SELECT pg_current_wal_lsn()')
            p 'UPDATE touched SET i = 0 WHERE i = 1'; p 'DROP TABLE t'; arrived
            commit=$(wal $from -r Transaction | sed -n 's/.*lsn: \([^,]*\),.*desc: COMMIT .*rels:.*/\1/p' | head -n 1)
            was=$(s 'SELECT pg_last_wal_replay_lsn()')
            stop_standby fast
            files() { find $S -printf '%p %s %T@ %C@\n' | sort; }
            files > $D/before
            L=$D/layer; rm -rf $L; mkdir -p $L/upper $L/work $L/merged; chown postgres: $L $L/upper; chmod 700 $L/upper
            cp $D/base.conf $L/own.conf
            printf '%s\n' "primary_conninfo = ''" "restore_command = 'false'" "recovery_target_lsn = '$commit'" 'recovery_target_inclusive = off' 'recovery_target_action = promote' 'recovery_min_apply_delay = 0' 'archive_mode = off' 'wal_recycle = off' >> $L/own.conf
            export B S L D
            unshare -m sh -euc '
              mount --make-rprivate /
              mount -t overlay layer -o lowerdir=$S,upperdir=$L/upper,workdir=$L/work $L/merged
              mount --bind $L/merged $S
              rm $S/standby.signal; runuser -u postgres -- touch $S/recovery.signal; cat $L/own.conf > $S/own.conf
              runuser -u postgres -- $B/pg_ctl -D $S -s -w -t 30 -l $D/layer.log start'
            until_ s 'SELECT NOT pg_is_in_recovery()'
            whole() { [ "$(stat -c %s $L/upper/$1 2>/dev/null)" = "$(stat -c %s $S/$1)" ] && echo whole || echo not in the layer; }
            s 'CREATE TABLE more (i int)'
            echo "rows: $(s 'SELECT count(*) FROM t'), writable: $(s 'SELECT count(*) = 0 FROM more')"
            echo "touched by the WAL: $(whole $touched)"
            echo "not touched: $(whole $other)"
            s 'SELECT count(*) FROM other' > /dev/null
            echo "once it was read: $(whole $other)"
            pid=$(head -n 1 $L/upper/postmaster.pid)
            kill -9 $pid
            until_ sh -c "[ -z \"\$(find /proc/[0-9]*/cwd -lname $S 2>/dev/null)\" ] && echo t"
            echo "mounts left: $(cat /proc/[0-9]*/mounts 2>/dev/null | grep -c '^layer ' || true)"
            rm -rf $L
            files > $D/after
            echo "changed files: $(diff $D/before $D/after | grep -c '^[<>]' || true)"
            start
            until_ s "SELECT wait_event = 'RecoveryApplyDelay' FROM pg_stat_activity WHERE backend_type = 'startup'"
            echo "the same position: $(s "SELECT pg_last_wal_replay_lsn() = '$was'")"
            echo "timeline $(s 'SELECT timeline_id FROM pg_control_checkpoint()'), waits in $(waits)"
            """));
}

[Collection(On13.Name)]
public sealed class LayerFacts13(FactServers13 servers) : LayerFacts(servers);

[Collection(On15.Name)]
public sealed class LayerFacts15(FactServers15 servers) : LayerFacts(servers);

[Collection(On17.Name)]
public sealed class LayerFacts17(FactServers17 servers) : LayerFacts(servers);
