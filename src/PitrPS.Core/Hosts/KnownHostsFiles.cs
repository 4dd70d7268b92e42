using System.Text;

namespace PitrPS.Hosts;

/// <summary>The known_hosts files of this client: reads them all, appends to the user's.</summary>
internal sealed class KnownHostsFiles
{
    private static readonly Lock Appending = new();

    private readonly IReadOnlyList<string> _files;

    /// <param name="only">The one file to use; null for the user's files and the system's.</param>
    public KnownHostsFiles(string? only) => _files = only is null ? Defaults() : [only];

    /// <summary>Where a new key is written.</summary>
    public string Appended => _files[0];

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
        var line = $"{KnownHosts.LookupName(host, port)} {keyType} {Convert.ToBase64String(key)}\n";
        lock (Appending)
        {
            try
            {
                MakeDirectory();
                using var file = OpenToAppend();
                var missingEnd = false;
                if (file.Length > 0)
                {
                    file.Seek(-1, SeekOrigin.End);
                    missingEnd = file.ReadByte() != '\n';
                }

                file.Seek(0, SeekOrigin.End);
                file.Write(Encoding.UTF8.GetBytes(missingEnd ? "\n" + line : line));
                file.Flush(flushToDisk: true);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new PitrException("PitrPS.KnownHostsNotWritable", ErrorKind.PermissionDenied,
                    $"The host key of {host} could not be added to {Appended}: {e.Message}",
                    "Make the file writable for you, or name another one with -KnownHostsFile.", host, e);
            }
        }
    }

    private void MakeDirectory()
    {
        var directory = Path.GetDirectoryName(Path.GetFullPath(Appended))!;
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

    private FileStream OpenToAppend()
    {
        // FileShare.None is a lock among PitrPS processes, so that two of them do not write over each other.
        var options = new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None, BufferSize = 0 };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        return new FileStream(Appended, options);
    }

    private static List<string> Defaults()
    {
        var own = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".ssh");
        var system = OperatingSystem.IsWindows()
            ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.CommonApplicationData), "ssh")
            : "/etc/ssh";
        return [Path.Combine(own, "known_hosts"), Path.Combine(own, "known_hosts2"), Path.Combine(system, "ssh_known_hosts"), Path.Combine(system, "ssh_known_hosts2")];
    }
}
