using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Incidents;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// What the primary itself says of its WAL, asked by the standby's own link to it, which every standby has: how far it has written, and what its slot keeps in pg_wal.
/// Source: PostgreSQL documentation, "Streaming Replication Protocol".
/// </summary>
/// <param name="Written">Up to where it has written.</param>
/// <param name="KeptFrom">From where on the standby's slot keeps WAL in the primary's pg_wal; null where there is no slot, or the server is too old to say.</param>
internal sealed record PrimaryWal(Lsn Written, Lsn? KeptFrom)
{
    // A service file, because a password has no place among a command's arguments, which everybody on the host can read.
    private const string Script =
        """
        umask 077
        file=$(mktemp) || exit
        trap 'rm -f "$file"' EXIT
        cat > "$file"
        ask() { PGSERVICEFILE=$file PGCONNECT_TIMEOUT=5 timeout 15 "$psql" -XAtqw -d 'service=pitrps replication=true' -c "$1"; }
        psql=$1
        ask IDENTIFY_SYSTEM || exit
        [ -z "$2" ] || ask "READ_REPLICATION_SLOT $2" 2>/dev/null
        exit 0
        """;

    /// <summary>Null where there is no link, or nobody answers.</summary>
    public static async Task<PrimaryWal?> AskAsync(PgServer standby, IFeedback feedback, CancellationToken cancel)
    {
        var said = await standby.Host.Remote.RunAsync(RemoteCommand.Shell("""for name in primary_conninfo primary_slot_name; do "$1" -D "$2" -C "$name" || exit; done""",
            standby.Program("postgres"), standby.ConfigDirectory).As(standby.OsUser), cancel).ConfigureAwait(false);
        if (!said.Succeeded || ConnectionInfo.Parse(said.Lines.FirstOrDefault("")) is not { Count: > 0 } link)
        {
            return null;
        }

        var slot = said.Lines.ElementAtOrDefault(1) is { Length: > 0 } name && PgVersion.ReadsReplicationSlots(standby.Version) ? name : "";
        var service = "[pitrps]\n" + string.Concat(link.Where(l => l.Key is not ("dbname" or "replication")).Select(l => $"{l.Key}={l.Value}\n"));
        var answer = await standby.Host.Remote.RunAsync(RemoteCommand.Shell(Script, standby.Program("psql"), slot).As(standby.OsUser).WithInput(service).WithTimeout(TimeSpan.FromSeconds(60)), cancel).ConfigureAwait(false);
        if (!answer.Succeeded)
        {
            feedback.Verbose($"{standby.Id}: the primary does not answer by primary_conninfo. {answer.ErrorOutput.Trim()}");
            return null;
        }

        return Parse(answer.Text);
    }

    internal static PrimaryWal? Parse(string answer)
    {
        // systemid|timeline|xlogpos|dbname, then slot_type|restart_lsn|restart_tli.
        var lines = answer.Split('\n');
        if (lines[0].Split('|') is not [_, _, var at, ..] || !Lsn.TryParse(at, out var written))
        {
            return null;
        }

        return new PrimaryWal(written, lines.ElementAtOrDefault(1)?.Split('|') is [_, var kept, ..] && Lsn.TryParse(kept, out var from) ? from : null);
    }

    /// <summary>Whether its slot keeps this segment.</summary>
    public bool Keeps(WalSegment segment) => KeptFrom is { } from && segment.End > from && segment.Start < Written;

    /// <summary>The error with what the primary says of it, and what to do there.</summary>
    public PitrException Explain(PitrException error, RecoveryTarget target, WalRange range)
    {
        if (error.Id == "PitrPS.TargetBeyondWal")
        {
            return target is RecoveryTarget.Lsn { Position: var asked } && asked >= Written ? With(error, $" The primary itself is at {Written}, before that.", "Give a target that has been written.")
                : Written <= range.To ? With(error, $" The primary has written nothing after it either: it is at {Written}.", "Give an earlier target. -Immediate needs no record after it.")
                : With(error, $" The primary is at {Written}: what is after {range.To} is only in its pg_wal.", "Run SELECT pg_switch_wal() on the primary, or wait until it has archived its segment (archive_timeout); then run the same command again.");
        }

        WalSegment[] kept = [.. range.Missing.Where(Keeps)];
        return error.Id != "PitrPS.WalMissing" || kept.Length == 0 ? error
            : With(error, $" The primary's slot keeps {(kept.Length == range.Missing.Count ? "all of that" : string.Join(", ", kept.Take(8).Select(s => s.Name)))} in its pg_wal.",
                "See there why archive_command has not archived it (Get-ReplicationStatus, ArchiveFailing); when it has, run the same command again.");
    }

    private static PitrException With(PitrException error, string more, string nextStep) =>
        new(error.Id, error.Kind, error.Message + more, nextStep + " The standby has not been touched.", error.Target, error);
}
