using PitrPS.LabTests.Infrastructure;
using PitrPS.LabTests.Recovery;

namespace PitrPS.LabTests.Faults;

/// <summary>One command of the matrix. Its steps are read from the journal of a run that nothing disturbs; nobody lists them.</summary>
/// <param name="Name">As the table and --only have it.</param>
/// <param name="State">The hosts before.</param>
/// <param name="Command">The pipeline that is run into each fault, and run again.</param>
internal sealed record Scenario(string Name, PreparedState State, string Command)
{
    /// <summary>What each session does first; $primaryHost, $standbyHost, $primary and $standby are there already.</summary>
    public string Session { get; init; } = "";

    /// <summary>What is done once before the command and does not outlive a snapshot.</summary>
    public string Before { get; init; } = "";

    /// <summary>Of a pipeline of several commands, the one whose steps count; by default all.</summary>
    public string? Operation { get; init; }

    /// <summary>The standby must be where it was before the command, to the byte.</summary>
    public bool KeepsPosition { get; init; }

    /// <summary>All commands that change a host, with each way of recovery. A new one is one more line here.</summary>
    public static IReadOnlyList<Scenario> All { get; } =
    [
        new("install", PreparedState.BareHost, "$primaryHost | Install-PgServer -Confirm:$false"),
        new("archive", PreparedState.InstalledHost, "$primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false"),
        new("mount", PreparedState.Archived, "$standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false"),
        new("standby", PreparedState.Mounted, "$standby | New-PgStandby -Primary $primary -Confirm:$false"),
        new("delay", PreparedState.Standby, "$standby | Set-ReplicationDelay -Delay 01:00:00 -Confirm:$false") { KeepsPosition = true },
        new("suspend", PreparedState.Dropped, "$standby | Suspend-WalReplay -Confirm:$false") { KeepsPosition = true },
        new("resume", PreparedState.Dropped, "$standby | Resume-WalReplay -Confirm:$false") { Before = "$standby = $standby | Suspend-WalReplay -Confirm:$false", KeepsPosition = true },
        new("recovery", PreparedState.Dropped, Recovered + " -Confirm:$false") { Session = FindIncident },
        // The whole pipeline, as whoever lost the recovered server to a power cut runs it again.
        new("restore", PreparedState.Dropped, Recover + " | Restore-PgTable -To $primary -Confirm:$false") { Operation = "Restore-PgTable" },
        new("complete", PreparedState.Dropped, "Get-PitrRecovery $standby | Complete-PitrRecovery -Force -Confirm:$false") { Before = "$null = " + Recover, KeepsPosition = true },
        new("move", PreparedState.Dropped, "Get-PitrRecovery $standby | Move-PitrRecovery -To later -Confirm:$false") { Before = "$null = " + Recover },
        new("clone", PreparedState.Dropped, Recovered + " -Way Clone -Confirm:$false") { Session = FindIncident, KeepsPosition = true },
        new("no-clone", PreparedState.Dropped, "Get-PitrRecovery $standby | Remove-PitrClone -Confirm:$false") { Before = "$null = " + Recover + " -Way Clone", KeepsPosition = true },
        new("keep", PreparedState.Dropped, Recovered + " -Way Keep -Confirm:$false") { Session = FindIncident },
        new("complete-keep", PreparedState.Dropped, "Get-PitrRecovery $standby | Complete-PitrRecovery -Force -Confirm:$false") { Before = "$null = " + Recover + " -Way Keep" },
        new("promote", PreparedState.Dropped, Recovered + $" {Promote} -Confirm:$false") { Session = GoOnWithIncident },
        new("reset", PreparedState.Promoted, "$standby | Reset-PgStandby -Primary $primary -Confirm:$false"),
        new("no-standby", PreparedState.Standby, "$standby | Remove-PgStandby -Primary $primary -Confirm:$false"),
        new("no-mount", PreparedState.Mounted, "$standby | Dismount-WalArchive -Primary $primary -Confirm:$false"),
        new("no-archive", PreparedState.ArchivedHost, "$primary | Disable-WalArchive -Confirm:$false"),
    ];

    public override string ToString() => Name;

    /// <summary>How a standby is promoted beside a primary that goes on.</summary>
    internal const string Promote = "-Way Promote -ArchivePath /var/mnt/archive_of_the_standby -Force";

    private const string Recovered = "$incident | Invoke-PitrRecovery";

    // A standby that is promoted already searches no WAL for it: the recovery that is under way knows it, and one that is over needs it no more.
    private const string GoOnWithIncident =
        "$incident = @($standby | Get-PitrRecovery | ForEach-Object Incident); if (-not $incident -and $standby.Role -eq 'Standby') { " + FindIncident + " }";

