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

    /// <summary>
    /// All that a host's configuration consists of: every file below /etc by its bytes, mode and owner, directories and links, the server's own files beside its data,
    /// everybody's keys, mounts, units and accounts. Only what PitrPS remembers for itself is left out.
    /// </summary>
    public string Fingerprint(string host) => Lab.Shell(host,
        $$"""
        cd /
        find /etc /usr/local /root /home /run/systemd/system -xdev \( -path /usr/local/lib/pitrps -o -path /root/.cache \) -prune -o \( -type f -o -type l -o -type d \) -printf '%y %p %m %u:%g %l\n' | sort
        find /etc /usr/local /root /home /run/systemd/system -xdev -path /usr/local/lib/pitrps -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
        find /var/lib/postgresql -name .ssh -o -maxdepth 4 \( -name '*.conf' -o -name '*.signal' -o -name '*pitrps*' -o -name conf.d \) | sort | while read -r f; do ls -ld --time-style=+ "$f" | awk '{ print $1, $3, $4, $NF }'; [ -d "$f" ] || sha256sum "$f"; done
        find /run/systemd/transient /run/systemd/generator* -name '*pitrps*'
        grep -v " /run/user/" /proc/mounts | sort
        systemctl list-unit-files --no-legend --no-pager | grep -v "^session-\|^run-user-"
        systemctl list-units --all --plain --no-legend 'pitrps*'
        getent passwd; getent group
        """);

    /// <summary>Makes the pair; the hosts have nothing but their distribution.</summary>
    internal static void Prepare(Lab lab, int major)
    {
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
}

/// <summary>As <see cref="ForeignHosts"/>, with PostgreSQL 13.</summary>
public sealed class ForeignHosts13() : ForeignHosts(HostSystem.Debian11);
