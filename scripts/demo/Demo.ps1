<#
.SYNOPSIS
The whole story on two hosts: from nothing to the dropped table back on the primary, and the standby delayed as before.
.DESCRIPTION
Makes two throw-away hosts (or takes the ones of a lab.json of yours), sets up the primary and the delayed standby, loses a table, and brings it back.
The last line is JSON; every figure in it is read from the servers at the end. Uses PowerShell's core cmdlets only, so it runs in scripts/host too.
.PARAMETER Rows
Rows of each table.
.PARAMETER Idle
Nothing is written between the delay and the DROP, and there is no heartbeat: the DROP is the first transaction after a quiet time.
.PARAMETER Family
Of the throw-away hosts: debian, or rhel for hosts of its shape.
.PARAMETER Version
Of PostgreSQL on them: 13, 15 or 17.
.PARAMETER Keep
Leaves the hosts up and says how to connect.
.PARAMETER LabJson
Hosts of your own, as tests/lab/README.md describes them: the first is the primary, the second the standby.
#>
param(
    [ValidateRange(1, 1000000000)]
    [long] $Rows = 1800000,
    [switch] $Idle,
    [ValidateSet('debian', 'rhel')]
    [string] $Family = 'debian',
    [ValidateSet('13', '15', '17')]
    [string] $Version,
    [switch] $Keep,
    [string] $LabJson = $env:PITRPS_LAB_JSON
)

$ErrorActionPreference = 'Stop'
$ConfirmPreference = 'None'
$root = [IO.Path]::GetFullPath([IO.Path]::Combine($PSScriptRoot, '..', '..'))
. "$PSScriptRoot/Drawing.ps1"
. "$PSScriptRoot/Hosts.ps1"
Import-Module "$root/out/PitrPS/PitrPS.psd1"

$delay = [TimeSpan]::FromDays(3)
$archive = '/var/mnt/archive_wal_dir'
$mountPoint = '/mnt/archive_wal_dir'

# PGDG's packages come with PGDG's key; the lab, which stands in for it, has one of its own.
function Get-InstallOption([PSCustomObject] $On) {
    $options = @{ Version = $On.postgresMajor }
    if ($On.family -eq 'rhel' -and $lab.Mine) {
        $options.RepositoryKey = [IO.Path]::Combine($lab.Folder, 'pgdg.asc')
        $key = Invoke-OnHost $On '. /etc/os-release; curl -fsS "https://download.postgresql.org/pub/repos/yum/keys/PGDG-RPM-GPG-KEY-RHEL$([ "$VERSION_ID" != 7 ] || echo 7)"'
        [IO.File]::WriteAllLines($options.RepositoryKey, [string[]] $key)
    }

    $options
}

