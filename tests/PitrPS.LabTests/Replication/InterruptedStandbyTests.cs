using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Replication;

/// <summary>Clients that are killed in the middle of New-PgStandby. The same command again comes to the same end.</summary>
public sealed class InterruptedStandbyTests
{
    private const string Program = "/usr/lib/postgresql/15/bin/pg_basebackup";
    private const string Command = "$standby | New-PgStandby -Primary $primary -Confirm:$false";

    [Trait("Category", "Long")]
    [LabTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_client_killed_during_the_base_backup_leaves_it_running_and_the_next_run_attaches_to_it(bool hasEnded)
    {
        using var hosts = new InstalledHosts();

        // A base backup that takes some seconds more, and leaves a line each time that one is begun.
        hosts.Lab.Shell(Lab.Standby, $$"""
            mv {{Program}} {{Program}}.real; mkdir -m 777 /var/tmp/begun
            printf '%s\n' '#!/bin/sh' 'mktemp -p /var/tmp/begun >/dev/null; sleep 6; exec {{Program}}.real "$@"' > {{Program}}; chmod 755 {{Program}}
            """);
        await KillAtAsync(hosts, "standby: Take a base backup", () => hosts.Lab.Shell(Lab.Standby, "ls /var/tmp/begun").Length > 0);

        Assert.Equal("active", hosts.Lab.Shell(Lab.Standby, "systemctl is-active 'pitrps-*'").Trim());
        var operation = hosts.Get("$standbyHost | Get-PitrOperation").Single();
        Assert.Equal("New-PgStandby", operation.Properties["Operation"].Value);

        if (hasEnded)
        {
            Assert.True(Waiting.Until(() => hosts.Lab.Shell(Lab.Standby, "systemctl show -p SubState 'pitrps-basebackup-*'").Trim() == "SubState=exited", TimeSpan.FromMinutes(2)));
        }

        hosts.Run(Command).Single();

        Assert.Single(hosts.Lab.Shell(Lab.Standby, "ls /var/tmp/begun").Split('\n', StringSplitOptions.RemoveEmptyEntries));
        AssertStandby(hosts);
    }

    [Trait("Category", "Long")]
    [LabFact]
    public async Task A_client_killed_between_steps_again_and_again_leaves_what_the_next_run_goes_on_with()
    {
        using var hosts = new InstalledHosts();
        RefusedOverData(hosts);
        foreach (var step in (string[])["primary: Make the role", "primary: Make the replication slot"])
        {
            await KillAtAsync(hosts, step);
        }

        // Whoever has put something into the cluster since the first run loses nothing by the next one.
        RefusedOverData(hosts);
        foreach (var step in (string[])["standby: Stop ", "standby: Remove the empty cluster", "standby: Start ", "standby: Note on the host"])
        {
            await KillAtAsync(hosts, step);
        }

        hosts.Run(Command).Single();

        AssertStandby(hosts);
    }

    private static void RefusedOverData(PreparedHosts hosts)
    {
        foreach (var (make, remove) in (ReadOnlySpan<(string, string)>)[("CREATE TABLE kept AS SELECT 1 AS i", "DROP TABLE kept"), ("SELECT lo_from_bytea(4711, 'kept')", "SELECT lo_unlink(4711)"), ("CREATE DATABASE kept", "DROP DATABASE kept")])
        {
            hosts.Lab.Psql(Lab.Standby, make);
            hosts.Run(Command).SingleError("PitrPS.DataDirectoryInUse");
            Assert.Equal("f", hosts.Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery()"));
            hosts.Lab.Psql(Lab.Standby, remove);
        }
    }

    private static async Task KillAtAsync(PreparedHosts hosts, string text, Func<bool>? and = null)
    {
        using var client = new ClientProcess($"{Snapshots.ConnectScript(hosts.Lab)}\n$VerbosePreference = 'Continue'\n{Command}");
        await client.WaitForTextAsync(text, TimeSpan.FromMinutes(3));
        while (and?.Invoke() == false)
        {
            Assert.False(client.HasEnded, client.Text);
        }

        client.Kill();
    }

    /// <summary>What an undisturbed run makes, and nothing else.</summary>
    private static void AssertStandby(PreparedHosts hosts)
    {
        Assert.Equal("1|1|1", hosts.Lab.Psql(Lab.Primary,
            """
            SELECT (SELECT count(*) FROM pg_replication_slots WHERE active), (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pitrps\_standby%'),
                   (SELECT count(*) FROM pg_hba_file_rules WHERE user_name[1] LIKE 'pitrps\_standby%')
            """));
        Assert.Equal("t|streaming", hosts.Lab.Psql(Lab.Standby, "SELECT pg_is_in_recovery(), (SELECT status FROM pg_stat_wal_receiver)"));
        Assert.Equal("/var/lib/postgresql/15/main", hosts.Lab.Shell(Lab.Standby, "ls -d /var/lib/postgresql/15/*").Trim());
        Assert.Equal("", hosts.Lab.Shell(Lab.Standby, "ls /var/lib/pitrps/operations /var/lib/pitrps/units; systemctl list-units --all --no-legend 'pitrps-*'").Replace("/var/lib/pitrps/operations:", "").Replace("/var/lib/pitrps/units:", "").Trim());
        Assert.Equal("", hosts.Lab.Shell(Lab.Primary, "ls /var/lib/pitrps/pointers").Trim());
        var again = hosts.Run(Command).ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText, StringComparison.Ordinal);
    }
}
