using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>Where PitrPS keeps things on a host. All of it belongs to root; the state is readable by root only.</summary>
internal static class HostPaths
{
    public const string State = "/var/lib/pitrps";
    public const string Servers = State + "/servers";
    public const string Operations = State + "/operations";
    public const string History = State + "/history";
    public const string Pointers = State + "/pointers";
    public const string Units = State + "/units";
    public const string Recoveries = State + "/recoveries";
    public const string Clones = State + "/clones";

    /// <summary>Scripts that the server or systemd calls.</summary>
    public const string Scripts = "/usr/local/lib/pitrps";

    public const string Run = "/run/pitrps";
    public const string Locks = Run + "/locks";

    /// <summary>Makes the directories that only root may look into, on a host that PitrPS has not been on before.</summary>
    public static RemoteCommand Prepare { get; } = RemoteCommand.Shell("""umask 077; exec mkdir -p "$@" """, Servers, Operations, History, Pointers, Units, Recoveries, Clones).AsRoot();

    /// <summary>A subject such as "standby:15/main" as a file name.</summary>
    public static string FileName(string subject) =>
        string.Concat(subject.Select(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-' ? c : '-'));
}
