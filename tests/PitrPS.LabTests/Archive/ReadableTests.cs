using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>
/// Two bare hosts that became an archiving primary, with a compressed archive and a retention, and its delayed standby, under the eyes of somebody who looks for what should not be seen:
/// every statement is in the servers' logs, the words of all processes are noted on both hosts, and -Verbose is on.
/// </summary>
public sealed class WatchedHosts : BareHosts
{
    private const string List = "cd / && find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -printf '%m %U %G %p\\n' 2>/dev/null | LC_ALL=C sort -k4";

    // Whatever stands in a list of processes, once. Root's alone, like the words that are looked for in it.
    private const string Recorder =
        """
        umask 077
        cat > /root/record.sh <<'RECORD'
        while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n'; sleep 0.2; done | awk '!seen[$0]++ { print; fflush() }' > /root/processes
        RECORD
        systemd-run --quiet --unit=test-recorder sh /root/record.sh
        """;

    public WatchedHosts()
    {
        if (Lab.WhyNot() is not null)
        {
            return;
        }

        foreach (var host in Both)
        {
            Lab.Shell(host, "useradd --create-home stranger");
            Before[host] = [.. Files(host)];
            Lab.Shell(host, Recorder);
        }

        Planned = Run("""
            $WhatIfPreference = $true
            $plannedPrimary = $primaryHost | Install-PgServer | Enable-WalArchive -Path /var/mnt/archive_wal_dir
            $plannedPrimary
            $standbyHost | Install-PgServer | Mount-WalArchive -Primary $plannedPrimary -MountPoint /mnt/archive_wal_dir | New-PgStandby -Primary $plannedPrimary | Set-ReplicationDelay -Delay 3.00:00:00
            $WhatIfPreference = $false
            """).ThrowOnError();
        ThereAfterwards = string.Concat(Both.Select(host => Lab.Shell(host, "ls -d /var/lib/pitrps /usr/local/lib/pitrps /etc/pitrps /etc/postgresql* /var/mnt/archive_wal_dir /mnt/archive_wal_dir 2>/dev/null || true")));
        var installed = RunVerbose("$ErrorActionPreference = 'Stop'; $primary = $primaryHost | Install-PgServer -Confirm:$false; $standby = $standbyHost | Install-PgServer -Confirm:$false").ThrowOnError();

        // So that the making of PitrPS's own role is logged, too.
        Lab.Psql(Infrastructure.Lab.Primary, "ALTER SYSTEM SET log_statement = 'all'");
        Lab.Psql(Infrastructure.Lab.Primary, "SELECT pg_reload_conf()");
        Lab.Psql(Infrastructure.Lab.Primary, "ALTER ROLE pitrps PASSWORD NULL");
        var made = RunVerbose("""
            $primary = $primaryHost | Install-PgServer -Confirm:$false | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Compression Zstd -RetainFor 7.00:00:00 -Confirm:$false
            $standby = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false | New-PgStandby -Primary $primary -Confirm:$false
            """).ThrowOnError();
        Lab.Shell(Infrastructure.Lab.Primary, "systemctl start pitrps-retain-15-main.service");
        Lab.Psql(Infrastructure.Lab.Primary, "CREATE TABLE parent AS SELECT generate_series(1, 100) AS id; CREATE TABLE child AS SELECT generate_series(1, 50) AS id");
        var written = Lab.Psql(Infrastructure.Lab.Primary, "SELECT pg_current_wal_lsn()");
        Waiting.For("the tables on the standby", () => Lab.Psql(Infrastructure.Lab.Standby, $"SELECT pg_last_wal_replay_lsn() >= '{written}'") == "t", 120);
        var delayed = RunVerbose("$standby = $standby | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false").ThrowOnError();
        Said = installed.HostText + made.HostText + delayed.HostText;
    }

    public static IReadOnlyList<string> Both { get; } = [Infrastructure.Lab.Primary, Infrastructure.Lab.Standby];

    /// <summary>What was on each host before, as <see cref="Files"/> has it.</summary>
    public Dictionary<string, HashSet<string>> Before { get; } = [];

    /// <summary>What the whole pipeline said under -WhatIf, when the hosts were bare.</summary>
    public EngineRun? Planned { get; }

    /// <summary>What of it was on the hosts then.</summary>
    public string ThereAfterwards { get; } = "";

    /// <summary>All that the cmdlets have said.</summary>
    public string Said { get; } = "";

    /// <summary>Mode, owner, group and path of whatever is there.</summary>
    public string[] Files(string host) => Lab.Shell(host, List).Split('\n');

