using System.Globalization;
using System.Text;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// An independent server on a copy of a standby's files, beside it: where it is, how it is made, started, asked and removed.
/// It has a unit file of its own, because it is meant to stay while somebody needs it: the standby goes on and may apply what the clone is kept for, so a reboot must not end it.
/// </summary>
internal sealed record CloneServer : RecoveredServer
{
    private const string UnitFolder = "/etc/systemd/system";

    public required string Id { get; init; }

    public override string? CloneId => Id;

    public override string Noun => "clone";

    public override string Name => $"{Standby.Name}-clone-{Id}";

    public override string StandbyNow => "The standby goes on as before; its files have only been read.";

    // A clone may have been stopped and started since it was seen to be where it should.
    public override bool IsReady(RecoveryRecord record, ScratchLook look) => record.Invocation is not null && look.IsAnswering;

    public override string OwnData => Folder + "/data";

    public override string OwnConfig => Standby.ConfigDirectory == Standby.DataDirectory ? OwnData : Standby.ConfigDirectory;

    /// <summary>The unit that copies; the server's own name with "-copy".</summary>
    public string CopyUnit => Unit[..^".service".Length] + "-copy.service";

    public string UnitFile => $"{UnitFolder}/{Unit}";

    /// <summary>The id of the clone at a position: the same target is the same clone, whoever asks for it.</summary>
    public static string IdOf(RecoveryRecord record) => IdOf(record.Stop, record.Timeline, record.StopsAfter ? "-after" : record.Target.Kind == "immediate" ? "-now" : "");

    /// <summary>Where the clone of a standby lies that exists only as a plan.</summary>
    public static string FolderOnPaper(PgServer standby, string id) => $"{standby.DataDirectory}.pitrps-clone-{id}";

    private static string IdOf(Lsn stop, uint timeline, string side) =>
        stop.ToString().Replace('/', '-') + side + (timeline == 1 ? "" : string.Create(CultureInfo.InvariantCulture, $"-tl{timeline}"));

