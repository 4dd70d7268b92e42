using System.Globalization;
using System.Management.Automation;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Incidents;

/// <summary>A delayed standby (one day) whose primary has dropped tables in every way, and done everything that looks like it.</summary>
public sealed class IncidentHosts : PreparedHosts
{
    private const string Before =
        """
        CREATE SCHEMA sales; CREATE SCHEMA "Odd.Sch""ema";
        CREATE TABLE plain (id int PRIMARY KEY, note text); INSERT INTO plain SELECT g, 'row ' || g FROM generate_series(1, 2000) g;
        CREATE TABLE longer (id int); CREATE TABLE nested (id int); CREATE TABLE undone (id int); CREATE TABLE rolledback (id int);
        CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int REFERENCES parent); CREATE VIEW onparent AS SELECT * FROM parent;
        CREATE TABLE sales.orders (id int PRIMARY KEY, note text); CREATE TABLE sales.items (id int); CREATE SEQUENCE sales.numbers;
        CREATE TABLE "Odd.Sch""ema"."Odd Na.me" (id int);
        CREATE TABLE twice (id int); CREATE TABLE prepared (id int); CREATE UNLOGGED TABLE fast (id int);
        CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
        CREATE TABLE emptied (id int PRIMARY KEY, note text); CREATE TABLE rewritten (id int PRIMARY KEY, note text); CREATE INDEX aside ON emptied (note); CREATE SEQUENCE lone;
        CREATE MATERIALIZED VIEW seen AS SELECT * FROM rewritten;
        """;

    public IncidentHosts()
        : base(Snapshots.Standby)
    {
        if (Lab.WhyNot() is not null)
        {
            return;
        }

        Get("$standby = $standby | Set-ReplicationDelay -Delay 0 -Confirm:$false");
        OnPrimary("CREATE DATABASE shop");
        OnPrimary(Before);
        Lab.Psql(Lab.Primary, "CREATE TABLE plain (id int)", "shop");
        WaitFor("pg_last_wal_replay_lsn()");
        Get("$standby = $standby | Set-ReplicationDelay -Delay 1.00:00:00 -Confirm:$false");
        StartedAt = DateTimeOffset.Parse(OnPrimary("SELECT clock_timestamp()"), CultureInfo.InvariantCulture);
        // Any commit holds the standby: what comes after it is not replayed at once.
        OnPrimary("SELECT pg_current_xact_id()");
        PlainTransaction = Script("BEGIN; DROP TABLE plain; SELECT pg_current_xact_id(); COMMIT;");
        Script("BEGIN; INSERT INTO rewritten VALUES (1); DROP TABLE longer; INSERT INTO rewritten VALUES (2); COMMIT;");
        NestedTransaction = Script("BEGIN; SELECT pg_current_xact_id(); SAVEPOINT a; DROP TABLE undone; ROLLBACK TO a; SAVEPOINT b; DROP TABLE nested; RELEASE b; COMMIT;");
        Script("BEGIN; DROP TABLE rolledback; ROLLBACK;");
        Script("DROP TABLE parent CASCADE; DROP SCHEMA sales CASCADE; DROP TABLE \"Odd.Sch\"\"ema\".\"Odd Na.me\";");
        Lab.Psql(Lab.Primary, "DROP TABLE plain", "shop");
        Halfway = DateTimeOffset.Parse(OnPrimary("SELECT clock_timestamp()"), CultureInfo.InvariantCulture);
        Script("DROP TABLE twice; CREATE TABLE twice (id int, note text); CHECKPOINT; DROP TABLE twice; CREATE TABLE twice (id int);");
        Script("DROP TABLE fast; DROP TABLE parts;");
        // What locks tables, removes files or drops things, and is no incident.
        Script("CREATE TEMPORARY TABLE shortlived (id int PRIMARY KEY, note text); DROP TABLE shortlived; BEGIN; CREATE TABLE never (id int); DROP TABLE never; COMMIT;");
        Script("TRUNCATE emptied; VACUUM FULL rewritten; CLUSTER rewritten USING rewritten_pkey; REFRESH MATERIALIZED VIEW seen; DROP MATERIALIZED VIEW seen; ALTER TABLE rewritten ALTER note TYPE varchar(9);");
        Script("ALTER TABLE rewritten DROP COLUMN note; DROP INDEX aside; DROP SEQUENCE lone; REINDEX TABLE emptied; BEGIN; LOCK TABLE emptied; COMMIT;");
        // The segment that holds all of it: whole, received and archived.
        Segment = OnPrimary("SELECT pg_walfile_name(pg_current_wal_lsn())");
        OnPrimary("SELECT pg_switch_wal()");
        WaitFor("pg_last_wal_receive_lsn()");
        var giveUp = DateTimeOffset.UtcNow.AddMinutes(2);
        while (Lab.Shell(Lab.Primary, $"test -f /var/mnt/archive_wal_dir/{Segment} && echo archived || true").Trim() != "archived")
        {
            Assert.True(DateTimeOffset.UtcNow < giveUp, $"{Segment} was not archived.");
        }
    }

