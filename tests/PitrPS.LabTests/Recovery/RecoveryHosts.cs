using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Recovery;

/// <summary>
/// A delayed standby that has streamed, and holds back: a DROP inside a longer transaction of a busy primary, one that was prepared, and a tablespace that was made.
/// </summary>
public sealed class RecoveryHosts : IDisposable
{
    public const string Unit = "postgresql@15-main.service";
    public const string ScratchUnit = "pitrps-scratch-15-main.service";
    public const string Data = "/var/lib/postgresql/15/main";
    public const string Layer = Data + ".pitrps-scratch";

    // pitr_rows is dropped in a savepoint while others commit; "Two Phase" by a transaction that was prepared before.
    private const string Story =
        """
        set -e
        sql() { runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 "$@"; }
        sql -c "CREATE TABLE keep (note text)" -c "INSERT INTO keep VALUES ('before')" \
            -c "CREATE TABLE pitr_rows AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 20000) g" -c "CREATE INDEX ON pitr_rows (v)" \
            -c "CREATE TABLE \"Two Phase\" AS SELECT generate_series(1, 500) AS i" \
            -c "CREATE TABLESPACE space LOCATION '/var/lib/postgresql/space'" -c "CREATE TABLE spaced TABLESPACE space AS SELECT generate_series(1, 300) AS i"
        printf "BEGIN; INSERT INTO keep VALUES ('lost with it'); SAVEPOINT s; DROP TABLE pitr_rows; RELEASE s; SELECT pg_sleep(1); COMMIT;" | sql > /dev/null &
        sleep 0.5
        sql -c "INSERT INTO keep VALUES ('between')"
        wait $!
        sql -c "INSERT INTO keep VALUES ('after')" -c "SELECT pg_create_restore_point('noon break')" > /dev/null
        printf "BEGIN; DROP TABLE \"Two Phase\"; PREPARE TRANSACTION 'it''s two';" | sql
        sql -c "INSERT INTO keep VALUES ('prepared')" -c "COMMIT PREPARED 'it''s two'" -c "INSERT INTO keep VALUES ('last')"
        sql -c "SELECT pg_switch_wal()" > /dev/null
        sql -c "INSERT INTO keep VALUES ('a new segment')"
        """;

    public RecoveryHosts()
    {
        Hosts = new StandbyHosts();
        if (LabIsHere)
        {
            // A standby that waits at a COMMIT since it was started does not stream: so it catches up first, with the settings that the primary gets.
            Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
            foreach (var host in (string[])[Lab.Standby, Lab.Primary])
            {
                Lab.Shell(host, $"install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/space; echo max_prepared_transactions = 7 > /etc/postgresql/15/main/conf.d/90-test.conf; systemctl restart {Unit}");
            }

            Waiting.For("streaming", () => Standby("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
            Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");
            Lab.Shell(Lab.Primary, Story);
            Arrive();
            Position = Standby("SELECT pg_last_wal_replay_lsn()");
            var incident = Hosts.Get("$standby | Find-PgIncident -Table pitr_rows").Single();
            Incident = name => $"{incident.Properties[name].Value}";
        }
    }

    public static bool LabIsHere => Lab.WhyNot() is null;

    public StandbyHosts Hosts { get; }

    public Lab Lab => Hosts.Lab;

    /// <summary>Where the standby stood before the first recovery.</summary>
    public string Position { get; } = "";

    /// <summary>A property of the incident that dropped pitr_rows.</summary>
    public Func<string, string> Incident { get; } = _ => "";

    public string Primary(string sql) => Lab.Psql(Lab.Primary, sql);

    public string Standby(string sql) => Lab.Psql(Lab.Standby, sql);

    public string OnStandby(string script) => Lab.Shell(Lab.Standby, script).TrimEnd('\n');

    /// <summary>Asks the scratch server, on the host, by its socket.</summary>
    public string Scratch(string sql) =>
        OnStandby($"runuser -u postgres -- psql -X -At -v ON_ERROR_STOP=1 -h /run/pitrps-scratch-15-main -p 15432 -d postgres <<'SQL'\nSET lock_timeout = '5s';\n{sql};\nSQL").Replace("SET\n", "", StringComparison.Ordinal);

    /// <summary>All files of the standby by path, size, mtime and ctime.</summary>
    public string Manifest() => OnStandby($"find {Data} /var/lib/postgresql/space -printf '%p %s %T@ %C@\\n' | sort");

    /// <summary>What the unit of the standby does.</summary>
    public string StandbyUnit => OnStandby($"systemctl is-active {Unit} || true");

    public string ScratchUnitState => OnStandby($"systemctl is-active {ScratchUnit} || true");

    /// <summary>Whatever a recovery may leave on the host; empty when nothing is left.</summary>
    public string Leftovers() => OnStandby(
        $"""
        ls -d /var/lib/postgresql/15/*pitrps* /run/pitrps-scratch* /run/systemd/transient/pitrps-scratch* /run/pitrps-clone* /run/systemd/system/pitrps-clone* /etc/systemd/system/pitrps-clone* /etc/systemd/system/*/pitrps-clone* {Data}/recovery.signal {Data}/pitrps* 2>/dev/null
        ls -A /var/lib/pitrps/recoveries /var/lib/pitrps/clones /var/lib/pitrps/operations 2>/dev/null | grep -v :
        systemctl list-units --all --plain --no-legend 'pitrps-scratch*' 'pitrps-clone*'
        cat /proc/[0-9]*/mounts 2>/dev/null | grep pitrps-scratch
        grep -rls 'recovery_target' /etc/postgresql {Data}/postgresql.auto.conf | xargs -r grep -l '^[[:space:]]*recovery_target'
        true
        """);

    /// <summary>The scratch server takes three seconds more to begin, for what is to happen meanwhile.</summary>
    public void SlowDown() => Replace("setpriv", "sleep 3; exec /root/setpriv.real \"$@\"");

    /// <summary>Puts a script into the place of a program of the standby's host, until <see cref="PutBack"/>.</summary>
    public void Replace(string program, string script) => OnStandby(
        $"cp /usr/bin/{program} /root/{program}.real; printf '%s\n' '#!/bin/sh' '{script}' > /root/{program}; chmod 755 /root/{program}; mount --bind /root/{program} /usr/bin/{program}");

    public void PutBack(string program) => OnStandby($"umount --lazy /usr/bin/{program}");

    /// <summary>Waits until the standby answers.</summary>
    public void AwaitStandby() => Waiting.For("the standby's start", () => OnStandby("runuser -u postgres -- psql -XAtc 'SELECT 1' 2>&1 || true") == "1");

    /// <summary>Waits until the standby has received all that the primary has written.</summary>
    public void Arrive()
    {
        var end = Primary("SELECT pg_current_wal_lsn()");
        Waiting.For($"WAL up to {end}", () => Standby($"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)") == "t");
    }

    /// <summary>Until the mount lists the archive as it is: sshfs keeps a listing for up to 1 s.</summary>
    public void AwaitListing(string segment, bool isThere) =>
        Waiting.For($"the mount to show that {segment} is {(isThere ? "" : "not ")}there", () => OnStandby("runuser -u postgres -- ls /mnt/archive_wal_dir").Split('\n').Contains(segment) == isThere);

    public void Dispose() => Hosts.Dispose();
}
