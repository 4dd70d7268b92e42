using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Faults;

/// <summary>
/// All that a command may have left on the hosts, as lines that are the same for two runs that did the same: settings, files, roles, slots, rows, timelines, units, mounts, processes, archive.
/// What is random or a matter of time (keys, secrets, addresses of a lab, LSNs, names of segments) is made alike in <see cref="Normalizer"/>, and nowhere else.
/// </summary>
internal sealed class EndState
{
    private readonly SortedDictionary<string, int> _lines = new(StringComparer.Ordinal);

    private EndState(IEnumerable<string> lines)
    {
        foreach (var line in lines)
        {
            // How many segments there are is a matter of time.
            _lines[line] = line.Contains(Normalizer.Segment, StringComparison.Ordinal) ? 1 : _lines.GetValueOrDefault(line) + 1;
        }
    }

    public int Count => _lines.Count;

    /// <summary>Reads the hosts, which have to run.</summary>
    public static EndState Read(Lab lab, IReadOnlyList<string> hosts)
    {
        var normalizer = new Normalizer(lab, hosts);
        return new EndState(hosts.SelectMany(host => Lines(lab, host, normalizer).Select(line => $"{host} {line}")));
    }

    /// <summary>What the other one has too little (-) and too much (+); empty when they are alike.</summary>
    public IReadOnlyList<string> DifferenceTo(EndState other)
    {
        var differences = new List<string>();
        foreach (var line in _lines.Keys.Union(other._lines.Keys).Order(StringComparer.Ordinal))
        {
            var (here, there) = (_lines.GetValueOrDefault(line), other._lines.GetValueOrDefault(line));
            if (here != there)
            {
                differences.Add($"{(here > there ? '-' : '+')} {line}{(Math.Abs(here - there) > 1 || Math.Min(here, there) > 0 ? $" ({here} times before, now {there})" : "")}");
            }
        }

        return differences;
    }

    private static IEnumerable<string> Lines(Lab lab, string host, Normalizer normalizer)
    {
        var view = new LabView(lab, host);
        return [.. new HostFiles(view).Lines(normalizer), .. Mounts(view, normalizer), .. Processes(view, normalizer), .. Asked(lab, host, normalizer)];
    }

    private static IEnumerable<string> Mounts(LabView view, Normalizer normalizer) =>
        File.ReadAllLines($"/proc/{view.Init}/mountinfo").Select(l => l.Split(' '))
            // The login's own directory comes and goes with sessions.
            .Where(f => !f[4].StartsWith("/run/user", StringComparison.Ordinal))
            .Select(f => (Fields: f, Kind: Array.IndexOf(f, "-")))
            .Select(m => normalizer.Line($"mount {m.Fields[4]} {m.Fields[5]} {m.Fields[m.Kind + 1]} {(m.Fields[m.Kind + 1] == "overlay" ? "" : m.Fields[m.Kind + 2])}"));

    // Servers have processes that come and go; how many servers there are is asked of systemd and of the sockets.
    private static IEnumerable<string> Processes(LabView view, Normalizer normalizer) =>
        view.Processes()
            .Where(p => !(p.Program is "postgres" && p.Group.Contains("postgresql", StringComparison.Ordinal)))
            .Where(p => !p.Group.StartsWith("/system.slice/systemd-", StringComparison.Ordinal) && !p.Group.StartsWith("/init.scope", StringComparison.Ordinal))
            // The archive's mount is asked for by an sftp server for each reader; it is restarted as the link is.
            .Where(p => !p.Program.StartsWith("sshd", StringComparison.Ordinal) || Fault.InSession(p))
            .Select(p => normalizer.Line($"process {Regex.Replace(p.Group, @"session-[^/]*|user-\d+|\.slice/user@.*", "…")} {p.Program} of {p.User}"));

    private static IEnumerable<string> Asked(Lab lab, string host, Normalizer normalizer) =>
        lab.Shell(host, Script).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(normalizer.Line);

