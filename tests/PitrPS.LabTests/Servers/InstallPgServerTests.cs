using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Servers;

public sealed class InstallPgServerTests(BareHosts hosts) : IClassFixture<BareHosts>
{
    [LabFact]
    public void Installs_a_server_once_and_has_nothing_to_do_the_second_time()
    {
        var lab = hosts.Lab;
        var preview = hosts.Run("$primaryHost | Install-PgServer -WhatIf");
        var planned = preview.Single();
        Assert.True((bool)planned.Properties["IsPlanned"].Value);
        Assert.Contains("pg_createcluster", preview.HostText, StringComparison.Ordinal);
        Assert.Contains("| listen_addresses = '*'", preview.HostText, StringComparison.Ordinal);
        Assert.Equal("none", lab.Shell(Lab.Primary, "ls -d /etc/postgresql /var/lib/pitrps /etc/postgresql-common 2>/dev/null || echo none").Trim());

        var installed = hosts.RunVerbose("$primaryHost | Install-PgServer -Confirm:$false");
        var server = installed.Single();
        var major = hosts.Primary.PostgresMajor;
        Assert.Equal($"{major}/main", server.Properties["Name"].Value);
        Assert.True((bool)server.Properties["IsRunning"].Value);
        Assert.Equal("Primary", server.Properties["Role"].Value.ToString());
        Assert.Equal($"postgresql@{major}-main.service", server.Properties["ServiceUnit"].Value);
        Assert.NotNull(server.Properties["SystemIdentifier"].Value);

        Assert.Equal("on|*|5432|UTF8", lab.Psql(Lab.Primary,
            "SELECT current_setting('data_checksums'), current_setting('listen_addresses'), current_setting('port'), pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'template0'"));
        Assert.Equal("t|t|SCRAM-SHA-256$4096:", lab.Psql(Lab.Primary, "SELECT rolsuper, rolcanlogin, left(rolpassword, 19) FROM pg_authid WHERE rolname = 'pitrps'"));
        Assert.Equal($"{major}/main", lab.Shell(Lab.Primary, "cd /etc/postgresql && ls -d */*").Trim());
        Assert.Equal("gone", lab.Shell(Lab.Primary, "ls -d /usr/sbin/policy-rc.d /etc/postgresql-common/createcluster.d 2>/dev/null || echo gone").Trim());
        Assert.Equal("enabled-runtime", lab.Shell(Lab.Primary, $"systemctl is-enabled postgresql@{major}-main").Trim());
        Assert.Equal("600 root root", lab.Shell(Lab.Primary, "stat -c '%a %U %G' /var/lib/pitrps/servers/*.secret").Trim());
        Assert.Equal("700 root root", lab.Shell(Lab.Primary, "stat -c '%a %U %G' /var/lib/pitrps").Trim());

        var secret = lab.Shell(Lab.Primary, "cat /var/lib/pitrps/servers/*.secret").Trim();
        Assert.Equal(64, secret.Length);
        Assert.DoesNotContain(secret, string.Join('\n', installed.Verbose), StringComparison.Ordinal);
        Assert.Equal("nowhere", lab.Shell(Lab.Primary, $"grep -rlF {secret} /var/log /var/lib/pitrps --exclude='*.secret' 2>/dev/null || echo nowhere").Trim());

        var started = lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()");
        var again = hosts.Run($"$primaryHost | Install-PgServer -Version {major} -Port 5432 -Confirm:$false");
        Assert.Equal(server.Properties["SystemIdentifier"].Value, again.Single().Properties["SystemIdentifier"].Value);
        Assert.Contains("nothing to do", string.Join('\n', again.Information), StringComparison.Ordinal);
        Assert.Equal(started, lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()"));
        Assert.Equal("", lab.Shell(Lab.Primary, "ls /var/lib/pitrps/operations").Trim());
    }

    [LabFact]
    public void Refuses_before_it_changes_anything()
    {
        var lab = hosts.Lab;
        hosts.Run("Install-PgServer -PgHost $standbyHost -Version 12 -Confirm:$false").SingleError("PitrPS.VersionUnsupported");
        hosts.Run("Install-PgServer -PgHost $standbyHost -Name 'a/b' -Confirm:$false").SingleError("PitrPS.InvalidText");
        lab.Shell(Lab.Standby, "systemd-run --unit=taken systemd-socket-activate -l 5432 cat && until grep -q ':1538 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done");
        try
        {
            hosts.Run("$standbyHost | Install-PgServer -Confirm:$false").SingleError("PitrPS.PortInUse");
        }
        finally
        {
            lab.Shell(Lab.Standby, "systemctl stop taken");
        }

        hosts.Run("$standbyHost | Install-PgServer -Version 99 -Confirm:$false").SingleError("PitrPS.PackageMissing");
        Assert.Equal("none", lab.Shell(Lab.Standby, "ls -d /etc/postgresql /usr/sbin/policy-rc.d /etc/postgresql-common/createcluster.d 2>/dev/null || echo none").Trim());
    }
}

/// <summary>A host with servers that somebody else has set up.</summary>
public sealed class AdoptionTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>
{
    [LabFact]
    public void Adopts_a_server_of_others_without_a_restart_and_makes_another_beside_it()
    {
        var lab = hosts.Lab;
        var major = hosts.Standby.PostgresMajor;
        lab.Shell(Lab.Standby, $"pg_createcluster --port 5440 --start {major} theirs >/dev/null && sed -i '/conf.d/d' /etc/postgresql/{major}/theirs/postgresql.conf");
        var started = lab.Psql(Lab.Standby, "SELECT pg_postmaster_start_time()", port: 5440);

        hosts.Run("$standbyHost | Install-PgServer -Name theirs -Port 5441 -Confirm:$false").SingleError("PitrPS.ServerExists");
        hosts.Run("$standbyHost | Install-PgServer -Name mine -Port 5440 -Confirm:$false").SingleError("PitrPS.PortInUse");
        var theirs = hosts.Run("$standbyHost | Install-PgServer -Name theirs -Confirm:$false").Single();

        Assert.Equal(5440, theirs.Properties["Port"].Value);
        Assert.Equal(started, lab.Psql(Lab.Standby, "SELECT pg_postmaster_start_time()", port: 5440));
        Assert.Equal("localhost", lab.Psql(Lab.Standby, "SHOW listen_addresses", port: 5440));
        Assert.Equal("1", lab.Psql(Lab.Standby, "SELECT count(*) FROM pg_authid WHERE rolname = 'pitrps'", port: 5440));

        lab.Shell(Lab.Standby, $"systemctl stop postgresql@{major}-theirs");
        var mine = hosts.Run("$standbyHost | Install-PgServer -Name mine -Port 5450 -Confirm:$false").Single();
        Assert.Equal($"{major}/mine", mine.Properties["Name"].Value);
        Assert.Equal("*", lab.Psql(Lab.Standby, "SHOW listen_addresses", port: 5450));
        Assert.Equal("inactive", lab.Shell(Lab.Standby, $"systemctl is-active postgresql@{major}-theirs || true").Trim());
    }

    [LabFact]
    public void A_role_of_the_same_name_that_is_not_ours_is_left_alone()
    {
        var lab = hosts.Lab;
        lab.Psql(Lab.Primary, "COMMENT ON ROLE pitrps IS 'the intern''s'");
        lab.Shell(Lab.Primary, "mv /var/lib/pitrps/servers /var/lib/pitrps/servers.away");
        try
        {
            hosts.Run("$primaryHost | Install-PgServer -Confirm:$false").SingleError("PitrPS.RoleExists");
        }
        finally
        {
            lab.Shell(Lab.Primary, "rm -rf /var/lib/pitrps/servers; mv /var/lib/pitrps/servers.away /var/lib/pitrps/servers; rm -f /var/lib/pitrps/operations/*");
        }
    }
}