    private const string FindIncident = "$incident = $standby | Find-PgIncident -Table pitr2";
    private const string Recover = "$standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery -Confirm:$false";
}

/// <summary>A state of the hosts that scenarios begin with, made once in each lab.</summary>
/// <param name="Name">The snapshot's name.</param>
internal sealed record PreparedState(string Name)
{
    /// <summary>The hosts that it has.</summary>
    public IReadOnlyList<string> Hosts { get; init; } = [Lab.Primary, Lab.Standby];

    /// <summary>Makes it of the state before; null for one of those that all tests share.</summary>
    public PreparedState? From { get; init; }

    public Action<Lab>? Make { get; init; }

    /// <summary>One host without PostgreSQL.</summary>
    public static PreparedState BareHost { get; } = new("faults-bare") { Hosts = [Lab.Primary], From = new(Snapshots.Bare), Make = _ => { } };

    /// <summary>One host with a server.</summary>
    public static PreparedState InstalledHost { get; } = new("faults-installed") { Hosts = [Lab.Primary], From = new(Snapshots.Installed), Make = _ => { } };

    /// <summary>A primary that archives, and nobody who reads that.</summary>
    public static PreparedState Archived { get; } = new("faults-archived")
    {
        From = new(Snapshots.Installed),
        Make = lab => Run(lab, "$null = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false"),
    };

    public static PreparedState ArchivedHost { get; } = new("faults-archived-one") { Hosts = [Lab.Primary], From = Archived, Make = _ => { } };

    /// <summary>A server that mounts the archive of the primary, of which it is no standby yet.</summary>
    public static PreparedState Mounted { get; } = new("faults-mounted")
    {
        From = Archived,
        Make = lab => Run(lab, "$null = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false"),
    };

    /// <summary>An archiving primary and its standby, three days behind.</summary>
    public static PreparedState Standby { get; } = new(Snapshots.Standby);

    /// <summary>pitr2 was dropped on the primary, and the standby has the WAL of that, not applied.</summary>
    public static PreparedState Dropped { get; } = new("faults-dropped")
    {
        From = Standby,
        Make = lab =>
        {
            // A standby that waits at a COMMIT since it was started does not stream: so it catches up first.
            Run(lab, "$null = $standby | Set-ReplicationDelay -Delay 0");
            lab.Psql(Lab.Primary, "CREATE TABLE keep (note text); CREATE TABLE pitr2 AS SELECT i, md5(i::text) AS content FROM generate_series(1, 2000) i; ALTER TABLE pitr2 ADD PRIMARY KEY (i)");
            Waiting.For("streaming", () => lab.Psql(Lab.Standby, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
            Waiting.For("pitr2 on the standby", () => lab.Psql(Lab.Standby, "SELECT to_regclass('pitr2') IS NOT NULL") == "t");
            Run(lab, "$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");

            // The COMMIT of the first one is where replay stands.
            lab.Psql(Lab.Primary, "INSERT INTO keep VALUES ('before')");
            lab.Psql(Lab.Primary, "DROP TABLE pitr2");
            lab.Psql(Lab.Primary, "INSERT INTO keep VALUES ('after'); SELECT pg_create_restore_point('later'); INSERT INTO keep VALUES ('after later')");
            var end = lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
            Waiting.For("the DROP on the standby", () => lab.Psql(Lab.Standby, $"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)") == "t");
        },
    };

    /// <summary>The standby became a primary of its own at the DROP, and the old one goes on.</summary>
    public static PreparedState Promoted { get; } = new("faults-promoted")
    {
        From = Dropped,
        Make = lab => Run(lab, $"$null = $standby | Find-PgIncident -Table pitr2 | Invoke-PitrRecovery {Scenario.Promote} -Confirm:$false"),
    };

    /// <summary>Puts the lab's hosts into this state.</summary>
    public void Restore(Lab lab)
    {
        if (Make is null)
        {
            Snapshots.Restore(Name, HostSystem.Debian12, lab);
            return;
        }

        if (!lab.HasSnapshot(Name))
        {
            From!.Restore(lab);
            Make(lab);
            lab.Keep(Name, [.. Hosts]);
        }

        foreach (var host in ((string[])[Lab.Primary, Lab.Standby]).Except(Hosts))
        {
            // Of the state before; nobody asks for it any more.
            lab.Kill(host);
        }

        lab.Restore(Name);
    }

    private static void Run(Lab lab, string script)
    {
        using var engine = new PowerShellEngine();
        engine.Run(Snapshots.ConnectScript(lab)).ThrowOnError();
        engine.Run(script).ThrowOnError();
    }

    /// <summary>How many states have to be made in this lab first.</summary>
    public int Missing(Lab lab) => lab.HasSnapshot(Name) ? 0 : 1 + (From?.Missing(lab) ?? 0);
}
