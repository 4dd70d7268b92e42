using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Servers;

/// <summary>Install-PgServer on hosts of RHEL shape: PGDG's repository package by a key that is known, its setup script, its service.</summary>
public sealed class RhelInstallTests(RhelBareHosts hosts) : IClassFixture<RhelBareHosts>
{
    private string Key => hosts.Lab.FetchPgdgKey(Lab.Primary);

    [LabFact]
    public void Installs_by_PGDGs_packages_once_and_has_nothing_to_do_the_second_time()
    {
        var lab = hosts.Lab;
        var preview = hosts.Run("$primaryHost | Install-PgServer -Version 13 -WhatIf");
        Assert.True((bool)preview.Single().Properties["IsPlanned"].Value);
        Assert.Contains("pgdg-redhat-repo-latest.noarch.rpm", preview.HostText, StringComparison.Ordinal);
        Assert.Contains("/usr/pgsql-13/bin/postgresql-13-setup initdb postgresql-13", preview.HostText, StringComparison.Ordinal);
        Assert.Contains("| ssl = 'on'", preview.HostText, StringComparison.Ordinal);
        Assert.Equal("", lab.Shell(Lab.Primary, "ls -A /var/lib/pgsql; ls -d /var/lib/pitrps /etc/yum.repos.d/pgdg* 2>/dev/null || true"));

        lab.Shell(Lab.Primary, "systemctl start firewalld && firewall-cmd --quiet --state");
        var server = hosts.Run("$primaryHost | Install-PgServer -Version 13 -RepositoryKey $key -Confirm:$false", ("key", Key)).Single();

        Assert.Equal("13/main", server.Properties["Name"].Value);
        Assert.Equal("Primary", server.Properties["Role"].Value.ToString());
        Assert.Equal("postgresql-13.service", server.Properties["ServiceUnit"].Value);
        Assert.Equal("/var/lib/pgsql/13/data", server.Properties["DataDirectory"].Value);
        Assert.Equal("/var/lib/pgsql/13/data", server.Properties["ConfigDirectory"].Value);
        Assert.Equal("/usr/pgsql-13/bin", server.Properties["BinDirectory"].Value);
        Assert.Equal("on|*|on|UTF8|en_US.UTF-8", lab.Psql(Lab.Primary,
            "SELECT current_setting('data_checksums'), current_setting('listen_addresses'), current_setting('ssl'), pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'template0'"));
        Assert.Equal("t", lab.Psql(Lab.Primary, "SELECT rolsuper FROM pg_authid WHERE rolname = 'pitrps'"));
        Assert.Equal("enabled active", string.Join(' ', lab.Shell(Lab.Primary, "systemctl is-enabled postgresql-13; systemctl is-active postgresql-13").Split('\n', StringSplitOptions.RemoveEmptyEntries)));
        Assert.Equal("pgdg-redhat-repo postgresql13-contrib postgresql13-server", lab.Shell(Lab.Primary, "rpm -q --qf '%{NAME} ' pgdg-redhat-repo postgresql13-contrib postgresql13-server").Trim());
        Assert.Equal("640 root postgres", lab.Shell(Lab.Primary, "stat -c '%a %U %G' /etc/pitrps/13-main/tls/server.key").Trim());

        var started = lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()");
        var again = hosts.Run("$primaryHost | Install-PgServer -Confirm:$false");
        Assert.Equal(server.Properties["SystemIdentifier"].Value, again.Single().Properties["SystemIdentifier"].Value);
        Assert.Contains("nothing to do", string.Join('\n', again.Information), StringComparison.Ordinal);
        Assert.Equal(started, lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()"));

        // A second cluster has a unit of its own, made of the packaged one.
        var second = hosts.Run("$primaryHost | Install-PgServer -Version 13 -Name report -Port 5433 -Confirm:$false").Single();
        Assert.Equal("postgresql-13-report.service", second.Properties["ServiceUnit"].Value);
        Assert.Equal("/var/lib/pgsql/13/report|5433", lab.Psql(Lab.Primary, "SELECT current_setting('data_directory'), current_setting('port')", port: 5433));
        Assert.Equal(started, lab.Psql(Lab.Primary, "SELECT pg_postmaster_start_time()"));

        // The firewall lets both through, also after its next start, and nothing else that was not let through before.
        Assert.Equal("5432/tcp 5433/tcp", Shell(Lab.Primary, "firewall-cmd --list-ports"));
        Assert.Equal("5432/tcp 5433/tcp", Shell(Lab.Primary, "firewall-cmd --permanent --list-ports"));
        lab.Shell(Lab.Primary, "systemd-run --quiet --unit=other systemd-socket-activate -l 5434 cat; until grep -q ':153A .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done");
        Assert.Equal("open open shut", Shell(Lab.Standby, $"for port in 5432 5433 5434; do timeout 5 bash -c \"exec 3<>/dev/tcp/{hosts.Primary.Address}/$port\" 2>/dev/null && echo open || echo shut; done | paste -sd ' '"));
        lab.Shell(Lab.Primary, "systemctl stop other firewalld");
    }

    [LabFact]
    public void Refuses_before_anything_is_installed()
    {
        var lab = hosts.Lab;
        Assert.Contains("stands", hosts.Run("$standbyHost | Install-PgServer -Version 13 -RepositoryKey /etc/hostname -Confirm:$false").SingleError("PitrPS.RepositoryKeyUnreadable").ToString() + "stands", StringComparison.Ordinal);
        hosts.Run("$standbyHost | Install-PgServer -Version 13 -RepositoryUri 'ftp://x' -Confirm:$false").SingleError("PitrPS.InvalidRepository");
        hosts.Run("$standbyHost | Install-PgServer -Version 13 -RepositoryUri http://x/ -Confirm:$false").SingleError("PitrPS.RepositoryKeyMissing");

        // The lab's key is not PGDG's.
        hosts.Run("$standbyHost | Install-PgServer -Version 13 -Confirm:$false").SingleError("PitrPS.RepositoryKeyMismatch");
        Assert.Equal("0", lab.Shell(Lab.Standby, "rpm -qa 'gpg-pubkey*' | wc -l").Trim());
        hosts.Run("$standbyHost | Install-PgServer -Version 13 -NoRepository -Confirm:$false").SingleError("PitrPS.PackageMissing");
        hosts.Run("$standbyHost | Install-PgServer -Version 99 -Confirm:$false").SingleError("PitrPS.PackageMissing");

        Shell("sed -i s/download.postgresql.org// /etc/hosts");
        try
        {
            hosts.Run("$standbyHost | Install-PgServer -Version 13 -Confirm:$false").SingleError("PitrPS.RepositoryUnreachable");
        }
        finally
        {
            Shell("sed -i 's/dl.fedoraproject.org/download.postgresql.org &/' /etc/hosts");
        }

        Assert.Equal("none", Shell("ls -d /etc/yum.repos.d/pgdg* /etc/yum.repos.d/pitrps* /usr/pgsql-* 2>/dev/null || echo none"));
    }

    private string Shell(string script) => Shell(Lab.Standby, script);

    private string Shell(string host, string script) => hosts.Lab.Shell(host, script).Trim();
}

/// <summary>Install-PgServer from repositories that a site has itself.</summary>
[Trait("Category", "Long")]
public sealed class RhelRepositoryTests(RhelBareHosts hosts) : IClassFixture<RhelBareHosts>
{
    // Where the lab serves the host's own packages, a mirror and unsigned packages lie, too.
    private string Site => hosts.Lab.Shell(Lab.Primary, "sed -n 's|^baseurl=\\(http://.*\\)/os/baseos/$|\\1|p' /etc/yum.repos.d/lab.repo").Trim();

