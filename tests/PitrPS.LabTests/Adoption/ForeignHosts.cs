using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Adoption;

/// <summary>A primary and its standby, set up by hand from the distribution's packages; PitrPS has never been there.</summary>
public class ForeignHosts : PreparedHosts
{
    public ForeignHosts() : base(Snapshots.Foreign)
    {
    }

    private protected ForeignHosts(HostSystem system) : base(Snapshots.Foreign, system)
    {
    }

    private string DataPlace => System.IsRhel ? "/var/lib/pgsql" : "/var/lib/postgresql";

    /// <summary>
    /// All that a host's configuration consists of: every file below /etc by its bytes, mode and owner, directories and links, the server's own files beside its data,
    /// everybody's keys, mounts, units and accounts. Only what PitrPS remembers for itself is left out.
    /// </summary>
    public string Fingerprint(string host) => Lab.Shell(host,
        $$"""
        cd /
        find /etc /usr/local /root /home /run/systemd/system -xdev \( -path /usr/local/lib/pitrps -o -path /root/.cache \) -prune -o \( -type f -o -type l -o -type d \) -printf '%y %p %m %u:%g %l\n' | sort
        find /etc /usr/local /root /home /run/systemd/system -xdev -path /usr/local/lib/pitrps -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
        find {{DataPlace}} -name .ssh -o -maxdepth 4 \( -name '*.conf' -o -name '*.signal' -o -name '*pitrps*' -o -name conf.d \) | sort | while read -r f; do ls -ld --time-style=+ "$f" | awk '{ print $1, $3, $4, $NF }'; [ -d "$f" ] || sha256sum "$f"; done
        find /run/systemd/transient /run/systemd/generator* -name '*pitrps*'
        grep -v " /run/user/" /proc/mounts | sort
        systemctl list-unit-files --no-legend --no-pager | grep -v "^session-\|^run-user-"
        systemctl list-units --all --plain --no-legend 'pitrps*'
        getent passwd; getent group
        """);

    /// <summary>Makes the pair; the hosts have nothing but their distribution.</summary>
    internal static void Prepare(Lab lab, HostSystem system)
    {
        if (system.IsRhel)
        {
            PrepareRhel(lab, system.Major);
            return;
        }

        var major = system.Major;
        const string install = "export DEBIAN_FRONTEND=noninteractive; set -e; apt-get -qq update; apt-get -qq -y install postgresql > /dev/null 2>&1\n";
        lab.Shell(Lab.Primary, install +
            $$"""
            printf '%s\n' '' "listen_addresses = '*'" 'wal_keep_size = 256MB' >> /etc/postgresql/{{major}}/main/postgresql.conf
            echo 'host replication repl 0.0.0.0/0 trust' >> /etc/postgresql/{{major}}/main/pg_hba.conf
            systemctl restart postgresql@{{major}}-main
            runuser -u postgres -- psql -Xqc 'CREATE ROLE repl LOGIN REPLICATION' -c "SELECT pg_create_physical_replication_slot('theirs')" > /dev/null
            """);
        lab.Shell(Lab.Standby, install +
            $$"""
            systemctl stop postgresql@{{major}}-main
            cd /var/lib/postgresql/{{major}}; rm -rf main
            runuser -u postgres -- /usr/lib/postgresql/{{major}}/bin/pg_basebackup -h {{lab.Host(Lab.Primary).Address}} -U repl -D main -S theirs -X stream -c fast -R
            systemctl start postgresql@{{major}}-main
            """);
    }

    // As PGDG's documentation has it, on release 10; all of the configuration lies among the data.
    private static void PrepareRhel(Lab lab, int major)
    {
        var install =
            $"""
            set -e; site=https://download.postgresql.org/pub/repos/yum; cd /
            curl -fsS $site/keys/PGDG-RPM-GPG-KEY-RHEL > /root/key; rpm --import /root/key; rm /root/key
            yum -y -q install $site/reporpms/EL-10-$(uname -m)/pgdg-redhat-repo-latest.noarch.rpm; yum -y -q install postgresql{major}-server postgresql{major}
            D=/var/lib/pgsql/{major}/data; systemctl enable postgresql-{major}

            """;
        lab.Shell(Lab.Primary, install +
            $$"""
            /usr/pgsql-{{major}}/bin/postgresql-{{major}}-setup initdb > /dev/null
            printf '%s\n' '' "listen_addresses = '*'" 'wal_keep_size = 256MB' >> $D/postgresql.conf
            echo 'host replication repl 0.0.0.0/0 trust' >> $D/pg_hba.conf
            systemctl start postgresql-{{major}}
            runuser -u postgres -- psql -Xqc 'CREATE ROLE repl LOGIN REPLICATION' -c "SELECT pg_create_physical_replication_slot('theirs')" > /dev/null
            """);
        lab.Shell(Lab.Standby, install +
            $$"""
            rm -rf $D; runuser -u postgres -- /usr/pgsql-{{major}}/bin/pg_basebackup -h {{lab.Host(Lab.Primary).Address}} -U repl -D $D -S theirs -X stream -c fast -R
            systemctl start postgresql-{{major}}
            """);
    }
}

/// <summary>As <see cref="ForeignHosts"/>, with PostgreSQL 13.</summary>
public sealed class ForeignHosts13() : ForeignHosts(HostSystem.Debian11);

/// <summary>As <see cref="ForeignHosts"/>, with PostgreSQL 17 of PGDG's packages, on hosts of RHEL shape.</summary>
public sealed class ForeignHostsOfRhel() : ForeignHosts(HostSystem.Alma10);
