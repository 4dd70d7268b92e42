using System.Globalization;
using System.Security.Cryptography;
using PitrPS.Archive;
using PitrPS.Hosts;
using PitrPS.Planning;
using PitrPS.Servers;

namespace PitrPS.Replication;

/// <summary>What New-PgStandby is told.</summary>
/// <param name="Standby">The installed server that becomes the standby.</param>
/// <param name="Primary">Its primary.</param>
internal sealed record StandbyOptions(PgServer Standby, PgServer Primary)
{
    /// <summary>The primary as the standby sees it, when that differs from what the client sees.</summary>
    public string? PrimaryAddress { get; init; }

    public int? PrimarySshPort { get; init; }

    /// <summary>The standby as the primary sees it, when that is not the address of its route to the primary.</summary>
    public string? StandbyAddress { get; init; }

    /// <summary>Reset-PgStandby: the server is of the primary's cluster and has gone its own way; its data give way to the primary's.</summary>
    public bool Reset { get; init; }

    /// <summary>Reset also a server that somebody writes to.</summary>
    public bool Force { get; init; }

    public string Operation => Reset ? "Reset-PgStandby" : "New-PgStandby";
}

/// <summary>
/// A standby from a base backup, or one that follows this primary already and is taken over as it runs: its own role and slot on the primary, one hostssl line, a certificate that is checked, the archive as the lifeline.
/// Source: PostgreSQL documentation, "Log-Shipping Standby Servers".
/// </summary>
internal sealed class StandbyPlan
{
    private const string SeenEmpty = "the cluster was seen to be empty";

    private static readonly TimeSpan FollowLimit = TimeSpan.FromSeconds(60);

    private readonly PgServer _standby;
    private readonly PgServer _primary;
    private readonly StandbyNames _names;
    private readonly PrimaryLink _link;
    private readonly string _standbyAddress;
    private readonly byte[] _certificate;
    private readonly IFeedback _feedback;

    private readonly bool _isFollowing;
    private readonly bool _isReset;

    private StandbyPlan(StandbyOptions options, PrimaryLink link, bool isFollowing, string standbyAddress, byte[] certificate, IFeedback feedback)
    {
        _standby = options.Standby;
        _primary = options.Primary;
        _names = StandbyNames.Of(_standby);
        _link = link;
        _isFollowing = isFollowing;
        _isReset = options.Reset && !isFollowing;
        _standbyAddress = standbyAddress;
        _certificate = certificate;
        _feedback = feedback;
    }

    private string NewDirectory => _standby.DataDirectory + ".pitrps-new";

    // On some families the configuration files lie among the data, and the base backup brings the primary's.
    private bool IsConfiguredInside => (_standby.ConfigDirectory + "/").StartsWith(_standby.DataDirectory + "/", StringComparison.Ordinal);

    private string HbaAddress => _standbyAddress + (_standbyAddress.Contains(':') ? "/128" : "/32");

    private string OldDirectory => _standby.DataDirectory + ".pitrps-old";