    private const string Script =
        """
        systemctl list-units --all --plain --no-legend --no-pager 'pitrps*' '*archive*' 'postgresql*' '*.timer' '*.path' '*.automount' | awk '{ print "unit", $1, $2, $3, $4 }'
        systemctl --failed --plain --no-legend --no-pager | awk '{ print "failed unit", $1 }'
        systemctl list-jobs --plain --no-legend --no-pager | awk '{ print "job", $2, $3, $4 }'
        awk 'NR > 1 && $7 == 0 { print "shared memory that nobody uses, of", $8 }' /proc/sysvipc/shm
        awk 'NR > 1 { n++ } END { print "shared memory segments:", n + 0 }' /proc/sysvipc/shm
        ss -Hltn | awk '{ print "listens", $4 }' | sort -u
        dpkg-query -W -f 'package ${Package} ${Version} ${db:Status-Abbrev}\n' | grep -i 'postgres\|sshfs\|fuse\|pgdg\|rsync\|libpq'
        for socket in /var/run/postgresql/.s.PGSQL.* /run/pitrps-*/.s.PGSQL.*; do
          [ -S "$socket" ] || continue
          port=${socket##*.} directory=${socket%/*}
          ask() { runuser -u postgres -- env PGOPTIONS='-c lock_timeout=5s' psql -X -At -v ON_ERROR_STOP=1 -h "$directory" -p "$port" -d "$1" 2>&1 | sed "s|^|$port ${2}|"; }
          ask postgres "" <<'SQL'
        SELECT 'setting', name, setting, source, sourcefile, pending_restart FROM pg_settings WHERE source NOT IN ('default', 'client', 'session', 'override') AND name <> 'lock_timeout';
        SELECT 'line', sourcefile, name, setting, applied, error FROM pg_file_settings;
        SELECT 'hba', type, database, user_name, address, netmask, auth_method, options, error FROM pg_hba_file_rules;
        SELECT 'role', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, left(rolpassword, 13), rolvaliduntil FROM pg_authid;
        SELECT 'member', roleid::regrole, member::regrole, admin_option FROM pg_auth_members;
        SELECT 'of role and database', d.datname, setrole::regrole, setconfig FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase;
        SELECT 'slot', slot_name, plugin, slot_type, database, temporary, wal_status FROM pg_replication_slots;
        SELECT 'database', datname, datdba::regrole, datallowconn, datconnlimit, datacl FROM pg_database;
        SELECT 'tablespace', spcname, spcowner::regrole, pg_tablespace_location(oid) FROM pg_tablespace;
        SELECT 'prepared', gid, database FROM pg_prepared_xacts;
        SELECT 'in recovery', pg_is_in_recovery(), 'timeline', timeline_id, 'paused', CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END FROM pg_control_checkpoint();
        SELECT 'session', usename, application_name, datname, state FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();
        SQL
          for database in $(runuser -u postgres -- psql -X -At -h "$directory" -p "$port" -d postgres -c 'SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate'); do
            ask "$database" "$database " <<'SQL'
        SELECT 'relation', c.oid::regclass, c.relkind, c.relpersistence, c.relowner::regrole, c.relacl FROM pg_class c WHERE c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema', 'pg_toast'));
        SELECT 'rows', c.oid::regclass, query_to_xml(format('SELECT count(*), md5(string_agg(t::text, E''\n'' ORDER BY t::text)) FROM %s t', c.oid::regclass), true, true, '') FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema', 'pg_toast'));
        SELECT 'schema', nspname, nspowner::regrole, nspacl FROM pg_namespace WHERE nspname NOT LIKE 'pg\_t%';
        SELECT 'extension', extname, extversion FROM pg_extension;
        SQL
          done
        done
        """;
}

/// <summary>The files that PitrPS, the servers, sshd and systemd have, and those of everybody's own directories.</summary>
internal sealed partial class HostFiles(LabView view)
{
    private const int LongestText = 128 << 10;

    private static readonly string[] Places =
    [
        "/etc", "/usr/local", "/root", "/home", "/opt", "/srv", "/mnt", "/tmp", "/var/tmp", "/dev/shm", "/var/mnt", "/var/lib/postgresql", "/var/lib/pitrps", "/var/lib/pitrps-retain", "/var/lib/pitrps-reader",
        "/var/spool/cron", "/var/lib/systemd/deb-systemd-helper-enabled", "/run/pitrps", "/run/postgresql", "/run/systemd/system", "/run/systemd/transient", "/run/lock",
    ];

    public IEnumerable<string> Lines(Normalizer normalizer)
    {
        var root = view.Files;
        var names = Names($"{root}/etc/passwd");
        var groups = Names($"{root}/etc/group");
        foreach (var entry in Find(root))
        {
            var (kind, mode, user, group, size, link, path) = entry;
            if (Left(path))
            {
                continue;
            }

            var shown = Normalizer.Path(path);
            yield return normalizer.Line($"file {shown} {kind} {mode} {names.GetValueOrDefault(user, user)}:{groups.GetValueOrDefault(group, group)}{(link.Length > 0 ? " -> " + link : "")}");
            if (kind == "f" && HasText(path))
            {
                foreach (var line in Content(root + path, size, path, normalizer))
                {
                    yield return $"file {shown} | {line}";
                }
            }
        }
    }