    [LabFact]
    public void Takes_a_mirror_whose_packages_are_signed_with_the_given_key_and_no_others()
    {
        var lab = hosts.Lab;
        var key = lab.FetchPgdgKey(Lab.Primary);
        hosts.Run("$primaryHost | Install-PgServer -Version 13 -RepositoryUri \"$site/nowhere\" -RepositoryKey $key -Confirm:$false", ("site", Site), ("key", key)).SingleError("PitrPS.RepositoryUnreachable");
        Assert.Equal("none", lab.Shell(Lab.Primary, "ls /etc/yum.repos.d/pitrps* /etc/pki/rpm-gpg/*pitrps 2>/dev/null || echo none").Trim());

        // Unsigned packages behind a key: the package manager refuses them.
        hosts.Run("$primaryHost | Install-PgServer -Version 13 -RepositoryUri \"$site/unsigned\" -RepositoryKey $key -Confirm:$false", ("site", Site), ("key", key)).SingleError("PitrPS.RemoteCommandFailed");
        Assert.Equal("none", lab.Shell(Lab.Primary, "ls -d /usr/pgsql-13 2>/dev/null || echo none").Trim());

        var server = hosts.Run("$primaryHost | Install-PgServer -Version 13 -RepositoryUri \"$site/pub/repos/yum/13/redhat/rhel-7-x86_64\" -RepositoryKey $key -Confirm:$false", ("site", Site), ("key", key)).Single();

        Assert.True((bool)server.Properties["IsRunning"].Value);
        Assert.Equal("gpgcheck=1", lab.Shell(Lab.Primary, "grep gpgcheck /etc/yum.repos.d/pitrps.repo").Trim());
        Assert.Equal("none", lab.Shell(Lab.Primary, "ls /etc/yum.repos.d/pgdg* 2>/dev/null || echo none").Trim());
    }

