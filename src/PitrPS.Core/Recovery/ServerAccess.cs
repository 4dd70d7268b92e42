using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>Who gets into an open scratch server: PitrPS, as the server's OS user, and whoever the standby's own files let in.</summary>
/// <param name="Hba">pg_hba.conf.</param>
/// <param name="Ident">pg_ident.conf.</param>
internal sealed record ServerAccess(string Hba, string Ident)
{
    public static async Task<ServerAccess> ReadAsync(PgServer standby, HostSurvey survey, CancellationToken cancel)
    {
        async Task<string> TextAsync(string setting) =>
            survey.Settings.GetValueOrDefault(setting) is { Length: > 0 } path ? await standby.Host.ReadTextAsync(path, cancel).ConfigureAwait(false) ?? "" : "";

        var role = standby.SocketRole ?? standby.OsUser;
        return new ServerAccess(
            $"{OwnHba(role)}\n{await TextAsync("hba_file").ConfigureAwait(false)}".TrimEnd('\n'),
            $"{OwnIdent(standby.OsUser, role)}\n{await TextAsync("ident_file").ConfigureAwait(false)}".TrimEnd('\n'));
    }

    public static string OwnHba(string role) => $"local all {Quote(role)} peer map=pitrps";

    public static string OwnIdent(string osUser, string role) => $"pitrps {Quote(osUser)} {Quote(role)}";

    private static string Quote(string word) => "\"" + word.Replace("\"", "\"\"", StringComparison.Ordinal) + "\"";
}
