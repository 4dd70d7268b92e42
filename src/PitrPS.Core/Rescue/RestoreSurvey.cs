using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>What is asked of both sides before anything is changed, and refused when it does not fit.</summary>
internal static class RestoreSurvey
{
    /// <summary>The one database that the tables are in.</summary>
    /// <exception cref="PitrException"><c>PitrPS.DatabaseNeeded</c></exception>
    public static string Database(PitrRecovery recovery, string? wanted)
    {
        var databases = recovery.Incident?.Tables.Select(t => t.Database).Distinct(StringComparer.Ordinal).ToList() ?? [];
        return wanted ?? (databases is [var only] ? only : throw new PitrException("PitrPS.DatabaseNeeded", ErrorKind.InvalidArgument,
            databases.Count == 0 ? "The recovery was made for a target that was given by hand, so no database is known." : $"The incident is about more than one database: {string.Join(", ", databases)}.",
            "Say which with -Database.", recovery));
    }

    /// <summary>The tables that are asked for, as the recovered server has them.</summary>
    /// <exception cref="PitrException"><c>PitrPS.TableNeeded</c>, <c>PitrPS.TableNotFound</c>, <c>PitrPS.AmbiguousTable</c></exception>
    public static async Task<IReadOnlyList<IncidentTable>> TablesAsync(ISqlSession scratch, PitrRecovery recovery, IReadOnlyList<string> names, CancellationToken cancel)
    {
        var lost = recovery.Incident?.Tables.Where(t => t.Database == scratch.Database).ToList() ?? [];
        if (names.Count == 0 && lost.Count == 0)
        {
            throw new PitrException("PitrPS.TableNeeded", ErrorKind.InvalidArgument, $"The recovery names no table of database {scratch.Database}.", "Say which tables to bring back with -Table.", recovery);
        }

        var literals = string.Join(", ", names.Select(Sql.Literal));
        var rows = await scratch.QueryAsync(
            $"""
            SELECT c.oid, n.nspname, c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname), quote_ident(c.relname)
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND (c.oid = ANY ({LostObjects.OidArray(lost.Select(t => t.Oid))})
              OR c.relname = ANY (ARRAY[{literals}]::text[]) OR n.nspname || '.' || c.relname = ANY (ARRAY[{literals}]::text[])
              OR quote_ident(c.relname) = ANY (ARRAY[{literals}]::text[]) OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY (ARRAY[{literals}]::text[]))
            ORDER BY c.oid
            """, cancel).ConfigureAwait(false);
        var found = rows.Select(r => (Table: new IncidentTable(scratch.Database, r.Text(1), r.Text(2), (uint)r.Number(0), lost.FirstOrDefault(t => t.Oid == r.Number(0))?.FirstLock),
            Names: new[] { r.Text(2), $"{r.Text(1)}.{r.Text(2)}", r.Text(3), r.Text(4) })).ToList();
        if (names.Count == 0)
        {
            if (lost.FirstOrDefault(t => !found.Any(f => f.Table.Oid == t.Oid)) is { } missing)
            {
                throw NotFound(missing.ToString(), recovery, scratch.Database);
            }

            return [.. found.Select(f => f.Table)];
        }

        var asked = new List<IncidentTable>();
        foreach (var name in names)
        {
            var hits = found.Where(f => f.Names.Contains(name, StringComparer.Ordinal)).Select(f => f.Table).ToList();
            // The incident's own tables first: the same name may stand in other schemas, too.
            var best = hits.Where(h => lost.Any(t => t.Oid == h.Oid)).ToList() is { Count: > 0 } ours ? ours : hits;
            asked.Add(best.Count switch
            {
                0 => throw NotFound(name, recovery, scratch.Database),
                1 => best[0],
                _ => throw new PitrException("PitrPS.AmbiguousTable", ErrorKind.InvalidArgument, $"'{name}' could be {string.Join(" or ", best)}.", "Give the name with its schema.", recovery),
            });
        }

        return [.. asked.DistinctBy(t => t.Oid)];
    }