    /// <exception cref="PitrException">
    /// <c>PitrPS.NotAPrimary</c>, <c>PitrPS.VersionMismatch</c>, <c>PitrPS.PrimaryWithoutTls</c>, <c>PitrPS.PrimaryUnreachableFromStandby</c>,
    /// <c>PitrPS.DataDirectoryInUse</c>, <c>PitrPS.DiskFull</c>
    /// </exception>
    public static async Task<Planned<PgServer>> BuildAsync(StandbyOptions options, IFeedback feedback, CancellationToken cancel)
    {
        var (standby, primary) = (options.Standby, options.Primary);
        var isPlanned = standby.IsPlanned || primary.IsPlanned;
        RefusePair(standby, primary);
        var names = StandbyNames.Of(standby);
        // One that is reset may have had another primary.
        var before = options.Reset ? null : standby.Primary;
        var link = new PrimaryLink(
            options.PrimaryAddress ?? before?.Address ?? primary.Host.Address, primary.Port,
            options.PrimarySshPort ?? before?.SshPort ?? primary.Host.Port, names.Slot, primary.Host.Name, primary.Name);
        var address = options.StandbyAddress ?? standby.Host.Address;
        byte[] certificate = [];
        var isFollowing = !isPlanned && standby.IsRunning && IsStandbyOf(standby, primary)
            && (!options.Reset || (await ReplicationProbe.FactsAsync(standby, feedback, cancel).ConfigureAwait(false)).Receiver == "streaming");
        IReadOnlyList<string> lost = [];
        if (!isPlanned)
        {
            await RequirePrimaryAsync(primary, feedback, cancel).ConfigureAwait(false);
            certificate = await CertificateAsync(primary, feedback, cancel).ConfigureAwait(false);
            address = options.StandbyAddress ?? await AddressTowardsAsync(standby, link, cancel).ConfigureAwait(false);
            if (!options.Reset)
            {
                await RequireReplaceableAsync(standby, primary, feedback, cancel).ConfigureAwait(false);
            }
            else if (!isFollowing && await Journal.FindAsync(standby.Host, options.Operation, standby.Id, cancel).ConfigureAwait(false) is null)
            {
                lost = await StandbyReset.RequireAsync(standby, primary, options.Force, feedback, cancel).ConfigureAwait(false);
            }
        }

        if (isFollowing)
        {
            link = link with { Slot = await SlotAsync(standby, primary, feedback, cancel).ConfigureAwait(false) ?? names.Slot };
        }

        var self = new StandbyPlan(options, link, isFollowing, address, certificate, feedback);
        var plan = new Plan
        {
            Operation = options.Operation,
            Subject = standby.Id,
            Home = standby.Host,
            OtherHosts = [primary.Host],
            IsPlanned = isPlanned,
            WayBack = "Remove-PgStandby",
            Parameters = new Dictionary<string, string> { ["Primary"] = $"{link.Address}:{link.Port}" },
            Announcements = isFollowing ? await OwnedSettings.AnnouncementsAsync(standby, self.Settings(), feedback, cancel).ConfigureAwait(false)
                : options.Reset ? lost
                : IsStandbyOf(standby, primary) ? [] : [$"{standby.Id} is stopped, and its empty cluster is replaced by a base backup of {primary.Id}."],
            Steps = self.Steps(),
        };
        return new Planned<PgServer>(plan, c => ServerDiscovery.RefreshAsync(standby, feedback, c), () => standby with
        {
            IsPlanned = true,
            IsStandby = true,
            Role = ServerRole.Standby,
            IsRunning = true,
            SystemIdentifier = primary.SystemIdentifier,
            Primary = link,
        });
    }

    private static bool IsStandbyOf(PgServer standby, PgServer primary) =>
        standby.IsStandby && standby.SystemIdentifier is not null && standby.SystemIdentifier == primary.SystemIdentifier;

    // A standby that somebody else set up keeps its slot: what it has not received yet is held there, and a slot that nobody reads any more fills the primary's disk.
    private static async Task<string?> SlotAsync(PgServer standby, PgServer primary, IFeedback feedback, CancellationToken cancel)
    {
        var slot = (await ServerSql.QueryAsync(standby, "postgres", "SELECT pg_catalog.current_setting('primary_slot_name')", feedback, cancel).ConfigureAwait(false))[0].Text(0);
        return slot.Length > 0 && (await ServerSql.QueryAsync(primary, "postgres",
            $"SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_name = {Sql.Literal(slot)} AND slot_type = 'physical'", feedback, cancel).ConfigureAwait(false)).Count == 1 ? slot : null;
    }

