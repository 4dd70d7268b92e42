using Renci.SshNet;

namespace PitrPS.Hosts;

/// <summary>
/// A way through another host: a connection of its own to that host, and a port on this client's loopback that leads through it.
/// Each connection to a host has its own way, and the way ends with it.
/// </summary>
internal sealed class SshJump : IDisposable
{
    // A jump host's sshd drops logins at random when more than 10 are under way (MaxStartups).
    private static readonly SemaphoreSlim LoggingIn = new(8, 8);

    private readonly SshConnection _connection;
    private readonly ForwardedPortLocal _port;

    private SshJump(SshConnection connection, ForwardedPortLocal port)
    {
        _connection = connection;
        _port = port;
    }

    public int LocalPort => (int)_port.BoundPort;

    /// <summary>Completes when the jump host is lost.</summary>
    public Task Lost => _connection.Lost;

    public static async Task<SshJump> OpenAsync(SshLogin via, string address, int port, object target, TimeSpan limit, CancellationToken cancel)
    {
        SshConnection connection;
        await LoggingIn.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            connection = await via.ConnectAsync(target, limit, cancel).ConfigureAwait(false);
        }
        finally
        {
            LoggingIn.Release();
        }

        var jump = new SshJump(connection, new ForwardedPortLocal("127.0.0.1", 0, address, (uint)port));
        try
        {
            await SshConnection.OnItsOwnThread(() =>
            {
                connection.Client.AddForwardedPort(jump._port);
                jump._port.Start();
                return true;
            }).WaitAsync(cancel).ConfigureAwait(false);
            return jump;
        }
        catch
        {
            jump.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _ = SshConnection.OnItsOwnThread(() => SshConnection.Quietly(_port.Dispose));
        _connection.Dispose();
    }
}