    private static IEnumerable<(string Kind, string Mode, string User, string Group, long Size, string Link, string Path)> Find(string root)
    {
        // Of a data directory the server's own files are its own affair: they come and go, and rows and settings are asked for.
        string[] inside = ["base", "global", "pg_xact", "pg_subtrans", "pg_multixact", "pg_stat", "pg_stat_tmp", "pg_notify", "pg_serial", "pg_snapshots", "pg_commit_ts", "pg_logical", "pg_twophase", "archive_status"];
        var start = new ProcessStartInfo("find") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var word in (string[])["-P", .. Places.Select(p => root + p).Where(Directory.Exists), "-xdev", "(",
            "(", .. inside.SelectMany((n, i) => i == 0 ? (string[])["-path", $"{root}/var/lib/postgresql/*/{n}"] : ["-o", "-path", $"{root}/var/lib/postgresql/*/{n}"]), ")", "-prune", "-o", "-true", ")",
            "-printf", @"%y\t%m\t%U\t%G\t%s\t%l\t%p\0"])
        {
            start.ArgumentList.Add(word);
        }

        using var find = Process.Start(start)!;
        _ = find.StandardError.ReadToEndAsync();
        var all = find.StandardOutput.ReadToEnd();
        find.WaitForExit();
        foreach (var line in all.Split('\0', StringSplitOptions.RemoveEmptyEntries))
        {
            var f = line.Split('\t', 7);
            yield return (f[0], f[1], f[2], f[3], long.Parse(f[4], System.Globalization.CultureInfo.InvariantCulture), f[5], f[6][root.Length..]);
        }
    }

    private static Dictionary<string, string> Names(string file) =>
        File.ReadAllLines(file).Select(l => l.Split(':')).Where(f => f.Length > 2).GroupBy(f => f[2]).ToDictionary(g => g.Key, g => g.First()[0]);

    // What says nothing about what PitrPS did, each with why.
    private static bool Left(string path) =>
        // Finished journals: as many as there were runs. Unfinished ones are elsewhere.
        path.StartsWith("/var/lib/pitrps/history/", StringComparison.Ordinal)
        // The account tools' copies of the files before their last change but one.
        || path is "/etc/passwd-" or "/etc/shadow-" or "/etc/group-" or "/etc/gshadow-" or "/etc/subuid-" or "/etc/subgid-"
        // Services with a /tmp of their own; named at random.
        || path.Contains("/systemd-private-", StringComparison.Ordinal)
        // Logins; the archive's reader has one.
        || path.StartsWith("/run/systemd/transient/session-", StringComparison.Ordinal)
        // Written by whichever service starts first after a boot.
        || path is "/etc/machine-id" or "/etc/ld.so.cache" or "/run/lock/subsys"
        // The lab's clones keep their host keys; sudo notes whom it has lectured.
        || ServersOwn().IsMatch(path);

    // The server's own files, which it makes and removes as it runs.
    [GeneratedRegex(@"^/var/lib/postgresql/\d+/[^/]+/(postmaster\.(pid|opts)|pg_wal/([0-9A-F]{24}(\.[0-9A-F]{8}\.backup|\.partial)?|xlogtemp\.\d+)|pg_internal\.init|backup_label\.old|backup_manifest)$|^/run/postgresql/.*\.(lock|pid|pg-stat-tmp)|^/dev/shm/PostgreSQL\.\d+$|^/var/lib/postgresql/\d+/[^/]+/(current_logfiles|log)(/|$)")]
    private static partial Regex ServersOwn();

    private static bool HasText(string path) =>
        !path.StartsWith("/var/mnt/", StringComparison.Ordinal) && !path.StartsWith("/dev/shm/", StringComparison.Ordinal)
        && (!path.StartsWith("/var/lib/postgresql/", StringComparison.Ordinal) || path.EndsWith(".conf", StringComparison.Ordinal) || path.EndsWith(".signal", StringComparison.Ordinal) || path.Contains("/.", StringComparison.Ordinal) || path.EndsWith("label", StringComparison.Ordinal));

    private static IEnumerable<string> Content(string file, long size, string path, Normalizer normalizer)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return ["(cannot be read)"];
        }

        // Whole texts of what may be ours, so that a difference is seen at a glance; of everything else a digest.
        return size > LongestText || Array.IndexOf(bytes, (byte)0) >= 0 || !Interesting().IsMatch(path)
            ? [Convert.ToHexStringLower(SHA256.HashData(bytes))[..20]]
            : normalizer.Text(Encoding.UTF8.GetString(bytes)).Split('\n').Select(line => IsMeasured(path) ? Numbers().Replace(line, ": <number>") : line);
    }

    // What a recovery took: bytes, seconds, transaction ids. Where it stopped and on which timeline is asked of the server.
    private static bool IsMeasured(string path) => path.StartsWith("/var/lib/pitrps/recoveries/", StringComparison.Ordinal);

    [GeneratedRegex("""(?<=")(: "?[0-9.:]+"?)(?=,?$)""")]
    private static partial Regex Numbers();

    [GeneratedRegex("pitrps|postgres|ssh|/etc/(passwd|shadow|group|gshadow|fuse|fstab|sub[ug]id)|^/(root|home|var|run|tmp)/|/ssl/(certs|private)/ssl-cert|/etc/(systemd|sudoers|apt)")]
    private static partial Regex Interesting();
}

