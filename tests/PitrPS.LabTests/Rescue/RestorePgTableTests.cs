using System.Management.Automation;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Rescue;

public sealed class RestorePgTableTests(LostTables hosts) : IClassFixture<LostTables>
{
    private IReadOnlyList<PSObject> Restore(params string[] tables) =>
        hosts.Get("$recovery | Restore-PgTable -To $primary -Table $names", ("names", tables));

    private static string Notes(PSObject restored) => string.Join('\n', (IEnumerable<string>)restored.Properties["Notes"].Value);

    private static void AssertProven(PSObject restored, long rows)
    {
        Assert.Equal(true, restored.Properties["IsProven"].Value);
        Assert.Equal(rows, restored.Properties["RowsRestored"].Value);
        Assert.Equal(rows, restored.Properties["RowsRecovered"].Value);
        Assert.Equal(restored.Properties["ChecksumRecovered"].Value, restored.Properties["ChecksumRestored"].Value);
        Assert.Matches("^[0-9A-F]{16}$", (string)restored.Properties["ChecksumRestored"].Value);
    }

    [LabFact]
    public void A_table_is_back_with_its_rows_and_a_second_run_finds_it_there()
    {
        var restored = Assert.Single(Restore("plain"));
        AssertProven(restored, 20_000);
        Assert.Equal(hosts.Before["plain"], hosts.Dump("plain"));
        hosts.AssertNothingLeft();

        var again = hosts.Run("$recovery | Restore-PgTable -To $primary -Table plain");
        AssertProven(Assert.Single(again.ThrowOnError().Output), 20_000);
        Assert.Contains("nothing to do", again.HostText, StringComparison.Ordinal);
        Assert.Equal(restored.Properties["ChecksumRestored"].Value, again.Output[0].Properties["ChecksumRestored"].Value);
        Assert.Equal(hosts.Before["plain"], hosts.Dump("plain"));
    }

    [LabFact]
    public void Everything_that_a_table_had_and_that_went_with_it_comes_back_even_its_schema()
    {
        var restored = Assert.Single(Restore("sales.orders"));
        AssertProven(restored, 2000);
        var notes = Notes(restored);
        Assert.Contains("1 foreign key towards it", notes, StringComparison.Ordinal);
        Assert.Contains("column o of table public.holder", notes, StringComparison.Ordinal);
        Assert.Contains("role leaving is not on the primary", notes, StringComparison.Ordinal);
        Assert.Equal(hosts.Before["sales.*"].Replace("GRANT DELETE ON TABLE sales.orders TO leaving;\n", "", StringComparison.Ordinal), hosts.Dump("sales.*"));
        foreach (var other in new[] { "public.lines", "public.region", "public.v1", "public.v2", "public.mv" })
        {
            Assert.Equal(hosts.Before[other], hosts.Dump(other));
        }

        Assert.Equal("app", hosts.Sql("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'sales'"));
        Assert.Equal("2", hosts.Sql("SELECT count(*) FROM public.cheap()"));
        Assert.Equal("pub", hosts.Sql("SELECT pubname FROM pg_publication_tables WHERE tablename = 'orders'"));
        Assert.Equal("f", hosts.Sql("SELECT has_table_privilege('Odd \"role', 'sales.orders', 'SELECT')"));
        Assert.Equal("t", hosts.Sql("SELECT nextval('sales.orders_id_seq') > 2000"));
        Assert.Equal("t", hosts.Sql("SELECT count(*) > 5 FROM pg_stats WHERE tablename = 'orders'"));
        hosts.AssertNothingLeft();
    }

