using System.Globalization;
using System.Text;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>
/// The second server of a standby's host, which runs on a throw-away layer over the stopped standby's files: where it is, how it is started, asked and thrown away.
/// Its unit conflicts with the standby's, so systemd never lets both run, and starts the standby again when the scratch server fails, whether a client is there or not.
/// </summary>
internal sealed record ScratchServer : RecoveredServer
{
    /// <summary>The directory that holds the layer, its settings and its log.</summary>
    public string Layer => Folder;

    /// <summary>Whoever the standby's own pg_hba.conf lets in by a socket gets in, and not only the server's OS user.</summary>
    public bool IsOpen { get; init; }

    public override string Noun => "scratch server";

    public override string Name => Standby.Name + "-scratch";

    public override string OwnData => Standby.DataDirectory;

    public static ScratchServer Of(PgServer standby, string layer)
    {
        var unit = UnitOf(standby);
        return new ScratchServer
        {
            Standby = standby,
            Unit = unit,
            Folder = layer,
            // systemd makes it when the unit starts and removes it when the unit ends.
            SocketDirectory = "/run/" + unit[..^".service".Length],
            Port = standby.Port + 10000 > ushort.MaxValue ? standby.Port - 10000 : standby.Port + 10000,
        };
    }

    public static string UnitOf(PgServer standby) => $"pitrps-scratch-{HostPaths.FileName(standby.Name)}.service";

    /// <inheritdoc/>
    public override string WalFolder => (Layer.StartsWith(HostPaths.State + "/", StringComparison.Ordinal) ? "/var/lib/" + Layer[(HostPaths.State.Length + 1)..] : Layer) + ".wal";

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string?> OwnSettings(HostSurvey survey) => new Dictionary<string, string?>
    {
        ["cluster_name"] = "pitrps-scratch",
        // No network; and nobody but the host's own database user gets to its socket, unless it is open.
        ["listen_addresses"] = "",
        ["unix_socket_permissions"] = IsOpen ? "0777" : "0700",
        ["ident_file"] = IsOpen ? OwnData + "/pitrps-scratch.ident" : null,
        // Thrown away in any case: no safety, no restartpoint.
        ["fsync"] = "off",
        ["full_page_writes"] = "off",
        ["synchronous_commit"] = "off",
        ["max_wal_size"] = "1TB",
        ["checkpoint_timeout"] = "1d",
        ["restart_after_crash"] = "off",
        ["dynamic_shared_memory_type"] = "mmap",
    };

    /// <summary>The script that lives in the layer.</summary>
    public static string Script { get; } = ReadScript();

    /// <summary>
    /// A trial of all that can fail on a host: a unit with mounts of its own in which the standby's files are read-only, and an overlay over them, in a directory beside the layer.
    /// It leaves nothing behind.
    /// </summary>
    /// <returns>Whether files are copied by reference there (XFS with reflinks, btrfs).</returns>
    /// <exception cref="PitrException"><c>PitrPS.LayerUnsupported</c> with why.</exception>
    public async Task<bool> TryAsync(string data, CancellationToken cancel)
    {
        var trial = Layer + ".trial";
        var result = await Standby.Host.Remote.RunAsync(RemoteCommand.Shell(
            """
            trial=$1 script=$2; shift 2
            command -v systemd-run >/dev/null && [ -d /run/systemd/system ] || { echo 'systemd does not run this host' >&2; exit 70; }
            rm -rf --one-file-system -- "$trial"
            mkdir -p -m 0700 -- "${trial%/*}" && mkdir -m 0700 -- "$trial" || exit
            trap 'rm -rf --one-file-system -- "$trial"' EXIT
            printf '%s' "$script" > "$trial/pitrps-scratch" || exit
            systemd-run --quiet --wait --pipe --collect "$@"
            """,
            [trial, Script, .. Protection(trial).Select(p => "--property=" + p), "--", .. Command(trial, "try", data)]).AsRoot(), cancel).ConfigureAwait(false);
        if (result.Succeeded)
        {
            return result.Text == "reflink yes";
        }

        var why = result.ErrorOutput.Trim() is { Length: > 0 } said ? said : result.ExitCode switch
        {
            225 => "systemd cannot give the unit a network of its own",
            226 => "systemd cannot give the unit mounts of its own",
            var code => $"the trial ended with {code}",
        };
        throw new PitrException("PitrPS.LayerUnsupported", ErrorKind.NotInstalled,
            $"On {Standby.Host.Name}, no layer can be laid over {data}: {why}.",
            "A layer needs Linux's overlay file system, systemd, and a file system that can carry an overlay (ext4, XFS with ftype=1, btrfs; not another overlay, NFS or ZFS). The standby runs on and has not been touched.", Standby);
    }

