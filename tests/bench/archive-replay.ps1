<#
.SYNOPSIS
Replay of WAL that is only in the primary's archive, in MB/s, in three comparisons: archive-replay, PitrPS through its SSHFS mount against plain cp
from the standby's own disk; archive-replay-cp, against plain cp from a mount by hand; archive-replay-rtt, PitrPS with 10 ms of round trip
between the hosts against plain cp from the standby's own disk.
.DESCRIPTION
Two throw-away hosts with an archive and a standby by PitrPS. The standby is stopped, the primary writes the WAL, archives it and is stopped, too.
Then the standby replays it from the same data directory with the same settings but for restore_command, one way after the other, some times over;
the median counts. The time is from "redo starts" to the target in the server's own log. Everything has been read before, so no way waits for a disk
that another has warmed. The mount by hand has the options of the well-known recipe; the distance is a proxy on this machine.
Progress goes to the error output.
.PARAMETER Module
The folder of the built module.
.PARAMETER Tables
Tables that are written, of about 280 MB of WAL each.
.PARAMETER Rows
Rows of each table.
.PARAMETER Runs
How often each way is measured.
#>
param(
    [string] $Module,
    [ValidateRange(1, 100)]
    [int] $Tables = 8,
    [ValidateRange(1, 10000000)]
    [long] $Rows = 1800000,
    [ValidateRange(1, 20)]
    [int] $Runs = 3
)

$bench = 'archive-replay'
. "$PSScriptRoot/shared/Lab.ps1"
Import-Module "$Module/PitrPS.psd1"

# Below the database's folder: that is a real file system in the lab's hosts, the rest is an overlay.
$archive = '/var/lib/postgresql/archive'
$mountPoint = '/mnt/archive_wal_dir'

