<#
.SYNOPSIS
Bringing a dropped table back, with the standby delayed again at the end: PitrPS against the same by hand (story-recovery/by-hand.sh).
.DESCRIPTION
Two throw-away hosts as in the demo: an archiving primary, a standby three days behind, three tables, one of them dropped, and the rest of a small
database, which nobody writes to. Both ways begin from the same snapshot of them, with the connections open. PitrPS has to find the incident first;
the other way is told where it is. (story-recovery-tutorial.ps1 is the same without the rest: a base backup of hardly more than the three tables.)
Fails unless each way brought every row back and left a standby that is delayed as before. Progress goes to the error output.
.PARAMETER Module
The folder of the built module.
.PARAMETER Rows
Rows of each of the three tables.
.PARAMETER Rest
Megabytes of the rest of the database.
#>
param(
    [string] $Module,
    [ValidateRange(1, 10000000)]
    [long] $Rows = 1800000,
    [ValidateRange(0, 100000)]
    [int] $Rest = 8192
)

$bench = 'story-recovery'
. "$PSScriptRoot/shared/Lab.ps1"
Import-Module "$Module/PitrPS.psd1"

$delay = [TimeSpan]::FromDays(3)
$archive = '/var/mnt/archive_wal_dir'
$mountPoint = '/mnt/archive_wal_dir'

# Says when a part of the pipeline is done; passes on what it made.
filter Show-Part([string] $Part, [Diagnostics.Stopwatch] $Clock) {
    Show-Progress ([string]::Format($culture, '  {0} after {1:0.0} s', $Part, $Clock.Elapsed.TotalSeconds))
    $_
}

# Each table's rows and checksum; of the one that is lost, its primary key too.
function Get-Fingerprint([PSCustomObject] $On) {
    $tables = foreach ($table in 'pitr1', 'pitr2', 'pitr3') {
        Invoke-Sql $On "SELECT '$table', count(*), md5(string_agg(md5(t::text), '' ORDER BY id)) FROM $table t"
    }
    $rest = Invoke-Sql $On "SELECT 'rest', count(*), sum(id) FROM rest"
    $key = Invoke-Sql $On "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'pitr2'::regclass"
    ($tables + $rest + $key) -join ' '
}

