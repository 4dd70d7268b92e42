using System.Text;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Servers;

public class ServerScanTests
{
    private const string Units = "unitfile=postgresql.service\nunitfile=postgresql@.service\n";

    private static readonly FakeRemoteHost Host = new("standby");

    [Fact]
    public void Reads_a_running_primary()
    {
        var server = Assert.Single(Scan(Units + Cluster() + Running("false", ("port", "5433"))));

        Assert.Equal("standby:15/main", server.Id);
        Assert.Equal(150018, server.VersionNumber);
        Assert.Equal(5433, server.Port);
        Assert.Equal("/var/lib/postgresql/15/main", server.DataDirectory);
        Assert.Equal("/etc/postgresql/15/main", server.ConfigDirectory);
        Assert.Equal("/usr/lib/postgresql/15/bin", server.BinDirectory);
        Assert.Equal("postgresql@15-main.service", server.ServiceUnit);
        Assert.Equal("/run/pg socket", server.SocketDirectory);
        Assert.Equal(7711400847888782847u, server.SystemIdentifier);
        Assert.Equal(3u, server.Timeline);
        Assert.Equal(1 << 20, server.WalSegmentSize);
        Assert.True(server.IsRunning);
        Assert.Equal(ServerRole.Primary, server.Role);
        Assert.False(server.IsStandby);
        Assert.Null(server.Primary);
        Assert.Null(server.ReplicationDelay);
    }

    [Fact]
    public void Reads_a_stopped_standby_from_its_files_and_the_last_assignment_counts()
    {
        var server = Assert.Single(Scan(Units + Cluster() + "standby=1\n"
            + File("/etc/postgresql/15/main/postgresql.conf", "port = 5432\ninclude_dir 'conf.d'\nport = 5440\nunix_socket_directories = '/tmp, /x'\n")
            + File("/etc/postgresql/15/main/conf.d/50-pitrps.conf", "recovery_min_apply_delay = '3d'\nport = 5499\n")
            + File("/var/lib/postgresql/15/main/postgresql.auto.conf", "primary_conninfo = 'host=10.0.0.1 password=geheim'\nprimary_slot_name = 's1'\n")));

        Assert.False(server.IsRunning);
        Assert.Equal(ServerRole.Unknown, server.Role);
        Assert.True(server.IsStandby);
        Assert.Equal(5440, server.Port);
        Assert.Equal("/tmp", server.SocketDirectory);
        Assert.Equal(TimeSpan.FromDays(3), server.ReplicationDelay);
        Assert.Equal(new PrimaryLink("10.0.0.1", 5432, 22, "s1", null, null), server.Primary);
    }

    [Fact]
    public void What_PitrPS_remembers_comes_before_what_can_be_guessed()
    {
        var link = new PrimaryLink("192.0.2.7", 5433, 2222, "pitrps", "primary", "15/main");
        var state = new ServerState { Primary = link, ArchiveMountPoint = "/mnt/a", DelayMilliseconds = 1000, FrozenAt = DateTimeOffset.UnixEpoch };

        var server = Assert.Single(Scan(State("15-main.json", state) + Cluster() + "standby=1\n"
            + Running("true", ("primary_conninfo", "host=other"), ("recovery_min_apply_delay", "2147483647"))));

        Assert.Equal(link, server.Primary);
        Assert.Equal("/mnt/a", server.ArchiveMountPoint);
        Assert.True(server.IsFrozen);
        Assert.Equal(TimeSpan.FromSeconds(1), server.ReplicationDelay);
        Assert.Equal(ServerRole.Standby, server.Role);
    }

    [Fact]
    public void A_thawed_standby_has_the_delay_that_it_runs_with()
    {
        var server = Assert.Single(Scan(State("15-main.json", new ServerState { DelayMilliseconds = 1000 }) + Cluster() + "standby=1\n" + Running("true", ("recovery_min_apply_delay", "5000"))));

        Assert.Equal(TimeSpan.FromSeconds(5), server.ReplicationDelay);
    }

    [Fact]
    public void A_server_that_is_there_but_does_not_answer_is_no_running_one()
    {
        var server = Assert.Single(Scan(Cluster() + "pid=77\nunit=\nport=5432\nsocket=\nstatus=starting\n"));

        Assert.False(server.IsRunning);
        Assert.Equal(ServerRole.Unknown, server.Role);
        Assert.Null(server.ServiceUnit);
    }

    [Fact]
    public void Servers_elsewhere_are_named_by_their_directory_and_started_by_the_unit_that_they_run_in()
    {
        var servers = Scan(
            Units + Cluster(config: "", data: "/srv/pg/data", major: "13") + "pid=1\nunit=postgresql-13.service\n"
            + Cluster(config: "", data: "/srv/other/data", major: "13") + "pid=2\nunit=\n" + Cluster(config: "", data: "/srv/third", major: "13") + "startedby=third.service\n" + Cluster());

        Assert.Equal(["13/srv-other-data", "13/srv-pg-data", "13/srv-third", "15/main"], servers.Select(s => s.Name).Order(StringComparer.Ordinal));
        Assert.Equal("postgresql-13.service", servers.Single(s => s.Name == "13/srv-pg-data").ServiceUnit);
        Assert.Equal("/srv/pg/data", servers.Single(s => s.Name == "13/srv-pg-data").ConfigDirectory);
        Assert.Equal("third.service", servers.Single(s => s.Name == "13/srv-third").ServiceUnit);
        Assert.Null(servers.Single(s => s.Name == "13/srv-other-data").ServiceUnit);
    }