    public static CloneServer Of(PgServer standby, string id, string folder, int port)
    {
        var name = $"pitrps-clone-{HostPaths.FileName(standby.Name)}-{id}";
        return new CloneServer { Standby = standby, Id = id, Unit = name + ".service", Folder = folder, SocketDirectory = "/run/" + name, Port = port };
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string?> OwnSettings(HostSurvey survey) => new Dictionary<string, string?>
    {
        ["cluster_name"] = "pitrps-clone",
        ["hba_file"] = OwnData + "/pitrps-clone.hba",
        ["ident_file"] = OwnData + "/pitrps-clone.ident",
        // A tool on another host gets in through SSH, as the standby's pg_hba.conf lets it.
        ["listen_addresses"] = "localhost",
        ["unix_socket_permissions"] = "0777",
        // The standby beside it has taken its memory already.
        ["huge_pages"] = "off",
        ["shared_buffers"] = SharedBuffers(survey),
    };

    /// <summary>The script that lives in the clone's directory.</summary>
    public static string Script { get; } = ReadScript();

    /// <summary>What stands in postgresql.auto.conf until all of it is on the disk, and is turned round then.</summary>
    public static IReadOnlyList<string> WhileRecovering { get; } = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"];

    /// <summary>The unit's file.</summary>
    public string UnitText(string description) =>
        $"""
        # Written by PitrPS (Invoke-PitrRecovery -Way Clone), until Remove-PitrClone.
        [Unit]
        Description={SystemdText.Value(description)}
        RequiresMountsFor={SystemdText.Command([Folder])}

        [Service]
        ExecStart={SystemdText.Command(["/bin/sh", Folder + "/pitrps-clone", "run", Folder])}
        RuntimeDirectory={SocketDirectory["/run/".Length..]}
        RuntimeDirectoryMode=0755
        KillMode=mixed
        KillSignal=SIGINT
        TimeoutStopSec=300

        [Install]
        WantedBy=multi-user.target

        """;

    private string CopyUnitFile => "/run/systemd/system/" + CopyUnit;

    /// <summary>
    /// The file of the unit that copies: systemd stops the standby before it, and starts it again after it, whether a client is there or not.
    /// Whoever starts the standby meanwhile ends the copy, which is worth nothing then.
    /// </summary>
    public string CopyUnitText(string description) =>
        $"""
        # Written by PitrPS (Invoke-PitrRecovery -Way Clone), until the copy is made.
        [Unit]
        Description={SystemdText.Value(description)}
        {(Standby.ServiceUnit is { } unit ? $"Conflicts={unit}\nAfter={unit}" : "")}

        [Service]
        ExecStart={SystemdText.Command(Words("copy"))}
        ExecStopPost={SystemdText.Command(Words("back"))}

        """;

    /// <summary>Makes the clone's directory and has systemd stop the standby and copy its files, without waiting for it: from then on all goes on without this client.</summary>
    public Task LaunchCopyAsync(HostSurvey survey, Lsn? stop, IReadOnlyList<string> made, IReadOnlyList<string> wal, IReadOnlyList<string> settings, IReadOnlyList<string> fetched, bool standbyRan, string description, CancellationToken cancel)
    {
        var facts = $"data {Standby.DataDirectory}\nconfig {Standby.ConfigDirectory}\nuser {Standby.OsUser}\nbin {Standby.BinDirectory}\nsockets {SocketDirectory}\nstop {(stop is { } limit ? limit.ToString() : "7FFFFFFF/FFFFFFFF")}\nran {(standbyRan ? "yes" : "no")}\nunit {Standby.ServiceUnit}\nlog {Standby.LogFile ?? Standby.DataDirectory + "/pitrps-start.log"}\n";
        var role = Standby.SocketRole ?? Standby.OsUser;
        return Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            umask 077
            standby=$1 unit=$2 dir=$3 script=$4 facts=$5 settings=$6 fetched=$7 wal=$8 places=$9; shift 9
            made=$1 hba=$2 ident=$3 file=$4 text=$5

            """ + AwaitStandbyUnit +
            """
            mkdir -m 0711 -- "$dir" && cd -P -- "$dir" || exit
            [ "$(stat -c '%u %a' .)" = '0 711' ] && [ -z "$(ls -A .)" ] || { echo "$dir is not a new directory of root's alone" >&2; exit 70; }
            mkdir files || exit
            printf '%s' "$script" > pitrps-clone && printf '%s' "$facts" > facts && printf '%s' "$settings" > settings && printf '%s' "$wal" > wal || exit
            printf '%s' "$places" > places && printf '%s' "$made" > made && : > files/recovery.signal && printf '%s' "$fetched" > files/pitrps-scratch.fetch || exit
            printf '%s\n' "$hba" > files/pitrps-clone.hba && printf '%s\n' "$ident" > files/pitrps-clone.ident || exit
            (umask 022; printf '%s' "$text" > "$file") && systemctl daemon-reload || exit
            systemctl reset-failed "$unit" 2>/dev/null
            exec systemctl start --no-block "$unit"
            """,
            [Standby.ServiceUnit ?? "", CopyUnit, Folder, Script, facts, Lines(settings), Lines(fetched), Lines(wal), Lines(survey.Places), Lines(made),
             ServerAccess.OwnHba(role), ServerAccess.OwnIdent(Standby.OsUser, role),
             CopyUnitFile, CopyUnitText(description)]).AsRoot(), cancel);
    }

    /// <summary>Stops the copy, after which systemd starts the standby again, and the clone; returns at once.</summary>
    public Task StopAsync(CancellationToken cancel) =>
        Standby.Host.RunCheckedAsync(RemoteCommand.Shell("""systemctl stop --no-block "$1" "$2" 2>/dev/null; exit 0""", CopyUnit, Unit).AsRoot(), cancel);

    /// <summary>Ends what there is of it and removes its files. Refuses to remove anything that does not look like a clone of ours.</summary>
    public Task DiscardAsync(CancellationToken cancel) =>
        Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            unit=$1 copy=$2 dir=$3 file=$4 copyfile=$5
            for u in "$copy" "$unit"; do
              systemctl stop "$u" 2>/dev/null
              case $(systemctl show -p ActiveState "$u") in ActiveState=inactive | ActiveState=failed) ;; *) echo "$u does not end" >&2; exit 70 ;; esac
            done
            systemctl disable --quiet "$unit" 2>/dev/null
            rm -f -- "$file" "$copyfile"
            systemctl reset-failed "$copy" "$unit" 2>/dev/null
            systemctl daemon-reload
            case $dir in /*/*.pitrps-clone-*) ;; *) echo "$dir is not a clone" >&2; exit 70 ;; esac
            rm -rf --one-file-system -- "$dir.wal"
            [ -d "$dir" ] && [ ! -L "$dir" ] || exit 0
            [ "$(stat -c '%u %a' "$dir")" = '0 711' ] || { echo "$dir is not root's alone" >&2; exit 70; }
            if [ -f "$dir/outside" ]; then
              while IFS= read -r other; do
                case $other in /*/*."${dir##*.}") rm -rf --one-file-system -- "$other" || exit ;; esac
              done < "$dir/outside"
            fi
            rm -rf --one-file-system -- "$dir"
            """, Unit, CopyUnit, Folder, UnitFile, CopyUnitFile).AsRoot().WithTimeout(TimeSpan.FromMinutes(30)), cancel);

