using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>A setting of which a server in recovery needs at least what its primary had, as the WAL up to the target says.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Needed">What the primary had.</param>
/// <param name="Has">What the standby would start with.</param>
public sealed record SettingToRaise(string Name, long Needed, long Has)
{
    /// <summary>"max_connections 100 -> 300".</summary>
    public override string ToString() => $"{Name} {Has} -> {Needed}";
}

/// <summary>
/// What a standby has too little of for the WAL up to a target: its replay would stop before it, or its start would fail. A recovery on the standby itself raises it in PitrPS's own file,
/// where it stays when that WAL has been replayed: the standby would not start without it any more.
/// Source: src/backend/access/transam/xlogrecovery.c, CheckRequiredParameterValues.
/// </summary>
/// <param name="Settings">What has to be raised.</param>
/// <param name="Owned">What PitrPS's own file on the standby says now.</param>
internal sealed record RaisedSettings(IReadOnlyList<SettingToRaise> Settings, IReadOnlyDictionary<string, string> Owned)
{
    public static async Task<RaisedSettings> ReadAsync(PgServer standby, ResolvedTarget target, CancellationToken cancel)
    {
        var needed = target.RequiredSettings;
        return new RaisedSettings(needed.Count == 0 ? [] : Lower(needed, await OwnAsync(standby, [.. needed.Keys], cancel).ConfigureAwait(false)),
            await OwnedSettings.ReadAsync(standby, cancel).ConfigureAwait(false));
    }

    /// <summary>The record of a recovery that raises them; what an earlier attempt at it has raised is none of the standby's own.</summary>
    public RecoveryRecord On(RecoveryRecord record, RecoveryRecord? earlier)
    {
        var raised = earlier is { Raised.Count: > 0 } ? earlier.Raised : Settings;
        var before = (earlier ?? record).SettingsBefore.ToDictionary();
        foreach (var setting in raised)
        {
            before.TryAdd(setting.Name, Owned.GetValueOrDefault(setting.Name));
        }

        return record with { Raised = raised, SettingsBefore = before };
    }

    /// <summary>What the user is told of it before saying yes.</summary>
    public IReadOnlyList<string> Announcements(PgServer standby) => Settings.Count == 0 ? []
        : [$"The primary had more than {standby.Id} has when it wrote the WAL up to the target, so this is raised, and stays so once the standby has replayed that: {string.Join(", ", Settings)}."];

    internal static IReadOnlyList<SettingToRaise> Lower(IReadOnlyDictionary<string, long> needed, IReadOnlyDictionary<string, long> own) =>
        [.. needed.Where(n => own.TryGetValue(n.Key, out var has) && has < n.Value).OrderBy(n => n.Key, StringComparer.Ordinal).Select(n => new SettingToRaise(n.Key, n.Value, own[n.Key]))];

    // A recovery starts a server, so what the files say counts, not what a running one was started with.
    private static async Task<IReadOnlyDictionary<string, long>> OwnAsync(PgServer standby, IReadOnlyList<string> names, CancellationToken cancel)
    {
        var said = await standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """postgres=$1 config=$2; shift 2; for name; do value=$("$postgres" -D "$config" -C "$name" 2>/dev/null) && echo "$name $value"; done; exit 0""",
            [standby.Program("postgres"), standby.ConfigDirectory, .. names]).As(standby.OsUser), cancel).ConfigureAwait(false);
        return said.Lines.Select(l => l.Split(' ')).Where(w => w.Length == 2).ToDictionary(w => w[0], w => long.Parse(w[1], CultureInfo.InvariantCulture));
    }
}
