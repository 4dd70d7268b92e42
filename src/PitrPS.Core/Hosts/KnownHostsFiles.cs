using System.Text;

namespace PitrPS.Hosts;

/// <summary>The known_hosts files of this client: reads them all, appends to the user's.</summary>
internal sealed class KnownHostsFiles
{
    private static readonly Lock Appending = new();

    private readonly IReadOnlyList<string> _files;
    private readonly bool _hashed;

    /// <param name="only">The one file to use; null for the user's files and the system's.</param>
    public KnownHostsFiles(string? only)
    {
        _files = only is null ? [.. OfUser(), .. OfSystem()] : [only];
        Appended = _files[0];
    }

    /// <param name="user">The user's files as ssh_config has them; null for the usual ones.</param>
    /// <param name="system">The system's, likewise.</param>
    /// <param name="hashed">New hosts are written so that the file does not show their names.</param>
    public KnownHostsFiles(IReadOnlyList<string>? user, IReadOnlyList<string>? system, bool hashed)
    {
        user ??= OfUser();
        _files = [.. user, .. system ?? OfSystem()];
        _hashed = hashed;
        Appended = user.Count > 0 ? user[0] : null;
    }

    /// <summary>Where a new key is written; null for nowhere.</summary>
    public string? Appended { get; }

    public KnownHosts Read()
    {
        var lines = new List<KnownHostLine>();
        foreach (var file in _files.Where(File.Exists))
        {
            try
            {
                lines.AddRange(KnownHosts.Parse(File.ReadAllText(file), file));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new PitrException("PitrPS.KnownHostsUnreadable", ErrorKind.PermissionDenied,
                    $"The known host keys in {file} cannot be read: {e.Message}", "Make the file readable for you, or name another one with -KnownHostsFile.", file, e);
            }
        }

        return new KnownHosts(lines);
    }

    /// <summary>Adds a key for a host that has no entry: one write at the end of the file, which is mended first where its last line has no end.</summary>
    public void Append(string host, int port, string keyType, ReadOnlySpan<byte> key)
    {
        var file = Appended ?? throw new PitrException("PitrPS.KnownHostsNotWritable", ErrorKind.PermissionDenied,
            $"The host key of {host} cannot be remembered: the ssh configuration names no known_hosts file.", "Name one with -KnownHostsFile.", host);
        var name = KnownHosts.LookupName(host, port);
        var line = $"{(_hashed ? KnownHosts.Hashed(name) : name)} {keyType} {Convert.ToBase64String(key)}\n";
        lock (Appending)
        {
            try
            {
                MakeDirectory(file);
                using var stream = OpenToAppend(file);
                var missingEnd = false;
                if (stream.Length > 0)
                {
                    stream.Seek(-1, SeekOrigin.End);
                    missingEnd = stream.ReadByte() != '\n';
                }

                stream.Seek(0, SeekOrigin.End);
                stream.Write(Encoding.UTF8.GetBytes(missingEnd ? "\n" + line : line));
                stream.Flush(flushToDisk: true);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new PitrException("PitrPS.KnownHostsNotWritable", ErrorKind.PermissionDenied,
                    $"The host key of {host} could not be added to {file}: {e.Message}",
                    "Make the file writable for you, or name another one with -KnownHostsFile.", host, e);
            }
        }
    }

    private static void MakeDirectory(string file)
    {
        var directory = Path.GetDirectoryName(Path.GetFullPath(file))!;
        if (Directory.Exists(directory))
        {
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(directory);
        }
        else
        {
            Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private static FileStream OpenToAppend(string file)
    {
        // FileShare.None is a lock among PitrPS processes, so that two of them do not write over each other.
        var options = new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None, BufferSize = 0 };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return new FileStream(file, options);
    }

    private static string[] OfUser()
    {
        var own = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ssh");
        return [Path.Combine(own, "known_hosts"), Path.Combine(own, "known_hosts2")];
    }

    private static string[] OfSystem()
    {
        var system = OperatingSystem.IsWindows()
            ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData), "ssh")
            : "/etc/ssh";
        return [Path.Combine(system, "ssh_known_hosts"), Path.Combine(system, "ssh_known_hosts2")];
    }
}
