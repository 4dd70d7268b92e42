using System.Globalization;
using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>What pg_controldata prints of a cluster, running or not.</summary>
internal sealed class ControlData
{
    private readonly Dictionary<string, string> _facts;

    private ControlData(Dictionary<string, string> facts) => _facts = facts;

    /// <summary>
    /// The settings that a hot standby must not have lower than its primary had when it wrote the WAL, as the last PARAMETER_CHANGE record left them.
    /// Source: src/backend/access/transam/xlogrecovery.c, CheckRequiredParameterValues.
    /// </summary>
    public IReadOnlyDictionary<string, long> Settings => _facts.Where(f => f.Key.EndsWith(" setting", StringComparison.Ordinal)
            && long.TryParse(f.Value, NumberStyles.None, CultureInfo.InvariantCulture, out _))
        .ToDictionary(f => SettingOf(f.Key[..^" setting".Length]), f => long.Parse(f.Value, CultureInfo.InvariantCulture));

    public uint Timeline => uint.Parse(_facts["Latest checkpoint's TimeLineID"], CultureInfo.InvariantCulture);

    /// <summary>Where a restart of the server begins to replay.</summary>
    public Lsn Redo => Lsn.Parse(_facts["Latest checkpoint's REDO location"]);

    public ulong SystemIdentifier => ulong.Parse(_facts["Database system identifier"], CultureInfo.InvariantCulture);

    public static ControlData Parse(string output) => new(output.Split('\n').Select(l => l.Split(':', 2)).Where(p => p.Length == 2)
        .GroupBy(p => p[0].Trim()).ToDictionary(g => g.Key, g => g.First()[1].Trim()));

    public static async Task<ControlData> ReadAsync(PgServer server, CancellationToken cancel) => Parse((await server.Host.RunCheckedAsync(
        RemoteCommand.Of(server.Program("pg_controldata"), "-D", server.DataDirectory).As(server.OsUser), cancel).ConfigureAwait(false)).Output);

    /// <summary>The setting that pg_controldata and pg_waldump call so: they say "max_prepared_xacts" and "max_locks_per_xact" their own way.</summary>
    public static string SettingOf(string name) => name switch
    {
        "max_prepared_xacts" => "max_prepared_transactions",
        "max_locks_per_xact" => "max_locks_per_transaction",
        _ => name,
    };
}
