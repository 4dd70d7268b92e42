using System.Globalization;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>A target as one thing: what is given to -To of Move-PitrRecovery.</summary>
internal static class TargetText
{
    /// <summary>What a value names: a time is still as it was written, and is asked about where it says no offset.</summary>
    /// <param name="Target">The target; null for a time.</param>
    /// <param name="Time">The time.</param>
    internal sealed record Meaning(RecoveryTarget? Target, TargetTime? Time)
    {
        public static implicit operator Meaning(RecoveryTarget target) => new(target, null);
    }

    /// <summary>
    /// Reads "0/3D79CC8", "xid 741", "immediate", a time, or the name of a restore point; "name X" for one that looks like something else. Other values: an LSN, a time, an incident, a target.
    /// </summary>
    /// <exception cref="PitrException"><c>PitrPS.TargetNotUnderstood</c></exception>
    public static Meaning Read(object? value) => value switch
    {
        RecoveryTarget target => target,
        PgIncident incident => new RecoveryTarget.Lsn(incident.CommitLsn),
        Lsn lsn => new RecoveryTarget.Lsn(lsn),
        DateTimeOffset at => new Meaning(null, new TargetTime(at)),
        DateTime time => new Meaning(null, new TargetTime(time)),
        TargetTime time => new Meaning(null, time),
        string text when text.Trim().Length > 0 => Parse(text.Trim()),
        _ => throw NotUnderstood(Convert.ToString(value, CultureInfo.InvariantCulture) ?? ""),
    };

    private static Meaning Parse(string text)
    {
        if (Lsn.TryParse(text, out var lsn))
        {
            return new RecoveryTarget.Lsn(lsn);
        }

        var words = text.Split((char[]?)null, 2, StringSplitOptions.RemoveEmptyEntries);
        switch (words)
        {
            case ["immediate" or "Immediate"]:
                return new RecoveryTarget.Immediate();
            case ["xid" or "Xid" or "XID", var number] when uint.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out var xid) && xid > 0:
                return new RecoveryTarget.Xid(xid);
            case ["name" or "Name", var name]:
                return new RecoveryTarget.Name(name);
        }

        // A number alone, or what begins like a time or an xid and is none, is a slip of the pen and hardly a restore point's name.
        var time = new TargetTime(text);
        return time.IsUnderstood ? new Meaning(null, time)
            : text.All(char.IsAsciiDigit) || words[0].Equals("xid", StringComparison.OrdinalIgnoreCase) || (text.Length > 9 && text[..4].All(char.IsAsciiDigit) && text[4] == '-') || text.Contains('/', StringComparison.Ordinal)
                ? throw NotUnderstood(text)
                : new RecoveryTarget.Name(text);
    }

    private static PitrException NotUnderstood(string text) => new("PitrPS.TargetNotUnderstood", ErrorKind.InvalidArgument,
        $"'{text}' is no target that can be read in one way only.",
        "Give a WAL position (0/3D79CC8), a time with its offset ('2026-11-23 14:05:00+01:00'), 'xid 741', 'immediate', the name of a restore point ('name 741' where it looks like something else), or an incident of Find-PgIncident.");
}
