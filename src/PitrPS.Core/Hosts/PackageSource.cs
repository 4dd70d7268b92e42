namespace PitrPS.Hosts;

/// <summary>Where packages may come from beside the sources that a host has.</summary>
/// <param name="Uri">A repository that has them, in place of the PostgreSQL project's own; null for that one.</param>
/// <param name="Key">The public key, in ASCII armor, that signs it; null for the one whose fingerprint is known.</param>
/// <param name="AllowUnsigned">Packages that nobody has signed are taken.</param>
/// <param name="HostsOwnOnly">No source is added.</param>
internal sealed record PackageOrigin(string? Uri = null, string? Key = null, bool AllowUnsigned = false, bool HostsOwnOnly = false)
{
    /// <summary>As a user gives it: the address or a folder on the host, the key as a file on this machine.</summary>
    /// <exception cref="PitrException"><c>PitrPS.RepositoryKeyUnreadable</c></exception>
    public static PackageOrigin Of(string? repository, string? keyFile, bool allowUnsigned, bool hostsOwnOnly, object target)
    {
        string? key = null;
        if (keyFile is not null)
        {
            try
            {
                key = File.ReadAllText(keyFile).ReplaceLineEndings("\n");
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new PitrException("PitrPS.RepositoryKeyUnreadable", ErrorKind.ObjectNotFound, $"The repository's key {keyFile} cannot be read: {e.Message}",
                    "Give the path of its public key file on this machine.", target, e);
            }

            if (!key.Contains("-----BEGIN PGP PUBLIC KEY BLOCK-----", StringComparison.Ordinal))
            {
                throw new PitrException("PitrPS.RepositoryKeyUnreadable", ErrorKind.InvalidData, $"{keyFile} is no public key in ASCII armor.",
                    "Give the file that begins with -----BEGIN PGP PUBLIC KEY BLOCK-----; 'gpg --armor --export' makes one of a binary key.", target);
            }
        }

        return new PackageOrigin(repository?.StartsWith('/') == true ? "file://" + repository : repository, key, allowUnsigned, hostsOwnOnly);
    }

    /// <summary>Refuses a repository that cannot be one: it becomes a line in a file of the package manager.</summary>
    /// <exception cref="PitrException"><c>PitrPS.InvalidRepository</c>, <c>PitrPS.RepositoryKeyMissing</c></exception>
    public void Require(PgHost host)
    {
        if (Uri is null)
        {
            return;
        }

        var isUri = System.Uri.TryCreate(Uri, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" or "file" && uri.UserInfo.Length == 0;
        if (!isUri || Uri.Any(c => c <= ' ' || c > '~' || c is '"' or '\'' or '[' or ']' or '$' or '\\'))
        {
            throw new PitrException("PitrPS.InvalidRepository", ErrorKind.InvalidArgument, $"'{Uri}' cannot be a package repository.",
                "Give an http, https or file address of a repository, as the host sees it, without a user and password in it; or the path of a folder on the host that holds one.", host);
        }

        if (HostsOwnOnly)
        {
            throw new PitrException("PitrPS.InvalidRepository", ErrorKind.InvalidArgument, "-RepositoryUri adds a package repository, -NoRepository forbids that.", "Give one of the two.", host);
        }

        if (Key is null && !AllowUnsigned)
        {
            throw new PitrException("PitrPS.RepositoryKeyMissing", ErrorKind.SecurityError, $"Nothing says which key the packages of {Uri} are signed with.",
                "Give the file of its public key with -RepositoryKey. If nobody has signed them and you trust them all the same, give -AllowUnsigned.", host);
        }
    }
}

/// <summary>
/// One more package source of a host, or a way to see what one hides. It is added only while the packages are not on offer,
/// unless <see cref="IsThere"/> says itself whether it is still to be added.
/// </summary>
/// <param name="Id">Of its step.</param>
/// <param name="Title">What adding it does.</param>
/// <param name="Add">Adds it, or leaves nothing behind and ends with one of the codes below.</param>
internal sealed record PackageSource(string Id, string Title, RemoteCommand Add)
{
    /// <summary><see cref="Add"/>: a site or a file of it cannot be fetched.</summary>
    public const int Unreachable = 71;

    /// <summary><see cref="Add"/>: the key is not the one that is known. It prints the fingerprint of the one that is there.</summary>
    public const int OtherKey = 72;

    /// <summary><see cref="Add"/>: what is there is no repository, or not one for this host.</summary>
    public const int Invalid = 74;

    /// <summary>Exits with 0 when it is there; null for a source that only its packages matter of.</summary>
    public RemoteCommand? IsThere { get; init; }

    /// <summary>What -WhatIf shows.</summary>
    public IReadOnlyList<string> Preview { get; init; } = [];
}
