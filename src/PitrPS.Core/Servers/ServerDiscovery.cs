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

    /// <summary>All servers of a host, by version and name: those that run, those in the usual places, and those that lie anywhere on its own file systems. A recovery's scratch server is none of them.</summary>
    public static Task<IReadOnlyList<PgServer>> GetAsync(PgHost host, IFeedback feedback, CancellationToken cancel) => ScanAsync(host, "all", [], feedback, cancel);

    /// <summary>The same server as it is now.</summary>
    /// <exception cref="PitrException"><c>PitrPS.ServerNotFound</c></exception>
    public static async Task<PgServer> RefreshAsync(PgServer server, IFeedback feedback, CancellationToken cancel) =>
        (await ScanAsync(server.Host, "known", [server.DataDirectory], feedback, cancel).ConfigureAwait(false)).FirstOrDefault(s => s.Name == server.Name)
        ?? throw NotFound(server.Host, $"named {server.Name}", server);

    private static async Task<IReadOnlyList<PgServer>> ScanAsync(PgHost host, string reach, IReadOnlyList<string> places, IFeedback feedback, CancellationToken cancel)
    {
        var printed = await host.RunCheckedAsync(new RemoteCommand(["/bin/sh", "-s", "--", HostPaths.Servers, reach, .. places]).AsRoot().WithInput(Script), cancel).ConfigureAwait(false);
        var servers = ServerScan.Parse(host, printed.Output);
        feedback.Verbose($"{host.Name}: {(servers.Count == 0 ? "no PostgreSQL server" : string.Join(", ", servers.Select(Describe)))}");
        return servers;
    }

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

    /// <summary>Says, before anything is done to its replay or its configuration, that something else looks after this server.</summary>
    public static void WarnOfManager(PgServer server, IFeedback feedback)
    {
        if (server.Manager is { } manager)
        {
            feedback.Warning($"{server.Id} is looked after by {manager}, which may start, restart or promote it and write its configuration anew while PitrPS is at work. "
                + (manager == "Patroni" ? "Pause it first (patronictl pause) and resume it afterwards." : $"Stop {manager} on {server.Host.Name} first and start it again afterwards."));
        }
    }

    private static string Describe(PgServer server) => $"{server.Name} on port {server.Port}, {(server.IsRunning ? server.Role.ToString().ToLowerInvariant() : "not running")}";

    private static string ReadScript()
    {
        using var stream = typeof(ServerDiscovery).Assembly.GetManifestResourceStream("find-servers.sh")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
