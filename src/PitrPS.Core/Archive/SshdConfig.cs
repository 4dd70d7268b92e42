using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Archive;

/// <summary>
/// Rules for one account in sshd's configuration: a file of our own where sshd reads such files (Include, OpenSSH 8.2),
/// else a marked block at the end of the one that it reads. Nothing is put in place before `sshd -t` has accepted it.
/// </summary>
internal static partial class SshdConfig
{
    public const string MainFile = "/etc/ssh/sshd_config";
    public const string DropInFolder = "/etc/ssh/sshd_config.d";

    // As with units: there while sshd may run by an older configuration than its files say.
    private const string Pending = HostPaths.Run + "/pending-sshd";

    // 75: somebody has changed the file since it was read. The new text is tried as it will be read, before it takes the old one's place.
    private const string ApplyScript =
        """
        umask 077
        path=$1 expected=$2 unit=$3 main=$4 run=$5 pending=$6 remove=$7
        sshd=$(command -v sshd || echo /usr/sbin/sshd)
        mkdir -p "$run" && exec 9>"$run/sshd.lock" && flock 9 || exit 70
        now=absent; [ ! -f "$path" ] || now=$(sha256sum < "$path" | cut -d' ' -f1)
        [ "$now" = "$expected" ] || exit 75
        work=$(mktemp -d "$run/sshd.XXXXXXXX") || exit 70
        trap 'rm -rf -- "$work"' EXIT
        cat > "$work/new" || exit 74
        if [ -z "$remove" ]; then
          if [ "$path" = "$main" ]; then cp -- "$work/new" "$work/test"; else printf 'Include %s\nInclude %s\n' "$work/new" "$main" > "$work/test"; fi
          "$sshd" -t -f "$work/test" || exit 76
        fi
        [ "$now" = absent ] || cp -p -- "$path" "$work/old" || exit 70
        : > "$pending" || exit 70
        if [ -n "$remove" ]; then
          rm -f -- "$path"
        else
          new=$(mktemp "$path.XXXXXXXX") && cat -- "$work/new" > "$new" && chmod "$([ "$now" = absent ] && echo 644 || stat -c %a "$path")" "$new" && sync "$new" && mv -f -- "$new" "$path" ||
            { rm -f -- "$new" "$pending"; exit 74; }
        fi
        if ! "$sshd" -t; then
          if [ "$now" = absent ]; then rm -f -- "$path"; else cp -p -- "$work/old" "$path"; fi
          rm -f -- "$pending"
          exit 76
        fi
        systemctl try-reload-or-restart "$unit" && rm -f -- "$pending"
        """;

    /// <summary>Which file takes the account's rules, on this host.</summary>
    public static async Task<string> PlaceAsync(PgHost host, string account, CancellationToken cancel) =>
        IncludesDropIns(await host.ReadTextAsync(MainFile, cancel).ConfigureAwait(false) ?? "") ? $"{DropInFolder}/00-{account}.conf" : MainFile;

    /// <summary>Whether sshd reads the drop-in folder, before any Match, where it holds for all.</summary>
    public static bool IncludesDropIns(string text)
    {
        foreach (var line in text.Split('\n'))
        {
            if (MatchLine().IsMatch(line))
            {
                return false;
            }

            if (IncludeLine().Match(line) is { Success: true } include
                && include.Groups["what"].Value.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(w => w.Trim('"')).Any(w => w is DropInFolder + "/*.conf" or "sshd_config.d/*.conf"))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>The file's text with these rules for the account, and none of older ones.</summary>
    public static string With(string path, string? text, string account, string rules)
    {
        if (path != MainFile)
        {
            return rules;
        }

        var rest = Without(path, text, account) ?? "";
        return (rest.Length == 0 || rest.EndsWith('\n') ? rest : rest + "\n") + Begin(account) + "\n" + rules + End(account) + "\n";
    }

    /// <summary>The file's text without rules of ours for the account; null for no file.</summary>
    public static string? Without(string path, string? text, string account)
    {
        if (path != MainFile)
        {
            return null;
        }

        var kept = new List<string>();
        var inside = false;
        foreach (var line in (text ?? "").Split('\n'))
        {
            inside |= line == Begin(account);
            if (!inside)
            {
                kept.Add(line);
            }

            inside &= line != End(account);
        }

        // A block whose end somebody has removed is not taken for the rest of the file.
        return inside ? throw new PitrException("PitrPS.SshdConfigDamaged", ErrorKind.InvalidData, $"In {path}, the line '{End(account)}' is missing.",
            "Put it back at the end of PitrPS's rules, or remove the rules and the line that begins them.") : string.Join('\n', kept);
    }

    /// <summary>The rules are in place, sshd runs by them, and nothing else in its configuration says otherwise.</summary>
    public static Step Step(PgHost host, string id, string title, string path, string account, string rules, IReadOnlyList<string> mustSay) => new(id, title, host)
    {
        IsDone = async run => await host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false) is { } now && now == With(path, now, account, rules)
            && await run.TestAsync(RemoteCommand.Of("test", "!", "-e", Pending).AsRoot()).ConfigureAwait(false)
            && (await MissingAsync(host, account, mustSay, run.Cancel).ConfigureAwait(false)).Count == 0,
        Do = async run =>
        {
            var now = await host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false);
            await ApplyAsync(host, path, now, With(path, now, account, rules), run.Cancel).ConfigureAwait(false);
            if (await MissingAsync(host, account, mustSay, run.Cancel).ConfigureAwait(false) is { Count: > 0 } missing)
            {
                await ApplyAsync(host, path, With(path, now, account, rules), Without(path, With(path, now, account, rules), account), run.Cancel).ConfigureAwait(false);
                throw new PitrException("PitrPS.SshdRulesOverridden", ErrorKind.SecurityError,
                    $"Something in the configuration of sshd on {host.Name} comes before PitrPS's rules for {account}: 'sshd -T -C user={account}' does not say {string.Join(", ", missing.Select(m => $"'{m}'"))}. The rules are taken out again.",
                    "Look for a Match that holds for this account and comes earlier, except the account from it, and run the same command again.", host);
            }
        },
        Preview = [path == MainFile ? $"at the end of {path}:" : $"write {path}:", .. rules.TrimEnd('\n').Split('\n').Select(l => "| " + l), "sshd -t", $"systemctl reload {host.Facts.Platform.SshUnit}"],
    };