    private static void RefusePair(PgServer standby, PgServer primary)
    {
        if (standby.Version != primary.Version)
        {
            throw new PitrException("PitrPS.VersionMismatch", ErrorKind.InvalidArgument,
                $"{standby.Id} is PostgreSQL {standby.Version}, its primary {primary.Id} is {primary.Version}: WAL can only be replayed by the same major version.",
                $"Install version {primary.Version} on {standby.Host.Name} with Install-PgServer -Version {primary.Version}, and use that server.", standby);
        }

        if (ReferenceEquals(standby.Host, primary.Host) && standby.DataDirectory == primary.DataDirectory)
        {
            throw new PitrException("PitrPS.SameServer", ErrorKind.InvalidArgument, $"{standby.Id} cannot be the standby of itself.", "Give another server as -Primary.", standby);
        }
    }

    private static async Task RequirePrimaryAsync(PgServer primary, IFeedback feedback, CancellationToken cancel)
    {
        var row = (await ServerSql.QueryAsync(primary, "postgres",
            "SELECT pg_is_in_recovery(), current_setting('wal_level'), current_setting('ssl'), current_setting('listen_addresses')", feedback, cancel).ConfigureAwait(false))[0];
        if (row.Flag(0))
        {
            throw new PitrException("PitrPS.NotAPrimary", ErrorKind.InvalidArgument, $"{primary.Id} is itself a standby.", "Give the server that takes writes as -Primary.", primary);
        }

        if (row.Text(1) == "minimal")
        {
            throw new PitrException("PitrPS.WalLevelMinimal", ErrorKind.InvalidOperation, $"{primary.Id} writes WAL at level 'minimal', from which no standby can be fed.",
                "Run Enable-WalArchive on it first: it sets wal_level = replica (which needs a restart).", primary);
        }

        if (row.Text(2) != "on")
        {
            throw new PitrException("PitrPS.PrimaryWithoutTls", ErrorKind.InvalidOperation, $"{primary.Id} has ssl = off; its WAL would cross the network in the clear.",
                "Give it a certificate (ssl_cert_file, ssl_key_file) and ssl = on, reload it, then run the same command again.", primary);
        }

        if (row.Text(3).Split(',', StringSplitOptions.TrimEntries).All(a => a is "" or "localhost" or "127.0.0.1" or "::1"))
        {
            throw new PitrException("PitrPS.PrimaryNotListening", ErrorKind.InvalidOperation, $"{primary.Id} listens only on '{row.Text(3)}', where no other host reaches it.",
                "Set listen_addresses to the address that the standby is to use (needs a restart), then run the same command again.", primary);
        }
    }

    private static async Task<byte[]> CertificateAsync(PgServer primary, IFeedback feedback, CancellationToken cancel)
    {
        var file = (await ServerSql.QueryAsync(primary, "postgres", "SELECT current_setting('ssl_cert_file'), current_setting('data_directory')", feedback, cancel).ConfigureAwait(false))[0];
        var path = file.Text(0).StartsWith('/') ? file.Text(0) : file.Text(1) + "/" + file.Text(0);
        return await primary.Host.Remote.ReadFileAsync(path, cancel).ConfigureAwait(false)
            ?? throw new PitrException("PitrPS.CertificateMissing", ErrorKind.ObjectNotFound, $"The certificate {path} of {primary.Id} is not there.",
                "Put the server's certificate there and reload it, then run the same command again.", primary);
    }

    private static async Task<string> AddressTowardsAsync(PgServer standby, PrimaryLink link, CancellationToken cancel)
    {
        var reached = await standby.Host.Remote.RunAsync(RemoteCommand.Of(standby.Program("pg_isready"), "-q", "-t", "5", "-h", link.Address, "-p", Text(link.Port)), cancel).ConfigureAwait(false);
        if (!reached.Succeeded)
        {
            throw new PitrException("PitrPS.PrimaryUnreachableFromStandby", ErrorKind.ConnectionError,
                $"From {standby.Host.Name}, no PostgreSQL answers at {link.Address} port {link.Port}.",
                "If the standby sees the primary under another address, give it with -PrimaryAddress; otherwise look at firewalls between them and at listen_addresses.", standby);
        }

        var route = await standby.Host.RunCheckedAsync(RemoteCommand.Shell(
            """a=$(getent ahosts "$1" | { read -r first rest && echo "$first"; }); ip -o route get "${a:-$1}" | sed -n 's/.* src \([^ ]*\).*/\1/p'""", link.Address), cancel).ConfigureAwait(false);
        return route.Text.Trim();
    }