    public string Segment { get; } = "";

    public DateTimeOffset StartedAt { get; }

    public DateTimeOffset Halfway { get; }

    public string PlainTransaction { get; } = "";

    public string NestedTransaction { get; } = "";

    public string OnPrimary(string sql) => Lab.Psql(Lab.Primary, sql).Split('\n')[^1];

    /// <summary>Statements of which each is a transaction of its own unless they say otherwise; gives back the one number that they print.</summary>
    public string Script(string sql) =>
        Lab.Exec(Lab.Primary, "runuser", "-u", "postgres", "--", "sh", "-c", "printf %s \"$1\" | psql -X -q -At -v ON_ERROR_STOP=1", "sh", sql).Trim();

    private void WaitFor(string position)
    {
        var written = OnPrimary("SELECT pg_current_wal_flush_lsn()");
        var giveUp = DateTimeOffset.UtcNow.AddMinutes(2);
        while (Lab.Psql(Lab.Standby, $"SELECT {position} >= '{written}'") != "t")
        {
            Assert.True(DateTimeOffset.UtcNow < giveUp, $"The standby's {position} did not come to {written}.");
        }
    }
}

public sealed class FindPgIncidentTests(IncidentHosts hosts) : IClassFixture<IncidentHosts>
{
    private const string Settings = "/etc/postgresql/15/main/conf.d/50-pitrps.conf";

    [LabFact]
    public void Finds_every_dropped_table_oldest_first_and_nothing_else()
    {
        var found = hosts.Get("$standby | Find-PgIncident");

        Assert.Equal(
            ["public.plain", "public.longer", "public.nested", "public.parent", "sales.orders sales.items", "Odd.Sch\"ema.Odd Na.me", "public.plain", "public.twice", "public.twice", "public.fast", "public.parts public.parts_1"],
            found.Select(Tables));
        Assert.Equal(found.Select(f => Value<DateTimeOffset>(f, "CommittedAt")).Order(), found.Select(f => Value<DateTimeOffset>(f, "CommittedAt")));
    }

    [LabFact]
    public void Says_who_when_and_where_and_how_long_is_left()
    {
        var incident = Assert.Single(hosts.Get("Find-PgIncident -Server $standby -Table plain -Database postgres"));

        Assert.Equal(hosts.PlainTransaction, incident.Properties["TransactionId"].Value.ToString());
        Assert.Equal("DropTable", incident.Properties["Kind"].Value.ToString());
        Assert.Equal(1u, incident.Properties["Timeline"].Value);
        Assert.InRange(Value<DateTimeOffset>(incident, "CommittedAt"), hosts.StartedAt, hosts.Halfway);
        Assert.Equal(Value<DateTimeOffset>(incident, "CommittedAt").AddDays(1), Value<DateTimeOffset>(incident, "AppliesAt"));
        Assert.InRange(Value<TimeSpan>(incident, "TimeLeft"), TimeSpan.FromHours(22), TimeSpan.FromDays(1));
        // pg_waldump itself, at the two positions.
        Assert.Contains($"desc: LOCK xid {hosts.PlainTransaction} ", Record(incident, "LockLsn"), StringComparison.Ordinal);
        Assert.Matches($"tx: +{hosts.PlainTransaction}, .*desc: COMMIT ", Record(incident, "CommitLsn"));
    }

    [LabFact]
    public void Gives_the_top_level_transaction_of_a_drop_in_a_savepoint() =>
        Assert.Equal(hosts.NestedTransaction, Assert.Single(hosts.Get("$standby | Find-PgIncident nested")).Properties["TransactionId"].Value.ToString());

