using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Module;

/// <summary>The format views, rendered by PowerShell's own formatting, with objects that are made here by hand.</summary>
public sealed class FormatTests : IDisposable
{
    // What a cmdlet would emit. The constructors that PitrPS itself uses are not public.
    private const string Objects =
        """
        $make = {
            param([type] $type, [object[]] $arguments)
            $type.GetConstructors('Instance, Public, NonPublic')[0].Invoke($arguments)
        }
        $core = [PitrPS.Servers.Lsn].Assembly
        $facts = & $make $core.GetType('PitrPS.Hosts.HostFacts') @([Activator]::CreateInstance($core.GetType('PitrPS.Hosts.DebianPlatform'), $true), 'Debian GNU/Linux 12 (bookworm)', 'id')
        $standbyHost = & $make ([PitrPS.Hosts.PgHost]) @('standby', '192.0.2.11', 22, 'dba', $facts, $null)
        $standby = [PitrPS.Servers.PgServer] @{
            Host = $standbyHost; Name = '15/main'; Version = 15; Port = 5432; DataDirectory = '/var/lib/postgresql/15/main'; ConfigDirectory = '/etc/postgresql/15/main'
            BinDirectory = '/usr/lib/postgresql/15/bin'; IsRunning = $true; Role = 'Standby'; IsStandby = $true; ReplicationDelay = '3.00:00:00'
            ArchiveMountPoint = '/mnt/archive_wal_dir'
            Primary = [PitrPS.Servers.PrimaryLink]::new('192.0.2.10', 5432, 22, 'pitrps_standby', 'primary', '15/main')
        }
        $table = [PitrPS.Incidents.IncidentTable]::new('postgres', 'public', 'pitr2', 16394, $null)
        $incident = [PitrPS.Incidents.PgIncident] @{
            Standby = $standby; Kind = 'DropTable'; Tables = [PitrPS.Incidents.IncidentTable[]] @($table); TransactionId = 725; CommitLsn = [PitrPS.Servers.Lsn]::Parse('0/3D79CC8')
            CommittedAt = [DateTimeOffset]::Parse('2026-11-22T19:23:12Z'); Timeline = 1; TimeLeft = '2.23:58:00'
        }
        $recovery = [PitrPS.Recovery.PitrRecovery] @{
            Standby = $standby; Incident = $incident; Target = $core.GetType('PitrPS.Recovery.RecoveryTarget+Lsn').GetConstructors()[0].Invoke(@(, $incident.CommitLsn))
            State = 'Ready'; StartedAt = [DateTimeOffset]::Parse('2026-11-23T08:00:00Z'); StartedBy = 'dba@laptop'; Elapsed = '00:00:08.3'; WalBytes = 1288490188; WalSource = 'pg_wal'; LayerBytes = 1932735283
        }
        $restored = [PitrPS.Rescue.RestoredTable] @{
            Recovery = $recovery; Table = $table; To = $standby; RowsRecovered = 1800000; RowsRestored = 1800000; ChecksumRecovered = 'ab'; ChecksumRestored = 'ab'; Elapsed = '00:00:04'
        }
        $missing = [PitrPS.Archive.WalArchiveSegment] @{ Name = '000000010000000000000007'; Timeline = 1; Start = [PitrPS.Servers.Lsn]::Parse('0/7000000'); State = 'Missing' }
        $archive = [PitrPS.Archive.WalArchiveReport] @{
            Server = $standby; Path = '/mnt/archive_wal_dir'; Time = [DateTimeOffset]::Parse('2026-11-23T08:00:00Z'); Found = 29999; Missing = 1; Waiting = 2; Problems = [PitrPS.Archive.WalArchiveSegment[]] @($missing)
            LastRecoverableTime = [DateTimeOffset]::Parse('2026-11-23T07:59:00Z'); BytesPerDay = 24159191040; DiskFullAt = [DateTimeOffset]::Parse('2026-12-03T09:00:00Z')
        }
        """;

    private readonly PowerShellEngine _engine = new();

    public FormatTests() => _engine.Get(Objects);

    public void Dispose() => _engine.Dispose();