/// <summary>Makes alike what differs between two runs that did the same.</summary>
internal sealed partial class Normalizer
{
    private readonly Dictionary<string, string> _keys = [];
    private readonly string _network;

    public Normalizer(Lab lab, IReadOnlyList<string> hosts)
    {
        _network = lab.Host(hosts[0]).Address;
        _network = _network[..(_network.LastIndexOf('.') + 1)];

        // Public keys by where they are, so that it is seen which one is meant where it is used; one that nobody has any more stays nameless.
        foreach (var host in hosts)
        {
            var root = new LabView(lab, host).Files;
            foreach (var file in ((string[])["/etc/ssh", "/var/lib/postgresql/.ssh", "/root/.ssh", "/etc/pitrps", "/var/lib/pitrps"]).Where(d => Directory.Exists(root + d))
                .SelectMany(d => Directory.GetFiles(root + d, "*.pub", SearchOption.AllDirectories)))
            {
                _keys.TryAdd(File.ReadAllText(file).Split(' ')[1], $"<key {host}:{file[root.Length..]}>");
            }
        }
    }

    public string Text(string text)
    {
        text = Pem().Replace(text, "<$1>");
        text = Keys().Replace(text, m => _keys.GetValueOrDefault(m.Value, "<some key>"));
        return string.Join('\n', text.Split('\n').Select(Line));
    }

    public string Line(string line)
    {
        line = line.Replace(_network, "10.77.x.", StringComparison.Ordinal);
        line = Keys().Replace(line, m => _keys.GetValueOrDefault(m.Value, "<some key>"));
        line = Days().Replace(line, "$1<day>");
        line = Hashes().Replace(line, "<hash>");
        line = Uuids().Replace(line, "<uuid>");
        line = Times().Replace(line, "<time>");
        line = Lsns().Replace(line, "<lsn>");
        line = Segments().Replace(line, "<wal>");
        line = SystemIds().Replace(line, "<system>");
        line = Hex().Replace(line, "<hex>");
        line = Tokens().Replace(line, "<token>");
        return line;
    }

    public const string Segment = "<segment>";

    public static string Path(string path) => Segments().Replace(path, Segment);

    [GeneratedRegex(@"-----BEGIN ([A-Z ]+)-----.*?-----END [A-Z ]+-----", RegexOptions.Singleline)]
    private static partial Regex Pem();

    [GeneratedRegex(@"AAAA[A-Za-z0-9+/]{60,}={0,2}")]
    private static partial Regex Keys();

    // The day of the last change of a password, in /etc/shadow.
    [GeneratedRegex(@"^([a-z_][a-z0-9_-]*:[^:]*:)\d{5}(?=:)")]
    private static partial Regex Days();

    [GeneratedRegex(@"\$[0-9a-z]+\$[^:]{20,}|SCRAM-SHA-256\$[A-Za-z0-9+/=:$]+|SHA256:[A-Za-z0-9+/]{43}")]
    private static partial Regex Hashes();

    [GeneratedRegex(@"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")]
    private static partial Regex Uuids();

    [GeneratedRegex(@"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?UTC|Z|[+-]\d\d(:\d\d)?)?")]
    private static partial Regex Times();

    [GeneratedRegex(@"\b[0-9A-F]{1,8}/[0-9A-F]{6,8}\b")]
    private static partial Regex Lsns();

    [GeneratedRegex(@"\b7\d{18}\b")]
    private static partial Regex SystemIds();

    [GeneratedRegex(@"\b[0-9a-f]{32,}\b")]
    private static partial Regex Hex();

    [GeneratedRegex(@"(?<![A-Za-z0-9+/_.-])(?=[A-Za-z0-9+/_-]*[0-9])(?=[A-Za-z0-9+/_-]*[A-Z])(?=[A-Za-z0-9+/_-]*[a-z])[A-Za-z0-9+/_-]{30,}={0,2}")]
    private static partial Regex Tokens();

    [GeneratedRegex(@"[0-9A-F]{24}")]
    private static partial Regex Segments();
}
