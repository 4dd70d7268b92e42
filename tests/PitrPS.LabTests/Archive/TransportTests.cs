using System.Text.RegularExpressions;
using PitrPS.LabTests.Infrastructure;

namespace PitrPS.LabTests.Archive;

/// <summary>Mount-WalArchive -Transport: an archive that others have put there, and the unit that would mount one over NFS (no host of the lab can: its kernel has none).</summary>
public sealed class TransportTests(InstalledHosts hosts) : IClassFixture<InstalledHosts>
{
    private const string Archive = "/var/mnt/archive_wal_dir";
    private const string There = "/srv/wal of others";

    private Lab Lab => hosts.Lab;

    [LabFact]
    public void An_archive_that_others_have_put_there_is_proven_used_and_left_alone()
    {
        hosts.Run($"$primary = $primary | Enable-WalArchive -Path {Archive} -HeartbeatInterval 0 -Confirm:$false").ThrowOnError();
        const string mount = $"$standby | Mount-WalArchive -Primary $primary -MountPoint '{There}' -Transport Local -Confirm:$false";
        hosts.Run(mount).SingleError("PitrPS.ArchiveNotThere");
        Bring("0755");
        hosts.Run(mount).SingleError("PitrPS.ArchiveReadableByAll");
        Assert.Equal("untouched", OnStandby("[ -e /usr/local/lib/pitrps ] || echo untouched"));

        OnStandby($"chmod 0700 '{There}'");
        Assert.Equal("Local", $"{hosts.Get($"$standby = {mount}; $standby")[0].Properties["ArchiveTransport"].Value}");
        var again = hosts.Run(mount).ThrowOnError();
        Assert.Contains("nothing to do", string.Join('\n', again.Information) + again.HostText);
        hosts.Run(mount.Replace("Local", "Sshfs", StringComparison.Ordinal)).SingleError("PitrPS.ArchiveMountedElsewhere");
        Assert.Equal("nobody", OnPrimary("getent passwd pitrps-reader-15-main || ls /etc/ssh/pitrps-readers 2>/dev/null || echo nobody"));
        Assert.Equal("nothing", OnStandby("ls /etc/systemd/system | grep pitrps || echo nothing"));
        Assert.NotEqual("", OnPrimary("ls /var/lib/pitrps-retain/15-main/standbys"));

        // A standby by it, in a session that knows nothing; what it is told to read there it gets.
        using var tomorrow = hosts.NewSession();
        tomorrow.Run("$standby = $standby | New-PgStandby -Primary $primary -Confirm:$false").ThrowOnError();
        Bring("0700");
        var segment = OnPrimary($"ls {Archive} | grep -x '[0-9A-F]*' | head -n 1"); // older than what a base backup brings to pg_wal
        Assert.Equal("0", OnStandby($"cd {hosts.Data} && runuser -u postgres -- sh -c \"$(runuser -u postgres -- psql -XAt -c 'SHOW restore_command' | sed 's|%f|{segment}|; s|%p|/tmp/restored|')\"; echo $?"));
        Assert.Equal(OnPrimary($"sha256sum < {Archive}/{segment}"), OnStandby("sha256sum < /tmp/restored"));
        Assert.Equal($"{There} True", tomorrow.Get("$standby | Test-WalArchive | ForEach-Object { \"$($_.Path) $($_.IsHealthy)\" }")[0].ToString());
        Assert.Equal("True", tomorrow.Get("($standby | Get-ReplicationStatus).ArchiveMounted")[0].ToString());

        // Dismounted it is forgotten, and everything is there.
        tomorrow.Run("$standby | Dismount-WalArchive -Primary $primary -Confirm:$false").SingleError("PitrPS.MountInUse");
        Assert.Equal("", $"{tomorrow.Get("($standby | Dismount-WalArchive -Primary $primary -Force -Confirm:$false).ArchiveMountPoint").FirstOrDefault()}");
        Assert.Equal("there", OnStandby($"[ -e '{There}/{segment}' ] && echo there"));
        Assert.Equal("", OnPrimary("ls /var/lib/pitrps-retain/15-main/standbys 2>/dev/null; true"));

        // NFS: what would be done, and a unit that systemd understands.
        var plan = hosts.Run($"$standbyHost | Get-PgServer | Mount-WalArchive -Primary $primary -MountPoint /mnt/wal -Transport Nfs -ExportPath nas.example.com:/export/wal -WhatIf").ThrowOnError().HostText;
        Assert.Contains("nfs-common", plan);
        var unit = Regex.Match(plan, @"write /etc/systemd/system/mnt-wal\.mount:\s*\n((?:\s*\| .*\n|\s*\|\s*\n)+)").Groups[1].Value;
        Assert.Contains("Type=nfs", unit);
        var text = string.Join('\n', unit.Split('\n').Select(l => Regex.Replace(l.TrimEnd(), @"^\s*\| ?", "")));
        Lab.Exec(Lab.Standby, "sh", "-c", "printf '%s\\n' \"$1\" > /run/systemd/system/mnt-wal.mount", "sh", text);
        Assert.Equal("", OnStandby("systemd-analyze verify /run/systemd/system/mnt-wal.mount 2>&1 | grep -F mnt-wal; rm /run/systemd/system/mnt-wal.mount"));
    }

    // As somebody's own job might: a copy of the archive, for the database's user or for everybody.
    private void Bring(string mode)
    {
        var tar = OnPrimary($"tar -C {Archive} -cz . | base64 -w 0");
        foreach (var (part, i) in tar.Chunk(100_000).Select((c, i) => (new string(c), i)))
        {
            Lab.Exec(Lab.Standby, "sh", "-c", "printf %s \"$1\" " + (i == 0 ? ">" : ">>") + " /root/wal", "sh", part);
        }

        OnStandby($"mkdir -p '{There}' && base64 -d /root/wal | tar -C '{There}' -xz && chown -R postgres: '{There}' && chmod -R a+rX '{There}' && chmod {mode} '{There}'");
    }

    private string OnPrimary(string script) => Lab.Shell(Lab.Primary, script).Trim();

    private string OnStandby(string script) => Lab.Shell(Lab.Standby, script).Trim();
}