function New-Story([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost, [long] $Rows, [bool] $Idle) {
    $primaryOptions = Get-InstallOption $PrimaryHost
    $standbyOptions = Get-InstallOption $StandbyHost
    $login = @{ UserName = $PrimaryHost.user; KeyFile = $PrimaryHost.keyFile; KnownHostsFile = $PrimaryHost.knownHosts }

    Show-Chapter 'Two bare hosts become a primary that archives and a standby that streams'
    $heartbeat = if ($Idle) { [TimeSpan]::Zero } else { [TimeSpan]::FromSeconds(60) }
    $primary = Step 'Install PostgreSQL on the primary' {
        Connect-PgHost $PrimaryHost.name -Address $PrimaryHost.address -Port $PrimaryHost.port @login | Install-PgServer @primaryOptions
    }
    $primary = Step "Archive its WAL to $archive" { $primary | Enable-WalArchive -Path $archive -HeartbeatInterval $heartbeat }
    $standby = Step 'Install PostgreSQL on the standby' {
        Connect-PgHost $StandbyHost.name -Address $StandbyHost.address -Port $StandbyHost.port @login | Install-PgServer @standbyOptions
    }
    $standby = Step "Mount the archive at $mountPoint with SSHFS" { $standby | Mount-WalArchive -Primary $primary -MountPoint $mountPoint }
    $standby = Step 'Make it a standby' { $standby | New-PgStandby -Primary $primary }
    Show-Hosts $PrimaryHost.name $StandbyHost.name $PrimaryHost.family $primary.Version $archive $mountPoint

    Show-Chapter "Day 1: three tables of $(Number $Rows) rows; day 4: the standby is three days behind"
    foreach ($table in 'pitr1', 'pitr2', 'pitr3') {
        Step "Fill $table" { Invoke-Sql $PrimaryHost (Get-TableSql $table $Rows) }
    }
    Step 'The standby has them too' { Wait-Replay $PrimaryHost $standby }
    $standby = Step 'Hold COMMITs back for three days' { $standby | Set-ReplicationDelay -Delay $delay }
    if (-not $Idle) {
        Step "Fill pitr3 with another $(Number $Rows) rows" { Invoke-Sql $PrimaryHost "INSERT INTO pitr3 SELECT i, md5(i::text) FROM generate_series($($Rows + 1), $(2 * $Rows)) i" }
    }
    $before = Step 'Count the rows, and have the standby''s files listed whenever it stops and starts' {
        Watch-StandbyFiles $StandbyHost $standby
        Get-Counts $PrimaryHost 'pitr1', 'pitr2', 'pitr3'
    }

    Show-Chapter 'The incident'
    Step 'Somebody drops pitr2 on the primary' { Invoke-Sql $PrimaryHost 'DROP TABLE pitr2' }
    if (-not $Idle) {
        Step 'Work on the primary goes on' { Invoke-Sql $PrimaryHost 'CREATE TABLE later AS SELECT i FROM generate_series(1, 1000) i' }
    }
    $primary.Host, $standby.Host | Disconnect-PgHost

    Show-Chapter 'A new session, three in the morning'
    $primary, $standby = Step 'Connect to both' {
        foreach ($each in $PrimaryHost, $StandbyHost) { Connect-PgHost $each.name -Address $each.address -Port $each.port @login | Get-PgServer }
    }
    $standby = Step 'Stop the clock (Suspend-WalReplay)' { $standby | Suspend-WalReplay }

    $times = @{}
    $story = @{}
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $standby | Find-PgIncident -Table pitr2 |
        ForEach-Object { $times.find = Split-Time $clock; Show-Done "Found (Find-PgIncident): $_" $times.find; Show-Timeline $_ $standby.Status $delay; $_ } |
        Invoke-PitrRecovery |
        ForEach-Object { $times.recover = Split-Time $clock; Show-Done "Recovered to just $($_.Target) on a throw-away layer (Invoke-PitrRecovery): $([PitrPS.Readable]::Size($_.WalBytes)) of WAL from $($_.WalSource)" $times.recover; $_ } |
        Restore-PgTable -To $primary |
        ForEach-Object { $times.restore = Split-Time $clock; Show-Done "$($_.Table) is back on $($_.To): $(Number $_.RowsRestored) rows, checksum $($_.ChecksumRestored) on both sides (Restore-PgTable)" $times.restore; $_ } |
        Complete-PitrRecovery |
        ForEach-Object { $times.complete = Split-Time $clock; $story.Standby = $_; Show-Done 'The scratch server is gone, the delayed standby goes on (Complete-PitrRecovery)' $times.complete }
    if (-not $story.Standby) {
        throw 'The story stopped half way; what is above says where.'
    }

    $standby = $story.Standby

    Show-Chapter 'The proof, read from the servers'
    $after = Get-Counts $PrimaryHost 'pitr1', 'pitr2', 'pitr3'
    $status = $standby | Get-ReplicationStatus
    $changed = Get-StandbyFilesChanged $StandbyHost $standby
    $lost = 0
    foreach ($table in $before.Keys) { $lost += [Math]::Max(0, $before[$table] - $after[$table]) }
    $delayed = $status.Replay -eq 'Replaying' -and $status.Delay -eq $delay -and $status.EffectiveDelay -eq $delay
    $timeline = ($standby.Host | Get-PgServer -Name $standby.Name).Timeline
    $expected = if ($Idle) { $Rows } else { 2 * $Rows }
    $wrong = @(
        if ($after.pitr1 -ne $Rows -or $after.pitr2 -ne $Rows -or $after.pitr3 -ne $expected) { 'rows' }
        if ($lost) { 'lost rows' }
        if (-not $delayed) { "the standby ($($status.Replay), delay $($status.Delay))" }
        if ($timeline -ne 1) { 'timeline' }
        if ($changed -ne 0) { "the standby's files" }
    )
    $word = if ($wrong) { 'wrong: ' + ($wrong -join ', ') } else { 'ok' }
    $how = if ($delayed) { 'delayed' } else { "$($status.Replay)".ToLowerInvariant() }
    $figures = @(
        $word, $standby.Host.Family, $standby.Version, $after.pitr1, $after.pitr2, $after.pitr3, $lost, $how, $timeline, $changed
        Seconds $times.find
        Seconds $times.recover
        Seconds $times.restore
        Seconds $times.complete
    )
    $line = '{{"story":"{0}","family":"{1}","version":{2},"rows":{{"pitr1":{3},"pitr2":{4},"pitr3":{5}}},"lostRows":{6},"standby":"{7}","timeline":{8},"standbyFilesChanged":{9},"findSeconds":{10},"recoverSeconds":{11},"restoreSeconds":{12},"completeSeconds":{13}}}' -f $figures
    @{ Line = $line; Ok = -not $wrong }
}

$lab = Get-DemoLab $LabJson
$ended = $false
try {
    Start-DemoLab $lab $Family $Version
    $story = New-Story $lab.Hosts[0] $lab.Hosts[1] $Rows $Idle
    if ($Keep -or -not $lab.Mine) {
        Show-HowToConnect $lab
    }

    $ended = $true
}
catch {
    $ended = $true
    if ($Keep -and $lab.Hosts) {
        Show-HowToConnect $lab
    }

    throw
}
finally {
    if (-not $Keep) {
        Remove-DemoLab $lab
    }

    # Ctrl+C: PowerShell itself would call that a success.
    if (-not $ended) {
        [Environment]::Exit(130)
    }
}

Show-Line $story.Line
exit $(if ($story.Ok) { 0 } else { 1 })