    /// <summary>True when nothing is left of it.</summary>
    public Task<bool> IsGoneAsync(CancellationToken cancel) =>
        Standby.Host.TestAsync(RemoteCommand.Shell(
            """
            for p in "$3" "$3.wal" "$4" "$5"; do [ ! -e "$p" ] || exit 1; done
            for u in "$1" "$2"; do [ "$(systemctl show -p LoadState "$u")" = LoadState=not-found ] || exit 1; done
            """, Unit, CopyUnit, Folder, UnitFile, SocketDirectory).AsRoot(), cancel);

    /// <summary>How far its copy and its files have come. With <paramref name="patience"/>, tenths of a second, the host itself waits for the end of the copy.</summary>
    public async Task<CopyLook> CopyLookAsync(int patience, CancellationToken cancel) => CopyLook.Parse((await Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
        """
        while :; do
          state=$(systemctl show "$1" -p ActiveState -p Result -p MainPID -p Job)
          case $state in *ActiveState=active* | *ActiveState=activating* | *ActiveState=deactivating* | *Job=[1-9]*) ;; *) break ;; esac
          [ "$3" -gt 0 ] || break
          set -- "$1" "$2" "$(($3 - 1))" "$4"
          sleep 0.1
        done
        echo "$state"
        [ ! -f "$2/settings" ] || echo Begun=yes
        [ ! -f "$2/copied" ] || sed 's/^replayed /Replayed=/; s/^bytes /Bytes=/' "$2/copied"
        if [ -f "$2/boot" ]; then
          echo Unsettled=yes
          [ "$(cat "$2/boot")" = "$(cat /proc/sys/kernel/random/boot_id)" ] || echo Rebooted=yes
        fi
        [ "$(systemctl is-enabled "$4" 2>/dev/null)" != enabled ] || echo Enabled=yes
        main=$(echo "$state" | sed -n 's/^MainPID=//p')
        if [ "${main:-0}" -gt 0 ]; then
          # What a shell has waited for is counted with the shell.
          for pid in "$main" $(ps -o pid= --ppid "$main"); do sed -n 's/^wchar: //p' "/proc/$pid/io" 2>/dev/null; done | awk '{ n += $1 } END { printf "Written=%.0f\n", n }'
        fi
        [ ! -f "$2/copy.log" ] || tail -n 8 "$2/copy.log" | sed 's/^/Log=/'
        exit 0
        """, CopyUnit, Folder, patience.ToString(CultureInfo.InvariantCulture), Unit).AsRoot(), cancel).ConfigureAwait(false)).Output);

    /// <summary>Writes the unit's file and starts it, without waiting for the server.</summary>
    public async Task StartAsync(string description, CancellationToken cancel)
    {
        await Standby.Host.Remote.WriteFileAsync(RemoteFile.Text(UnitFile, UnitText(description), 0x1A4 /* 0644 */), cancel).ConfigureAwait(false);
        await Standby.Host.RunCheckedAsync(RemoteCommand.Shell("""rm -f -- "$2"; systemctl daemon-reload; systemctl reset-failed "$1" 2>/dev/null; exec systemctl start "$1" """, Unit, CopyUnitFile).AsRoot(), cancel).ConfigureAwait(false);
    }

    /// <summary>fsync from now on; returns when the postmaster has been told.</summary>
    public Task SettleAsync(CancellationToken cancel) => Standby.Host.RunCheckedAsync(new RemoteCommand([.. Words("settle")]).AsRoot(), cancel);

    /// <summary>The copy, which nobody starts, is on the disk.</summary>
    public Task KeepAsync(CancellationToken cancel) => Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
        """sync && rm -f -- "$1/boot" && sync""", Folder).AsRoot().WithTimeout(TimeSpan.FromHours(1)), cancel);

    /// <summary>All that was written without fsync is on the disk; from now on it starts with the host.</summary>
    public Task FlushAsync(CancellationToken cancel) => Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
        """sync && rm -f -- "$2/boot" && sync && systemctl enable --quiet "$1" """, Unit, Folder).AsRoot().WithTimeout(TimeSpan.FromHours(1)), cancel);

    protected override string LookScript =>
        """
        pid=$2/data/postmaster.pid
        while :; do
          state=$(systemctl show "$1" -p ActiveState -p Result -p ExecMainStatus -p MainPID -p Job -p InvocationID)
          ready=; [ ! -f "$pid" ] || { read -r _; read -r _; read -r _; read -r _; read -r _; read -r _; read -r _; read -r ready; } 2>/dev/null < "$pid"
          case $state in *ActiveState=active* | *Job=[1-9]*) ;; *) break ;; esac
          [ "$ready" != ready ] && [ "$3" -gt 0 ] || break
          set -- "$1" "$2" "$(($3 - 1))"
          sleep 0.1
        done
        echo "$state"
        echo "Ready=$ready"
        [ ! -f "$2/settings" ] || echo "Launched=$(date -u -r "$2/settings" +%Y-%m-%dT%H:%M:%S.%3NZ)"
        [ ! -f "$2/copied" ] || sed -n 's/^replayed /Replayed=/p; s/^bytes /Bytes=/p' "$2/copied"
        main=$(echo "$state" | sed -n 's/^MainPID=//p')
        if [ "${main:-0}" -gt 0 ]; then
          ps -o args= --ppid "$main" | sed -n 's/.*startup  *recovering  *\([0-9A-F]\{24\}\).*/Segment=\1/p'
        fi
        [ ! -f "$2/server.log" ] || { head -c 100000 "$2/server.log"; echo; tail -n 40 "$2/server.log"; } | grep -E '(LOG|FATAL|PANIC|ERROR|HINT|DETAIL):|^pitrps-clone: ' | awk '!seen[$0]++ { print "Log=" $0 }'
        exit 0
        """;

    private IEnumerable<string> Words(string verb) => ["/bin/sh", Folder + "/pitrps-clone", verb, Folder];

    // In pages of 8 KiB, as postgres -C prints it; a quarter of what the host has to spare is enough to read tables.
    private static string? SharedBuffers(HostSurvey survey) =>
        long.TryParse(survey.Settings.GetValueOrDefault("shared_buffers"), NumberStyles.None, CultureInfo.InvariantCulture, out var pages) && survey.AvailableMemory is { } memory
            && Math.Max(memory / 4, 32L << 20) / 8192 is var limit && pages > limit
            ? limit.ToString(CultureInfo.InvariantCulture)
            : null;

    private static string ReadScript()
    {
        using var stream = typeof(CloneServer).Assembly.GetManifestResourceStream("pitrps-clone.sh") ?? throw new InvalidOperationException("pitrps-clone.sh is not embedded.");
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }
}

