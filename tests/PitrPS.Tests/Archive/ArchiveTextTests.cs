using PitrPS.Archive;
using PitrPS.Servers;
using PitrPS.Tests.Fakes;

namespace PitrPS.Tests.Archive;

/// <summary>What is written into configuration files of others: systemd, sshd, known_hosts, postgresql.conf.</summary>
public class ArchiveTextTests
{
    private static PgServer Server(string name = "15/main") => new()
    {
        Host = new FakeRemoteHost("primary").Host,
        Name = name,
        Version = 15,
        Port = 5432,
        DataDirectory = "/var/lib/postgresql/15/main",
        ConfigDirectory = "/etc/postgresql/15/main",
        BinDirectory = "/usr/lib/postgresql/15/bin",
    };

    // As systemd-escape --path --suffix=mount prints them.
    [Theory]
    [InlineData("/mnt/archive_wal_dir", "mnt-archive_wal_dir.mount")]
    [InlineData("/var/lib/pitrps-reader/a/archive/", @"var-lib-pitrps\x2dreader-a-archive.mount")]
    [InlineData("/mnt//two  words", @"mnt-two\x20\x20words.mount")]
    [InlineData("/.hidden/.x", @"\x2ehidden-.x.mount")]
    [InlineData("/mnt/é", @"mnt-\xc3\xa9.mount")]
    [InlineData("/", "-.mount")]
    public void A_mount_unit_has_the_name_of_its_mount_point(string path, string unit) => Assert.Equal(unit, SystemdText.UnitOf(path, ".mount"));

    [Fact]
    public void A_command_of_a_unit_means_nothing_to_systemd_but_its_words() =>
        Assert.Equal("""/bin/x -o a=b,c "" "two words" 100%% $$HOME "a\"b\\c" "it's" "a;b" """.TrimEnd(),
            SystemdText.Command(["/bin/x", "-o", "a=b,c", "", "two words", "100%", "$HOME", "a\"b\\c", "it's", "a;b"]));

    [Fact]
    public void A_line_break_cannot_get_into_a_unit() =>
        Assert.Equal("PitrPS.InvalidText", Assert.Throws<PitrException>(() => SystemdText.Value("/mnt\nExecStart=/bin/evil")).Id);

    [Theory]
    [InlineData("Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\n", true)]
    [InlineData("  include = \"/etc/ssh/sshd_config.d/*.conf\" # as shipped\n", true)]
    [InlineData("Include sshd_config.d/*.conf\n", true)]
    [InlineData("Port 22\nInclude /etc/a.conf /etc/ssh/sshd_config.d/*.conf\n", true)]
    [InlineData("#Include /etc/ssh/sshd_config.d/*.conf\n", false)]
    [InlineData("Include /etc/ssh/other.d/*.conf\n", false)]
    [InlineData("Match User x\nInclude /etc/ssh/sshd_config.d/*.conf\n", false)]
    [InlineData("", false)]
    public void Knows_whether_sshd_reads_files_of_our_own(string text, bool reads) => Assert.Equal(reads, SshdConfig.IncludesDropIns(text));

    [Fact]
    public void Rules_in_sshds_own_file_can_be_put_in_changed_and_taken_out()
    {
        const string before = "UsePAM yes\nMatch User somebody\n    PermitTTY no";
        var once = SshdConfig.With(SshdConfig.MainFile, before, "reader", "Match User reader\nMatch all\n");
        var two = SshdConfig.With(SshdConfig.MainFile, once, "other", "Match User other\nMatch all\n");
        var changed = SshdConfig.With(SshdConfig.MainFile, two, "reader", "Match User reader\n    PermitTTY no\nMatch all\n");

        Assert.Equal(before + "\n# BEGIN PitrPS reader\nMatch User reader\nMatch all\n# END PitrPS reader\n", once);
        Assert.Equal(once, SshdConfig.With(SshdConfig.MainFile, once, "reader", "Match User reader\nMatch all\n"));
        Assert.EndsWith("# END PitrPS other\n# BEGIN PitrPS reader\nMatch User reader\n    PermitTTY no\nMatch all\n# END PitrPS reader\n", changed);
        Assert.Equal(before + "\n", SshdConfig.Without(SshdConfig.MainFile, SshdConfig.Without(SshdConfig.MainFile, changed, "other"), "reader"));
    }

    [Fact]
    public void Rules_whose_end_is_missing_are_not_taken_for_the_rest_of_the_file() =>
        Assert.Equal("PitrPS.SshdConfigDamaged", Assert.Throws<PitrException>(() => SshdConfig.Without(SshdConfig.MainFile, "# BEGIN PitrPS reader\nUsePAM yes\n", "reader")).Id);

