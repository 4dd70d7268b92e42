using System.Text.RegularExpressions;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>
/// Reset-PgStandby's own part of a standby's plan: a server of the same cluster that has gone its own way (an old primary, a standby that was promoted) is stopped and wound back to where it left the primary's
/// history, by pg_rewind where that is possible; where it is not, the base backup that follows in the plan replaces it.
/// Source: PostgreSQL documentation, "pg_rewind".
/// </summary>
internal sealed partial class StandbyReset(PgServer standby, PgServer primary, StandbyNames names, string connection, string address)
{
    private const string Outcome = "pg_rewind";
    private const string Stopped = "the server was stopped to be reset";

    // All that pg_rewind calls on its source, by the documentation.
    private static readonly string[] Functions =
        ["pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text)", "pg_read_binary_file(text, bigint, bigint, boolean)"];

    private string Block => names.Role + "_rewind";

    private bool IsConfiguredInside => standby.ConfigDirectory == standby.DataDirectory;

    // What lies between where the histories part and the checkpoint before that may have left pg_wal long ago: an old primary has it in its own archive, a promoted standby where it was mounted.
    private string? Wal => IsConfiguredInside || PgVersion.RewindsWithConfigFile(standby.Version) ? standby.ArchiveDirectory ?? standby.ArchiveMountPoint : null;

    /// <exception cref="PitrException"><c>PitrPS.OtherCluster</c>, <c>PitrPS.ServerInUse</c></exception>
    public static async Task<IReadOnlyList<string>> RequireAsync(PgServer standby, PgServer primary, bool force, IFeedback feedback, CancellationToken cancel)
    {
        if (standby.SystemIdentifier is null || standby.SystemIdentifier != primary.SystemIdentifier)
        {
            throw new PitrException("PitrPS.OtherCluster", ErrorKind.InvalidArgument, $"{standby.Id} is not of the cluster of {primary.Id}: {standby.SystemIdentifier?.ToString() ?? "it has no data"} is not {primary.SystemIdentifier}.",
                "A new standby is made by New-PgStandby, of a server that Install-PgServer has just made. Nothing was changed.", standby);
        }

        var writes = standby is { IsRunning: true, Role: ServerRole.Primary };
        if (writes && !force && await SessionsAsync(standby, feedback, cancel).ConfigureAwait(false) is > 0 and var sessions)
        {
            throw new PitrException("PitrPS.ServerInUse", ErrorKind.ResourceBusy, $"{standby.Id} takes writes, and {(sessions == 1 ? "one client is" : $"{sessions} clients are")} connected to it: all that they write there would be lost.",
                "Lead them to the new primary first, then run the same command again; or, if what they wrote is not wanted, with -Force.", standby);
        }

        return
        [
            $"What {standby.Id} has and {primary.Id} has not is lost: it is wound back to where it left the history of {primary.Id} ({(await IsRewindableAsync(standby, cancel).ConfigureAwait(false) ? "by pg_rewind; if that cannot do it, by a base backup" : "by a base backup: pg_rewind needs data checksums or wal_log_hints")}).",
            $"It is stopped{(writes ? ", and takes no writes any more" : "")}. Its reach back begins at 0: set its delay anew with Set-ReplicationDelay.",
        ];
    }

    /// <summary>From the running server to one that waits for its start as a standby; or, where that is not possible, to one that the base backup replaces.</summary>
    public IReadOnlyList<Step> Steps() =>
    [
        // A server of the old history must not come back by itself once its signal file is gone.
        BootStart.Off(standby, "reset-boot"),
        new("reset-stop", $"Stop {standby.Name}", standby.Host)
        {
            IsDone = run => Task.FromResult(run.Recall(Stopped) is not null),
            Do = async run =>
            {
                await ServerControl.StopAsync(standby, run.Feedback, run.Cancel).ConfigureAwait(false);
                await run.RunAsync(RemoteCommand.Of("rm", "-f", "--", standby.DataDirectory + "/standby.signal", standby.DataDirectory + "/recovery.signal").AsRoot()).ConfigureAwait(false);
                await run.RememberAsync(Stopped, "yes").ConfigureAwait(false);
            },
            Preview = [ServerControl.Display(standby, "stop"), $"rm {standby.DataDirectory}/standby.signal"],
        },
        .. HbaFile.Steps(primary, "reset", Block, [new HbaEntry("hostssl", "postgres", names.Role, address, "scram-sha-256")]),
        Grant(),
        .. Wal is { } wal ? OwnedSettings.Steps(standby, "reset-wal", new Dictionary<string, string?> { ["restore_command"] = $"cp {ShellQuoting.Quote(wal)}/%f \"%p\"" }, SettingsReach.Files) : [],
        Rewind(),
        Revoke(),
        .. HbaFile.Steps(primary, "reset-done", Block, []),
    ];

