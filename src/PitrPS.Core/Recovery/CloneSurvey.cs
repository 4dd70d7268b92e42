using System.Globalization;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Recovery;

/// <summary>What a copy of a standby's files needs, and what its host has; reading it leaves nothing behind.</summary>
internal sealed record CloneSurvey
{
    // Catalogs, commit log, new WAL and whatever else every server writes.
    private const long Always = 96L << 20;

    /// <summary>The clones' directories without "-" and the id: beside the data directory, on its file system, unless the data directory is all that this holds.</summary>
    public required string Stem { get; init; }

    /// <summary>Each directory that is copied, with the file system that its copy comes to lie on.</summary>
    public required IReadOnlyList<CopiedPlace> Places { get; init; }

    /// <summary>Free bytes by file system.</summary>
    public required IReadOnlyDictionary<string, long> Free { get; init; }

    /// <summary>TCP ports that something listens on.</summary>
    public required IReadOnlySet<int> Ports { get; init; }

    /// <summary>A process can have mounts of its own there.</summary>
    public bool CanMount { get; init; }

    /// <summary>Bytes that are really copied.</summary>
    public long CopiedBytes => Places.Where(p => !p.Reflink).Sum(p => p.Bytes);

    public bool IsByReference => Places.All(p => p.Reflink);

    public string FolderOf(string id) => $"{Stem}-{id}";

    /// <summary>The first port after the scratch server's that neither a program nor another clone has.</summary>
    public int PortFor(PgServer standby, IEnumerable<int> taken)
    {
        var ports = Ports.Concat(taken).ToHashSet();
        var first = standby.Port + 10001 > ushort.MaxValue ? standby.Port - 9999 : standby.Port + 10001;
        return Enumerable.Range(first, ushort.MaxValue - first).First(p => !ports.Contains(p));
    }

    private const string Script =
        """
        [ -d /run/systemd/system ] || { echo 'systemd does not run this host' >&2; exit 70; }
        for p in setpriv cp du; do command -v $p >/dev/null || { echo "it has no $p" >&2; exit 70; }; done
        data=$(readlink -e -- "$1") elsewhere=$2 || exit
        parent=${data%/*}; [ -n "$parent" ] || parent=/
        device() { stat -c %d -- "$1"; }
        if [ "$(device "$parent")" = "$(device "$data")" ]; then stem=$data.pitrps-clone; else stem=$elsewhere.pitrps-clone parent=${elsewhere%/*}; fi
        home=$(device "$parent")
        free() { echo "free $(device "$1") $(stat -f -c '%a %S' -- "$1")"; }
        # reflink DIRECTORY: tried there with a file of its own.
        reflink() {
          trial=$(mktemp -d "$1.trial.XXXXXX") || exit
          head -c 65536 /dev/zero > "$trial/a"
          if cp --reflink=always "$trial/a" "$trial/b" 2>/dev/null; then r=yes; else r=no; fi
          rm -rf --one-file-system -- "$trial"
          echo $r
        }
        echo "stem $stem"
        free "$parent"
        how=$(reflink "$stem") || exit
        [ "$(device "$data")" = "$home" ] || how=no
        echo "place $home $how $(du -sB1 --exclude=pg_wal --exclude=pg_replslot --exclude=log --exclude=pg_log -- "$data" | cut -f 1) $data"
        for link in "$data"/pg_tblspc/*; do
          [ -L "$link" ] && place=$(readlink -e -- "$link") || continue
          above=${place%/*}; [ -n "$above" ] || above=/
          at=$(device "$place") bytes=$(du -sB1 -- "$place" | cut -f 1)
          if [ "$at" = "$home" ]; then echo "place $home $how $bytes $place"
          elif [ "$at" = "$(device "$above")" ]; then free "$above"; it=$(reflink "$place.pitrps-clone") || exit; echo "place $at $it $bytes $place"
          else echo "place $home no $bytes $place"
          fi
        done
        cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { sub(/.*:/, "", $2); print "port " $2 }'
        ! unshare --mount --propagation private sh -c 'mount --bind / /' 2>/dev/null || echo 'mount yes'
        """;