    [LabFact]
    public void Takes_an_offline_folder_of_unsigned_packages_only_when_told_so()
    {
        var lab = hosts.Lab;
        lab.Shell(Lab.Standby, $"mkdir -p /srv/packages/repodata && cd /srv/packages && site={Site}/unsigned && curl -fsS $site/repodata/repomd.xml -o repodata/repomd.xml && " +
            "for file in $(grep -o 'repodata/[^\"]*' repodata/repomd.xml) $(curl -fsS $site/ | grep -o 'href=\"[^\"]*rpm' | cut -c 7-); do curl -fsS $site/$file -o $file; done");
        hosts.Run("$standbyHost | Install-PgServer -Version 13 -RepositoryUri /srv/packages -Confirm:$false").SingleError("PitrPS.RepositoryKeyMissing");

        var server = hosts.Run("$standbyHost | Install-PgServer -Version 13 -RepositoryUri /srv/packages -AllowUnsigned -Confirm:$false").Single();

        Assert.True((bool)server.Properties["IsRunning"].Value);
        Assert.Equal("baseurl=file:///srv/packages gpgcheck=0", string.Join(' ', lab.Shell(Lab.Standby, "grep -E 'baseurl|gpgcheck' /etc/yum.repos.d/pitrps.repo").Split('\n', StringSplitOptions.RemoveEmptyEntries)));
    }
}

/// <summary>What release 8 has of its own: a module that hides PGDG's packages, and a repository that is off at first.</summary>
public sealed class RhelModuleTests(Rhel8StandbyHosts hosts) : IClassFixture<Rhel8StandbyHosts>
{
    [LabFact]
    public void The_module_is_disabled_and_the_repository_of_fuse_sshfs_is_on_where_it_was_needed()
    {
        var lab = hosts.Lab;
        Assert.Contains("state=disabled", lab.Shell(Lab.Primary, "cat /etc/dnf/modules.d/postgresql.module"), StringComparison.Ordinal);
        Assert.Contains("powertools", lab.Shell(Lab.Standby, "yum -q repolist --enabled"), StringComparison.Ordinal);
        Assert.DoesNotContain("powertools", lab.Shell(Lab.Primary, "yum -q repolist --enabled"), StringComparison.Ordinal);
        Assert.Contains("# BEGIN PitrPS pitrps-reader-15-main", lab.Shell(Lab.Primary, "cat /etc/ssh/sshd_config"), StringComparison.Ordinal);

        // With the module as the distribution has it, PGDG's packages are not on offer.
        Assert.Equal("hidden", lab.Shell(Lab.Primary, "yum -y -q module reset postgresql && yum -y -q list available postgresql15-devel-none postgresql15-server --showduplicates 2>/dev/null | grep -q '^postgresql15-server' || echo hidden").Trim());
    }
}

/// <summary>A pair of RHEL shape, where the configuration lies among the data, which a base backup brings along.</summary>
public sealed class RhelStandbyTests(RhelStandbyHosts hosts) : IClassFixture<RhelStandbyHosts>
{
    [LabFact]
    public void The_standby_has_its_own_configuration_and_its_own_key_and_there_is_nothing_left_to_do()
    {
        var lab = hosts.Lab;
        // Its hosts have just been started, and a standby takes connections when it is consistent.
        Assert.Equal("ready", lab.Shell(Lab.Standby, "for i in $(seq 300); do ! /usr/pgsql-13/bin/pg_isready -q || { echo ready; exit; }; sleep 0.2; done").Trim());
        Assert.Equal("off||on", lab.Psql(Lab.Standby, "SELECT current_setting('archive_mode'), nullif(current_setting('archive_command'), '(disabled)'), current_setting('ssl')"));
        Assert.Equal("on", lab.Psql(Lab.Primary, "SHOW archive_mode"));
        Assert.Equal("", lab.Shell(Lab.Standby, "grep -l archive_command /var/lib/pgsql/13/data/conf.d/*; grep pitrps_standby /var/lib/pgsql/13/data/pg_hba.conf; ls /var/lib/pgsql/13/data/*.key 2>/dev/null || true").Trim());
        Assert.NotEqual(lab.Shell(Lab.Primary, "cat /etc/pitrps/13-main/tls/server.crt"), lab.Shell(Lab.Standby, "cat /etc/pitrps/13-main/tls/server.crt"));
        Assert.Equal("passfile primary.crt tls", lab.Shell(Lab.Standby, "ls -x /etc/pitrps/13-main | tr -s ' '").Trim());

        // Once, because the mount may just be coming back after the hosts' start.
        hosts.Run("$null = $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false").ThrowOnError();
        var again = hosts.Run("""
            $null = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir -Confirm:$false
            $standby | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir -Confirm:$false | New-PgStandby -Primary $primary -Confirm:$false
            """);
        Assert.True((bool)again.Single().Properties["IsStandby"].Value);
        Assert.Equal(3, again.Information.Count(i => $"{i}".Contains("nothing to do", StringComparison.Ordinal)));
    }
}