# The story up to where somebody notices; gives the tables as they have to be in the end.
function New-Incident([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost) {
    $primary = Connect-BenchHost $PrimaryHost | Install-PgServer
    # Four rows of it fill a page of 8 KiB.
    Invoke-Sql $PrimaryHost "CREATE TABLE rest AS SELECT id, repeat(md5(id::text), 61) AS content FROM generate_series(1, $($Rest * 512)) id"
    $primary = $primary | Enable-WalArchive -Path $archive
    $standby = Connect-BenchHost $StandbyHost | Install-PgServer | Mount-WalArchive -Primary $primary -MountPoint $mountPoint | New-PgStandby -Primary $primary
    foreach ($table in 'pitr1', 'pitr2', 'pitr3') { Invoke-Sql $PrimaryHost (Get-TableSql $table $Rows) }
    Wait-Replay $PrimaryHost $standby

    # Servers that have run for days have been vacuumed and have checkpoints behind them; otherwise reading the tables would write all their pages
    # to the WAL once (hint bits, with checksums), and both ways would replay that, and all since the servers were made.
    Invoke-Sql $PrimaryHost 'VACUUM'
    Invoke-Sql $PrimaryHost 'CHECKPOINT'
    Wait-Replay $PrimaryHost $standby
    Invoke-Sql $StandbyHost 'CHECKPOINT'
    $standby = $standby | Set-ReplicationDelay -Delay $delay

    # One that is three days behind waits at a commit of three days ago, and has nothing yet of what was written since. The next heartbeat would be that commit.
    $null = Invoke-Sql $PrimaryHost 'SELECT pg_current_xact_id()'
    Invoke-Sql $PrimaryHost "INSERT INTO pitr3 SELECT i, md5(i::text) FROM generate_series($($Rows + 1), $(2 * $Rows)) i"
    Get-Fingerprint $PrimaryHost
    Invoke-Sql $PrimaryHost 'DROP TABLE pitr2'
    Invoke-Sql $PrimaryHost 'CREATE TABLE later AS SELECT i FROM generate_series(1, 1000) i'
    $primary.Host, $standby.Host | Disconnect-PgHost
}

# The hosts as they were when the incident was noticed, up and at rest: the standby holds a COMMIT back, its archive is mounted.
function Reset-Hosts([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost) {
    Use-BenchLab clone noticed
    $null = Invoke-OnHost $PrimaryHost 'timeout 120 sh -c "until pg_isready -q; do sleep 0.2; done"'
    $null = Invoke-OnHost $StandbyHost @"
cat > /tmp/at-rest.sh <<'AT_REST'
cd /
until mountpoint -q $mountPoint && [ "`$(runuser -u postgres -- psql -X -A -t -c "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'" 2>&1)" = RecoveryApplyDelay ]; do
  sleep 0.2
done
AT_REST
timeout 600 sh /tmp/at-rest.sh
"@
    & bash -c sync
}

function Measure-PitrPS([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost) {
    $primary = Connect-BenchHost $PrimaryHost | Get-PgServer
    $standby = Connect-BenchHost $StandbyHost | Get-PgServer
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $completed = $standby | Find-PgIncident -Table pitr2 | ForEach-Object { $incident = $_; $_ } | Show-Part 'found' $clock |
        Invoke-PitrRecovery | Show-Part 'recovered' $clock |
        Restore-PgTable -To $primary | Show-Part 'back' $clock |
        Complete-PitrRecovery | Show-Part 'delayed again' $clock
    $seconds = $clock.Elapsed.TotalSeconds
    if (-not $completed) {
        throw 'PitrPS brought nothing back.'
    }

    $primary.Host, $standby.Host | Disconnect-PgHost
    @{ Seconds = $seconds; CommitLsn = "$($incident.CommitLsn)" }
}

function Measure-ByHand([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost, [string] $CommitLsn) {
    $seconds = & bash "$PSScriptRoot/story-recovery/by-hand.sh" $PrimaryHost.keyFile $PrimaryHost.knownHosts "ssh://$($PrimaryHost.user)@$($PrimaryHost.address):$($PrimaryHost.port)" "ssh://$($StandbyHost.user)@$($StandbyHost.address):$($StandbyHost.port)" $PrimaryHost.postgresMajor $CommitLsn pitr2 $mountPoint
    if ($LASTEXITCODE -ne 0) {
        throw "by-hand.sh ended with $LASTEXITCODE."
    }

    [double]::Parse($seconds, $culture)
}

# The same question to both ways: is every row there, and is the standby as far behind as before?
function Confirm-Ending([string] $Way, [PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost, [string] $Expected) {
    $found = Get-Fingerprint $PrimaryHost
    if ($found -ne $Expected) {
        throw "$Way ended with other tables than before the DROP: $found, not $Expected."
    }

    $standby = Connect-BenchHost $StandbyHost | Get-PgServer
    $status = $standby | Get-ReplicationStatus
    if ($status.Replay -ne 'Replaying' -or $status.Delay -ne $delay -or $status.EffectiveDelay -ne $delay) {
        throw "$Way did not end with a delayed standby: $($status.Replay), delay $($status.Delay), in effect $($status.EffectiveDelay)."
    }

    $standby.Host | Disconnect-PgHost
}

try {
    Show-Progress "two hosts, three tables of $Rows rows, $Rest MB beside them"
    Use-BenchLab create primary standby
    $primaryHost, $standbyHost = Read-LabJson "$env:PITRPS_LAB/lab.json"
    $expected = New-Incident $primaryHost $standbyHost
    Use-BenchLab snapshot noticed primary standby

    Reset-Hosts $primaryHost $standbyHost
    Show-Progress 'PitrPS'
    $ours = Measure-PitrPS $primaryHost $standbyHost
    Confirm-Ending 'PitrPS' $primaryHost $standbyHost $expected

    Reset-Hosts $primaryHost $standbyHost
    Show-Progress 'by hand'
    $theirs = Measure-ByHand $primaryHost $standbyHost $ours.CommitLsn
    Confirm-Ending 'The way by hand' $primaryHost $standbyHost $expected
}
finally {
    Remove-BenchLab
}

@{ Ours = $ours.Seconds; Theirs = $theirs; Unit = 's' }
