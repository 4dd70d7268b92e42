using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>
/// A self-signed certificate for a new server, where its packages bring none; New-PgStandby carries it to the standby and verifies the primary by it.
/// Key and certificate lie outside of the data directory: what lies in there, a base backup takes along to the standby.
/// Source: PostgreSQL documentation, "Secure TCP/IP Connections with SSL".
/// </summary>
internal static class ServerCertificate
{
    public static string DirectoryOf(PgServer server) => $"/etc/pitrps/{HostPaths.FileName(server.Name)}/tls";

    /// <summary>These settings, and those of the certificate.</summary>
    public static IReadOnlyDictionary<string, string?> Settings(PgServer server, IReadOnlyDictionary<string, string?> others) => new Dictionary<string, string?>(others)
    {
        ["ssl"] = "on",
        ["ssl_cert_file"] = DirectoryOf(server) + "/server.crt",
        ["ssl_key_file"] = DirectoryOf(server) + "/server.key",
    };

    // PostgreSQL takes a key of root's that only the server's group reads.
    public static IReadOnlyList<Step> Steps(PgServer server, string id) =>
    [
        Planning.Steps.Command(server.Host, id, $"Make a certificate for {server.Name}; its key stays on this host",
            RemoteCommand.Shell(
                """
                [ "$(stat -c '%a %U %G' "$1/server.key" 2>/dev/null)" = "640 root $2" ] &&
                [ "$(openssl x509 -noout -pubkey -in "$1/server.crt" 2>/dev/null)" = "$(openssl pkey -pubout -in "$1/server.key" 2>/dev/null)" ]
                """, DirectoryOf(server), server.OsUser).AsRoot(),
            RemoteCommand.Shell(
                """
                umask 077
                mkdir -p -m 0755 "$(dirname "$(dirname "$1")")" "$(dirname "$1")" "$1" || exit
                cd "$1" && rm -f server.key server.crt || exit
                openssl req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj "/CN=$(hostname | cut -c 1-60)" -keyout server.key -out server.crt 2>/dev/null ||
                  { echo 'openssl cannot make a certificate' >&2; exit 1; }
                chmod 0644 server.crt && chown "root:$2" server.key && chmod 0640 server.key && sync
                """, DirectoryOf(server), server.OsUser).AsRoot().WithTimeout(TimeSpan.FromMinutes(2))) with
        {
            Preview = [$"openssl req -x509: write {DirectoryOf(server)}/server.crt (644, root) and server.key (640, root:{server.OsUser})"],
        },
    ];
}