    /// <summary>
    /// Makes the layer, and has systemd stop the standby, if it runs, and start the scratch server in its place, without waiting for it:
    /// from then on all goes on without this client, and at every moment one of the two runs or is about to.
    /// </summary>
    public Task LaunchAsync(string data, IReadOnlyList<string> places, IReadOnlyList<string> settings, IReadOnlyList<string> fetched, RecoveryTarget target, ServerAccess? access, bool standbyRan, string description, CancellationToken cancel)
    {
        var facts = $"target {Word(target)}\ndata {data}\nuser {Standby.OsUser}\nsockets {SocketDirectory}\nbin {Standby.BinDirectory}\n";
        return Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            umask 077
            standby=$1 unit=$2 layer=$3 script=$4 facts=$5 settings=$6 fetched=$7 places=$8 hba=$9; shift 9
            ident=$1; shift

            """ + AwaitStandbyUnit +
            """
            mkdir -p -m 0700 -- "${layer%/*}" && mkdir -m 0700 -- "$layer" && cd -P -- "$layer" || exit
            [ "$(stat -c '%u %a' .)" = '0 700' ] && [ -z "$(ls -A .)" ] || { echo "$layer is not a new directory of root's alone" >&2; exit 70; }
            # Also what is made in the layer, its log for one, is the server's to write then.
            [ ! -e /sys/fs/selinux/enforce ] || chcon --reference="$1" . || exit
            mkdir files || exit
            printf '%s' "$script" > pitrps-scratch && printf '%s' "$facts" > facts && printf '%s' "$settings" > settings || exit
            : > files/recovery.signal && printf '%s\n' "$hba" > files/pitrps-scratch.hba && printf '%s' "$fetched" > files/pitrps-scratch.fetch || exit
            [ -z "$ident" ] || printf '%s\n' "$ident" > files/pitrps-scratch.ident || exit
            n=0
            while [ $n -lt "$places" ]; do
              mkdir $n $n/upper $n/work $n/merged && ln -s -- "$1" $n/lower && chown --reference="$1" $n/upper && chmod --reference="$1" $n/upper || exit
              [ ! -e /sys/fs/selinux/enforce ] || chcon --reference="$1" $n/upper $n/work || exit
              n=$((n + 1)); shift
            done
            systemctl reset-failed "$unit" 2>/dev/null
            exec systemd-run --quiet --no-block --unit="$unit" "$@"
            """,
            [Standby.ServiceUnit!, Unit, Layer, Script, facts, Lines(settings), Lines(fetched), places.Count.ToString(CultureInfo.InvariantCulture), access?.Hba ?? Hba, access?.Ident ?? "", .. places, .. StartArguments(standbyRan, description)]).AsRoot(), cancel);
    }

    /// <summary>What systemd-run is told, beside the unit's name.</summary>
    public IReadOnlyList<string> StartArguments(bool standbyRan, string description) =>
    [
        "--description=" + description,
        .. UnitProperties(standbyRan).Select(p => "--property=" + p),
        "--", .. Command(Layer, "run"),
    ];

    /// <summary>The properties of the unit.</summary>
    public IReadOnlyList<string> UnitProperties(bool standbyRan) =>
    [
        "Conflicts=" + Standby.ServiceUnit,
        // Any order will do; with one, whichever starts waits until the other has ended.
        "After=" + Standby.ServiceUnit,
        .. standbyRan ? (IEnumerable<string>)["OnFailure=" + Standby.ServiceUnit] : [],
        .. StandIn.IsFor(Standby) ? (IEnumerable<string>)["Wants=" + StandIn.GuardOf(Standby)] : [],
        .. Protection(Layer),
        "RuntimeDirectory=" + SocketDirectory["/run/".Length..],
        $"RuntimeDirectoryMode={(IsOpen ? "0755" : "0700")}",
        // An immediate shutdown of the postmaster, which cleans up its shared memory; then whatever is left is killed.
        "KillMode=mixed",
        "KillSignal=SIGQUIT",
        "TimeoutStopSec=10",
        "OOMScoreAdjust=-900",
    ];

    /// <summary>For whoever gives up: lets the standby go on at once, as it was; systemd ends the scratch server first. Where none is under way nothing happens.</summary>
    public Task GiveBackAsync(bool standbyRan, CancellationToken cancel) =>
        Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            case $(systemctl show -p ActiveState -p Job "$1") in
              *ActiveState=activ* | *Job=[1-9]*) exec systemctl "$2" --no-block "$3" ;;
            esac
            """, Unit, standbyRan ? "start" : "stop", standbyRan ? Standby.ServiceUnit! : Unit).AsRoot(), cancel);

    /// <summary>
    /// Ends the scratch server if it runs and removes the layer and whatever else there is of it. Refuses to remove anything that does not look like a layer of ours.
    /// </summary>
    public Task DiscardAsync(CancellationToken cancel) =>
        Standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            unit=$1 layer=$2 sockets=$3 wal=$4
            systemctl stop "$unit" 2>/dev/null
            case $(systemctl show -p ActiveState "$unit") in ActiveState=inactive | ActiveState=failed) ;; *) echo "$unit does not end" >&2; exit 70 ;; esac
            systemctl reset-failed "$unit" 2>/dev/null
            if [ "$(systemctl show -p LoadState "$unit")" != LoadState=not-found ]; then rm -f "/run/systemd/transient/$unit"; systemctl daemon-reload; fi
            case $layer in /*/*.pitrps-scratch) ;; *) echo "$layer is not a layer" >&2; exit 70 ;; esac
            case $sockets in /run/pitrps-scratch-*) rm -rf --one-file-system -- "$sockets" ;; esac
            case $wal in /*/*.pitrps-scratch.wal) rm -rf --one-file-system -- "$wal" ;; esac
            [ -d "$layer" ] && [ ! -L "$layer" ] || exit 0
            [ "$(stat -c '%u %a' "$layer")" = '0 700' ] || { echo "$layer is not root's alone" >&2; exit 70; }
            # A server that was killed leaves its segment of shared memory; the 7th line of postmaster.pid names it.
            for pid in "$layer"/*/upper/postmaster.pid; do
              [ -f "$pid" ] || continue
              id=$(sed -n 7p "$pid" | awk '{ print $2 }')
              [ -z "$id" ] || awk -v id="$id" '$2 == id && $7 == 0 { exit 1 }' /proc/sysvipc/shm || ipcrm -m "$id"
            done
            rm -rf --one-file-system -- "$layer" "$layer.trial"
            """, Unit, Layer, SocketDirectory, WalFolder).AsRoot().WithTimeout(TimeSpan.FromMinutes(10)), cancel);

    /// <summary>True when nothing is left of it: no unit, layer or socket.</summary>
    public Task<bool> IsGoneAsync(CancellationToken cancel) =>
        Standby.Host.TestAsync(RemoteCommand.Shell(
            """[ ! -e "$2" ] && [ ! -e "$4" ] && [ ! -e "$3" ] && [ "$(systemctl show -p LoadState "$1")" = LoadState=not-found ]""", Unit, Layer, SocketDirectory, WalFolder).AsRoot(), cancel);

    // The 8th line of postmaster.pid says "ready" when connections are taken. Source: src/include/utils/pidfile.h.
    protected override string LookScript =>
        """
        while :; do
          state=$(systemctl show "$1" -p ActiveState -p Result -p ExecMainStatus -p MainPID -p Job -p InvocationID)
          ready=; for pid in "$2"/*/upper/postmaster.pid; do [ ! -f "$pid" ] || { read -r _; read -r _; read -r _; read -r _; read -r _; read -r _; read -r _; read -r ready; } 2>/dev/null < "$pid"; done
          case $state in *ActiveState=active* | *Job=[1-9]*) ;; *) break ;; esac
          [ "$ready" != ready ] && [ "$3" -gt 0 ] || break
          set -- "$1" "$2" "$(($3 - 1))" "$4" "$5"
          sleep 0.1
        done
        echo "$state"
        echo "Ready=$ready"
        [ ! -e "$4/postmaster.pid" ] || echo StandbyRuns=yes
        [ ! -f "$2/facts" ] || sed -n 's/^target /Target=/p' "$2/facts"
        [ ! -f "$2/settings" ] || echo "Launched=$(date -u -r "$2/settings" +%Y-%m-%dT%H:%M:%S.%3NZ)"
        if [ "$ready" = ready ]; then
          echo "Bytes=$(du -sB1 -- "$2" | cut -f 1)"
          "$5" -D "$4" | sed -n 's/^Minimum recovery ending location: */Replayed=/p'
        fi
        main=$(echo "$state" | sed -n 's/^MainPID=//p')
        if [ "${main:-0}" -gt 0 ]; then
          ps -o args= --ppid "$main" | sed -n 's/.*startup  *recovering  *\([0-9A-F]\{24\}\).*/Segment=\1/p'
        fi
        [ ! -f "$2/server.log" ] || { head -c 100000 "$2/server.log"; echo; tail -n 40 "$2/server.log"; } | grep -E '(LOG|FATAL|PANIC|ERROR|HINT|DETAIL):|^pitrps-scratch: ' | awk '!seen[$0]++ { print "Log=" $0 }'
        exit 0
        """;

    // Nobody but the server's OS user (and root) gets to its socket. Where its superuser is not called like him, 'peer' would let nobody in.
    private string Hba => "local all all " + (Standby.SocketRole is null ? "peer" : "trust");

    // systemd takes a dollar in a command for a variable.
    private static IEnumerable<string> Command(string layer, string verb, params string[] more) =>
        ((string[])["/bin/sh", layer + "/pitrps-scratch", verb, layer, .. more]).Select(word => word.Replace("$", "$$", StringComparison.Ordinal));

    private static string[] Protection(string writable) =>
    [
        "PrivateMounts=yes",
        "ProtectSystem=strict",
        "PrivateNetwork=yes",
        $"ReadWritePaths=\"{writable.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"",
    ];

    /// <summary>A target in one line, which tells one layer from another.</summary>
    internal static string Word(RecoveryTarget target) => string.Concat(target.ToString()!.Where(c => !char.IsControl(c)));

    private static string ReadScript()
    {
        using var stream = typeof(ScratchServer).Assembly.GetManifestResourceStream("pitrps-scratch.sh") ?? throw new InvalidOperationException("pitrps-scratch.sh is not embedded.");
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }
}

/// <summary>What was seen of a scratch server.</summary>
internal sealed record ScratchLook
{
    /// <summary>systemd's ActiveState: inactive where there is no such unit.</summary>
    public required string ActiveState { get; init; }

    public string Result { get; init; } = "";

    public int ExitStatus { get; init; }

    /// <summary>A start is under way and waits for the standby to stop.</summary>
    public bool IsQueued { get; init; }

    /// <summary>systemd's id of this one run of the unit.</summary>
    public string? Invocation { get; init; }

    /// <summary>The server takes connections.</summary>
    public bool IsAnswering { get; init; }

    /// <summary>The standby itself runs, on the files below the layer, so that the layer is worth nothing.</summary>
    public bool StandbyRuns { get; init; }

    /// <summary>When its layer was made, by the host's clock; null where there is none.</summary>
    public DateTimeOffset? LaunchedAt { get; init; }

    /// <summary>Bytes that the layer takes; null until it takes connections.</summary>
    public long? LayerBytes { get; init; }

    /// <summary>Up to where the stopped standby itself has applied the WAL, as its pg_control says; null until the scratch server takes connections.</summary>
    public Lsn? StandbyReplayed { get; init; }

    /// <summary>The segment that is being replayed.</summary>
    public string? Segment { get; init; }

    /// <summary>The lines of its log.</summary>
    public required ScratchLog Log { get; init; }

    public bool IsAlive => ActiveState is "active" or "activating" or "deactivating" or "reloading" || IsQueued;

    /// <summary>It is at work, or about to be, on files that nobody else touches.</summary>
    public bool IsUnderWay => IsAlive && (!StandbyRuns || IsQueued);

    /// <summary>The target that its layer was made for; null where that says nothing of it.</summary>
    public string? Target { get; init; }

    /// <summary>It is, and for this target: a recovery that is moved has for a moment a layer at the earlier one.</summary>
    public bool IsUnderWayFor(RecoveryRecord record) => IsUnderWay && (Target is null || Target == ScratchServer.Word(record.Target.ToTarget()));

    public static ScratchLook Parse(string output)
    {
        var lines = output.Split('\n').Select(l => l.TrimEnd('\r').Split('=', 2)).Where(p => p.Length == 2).ToLookup(p => p[0], p => p[1]);
        string Value(string name) => lines[name].FirstOrDefault("");
        return new ScratchLook
        {
            ActiveState = Value("ActiveState"),
            Result = Value("Result"),
            ExitStatus = int.TryParse(Value("ExecMainStatus"), NumberStyles.None, CultureInfo.InvariantCulture, out var status) ? status : 0,
            IsQueued = Value("Job") is { Length: > 0 } job && job != "0",
            Invocation = Value("InvocationID") is { Length: > 0 } id ? id : null,
            IsAnswering = Value("Ready") == "ready" && Value("ActiveState") == "active",
            StandbyRuns = Value("StandbyRuns") == "yes",
            LaunchedAt = DateTimeOffset.TryParse(Value("Launched"), CultureInfo.InvariantCulture, out var launched) ? launched : null,
            LayerBytes = long.TryParse(Value("Bytes"), NumberStyles.None, CultureInfo.InvariantCulture, out var bytes) ? bytes : null,
            StandbyReplayed = Lsn.TryParse(Value("Replayed"), out var replayed) ? replayed : null,
            Target = lines["Target"].FirstOrDefault(),
            Segment = lines["Segment"].FirstOrDefault(),
            Log = new ScratchLog([.. lines["Log"]]),
        };
    }
}
