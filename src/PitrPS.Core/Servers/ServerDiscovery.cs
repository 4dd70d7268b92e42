using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>Which names are wanted.</summary>
/// <param name="Matches">Whether "15/main" is one.</param>
/// <param name="Text">As it was asked for.</param>
/// <param name="MayBeNone">Wildcards may find nothing.</param>
internal sealed record ServerFilter(Func<string, bool> Matches, string Text, bool MayBeNone);

/// <summary>Finds the servers that are on a host, whoever installed them, running or not, with one command.</summary>
internal static class ServerDiscovery
{
    private static readonly string Script = ReadScript();

    /// <summary>All servers of a host, by version and name. A recovery's scratch server is none of them.</summary>
    public static async Task<IReadOnlyList<PgServer>> GetAsync(PgHost host, IFeedback feedback, CancellationToken cancel)
    {
        var printed = await host.RunCheckedAsync(RemoteCommand.Of("/bin/sh", "-s", "--", HostPaths.Servers).AsRoot().WithInput(Script), cancel).ConfigureAwait(false);
        var servers = ServerScan.Parse(host, printed.Output);
        feedback.Verbose($"{host.Name}: {(servers.Count == 0 ? "no PostgreSQL server" : string.Join(", ", servers.Select(Describe)))}");
        return servers;
    }

    /// <summary>The same server as it is now.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ServerNotFound</c></exception>
    public static async Task<PgServer> RefreshAsync(PgServer server, IFeedback feedback, CancellationToken cancel) =>
        await FindAsync(server.Host, server.Name, feedback, cancel).ConfigureAwait(false)
        ?? throw NotFound(server.Host, $"named {server.Name}", server);

    /// <summary>The server of this name; null where there is none.</summary>
    public static async Task<PgServer?> FindAsync(PgHost host, string name, IFeedback feedback, CancellationToken cancel) =>
        (await GetAsync(host, feedback, cancel).ConfigureAwait(false)).FirstOrDefault(s => s.Name == name);

    /// <summary>Those of the servers that are wanted.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ServerNotFound</c> when a name without wildcards or a port was asked for and none has it.</exception>
    public static IReadOnlyList<PgServer> Select(PgHost host, IReadOnlyList<PgServer> servers, ServerFilter? filter, int? port)
    {
        List<PgServer> found = [.. servers.Where(s => (filter is null || filter.Matches(s.Name)) && (port is null || s.Port == port))];
        var asked = string.Join(" ", new[] { filter is null ? null : $"named {filter.Text}", port is null ? null : $"on port {port}" }.OfType<string>());
        return found.Count > 0 || asked.Length == 0 || (port is null && filter!.MayBeNone) ? found : throw NotFound(host, asked);
    }

    public static PitrException NotFound(PgHost host, string which, object? target = null) =>
        new("PitrPS.ServerNotFound", ErrorKind.ObjectNotFound, $"There is no PostgreSQL server {which} on {host.Name}.",
            "Look with Get-PgServer which servers it has, or make one with Install-PgServer.", target ?? host);

    private static string Describe(PgServer server) => $"{server.Name} on port {server.Port}, {(server.IsRunning ? server.Role.ToString().ToLowerInvariant() : "not running")}";

    private static string ReadScript()
    {
        using var stream = typeof(ServerDiscovery).Assembly.GetManifestResourceStream("find-servers.sh")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