    /// <exception cref="PitrException"><c>PitrPS.WrongPrimary</c>, <c>PitrPS.DatabaseMissing</c></exception>
    public static async Task RequirePrimaryAsync(PitrRecovery recovery, PgServer to, string database, IFeedback feedback, CancellationToken cancel)
    {
        if (to.IsStandby || to.Id == recovery.Standby.Id)
        {
            throw WrongPrimary($"{to.Id} is a standby, not a primary.", recovery, to);
        }

        var row = (await ServerSql.QueryAsync(to, "postgres",
            $"""
            SELECT pg_catalog.pg_is_in_recovery(), (SELECT system_identifier FROM pg_catalog.pg_control_system()),
              EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {Sql.Literal(database)} AND datallowconn)
            """, feedback, cancel).ConfigureAwait(false))[0];
        var standby = recovery.Standby;
        if (row.Flag(0) || (standby.SystemIdentifier is { } origin && row.Text(1) != origin.ToString(CultureInfo.InvariantCulture)))
        {
            throw WrongPrimary(
                row.Flag(0) ? $"{to.Id} is a standby, not a primary." : $"{to.Id} is not the primary of {standby.Id}: its system identifier is {row.Text(1)}, the standby's is {standby.SystemIdentifier}.", recovery, to);
        }

        if (!row.Flag(2))
        {
            throw new PitrException("PitrPS.DatabaseMissing", ErrorKind.ObjectNotFound, $"{to.Id} has no database {database} that takes connections.",
                "Nothing was changed. Make the database on the primary first, with the same encoding and locale.", to);
        }
    }

    /// <summary>What the primary lacks of what the tables need: an error where it is needed, a note where it is not.</summary>
    /// <exception cref="PitrException"><c>PitrPS.RoleMissing</c>, <c>PitrPS.EncodingDiffers</c>, <c>PitrPS.ExtensionUnavailable</c>, <c>PitrPS.UnsafeName</c></exception>
    public static async Task<(IReadOnlySet<string> MissingTablespaces, IReadOnlyList<string> Notes)> RequireFitAsync(
        ISqlSession scratch, ISqlSession primary, RescueSource source, RescueSelection chosen, PgServer recovered, PgServer to, CancellationToken cancel)
    {
        const string collations = "(SELECT string_agg(DISTINCT concat(c.collprovider, ' ', pg_catalog.pg_collation_actual_version(c.oid)), ', ') FROM pg_catalog.pg_collation c WHERE c.collprovider IN ('c', 'i') AND pg_catalog.pg_collation_actual_version(c.oid) IS NOT NULL AND c.oid IN (SELECT max(m.oid) FROM pg_catalog.pg_collation m WHERE m.oid < 16384 AND m.collname NOT LIKE 'C%' AND m.collname <> 'POSIX' GROUP BY m.collprovider))";
        var here = (await primary.QueryAsync(
            $"""
            SELECT pg_catalog.getdatabaseencoding(), {collations}, (SELECT json_agg(rolname::text) FROM pg_catalog.pg_roles), (SELECT json_agg(spcname::text) FROM pg_catalog.pg_tablespace),
              (SELECT coalesce(json_agg(pubname::text), '[]') FROM pg_catalog.pg_publication WHERE puballtables), (SELECT coalesce(json_agg(name::text), '[]') FROM pg_catalog.pg_available_extensions)
            """, cancel).ConfigureAwait(false))[0];
        var there = (await scratch.QueryAsync($"SELECT {collations}, {BreaksInNames}, pg_catalog.current_setting('server_version_num')", cancel).ConfigureAwait(false))[0];
        if (here.Text(0) != source.Encoding)
        {
            throw new PitrException("PitrPS.EncodingDiffers", ErrorKind.InvalidData, $"Database {primary.Database} has encoding {here.Text(0)} on {to.Id} and {source.Encoding} on the recovered server.",
                "Nothing was changed. The database was made anew with another encoding; make it with the old one.", to);
        }

        if (there.Flag(1) && !PgVersion.SanitizesDumpComments((int)there.Number(2)))
        {
            throw new PitrException("PitrPS.UnsafeName", ErrorKind.SecurityError,
                $"In database {primary.Database} an object has a line break in its name, and pg_dump of version {there[2]} lets such a name become a statement (CVE-2025-8715).",
                "Nothing was changed. Update PostgreSQL on the standby's host to its latest minor release, then run the same command again.", recovered);
        }

        string[] List(int column) => System.Text.Json.JsonSerializer.Deserialize<string[]>(here.Text(column))!;
        var roles = List(2).ToHashSet(StringComparer.Ordinal);
        var made = chosen.Must.Concat(chosen.Also).ToHashSet();
        var missing = source.Roles.Where(r => made.Contains(r.Of) && !roles.Contains(r.Name)).ToList();
        if (missing.Where(m => m.Use != 'a' && chosen.Must.Contains(m.Of)).Select(m => m.Name).Distinct().ToList() is { Count: > 0 } needed)
        {
            throw new PitrException("PitrPS.RoleMissing", ErrorKind.ObjectNotFound, $"The tables belong to, or their policies are for, roles that {to.Id} does not have: {string.Join(", ", needed)}.",
                "Nothing was changed. Make these roles on the primary (CREATE ROLE … NOLOGIN is enough), then run the same command again.", to);
        }

        var extensions = List(5);
        if (source.Objects.FirstOrDefault(o => o.ClassId == Catalogs.Extension && chosen.Must.Contains(o.Key) && !extensions.Contains(o.Name)) is { } extension)
        {
            throw new PitrException("PitrPS.ExtensionUnavailable", ErrorKind.NotInstalled, $"The tables need extension {extension.Name}, whose files are not on the primary's host.",
                "Nothing was changed. Install the package that has it, then run the same command again.", to);
        }

        var notes = new List<string>();
        notes.AddRange(missing.Where(m => m.Use == 'a').Select(m => m.Name).Distinct().Select(r => $"role {r} is not on the primary, so its grants do not come back"));
        notes.AddRange(source.Carried.Where(t => t.Unlogged).Select(t => $"{t.Schema}.{t.Name} is unlogged: its rows never were in the WAL, so it comes back empty"));
        if (here[1] != there[0])
        {
            notes.Add($"the hosts sort text differently (collation versions: recovered {there[0] ?? "unknown"}, primary {here[1] ?? "unknown"}); the indexes were built anew by the primary's rules");
        }

        foreach (var publication in List(4))
        {
            notes.Add($"publication {publication} is for all tables: its subscribers were sent all rows");
        }

        var missingTablespaces = source.Tablespaces.Except(List(3), StringComparer.Ordinal).ToHashSet(StringComparer.Ordinal);
        notes.AddRange(missingTablespaces.Order(StringComparer.Ordinal).Select(t => $"tablespace {t} is not on the primary: what lay in it is in the database's default tablespace"));
        return (missingTablespaces, notes);
    }

