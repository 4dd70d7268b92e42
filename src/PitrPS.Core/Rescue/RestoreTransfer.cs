using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Recovery;
using PitrPS.Servers;

namespace PitrPS.Rescue;

/// <summary>The database's OS user on the primary, as whom the standby comes in for one restore.</summary>
/// <param name="Group">Its group.</param>
/// <param name="Home">Its home.</param>
/// <param name="KeysFile">The file where sshd looks for its keys.</param>
internal sealed record PrimaryAccount(string Group, string Home, string KeysFile);

/// <summary>
/// How the rows get from the standby to the primary: files on both, a key for one connection, the unit that sends, and what the transaction left behind.
/// The standby logs in as the database's OS user, because that is whom the database lets in by peer and whom a stock sshd lets in with a key on both families
/// (its password is locked, its shell is not); what it may do there is one forced command that reads rows. The line in its authorized_keys expires after minutes
/// and is taken away by the forced command itself when it is first used.
/// </summary>
internal sealed class RestoreTransfer(RestoreTask task, PgServer standby, PgServer primary)
{
    private const string KeyLifetime = "+15 minutes";

    public RemoteUnit Unit { get; } = new(standby.Host, task.Name);

    private string Receiver => task.PrimaryFolder + "/receive";

    /// <summary>On the primary: the definitions, and the script that receives. Only root writes there; the outcome alone is the OS user's.</summary>
    public Step DefinitionStep(RestoreScript script, PrimaryAccount account) => Folder("definition", "Put the definitions and the script that receives the rows on the primary", primary.Host, task.PrimaryFolder, 0x1E8 /* 0750 */, account.Group,
    [
        ("receive", Script("pitrps-receive-tables.sh")),
        ("settings", Settings(account)),
        ("begin", script.Begin),
        .. script.Copies.Select((copy, i) => (string.Create(CultureInfo.InvariantCulture, $"{i + 1:D6}.copy"), copy)),
        ("finish", script.Finish),
        ("end", script.End),
    ],
        run => run.RememberAsync(UnfinishedRestore.NoteKey, task.Render()),
        ["outcome", primary.OsUser],
        ["the transaction on the primary:", .. script.Preview.Select(l => "| " + l)]) with
    {
        Undo = run => RemovePrimaryFolderAsync(run.Cancel),
    };

    /// <summary>On the standby: the key, whom to trust, and what to send.</summary>
    public Step KeyStep(RestoreScript script, PrimaryRoute route) => Folder("key", "Make a key for this one restore on the standby, and put the script that sends the rows there", standby.Host, task.StandbyFolder, 0x1C0 /* 0700 */, "root",
    [
        ("send", Script("pitrps-send-tables.sh")),
        ("known_hosts", route.KnownHosts),
        ("rows", script.Rows),
        ("proofs", script.Proofs),
    ],
        _ => Task.CompletedTask,
        ["key", task.Name], []) with
    {
        Undo = run => RemoveStandbyFolderAsync(run.Cancel),
    };

    /// <summary>The authorized_keys line, tried at once.</summary>
    public Step AuthorizeStep(PrimaryAccount account, PrimaryRoute route) => new("authorize", $"Let that key run the receiving script as {primary.OsUser}, once and within 15 minutes, and nothing else", primary.Host)
    {
        IsDone = run => run.TestAsync(RemoteCommand.Shell("""grep -qsF -- " $1" "$2" """, task.Name, account.KeysFile).AsRoot()),
        Do = async run =>
        {
            var key = (await standby.Host.ReadTextAsync(task.StandbyFolder + "/key.pub", run.Cancel).ConfigureAwait(false))?.Trim().Split(' ')
                ?? throw new PitrException("PitrPS.StepNotEffective", ErrorKind.InvalidResult, $"The key that was made for this restore on {standby.Host.Name} is not there.", "Run the same command again.", standby);
            await run.RunAsync(AsOwner(account, RemoteCommand.Shell(AuthorizeScript, account.KeysFile, task.Name, KeyLifetime, Receiver, key[0], key[1]))).ConfigureAwait(false);
            if (await TryKeyAsync(route, run.Cancel).ConfigureAwait(false) is { } said)
            {
                throw new PitrException("PitrPS.RestoreKeyRefused", ErrorKind.AuthenticationError,
                    $"sshd on {primary.Host.Name} does not let {primary.OsUser} in with the key that was made for this restore: {said}",
                    $"Nothing was changed. Look at sshd's log on {primary.Host.Name}: {primary.OsUser} must be allowed by AllowUsers/AllowGroups and have a login shell. Then run the same command again.", primary);
            }
        },
        Undo = run => ForgetKeyAsync(account, run.Cancel),
        Preview = [$"add to {account.KeysFile}:", $"| restrict,expiry-time=\"(in 15 minutes)\",command=\"/bin/sh {Receiver}\" ssh-ed25519 (the key's public half) {task.Name}"],
    };

