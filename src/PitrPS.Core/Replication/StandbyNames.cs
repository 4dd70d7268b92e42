using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>The names and paths that belong to one standby; the same in every session.</summary>
/// <param name="Role">The replication role on the primary, and the slot, and the standby's application_name.</param>
/// <param name="Directory">Where the standby keeps what it needs to reach its primary.</param>
internal sealed record StandbyNames(string Role, string Directory)
{
    public string Slot => Role;

    public string Passfile => Directory + "/passfile";

    public string Certificate => Directory + "/primary.crt";

    /// <summary>The unit of the base backup.</summary>
    public string BackupUnit => "pitrps-basebackup-" + Role;

    // The machine's id makes two hosts of the same name differ; a role and a slot have 63 characters, a slot only a-z, 0-9 and _.
    public static StandbyNames Of(PgServer standby)
    {
        var machine = standby.Host.Facts.MachineId;
        var tail = "_" + Plain(standby.Name) + "_" + (machine.Length >= 6 ? machine[..6] : machine.PadRight(6, '0'));
        var head = "pitrps_" + Plain(standby.Host.Name);
        return new StandbyNames(head[..Math.Min(head.Length, 63 - tail.Length)] + tail, "/etc/pitrps/" + HostPaths.FileName(standby.Name));
    }

    private static string Plain(string name) => string.Concat(name.ToLowerInvariant().Select(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) ? c : '_'));
}
