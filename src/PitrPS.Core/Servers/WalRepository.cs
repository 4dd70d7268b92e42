namespace PitrPS.Servers;

/// <summary>The tool that keeps a repository of WAL.</summary>
public enum WalRepositoryKind
{
    /// <summary>pgBackRest.</summary>
    PgBackRest,
}

/// <summary>A repository in which a tool of the site's own keeps WAL, instead of a directory that PitrPS writes.</summary>
/// <param name="Kind">The tool.</param>
/// <param name="Stanza">What the tool calls this cluster.</param>
public sealed record WalRepository(WalRepositoryKind Kind, string Stanza)
{
    /// <summary>"PgBackRest main".</summary>
    public override string ToString() => $"{Kind} {Stanza}";
}