    public RemoteCommand Send(PgServer scratch, PrimaryRoute route) => RemoteCommand.Of(
        "/bin/sh", task.StandbyFolder + "/send", task.StandbyFolder, scratch.SocketDirectory, Number(scratch.Port), PsqlSession.ConnectionString(task.Database, scratch.SocketRole), scratch.OsUser, scratch.BinDirectory,
        primary.OsUser, route.Address, Number(route.Port));

    /// <summary>The outcome file as it is; empty where there is none.</summary>
    public async Task<string> OutcomeAsync(CancellationToken cancel) => await primary.Host.ReadTextAsync(task.OutcomeFile, cancel).ConfigureAwait(false) ?? "";

    /// <summary>
    /// Whether the transaction was committed, asked of the primary itself: true, false, or null while it is still under way.
    /// Source: documentation, pg_xact_status.
    /// </summary>
    public async Task<bool?> IsCommittedAsync(string outcome, IFeedback feedback, CancellationToken cancel)
    {
        if (RestoreOutcome.Parse(outcome).TransactionId is not { } xid)
        {
            return false;
        }

        var rows = await ServerSql.ByPsqlAsync(primary, string.Create(CultureInfo.InvariantCulture, $"SELECT pg_catalog.pg_xact_status('{xid}'::xid8)"), feedback, cancel).ConfigureAwait(false);
        return rows[0][0] switch { "committed" => true, "in progress" => null, _ => false };
    }

