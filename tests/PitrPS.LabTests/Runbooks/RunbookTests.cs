using System.Diagnostics;
using System.Management.Automation;
using System.Text.Json;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Runbooks;

/// <summary>scripts/runbooks against a pair, as a scheduler runs them: a process of its own, nobody to ask, and an exit code.</summary>
public sealed class RunbookTests(RunbookTests.Pair pair) : IClassFixture<RunbookTests.Pair>
{
    [LabFact]
    public void The_nightly_check_finds_a_healthy_pair_healthy()
    {
        var (code, said) = pair.File("Test-PitrPair", "-Name", "shop");
        Assert.True(code == 0, said);
        Assert.DoesNotMatch("Warning|Failure", said);

        var checks = pair.Run("Test-PitrPair", "-Name shop");
        string[] all = ["Archive", "Clock", "Cluster", "Configuration", "Connect", "Delay", "Mount", "Operation", "Receiver", "Recovery", "Replay", "ReplayLag", "Role", "Server"];
        Assert.Equal(all, checks.Select(c => $"{c.Properties["Check"].Value}").Where(c => c != "Position").Distinct().Order());
    }

    [LabFact]
    public void The_nightly_check_sees_a_freeze_and_goes_on_past_a_host_that_is_down()
    {
        pair.Hosts.Get("$null = $standby | Suspend-WalReplay");
        try
        {
            var (code, said) = pair.File("Test-PitrPair", "-Name", "shop");
            Assert.True(code == 1, said);
            Assert.Contains("It is frozen", said);

            var checks = pair.Run("Test-PitrPair");
            Assert.Equal(2, pair.Code);
            Assert.Equal(["gone|Connect: Failure", "gone|Connect: Failure", "shop|Replay: Warning"],
                checks.Where(c => $"{c.Properties["Status"].Value}" != "OK").Select(c => $"{c.Properties["Pair"].Value}|{c.Properties["Check"].Value}: {c.Properties["Status"].Value}"));
        }
        finally
        {
            pair.Hosts.Get("$null = $standby | Resume-WalReplay");
        }
    }

    [LabFact]
    public void The_weekly_status_writes_what_it_emits()
    {
        var path = Path.Join(pair.Folder, "status.json");
        var (code, said) = pair.File("Get-PitrStatus", "-Name", "shop", "-Path", path);
        Assert.True(code == 0, said);
        var json = JsonDocument.Parse(System.IO.File.ReadAllText(path)).RootElement;
        Assert.Equal(["Primary", "Standby"], json.EnumerateArray().Select(s => s.GetProperty("Role").GetString()));
        Assert.Equal("3.00:00:00", json[1].GetProperty("Delay").GetString());
        Assert.True(json[1].GetProperty("ArchiveReadable").GetBoolean());
        Assert.Equal("/var/mnt/archive_wal_dir", json[0].GetProperty("Archive").GetString());
        Assert.Equal(pair.Hosts.Lab.Psql(Lab.Primary, "SELECT system_identifier FROM pg_control_system()"), json[1].GetProperty("SystemIdentifier").GetString());
        Assert.Matches(@"^15\.\d+$", json[0].GetProperty("Version").GetString());
    }

    [LabFact]
    public void The_emergency_freezes_lists_refuses_to_guess_and_then_brings_the_table_back()
    {
        pair.LoseTables();

        // Whoever only starts it has a standby that stands still, and a list.
        var (code, said) = pair.File("Restore-LostTable", "-Name", "shop");
        Assert.True(code == 4, said);
        Assert.Matches(@"public\.orders.*\n?[\s\S]*public\.""?items", said);
        Assert.Equal("Frozen", pair.Replay());

        (code, said) = pair.File("Restore-LostTable", "-Name", "shop", "-Table", "orders");
        Assert.True(code == 6, said);

        var running = pair.Hosts.Lab.Psql(Lab.Standby, "SELECT pg_postmaster_start_time()");
        (code, said) = pair.File("Restore-LostTable", "-Name", "shop", "-Table", "orders", "-WhatIf");
        Assert.True(code == 0, said);
        Assert.Contains("recovery_target_lsn=", said);
        Assert.Equal(running, pair.Hosts.Lab.Psql(Lab.Standby, "SELECT pg_postmaster_start_time()"));

        // Something has gone wrong: the standby stands, and the same command goes on when that is mended.
        pair.Hosts.Lab.Psql(Lab.Primary, "CREATE TABLE orders (other text)");
        (code, said) = pair.File("Restore-LostTable", "-Name", "shop", "-Table", "orders", "-Confirm:$false");
        Assert.True(code == 2, said);
        Assert.Contains("Run the same again to go on", said);
        Assert.Equal("Ready", $"{pair.Hosts.Get("($standby | Get-PitrRecovery).State").Single()}");
        (code, said) = pair.File("Test-PitrPair", "-Name", "shop");
        Assert.True(code == 1, said);
        Assert.Contains("Get-PitrRecovery", said);

        pair.Hosts.Lab.Psql(Lab.Primary, "ALTER TABLE orders RENAME TO orders2");
        (code, said) = pair.File("Restore-LostTable", "-Name", "shop", "-Table", "orders", "-Confirm:$false");
        Assert.True(code == 0, said);
        Assert.Equal("2000", pair.Hosts.Lab.Psql(Lab.Primary, "SELECT count(*) FROM orders"));
        Assert.Equal("Replaying", pair.Replay());
        Assert.Equal("259200000", pair.Hosts.Lab.Psql(Lab.Standby, "SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"));
    }