    private static async Task RequireReplaceableAsync(PgServer standby, PgServer primary, IFeedback feedback, CancellationToken cancel)
    {
        if (IsStandbyOf(standby, primary) || standby.SystemIdentifier is null)
        {
            return;
        }

        // An earlier run may have been ended long ago; its cluster is asked once more before it is replaced.
        var isBegun = await Journal.FindAsync(standby.Host, "New-PgStandby", standby.Id, cancel).ConfigureAwait(false) is not null;
        if (isBegun && !standby.IsRunning)
        {
            return;
        }

        if (standby.IsStandby || standby.SystemIdentifier == primary.SystemIdentifier || !await IsEmptyAsync(standby, feedback, cancel).ConfigureAwait(false))
        {
            throw InUse(standby);
        }

        if (isBegun)
        {
            return;
        }

        var needed = await SizeAsync(primary, feedback, cancel).ConfigureAwait(false);
        var free = await standby.Host.RunCheckedAsync(RemoteCommand.Shell("""df -P -B1 "$1" | awk 'NR==2{print $4}'""", Parent(standby.DataDirectory)).AsRoot(), cancel).ConfigureAwait(false);
        if (long.Parse(free.Text, CultureInfo.InvariantCulture) < needed * 11 / 10)
        {
            throw new PitrException("PitrPS.DiskFull", ErrorKind.ResourceUnavailable,
                $"The base backup needs {needed * 11 / 10:N0} bytes below {Parent(standby.DataDirectory)} on {standby.Host.Name}, and {long.Parse(free.Text, CultureInfo.InvariantCulture):N0} are free.",
                "Make room, or use a server whose data directory lies on a larger disk.", standby);
        }
    }

    private static PitrException InUse(PgServer standby) => new("PitrPS.DataDirectoryInUse", ErrorKind.ResourceExists,
        $"{standby.Id} is not an empty new cluster{(standby.IsRunning ? "" : " that can be asked")}: its data directory {standby.DataDirectory} would be lost.",
        "Give a server that Install-PgServer has just made (another -Name or -Port will do), or move these data away yourself first.", standby);

    // Only what initdb makes: no further database, and no table or large object of a user in the database postgres.
    private static async Task<bool> IsEmptyAsync(PgServer server, IFeedback feedback, CancellationToken cancel)
    {
        if (!server.IsRunning)
        {
            return false;
        }

        return (await ServerSql.QueryAsync(server, "postgres",
            """
            SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1'))
               AND NOT EXISTS (SELECT FROM pg_class WHERE oid >= 16384) AND NOT EXISTS (SELECT FROM pg_largeobject_metadata)
            """, feedback, cancel).ConfigureAwait(false))[0].Flag(0);
    }

    private static async Task<long> SizeAsync(PgServer primary, IFeedback feedback, CancellationToken cancel)
    {
        return (await ServerSql.QueryAsync(primary, "postgres", "SELECT sum(pg_database_size(oid))::int8 FROM pg_database", feedback, cancel).ConfigureAwait(false))[0].Number(0);
    }