    /// <summary>The passwords and keys that are there, so that the list of them cannot be empty.</summary>
    public string[] Secrets(string host)
    {
        var words = Lab.Shell(host, $$"""
            {{SecretFiles}} -exec cat {} + | tr -s ':"[:space:]' '\n' | grep -xE '[0-9A-Za-z+/=_-]{32,}' | sort -u
            """).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(words);
        return words;
    }

    /// <summary>The find command of the files that hold them.</summary>
    public const string SecretFiles =
        "find $(ls -d /etc/pitrps /var/lib/pitrps 2>/dev/null) -type f -perm 600 ! -name known_hosts ! -name '*.pub' ! -name '*.json' ! -path '*/operations/*' ! -path '*/history/*' ! -path '*/locks/*'";
}

/// <summary>
/// Everything that has come to be on the two hosts is tried by accounts that have no business there:
/// nobody, somebody's fresh account, and the administrator without sudo. What they can read has to be on a list, with nothing secret in it; what they can write is nothing.
/// No password and no private key is anywhere but in the files that are for it.
/// </summary>
public sealed class ReadableTests(WatchedHosts hosts) : IClassFixture<WatchedHosts>
{
    private static readonly string[] Accounts = ["nobody", "stranger", "dba"];

    // Whoever may log in may read these; a line each with what it is.
    private static readonly Regex Public = new(string.Join('|',
        "^/usr/local/lib/pitrps(/pitrps-[a-z-]+)?$", // programs
        "^/etc/systemd/system/(.*/)?(pitrps-[a-z0-9.-]+|postgresql@?[a-z0-9.-]*|var-lib-pitrps.*)\\.(service|timer|mount)(\\.d(/.*)?)?$", // units, as all units
        "^/etc/systemd/system/[a-z-]+\\.target\\.wants$",
        "^/etc/ssh/sshd_config\\.d/00-pitrps-reader-15-main\\.conf$", // rules, as sshd's other ones
        "^/etc/ssh/pitrps-readers(/pitrps-reader-15-main)?$", // public keys; sshd reads them as the account
        "^/var/lib/pitrps-reader(/pitrps-reader-15-main)?$", // the chroot, without the archive in it
        "^/var/lib/pitrps-retain(/15-main(/standbys(/[^/]+)?)?)?$", // names and slots of the standbys
        "^/etc/pitrps(/15-main(/primary\\.crt)?)?$", // the primary's certificate
        "^/etc/postgresql(/15(/main(/(environment|pg_ctl\\.conf|start\\.conf|postgresql\\.conf(\\..*)?|conf\\.d(/50-pitrps\\.conf)?))?)?)?$", // settings, as pg_createcluster leaves them
        "^/var/(mnt|lib/postgresql(/15)?|log/postgresql)$", "^/run/postgresql(/15-main\\.pid)?$"));

    // Made by packages' own scripts, by systemd and by logins, and not by a plan.
    private static readonly Regex OfOthers = new(string.Join('|',
        "^/(proc|sys|dev)(/|$)", "^/run/(systemd|user|adduser|motd|udev|log|sudo|sshd|dbus|lock|utmp|credentials|mount|fuse|initctl|host|needrestart)", "^/usr/(?!local/)", "^/var/(cache|lib/(dpkg|apt|systemd|ucf|sudo|logrotate|polkit-1|dbus|private)|log/(apt|dpkg\\.log|alternatives\\.log|wtmp|btmp|lastlog|faillog|journal))(/|$)",
        "^/etc/(alternatives|inputrc|networks|rc[0-9S]\\.d|ssl|ld\\.so\\.cache|passwd-?|group-?|g?shadow-?|subuid-?|subgid-?|\\.pwd\\.lock|mailcap|init\\.d|logrotate\\.d|postgresql-common|perl|fuse\\.conf|sysctl\\.d|default|cron\\.d|apt)(/|$)",
        "^/etc/systemd/system/multi-user\\.target\\.wants/postgresql\\.service$", "^/var/spool", "^/home/stranger", "^/root", "^/tmp/(systemd-private|\\.)", "^/var/tmp/systemd-private", "^/boot"));

    // Real reads, of what a list names. A directory is read by listing it.
    private const string Try =
        """
        while IFS= read -r path; do
          if [ -d "$path" ]; then
            ls -A -- "$path" >/dev/null 2>&1 && echo "read $path"
            touch -- "$path/.tried-to-write" 2>/dev/null && { rm -f -- "$path/.tried-to-write"; echo "write $path"; }
          elif [ -f "$path" ]; then
            cat -- "$path" >/dev/null 2>&1 && echo "read $path"
            [ -w "$path" ] && echo "write $path"
          fi
        done
        true
        """;

