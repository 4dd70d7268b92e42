using PitrPS.Incidents;
using PitrPS.Recovery;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Recovery;

/// <summary>The delayed standby of these tests, and what belongs to it.</summary>
internal static class TestStandby
{
    public static PgServer On(FakeRemoteHost host) => new()
    {
        Host = host.Host,
        Name = "15/main",
        Version = 15,
        Port = 5432,
        DataDirectory = "/var/lib/postgresql/15/main",
        ConfigDirectory = "/etc/postgresql/15/main",
        BinDirectory = "/usr/lib/postgresql/15/bin",
        ServiceUnit = "postgresql@15-main.service",
        IsRunning = true,
        IsStandby = true,
        Role = ServerRole.Standby,
        Timeline = 1,
    };

    public static HostSurvey Survey { get; } = new()
    {
        Data = "/var/lib/postgresql/15/main",
        Places = ["/var/lib/postgresql/15/main"],
        Layer = "/var/lib/postgresql/15/main.pitrps-scratch",
        FreeBytes = 1L << 40,
        DatabaseBytes = 1L << 30,
        Settings = new Dictionary<string, string>(),
    };

    public static PgIncident Incident(PgServer standby, uint xid = 725, string commit = "0/3D79CC8") => new()
    {
        Standby = standby,
        Kind = IncidentKind.DropTable,
        Tables = [new IncidentTable("postgres", "public", "pitr2", 16391, Lsn.Parse("0/3D6D260")), new IncidentTable("postgres", "public", "Pitr 2b", 16394, null)],
        TransactionId = xid,
        LockLsn = Lsn.Parse("0/3D6D260"),
        CommitLsn = Lsn.Parse(commit),
        CommittedAt = new DateTimeOffset(2026, 11, 22, 19, 23, 12, TimeSpan.Zero),
        Timeline = 1,
    };

    public static RecoveryRecord Record(PgServer standby) => new()
    {
        Target = new RecordedTarget("lsn", "0/3D79CC8"),
        Stop = Lsn.Parse("0/3D79CC8"),
        Timeline = 1,
        Incident = RecordedIncident.Of(Incident(standby)),
        StartedAt = new DateTimeOffset(2026, 11, 23, 8, 0, 0, TimeSpan.Zero),
        StartedBy = "ann@laptop",
        Layer = Survey.Layer,
        StandbyRan = true,
    };

    /// <summary>What the host says of a scratch server.</summary>
    public static ScratchLook Look(string active = "active", string? invocation = "a1", bool ready = true, bool standbyRuns = false, string? job = null, bool layer = true, params string[] log) =>
        ScratchLook.Parse(string.Join('\n',
            [$"ActiveState={active}", "Result=success", "ExecMainStatus=0", $"Job={job}", $"InvocationID={invocation}", $"Ready={(ready ? "ready" : "starting")}",
             .. standbyRuns ? (string[])["StandbyRuns=yes"] : [], .. layer ? (string[])["Launched=2026-11-23T08:00:01.500Z"] : [], .. log.Select(l => "Log=" + l)]));
}
