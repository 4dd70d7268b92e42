<#
.SYNOPSIS
Seconds of a recovery with a large database against the same with a small one: the same WAL to replay, and a table in each that is dropped.
.DESCRIPTION
A throw-away pair of hosts for each, on ext4, where a file that the recovery writes to is copied whole: the layer must take what is touched and not what is there.
What makes the large one large was written before the base backup and is not touched again. The median of some runs counts. Progress goes to the error output.
.PARAMETER Module
The folder of the built module.
.PARAMETER Large
Megabytes of the large database.
.PARAMETER Small
Megabytes of the small one.
.PARAMETER Rows
Rows that are written while the standby waits, of about 150 bytes of WAL each.
.PARAMETER Runs
How often each is measured.
#>
param(
    [string] $Module,
    [ValidateRange(1, 100000)]
    [int] $Large = 4096,
    [ValidateRange(1, 100000)]
    [int] $Small = 512,
    [ValidateRange(1, 10000000)]
    [long] $Rows = 1800000,
    [ValidateRange(1, 20)]
    [int] $Runs = 3
)

$bench = 'recovery-size'
. "$PSScriptRoot/shared/Lab.ps1"
. "$PSScriptRoot/shared/Standby.ps1"
Import-Module "$Module/PitrPS.psd1"

function Measure-Size([int] $Megabytes) {
    Show-Progress "two hosts, a database of $Megabytes MB"
    Use-BenchLab create primary standby
    $primaryHost, $standbyHost = Read-LabJson "$env:PITRPS_LAB/lab.json"
    # Four rows of it fill a page of 8 KiB.
    $standby = New-WaitingStandby $primaryHost $standbyHost { $null = Invoke-Sql $primaryHost (Get-TableSql later $Rows) } -Before {
        Invoke-Sql $primaryHost "CREATE TABLE rest WITH (autovacuum_enabled = off) AS SELECT id, repeat(md5(id::text), 61) AS content FROM generate_series(1, $($Megabytes * 512)) id"
    }
    $size = [long] (Invoke-Sql $primaryHost 'SELECT pg_database_size(current_database())')
    $incident = $standby | Find-PgIncident -Table lost
    $seconds = @()
    foreach ($run in 1..$Runs) {
        Read-Files $standbyHost
        $clock = [Diagnostics.Stopwatch]::StartNew()
        $recovery = $incident | Invoke-PitrRecovery
        $seconds += $clock.Elapsed.TotalSeconds
        Show-Progress ([string]::Format($culture, '  {0:0} MB: {1:0.0} s for {2:0} MB of WAL, layer of {3:0} MB', $size / 1e6, $seconds[-1], $recovery.WalBytes / 1e6, $recovery.LayerBytes / 1e6))
        $null = $recovery | Complete-PitrRecovery -Force
    }

    $standby.Host | Disconnect-PgHost
    Use-BenchLab destroy primary standby
    Get-Median $seconds
}

try {
    $theirs = Measure-Size $Small
    $ours = Measure-Size $Large
}
finally {
    Remove-BenchLab
}

@{ Ours = $ours; Theirs = $theirs; Unit = 's' }
