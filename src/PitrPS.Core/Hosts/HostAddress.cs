using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace PitrPS.Hosts;

/// <summary>Which of a name's addresses to connect to. SSH.NET takes the first, which may be an IPv6 address that no way leads to.</summary>
internal static class HostAddress
{
    // Long enough for a far host, short enough to come to the next address in time.
    private static readonly TimeSpan Each = TimeSpan.FromSeconds(3);

    /// <summary>The name's only address, or the first one that takes a connection; an address (fe80::1%eth0 too) as it is.</summary>
    /// <param name="name">A name or an address.</param>
    /// <param name="port">The port that is tried.</param>
    /// <param name="family">inet or inet6 for such addresses only; anything else for both.</param>
    /// <param name="limit">For all of it.</param>
    /// <param name="cancel">Gives up at once.</param>
    /// <exception cref="SocketException">There is no such name, or no address takes the connection.</exception>
    /// <exception cref="TimeoutException">Nobody answered in time.</exception>
    public static async Task<string> ReachableAsync(string name, int port, string? family, TimeSpan limit, CancellationToken cancel)
    {
        if (IPAddress.TryParse(name, out _))
        {
            return name;
        }

        var watch = Stopwatch.StartNew();
        var kind = family switch { "inet" => AddressFamily.InterNetwork, "inet6" => AddressFamily.InterNetworkV6, _ => AddressFamily.Unspecified };
        var found = await Dns.GetHostAddressesAsync(name, kind, cancel).WaitAsync(limit, cancel).ConfigureAwait(false);
        return found.Length == 1 ? found[0].ToString() : await FirstAnsweringAsync(found, port, limit - watch.Elapsed, cancel).ConfigureAwait(false);
    }

    /// <summary>The first of the addresses that takes a connection.</summary>
    /// <exception cref="SocketException">None does.</exception>
    /// <exception cref="TimeoutException">Nobody answered in time.</exception>
    public static async Task<string> FirstAnsweringAsync(IReadOnlyList<IPAddress> addresses, int port, TimeSpan limit, CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        Exception? last = null;
        foreach (var address in addresses)
        {
            var left = limit - watch.Elapsed;
            try
            {
                using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
                await socket.ConnectAsync(address, port, cancel).AsTask().WaitAsync(left < Each ? left > TimeSpan.Zero ? left : TimeSpan.Zero : Each, cancel).ConfigureAwait(false);
                return address.ToString();
            }
            catch (Exception e) when (e is SocketException or TimeoutException)
            {
                last = e;
            }
        }

        throw last ?? new SocketException((int)SocketError.HostNotFound);
    }
}