    [LabFact]
    public void Finds_a_name_that_was_dropped_and_made_again_each_time()
    {
        var both = hosts.Get("($standby | Find-PgIncident -Table twice).Tables");

        Assert.Equal([false, true], both.Select(t => Value<bool>(t, "IsNewerThanStandby")));
        Assert.Equal(2, both.Select(t => Value<uint>(t, "Oid")).Distinct().Count());
    }

    [LabTheory]
    [InlineData("-Table 'sales.*'", "sales.orders sales.items")]
    [InlineData("-Table ITEMS", "sales.orders sales.items")]
    [InlineData("-Table '\"Odd.Sch\"\"ema\".\"Odd Na.me\"'", "Odd.Sch\"ema.Odd Na.me")]
    [InlineData("-Table parts_1", "public.parts public.parts_1")]
    [InlineData("-Table plain -Database shop", "public.plain")]
    [InlineData("-Table nested, fast -Kind DropTable", "public.nested, public.fast")]
    [InlineData("-Until $halfway -Table plain, twice", "public.plain, public.plain")]
    [InlineData("-Since $halfway", "public.twice, public.twice, public.fast, public.parts public.parts_1")]
    public void Finds_by_name_database_and_time(string parameters, string expected) =>
        Assert.Equal(expected, string.Join(", ", hosts.Get($"$standby | Find-PgIncident {parameters}", ("halfway", hosts.Halfway)).Select(Tables)));

    [LabTheory]
    [InlineData("rolledback")]
    [InlineData("undone")]
    [InlineData("shortlived")]
    [InlineData("never")]
    [InlineData("emptied")]
    [InlineData("rewritten")]
    [InlineData("seen")]
    public void Is_silent_about_what_was_not_dropped(string table)
    {
        var run = hosts.Engine.RunVerbose($"$standby | Find-PgIncident -Table {table}").ThrowOnError();

        Assert.Empty(run.Output);
        Assert.Contains(run.Verbose, v => v.Contains("searched the WAL from", StringComparison.Ordinal) && v.Contains("bytes in", StringComparison.Ordinal));
    }

    [LabFact]
    public void Refuses_a_primary_and_a_name_that_is_none()
    {
        hosts.Run("$primary | Find-PgIncident").SingleError("PitrPS.NotAStandby");
        hosts.Run("$standby | Find-PgIncident -Table 'a.b.c'").SingleError("PitrPS.InvalidTableName");
    }

    [LabFact]
    public void Has_no_deadline_while_the_standby_is_frozen()
    {
        hosts.Get("$standby = $standby | Suspend-WalReplay -Confirm:$false");
        try
        {
            var incident = Assert.Single(hosts.Get("$standby | Find-PgIncident -Table nested"));
            Assert.Null(incident.Properties["TimeLeft"].Value);
            Assert.Null(incident.Properties["AppliesAt"].Value);
        }
        finally
        {
            hosts.Get("$standby = $standby | Resume-WalReplay -Confirm:$false");
        }
    }

    [LabFact]
    public void Reads_from_the_archive_what_pg_wal_does_not_have_and_warns_of_what_is_nowhere()
    {
        var segment = hosts.Segment;
        hosts.Lab.Shell(Lab.Standby, $"mv /var/lib/postgresql/15/main/pg_wal/{segment} /var/lib/postgresql/15/held");
        try
        {
            var archived = hosts.Engine.RunVerbose("$standby | Find-PgIncident -Table nested").ThrowOnError();
            Assert.Single(archived.Output);
            Assert.Empty(archived.Warnings);
            Assert.Contains(archived.Verbose, v => System.Text.RegularExpressions.Regex.IsMatch(v, "[1-9] from the archive"));

            hosts.Lab.Shell(Lab.Primary, $"mv /var/mnt/archive_wal_dir/{segment} /var/mnt/held");
            var gap = hosts.Run("$standby | Find-PgIncident").ThrowOnError();
            // For some seconds sshfs still lists what is gone, and only the reading finds out.
            Assert.Contains(gap.Warnings, w => w.Contains(segment, StringComparison.Ordinal) && w.Contains("searched", StringComparison.Ordinal));
        }
        finally
        {
            hosts.Lab.Shell(Lab.Primary, $"[ ! -e /var/mnt/held ] || mv /var/mnt/held /var/mnt/archive_wal_dir/{segment}");
            hosts.Lab.Shell(Lab.Standby, $"mv /var/lib/postgresql/15/held /var/lib/postgresql/15/main/pg_wal/{segment}");
        }
    }

