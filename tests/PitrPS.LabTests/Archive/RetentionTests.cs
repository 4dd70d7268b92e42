using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>Enable-WalArchive -RetainFor with a standby that is behind, stopped, and far enough.</summary>
public sealed class RetentionTests(StandbyHosts hosts) : IClassFixture<StandbyHosts>
{
    private const string Directory = "/var/mnt/archive_wal_dir";
    private const string Service = "pitrps-retain-15-main.service";
    private const string Timer = "pitrps-retain-15-main.timer";
    private const string Kept = "/var/lib/pitrps-retain/15-main";

    [LabFact]
    public void Removes_what_is_old_and_nothing_that_the_standby_needs_and_is_gone_afterwards()
    {
        hosts.Run("$primary | Enable-WalArchive /var/mnt/archive_wal_dir -RetainFor 00:30:00 -Confirm:$false").SingleError("PitrPS.InvalidRetention");
        Assert.Equal("absent", OnPrimary($"ls /etc/systemd/system/{Timer} 2>/dev/null || echo absent"));
        Enable("-RetainFor 7.00:00:00");
        Assert.Equal("active enabled 700 postgres", OnPrimary($"echo $(systemctl is-active {Timer}; systemctl is-enabled {Timer}; stat -c '%a %U' {Kept}/seen)"));
        // Its first run is due 15 minutes from now; from here on the test says when.
        OnPrimary($"systemctl stop {Timer}");
        Assert.Equal(Slot, OnPrimary($"sed -n 's/^slot=//p' {Kept}/standbys/*"));

        // Checkpoints come when the test says so.
        Lab.Psql(Lab.Primary, "ALTER SYSTEM SET checkpoint_timeout = '1d'");
        Lab.Psql(Lab.Primary, "SELECT pg_reload_conf()");
        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Primary, "SHOW checkpoint_timeout") == "1d"));

        // A standby that follows, and whose restartpoint is at the primary's checkpoint. It was made from a base backup, whose label says so.
        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 0 -Confirm:$false").ThrowOnError();
        Fill(4);
        CatchUp();
        Restartpoint();
        Assert.Contains("LABEL: PitrPS standby", OnPrimary($"cat {Directory}/*.backup"));
        Age();
        var before = Segments();
        Assert.Contains("has not been seen streaming for 25 hours yet", Retain());
        Assert.Equal(before, Segments());

        // A day later it is 3 days behind, and the primary has gone on: what the standby starts from stays, what is before it goes.
        ADayPasses();
        Fill(1);
        CatchUp();
        hosts.Run("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false").ThrowOnError();
        Fill(4);
        Lab.Psql(Lab.Primary, "CHECKPOINT");
        // It waits at the first commit, and has said so: the receiver reports every 10 s.
        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Standby, "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'") == "RecoveryApplyDelay"));
        var replayed = Lab.Psql(Lab.Standby, "SELECT pg_last_wal_replay_lsn()");
        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Primary, $"SELECT flush_lsn = pg_current_wal_flush_lsn() AND replay_lsn = '{replayed}' FROM pg_stat_replication WHERE state = 'streaming'") == "t"));
        Age();
        before = Segments();
        Assert.NotEqual(before[0], StandbyNeeds());
        var said = Retain();
        Assert.Contains($"may start again from {StandbyNeeds()}", said);
        Assert.Equal(before.SkipWhile(s => s != StandbyNeeds()), Segments());
        Assert.Contains($"removed {before.Length - Segments().Length} of {before.Length} files, {before[0]} to ", said);

        // Its replay has not moved since: that may be a freeze.
        before = Segments();
        said = Retain();
        Assert.Contains("stands still in its replay", said);
        Assert.Contains("removed nothing", said);
        Assert.Equal(before, Segments());

        // Stopped, however long ago it was that it had replayed more than what is there.
        Lab.Exec(Lab.Standby, "systemctl", "stop", hosts.ServiceUnit);
        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Primary, "SELECT count(*) FROM pg_stat_replication") == "0"));
        OnPrimary($"echo 'safe {Slot} {before[^1]}' >> {Kept}/seen/history");
        Assert.Contains("does not stream from this server", Retain());
        Assert.Equal(before, Segments());
        OnPrimary($"rm {Kept}/seen/history");

        // It starts from there, follows, and is far enough a day later.
        Lab.Exec(Lab.Standby, "systemctl", "start", hosts.ServiceUnit);
        Assert.True(Waiting.Until(() => Lab.Shell(Lab.Standby, $"systemctl is-active {hosts.ServiceUnit} || true").Trim() == "active"));
        hosts.Run("$standby = $standbyHost | Get-PgServer; $null = $standby | Set-ReplicationDelay -Delay 0 -Confirm:$false").ThrowOnError();
        CatchUp();
        Restartpoint();
        Assert.Contains("has not been seen streaming", Retain());
        ADayPasses();
        Fill(1);
        CatchUp();
        Age();
        Assert.Contains($"may start again from {StandbyNeeds()}", Retain());
        Assert.Equal(StandbyNeeds(), Segments()[0]);
        Assert.True(Segments().Length < before.Length);

        // And what a base backup needs that somebody has taken meanwhile, though the standby does not.
        OnPrimary($"cd / && runuser -u postgres -- {hosts.Bin}/pg_basebackup -D /var/tmp/base -c fast -X none --no-sync");
        var backup = OnPrimary($"cd {Directory} && grep -l '^LABEL: pg_basebackup' *.backup | cut -c1-24");
        Fill(2);
        CatchUp();
        Restartpoint();
        Assert.NotEqual(backup, StandbyNeeds());
        OnPrimary($"rm {Kept}/seen/history");
        Retain();
        ADayPasses();
        Fill(1);
        CatchUp();
        Age();
        Assert.Contains($"the base backup {backup}.", Retain());
        Assert.Equal(backup, Segments()[0]);

        // Kept as it is set, changed, and gone.
        Enable("");
        Assert.Contains(" 604800 ", OnPrimary($"cat /etc/systemd/system/{Service}"));
        Enable("-RetainFor 14.00:00:00");
        Assert.Contains(" 1209600 ", OnPrimary($"cat /etc/systemd/system/{Service}"));
        Assert.Equal("active", OnPrimary($"systemctl is-active {Timer}"));
        Assert.Equal(TimeSpan.FromDays(14), hosts.Get("($primaryHost | Get-PgServer).ArchiveRetention")[0].BaseObject);
        Enable("-RetainFor 0");
        Assert.Equal("standbys", Traces());
        Enable("-RetainFor 7.00:00:00");
        hosts.Run("$null = $primary | Disable-WalArchive -Confirm:$false").ThrowOnError();
        Assert.Equal("standbys", Traces());
        hosts.Run("$standby | Remove-PgStandby -Primary $primary -Confirm:$false | Dismount-WalArchive -Primary $primary -Confirm:$false").ThrowOnError();
        Assert.Equal("", Traces());
    }

    private Lab Lab => hosts.Lab;

    private string Slot => Lab.Psql(Lab.Primary, "SELECT slot_name FROM pg_replication_slots");

    private void Enable(string retention) =>
        hosts.Run($"$primary = $primary | Enable-WalArchive {Directory} -HeartbeatInterval 0 -ArchiveTimeout 1.00:00:00 {retention} -Confirm:$false").ThrowOnError();

    /// <summary>So many finished segments with a commit in each, all of them archived.</summary>
    private void Fill(int segments)
    {
        var last = "";
        for (var i = 0; i < segments; i++)
        {
            Lab.Psql(Lab.Primary, "SELECT pg_current_xact_id()");
            last = Lab.Psql(Lab.Primary, "SELECT pg_walfile_name(pg_switch_wal())");
        }

        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Primary, $"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver") == "t"), $"{last} was not archived.");
    }

    private void CatchUp() =>
        Assert.True(Waiting.Until(() => Lab.Psql(Lab.Primary, "SELECT replay_lsn = pg_current_wal_flush_lsn() FROM pg_stat_replication WHERE state = 'streaming'") == "t"), "The standby does not catch up.");

    /// <summary>A checkpoint on the primary, and the standby has made a restartpoint of it.</summary>
    private void Restartpoint()
    {
        Lab.Psql(Lab.Primary, "CHECKPOINT");
        CatchUp();
        Lab.Psql(Lab.Standby, "CHECKPOINT");
        Assert.Equal(OnPrimary($"{hosts.Bin}/pg_controldata {hosts.Data} | sed -n 's/.*REDO WAL file: *//p'"), StandbyNeeds());
    }

    private string StandbyNeeds() => Lab.Shell(Lab.Standby, $"{hosts.Bin}/pg_controldata {hosts.Data} | sed -n 's/.*REDO WAL file: *//p'").Trim();

    /// <summary>Everything in the archive but the newest segment is 30 days old.</summary>
    private void Age() => OnPrimary($"cd {Directory} && for f in *; do [ $f = {Segments()[^1]} ] || touch -d '-30 days' $f; done");

    /// <summary>What was noted so far was noted so 26 hours ago, and an hour ago again.</summary>
    private void ADayPasses() => OnPrimary($$"""
        cd {{Kept}}/seen && awk '{ print } $1 == "seen" { print $1, $2, $3 - 3600, $4 }' history > /tmp/noted &&
        awk '$1 == "seen" && !n++ { print $1, $2, $3 - 93600, $4; next } { print }' /tmp/noted > history
        """);

    private string[] Segments() => OnPrimary($"ls {Directory} | grep -x '[0-9A-F]*'").Split('\n');

    /// <summary>Runs the service, and gives what it said in the journal.</summary>
    private string Retain()
    {
        string[] Said() => OnPrimary($"journalctl --no-pager -o cat -u {Service}").Split('\n');
        var before = Said();
        // systemd counts how often it is started within 10 s.
        Lab.Exec(Lab.Primary, "systemctl", "reset-failed", Service);
        Lab.Exec(Lab.Primary, "systemctl", "start", Service);
        string[] said = [];
        // The journal gets it some time after it was said.
        Assert.True(Waiting.Until(() => (said = [.. Said().Skip(before.Length)]).Any(l => l.StartsWith("removed ", StringComparison.Ordinal))), string.Join('\n', said));
        return string.Join('\n', said);
    }

    private string Traces() => OnPrimary($"ls /etc/systemd/system /usr/local/lib/pitrps | grep retain; systemctl is-active {Timer} | grep -x active; ls {Kept} /var/lib/pitrps-retain 2>/dev/null | grep -x -e standbys -e seen; true");

    private string OnPrimary(string script) => Lab.Shell(Lab.Primary, script).Trim();
}