    [Theory]
    [InlineData("$standbyHost", "Name", "standby", "192.0.2.11", "Debian GNU/Linux 12 (bookworm)")]
    [InlineData("$standby", "Server", "standby:15/main", "Standby", "running", "3 d", "primary", "/mnt/archive_wal_dir")]
    [InlineData("$incident", "Committed", "DropTable", "public.pitr2", "2026-11-22 19:23:12 UTC", "725", "0/3D79CC8", "2 d 23 h")]
    [InlineData("$recovery", "Target", "standby:15/main", "Ready", "before LSN 0/3D79CC8", "8.3 s", "1.2 GiB", "1.8 GiB")]
    [InlineData("$archive", "Healthy", "standby:15/main", "False", "29999", "2026-11-23 07:59:00 UTC", "22 GiB", "10 d 1 h")]
    [InlineData("$missing", "State", "000000010000000000000007", "Missing", "0/7000000")]
    [InlineData("$restored", "Proven", "public.pitr2", "1800000", "True", "4 s")]
    public void A_table_has_what_is_asked_for_first(string variable, string header, params string[] values)
    {
        var lines = _engine.Render(variable).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.Equal(3, lines.Length);
        Assert.Contains(header, lines[0]);
        Assert.All(values, value => Assert.Contains(value, lines[2]));
    }

    [Fact]
    public void A_position_looks_as_PostgreSQL_writes_it() => Assert.Equal("0/3D79CC8", _engine.Render("$incident.CommitLsn").Trim());

    [Fact]
    public void A_frozen_standby_says_so_where_time_left_would_be() =>
        Assert.Contains("frozen", _engine.Render("$incident.GetType().GetProperty('TimeLeft').SetValue($incident, $null); $incident"));

    // Whoever may make a table in a database decides what it is called, and somebody else's terminal shows that.
    private const string Odd =
        """
        $odd = [PitrPS.Incidents.IncidentTable]::new("shop`e[8m", 'public', "a`e[2J`nall is well", 16394, $null)
        $named = [PitrPS.Incidents.PgIncident] @{
            Standby = $standby; Kind = 'DropTable'; Tables = [PitrPS.Incidents.IncidentTable[]] @($odd); TransactionId = 725; CommitLsn = $incident.CommitLsn; CommittedAt = $incident.CommittedAt; Timeline = 1
        }
        $point = $core.GetType('PitrPS.Recovery.RecoveryTarget+Name').GetConstructors()[0].Invoke(@("noon`e[2J`nall is well"))
        $ofNamed = [PitrPS.Recovery.PitrRecovery] @{ Standby = $standby; Incident = $named; Target = $point; State = 'Ready'; StartedAt = $incident.CommittedAt }
        $back = [PitrPS.Rescue.RestoredTable] @{
            Recovery = $ofNamed; Table = $odd; To = $standby; RowsRecovered = 1; RowsRestored = 1; ChecksumRecovered = 'ab'; ChecksumRestored = 'ab'; Notes = [string[]] @("a view of a`e[2Jb", 'another note')
        }
        """;

    [Theory]
    [InlineData("$named")]
    [InlineData("$ofNamed")]
    [InlineData("$back")]
    [InlineData("\"$named\"")]
    public void A_name_cannot_command_the_terminal_nor_begin_a_line_of_its_own(string shown)
    {
        _engine.Get(Odd);
        var text = _engine.Render(shown);
        Assert.Contains("[2J", text, StringComparison.Ordinal);
        Assert.DoesNotMatch("\u001b\\[(2J|8m)", text);
        Assert.DoesNotContain(text.Split('\n'), line => line.TrimStart().StartsWith("all is well", StringComparison.Ordinal));
    }

    /// <summary>Format-List is none of the engine's core cmdlets, so each item of the views is asked for what it shows.</summary>
    [Theory]
    [InlineData("named")]
    [InlineData("ofNamed")]
    [InlineData("back")]
    public void No_item_of_a_view_hands_on_what_commands_a_terminal(string variable)
    {
        _engine.Get(Odd);
        var views = System.Xml.Linq.XDocument.Load(Path.Join(RepositoryPaths.Module, "PitrPS.Format.ps1xml")).Descendants("View")
            .Where(v => v.Descendants("TypeName").Any(t => t.Value == $"{_engine.Get($"${variable}.GetType().FullName").Single()}")).ToList();
        Assert.Equal(2, views.Count);
        foreach (var item in views.SelectMany(v => v.Descendants()).Where(e => e.Name == "ScriptBlock" || e.Name == "PropertyName"))
        {
            var shown = $"{_engine.Get($"${variable} | ForEach-Object {{ \"$({(item.Name == "ScriptBlock" ? item.Value : $"$_.{item.Value}")})\" }}").Single()}";
            Assert.False(shown.Contains('\u001b', StringComparison.Ordinal) || shown.Contains("\nall is well", StringComparison.Ordinal), $"{item.Value} shows {shown}");
        }
    }
}
