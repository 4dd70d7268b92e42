using System.Security.Cryptography;
using PitrPS.Hosts;

namespace PitrPS.Planning;

/// <summary>The steps that operations are made of again and again; each has its check.</summary>
internal static class Steps
{
    /// <summary>
    /// A file with exactly this content, mode and owner. The check compares a digest on the host, so that the content of a secret file is never read back.
    /// </summary>
    public static Step File(PgHost host, string id, string title, RemoteFile file) => new(id, title, host)
    {
        IsDone = run => run.TestAsync(FileIsExactly(file)),
        Do = run => host.Remote.WriteFileAsync(file, run.Cancel),
        Preview = PreviewOf(file),
    };

    /// <summary>A directory with this mode and owner; made with its parents.</summary>
    public static Step Directory(PgHost host, string id, string title, string path, int mode, string owner = "root", string group = "root") => new(id, title, host)
    {
        IsDone = run => run.TestAsync(RemoteCommand.Shell(
            """[ -d "$1" ] && [ ! -L "$1" ] && [ "$(stat -c '%a %U %G' "$1")" = "$2" ]""", path, $"{Octal(mode)} {owner} {group}").AsRoot()),
        Do = run => run.RunAsync(RemoteCommand.Of("install", "-d", "-m", Octal(mode), "-o", owner, "-g", group, path).AsRoot()),
        Preview = [$"make directory {path} ({Octal(mode)}, {owner}:{group})"],
    };

    /// <summary>A command, done when the check exits with 0.</summary>
    public static Step Command(PgHost host, string id, string title, RemoteCommand check, params RemoteCommand[] commands) => new(id, title, host)
    {
        IsDone = run => run.TestAsync(check),
        Do = async run =>
        {
            foreach (var command in commands)
            {
                await run.RunAsync(command).ConfigureAwait(false);
            }
        },
        Preview = [.. commands.Select(c => c.Display)],
    };

    /// <summary>A file or directory tree that is not there any more.</summary>
    public static Step Absent(PgHost host, string id, string title, params string[] paths) => new(id, title, host)
    {
        IsDone = run => run.TestAsync(RemoteCommand.Shell("""for p; do [ ! -e "$p" ] && [ ! -L "$p" ] || exit 1; done""", paths).AsRoot()),
        Do = run => run.RunAsync(new RemoteCommand(["rm", "-rf", "--one-file-system", "--", .. paths]).AsRoot()),
        Preview = [.. paths.Select(p => $"remove {p}")],
    };

    /// <summary>One more package source for these packages, where the host's own do not offer them.</summary>
    /// <exception cref="PitrException"><c>PitrPS.RepositoryUnreachable</c>, <c>PitrPS.RepositoryKeyMismatch</c>, <c>PitrPS.RepositoryInvalid</c></exception>
    public static Step Source(PgHost host, PackageSource source, IReadOnlyList<string> packages)
    {
        var platform = host.Facts.Platform;
        return new Step(source.Id, source.Title, host)
        {
            IsDone = async run => await run.TestAsync(platform.PackagesInstalled(packages)).ConfigureAwait(false)
                || await run.TestAsync(source.IsThere ?? platform.PackagesAvailable(packages)).ConfigureAwait(false)
                // Once it was added, it is the next source's or the packages' own step that finds them missing.
                || (source.IsThere is null && run.Recall(source.Id) == "added"),
            Do = async run =>
            {
                var added = await host.Remote.RunAsync(source.Add, run.Cancel).ConfigureAwait(false);
                if (!added.Succeeded)
                {
                    throw SourceFailed(host, source, added);
                }

                await run.RememberAsync(source.Id, "added").ConfigureAwait(false);
            },
            Preview = [.. source.Preview, source.IsThere is null ? $"only while the host's package sources do not offer {string.Join(", ", packages)}" : "unless it is there"],
        };
    }

    private static PitrException SourceFailed(PgHost host, PackageSource source, CommandResult result)
    {
        var said = result.ErrorOutput.Trim();
        return result.ExitCode switch
        {
            PackageSource.Unreachable => new PitrException("PitrPS.RepositoryUnreachable", ErrorKind.ConnectionError,
                $"{host.Name} does not reach a package repository ({source.Title}): {said}",
                "Give a mirror that it reaches with -RepositoryUri, or let the host's own sources have the packages and use -NoRepository. Nothing was installed.", host),
            PackageSource.OtherKey => new PitrException("PitrPS.RepositoryKeyMismatch", ErrorKind.SecurityError,
                $"The key of a package repository is not the one that PitrPS knows ({source.Title}); what {host.Name} was given is {(result.Text.Length > 0 ? result.Text : "no key")}.",
                "Do not trust it before its maker has announced a change. If he has, save that key in a file and give it with -RepositoryKey. Nothing was installed.", host),
            PackageSource.Invalid => new PitrException("PitrPS.RepositoryInvalid", ErrorKind.InvalidData,
                $"A package source for {host.Name} is none ({source.Title}): {said}", "Add one yourself, and run the same command again.", host),
            _ => RemoteHostExtensions.Failed(host, source.Add with { Arguments = [source.Id], Input = default }, result),
        };
    }