    private List<Step> Steps() =>
    [
        Planning.Steps.Directory(_standby.Host, "standby-directory", "Make the directory for what the standby needs to reach its primary", _names.Directory, 0x1ED /* 0755 */),
        Passfile(),
        Role(),
        .. HbaFile.Steps(_primary, "standby", _names.Role, [new HbaEntry("hostssl", "replication", _names.Role, HbaAddress, "scram-sha-256")]),
        Slot(),
        .. _standby.ArchiveMountPoint is not null ? [StandbyRegister.RegisterStep(_primary, _standby, _link.Slot)] : (Step[])[],
        Planning.Steps.File(_standby.Host, "standby-certificate", "Keep the primary's certificate, so that the connection can be verified",
            new RemoteFile(_names.Certificate, _certificate, 0x1A4 /* 0644 */)),
        Connection(),
        .. _isReset ? new StandbyReset(_standby, _primary, _names, ConnectionString(), HbaAddress).Steps() : [],
        BaseBackup(),
        .. IsConfiguredInside ? [Configuration()] : (Step[])[],
        PutInPlace(),
        Planning.Steps.Absent(_standby.Host, "standby-old", _isReset ? "Remove the files that were replaced" : "Remove the empty cluster that was replaced", OldDirectory),
        .. OwnedSettings.Steps(_standby, "standby", Settings(), _isFollowing ? SettingsReach.Restart : SettingsReach.Files),
        ProvisionedRole.ShareStep(_primary, _standby, "standby-login"),
        BootStart.On(_standby, "standby-boot"),
        ServerControl.StartStep(_standby, "standby-start"),
        Remember(),
        Following(),
    ];

    private Dictionary<string, string?> Settings()
    {
        var settings = new Dictionary<string, string?>
        {
            ["primary_conninfo"] = ConnectionString(),
            ["primary_slot_name"] = _link.Slot,
            ["hot_standby"] = "on",
            // Feedback from a server that is days behind would keep the primary from vacuuming for days.
            ["hot_standby_feedback"] = "off",
        };
        if (ArchiveScripts.RestoreCommandOf(_standby) is { } command)
        {
            settings["restore_command"] = command;
        }
        else if (_isReset)
        {
            // What pg_rewind was given.
            settings["restore_command"] = null;
        }

        return settings;
    }

    private string ConnectionString() =>
        $"host={_link.Address} port={Text(_link.Port)} user={_names.Role} passfile={_names.Passfile} application_name={_names.Role} sslmode=verify-ca sslrootcert={_names.Certificate}";

    private Step Passfile() => new("standby-passfile", "Make a password for the replication role, which stays in a file of its own", _standby.Host)
    {
        IsDone = run => run.TestAsync(RemoteCommand.Shell(
            """[ -s "$1" ] && [ "$(stat -c '%a %U' "$1")" = "600 $2" ]""", _names.Passfile, _standby.OsUser).AsRoot()),
        Do = run => run.Host.Remote.WriteFileAsync(
            RemoteFile.Text(_names.Passfile, $"*:*:*:{_names.Role}:{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32))}\n", 0x180 /* 0600 */, _standby.OsUser, _standby.OsUser) with { Secret = true }, run.Cancel),
        Preview = [$"write {_names.Passfile} (600, {_standby.OsUser}), content not shown"],
    };

    private async Task<string> PasswordAsync(CancellationToken cancel) =>
        (await _standby.Host.ReadTextAsync(_names.Passfile, cancel).ConfigureAwait(false) ?? "").TrimEnd('\n').Split(':')[^1];

    private Step Role() => new("standby-role", $"Make the role {_names.Role}, which may only replicate", _primary.Host)
    {
        IsDone = async run =>
        {
            var password = await PasswordAsync(run.Cancel).ConfigureAwait(false);
                var rows = await QueryPrimaryAsync($"SELECT rolpassword FROM pg_authid WHERE rolname = {Sql.Literal(_names.Role)} AND rolreplication AND rolcanlogin AND NOT rolsuper", run).ConfigureAwait(false);
            return rows.Count == 1 && password.Length > 0 && rows[0][0] is { } verifier && ScramVerifier.Matches(verifier, password);
        },
        Do = async run =>
        {
            // The server gets the verifier, never the password: log_statement = all must not show one.
            var verifier = ScramVerifier.Create(await PasswordAsync(run.Cancel).ConfigureAwait(false));
            var role = Sql.Identifier(_names.Role);
                var exists = (await QueryPrimaryAsync($"SELECT 1 FROM pg_roles WHERE rolname = {Sql.Literal(_names.Role)}", run).ConfigureAwait(false)).Count > 0;
            await QueryPrimaryAsync($"{(exists ? "ALTER" : "CREATE")} ROLE {role} LOGIN REPLICATION NOSUPERUSER PASSWORD {Sql.Literal(verifier)}", run).ConfigureAwait(false);
        },
        Preview = [$"CREATE ROLE {_names.Role} LOGIN REPLICATION PASSWORD (a SCRAM verifier)"],
    };

