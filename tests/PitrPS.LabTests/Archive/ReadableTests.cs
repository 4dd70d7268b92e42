using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>
/// Everything that comes to be on two bare hosts, from Install-PgServer to a delayed standby with a compressed archive and a retention, is tried by accounts that have no business there:
/// nobody, somebody's fresh account, and the administrator without sudo. What they can read has to be on a list, with nothing secret in it; what they can write is nothing.
/// </summary>
public sealed class ReadableTests(BareHosts hosts) : IClassFixture<BareHosts>
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

    private const string List = "cd / && find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -printf '%m %U %G %p\\n' 2>/dev/null | LC_ALL=C sort -k4";

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
        string[] both = [Lab.Primary, Lab.Standby];
        foreach (var host in both)
        {
            Lab.Shell(host, "useradd --create-home stranger");
        }

        var before = both.ToDictionary(h => h, h => Lab.Shell(h, List).Split('\n').ToHashSet());
        hosts.Run("""
            $ErrorActionPreference = 'Stop'
            $primary = $primaryHost | Install-PgServer -Confirm:$false | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Compression Zstd -RetainFor 7.00:00:00 -Confirm:$false
            $standby = $standbyHost | Install-PgServer -Confirm:$false | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false |
                New-PgStandby -Primary $primary -Confirm:$false | Set-ReplicationDelay -Delay 3.00:00:00 -Confirm:$false
            """).ThrowOnError();
        Lab.Shell(Lab.Primary, "systemctl start pitrps-retain-15-main.service");

        var faults = new List<string>();
        var secrets = both.ToDictionary(h => h, Secrets);
        foreach (var host in both)
        {
            var packaged = Lab.Shell(host, "cat /var/lib/dpkg/info/*.list").Split('\n').ToHashSet();
            string[] made = [.. Lab.Shell(host, List).Split('\n').Where(l => l.Length > 0 && !before[host].Contains(l)).Select(l => l.Split(' ', 4)[3]).Where(p => !packaged.Contains(p) && !OfOthers.IsMatch(p))];
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
                if (content.Contains("PRIVATE KEY", StringComparison.Ordinal) || secrets.Values.SelectMany(s => s).Any(s => content.Contains(s, StringComparison.Ordinal)))
                {
                    faults.Add($"{host}: {path} holds a secret");
                }
            }
        }

        Assert.True(faults.Count == 0, string.Join('\n', faults.Order()));
    }

    // The passwords and keys that are there, so that the list of them cannot be empty.
    private string[] Secrets(string host)
    {
        var words = Lab.Shell(host, """
            find /etc/pitrps /var/lib/pitrps -type f -perm 600 ! -name known_hosts ! -name '*.pub' ! -name '*.json' ! -path '*/operations/*' ! -path '*/history/*' -exec cat {} + | tr -s ':"[:space:]' '\n' | grep -xE '[0-9A-Za-z+/=_-]{32,}' | sort -u
            """).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(words);
        return words;
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
