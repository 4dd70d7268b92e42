using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>pg_dump's arguments.</summary>
internal static class DumpArguments
{
    /// <summary>The definitions of these relations, or of the whole database when there are none; --verbose gives each entry's catalog and oid.</summary>
    public static RemoteCommand Command(PgServer server, string database, IReadOnlyList<LostObject> relations) =>
        new RemoteCommand(
        [
            server.Program("pg_dump"), "--schema-only", "--verbose", "--no-password", "--encoding=UTF8", "--lock-wait-timeout=30s",
            "--host=" + server.SocketDirectory, "--port=" + server.Port.ToString(CultureInfo.InvariantCulture),
            .. relations.Count > 0 ? (IEnumerable<string>)["--strict-names"] : [],
            .. relations.Select(r => "--table=" + Pattern(r.Identity)),
            // A bare name with '=' in it would be read as a connection string.
            "--dbname=" + PsqlSession.ConnectionString(database, server.SocketRole),
        ]).As(server.OsUser).WithTimeout(TimeSpan.FromMinutes(30));

    /// <summary>
    /// A pattern for -t that matches this one relation and no other. Everything between double quotes stands for itself
    /// (documentation, psql, "Patterns"), and an identity has its quotes only where they are needed.
    /// </summary>
    public static string Pattern(string identity)
    {
        var parts = new List<string>();
        for (var at = 0; at < identity.Length;)
        {
            if (identity[at] == '"')
            {
                var end = at + 1;
                while (identity[end] != '"' || (end + 1 < identity.Length && identity[end + 1] == '"'))
                {
                    end += identity[end] == '"' ? 2 : 1;
                }

                parts.Add(identity[at..(end + 1)]);
                at = end + 2;
            }
            else
            {
                var end = identity.IndexOf('.', at) is >= 0 and var dot ? dot : identity.Length;
                parts.Add("\"" + identity[at..end] + "\"");
                at = end + 1;
            }
        }

        return string.Join('.', parts);
    }
}