    [LabFact]
    public void Wrong_use_ends_with_3()
    {
        Assert.Equal(3, pair.File("Restore-LostTable", "-Name", "nobody", "-Table", "orders").Code);
        Assert.Equal(3, pair.File("Test-PitrPair", "-Wrong", "word").Code);
    }

    /// <summary>A delayed pair that has just come up and is well, and an inventory of it and of a pair that is not there.</summary>
    public sealed class Pair : IDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("pitrps-runbooks-");

        public Pair()
        {
            Hosts = new StandbyHosts();
            if (Lab.WhyNot() is not null)
            {
                return;
            }

            WriteInventory();

            // A standby that waits at a COMMIT since it was started does not stream: so it catches up first.
            Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 0");
            Waiting.For("streaming", () => Hosts.Lab.Psql(Lab.Standby, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1");
            Hosts.Get("$null = $standby | Set-ReplicationDelay -Delay 3.00:00:00");

            // What was archived before the hosts were kept as a snapshot may be of yesterday.
            Hosts.Lab.Psql(Lab.Primary, "SELECT txid_current(), pg_switch_wal()");
            Waiting.For("a segment that has just been archived", () => Hosts.Lab.Psql(Lab.Primary, "SELECT coalesce(last_archived_time > now() - interval '1 minute', false) FROM pg_stat_archiver") == "t");
            Waiting.For("the archive to be mounted", () => Hosts.Get("($standby | Get-ReplicationStatus).ArchiveMounted").Single().BaseObject is true);
        }

        public StandbyHosts Hosts { get; }

        public string Folder => _folder.FullName;

        /// <summary>The exit code of the runbook that ran last in this process.</summary>
        public int Code => (int)Hosts.Engine.GetVariable("LASTEXITCODE")!;

        /// <summary>Runs a runbook in this process; its objects.</summary>
        public IReadOnlyList<PSObject> Run(string runbook, string arguments = "") =>
            Hosts.Get($"& '{ScriptOf(runbook)}' -Inventory '{Path.Join(Folder, "hosts.psd1")}' {arguments}");

        /// <summary>Runs a runbook as a scheduler does; its exit code and all that it said.</summary>
        public (int Code, string Said) File(string runbook, params string[] arguments)
        {
            using var process = Process.Start(new ProcessStartInfo("dotnet",
                [Path.Join(AppContext.BaseDirectory, "pitrps-host.dll"), "-NoProfile", "-NonInteractive", "-File", ScriptOf(runbook), "-Inventory", Path.Join(Folder, "hosts.psd1"), .. arguments])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            process.StandardInput.Close();
            var errors = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, output.ReplaceLineEndings("\n") + errors.Result);
        }

        public string Replay() => $"{Hosts.Get("($standby | Get-ReplicationStatus).Replay").Single()}";

        /// <summary>Two tables, each dropped by a transaction of its own, and all of that in the standby's WAL.</summary>
        public void LoseTables()
        {
            Hosts.Lab.Psql(Lab.Primary, "CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 2000) g");
            Hosts.Lab.Psql(Lab.Primary, "CREATE TABLE items AS SELECT 1 AS i");
            Hosts.Lab.Psql(Lab.Primary, "DROP TABLE orders");
            Hosts.Lab.Psql(Lab.Primary, "DROP TABLE items");
            var end = Hosts.Lab.Psql(Lab.Primary, "SELECT pg_current_wal_lsn()");
            Waiting.For($"WAL up to {end}", () => Hosts.Lab.Psql(Lab.Standby, $"SELECT coalesce(pg_last_wal_receive_lsn() >= '{end}', false)") == "t");
        }

        public void Dispose()
        {
            Hosts.Dispose();
            _folder.Delete(recursive: true);
        }

        private static string ScriptOf(string runbook) => Path.Join(RepositoryPaths.Root, "scripts", "runbooks", runbook + ".ps1");

        // Nobody listens on port 1 of the standby, which is how a host looks that is down.
        private void WriteInventory() => System.IO.File.WriteAllText(Path.Join(Folder, "hosts.psd1"),
            $$"""
            @{
                Defaults = @{ UserName = '{{Hosts.Standby.User}}'; KeyFile = '{{Hosts.Standby.KeyFile}}'; KnownHostsFile = '{{Hosts.Standby.KnownHosts}}'; Delay = '3.00:00:00' }
                Pairs    = @(
                    @{ Name = 'gone'; Primary = @{ Name = 'gone'; Address = '{{Hosts.Primary.Address}}'; Port = 1 }; Standby = @{ Name = 'gone'; Address = '{{Hosts.Standby.Address}}'; Port = 1 } }
                    @{ Name = 'shop'; Primary = {{Of(Hosts.Primary)}}; Standby = {{Of(Hosts.Standby)}} }
                )
            }
            """);

        private static string Of(LabHost host) => $"@{{ Name = '{host.Name}'; Address = '{host.Address}'; Port = {host.Port} }}";
    }
}