    private Lab Lab => hosts.Lab;

    [LabFact]
    public void Nothing_that_comes_to_be_on_either_host_is_readable_by_an_account_that_has_no_business_there()
    {
        var faults = new List<string>();
        var secrets = WatchedHosts.Both.SelectMany(hosts.Secrets).ToList();
        foreach (var host in WatchedHosts.Both)
        {
            var packaged = Lab.Shell(host, "cat /var/lib/dpkg/info/*.list").Split('\n').ToHashSet();
            string[] made = [.. hosts.Files(host).Where(l => l.Length > 0 && !hosts.Before[host].Contains(l)).Select(l => l.Split(' ', 4)[3]).Where(p => !packaged.Contains(p) && !OfOthers.IsMatch(p))];
            Required(host, made);
            Lab.Shell(host, $"cat > /tmp/made <<'MADE'\n{string.Join('\n', made)}\nMADE\ncat > /tmp/try.sh <<'TRY'\n{Try}\nTRY\nchmod 644 /tmp/made /tmp/try.sh");
            foreach (var account in Accounts)
            {
                foreach (var line in Lab.Shell(host, $"cd / && runuser -u {account} -- sh /tmp/try.sh < /tmp/made").Split('\n', StringSplitOptions.RemoveEmptyEntries))
                {
                    var (what, path) = (line[..line.IndexOf(' ', StringComparison.Ordinal)], line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]);
                    if (what == "write" || !Public.IsMatch(path))
                    {
                        faults.Add($"{host}: {account} can {what} {path}");
                    }
                }
            }

            // What everybody may read holds none of the secrets.
            foreach (var path in made.Where(p => Public.IsMatch(p)))
            {
                var content = Lab.Shell(host, $"[ ! -f '{path}' ] || cat -- '{path}'");
                if (content.Contains("PRIVATE KEY", StringComparison.Ordinal) || secrets.Any(s => content.Contains(s, StringComparison.Ordinal)))
                {
                    faults.Add($"{host}: {path} holds a secret");
                }
            }
        }