/// <summary>What was seen of a clone's copy.</summary>
internal sealed record CopyLook
{
    /// <summary>The unit that copies is at work, or waits for the standby to stop, or starts it again.</summary>
    public bool IsUnderWay { get; init; }

    /// <summary>It waits for the standby to stop.</summary>
    public bool IsQueued { get; init; }

    /// <summary>A directory is there.</summary>
    public bool IsBegun { get; init; }

    /// <summary>All files are there.</summary>
    public bool IsCopied { get; init; }

    /// <summary>Not all of it is known to be on the disk, and the host has been started since: it may have holes.</summary>
    public bool IsDoubtful { get; init; }

    /// <summary>It writes with fsync, all of it is on the disk, and it starts with the host.</summary>
    public bool IsSettled { get; init; }

    /// <summary>It is whole and outlives a power cut.</summary>
    public bool IsOnDisk { get; init; }

    /// <summary>Up to where the standby had applied the WAL.</summary>
    public Lsn? Replayed { get; init; }

    /// <summary>Bytes written so far.</summary>
    public long Written { get; init; }

    public string Result { get; init; } = "";

    public IReadOnlyList<string> Log { get; init; } = [];

    /// <summary>Somebody can go on from it.</summary>
    public bool IsOfUse => IsUnderWay || (IsCopied && !IsDoubtful);

    public static CopyLook Parse(string output)
    {
        var lines = output.Split('\n').Select(l => l.TrimEnd('\r').Split('=', 2)).Where(p => p.Length == 2).ToLookup(p => p[0], p => p[1]);
        string Value(string name) => lines[name].FirstOrDefault("");
        var queued = Value("Job") is { Length: > 0 } job && job != "0";
        var copied = Lsn.TryParse(Value("Replayed"), out var replayed);
        return new CopyLook
        {
            IsUnderWay = queued || Value("ActiveState") is "active" or "activating" or "deactivating",
            IsQueued = queued,
            IsBegun = Value("Begun") == "yes",
            IsCopied = copied,
            IsDoubtful = Value("Rebooted") == "yes",
            IsOnDisk = copied && Value("Unsettled") != "yes",
            IsSettled = copied && Value("Unsettled") != "yes" && Value("Enabled") == "yes",
            Replayed = copied ? replayed : null,
            Written = long.TryParse(Value("Written"), NumberStyles.None, CultureInfo.InvariantCulture, out var written) ? written : 0,
            Result = Value("Result"),
            Log = [.. lines["Log"]],
        };
    }
}