    /// <summary>Ends a session of this restore that nobody feeds any more, and waits until it is gone.</summary>
    public async Task EndSessionAsync(IFeedback feedback, CancellationToken cancel)
    {
        var until = DateTimeOffset.UtcNow + TimeSpan.FromSeconds(60);
        while ((await ServerSql.ByPsqlAsync(primary,
            $"SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity WHERE application_name = {Sql.Literal(task.ApplicationName)}", feedback, cancel).ConfigureAwait(false))[0].Number(0) > 0)
        {
            if (DateTimeOffset.UtcNow > until)
            {
                throw new PitrException("PitrPS.SessionDoesNotEnd", ErrorKind.ResourceBusy, $"A session of an earlier attempt on {primary.Id} does not end.",
                    $"Look at pg_stat_activity for application_name '{task.ApplicationName}' there; when it has gone, run the same command again.", primary);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(200), cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Nothing of the restore is left on the primary: no line in authorized_keys, no folder.</summary>
    public Step ClearPrimaryStep(Func<StepRun, bool> isTime, PrimaryAccount account, bool isAbandoned = false) =>
        new(isAbandoned ? "clear-earlier-primary" : "clear-primary", isAbandoned ? "Take away what an earlier attempt left on the primary" : "Take the key's line and the scripts away from the primary", primary.Host)
        {
            IsDone = async run => isTime(run) && await run.TestAsync(RemoteCommand.Shell("""[ ! -e "$1" ] && ! grep -qsF -- " $2" "$3" """, task.PrimaryFolder, task.Name, account.KeysFile).AsRoot()).ConfigureAwait(false),
            Do = async run =>
            {
                await ForgetKeyAsync(account, run.Cancel).ConfigureAwait(false);
                if (isAbandoned)
                {
                    await EndSessionAsync(run.Feedback, run.Cancel).ConfigureAwait(false);
                }

                await RemovePrimaryFolderAsync(run.Cancel).ConfigureAwait(false);
            },
            Preview = [$"remove {task.PrimaryFolder}", $"remove the line of {task.Name} from {account.KeysFile}"],
        };

    /// <summary>Nothing of it is left on the standby: no unit, no key, no scripts.</summary>
    public Step ClearStandbyStep(Func<StepRun, bool> isTime, string id = "clear-standby", string title = "Take the key and the scripts away from the standby") =>
        new(id, title, standby.Host)
        {
            IsDone = async run => isTime(run) && await run.TestAsync(RemoteCommand.Shell(
                """[ ! -e "$1" ] && [ ! -e "$3" ] && [ "$(systemctl show -p LoadState "$2.service")" = LoadState=not-found ]""", task.StandbyFolder, task.Name, Unit.OutputFile).AsRoot()).ConfigureAwait(false),
            Do = async run =>
            {
                await Unit.ForgetAsync(run.Cancel).ConfigureAwait(false);
                await RemoveStandbyFolderAsync(run.Cancel).ConfigureAwait(false);
            },
            Preview = [$"systemctl stop {task.Name}", $"remove {task.StandbyFolder}"],
        };

    /// <summary>Null when the key works; otherwise what ssh said.</summary>
    private async Task<string?> TryKeyAsync(PrimaryRoute route, CancellationToken cancel)
    {
        var tried = await standby.Host.Remote.RunAsync(RemoteCommand.Shell(
            """
            [ -f "$1/key" ] || { echo "there is no key" >&2; exit 1; }
            exec timeout 20 ssh -F /dev/null -T -i "$1/key" -p "$3" -l "$4" -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o PreferredAuthentications=publickey -o ConnectTimeout=10 \
              -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o UserKnownHostsFile="$1/known_hosts" -o GlobalKnownHostsFile=/dev/null -o ControlPath=none -- "$2" hello
            """, task.StandbyFolder, route.Address, Number(route.Port), primary.OsUser).AsRoot().WithTimeout(TimeSpan.FromSeconds(30)), cancel).ConfigureAwait(false);
        return tried.Succeeded && tried.Lines.Contains("pitrps ready " + task.Id) ? null : tried.ErrorOutput.Trim() is { Length: > 0 } said ? said : $"it answered '{tried.Text}'";
    }

    /// <summary>Ends it, wherever it is, and takes away all that there is of it on both hosts.</summary>
    public async Task ClearAsync(PrimaryAccount account, IFeedback feedback, CancellationToken cancel)
    {
        await Unit.ForgetAsync(cancel).ConfigureAwait(false);
        await EndSessionAsync(feedback, cancel).ConfigureAwait(false);
        await ForgetKeyAsync(account, cancel).ConfigureAwait(false);
        await RemovePrimaryFolderAsync(cancel).ConfigureAwait(false);
        await RemoveStandbyFolderAsync(cancel).ConfigureAwait(false);
    }

    private Task ForgetKeyAsync(PrimaryAccount account, CancellationToken cancel) =>
        primary.Host.RunCheckedAsync(AsOwner(account, RemoteCommand.Shell(ForgetScript, account.KeysFile, task.Name)), cancel);

    private Task RemovePrimaryFolderAsync(CancellationToken cancel) =>
        primary.Host.RunCheckedAsync(RemoteCommand.Of("rm", "-rf", "--one-file-system", "--", task.PrimaryFolder, task.PrimaryFolder + ".new").AsRoot(), cancel);

    private Task RemoveStandbyFolderAsync(CancellationToken cancel) =>
        standby.Host.RunCheckedAsync(RemoteCommand.Of("rm", "-rf", "--one-file-system", "--", task.StandbyFolder, task.StandbyFolder + ".new").AsRoot(), cancel);

    // What lies in the user's home is written as that user, so that a link there leads root nowhere.
    private RemoteCommand AsOwner(PrimaryAccount account, RemoteCommand command) =>
        account.KeysFile.StartsWith(account.Home.TrimEnd('/') + "/", StringComparison.Ordinal) ? command.As(primary.OsUser) : command.AsRoot();

    private string Settings(PrimaryAccount account) => string.Concat(new (string Name, string Value)[]
    {
        ("operation", task.Id), ("mark", task.Name), ("keys", account.KeysFile), ("bin", primary.BinDirectory), ("socket", primary.SocketDirectory),
        ("port", Number(primary.Port)), ("database", PsqlSession.ConnectionString(task.Database, primary.SocketRole)),
    }.Select(s => $"{s.Name}={ShellQuoting.Quote(s.Value)}\n"));

    /// <summary>A folder that is there whole or not at all: all of its files go over in one command, and it gets its name last.</summary>
    private static Step Folder(string id, string title, PgHost host, string path, int mode, string group, IReadOnlyList<(string Name, string Text)> files, Func<StepRun, Task> before, string[] then, IReadOnlyList<string> more)
    {
        var payload = new MemoryStream();
        foreach (var (name, text) in files)
        {
            var content = Encoding.UTF8.GetBytes(text);
            payload.Write(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{content.Length} {name}\n")));
            payload.Write(content);
        }

        var bytes = payload.ToArray();
        var digest = Convert.ToHexStringLower(SHA256.HashData(bytes));
        return new Step(id, title, host)
        {
            IsDone = run => run.TestAsync(RemoteCommand.Shell("""[ -d "$1" ] && [ "$(cat "$1/contents" 2>/dev/null)" = "$2" ]""", path, digest).AsRoot()),
            Do = async run =>
            {
                await before(run).ConfigureAwait(false);
                await run.RunAsync(RemoteCommand.Shell(UnpackScript, [path, Steps.Octal(mode), group, digest, .. then]).AsRoot() with { Input = bytes }).ConfigureAwait(false);
            },
            Preview = [$"make directory {path} ({Steps.Octal(mode)}, root:{group}) with {string.Join(", ", files.Select(f => f.Name))}", .. more],
        };
    }

    private const string UnpackScript =
        """
        umask 077
        new=$1.new
        rm -rf --one-file-system -- "$new" "$1"
        mkdir -p -- "$(dirname -- "$1")" && mkdir -- "$new" || exit 73
        while read -r size name; do
          head -c "$size" > "$new/$name" && [ "$(stat -c %s "$new/$name")" = "$size" ] || { echo "only a part of $name arrived" >&2; exit 74; }
        done
        chgrp -R -- "$3" "$new" && chmod -R g=u-w,o= "$new" && chmod "$2" "$new" || exit 73
        case $5 in
          outcome) install -m 0600 -o "$6" -g "$3" /dev/null "$new/outcome" ;;
          key) ssh-keygen -q -t ed25519 -N '' -C "$6" -f "$new/key" ;;
        esac || exit 73
        printf '%s\n' "$4" > "$new/contents" && sync -- "$new"/* && mv -T -- "$new" "$1"
        """;

    // One line more, in a file that gets its place only when it is whole; a link stays a link.
    private const string AuthorizeScript =
        """
        umask 077
        mkdir -p -- "$(dirname -- "$1")"
        file=$(readlink -f -- "$1") && new=$(mktemp -- "$file.XXXXXX") || exit 73
        trap 'rm -f -- "$new"' EXIT
        if [ -e "$file" ]; then cp -p -- "$file" "$new"; elif [ "$(id -u)" = 0 ]; then chmod 644 "$new"; fi
        { [ ! -e "$file" ] || grep -vF -- " $2" "$file"
          printf 'restrict,expiry-time="%s",command="/bin/sh %s" %s %s %s\n' "$(date -d "$3" +%Y%m%d%H%M%S)" "$4" "$5" "$6" "$2"; } > "$new"
        mv -f -- "$new" "$file"
        """;

    private const string ForgetScript =
        """
        umask 077
        [ -f "$1" ] && grep -qF -- " $2" "$1" || exit 0
        file=$(readlink -f -- "$1") && new=$(mktemp -- "$file.XXXXXX") || exit 73
        trap 'rm -f -- "$new"' EXIT
        cp -p -- "$file" "$new"
        grep -vF -- " $2" "$file" > "$new"
        if [ -s "$new" ]; then mv -f -- "$new" "$file"; else rm -f -- "$file" "$new"; rmdir -- "$(dirname -- "$file")" 2>/dev/null; fi
        exit 0
        """;

    private static string Script(string name)
    {
        using var stream = typeof(RestoreTransfer).Assembly.GetManifestResourceStream(name) ?? throw new InvalidOperationException($"{name} is not embedded.");
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);
}