    private Step Slot() => new("standby-slot", $"Make the replication slot {_link.Slot}, which keeps what the standby has not received", _primary.Host)
    {
        IsDone = async run => (await QueryPrimaryAsync($"SELECT 1 FROM pg_replication_slots WHERE slot_name = {Sql.Literal(_link.Slot!)} AND slot_type = 'physical'", run).ConfigureAwait(false)).Count == 1,
        Do = run => QueryPrimaryAsync($"SELECT pg_create_physical_replication_slot({Sql.Literal(_link.Slot!)}, true)", run),
        Preview = [$"SELECT pg_create_physical_replication_slot('{_link.Slot}', true)"],
    };

    private Step Connection() => new("standby-connection", "See that the standby reaches its primary, and that it is the right one", _standby.Host)
    {
        IsDone = async run => (await IdentifyAsync(run).ConfigureAwait(false)) is { Succeeded: true } said && said.Text.Split('|')[0] == Text(_primary.SystemIdentifier!.Value),
        Do = async run =>
        {
            var said = await IdentifyAsync(run).ConfigureAwait(false);
            throw new PitrException("PitrPS.ReplicationConnectionFailed", ErrorKind.ConnectionError,
                $"The replication connection from {_standby.Host.Name} to {_link.Address}:{_link.Port} does not work: {(said.Succeeded ? "it leads to another cluster, " + said.Text : said.ErrorOutput.Trim())}",
                "Give the right -PrimaryAddress; if the message is about the certificate, the primary's ssl_cert_file must be self-signed or carry its whole chain.", _standby);
        },
    };

    private Task<CommandResult> IdentifyAsync(StepRun run) => _standby.Host.Remote.RunAsync(
        RemoteCommand.Of(_standby.Program("psql"), "-X", "-A", "-t", "-w", "-d", ConnectionString() + " dbname=replication replication=true connect_timeout=10", "-c", "IDENTIFY_SYSTEM").As(_standby.OsUser), run.Cancel);

    private Step BaseBackup()
    {
        var unit = new RemoteUnit(_standby.Host, _names.BackupUnit);

        // standby.signal is made last, once everything is there and on disk.
        Task<bool> IsThere(StepRun run) => run.TestAsync(RemoteCommand.Shell("""[ -f "$1/standby.signal" ] || [ -f "$2/standby.signal" ]""", NewDirectory, _standby.DataDirectory).AsRoot());
        return new("standby-backup", $"Take a base backup of {_primary.Id}", _standby.Host)
        {
            // The unit may have ended after its client was killed; then it is still to be forgotten.
            IsDone = async run => await IsThere(run).ConfigureAwait(false) && await unit.IsForgottenAsync(run.Cancel).ConfigureAwait(false),
            Do = async run =>
            {
                if ((await unit.StateAsync(run.Cancel).ConfigureAwait(false)).IsRunning || !await IsThere(run).ConfigureAwait(false))
                {
                    await TakeBackupAsync(unit, run).ConfigureAwait(false);
                }

                await unit.ForgetAsync(run.Cancel).ConfigureAwait(false);
            },
            Preview = [BackupCommand().Display, $"write {NewDirectory}/standby.signal, when all of it is on the disk"],
        };
    }

