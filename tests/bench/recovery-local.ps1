<#
.SYNOPSIS
WAL that lies in the standby's pg_wal, in MB/s from Invoke-PitrRecovery to a server that can be read at the target, against the plain server's own replay
of the same WAL: recovery-local with the data on XFS with reflinks, recovery-local-ext4 on ext4.
.DESCRIPTION
Two throw-away hosts with an archive and a delayed standby, which has received the WAL and not applied it. PitrPS recovers it to just before a DROP TABLE;
the time counts from the command to the recovery that it gives back. Then the plain server replays the same WAL in place, out of pg_wal, from the same data
directory up to the same target, without a restartpoint in between; from "redo starts" to the target in its own log. The median of some runs counts. All files
were read before, so that no way waits for a disk that another has warmed. Progress goes to the error output.
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

$bench = 'recovery-local'
. "$PSScriptRoot/shared/Lab.ps1"
. "$PSScriptRoot/shared/Standby.ps1"
Import-Module "$Module/PitrPS.psd1"

function Measure-FileSystem([string] $Name) {
    Show-Progress "two hosts on $Name, WAL of $Tables tables of $Rows rows"
    Use-BenchLab create primary standby --fs $Name
    $primaryHost, $standbyHost = Read-LabJson "$env:PITRPS_LAB/lab.json"
    $standby = New-WaitingStandby $primaryHost $standbyHost { foreach ($number in 1..$Tables) { $null = Invoke-Sql $primaryHost (Get-TableSql "replay$number" $Rows) } }
    $incident = $standby | Find-PgIncident -Table lost
    $speeds = @{ Ours = @(); Theirs = @() }
    foreach ($run in 1..$Runs) {
        Read-Files $standbyHost
        $clock = [Diagnostics.Stopwatch]::StartNew()
        $recovery = $incident | Invoke-PitrRecovery
        $seconds = $clock.Elapsed.TotalSeconds
        if ($recovery.WalSource -ne 'pg_wal') {
            throw "Not all of the WAL came from pg_wal: $($recovery.WalSource)."
        }

        $speeds.Ours += $recovery.WalBytes / 1e6 / $seconds
        Show-Progress ([string]::Format($culture, '  PitrPS: {0:0} MB in {1:0.0} s, {2:0.0} MB/s', $recovery.WalBytes / 1e6, $seconds, $speeds.Ours[-1]))
        $null = $recovery | Complete-PitrRecovery -Force
    }

    $unit = "postgresql@$($standbyHost.postgresMajor)-main"
    $null = Invoke-OnHost $standbyHost "systemctl stop $unit && cp -a --reflink=auto /var/lib/postgresql/$($standbyHost.postgresMajor)/main /var/lib/postgresql/before"
    Copy-BenchScript $standbyHost "$PSScriptRoot/shared/replay.sh"
    foreach ($run in 1..$Runs) {
        $took, $from, $restored = ([string] (Invoke-OnHost $standbyHost "sh /root/replay.sh $($standbyHost.postgresMajor) $($incident.CommitLsn) false")).Split(' ')
        $bytes = (Get-Position "$($incident.CommitLsn)") - (Get-Position $from)
        $speeds.Theirs += $bytes / 1e6 / [double]::Parse($took, $culture)
        Show-Progress ([string]::Format($culture, '  the plain server: {0:0} MB in {1} s, {2:0.0} MB/s', $bytes / 1e6, $took, $speeds.Theirs[-1]))
    }

    $standby.Host | Disconnect-PgHost
    Use-BenchLab destroy primary standby
    @{ Ours = Get-Median $speeds.Ours; Theirs = Get-Median $speeds.Theirs; Unit = 'MB/s' }
}

try {
    $xfs = Measure-FileSystem xfs
    $ext4 = Measure-FileSystem ext4
}
finally {
    Remove-BenchLab
}

@{ Name = 'recovery-local'; Ours = $xfs.Ours; Theirs = $xfs.Theirs; Unit = 'MB/s' }
@{ Name = 'recovery-local-ext4'; Ours = $ext4.Ours; Theirs = $ext4.Theirs; Unit = 'MB/s' }
