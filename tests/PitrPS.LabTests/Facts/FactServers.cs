using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Facts;

/// <summary>
/// A primary on one host and, for each fact, a standby of it beside it, both without PitrPS: what PostgreSQL itself does, on each major version.
/// A fact is a POSIX shell script; these functions are there for it:
/// <code>
/// p SQL          asks the primary                        s SQL            asks the standby
/// standby SETTING...   a new standby with these lines in its configuration, streaming
/// set_standby SETTING...   other values for them, without a reload       reload, restart
/// arrived        waits until the standby has received all WAL
/// until_ WHAT    waits until a command prints t          until_ gone      waits until the standby has ended
/// recover SETTING...   stops the standby and starts it with recovery.signal and these lines; its log is $D/standby.log
/// wal FROM OPTION...   pg_waldump of the primary from a position on
/// </code>
/// </summary>
public abstract class FactServers : IDisposable
{
    private const string Functions =
        """
        set -eu
        cd /
        D=/var/lib/postgresql/facts S=$D/standby
        as() { runuser -u postgres -- "$@"; }
        p() { as psql -XAtq -v ON_ERROR_STOP=1 -h $D -p 6001 -d postgres -c "$1"; }
        s() { as psql -XAtq -v ON_ERROR_STOP=1 -h $D -p 6002 -d postgres -c "$1"; }
        until_() { n=0; while [ "$("$@" 2>/dev/null || true)" != t ]; do n=$((n + 1)); [ $n -lt 300 ] || { echo "in vain: $*" >&2; tail -n 20 $D/standby.log >&2; exit 1; }; sleep 0.05; done; }
        stop_standby() { [ ! -f $S/postmaster.pid ] || as $B/pg_ctl -D $S -s -w -m "${1:-immediate}" stop || true; }
        set_standby() { as cp $D/base.conf $S/own.conf; for line; do echo "$line" >> $S/own.conf; done; }
        start() { as $B/pg_ctl -D $S -s -w -t 30 -l $D/standby.log start; }
        restart() { stop_standby fast; start; }
        reload() { as $B/pg_ctl -D $S -s reload; }
        arrived() { at=$(p 'SELECT pg_current_wal_flush_lsn()'); until_ s "SELECT coalesce(pg_last_wal_receive_lsn() >= '$at', false)"; }
        standby() {
          stop_standby; rm -rf $S $D/standby.log
          as $B/pg_basebackup -h $D -p 6001 -D $S -c fast -X stream --no-sync
          echo "include 'own.conf'" >> $S/postgresql.conf; as touch $S/standby.signal
          set_standby "$@"; start
          until_ s "SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        }
        recover() { stop_standby fast; rm -f $S/standby.signal $D/standby.log; as touch $S/recovery.signal; set_standby "primary_conninfo = ''" "restore_command = 'false'" "$@"; as $B/pg_ctl -D $S -s -w -t 30 -l $D/standby.log start || echo 'did not start'; }
        gone() { [ -f $S/postmaster.pid ] || echo t; }
        said() { grep -qE "$1" $D/standby.log && echo "said: $2" || { echo "never said: $2"; cat $D/standby.log; }; }
        wal() { from=$1; shift; as $B/pg_waldump -p $D/primary/pg_wal -s "$from" "$@" 2>/dev/null || true; }
        waits() { s "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'"; }

        """;

    private const string Begin =
        """
        as mkdir -m 700 $D
        as $B/initdb -D $D/primary --no-locale -E UTF8 -A trust --no-sync > /dev/null
        cat >> $D/primary/postgresql.conf <<CONF
        listen_addresses = ''
        unix_socket_directories = '$D'
        port = 6001
        fsync = off
        autovacuum = off
        shared_buffers = 16MB
        wal_keep_size = 512MB
        max_prepared_transactions = 5
        max_connections = 20
        CONF
        printf '%s\n' 'port = 6002' "primary_conninfo = 'host=$D port=6001'" > $D/base.conf; chown postgres: $D/base.conf
        as $B/pg_ctl -D $D/primary -s -w -l $D/primary.log start
        """;

    private readonly InstalledHosts _hosts;

    private protected FactServers(InstalledHosts hosts)
    {
        _hosts = hosts;
        if (Lab.WhyNot() is null)
        {
            Fact(Begin);
        }
    }

    public int Major => _hosts.Major;

    /// <summary>Runs a fact's script and returns what it printed, without blank lines.</summary>
    public string[] Fact(string script) => _hosts.Lab.Shell(Lab.Standby, $"B={_hosts.Bin} V={Major}\n{Functions}{script}").Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    public void Dispose()
    {
        _hosts.Dispose();
        GC.SuppressFinalize(this);
    }
}

public sealed class FactServers13() : FactServers(new InstalledHosts13());

public sealed class FactServers15() : FactServers(new InstalledHosts());

public sealed class FactServers17() : FactServers(new InstalledHosts17());

/// <summary>The classes of facts of one major share one pair of servers.</summary>
[CollectionDefinition(Name)]
public sealed class On13 : ICollectionFixture<FactServers13>
{
    public const string Name = "PostgreSQL 13";
}

/// <inheritdoc cref="On13"/>
[CollectionDefinition(Name)]
public sealed class On15 : ICollectionFixture<FactServers15>
{
    public const string Name = "PostgreSQL 15";
}

/// <inheritdoc cref="On13"/>
[CollectionDefinition(Name)]
public sealed class On17 : ICollectionFixture<FactServers17>
{
    public const string Name = "PostgreSQL 17";
}
