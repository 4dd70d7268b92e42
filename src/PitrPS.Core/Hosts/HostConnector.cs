namespace PitrPS.Hosts;

/// <summary>Connects to a host and finds out what it is.</summary>
internal static class HostConnector
{
    // Who runs a server may look at it without root.
    private const string IsDatabaseUser = """[ "$(id -un)" = postgres ] || pgrep -u "$(id -u)" -x 'postgres|postmaster' >/dev/null""";

    private const string FactsScript = "cat /etc/os-release; printf 'PITRPS_MACHINE_ID='; cat /etc/machine-id; printf '\\nPITRPS_SELINUX='; if [ -e /sys/fs/selinux/enforce ]; then echo yes; else echo no; fi";

    /// <summary>Connects them all, so many at a time; each is told of in the order of the logins, as soon as it and those before it are known.</summary>
    public static async Task ConnectAllAsync(IReadOnlyList<HostLogin> logins, int limit, Action<PgHost> connected, Action<PitrException, object> failed, CancellationToken cancel)
    {
        var places = new SemaphoreSlim(limit);
        var connecting = logins.Select(ConnectInTurnAsync).ToList();
        foreach (var (login, task) in logins.Zip(connecting))
        {
            try
            {
                connected(await task.ConfigureAwait(false));
            }
            catch (PitrException e)
            {
                failed(e, login.Name);
            }
        }

        async Task<PgHost> ConnectInTurnAsync(HostLogin login)
        {
            await places.WaitAsync(cancel).ConfigureAwait(false);
            try
            {
                return await ConnectAsync(login, cancel).ConfigureAwait(false);
            }
            finally
            {
                places.Release();
            }
        }
    }

    /// <exception cref="PitrException">
    /// What <see cref="SshLogin.ConnectAsync"/> throws, <c>PitrPS.SudoRefused</c>, <c>PitrPS.SudoPasswordRequired</c>, <c>PitrPS.SudoPasswordWrong</c>,
    /// <c>PitrPS.NoShell</c>, <c>PitrPS.PlatformUnsupported</c>.
    /// </exception>
    public static async Task<PgHost> ConnectAsync(HostLogin login, CancellationToken cancel)
    {
        foreach (var warning in login.Jumps.Append(login).SelectMany(l => l.Warnings).Distinct())
        {
            CommandTrace.Warn($"{login.Name}: {warning}");
        }

        var remote = new SshHost(login);
        try
        {
            // As root, so that a missing right shows now and not in the middle of a plan.
            CommandResult said;
            try
            {
                said = await remote.RunAsync(RemoteCommand.Shell(FactsScript).AsRoot(), cancel).ConfigureAwait(false);
            }
            catch (PitrException e) when (e.Id is "PitrPS.SudoRefused" or "PitrPS.SudoPasswordRequired")
            {
                if (!(await remote.RunAsync(RemoteCommand.Shell(IsDatabaseUser), cancel).ConfigureAwait(false)).Succeeded)
                {
                    throw;
                }

                remote.HasRoot = false;
                said = await remote.RunAsync(RemoteCommand.Shell(FactsScript), cancel).ConfigureAwait(false);
                CommandTrace.Warn($"{login.Name}: {login.UserName} has no sudo. Servers can be found, with their status and incidents; whatever changes the host is refused (PitrPS.RootRequired), and what PitrPS itself has noted there is not known.");
            }

            var host = new PgHost(login.Name, login.Address, login.Port, login.UserName, OsRelease.Facts(said.Output, login.Name), remote)
            {
                JumpHost = [.. login.Jumps.Select(j => j.Name)],
                HasRoot = remote.HasRoot,
            };
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
