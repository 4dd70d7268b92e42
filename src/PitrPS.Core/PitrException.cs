namespace PitrPS;

/// <summary>What sort of thing went wrong; each value has the same name as the PowerShell error category that it becomes.</summary>
public enum ErrorKind
{
    /// <summary>An argument is not what it has to be.</summary>
    InvalidArgument,
    /// <summary>The request makes sense, but not in the state that the host or server is in.</summary>
    InvalidOperation,
    /// <summary>What was named does not exist.</summary>
    ObjectNotFound,
    /// <summary>What would be made is there already, and is something else.</summary>
    ResourceExists,
    /// <summary>Somebody else holds it.</summary>
    ResourceBusy,
    /// <summary>A host, server, disk or package is not to be had.</summary>
    ResourceUnavailable,
    /// <summary>The connection could not be made or was lost.</summary>
    ConnectionError,
    /// <summary>A key, password or signature was refused.</summary>
    AuthenticationError,
    /// <summary>Who is asking may not do this.</summary>
    PermissionDenied,
    /// <summary>A host key or signature is not the one that is known.</summary>
    SecurityError,
    /// <summary>It took longer than it may.</summary>
    OperationTimeout,
    /// <summary>Data is not what it has to be.</summary>
    InvalidData,
    /// <summary>A result could not be read, or a command failed.</summary>
    InvalidResult,
    /// <summary>The host or server does not have what this needs.</summary>
    NotInstalled,
    /// <summary>It is not done on this platform or version.</summary>
    NotImplemented,
    /// <summary>It was stopped on request.</summary>
    OperationStopped,
}

/// <summary>
/// The only exception that PitrPS shows to a user: a stable id, what happened, to what, and what to do next.
/// It never carries a secret.
/// </summary>
public sealed class PitrException : Exception
{
    /// <summary>Makes the error.</summary>
    /// <param name="id">Stable id, always beginning with <c>PitrPS.</c></param>
    /// <param name="kind">The category.</param>
    /// <param name="message">What happened, in one or two sentences.</param>
    /// <param name="nextStep">What the reader should do now.</param>
    /// <param name="target">The host, server or object that it happened to.</param>
    /// <param name="inner">The cause, when there is one.</param>
    public PitrException(string id, ErrorKind kind, string message, string nextStep, object? target = null, Exception? inner = null)
        : base(TerminalText.Clean(message), inner)
    {
        if (!id.StartsWith("PitrPS.", StringComparison.Ordinal))
        {
            throw new ArgumentException($"An error id begins with 'PitrPS.': {id}", nameof(id));
        }

        Id = id;
        Kind = kind;
        NextStep = TerminalText.Clean(nextStep);
        Target = target;
    }

    /// <summary>Stable id, for example <c>PitrPS.HostKeyUnknown</c>.</summary>
    public string Id { get; }

    /// <summary>The category.</summary>
    public ErrorKind Kind { get; }

    /// <summary>What to do next; becomes the error record's RecommendedAction.</summary>
    public string NextStep { get; }

    /// <summary>The host, server or object that it happened to.</summary>
    public object? Target { get; }
}
