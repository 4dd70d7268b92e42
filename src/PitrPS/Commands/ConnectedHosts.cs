using System.Management.Automation.Runspaces;
using System.Runtime.CompilerServices;
using PitrPS.Hosts;

namespace PitrPS.Commands;

/// <summary>
/// The hosts that this runspace has connected, for Get-PgHost to show. It keeps nothing alive: a host leaves it when it is disconnected
/// or when nothing in the session refers to it any more, and the list goes with its runspace. Nothing else looks at it, so there is no default host.
/// </summary>
internal static class ConnectedHosts
{
    private static readonly ConditionalWeakTable<Runspace, List<WeakReference<PgHost>>> Lists = [];

    /// <summary>Those of the runspace that runs on this thread.</summary>
    public static IReadOnlyList<PgHost> All
    {
        get
        {
            if (Runspace.DefaultRunspace is not { } runspace || !Lists.TryGetValue(runspace, out var list))
            {
                return [];
            }

            lock (list)
            {
                list.RemoveAll(r => !r.TryGetTarget(out var host) || !host.IsConnected);
                return [.. list.Select(r => r.TryGetTarget(out var host) ? host : null).OfType<PgHost>()];
            }
        }
    }

    /// <summary>Notes the host and returns it.</summary>
    public static PgHost Add(PgHost host)
    {
        if (Runspace.DefaultRunspace is { } runspace)
        {
            var list = Lists.GetOrCreateValue(runspace);
            lock (list)
            {
                list.RemoveAll(r => !r.TryGetTarget(out var other) || !other.IsConnected);
                list.Add(new WeakReference<PgHost>(host));
            }
        }

        return host;
    }
}
