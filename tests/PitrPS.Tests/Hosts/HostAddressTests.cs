using System.Net;
using System.Net.Sockets;
using PitrPS.Hosts;

namespace PitrPS.Tests.Hosts;

/// <summary>Which of a name's addresses is taken.</summary>
public class HostAddressTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData("192.0.2.1")]
    [InlineData("fd00::1")]
    [InlineData("fe80::1%1")]
    public async Task Takes_an_address_as_it_is(string address) =>
        Assert.Equal(address, await HostAddress.ReachableAsync(address, 22, null, Limit, CancellationToken.None));

    [Fact]
    public async Task Comes_to_the_address_that_answers_whichever_stands_first()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;
        Assert.Equal("127.0.0.1", await HostAddress.FirstAnsweringAsync([IPAddress.IPv6Loopback, IPAddress.Parse("127.0.0.2"), IPAddress.Loopback], port, Limit, CancellationToken.None));
        await Assert.ThrowsAsync<SocketException>(() => HostAddress.FirstAnsweringAsync([IPAddress.IPv6Loopback, IPAddress.Parse("127.0.0.2")], port, Limit, CancellationToken.None));
    }

    [Fact]
    public async Task Takes_only_the_family_that_is_wanted()
    {
        if ((await Dns.GetHostAddressesAsync("localhost")).Any(a => a.AddressFamily == AddressFamily.InterNetwork))
        {
            using var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            Assert.Equal("127.0.0.1", await HostAddress.ReachableAsync("localhost", ((IPEndPoint)listener.LocalEndpoint).Port, "inet", Limit, CancellationToken.None));
        }

        await Assert.ThrowsAnyAsync<SocketException>(() => HostAddress.ReachableAsync("no-such-host.invalid", 22, "inet6", Limit, CancellationToken.None));
    }
}
