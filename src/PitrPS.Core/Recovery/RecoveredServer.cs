using System.Globalization;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>A second server on a standby's host, which is recovered to a target and promoted there: on a layer over the standby's files, or on a copy of them.</summary>
internal abstract record RecoveredServer
{
    public required PgServer Standby { get; init; }

    /// <summary>Its unit, with ".service".</summary>
    public required string Unit { get; init; }

    /// <summary>The directory of root's alone that holds its script, its settings, its log and all that it writes.</summary>
    public required string Folder { get; init; }

    public required string SocketDirectory { get; init; }

    public required int Port { get; init; }

    /// <summary>What it is called, with an article where one is needed: "scratch server".</summary>
    public abstract string Noun { get; }

    /// <summary>The id of a clone; null for the scratch server, of which a standby has one at most.</summary>
    public virtual string? CloneId => null;

    /// <summary>What has become of the standby when it failed.</summary>
    public virtual string StandbyNow => "The standby is as it was, and frozen; its files have only been read.";

    /// <summary>It is at its target and can be read.</summary>
    public virtual bool IsReady(RecoveryRecord record, ScratchLook look) => RecoveryReader.IsReady(record, look);

    /// <summary>Its data directory as it sees it itself.</summary>
    public abstract string OwnData { get; }

    /// <summary>Its configuration directory.</summary>
    public virtual string OwnConfig => Standby.ConfigDirectory;

    /// <summary>Settings that only this kind of server has, or has otherwise; null for those of the standby.</summary>
    public abstract IReadOnlyDictionary<string, string?> OwnSettings(HostSurvey survey);

    /// <summary>
    /// Beside its folder, where the server's OS user gets in: WAL that was got out of a repository, which only the standby itself may be configured to reach.
    /// </summary>
    public virtual string WalFolder => Folder + ".wal";

    public abstract string Name { get; }

    protected abstract string LookScript { get; }

    /// <summary>As a server that SQL can be run on.</summary>
    public PgServer AsServer(uint? timeline = null) => new()
    {
        Host = Standby.Host,
        Name = Name,
        Version = Standby.Version,
        VersionNumber = Standby.VersionNumber,
        Port = Port,
        // Outside of a scratch server's own mounts only the layer's part of its files can be seen.
        DataDirectory = CloneId is null ? Folder : OwnData,
        ConfigDirectory = OwnConfig,
        BinDirectory = Standby.BinDirectory,
        ServiceUnit = Unit,
        OsUser = Standby.OsUser,
        SocketDirectory = SocketDirectory,
        SocketRole = Standby.SocketRole,
        IsRunning = true,
        Role = ServerRole.Primary,
        SystemIdentifier = Standby.SystemIdentifier,
        Timeline = timeline,
        WalSegmentSize = Standby.WalSegmentSize,
    };

    /// <summary>How a person gets in, on the host.</summary>
    public string ConnectCommand => $"sudo -u {Standby.OsUser} psql -h {SocketDirectory} -p {Port.ToString(CultureInfo.InvariantCulture)}"
        + (Standby.SocketRole is { } role ? $" -U {role}" : "") + " -d postgres";

    /// <summary>
    /// What it is doing. With <paramref name="patience"/>, tenths of a second, the host itself waits until it takes connections or has ended, so that the news come at once.
    /// </summary>
    public async Task<ScratchLook> LookAsync(int patience, CancellationToken cancel)
    {
        var said = await Standby.Host.RunCheckedAsync(RemoteCommand.Shell(LookScript, Unit, Folder, patience.ToString(CultureInfo.InvariantCulture), Standby.DataDirectory, Standby.Program("pg_controldata")).AsRoot(), cancel).ConfigureAwait(false);
        return ScratchLook.Parse(said.Output);
    }

    /// <summary>Gets these files out of the repository, each segment of them.</summary>
    /// <exception cref="PitrException"><c>PitrPS.WalMissing</c></exception>
    public async Task GetWalAsync(PgBackRest repository, IReadOnlyList<string> names, IFeedback feedback, CancellationToken cancel)
    {
        await Standby.Host.RunCheckedAsync(RemoteCommand.Shell("""rm -rf --one-file-system -- "$1" && mkdir -p -m 0755 -- "${1%/*}" && mkdir -m 0700 -- "$1" && chown "$2": "$1" """, WalFolder, Standby.OsUser).AsRoot(), cancel).ConfigureAwait(false);
        var (got, problem) = await repository.FetchAsync(names, WalFolder, feedback, cancel).ConfigureAwait(false);
        // A history that is nowhere was not needed so far either.
        if (names.FirstOrDefault(n => !got.Contains(n) && WalFile.Of(n, Standby.WalSegmentSize) is WalFile.Segment) is { } missing)
        {
            throw new PitrException("PitrPS.WalMissing", ErrorKind.ObjectNotFound, $"{missing} cannot be got out of the stanza '{repository.Stanza}' any more: {problem}",
                "Mend what it says of the repository, then run the same command again. The standby is as it was, and frozen.", Standby);
        }
    }

    /// <summary>Waits while systemd still has a start of the standby to report: until then it takes no unit that conflicts with it; a server answers before that is reported.</summary>
    protected const string AwaitStandbyUnit =
        """
        n=0
        while [ -n "$standby" ]; do
          case $(systemctl show -p Job "$standby") in Job=[1-9]*) ;; *) break ;; esac
          [ $n -lt 300 ] || { systemctl list-jobs --no-pager "$standby" >&2; echo "systemd is still busy with $standby" >&2; exit 75; }
          n=$((n + 1)); sleep 0.1
        done

        """;

    protected static string Lines(IEnumerable<string> lines) => string.Concat(lines.Select(l => l + "\n"));
}