    /// <summary>Where the key goes, and whether there is room.</summary>
    /// <exception cref="PitrException"><c>PitrPS.DiskFull</c>, <c>PitrPS.NoPeerLogin</c>, <c>PitrPS.NoKeyLogin</c>, <c>PitrPS.ProgramMissing</c></exception>
    public static async Task<PrimaryAccount> RequireHostsAsync(PgServer recovered, PgServer to, long bytes, CancellationToken cancel)
    {
        if (!await recovered.Host.TestAsync(RemoteCommand.Shell("""command -v ssh ssh-keygen >/dev/null && [ -x "$1" ] && [ -x "$2" ]""", recovered.Program("pg_dump"), recovered.Program("psql")), cancel).ConfigureAwait(false))
        {
            throw new PitrException("PitrPS.ProgramMissing", ErrorKind.NotInstalled, $"{recovered.Host.Name} lacks one of ssh, ssh-keygen, {recovered.Program("pg_dump")}.",
                "Install the SSH client and the PostgreSQL client programs of that version there.", recovered);
        }

        var facts = await FactsAsync(to, cancel).ConfigureAwait(false);
        var account = AccountOf(facts, to);
        // The WAL of it is about as large again.
        var free = long.Parse(facts["free"], CultureInfo.InvariantCulture);
        var freeForWal = long.Parse(facts["freewal"], CultureInfo.InvariantCulture);
        var need = facts["same"] == "yes" ? bytes * 2 : bytes;
        if (free < need || (facts["same"] != "yes" && freeForWal < bytes))
        {
            throw new PitrException("PitrPS.DiskFull", ErrorKind.ResourceUnavailable,
                $"The tables take about {bytes >> 20} MiB on {to.Host.Name} and as much WAL; free are {free >> 20} MiB{(facts["same"] == "yes" ? "" : $" and, for pg_wal, {freeForWal >> 20} MiB")}.",
                "Nothing was changed. Make room on the primary, then run the same command again.", to);
        }

        return account;
    }

    /// <summary>Where sshd looks for the keys of the database's OS user.</summary>
    /// <exception cref="PitrException"><c>PitrPS.NoPeerLogin</c>, <c>PitrPS.NoKeyLogin</c></exception>
    public static async Task<PrimaryAccount> AccountAsync(PgServer to, CancellationToken cancel) => AccountOf(await FactsAsync(to, cancel).ConfigureAwait(false), to);

    private static async Task<Dictionary<string, string>> FactsAsync(PgServer to, CancellationToken cancel)
    {
        var said = await to.Host.RunCheckedAsync(RemoteCommand.Shell(AccountScript, to.OsUser, to.DataDirectory, to.Program("psql"), to.SocketDirectory, to.Port.ToString(CultureInfo.InvariantCulture)).AsRoot(), cancel).ConfigureAwait(false);
        return said.Lines.Select(l => l.Split('=', 2)).Where(p => p.Length == 2).ToDictionary(p => p[0], p => p[1]);
    }