    private static async Task<long> SessionsAsync(PgServer server, IFeedback feedback, CancellationToken cancel) =>
        (await ServerSql.QueryAsync(server, "postgres", "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()", feedback, cancel).ConfigureAwait(false))[0].Number(0);

    // Otherwise changes of hint bits are in no WAL, and blocks that differ are not seen.
    private static Task<bool> IsRewindableAsync(PgServer server, CancellationToken cancel) => server.Host.TestAsync(RemoteCommand.Shell(
        """[ -x "$1" ] && "$2" -D "$3" | grep -qE '^(wal_log_hints setting: *on|Data page checksum version: *[1-9])' """, server.Program("pg_rewind"), server.Program("pg_controldata"), server.DataDirectory).As(server.OsUser), cancel);

    private Task<IReadOnlyList<SqlRow>> OnPrimaryAsync(string statement, StepRun run) => ServerSql.QueryAsync(primary, "postgres", statement, run.Feedback, run.Cancel);

    private async Task<bool> MayReadAsync(StepRun run) =>
        (await OnPrimaryAsync($"SELECT bool_and(has_function_privilege(r.rolname, 'pg_catalog.' || f, 'EXECUTE')) FROM pg_catalog.pg_roles r, unnest(ARRAY[{string.Join(", ", Functions.Select(Sql.Literal))}]) f WHERE r.rolname = {Sql.Literal(names.Role)}", run).ConfigureAwait(false))[0][0] == "t";

    private Step Grant() => new("reset-grant", $"Let {names.Role} read the primary's files as long as pg_rewind needs it", primary.Host)
    {
        IsDone = async run => run.Recall(Outcome) is not null || await MayReadAsync(run).ConfigureAwait(false),
        Do = run => OnPrimaryAsync(string.Join("; ", Functions.Select(f => $"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {Sql.Identifier(names.Role)}")), run),
        Preview = [.. Functions.Select(f => $"GRANT EXECUTE ON FUNCTION pg_catalog.{f} TO {names.Role}")],
    };

    private Step Revoke() => new("reset-revoke", $"Let {names.Role} replicate only, again", primary.Host)
    {
        IsDone = async run => !await MayReadAsync(run).ConfigureAwait(false),
        Do = run => OnPrimaryAsync(string.Join("; ", Functions.Select(f => $"REVOKE EXECUTE ON FUNCTION pg_catalog.{f} FROM {Sql.Identifier(names.Role)}")), run),
        Preview = [.. Functions.Select(f => $"REVOKE EXECUTE ON FUNCTION pg_catalog.{f} FROM {names.Role}")],
    };

    private Step Rewind()
    {
        var unit = new RemoteUnit(standby.Host, names.BackupUnit + "-rewind");
        return new("reset-rewind", $"Wind {standby.Name} back to where it left the history of {primary.Id}, by pg_rewind", standby.Host)
        {
            IsDone = run => Task.FromResult(run.Recall(Outcome) is not null),
            Do = async run =>
            {
                var begun = !(await unit.StateAsync(run.Cancel).ConfigureAwait(false)).IsAbsent;
                if (!begun && await WhyNotAsync(run).ConfigureAwait(false) is { } why)
                {
                    run.Feedback.Verbose($"{standby.Id} cannot be wound back by pg_rewind, so a base backup replaces it: {why}");
                    await run.RememberAsync(Outcome, "not possible: " + why).ConfigureAwait(false);
                    return;
                }

                if (!begun)
                {
                    await unit.StartAsync(Command(), [], run.Cancel).ConfigureAwait(false);
                }

                var ended = await unit.WaitAsync(_ =>
                {
                    run.Progress("at work");
                    return Task.CompletedTask;
                }, run.Cancel).ConfigureAwait(false);
                var said = (await unit.OutputAsync(run.Cancel).ConfigureAwait(false) ?? "").Trim().Split('\n')[^1];
                if (!ended.HasSucceeded)
                {
                    run.Feedback.Verbose($"pg_rewind of {standby.Id} has failed, so a base backup replaces it: {said}");
                }

                await run.RememberAsync(Outcome, ended.HasSucceeded ? "done" : "failed: " + said).ConfigureAwait(false);
                await unit.ForgetAsync(run.Cancel).ConfigureAwait(false);
            },
            Preview = [$"[{standby.OsUser}] {standby.Program("pg_rewind")} -D {standby.DataDirectory} --source-server … --dry-run, and without it", "put this server's own configuration files back, which it overwrites", $"write {standby.DataDirectory}/standby.signal, when all of it is on the disk"],
        };
    }