    /// <exception cref="PitrException"><c>PitrPS.CloneUnsupported</c> with why.</exception>
    public static async Task<CloneSurvey> ReadAsync(PgServer standby, CancellationToken cancel)
    {
        var said = await standby.Host.Remote.RunAsync(RemoteCommand.Shell(Script, standby.DataDirectory, $"/var/lib/{HostPaths.FileName(standby.Name)}")
            .AsRoot().WithTimeout(TimeSpan.FromMinutes(10)), cancel).ConfigureAwait(false);
        return said.Succeeded ? Parse(said.Text) : throw Unsupported(standby, said.ErrorOutput.Trim() is { Length: > 0 } why ? why : $"the survey ended with {said.ExitCode}");
    }

    /// <summary>Refuses what cannot be made on this host.</summary>
    /// <param name="standby">The standby.</param>
    /// <param name="growth">Bytes that recovery writes beside the copy: new blocks, and WAL.</param>
    /// <param name="makesTablespaces">The WAL makes tablespaces, whose place the clone must have for itself alone.</param>
    /// <exception cref="PitrException"><c>PitrPS.CloneSpace</c>, <c>PitrPS.CloneUnsupported</c></exception>
    public void Require(PgServer standby, long growth, bool makesTablespaces)
    {
        if (makesTablespaces && !CanMount)
        {
            throw Unsupported(standby, "the WAL makes a tablespace, whose directory the clone must not share with the standby, and no process can have mounts of its own");
        }

        foreach (var (device, free) in Free)
        {
            var needed = NeededOn(device, growth);
            if (needed > free * 0.95)
            {
                throw new PitrException("PitrPS.CloneSpace", ErrorKind.ResourceUnavailable,
                    $"A clone of {standby.Id} takes about {ByteSize.Words(needed)} beside {Places.First(p => p.Device == device).Path}, and {ByteSize.Words(free)} are free there.",
                    "Make room on that file system, or remove clones that nobody needs any more (Get-PitrRecovery | Remove-PitrClone), then run the same command again. The standby runs on and has not been touched.", standby);
            }
        }
    }

    public long NeededOn(string device, long growth) => Places.Where(p => p.Device == device && !p.Reflink).Sum(p => p.Bytes) + (device == Places[0].Device ? growth + Always : 0);

    internal static CloneSurvey Parse(string text)
    {
        var lines = text.Split('\n').Select(l => l.Split(' ', 2)).Where(w => w.Length == 2).ToLookup(w => w[0], w => w[1]);
        return new CloneSurvey
        {
            Stem = lines["stem"].Single(),
            Places = [.. lines["place"].Select(l => l.Split(' ', 4)).Select(w => new CopiedPlace(w[3], w[0], long.Parse(w[2], CultureInfo.InvariantCulture), w[1] == "yes"))],
            Free = lines["free"].Select(l => l.Split(' ')).DistinctBy(w => w[0])
                .ToDictionary(w => w[0], w => long.Parse(w[1], CultureInfo.InvariantCulture) * long.Parse(w[2], CultureInfo.InvariantCulture)),
            Ports = lines["port"].Select(p => int.Parse(p, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToHashSet(),
            CanMount = lines["mount"].Any(),
        };
    }

    private static PitrException Unsupported(PgServer standby, string why) => new("PitrPS.CloneUnsupported", ErrorKind.NotInstalled,
        $"On {standby.Host.Name}, no clone of {standby.Id} can be made: {why}.",
        "A clone needs systemd, and setpriv, cp and du of util-linux and coreutils. The standby runs on and has not been touched.", standby);
}

/// <summary>A directory that is copied.</summary>
/// <param name="Path">Where it is.</param>
/// <param name="Device">The file system that its copy comes to lie on.</param>
/// <param name="Bytes">What it holds.</param>
/// <param name="Reflink">Files are copied by reference there, which takes no space.</param>
internal sealed record CopiedPlace(string Path, string Device, long Bytes, bool Reflink);