    [Fact]
    public void On_the_RHEL_family_a_further_cluster_of_Install_PgServer_has_the_name_that_it_was_given()
    {
        var host = new FakeRemoteHost("el", new PitrPS.Hosts.RhelPlatform(9));

        var servers = ServerScan.Parse(host.Host, "unitfile=postgresql-17.service\nunitfile=postgresql-17-report.service\n"
            + Cluster(config: "", data: "/var/lib/pgsql/17/data", major: "17") + Cluster(config: "", data: "/var/lib/pgsql/17/report", major: "17")
            + Cluster(config: "", data: "/srv/17/report", major: "17"));

        Assert.Equal(["17/main", "17/report", "17/srv-17-report"], servers.Select(s => s.Name));
        Assert.Equal(["postgresql-17.service", "postgresql-17-report.service", null], servers.Select(s => s.ServiceUnit));
    }

    [Fact]
    public void A_server_has_the_same_name_whichever_others_are_there()
    {
        var (one, other) = (Cluster(config: "", data: "/srv/a-b/data"), Cluster(config: "", data: "/srv/a/b/data"));

        Assert.Equal("15/srv-a-b-data", Assert.Single(Scan(one)).Name);
        Assert.Equal(2, Scan(one + other).Select(s => s.Name).Distinct().Count());
    }

    [Fact]
    public void A_server_of_an_ancient_version_is_shown()
    {
        var server = Assert.Single(Scan(Units + Cluster(config: "/etc/postgresql/9.6/main", data: "/var/lib/postgresql/9.6/main", major: "9.6")));

        Assert.Equal(("9.6/main", 9), (server.Name, server.Version));
    }

    [Fact]
    public void Names_what_else_looks_after_a_server_and_a_role_that_is_not_called_as_its_user()
    {
        var server = Assert.Single(Scan(Cluster().Replace("owner=postgres", "owner=app", StringComparison.Ordinal) + "manager=Patroni\n" + Running("true") + "role=postgres\n"));

        Assert.Equal(("Patroni", "app", "postgres"), (server.Manager, server.OsUser, server.SocketRole));
        Assert.Contains("dbname='x' user='postgres'", PsqlSession.Command(server, "x").Arguments);
    }

    [Fact]
    public void Of_a_stopped_server_its_own_program_knows_what_its_files_say()
    {
        var server = Assert.Single(Scan(Cluster() + "standby=1\n" + File("/etc/postgresql/15/main/postgresql.conf", "include 'elsewhere'\n")
            + $"set:port={Base64("5477")}\nset:recovery_min_apply_delay={Base64("7200000")}\n"));

        Assert.Equal((5477, TimeSpan.FromHours(2)), (server.Port, server.ReplicationDelay));
    }

    [Fact]
    public void A_state_that_cannot_be_read_is_an_error_that_names_the_file()
    {
        var error = Assert.Throws<PitrException>(() => Scan($"statefile=:15-main.json\nstate={Base64("{")}\n"));

        Assert.Equal("PitrPS.StateUnreadable", error.Id);
        Assert.Contains("15-main.json", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", 150018)]
    [InlineData("postgres (PostgreSQL) 13.23", 130023)]
    [InlineData("postgres (PostgreSQL) 19devel", 190000)]
    [InlineData("", 0)]
    public void Numbers_versions_as_the_server_does(string text, int number) => Assert.Equal(number, ServerScan.VersionNumberOf(text));

    [Fact]
    public void A_name_or_port_that_no_server_has_is_an_error_and_a_wildcard_is_not()
    {
        var servers = Scan(Cluster());
        var main = new ServerFilter(n => n == "15/main", "main", false);
        var none = new ServerFilter(_ => false, "x", false);

        Assert.Single(ServerDiscovery.Select(Host.Host, servers, main, 5432));
        Assert.Equal("PitrPS.ServerNotFound", Assert.Throws<PitrException>(() => ServerDiscovery.Select(Host.Host, servers, main, 5433)).Id);
        Assert.Equal("PitrPS.ServerNotFound", Assert.Throws<PitrException>(() => ServerDiscovery.Select(Host.Host, servers, none, null)).Id);
        Assert.Empty(ServerDiscovery.Select(Host.Host, servers, none with { MayBeNone = true }, null));
        Assert.Empty(ServerDiscovery.Select(Host.Host, [], null, null));
    }

    private static IReadOnlyList<PgServer> Scan(string output) => ServerScan.Parse(Host.Host, output);

    private static string Cluster(string config = "/etc/postgresql/15/main", string data = "/var/lib/postgresql/15/main", string major = "15") =>
        $"""
        cluster
        config={Base64(config)}
        data={Base64(data)}
        major={major}
        bin=/usr/lib/postgresql/{major}/bin
        owner=postgres
        binaries=postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        control=Database system identifier:7711400847888782847
        control=Latest checkpoint's TimeLineID:3
        control=Bytes per WAL segment:1048576

        """;

    private static string Running(string recovering, params (string Name, string Value)[] settings) =>
        $"pid=77\nunit=postgresql@15-main.service\nport=5433\nsocket={Base64("/run/pg socket")}\nstatus=ready   \nrecovering={recovering}\n"
        + string.Concat(settings.Select(s => $"set:{s.Name}={Base64(s.Value)}\n"));

    private static string File(string path, string text) => $"file=:{path}\n" + string.Concat(text.TrimEnd('\n').Split('\n').Select(line => $"line={line}\n"));

    private static string State(string file, ServerState state) => $"statefile=:{file}\nstate={Base64(state.Render())}\n";

    private static string Base64(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));
}
