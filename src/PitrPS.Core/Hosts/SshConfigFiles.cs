namespace PitrPS.Hosts;

/// <summary>The ssh_config files of this client: the user's, then the system's, or the one that was named.</summary>
internal sealed class SshConfigFiles
{
    private readonly string? _only;
    private readonly string _own;
    private readonly string _system = OperatingSystem.IsWindows()
        ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData), "ssh")
        : "/etc/ssh";

    /// <param name="only">The one file to read; null for the user's and the system's.</param>
    /// <param name="home">The user's home directory, where it is not that of who runs this.</param>
    public SshConfigFiles(string? only, string? home = null)
    {
        _only = only;
        _own = Path.Combine(home ?? Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ssh");
    }

    /// <summary>What they say about a host.</summary>
    /// <exception cref="PitrException">
    /// <c>PitrPS.SshConfigNotFound</c>, <c>PitrPS.SshConfigUnsafe</c>, <c>PitrPS.SshConfigUnreadable</c>, <c>PitrPS.SshConfigInvalid</c>, <c>PitrPS.SshConfigUnsupported</c>
    /// </exception>
    public SshHostSettings About(string host, string? user) => new SshConfig(host, user, Environment.UserName, (word, from) => Included(word, from, host)).Evaluate(Files(host));

    private IEnumerable<(string File, string Text)> Files(string host)
    {
        if (_only is not null)
        {
            if (!File.Exists(_only))
            {
                throw new PitrException("PitrPS.SshConfigNotFound", ErrorKind.ObjectNotFound, $"There is no ssh configuration file {_only}.", "Give the right path with -SshConfigFile.", host);
            }

            yield return (_only, Read(_only, host));
            yield break;
        }

        var own = Path.Combine(_own, "config");
        if (File.Exists(own))
        {
            RefuseWritable(own, host);
            yield return (own, Read(own, host));
        }

        var system = Path.Combine(_system, "ssh_config");
        if (File.Exists(system))
        {
            yield return (system, Read(system, host));
        }
    }

    private List<(string File, string Text)> Included(string word, string from, string host)
    {
        var path = SshTokens.Home(SshTokens.Variables(word, host));
        if (!Path.IsPathRooted(path))
        {
            path = Path.Combine(from.StartsWith(_system, StringComparison.Ordinal) ? _system : _own, path);
        }

        return [.. Glob(path).Select(file => (file, Read(file, host)))];
    }

    /// <summary>The files that a path with wildcards stands for, in order; a folder that may not be read holds none.</summary>
    public static IReadOnlyList<string> Glob(string path)
    {
        var root = Path.GetPathRoot(path)!;
        IEnumerable<string> places = [root];
        var parts = path[root.Length..].Split([Path.DirectorySeparatorChar, Path.AltDirectorySeparatorChar], StringSplitOptions.RemoveEmptyEntries);
        for (var i = 0; i < parts.Length; i++)
        {
            var part = parts[i];
            var wild = part.AsSpan().IndexOfAny('*', '?') >= 0;
            places = [.. places.SelectMany(place => wild ? Children(place, part) : [Path.Combine(place, part)])];
        }

        return [.. places.Where(File.Exists).Order(StringComparer.Ordinal)];
    }

    private static IEnumerable<string> Children(string place, string pattern)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(place).Where(e =>
                (pattern[0] == '.' || Path.GetFileName(e)[0] != '.') && KnownHostLine.Matches(pattern, Path.GetFileName(e)))];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    // As ssh: whoever else may write this file decides with whom we speak.
    private static void RefuseWritable(string file, string host)
    {
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(file) & (UnixFileMode.GroupWrite | UnixFileMode.OtherWrite)) != 0)
        {
            throw new PitrException("PitrPS.SshConfigUnsafe", ErrorKind.SecurityError, $"{file} can be written by others than its owner.",
                $"Take that right away (chmod go-w {file}), or connect with -NoSshConfig.", host);
        }
    }

    private static string Read(string file, string host)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new PitrException("PitrPS.SshConfigUnreadable", ErrorKind.PermissionDenied, $"{file} cannot be read: {e.Message}",
                "Make it readable for you, or connect with -NoSshConfig.", host, e);
        }
    }
}