    [LabFact]
    public void A_partitioned_table_brings_its_partitions()
    {
        var restored = Restore("logs");
        Assert.Equal(["public.logs", "public.logs1", "public.logs2", "public.logsd"], restored.Select(r => r.Properties["Table"].Value.ToString()!).Order());
        AssertProven(restored.Single(r => r.Properties["Table"].Value.ToString() == "public.logs"), 3000);
        Assert.Equal(3000L, restored.Where(r => r.Properties["Table"].Value.ToString() != "public.logs").Sum(r => (long)r.Properties["RowsRestored"].Value));
        Assert.Equal(hosts.Before["public.logs*"], hosts.Dump("public.logs*"));
        Assert.Equal("3", hosts.Sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'logs_i'::regclass"));
    }

    [LabFact]
    public void A_name_that_needs_every_kind_of_quoting_comes_back_with_its_schema()
    {
        AssertProven(Assert.Single(Restore(LostTables.Weird)), 2);
        Assert.Equal(hosts.Before["\"-We\"\"ird.S chema\".*"], hosts.Dump("\"-We\"\"ird.S chema\".*"));
        hosts.AssertNothingLeft();
    }

    [LabFact]
    public void A_parent_and_its_child_come_back_together_and_tables_of_many_types_none_and_without_wal_too()
    {
        var restored = Restore("par", "chi", "empty0", "unl", "kinds");
        Assert.Equal([("public.chi", 1L), ("public.empty0", 2L), ("public.kinds", 2L), ("public.par", 1L), ("public.unl", 0L)],
            restored.Select(r => (r.Properties["Table"].Value.ToString()!, (long)r.Properties["RowsRestored"].Value)).Order());
        Assert.All(restored, r => Assert.Equal(true, r.Properties["IsProven"].Value));
        Assert.Contains("unlogged", Notes(restored.Single(r => r.Properties["Table"].Value.ToString() == "public.unl")), StringComparison.Ordinal);
        foreach (var table in new[] { "public.par", "public.chi", "public.empty0", "public.kinds" })
        {
            Assert.Equal(hosts.Before[table], hosts.Dump(table));
        }
    }

    [LabFact]
    public void A_foreign_key_that_rows_no_longer_fit_comes_back_not_valid_and_is_named()
    {
        var restored = Assert.Single(Restore("target"));
        AssertProven(restored, 50);
        Assert.Contains("NOT VALID", Notes(restored), StringComparison.Ordinal);
        Assert.Equal("f", hosts.Sql("SELECT convalidated FROM pg_constraint WHERE conname = 'pointer_id_fkey'"));
        Assert.Equal("1", hosts.Sql("SELECT count(*) FROM pointer"));
    }

    [LabFact]
    public void A_table_that_the_primary_has_again_is_refused_and_left_alone()
    {
        hosts.Run("$recovery | Restore-PgTable -To $primary -Table again").SingleError("PitrPS.TableExists");
        Assert.Equal("other", hosts.Sql("SELECT attname FROM pg_attribute WHERE attrelid = 'again'::regclass AND attnum > 0"));
        hosts.AssertNothingLeft();
    }

    [LabFact]
    public void A_missing_owner_is_said_before_anything_is_changed()
    {
        var error = hosts.Run("$recovery | Restore-PgTable -To $primary -Table owned").SingleError("PitrPS.RoleMissing");
        Assert.Contains("gone_owner", error.Exception.Message, StringComparison.Ordinal);
        hosts.AssertNothingLeft();
        hosts.Sql("CREATE ROLE gone_owner");
        Assert.Single(Restore("owned"));
        Assert.Equal(hosts.Before["public.owned"], hosts.Dump("public.owned"));
    }

    [LabFact]
    public void A_failure_in_the_middle_or_another_row_than_was_there_rolls_back_takes_the_key_away_and_can_be_run_again()
    {
        hosts.Sql("CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no new keys today'; END $$; CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION refuse()");
        try
        {
            var error = hosts.Run("$recovery | Restore-PgTable -To $primary -Table failing").SingleError("PitrPS.RestoreFailed");
            Assert.Contains("no new keys today", error.Exception.Message, StringComparison.Ordinal);
            Assert.False(hosts.Has("public.failing"));
            hosts.AssertNothingLeft();
        }
        finally
        {
            hosts.Sql("DROP EVENT TRIGGER refuse; DROP FUNCTION refuse()");
        }

        // A row that is lost, or another one, on the primary alone, after all have arrived.
        foreach (var tampering in (string[])["DELETE FROM public.failing WHERE a = 7", "UPDATE public.failing SET a = 1007 WHERE a = 7"])
        {
            hosts.Sql($"CREATE FUNCTION tamper() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {tampering}; END $$; CREATE EVENT TRIGGER tamper ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION tamper()");
            try
            {
                var error = hosts.Run("$recovery | Restore-PgTable -To $primary -Table failing").SingleError("PitrPS.ProofFailed");
                Assert.Contains("public.failing", error.Exception.Message, StringComparison.Ordinal);
                Assert.False(hosts.Has("public.failing"));
                hosts.AssertNothingLeft();
            }
            finally
            {
                hosts.Sql("DROP EVENT TRIGGER tamper; DROP FUNCTION tamper()");
            }
        }

        AssertProven(Assert.Single(Restore("failing")), 100);
        Assert.Equal(hosts.Before["public.failing"], hosts.Dump("public.failing"));
    }

    [LabFact]
    public void A_killed_client_leaves_the_restore_running_and_the_next_run_finishes_it()
    {
        using (var blockade = hosts.Block("public.big1"))
        {
            using var client = new ClientProcess(Snapshots.ConnectScript(hosts.Lab) + "\nGet-PitrRecovery $standby | Restore-PgTable -To $primary -Table big1 -Confirm:$false");
            blockade.WaitForSomebody();
            client.Kill();
        }

        // Nobody is there any more, and it goes on.
        using var session = hosts.NewSession();
        var finished = session.Run("Get-PitrRecovery $standby | Restore-PgTable -To $primary -Table big1");
        AssertProven(Assert.Single(finished.ThrowOnError().Output), 50_000);
        Assert.Equal(hosts.Before["public.big1"], hosts.Dump("public.big1"));
        hosts.AssertNothingLeft();
    }

    [LabFact]
    public void Ctrl_C_returns_at_once_and_nothing_comes_of_it()
    {
        using (var blockade = hosts.Block("public.big2"))
        {
            var running = hosts.Engine.Start("$recovery | Restore-PgTable -To $primary -Table big2");
            blockade.WaitForSomebody();

            // The key has been used: it is not on either host any more.
            Assert.Equal("", hosts.Lab.Shell(Lab.Primary, "cat /var/lib/postgresql/.ssh/authorized_keys 2>/dev/null; true"));
            Assert.Equal("", hosts.Lab.Shell(Lab.Standby, "find /run/pitrps -name key; ps axww -o args | grep '[P]RIVATE'; true").Trim());
            Assert.InRange(running.Stop(), TimeSpan.Zero, TimeSpan.FromSeconds(2));
            Assert.True(running.Wait().WasStopped);
        }

        var watch = System.Diagnostics.Stopwatch.StartNew();
        while (hosts.Sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pitrps restore%'") != "0")
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30), "The session on the primary does not end.");
        }