        Assert.True(faults.Count == 0, string.Join('\n', faults.Order()));
    }

    [LabFact]
    public void No_secret_is_in_a_log_a_journal_a_statement_a_list_of_processes_an_object_or_what_a_cmdlet_says()
    {
        Lab.Psql(Lab.Primary, "CREATE TABLE held (); DROP TABLE parent, child");
        var end = Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
        Waiting.For("the DROP on the standby", () => Lab.Psql(Lab.Standby, $"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)") == "t", 120);
        var planned = hosts.Run("$standby | Find-PgIncident | Invoke-PitrRecovery -WhatIf | Restore-PgTable -To $primary -WhatIf | Complete-PitrRecovery -WhatIf").ThrowOnError();
        Assert.Equal(true, planned.Single().Properties["IsPlanned"].Value);
        Assert.Matches("(?s)Invoke-PitrRecovery.*recovery_target_lsn.*Restore-PgTable.*public.parent.*Complete-PitrRecovery", planned.HostText);
        Assert.Equal("t", Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery() AND NOT pg_is_wal_replay_paused()"));

        var run = hosts.RunVerbose("""
            $incident = $standby | Suspend-WalReplay -Confirm:$false | Find-PgIncident
            $recovery = Invoke-PitrRecovery -Incident $incident -Confirm:$false
            $restored = @(Restore-PgTable -Recovery $recovery -To $primary -Confirm:$false)
            $completed = @($restored | Complete-PitrRecovery -Confirm:$false)
            $null = Complete-PitrRecovery -Recovery $recovery -Force -Confirm:$false
            $status = $completed | Get-ReplicationStatus
            $completed.Count
            foreach ($each in $primaryHost, $primary, $incident, $recovery, $restored, $completed, $status) { [Management.Automation.PSSerializer]::Serialize($each, 6) }
            """).ThrowOnError();

        // Two tables came down the pipeline, and the recovery was completed once, after the last of them.
        Assert.Equal(1, run.Output[0].BaseObject);
        Assert.Equal("100 50", Lab.Psql(Lab.Primary, "SELECT (SELECT count(*) FROM parent) || ' ' || (SELECT count(*) FROM child)"));

        string[] secrets = [.. WatchedHosts.Both.SelectMany(hosts.Secrets).Distinct()];
        var said = string.Join('\n', [hosts.Said, run.HostText, .. run.Verbose, .. run.Information, .. run.Warnings, .. run.Output.Select(o => $"{o}"), .. run.Progress.Select(p => p.StatusDescription)]);
        Assert.Contains("pg_basebackup", said, StringComparison.Ordinal);
        Assert.DoesNotContain("PRIVATE KEY", said, StringComparison.Ordinal);
        Assert.DoesNotContain(secrets, secret => said.Contains(secret, StringComparison.Ordinal));
        foreach (var host in WatchedHosts.Both)
        {
            Lab.Shell(host, "systemctl stop test-recorder");
            Lab.Shell(host, $"umask 077; cat > /root/words <<'WORDS'\n{string.Join('\n', secrets)}\nPRIVATE KEY\nWORDS\njournalctl --no-pager -o verbose > /root/journal");
            Assert.Contains("/var/lib/pitrps/servers/15-main.secret", Lab.Shell(host, WatchedHosts.SecretFiles), StringComparison.Ordinal);
            Assert.Equal("", Lab.Shell(host, $"""
                {WatchedHosts.SecretFiles} | sort > /root/theirs
                grep -rlaFf /root/words /root/processes /root/journal /var/log /var/lib/pitrps /etc/pitrps /etc/postgresql /etc/systemd /run/systemd/transient /var/lib/postgresql/15/main/postgresql.auto.conf 2>/dev/null | sort | comm -23 - /root/theirs
                """).Trim());
        }

        // There was something to see.
        var statements = Lab.Shell(Lab.Primary, "cat /var/log/postgresql/*");
        Assert.Contains("ALTER ROLE pitrps LOGIN SUPERUSER PASSWORD 'SCRAM-SHA-256$", statements, StringComparison.Ordinal);
        Assert.Contains("CREATE ROLE \"pitrps_standby", statements.Replace("CREATE ROLE pitrps_standby", "CREATE ROLE \"pitrps_standby", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains("pg_basebackup", Lab.Shell(Lab.Standby, "cat /root/processes"), StringComparison.Ordinal);
    }

    [LabFact]
    public void WhatIf_shows_the_whole_pipeline_from_bare_hosts_to_a_delayed_standby_and_changes_nothing()
    {
        var (primary, standby) = (hosts.Planned!.Output[0], hosts.Planned.Output[1]);
        Assert.All([primary, standby], server => Assert.Equal(true, server.Properties["IsPlanned"].Value));
        Assert.Equal("/var/mnt/archive_wal_dir 3.00:00:00 /mnt/archive_wal_dir", $"{primary.Properties["ArchiveDirectory"].Value} {standby.Properties["ReplicationDelay"].Value} {standby.Properties["ArchiveMountPoint"].Value}");
        var at = 0;
        foreach (var said in (string[])["Install-PgServer", "apt-get", "Enable-WalArchive", "archive_command", "Mount-WalArchive", "sshfs", "New-PgStandby", "pg_basebackup", "standby.signal", "Set-ReplicationDelay", "259200000ms"])
        {
            at = hosts.Planned.HostText.IndexOf(said, at, StringComparison.Ordinal);
            Assert.True(at >= 0, $"'{said}' is not where it should be in:\n{hosts.Planned.HostText}");
        }

        Assert.Equal("", hosts.ThereAfterwards);
    }

    // A walk that does not come to these would prove nothing.
    private void Required(string host, string[] made)
    {
        string[] wanted = host == Lab.Primary
            ? ["/var/lib/pitrps", "/var/lib/pitrps/servers/15-main.json", "/usr/local/lib/pitrps/pitrps-archive", "/var/mnt/archive_wal_dir/pitrps-archive.id", "/var/lib/pitrps-reader/pitrps-reader-15-main/archive/pitrps-archive.id", "/etc/ssh/pitrps-readers/pitrps-reader-15-main", "/var/lib/pitrps-retain/15-main/seen/history"]
            : ["/var/lib/pitrps", "/var/lib/pitrps/mounts/15-main/id_ed25519", "/mnt/archive_wal_dir/pitrps-archive.id", "/etc/pitrps", "/etc/postgresql/15/main/conf.d/50-pitrps.conf", "/var/lib/postgresql/15/main/standby.signal", "/run/pitrps", "/run/pitrps-mount-watch-15-main"];
        Assert.Equal([], wanted.Except(made));
        if (host == Lab.Primary)
        {
            Assert.Contains(made, p => Regex.IsMatch(p, "^/var/mnt/archive_wal_dir/[0-9A-F]{24}\\.zst$"));
        }
    }
}
