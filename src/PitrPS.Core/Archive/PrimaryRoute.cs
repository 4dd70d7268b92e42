using System.Globalization;
using System.Net;
using PitrPS.Hosts;

namespace PitrPS.Archive;

/// <summary>
/// The way from the standby's host to the primary's sshd, tried before anything is changed. The primary's host keys come from its own files over
/// the verified connection, so that nobody between the two hosts is ever asked for them.
/// </summary>
/// <param name="Address">The primary as the standby sees it.</param>
/// <param name="Port">Its SSH port as the standby sees it.</param>
/// <param name="KnownHosts">The lines for the standby's own known_hosts file.</param>
internal sealed record PrimaryRoute(string Address, int Port, string KnownHosts)
{
    // sshd itself says which keys it has; only where it cannot be asked its usual files are taken.
    private const string HostKeysScript =
        """
        keys=$("$(command -v sshd || echo /usr/sbin/sshd)" -T 2>/dev/null | sed -n 's/^hostkey //p')
        [ -n "$keys" ] || keys=$(ls /etc/ssh/ssh_host_*_key 2>/dev/null)
        printf '%s\n' "$keys" | while IFS= read -r key; do [ ! -f "$key.pub" ] || cat -- "$key.pub"; done
        """;

    // Without authentication the answer is "Permission denied", and then the host has been reached and has the right key.
    // A host without ssh (it comes with sshfs) tries whether the port is open.
    private const string TryScript =
        """
        if ! command -v ssh >/dev/null; then
          exec timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2"
        fi
        known=$(mktemp) || exit 70
        trap 'rm -f -- "$known"' EXIT
        cat > "$known"
        said=$(timeout 15 ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=yes -o UpdateHostKeys=no \
          -o UserKnownHostsFile="$known" -o GlobalKnownHostsFile=/dev/null -o PreferredAuthentications=none -o PubkeyAuthentication=no \
          -p "$2" -l "$3" -- "$1" true 2>&1)
        case $said in
          *'Permission denied'*) exit 0 ;;
          *'Host key verification failed'* | *'REMOTE HOST IDENTIFICATION HAS CHANGED'* | *'host key is known for'*) exit 3 ;;
        esac
        printf '%s\n' "$said" >&2
        exit 4
        """;

    /// <exception cref="PitrException"><c>PitrPS.PrimaryUnreachableFromStandby</c>, <c>PitrPS.PrimaryHostKeyMismatch</c>, <c>PitrPS.NoHostKeys</c></exception>
    public static async Task<PrimaryRoute> TryAsync(PgHost standby, PgHost primary, string address, int port, string account, CancellationToken cancel)
    {
        RequireAddress(address, primary);
        var keys = (await primary.RunCheckedAsync(RemoteCommand.Shell(HostKeysScript).AsRoot(), cancel).ConfigureAwait(false)).Lines;
        var route = new PrimaryRoute(address, port, KnownHostsText(address, port, keys));
        if (route.KnownHosts.Length == 0)
        {
            throw new PitrException("PitrPS.NoHostKeys", ErrorKind.ObjectNotFound, $"The public host keys of {primary.Name} are not beside its private ones (/etc/ssh/ssh_host_*_key.pub).",
                "Make them again with 'ssh-keygen -y', or reinstall openssh-server.", primary);
        }

        var tried = await standby.Remote.RunAsync(
            RemoteCommand.Shell(TryScript, address, port.ToString(CultureInfo.InvariantCulture), account).WithInput(route.KnownHosts).WithTimeout(TimeSpan.FromSeconds(30)), cancel).ConfigureAwait(false);
        return tried.ExitCode switch
        {
            0 => route,
            3 => throw new PitrException("PitrPS.PrimaryHostKeyMismatch", ErrorKind.SecurityError,
                $"Seen from {standby.Name}, {address} port {port} is not {primary.Name}: it shows another host key than {primary.Name} has.",
                "Give the address and SSH port under which the standby sees the primary with -PrimaryAddress and -PrimarySshPort.", standby),
            _ => throw new PitrException("PitrPS.PrimaryUnreachableFromStandby", ErrorKind.ConnectionError,
                $"{standby.Name} does not reach the primary's SSH server at {address} port {port}: {tried.ErrorOutput.Trim()}",
                "If the standby sees the primary under another address or port than this client does, give it with -PrimaryAddress and -PrimarySshPort. Otherwise open that port from the standby to the primary.", standby),
        };
    }

    /// <summary>The lines as OpenSSH looks them up: a port other than 22 is part of the name.</summary>
    public static string KnownHostsText(string address, int port, IEnumerable<string> publicKeys)
    {
        var name = port == 22 ? address : string.Create(CultureInfo.InvariantCulture, $"[{address}]:{port}");
        return string.Concat(publicKeys.Select(k => k.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)).Where(w => w.Length >= 2)
            .Select(w => $"{name} {w[0]} {w[1]}\n").Distinct().Order(StringComparer.Ordinal));
    }

    /// <summary>It becomes part of a known_hosts line, of sshfs's source and of a unit file.</summary>
    /// <exception cref="PitrException"><c>PitrPS.InvalidAddress</c></exception>
    public static void RequireAddress(string address, PgHost primary)
    {
        var isName = address.Length is > 0 and < 254 && char.IsAsciiLetterOrDigit(address[0]) && address.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');
        if (!isName && !IPAddress.TryParse(address, out _))
        {
            throw new PitrException("PitrPS.InvalidAddress", ErrorKind.InvalidArgument, $"'{address}' is neither a host name nor an address.", "Give the primary's name or address as the standby sees it.", primary);
        }
    }
}