    /// <summary>The rules are gone and sshd runs without them. <paramref name="unless"/> says that they are still needed.</summary>
    public static Step RemovalStep(PgHost host, string id, string title, string path, string account, Func<StepRun, Task<bool>> unless) => new(id, title, host)
    {
        IsDone = async run => await unless(run).ConfigureAwait(false)
            || (await host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false) is var now && now == Without(path, now, account)
                && await run.TestAsync(RemoteCommand.Of("test", "!", "-e", Pending).AsRoot()).ConfigureAwait(false)),
        Do = async run =>
        {
            var now = await host.ReadTextAsync(path, run.Cancel).ConfigureAwait(false);
            await ApplyAsync(host, path, now, Without(path, now, account), run.Cancel).ConfigureAwait(false);
        },
        Preview = [path == MainFile ? $"remove the rules for {account} from {path}" : $"remove {path}", $"systemctl reload {host.Facts.Platform.SshUnit}"],
    };

    private static async Task ApplyAsync(PgHost host, string path, string? old, string? text, CancellationToken cancel)
    {
        var command = RemoteCommand.Shell(ApplyScript, path, old is null ? "absent" : Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(old))),
            host.Facts.Platform.SshUnit, MainFile, HostPaths.Run, Pending, text is null ? "remove" : "").AsRoot().WithInput(text ?? "");
        var result = await host.Remote.RunAsync(command, cancel).ConfigureAwait(false);
        if (!result.Succeeded)
        {
            throw result.ExitCode switch
            {
                75 => new PitrException("PitrPS.FileChangedMeanwhile", ErrorKind.ResourceBusy, $"{path} on {host.Name} was changed by somebody else at the same moment.", "Run the same command again.", host),
                76 => new PitrException("PitrPS.SshdConfigRefused", ErrorKind.InvalidData, $"sshd on {host.Name} does not accept its configuration with PitrPS's rules in it; nothing was changed: {result.ErrorOutput.Trim()}",
                    "Mend what 'sshd -t' complains about and run the same command again.", host),
                _ => RemoteHostExtensions.Failed(host, command with { Arguments = ["sshd", "rules", "in", path] }, result),
            };
        }
    }

    private static async Task<IReadOnlyList<string>> MissingAsync(PgHost host, string account, IReadOnlyList<string> mustSay, CancellationToken cancel)
    {
        var says = await host.Remote.RunAsync(RemoteCommand.Shell(
            """exec "$(command -v sshd || echo /usr/sbin/sshd)" -T -C "user=$1,host=localhost,addr=127.0.0.1,laddr=127.0.0.1,lport=22" """, account).AsRoot(), cancel).ConfigureAwait(false);
        return says.Succeeded ? [.. mustSay.Except(says.Lines)] : mustSay;
    }

    private static string Begin(string account) => $"# BEGIN PitrPS {account}";

    private static string End(string account) => $"# END PitrPS {account}";

    [GeneratedRegex(@"^\s*Match(\s|=)", RegexOptions.IgnoreCase)]
    private static partial Regex MatchLine();

    [GeneratedRegex(@"^\s*Include(\s+|\s*=\s*)(?<what>[^#]*)", RegexOptions.IgnoreCase)]
    private static partial Regex IncludeLine();
}