    /// <summary>Packages, from the sources that the host has. What is not to be had is said before anything is installed.</summary>
    /// <exception cref="PitrException"><c>PitrPS.PackageMissing</c></exception>
    public static Step Packages(PgHost host, string id, IReadOnlyList<string> packages, bool allowUnsigned = false)
    {
        var platform = host.Facts.Platform;
        return new Step(id, $"Install {string.Join(", ", packages)}", host)
        {
            IsDone = run => run.TestAsync(platform.PackagesInstalled(packages)),
            Do = async run =>
            {
                if (!await run.TestAsync(platform.PackagesAvailable(packages)).ConfigureAwait(false))
                {
                    await run.RunAsync(platform.RefreshPackages).ConfigureAwait(false);
                    var missing = await host.Remote.RunAsync(platform.PackagesAvailable(packages), run.Cancel).ConfigureAwait(false);
                    if (!missing.Succeeded)
                    {
                        throw new PitrException("PitrPS.PackageMissing", ErrorKind.ResourceUnavailable,
                            $"The package sources of {host.Name} do not offer {missing.Text}.",
                            "Give a repository that has it with -RepositoryUri, or add one to the host, then run the same command again.", host);
                    }
                }

                await run.RunAsync(platform.InstallPackages(packages, allowUnsigned)).ConfigureAwait(false);
            },
            Preview = [platform.InstallPackages(packages, allowUnsigned).Display],
        };
    }

    /// <summary>A systemd unit that is enabled (or has no way to be) and active. Its file, if ours, is written by an earlier step.</summary>
    public static Step UnitActive(PgHost host, string id, string title, string unit) => new(id, title, host)
    {
        IsDone = run => run.TestAsync(RemoteCommand.Shell(
            """
            systemctl is-active --quiet "$1" || exit 1
            case $(systemctl is-enabled "$1" 2>/dev/null) in enabled|static|enabled-runtime|alias|indirect|generated) ;; *) exit 1 ;; esac
            [ "$(systemctl show -p NeedDaemonReload "$1" 2>/dev/null)" != NeedDaemonReload=yes ]
            """, unit).AsRoot()),
        Do = async run =>
        {
            await run.RunAsync(RemoteCommand.Of("systemctl", "daemon-reload").AsRoot()).ConfigureAwait(false);
            await run.RunAsync(RemoteCommand.Of("systemctl", "enable", unit).AsRoot()).ConfigureAwait(false);
            await run.RunAsync(RemoteCommand.Of("systemctl", "start", unit).AsRoot()).ConfigureAwait(false);
        },
        Preview = ["systemctl daemon-reload", $"systemctl enable {unit}", $"systemctl start {unit}"],
    };

    /// <summary>Exits with 0 when the file has this content, mode and owner.</summary>
    public static RemoteCommand FileIsExactly(RemoteFile file) => RemoteCommand.Shell(
        """[ -f "$1" ] && [ ! -L "$1" ] && [ "$(stat -c '%a %U %G' "$1")" = "$2" ] && [ "$(sha256sum < "$1")" = "$3  -" ]""",
        file.Path, $"{Octal(file.Mode)} {file.Owner} {file.Group}", Convert.ToHexStringLower(SHA256.HashData(file.Content.Span))).AsRoot();

    /// <summary>A mode as stat and install print it: 0640 is "640".</summary>
    public static string Octal(int mode) => Convert.ToString(mode, 8);

    private static string[] PreviewOf(RemoteFile file) =>
        file.Secret
            ? [$"write {file.Path} ({Octal(file.Mode)}, {file.Owner}:{file.Group}), content not shown"]
            : [$"write {file.Path} ({Octal(file.Mode)}, {file.Owner}:{file.Group}):", .. System.Text.Encoding.UTF8.GetString(file.Content.Span).TrimEnd('\n').Split('\n').Select(l => "| " + l)];
}
