using System.Security.Cryptography;
using PitrPS.Hosts;
using PitrPS.Planning;

namespace PitrPS.Servers;

/// <summary>
/// The role that PitrPS itself logs in with: a superuser, because it pauses replay, makes replication roles and reads what only a superuser may;
/// pg_hba.conf lets it in from the host's own loopback only, and its random password lies on the host where only root can read it, who could be
/// the server's OS user anyway. So it gives nobody more than he has. The server is sent a SCRAM verifier; it never sees the password.
/// </summary>
internal static class ProvisionedRole
{
    public const string Name = "pitrps";

    /// <summary>Tells our role from somebody else's of the same name.</summary>
    private const string Comment = "Made by PitrPS, which logs in with it through SSH; Install-PgServer makes it again.";

    private const string Find = $"SELECT rolsuper AND rolcanlogin, rolpassword, pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_authid WHERE rolname = '{Name}'";

    /// <summary>Where a server's secret lies on its host: root-only, the password and a newline.</summary>
    public static string SecretPathOf(PgServer server) => $"{HostPaths.Servers}/{HostPaths.FileName(server.Name)}.secret";

    /// <summary>Loopback only, whatever other lines say.</summary>
    public static IReadOnlyList<HbaEntry> HbaEntries { get; } =
    [
        new("host", "all", Name, "127.0.0.1/32", "scram-sha-256"),
        new("host", "all", Name, "::1/128", "scram-sha-256"),
        new("host", "all", Name, "all", "reject"),
    ];

    /// <summary>Role, secret and pg_hba.conf of a server that takes writes.</summary>
    /// <exception cref="PitrException">When carried out: <c>PitrPS.RoleExists</c>.</exception>
    public static IReadOnlyList<Step> Steps(PgServer server, string idPrefix) =>
    [
        new Step(idPrefix + ".role", $"Make the role {Name} that PitrPS logs in with, from the host itself only", server.Host)
        {
            IsDone = async run => await ReadSecretAsync(server, run.Cancel).ConfigureAwait(false) is { } secret
                && await ServerSql.ByPsqlAsync(server, Find, run.Feedback, run.Cancel).ConfigureAwait(false) is [var role] && role.Flag(0) && ScramVerifier.Matches(role[1] ?? "", secret.Reveal()),
            Do = run => ProvisionAsync(server, run),
            Preview = [$"write {SecretPathOf(server)} (600, root:root), content not shown", $"CREATE ROLE {Name} LOGIN SUPERUSER PASSWORD (a SCRAM verifier)"],
        },
        .. HbaFile.Steps(server, idPrefix, Name, HbaEntries),
    ];

    /// <summary>
    /// A standby has its primary's roles: with the primary's secret beside it, PitrPS logs in there, too. The secret goes through our own connections, from root to root.
    /// Where the primary has none, the standby keeps none.
    /// </summary>
    public static Step ShareStep(PgServer primary, PgServer standby, string id) => new(id, $"Let PitrPS log in to {standby.Name} with the role that {primary.Id} has for it", standby.Host)
    {
        IsDone = async run => (await ReadSecretAsync(primary, run.Cancel).ConfigureAwait(false))?.Reveal() == (await ReadSecretAsync(standby, run.Cancel).ConfigureAwait(false))?.Reveal(),
        Do = async run =>
        {
            if (await ReadSecretAsync(primary, run.Cancel).ConfigureAwait(false) is { } secret)
            {
                await WriteSecretAsync(standby, secret, run.Cancel).ConfigureAwait(false);
            }
            else
            {
                await run.RunAsync(RemoteCommand.Of("rm", "-f", "--", SecretPathOf(standby)).AsRoot()).ConfigureAwait(false);
            }

            ServerLogins.Of(standby.Host).Changed(standby);
        },
        Preview = [$"write {SecretPathOf(standby)} (600, root:root), content not shown"],
    };

    /// <summary>The password; null where PitrPS has not provisioned the server.</summary>
    public static async Task<Secret?> ReadSecretAsync(PgServer server, CancellationToken cancel) =>
        (await server.Host.ReadTextAsync(SecretPathOf(server), cancel).ConfigureAwait(false))?.Trim() is { Length: > 0 } text ? new Secret(text) : null;

    private static Task WriteSecretAsync(PgServer server, Secret secret, CancellationToken cancel) =>
        server.Host.Remote.WriteFileAsync(RemoteFile.Text(SecretPathOf(server), secret.Reveal() + "\n", 0x180 /* 0600 */) with { Secret = true }, cancel);

    private static async Task ProvisionAsync(PgServer server, StepRun run)
    {
        var found = await ServerSql.ByPsqlAsync(server, Find, run.Feedback, run.Cancel).ConfigureAwait(false);
        if (found is [var other] && other[2] != Comment)
        {
            throw new PitrException("PitrPS.RoleExists", ErrorKind.ResourceExists, $"{server.Id} has a role {Name} that PitrPS did not make.",
                $"Rename it (ALTER ROLE {Name} RENAME TO …), then run the same command again.", server);
        }

        if (await ReadSecretAsync(server, run.Cancel).ConfigureAwait(false) is not { } secret)
        {
            // 256 bits, as characters that need no quoting anywhere.
            secret = new Secret(RandomNumberGenerator.GetHexString(64, lowercase: true));
            await WriteSecretAsync(server, secret, run.Cancel).ConfigureAwait(false);
        }

        var verifier = Sql.Literal(ScramVerifier.Create(secret.Reveal()));
        await ServerSql.ByPsqlAsync(server, found.Count == 0
            ? $"CREATE ROLE {Name} LOGIN SUPERUSER PASSWORD {verifier}; COMMENT ON ROLE {Name} IS {Sql.Literal(Comment)}"
            : $"ALTER ROLE {Name} LOGIN SUPERUSER PASSWORD {verifier}", run.Feedback, run.Cancel).ConfigureAwait(false);
        ServerLogins.Of(server.Host).Changed(server);
    }
}