        Assert.False(hosts.Has("public.big2"));
        AssertProven(Assert.Single(Restore("big2")), 50_000);
        hosts.AssertNothingLeft();
    }

    [Trait("Category", "Long")]
    [FaultFact]
    public async Task A_link_that_is_cut_in_the_middle_leaves_no_half_of_it_and_the_next_run_begins_anew()
    {
        using (var blockade = hosts.Block("public.big3"))
        {
            using var client = new ClientProcess(Snapshots.ConnectScript(hosts.Lab) + "\ntry { Get-PitrRecovery $standby | Restore-PgTable -To $primary -Table big3 -Confirm:$false -ErrorAction Stop } catch { $_.FullyQualifiedErrorId; exit 1 }");
            blockade.WaitForSomebody();
            hosts.Lab.PauseNetwork(Lab.Standby);
            try
            {
                Assert.NotEqual(0, await client.WaitAsync(TimeSpan.FromSeconds(60)));
                Assert.Contains("PitrPS.HostUnreachable", client.Text, StringComparison.Ordinal);
                // Until the sender on the standby has noticed, too.
                var watch = System.Diagnostics.Stopwatch.StartNew();
                while (hosts.Lab.Shell(Lab.Standby, "systemctl is-active 'pitrps-restore-*' || true").Contains("active\n", StringComparison.Ordinal) && watch.Elapsed < TimeSpan.FromSeconds(60))
                {
                    await Task.Delay(500);
                }
            }
            finally
            {
                hosts.Lab.ResumeNetwork(Lab.Standby);
            }

            // Its session on the primary still waits, and is ended by the next run.
            Assert.Equal("1", hosts.Sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pitrps restore%'"));
        }

        using var session = hosts.NewSession();
        AssertProven(Assert.Single(session.Get("Get-PitrRecovery $standby | Restore-PgTable -To $primary -Table big3")), 50_000);
        hosts.AssertNothingLeft();
    }

    [LabFact]
    public void A_primary_whose_sshd_does_not_let_the_databases_user_in_is_said_so_and_left_as_it_was()
    {
        hosts.Lab.Shell(Lab.Primary, "echo 'DenyUsers postgres' > /etc/ssh/sshd_config.d/zz-test.conf; systemctl reload ssh");
        try
        {
            hosts.Run("$recovery | Restore-PgTable -To $primary -Table big4").SingleError("PitrPS.RestoreKeyRefused");
            hosts.AssertNothingLeft();
            Assert.False(hosts.Has("public.big4"));
        }
        finally
        {
            hosts.Lab.Shell(Lab.Primary, "rm /etc/ssh/sshd_config.d/zz-test.conf; systemctl reload ssh");
        }
    }

    [LabFact]
    public void WhatIf_shows_the_transaction_and_changes_nothing()
    {
        var run = hosts.Run("$recovery | Restore-PgTable -To $primary -Table big4 -WhatIf");
        Assert.Equal(true, run.Single().Properties["IsPlanned"].Value);
        Assert.Contains("CREATE TABLE public.big4", run.HostText, StringComparison.Ordinal);
        Assert.Contains("restrict,expiry-time=", run.HostText, StringComparison.Ordinal);
        Assert.False(hosts.Has("public.big4"));
        hosts.AssertNothingLeft();
    }

    [LabTheory]
    [InlineData("$recovery | Restore-PgTable -To $primary -Table nosuch", "PitrPS.TableNotFound")]
    [InlineData("$recovery | Restore-PgTable -To $standby -Table big4", "PitrPS.WrongPrimary")]
    [InlineData("$recovery | Restore-PgTable -To $primary -Table big4 -PrimarySshPort 1", "PitrPS.PrimaryUnreachableFromStandby")]
    [InlineData("$recovery | Restore-PgTable -To $primary -Table big4 -Database nosuch", "PitrPS.DatabaseMissing")]
    public void Wrong_input_is_an_error_with_a_next_step_and_changes_nothing(string script, string id)
    {
        hosts.Run(script).SingleError(id);
        hosts.AssertNothingLeft();
    }
}