    // One that is under way is waited for.
    private async Task TakeBackupAsync(RemoteUnit unit, StepRun run)
    {
        if (!(await unit.StateAsync(run.Cancel).ConfigureAwait(false)).IsRunning)
        {
            await unit.ForgetAsync(run.Cancel).ConfigureAwait(false);
            await run.RunAsync(RemoteCommand.Of("rm", "-rf", "--one-file-system", "--", NewDirectory).AsRoot()).ConfigureAwait(false);
            await unit.StartAsync(BackupCommand(), [], run.Cancel).ConfigureAwait(false);
        }

        var rate = new TransferRate();
        var ended = await unit.WaitAsync(async _ => BaseBackupProgress.Tell(run, rate, await unit.OutputAsync(run.Cancel).ConfigureAwait(false)), run.Cancel).ConfigureAwait(false);
        if (!ended.HasSucceeded)
        {
            throw new PitrException("PitrPS.BaseBackupFailed", ErrorKind.InvalidResult,
                $"The base backup of {_primary.Id} on {_standby.Host.Name} failed ({ended.Result}, exit code {ended.ExitStatus}): {BaseBackupProgress.LastWords(await unit.OutputAsync(run.Cancel).ConfigureAwait(false))}",
                "Mend what pg_basebackup says, then run the same command again.", _standby);
        }
    }

    private RemoteCommand BackupCommand() => RemoteCommand.Shell(
        """umask 077; "$1" -D "$2" -d "$3" -S "$4" -X stream -c fast -l "PitrPS standby $4" -P -w && : > "$2/standby.signal" && sync""",
        _standby.Program("pg_basebackup"), NewDirectory, ConnectionString(), _names.Slot).As(_standby.OsUser);

    private Step Configuration()
    {
        // Their paths within the data directory; postgresql.auto.conf is the server's own, on every family.
        var inside = _standby.ConfigDirectory == _standby.DataDirectory ? "." : _standby.ConfigDirectory[(_standby.DataDirectory.Length + 1)..];
        return new Step("standby-config", "Keep this server's own configuration files instead of the primary's", _standby.Host)
        {
            IsDone = run => run.TestAsync(RemoteCommand.Shell(
                """
                [ -e "$1" ] || exit 0
                [ -d "$2/$3" ] && cd "$2/$3" || exit 1
                for file in *.conf conf.d; do
                  case $file in postgresql.auto.conf) continue ;; esac
                  [ ! -e "$file" ] || diff -rq "$file" "$1/$3/$file" >/dev/null || exit 1
                done
                [ -e conf.d ] || [ ! -e "$1/$3/conf.d" ]
                """, NewDirectory, _standby.DataDirectory, inside).AsRoot()),
            Do = run => run.RunAsync(RemoteCommand.Shell(
                """
                cd "$2/$3" && mkdir -p "$1/$3" || exit
                for file in *.conf conf.d; do
                  case $file in postgresql.auto.conf) continue ;; esac
                  rm -rf -- "$1/$3/$file" && { [ ! -e "$file" ] || cp -a -- "$file" "$1/$3/"; } || exit
                done
                sync
                """, NewDirectory, _standby.DataDirectory, inside).As(_standby.OsUser)),
            Preview = [$"copy *.conf and conf.d from {_standby.ConfigDirectory} to {NewDirectory}, except postgresql.auto.conf"],
        };
    }

