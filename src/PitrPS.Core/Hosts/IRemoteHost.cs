namespace PitrPS.Hosts;

/// <summary>
/// The one seam to a host. Everything above it is ordinary code that a fake can run; everything below it is SSH.
/// Every method throws <see cref="PitrException"/> <c>PitrPS.HostUnreachable</c> within 10 s when the host is gone,
/// <c>PitrPS.CommandTimeout</c> when a command outlives its time, and gives a connection up within 1 s of a cancel.
/// A command is never sent twice.
/// </summary>
internal interface IRemoteHost : IAsyncDisposable
{
    /// <summary>Runs a command to its end. A non-zero exit code is a result, not an exception.</summary>
    Task<CommandResult> RunAsync(RemoteCommand command, CancellationToken cancel);

    /// <summary>Starts a command that stays on the connection and is spoken to line by line; it ends with the connection.</summary>
    Task<IRemoteProcess> StartAsync(RemoteCommand command, CancellationToken cancel);

    /// <summary>The file's content, read as root; null where there is no such file.</summary>
    Task<byte[]?> ReadFileAsync(string path, CancellationToken cancel);

    /// <summary>Writes the file as its owner would find it: temporary name beside it, mode and owner, fsync, rename, fsync of the directory.</summary>
    Task WriteFileAsync(RemoteFile file, CancellationToken cancel);

    /// <summary>A local port that leads to a port on the host's own loopback; closed by disposing it.</summary>
    Task<IForwardedPort> ForwardAsync(int remotePort, CancellationToken cancel);
}

/// <summary>A command that is running on the connection.</summary>
internal interface IRemoteProcess : IAsyncDisposable
{
    Task WriteLineAsync(string line, CancellationToken cancel);

    /// <summary>The next line of standard output; null at its end.</summary>
    Task<string?> ReadLineAsync(CancellationToken cancel);

    /// <summary>Completes when the command has ended, with its exit code and what it wrote to standard error.</summary>
    Task<CommandResult> Completion { get; }
}

/// <summary>A forwarded port on the client's loopback.</summary>
internal interface IForwardedPort : IAsyncDisposable
{
    int LocalPort { get; }
}

/// <summary>A whole file as PitrPS wants it on a host. Owner and group are names.</summary>
internal sealed record RemoteFile(string Path, ReadOnlyMemory<byte> Content, int Mode, string Owner = "root", string Group = "root")
{
    /// <summary>The content is never shown, journaled or compared in the clear.</summary>
    public bool Secret { get; init; }

    public static RemoteFile Text(string path, string content, int mode, string owner = "root", string group = "root") =>
        new(path, System.Text.Encoding.UTF8.GetBytes(content), mode, owner, group);
}
