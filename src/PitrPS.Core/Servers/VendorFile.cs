using System.Text;
using PitrPS.Hosts;

namespace PitrPS.Servers;

/// <summary>
/// A configuration file that belongs to somebody else, as lines in which each character is one byte, whatever encoding it has; the last line is what follows the
/// last newline. So what is not changed comes back byte for byte, and what was put in can be taken out without a trace.
/// </summary>
internal static class VendorFile
{
    public static async Task<string[]> ReadAsync(PgServer server, string path, CancellationToken cancel) =>
        Encoding.Latin1.GetString(await server.Host.Remote.ReadFileAsync(path, cancel).ConfigureAwait(false) ?? []).Split('\n');

    /// <summary>Writes it with the mode and the owner that it has; where its name is a link, into the file that this leads to.</summary>
    public static async Task WriteAsync(PgServer server, string path, IReadOnlyList<string> lines, bool secret, CancellationToken cancel)
    {
        var stat = (await server.Host.RunCheckedAsync(RemoteCommand.Shell("""stat -L -c '%a %U %G' -- "$1" && readlink -f -- "$1" """, path).AsRoot(), cancel).ConfigureAwait(false)).Lines;
        var (mode, real) = (stat[0].Split(' '), stat[1]);
        await server.Host.Remote.WriteFileAsync(new RemoteFile(real, Encoding.Latin1.GetBytes(string.Join('\n', lines)), Convert.ToInt32(mode[0], 8), mode[1], mode[2]) { Secret = secret }, cancel).ConfigureAwait(false);
    }

    /// <summary>A line of ours as such characters.</summary>
    public static string Line(string text) => Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(text));
}