# Gives the position up to which it is replayed.
function New-Wal([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost) {
    $unit = "postgresql@$($PrimaryHost.postgresMajor)-main"
    $null = Invoke-OnHost $StandbyHost "systemctl stop $unit && cp -a /var/lib/postgresql/$($StandbyHost.postgresMajor)/main /var/lib/postgresql/before"
    $null = Invoke-Sql $PrimaryHost "ALTER SYSTEM SET max_wal_size = '16GB'; ALTER SYSTEM SET checkpoint_timeout = '1h'; SELECT pg_reload_conf()"
    foreach ($number in 1..$Tables) { $null = Invoke-Sql $PrimaryHost (Get-TableSql "replay$number" $Rows) }
    $target = [string] (Invoke-Sql $PrimaryHost 'SELECT pg_current_wal_lsn()')
    $last = [string] (Invoke-Sql $PrimaryHost 'SELECT pg_walfile_name(pg_switch_wal())')
    $null = Invoke-OnHost $PrimaryHost "n=0; until [ -e $archive/$last ]; do n=`$((n + 1)); [ `$n -lt 3000 ] || exit 1; sleep 0.2; done; systemctl stop $unit"
    $target
}

# The recipe's mount, with the key of ours.
function Mount-ByHand([PSCustomObject] $StandbyHost) {
    $null = Invoke-OnHost $StandbyHost @"
key=/var/lib/pitrps/mounts/$($StandbyHost.postgresMajor)-main
from=`$(grep -oE 'pitrps-reader[^ "]*:/archive' /etc/systemd/system/pitrps-archive-$($StandbyHost.postgresMajor)-main.service)
mkdir -p /mnt/by-hand
sshfs -o "ro,allow_other,reconnect,ServerAliveInterval=5,ServerAliveCountMax=3,StrictHostKeyChecking=yes,IdentityFile=`$key/id_ed25519,UserKnownHostsFile=`$key/known_hosts" "`$from" /mnt/by-hand
"@
}

# MB/s of one replay.
function Measure-Replay([string] $Way, [PSCustomObject] $StandbyHost, [string] $Target, [string] $RestoreCommand) {
    $said = [string] (Invoke-OnHost $StandbyHost "sh /root/replay.sh $($StandbyHost.postgresMajor) $Target '$RestoreCommand'")
    $seconds, $from, $segments = $said.Split(' ')
    $bytes = (Get-Position $Target) - (Get-Position $from)
    if ([int]$segments -lt $bytes / 16MB - 1) {
        throw "$Way`: only $segments segments came from the archive."
    }

    $speed = $bytes / 1e6 / [double]::Parse($seconds, $culture)
    Show-Progress ([string]::Format($culture, '  {0}: {1:0} MB in {2} s, {3:0.0} MB/s', $Way, $bytes / 1e6, $seconds, $speed))
    $speed
}

function Start-Distance([string] $Address, [PSCustomObject] $PrimaryHost) {
    $start = [Diagnostics.ProcessStartInfo]::new('python3', [string[]]@("$PSScriptRoot/archive-replay/delay.py", $Address, $PrimaryHost.address, "$($PrimaryHost.port)", '5'))
    $start.RedirectStandardOutput = $true
    $process = [Diagnostics.Process]::Start($start)
    @{ Process = $process; Port = [int]$process.StandardOutput.ReadLine() }
}

$distance = $null
try {
    Show-Progress "two hosts, WAL of $Tables tables of $Rows rows"
    Use-BenchLab create primary standby
    $primaryHost, $standbyHost = Read-LabJson "$env:PITRPS_LAB/lab.json"
    $primary = Connect-BenchHost $primaryHost | Install-PgServer | Enable-WalArchive -Path $archive
    $standby = Connect-BenchHost $standbyHost | Install-PgServer | Mount-WalArchive -Primary $primary -MountPoint $mountPoint | New-PgStandby -Primary $primary
    $target = New-Wal $primaryHost $standbyHost
    Mount-ByHand $standbyHost
    Copy-BenchScript $standbyHost "$PSScriptRoot/shared/replay.sh"
    $null = Invoke-OnHost $standbyHost "install -d -o postgres /var/lib/postgresql/local && cp $mountPoint/0* /var/lib/postgresql/local && chown -R postgres /var/lib/postgresql/local"

    $ours = "/usr/local/lib/pitrps/pitrps-restore $mountPoint ""%f"" ""%p"""
    $speeds = @{ Ours = @(); Local = @(); ByHand = @(); Far = @() }
    foreach ($run in 1..$Runs) {
        $speeds.Local += Measure-Replay 'cp from the local disk' $standbyHost $target 'cp "/var/lib/postgresql/local/%f" "%p"'
        $speeds.Ours += Measure-Replay 'PitrPS through SSHFS' $standbyHost $target $ours
        $speeds.ByHand += Measure-Replay 'cp through SSHFS' $standbyHost $target 'cp "/mnt/by-hand/%f" "%p"'
    }

    # The primary is asked for while it is mounted; meanwhile nothing is measured.
    $gateway = $primaryHost.address.Substring(0, $primaryHost.address.LastIndexOf('.')) + '.1'
    $distance = Start-Distance $gateway $primaryHost
    $null = Invoke-OnHost $primaryHost "systemctl start postgresql@$($primaryHost.postgresMajor)-main"
    $null = $standby | Mount-WalArchive -Primary $primary -MountPoint $mountPoint -PrimaryAddress $gateway -PrimarySshPort $distance.Port
    $null = Invoke-OnHost $primaryHost "systemctl stop postgresql@$($primaryHost.postgresMajor)-main"
    $took = [int] (Invoke-OnHost $standbyHost "began=`$(date +%s%3N); runuser -u postgres -- cat $mountPoint/pitrps-archive.id > /dev/null; echo `$((`$(date +%s%3N) - began))")
    if ($took -lt 20) {
        throw "The archive is not far away: to open and read a file took $took ms."
    }

    foreach ($run in 1..$Runs) {
        $speeds.Far += Measure-Replay 'PitrPS through SSHFS with 10 ms of round trip' $standbyHost $target $ours
    }

    $primary.Host, $standby.Host | Disconnect-PgHost
}
finally {
    if ($distance) {
        $distance.Process.Kill()
    }

    Remove-BenchLab
}

$local = Get-Median $speeds.Local
@{ Name = 'archive-replay'; Ours = Get-Median $speeds.Ours; Theirs = $local; Unit = 'MB/s' }
@{ Name = 'archive-replay-cp'; Ours = Get-Median $speeds.Ours; Theirs = Get-Median $speeds.ByHand; Unit = 'MB/s' }
@{ Name = 'archive-replay-rtt'; Ours = Get-Median $speeds.Far; Theirs = $local; Unit = 'MB/s' }