    [LabFact]
    public void Finds_the_same_on_a_stopped_standby_and_on_one_that_has_no_receiver_after_a_restart()
    {
        var running = hosts.Get("$standby | Find-PgIncident").Select(Described).ToList();
        hosts.Lab.Shell(Lab.Standby, "systemctl stop postgresql@15-main");
        try
        {
            Assert.Equal(running, hosts.Get("$standby | Find-PgIncident").Select(Described));
            Assert.Equal(running, hosts.Get("$standbyHost | Get-PgServer | Find-PgIncident").Select(Described));

            // Its delay has run out while it was down: a start would apply everything.
            hosts.Lab.Shell(Lab.Standby, $"echo \"recovery_min_apply_delay = '1s' # test\" >>{Settings}");
            Assert.Contains(hosts.Run("$standby | Find-PgIncident -Table nested").ThrowOnError().Warnings, w => w.Contains("do not start it", StringComparison.Ordinal));
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, $"sed -i '/# test$/d' {Settings}; systemctl start postgresql@15-main");
        }

        Assert.Equal(running, hosts.Get("$standby | Find-PgIncident").Select(Described));
    }

    [LabFact]
    public void Leaves_nothing_behind_on_the_host()
    {
        hosts.Get("$standby | Find-PgIncident -Table plain");

        Assert.Equal("", hosts.Lab.Shell(Lab.Standby, "ls -d /tmp/tmp.* 2>/dev/null || true").Trim());
    }

    [LabFact]
    public void Stops_within_two_seconds_and_its_reading_on_the_host_with_it()
    {
        const string Program = "/usr/lib/postgresql/15/bin/pg_waldump";
        // A reading without an end that comes to a new segment ten times a second.
        hosts.Lab.Shell(Lab.Standby, $$"""
            mv {{Program}} {{Program}}.real
            printf '%s\n' '#!/bin/sh' 'i=10' 'while :; do echo "rmgr: XLOG x, tx: 0, lsn: 0/${i}000000, prev 0/0, desc: NOOP"; i=$((i+1)); sleep 0.1; done' >{{Program}}
            chmod 755 {{Program}}
            """);
        try
        {
            var reading = hosts.Engine.Start("$standby | Find-PgIncident");
            WaitFor("pgrep -x pg_waldump");

            Assert.InRange(reading.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
            Assert.True(reading.Wait().WasStopped);
            WaitFor("! pgrep -x pg_waldump && ! ls -d /tmp/tmp.*");
        }
        finally
        {
            hosts.Lab.Shell(Lab.Standby, $"mv -f {Program}.real {Program}");
        }
    }

    private void WaitFor(string condition)
    {
        var giveUp = DateTimeOffset.UtcNow.AddSeconds(30);
        while (!hosts.Lab.Shell(Lab.Standby, $"({condition}) >/dev/null 2>&1 && echo yes || echo no").Contains("yes", StringComparison.Ordinal))
        {
            Assert.True(DateTimeOffset.UtcNow < giveUp, $"On the standby, this did not come true: {condition}");
        }
    }

    private static string Tables(PSObject incident) => string.Join(' ', ((System.Collections.IEnumerable)incident.Properties["Tables"].Value).Cast<object>());

    private static string Described(PSObject incident) =>
        $"{incident.Properties["TransactionId"].Value} {incident.Properties["LockLsn"].Value} {incident.Properties["CommitLsn"].Value} {Tables(incident)}";

    private static T Value<T>(PSObject from, string property) => (T)from.Properties[property].Value;

    private string Record(PSObject incident, string position) =>
        hosts.Lab.Exec(Lab.Standby, "runuser", "-u", "postgres", "--", "/usr/lib/postgresql/15/bin/pg_waldump", "-p", "/var/lib/postgresql/15/main/pg_wal", "-n", "1", "-s", incident.Properties[position].Value.ToString()!);
}