    private static PrimaryAccount AccountOf(Dictionary<string, string> facts, PgServer to)
    {
        if (facts.GetValueOrDefault("peer") != "yes")
        {
            throw new PitrException("PitrPS.NoPeerLogin", ErrorKind.PermissionDenied, $"On {to.Host.Name}, the OS user {to.OsUser} cannot log in to {to.Id} through its socket as its superuser without a password: {facts.GetValueOrDefault("peer")}",
                "Let it in by a line 'local all postgres peer' in pg_hba.conf, as both families have it after an installation; then run the same command again.", to);
        }

        var pattern = facts.GetValueOrDefault("keys", "").Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault() ?? ".ssh/authorized_keys";
        if (pattern == "none" || facts["shell"].EndsWith("/nologin", StringComparison.Ordinal) || facts["shell"].EndsWith("/false", StringComparison.Ordinal))
        {
            throw new PitrException("PitrPS.NoKeyLogin", ErrorKind.PermissionDenied,
                pattern == "none" ? $"sshd on {to.Host.Name} reads no authorized keys (AuthorizedKeysFile none)." : $"The OS user {to.OsUser} on {to.Host.Name} has no login shell ({facts["shell"]}), so sshd runs nothing for it.",
                $"Nothing was changed. The standby brings the rows as {to.OsUser}, with a key that may run one script for 15 minutes: allow that with AuthorizedKeysFile, or a shell (usermod -s /bin/sh), then run the same command again.", to);
        }

        var path = pattern.Replace("%%", "\0", StringComparison.Ordinal).Replace("%h", facts["home"], StringComparison.Ordinal).Replace("%u", to.OsUser, StringComparison.Ordinal)
            .Replace("%U", facts["uid"], StringComparison.Ordinal).Replace("\0", "%", StringComparison.Ordinal);
        return new PrimaryAccount(facts["group"], facts["home"], path.StartsWith('/') ? path : $"{facts["home"].TrimEnd('/')}/{path}");
    }

    private const string AccountScript =
        """
        entry=$(getent passwd -- "$1") || { echo "there is no user $1" >&2; exit 70; }
        echo "home=$(printf '%s\n' "$entry" | cut -d: -f6)"
        echo "shell=$(printf '%s\n' "$entry" | cut -d: -f7)"
        echo "uid=$(id -u -- "$1")"
        echo "group=$(id -gn -- "$1")"
        sshd=$(command -v sshd || echo /usr/sbin/sshd)
        echo "keys=$("$sshd" -T -C "user=$1,host=standby,addr=192.0.2.1" 2>/dev/null | sed -n 's/^authorizedkeysfile //p')"
        echo "free=$(df -B1 --output=avail -- "$2" | tail -n 1 | tr -d ' ')"
        echo "freewal=$(df -B1 --output=avail -- "$2/pg_wal/." | tail -n 1 | tr -d ' ')"
        [ "$(stat -c %d -- "$2")" = "$(stat -c %d -- "$2/pg_wal/.")" ] && echo same=yes || echo same=no
        peer=$(runuser -u "$1" -- env PGCONNECT_TIMEOUT=10 "$3" -X -A -t -w -h "$4" -p "$5" -d postgres -c "SELECT CASE WHEN rolsuper THEN 'yes' ELSE 'it is not a superuser' END FROM pg_catalog.pg_roles WHERE rolname = current_user" 2>&1 | tail -n 1)
        echo "peer=$peer"
        """;

    private static readonly string BreaksInNames = "EXISTS (SELECT FROM (" + string.Join(" UNION ALL ",
        new[] { "pg_class.relname", "pg_proc.proname", "pg_type.typname", "pg_namespace.nspname", "pg_constraint.conname", "pg_trigger.tgname", "pg_rewrite.rulename", "pg_policy.polname", "pg_attribute.attname",
            "pg_roles.rolname", "pg_collation.collname", "pg_operator.oprname", "pg_publication.pubname", "pg_statistic_ext.stxname", "pg_tablespace.spcname", "pg_extension.extname", "pg_ts_config.cfgname",
            "pg_ts_dict.dictname", "pg_foreign_server.srvname", "pg_language.lanname", "pg_event_trigger.evtname", "pg_conversion.conname", "pg_opclass.opcname", "pg_opfamily.opfname", "pg_am.amname" }
            .Select(c => c.Split('.')).Select(c => $"SELECT {c[1]} AS name FROM pg_catalog.{c[0]}")) + @") n WHERE n.name::text ~ E'[\r\n]')";

    private static PitrException WrongPrimary(string message, PitrRecovery recovery, PgServer to) =>
        new("PitrPS.WrongPrimary", ErrorKind.InvalidArgument, message, $"Nothing was changed. Give the primary that {recovery.Standby.Id} follows with -To.", to);

    private static PitrException NotFound(string name, PitrRecovery recovery, string database) =>
        new("PitrPS.TableNotFound", ErrorKind.ObjectNotFound, $"The recovered server has no table {name} in database {database}.",
            "Check the name (schema.name, as the catalogs have it) and -Database. A table that was made after the recovery's target is not there.", recovery);
}
