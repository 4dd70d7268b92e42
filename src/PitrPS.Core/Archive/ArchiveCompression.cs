using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Archive;

/// <summary>What compresses an archive's segments: a program on each host that writes or reads them, called as its package is in every family of distributions.</summary>
internal static class ArchiveCompression
{
    /// <summary>The program and its package; null for none.</summary>
    public static string? Program(WalCompression compression) => compression switch
    {
        WalCompression.Zstd => "zstd",
        WalCompression.Lz4 => "lz4",
        _ => null,
    };

    /// <summary>What a compressed segment's name ends with; empty for none.</summary>
    public static string Suffix(WalCompression compression) => compression switch
    {
        WalCompression.Zstd => ".zst",
        WalCompression.Lz4 => ".lz4",
        _ => "",
    };

    /// <summary>
    /// Whether a server that restores with this command gets a segment that lies there with this suffix: pitrps-restore does,
    /// another command only where it names the suffix.
    /// </summary>
    public static bool IsRestored(string restoreCommand, string suffix) =>
        restoreCommand.Trim().Length == 0 || restoreCommand.Contains(ArchiveScripts.RestorePath, StringComparison.Ordinal)
            ? suffix is ".zst" or ".lz4"
            : restoreCommand.Contains(suffix, StringComparison.Ordinal);

    /// <summary>What a primary's archive is, or still holds from before, compressed by.</summary>
    public static async Task<IReadOnlyList<WalCompression>> InAsync(PgServer primary, CancellationToken cancel)
    {
        var held = primary.IsPlanned || primary.ArchiveDirectory is null ? [] : (await primary.Host.RunCheckedAsync(RemoteCommand.Shell(
            """
            [ -d "$1" ] || exit 0
            for suffix in zst lz4; do
              [ -z "$(find "$1" -maxdepth 1 -name "[0-9A-F]*.$suffix" -print | head -n 1)" ] || echo ".$suffix"
            done
            """, primary.ArchiveDirectory).AsRoot(), cancel).ConfigureAwait(false)).Lines;
        return [.. Enum.GetValues<WalCompression>().Where(c => c != WalCompression.None && (primary.ArchiveCompression == c || held.Contains(Suffix(c))))];
    }

    /// <summary>The program is there: from the host's own package sources where it is missing. For before anything else is changed.</summary>
    /// <exception cref="PitrException"><c>PitrPS.CompressionUnavailable</c></exception>
    public static IReadOnlyList<Step> ProgramSteps(PgHost host, IEnumerable<WalCompression> compressions) =>
        [.. compressions.Select(Program).OfType<string>().Select(program => ProgramStep(host, program))];

    private static Step ProgramStep(PgHost host, string program)
    {
        var packages = Steps.Packages(host, program, [program]);
        return packages with
        {
            Title = $"Have {program}, which the archive's segments are compressed by",
            IsDone = run => run.TestAsync(RemoteCommand.Shell("""command -v "$1" >/dev/null""", program)),
            Do = async run =>
            {
                try
                {
                    await packages.Do(run).ConfigureAwait(false);
                }
                catch (PitrException e) when (e.Id == "PitrPS.PackageMissing")
                {
                    throw new PitrException("PitrPS.CompressionUnavailable", ErrorKind.ResourceUnavailable, $"{host.Name} has no {program}, and its package sources do not offer it. Nothing was changed.",
                        $"Install the package {program} there (on release 7 of the RHEL family zstd is in EPEL) and run the same command again, or choose another compression with Enable-WalArchive -Compression.", host);
                }
            },
        };
    }
}