    [Fact]
    public void Each_server_of_a_host_has_a_reader_of_its_own_with_a_name_that_an_account_can_have()
    {
        string[] names = ["15/main", "15/Main", "13/main", "15/a.b", "15/a-b", "15/a-name-that-is-much-too-long", "15/a-name-that-is-much-too-long-too"];
        var readers = names.Select(n => ArchiveReader.Of(Server(n))).ToArray();

        Assert.Equal("pitrps-reader-15-main", readers[0].Account);
        Assert.Equal("pitrps-archive-15-main", readers[0].Group);
        Assert.Equal(names.Length, readers.Select(r => r.Account).Distinct().Count());
        Assert.Equal(names.Length, readers.Select(r => r.Group).Distinct().Count());
        Assert.All(readers, r => Assert.Matches("^[a-z][a-z0-9_-]{0,31}$", r.Account));
        Assert.All(readers, r => Assert.Matches("^[a-z][a-z0-9_-]{0,31}$", r.Group));
    }

    [Fact]
    public void Sshd_is_asked_for_all_that_its_rules_say()
    {
        var reader = ArchiveReader.Of(Server());
        foreach (var said in reader.SshdMustSay)
        {
            Assert.Contains("    " + said, reader.SshdRules, StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public void Known_hosts_lines_have_the_name_that_ssh_looks_up_and_no_comments()
    {
        string[] keys = ["ssh-ed25519 AAAAC3 root@primary", "ecdsa-sha2-nistp256 AAAAE2", "", "ssh-ed25519 AAAAC3 again"];

        Assert.Equal("192.0.2.7 ecdsa-sha2-nistp256 AAAAE2\n192.0.2.7 ssh-ed25519 AAAAC3\n", PrimaryRoute.KnownHostsText("192.0.2.7", 22, keys));
        Assert.StartsWith("[2001:db8::1]:2222 ecdsa", PrimaryRoute.KnownHostsText("2001:db8::1", 2222, keys));
    }

    [Fact]
    public void Paths_in_the_settings_are_quoted_for_the_shell_and_for_PostgreSQL()
    {
        Assert.Equal("""/usr/local/lib/pitrps/pitrps-archive /var/mnt/archive_wal_dir "%p" "%f" """.TrimEnd(), ArchiveScripts.ArchiveCommand("/var/mnt/archive_wal_dir"));
        Assert.Equal("""/usr/local/lib/pitrps/pitrps-restore '/mnt/it'\''s 100%%' "%f" "%p" """.TrimEnd(), ArchiveScripts.RestoreCommand(Server(), "/mnt/it's 100%"));
        Assert.True(ArchiveScripts.IsOurs(ArchiveScripts.ArchiveCommand("/a")));
        Assert.False(ArchiveScripts.IsOurs("cp %p /a/%f"));
    }

    [Theory]
    [InlineData("relative")]
    [InlineData("/")]
    [InlineData("/a/../b")]
    [InlineData("/a//b")]
    [InlineData("/a\nb")]
    [InlineData("")]
    public void Refuses_a_path_that_is_none(string path) =>
        Assert.Equal("PitrPS.InvalidPath", Assert.Throws<PitrException>(() => ArchiveScripts.RequirePath(path, "The path", Server())).Id);

    [Fact]
    public void A_marker_is_read_back_as_it_was_written()
    {
        Assert.Equal(new ArchiveMarker(1, 7_654_321_098_765_432_101, 16 << 20), ArchiveMarker.Parse(ArchiveMarker.Render(7_654_321_098_765_432_101, 16 << 20)));
        Assert.Null(ArchiveMarker.Parse("format=1\nsystem_identifier=x\nwal_segment_size=1\n"));
        Assert.Null(ArchiveMarker.Parse(""));
    }

    [Fact]
    public void The_heartbeat_beats_at_its_interval_and_only_on_a_primary()
    {
        var files = Heartbeat.Files(Server(), TimeSpan.FromSeconds(10));

        Assert.Contains("OnUnitActiveSec=10\n", files["pitrps-heartbeat-15-main.timer"]);
        Assert.Contains("SELECT pg_catalog.pg_current_xact_id() WHERE NOT pg_catalog.pg_is_in_recovery()", files["pitrps-heartbeat-15-main.service"]);
        Assert.Contains("User=postgres\n", files["pitrps-heartbeat-15-main.service"]);
    }

    [Fact]
    public void The_retention_runs_as_the_servers_user_every_hour_and_gives_way_to_the_server()
    {
        var files = Retention.Files(Server(), "/srv/a b", TimeSpan.FromDays(14));
        var service = files["pitrps-retain-15-main.service"];

        Assert.Contains("OnUnitActiveSec=3600\n", files["pitrps-retain-15-main.timer"]);
        Assert.Contains("""ExecStart=/usr/local/lib/pitrps/pitrps-retain "/srv/a b" 1209600 /var/lib/pitrps-retain/15-main /etc/ssh/pitrps-readers/pitrps-reader-15-main /usr/lib/postgresql/15/bin/psql -h """, service);
        Assert.Contains("User=postgres\n", service);
        Assert.Contains("Nice=19\nIOSchedulingClass=idle\n", service);
    }

    [Theory]
    [InlineData("00:59:59")]
    [InlineData("-1.00:00:00")]
    [InlineData("4000.00:00:00")]
    [InlineData("01:00:00.5")]
    [InlineData("00:00:00.0000014")] // 14 ticks, from -RetainFor 14
    public void WAL_is_not_kept_for_a_time_that_nobody_can_mean(string time) =>
        Assert.Equal("PitrPS.InvalidRetention", Assert.Throws<PitrException>(() => Retention.Require(TimeSpan.Parse(time, System.Globalization.CultureInfo.InvariantCulture), Server())).Id);

    [Theory]
    [InlineData(null)]
    [InlineData("00:00:00")]
    [InlineData("01:00:00")]
    [InlineData("3650.00:00:00")]
    public void WAL_is_kept_for_ever_or_for_an_hour_to_ten_years(string? time) =>
        Retention.Require(time is null ? null : TimeSpan.Parse(time, System.Globalization.CultureInfo.InvariantCulture), Server());

    [Fact]
    public void A_standby_is_registered_under_the_owner_of_its_key_with_its_slot()
    {
        var step = StandbyRegister.RegisterStep(Server(), Server("15/two"), "pitrps_two");

        Assert.Equal(new ArchiveMount(Server("15/two"), "/mnt").KeyOwner, step.Preview.Single(l => l.StartsWith("| owner=", StringComparison.Ordinal))["| owner=".Length..]);
        Assert.Equal("| slot=pitrps_two", step.Preview[^1]);
        Assert.StartsWith("write /var/lib/pitrps-retain/15-main/standbys/pitrps-", step.Preview[0], StringComparison.Ordinal);
    }

    [Fact]
    public void The_mount_heals_itself_and_trusts_only_the_keys_that_it_was_given()
    {
        var mount = new ArchiveMount(Server(), "/mnt/two words");
        var unit = mount.Files(new PrimaryRoute("2001:db8::1", 2222, ""), ArchiveReader.Of(Server("13/old")), "101", "102")[mount.Unit];

        var exec = unit.Split('\n').Single(l => l.StartsWith("ExecStart=", StringComparison.Ordinal));
        Assert.EndsWith("""-p 2222 -o "ro,nosuid,nodev,noexec,allow_other,default_permissions,uid=101,gid=102,reconnect,ServerAliveInterval=5,ServerAliveCountMax=3,ConnectTimeout=10,cache_dir_timeout=0,Ciphers=aes128-gcm@openssh.com\\,aes256-gcm@openssh.com\\,chacha20-poly1305@openssh.com\\,aes128-ctr\\,aes192-ctr\\,aes256-ctr,BatchMode=yes,IdentitiesOnly=yes,IdentityAgent=none,IdentityFile=/var/lib/pitrps/mounts/15-main/id_ed25519,PreferredAuthentications=publickey,StrictHostKeyChecking=yes,UpdateHostKeys=no,UserKnownHostsFile=/var/lib/pitrps/mounts/15-main/known_hosts,GlobalKnownHostsFile=/dev/null" "pitrps-reader-13-old@[2001:db8::1]:/archive" "/mnt/two words" """.TrimEnd(), exec);
        Assert.Contains("\nNice=10\nRestart=always\n", unit);
        Assert.Contains("\nStartLimitIntervalSec=0\n", unit);
    }

    [Fact]
    public void The_mounts_watchdog_is_a_service_of_its_own_that_another_version_of_its_script_starts_anew()
    {
        var mount = new ArchiveMount(Server(), "/mnt/two words");
        var unit = mount.WatchFiles()[mount.WatchUnit];

        Assert.Equal("pitrps-mount-watch-15-main.service", mount.WatchUnit);
        Assert.Contains("""
            ExecStart=/usr/local/lib/pitrps/pitrps-mount-watch pitrps-archive-15-main.service "/mnt/two words" /run/pitrps-mount-watch-15-main
            """, unit);
        Assert.Contains("\n# pitrps-mount-watch, version ", unit);
        Assert.Contains("\nRestart=always\n", unit);
        Assert.DoesNotContain("Requires=", unit);
    }
}