    private Step PutInPlace() => new("standby-swap", $"Stop {_standby.Id} and put the base backup in the place of its {(_isReset ? "files" : "empty cluster")}", _standby.Host)
    {
        IsDone = run => run.TestAsync(RemoteCommand.Shell("""[ -f "$1/standby.signal" ] && [ ! -e "$2" ]""", _standby.DataDirectory, NewDirectory).AsRoot()),
        Do = async run =>
        {
            // Somebody may have filled it since the plan was made; what an earlier run has stopped was empty when it did.
            var now = _standby with { IsRunning = await ServerControl.IsRunningAsync(_standby, run.Cancel).ConfigureAwait(false) };
            if (!_isReset && (now.IsRunning ? !await IsEmptyAsync(now, run.Feedback, run.Cancel).ConfigureAwait(false)
                : run.Recall(SeenEmpty) is null && await run.TestAsync(RemoteCommand.Of("test", "-e", _standby.DataDirectory + "/PG_VERSION").AsRoot()).ConfigureAwait(false)))
            {
                throw InUse(now);
            }

            await run.RememberAsync(SeenEmpty, "yes").ConfigureAwait(false);
            await ServerControl.StopAsync(_standby, run.Feedback, run.Cancel).ConfigureAwait(false);
            await run.RunAsync(RemoteCommand.Shell(
                """
                set -e
                if [ -e "$1" ]; then [ ! -e "$1.pitrps-old" ]; mv -T -- "$1" "$1.pitrps-old"; fi
                mv -T -- "$1.pitrps-new" "$1"
                sync "$(dirname "$1")"
                """, _standby.DataDirectory).AsRoot()).ConfigureAwait(false);
        },
        Preview = [$"stop {_standby.ServiceUnit ?? _standby.Id}", $"mv {_standby.DataDirectory} {OldDirectory}", $"mv {NewDirectory} {_standby.DataDirectory}"],
    };

    private Step Remember() => new("standby-remember", "Note on the host whose standby it is", _standby.Host)
    {
        IsDone = async run => await ServerState.ReadAsync(run.Host, _standby.Name, run.Cancel).ConfigureAwait(false) is { Promoted: null } state && state.Primary == _link,
        Do = run => ServerState.UpdateAsync(run.Host, _standby.Name, state => state with { Primary = _link, Promoted = null }, run.Cancel),
        Preview = [$"write {ServerState.PathOf(_standby.Name)}"],
    };

    private Step Following() => new("standby-following", "See that it follows its primary", _standby.Host)
    {
        IsDone = async run => Follows(await FactsAsync(run).ConfigureAwait(false)),
        Do = async run =>
        {
            // It first replays what the archive has, however much that is: something is wrong only when it stands still.
            var (since, stands) = (DateTimeOffset.UtcNow, default(Lsn?));
            for (var facts = await FactsAsync(run).ConfigureAwait(false); !Follows(facts); facts = await FactsAsync(run).ConfigureAwait(false))
            {
                (since, stands) = facts.Replayed == stands ? (since, stands) : (DateTimeOffset.UtcNow, facts.Replayed);
                if (DateTimeOffset.UtcNow - since > FollowLimit)
                {
                    throw new PitrException("PitrPS.StandbyNotFollowing", ErrorKind.OperationTimeout,
                        $"{_standby.Id} runs, but for {FollowLimit.TotalSeconds:0} s it has stood at {stands?.ToString() ?? "its beginning"} and not begun to stream from {_link.Address}; it waits for {facts.StartupWait ?? "nothing"}, and its receiver is {facts.Receiver ?? "not there"}.",
                        "Its log says why; then run the same command again.", _standby);
                }

                await Task.Delay(TimeSpan.FromMilliseconds(250), run.Cancel).ConfigureAwait(false);
            }
        },
    };

    // After a restart a delayed standby has no receiver until what it has already is replayed, for up to the whole delay; that is following too.
    private static bool Follows(ReplayFacts facts) => facts.InRecovery && (facts.Receiver == "streaming" || facts.IsPaused || facts.StartupWait == "RecoveryApplyDelay");

    private Task<ReplayFacts> FactsAsync(StepRun run) => ReplicationProbe.FactsAsync(_standby, run.Feedback, run.Cancel);

    private Task<IReadOnlyList<SqlRow>> QueryPrimaryAsync(string statement, StepRun run) =>
        ServerSql.QueryAsync(_primary, "postgres", statement, run.Feedback, run.Cancel);

    private static string Parent(string path) => path[..Math.Max(1, path.TrimEnd('/').LastIndexOf('/'))];

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string Text(ulong value) => value.ToString(CultureInfo.InvariantCulture);
}