    private async Task<string?> WhyNotAsync(StepRun run)
    {
        // pg_rewind finds where the histories part by what the primary's control file says, and a promotion writes that behind its back. A checkpoint more than that may remove WAL that is needed.
        if ((await OnPrimaryAsync("SELECT lpad(to_hex(timeline_id), 8, '0') = lower(substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)) FROM pg_catalog.pg_control_checkpoint()", run).ConfigureAwait(false))[0][0] != "t")
        {
            await OnPrimaryAsync("CHECKPOINT", run).ConfigureAwait(false);
        }

        var tried = await standby.Host.Remote.RunAsync(new RemoteCommand([.. Words(), "--dry-run"]).As(standby.OsUser).WithTimeout(TimeSpan.FromMinutes(30)), run.Cancel).ConfigureAwait(false);
        if (!tried.Succeeded)
        {
            return tried.ErrorOutput.Trim().Split('\n')[^1];
        }

        // From there on it replays the primary's WAL, in which the segment where the histories part is the new timeline's own copy: it must come from the archive, or still be there.
        if (ArchiveScripts.RestoreCommandOf(standby) is not null || Parted().Match(tried.Output + tried.ErrorOutput) is not { Success: true } parted)
        {
            return null;
        }

        var segment = (await OnPrimaryAsync($"SELECT substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) || substr(pg_catalog.pg_walfile_name({Sql.Literal(parted.Groups[1].Value)}), 9)", run).ConfigureAwait(false))[0].Text(0);
        return await primary.Host.TestAsync(RemoteCommand.Of("test", "-e", $"{primary.DataDirectory}/pg_wal/{segment}").AsRoot(), run.Cancel).ConfigureAwait(false)
            ? null : $"{segment}, in which the histories part, is not in the pg_wal of {primary.Id} any more, and its archive is not mounted here (Mount-WalArchive)";
    }

    private string[] Words() =>
    [
        standby.Program("pg_rewind"), "-D", standby.DataDirectory, $"--source-server={connection} dbname=postgres connect_timeout=10", "--no-ensure-shutdown",
        .. Wal is null ? (string[])[] : IsConfiguredInside ? ["--restore-target-wal"] : ["--restore-target-wal", $"--config-file={standby.ConfigDirectory}/postgresql.conf"],
    ];

    // One that has begun and not ended leaves no server: then the base backup replaces it. Own configuration files lie beside the data meanwhile. No line break: it goes into a unit.
    private RemoteCommand Command()
    {
        string[] script =
        [
            "set -u; umask 077; data=$1 keep=$1.pitrps-config; shift",
            "rm -rf -- \"$keep\"; mkdir -- \"$keep\" && cd \"$data\" || exit",
            "for file in *.conf conf.d; do [ ! -e \"$file\" ] || cp -a -- \"$file\" \"$keep/\" || exit; done",
            "\"$@\" || exit",
            "for file in *.conf conf.d; do rm -rf -- \"$file\"; done; for file in \"$keep\"/*; do [ ! -e \"$file\" ] || cp -a -- \"$file\" . || exit; done",
            ": > standby.signal && sync && rm -rf -- \"$keep\"",
        ];
        return RemoteCommand.Shell(string.Join("; ", script), [standby.DataDirectory, .. Words()]).As(standby.OsUser);
    }

    [GeneratedRegex("servers diverged at WAL location ([0-9A-F]+/[0-9A-F]+) on timeline")]
    private static partial Regex Parted();
}
