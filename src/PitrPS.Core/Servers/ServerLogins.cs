using System.Runtime.CompilerServices;
using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>A role and its password.</summary>
/// <param name="User">The role.</param>
/// <param name="Password">Its password.</param>
/// <param name="IsGiven">The user gave it (-DatabaseCredential): if it is refused, that is an error and no reason to try another way.</param>
internal sealed record ServerLogin(string User, Secret Password, bool IsGiven);

/// <summary>
/// How the servers of a host are logged in to, for as long as its PgHost lives: what the user gave, what was read from the host, and what did not work lately.
/// None of it can be reached from an object that a user holds.
/// </summary>
internal sealed class ServerLogins
{
    // A way that failed is tried again after this time: the server may have been stopped, or a role been made meanwhile.
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(30);

    private static readonly ConditionalWeakTable<PgHost, ServerLogins> All = [];

    private readonly Lock _lock = new();
    private readonly Dictionary<string, ServerLogin> _logins = [];
    private readonly Dictionary<string, DateTimeOffset> _resting = [];

    public static ServerLogins Of(PgHost host) => All.GetOrCreateValue(host);

    /// <summary>Takes -DatabaseCredential for a server of this host.</summary>
    public void Give(PgServer server, string user, Secret password)
    {
        lock (_lock)
        {
            _logins[server.Name] = new ServerLogin(user, password, IsGiven: true);
            _resting.Remove(Key(server));
        }
    }

    /// <summary>The login, read from the host when it is not known yet; null where there is none, or where it did not work lately.</summary>
    public async Task<ServerLogin?> FindAsync(PgServer server, CancellationToken cancel)
    {
        lock (_lock)
        {
            if (_resting.TryGetValue(Key(server), out var until) && until > DateTimeOffset.UtcNow)
            {
                return null;
            }

            if (_logins.TryGetValue(server.Name, out var known))
            {
                return known;
            }
        }

        var secret = await ProvisionedRole.ReadSecretAsync(server, cancel).ConfigureAwait(false);
        lock (_lock)
        {
            if (secret is null)
            {
                _resting[Key(server)] = DateTimeOffset.UtcNow + Rest;
                return null;
            }

            return _logins[server.Name] = new ServerLogin(ProvisionedRole.Name, secret, IsGiven: false);
        }
    }

    /// <summary>This way does not work now; a password that was read is read anew next time.</summary>
    public void Failed(PgServer server)
    {
        lock (_lock)
        {
            _resting[Key(server)] = DateTimeOffset.UtcNow + Rest;
            if (_logins.TryGetValue(server.Name, out var login) && !login.IsGiven)
            {
                _logins.Remove(server.Name);
            }
        }
    }

    /// <summary>The role or its secret has been made or changed.</summary>
    public void Changed(PgServer server)
    {
        lock (_lock)
        {
            _resting.Remove(Key(server));
            if (_logins.TryGetValue(server.Name, out var login) && !login.IsGiven)
            {
                _logins.Remove(server.Name);
            }
        }
    }

    // A recovery's server has the name of the standby that it stands for, but a port of its own.
    private static string Key(PgServer server) => $"{server.Name}:{server.Port}";
}
