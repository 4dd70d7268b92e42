namespace PitrPS.Hosts;

/// <summary>Connects to a host and finds out what it is.</summary>
internal static class HostConnector
{
    private const string FactsScript = "cat /etc/os-release; printf 'PITRPS_MACHINE_ID='; cat /etc/machine-id";

    /// <exception cref="PitrException">
    /// What <see cref="SshLogin.ConnectAsync"/> throws, <c>PitrPS.SudoRefused</c>, <c>PitrPS.SudoPasswordRequired</c>, <c>PitrPS.SudoPasswordWrong</c>,
    /// <c>PitrPS.NoShell</c>, <c>PitrPS.PlatformUnsupported</c>.
    /// </exception>
    public static async Task<PgHost> ConnectAsync(HostLogin login, CancellationToken cancel)
    {
        var remote = new SshHost(login);
        try
        {
            // As root, so that a missing right shows now and not in the middle of a plan.
            var said = await remote.RunAsync(RemoteCommand.Shell(FactsScript).AsRoot(), cancel).ConfigureAwait(false);
            var host = new PgHost(login.Name, login.Address, login.Port, login.UserName, OsRelease.Facts(said.Output, login.Name), remote);
            remote.Target = host;
            return host;
        }
        catch
        {
            await remote.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }
}
