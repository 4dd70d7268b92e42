using System.Globalization;
using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>What an installation has to know of a host before it changes anything.</summary>
/// <param name="Locale">The system's locale where it is a UTF-8 one that exists, else C.UTF-8, or C where that is unknown (glibc before 2.35, unless the distribution has added it).</param>
/// <param name="IsPortTaken">Something listens on the port.</param>
/// <param name="HasData">The data directory that would be made is there and not empty.</param>
/// <param name="Firewall">The one that is active, by the program that rules it; null for none.</param>
internal sealed record InstallSurvey(string Locale, bool IsPortTaken, bool HasData, string? Firewall)
{
    // The kernel's own table (documentation: proc(5)): local address, remote address, state; 0A is LISTEN.
    private const string Script =
        """
        port=$(printf '%04X' "$1")
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v p=":$port" '$4 == "0A" && substr($2, length($2) - 4) == p { print "port=taken"; exit }'
        [ -n "$(ls -A "$2" 2>/dev/null)" ] && echo data=there
        LANG=; for f in /etc/default/locale /etc/locale.conf; do [ -f "$f" ] && . "$f"; done
        echo "locale=${LANG:-}"
        locale -a 2>/dev/null | sed 's/^/known=/'
        command -v ufw >/dev/null && ufw status 2>/dev/null | grep -qi '^status: active' && echo firewall=ufw
        command -v firewall-cmd >/dev/null && [ "$(firewall-cmd --state 2>/dev/null)" = running ] && echo firewall=firewalld
        exit 0
        """;

    public static async Task<InstallSurvey> ReadAsync(PgHost host, int port, string dataDirectory, CancellationToken cancel) =>
        Parse((await host.RunCheckedAsync(RemoteCommand.Shell(Script, port.ToString(CultureInfo.InvariantCulture), dataDirectory).AsRoot(), cancel).ConfigureAwait(false)).Lines);

    public static InstallSurvey Parse(IReadOnlyCollection<string> lines)
    {
        var locale = lines.FirstOrDefault(l => l.StartsWith("locale=", StringComparison.Ordinal))?[7..] ?? "";
        string[] known = [.. lines.Where(l => l.StartsWith("known=", StringComparison.Ordinal)).Select(l => Plain(l[6..]))];
        return new InstallSurvey(
            IsUtf8(locale) && known.Contains(Plain(locale)) ? locale : known.Contains(Plain("C.UTF-8")) ? "C.UTF-8" : "C",
            lines.Contains("port=taken"), lines.Contains("data=there"), lines.FirstOrDefault(l => l.StartsWith("firewall=", StringComparison.Ordinal))?[9..]);
    }

    // "en_US.UTF-8" is listed as "en_US.utf8".
    private static string Plain(string locale) => locale.Replace("-", "", StringComparison.Ordinal).ToLowerInvariant();

    private static bool IsUtf8(string locale) => Plain(locale).EndsWith(".utf8", StringComparison.Ordinal);
}
