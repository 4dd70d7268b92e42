# A standby that holds back what was written, and all of that WAL in its pg_wal: as one that is days behind. Whoever dots this has dotted Lab.ps1.

# Runs the script, which writes on the primary, while the standby waits; then the table "lost" is dropped. Gives the standby.
function New-WaitingStandby([PSCustomObject] $PrimaryHost, [PSCustomObject] $StandbyHost, [scriptblock] $Write, [scriptblock] $Before = {}) {
    $primary = Connect-BenchHost $PrimaryHost | Install-PgServer
    & $Before
    $primary = $primary | Enable-WalArchive -Path /var/mnt/archive_wal_dir
    $standby = Connect-BenchHost $StandbyHost | Install-PgServer | Mount-WalArchive -Primary $primary -MountPoint /mnt/archive_wal_dir | New-PgStandby -Primary $primary
    $null = Invoke-Sql $PrimaryHost (Get-TableSql lost 10000)
    Wait-Replay $PrimaryHost $standby

    # Servers that have run for days have checkpoints behind them.
    Invoke-Sql $PrimaryHost 'CHECKPOINT'
    Wait-Replay $PrimaryHost $standby
    Invoke-Sql $StandbyHost 'CHECKPOINT'
    $standby = $standby | Set-ReplicationDelay -Delay 3.00:00:00

    # The commit that it waits at.
    $null = Invoke-Sql $PrimaryHost 'SELECT pg_current_xact_id()'
    & $Write
    Invoke-Sql $PrimaryHost 'DROP TABLE lost'

    # The segment of the DROP is whole in pg_wal, and so none has to come from the archive when the standby was restarted and has no receiver.
    $null = Invoke-Sql $PrimaryHost 'SELECT pg_switch_wal()'
    $null = Invoke-Sql $PrimaryHost 'CREATE TABLE afterwards ()'
    Wait-Received $StandbyHost ([string] (Invoke-Sql $PrimaryHost 'SELECT pg_current_wal_lsn()'))
    $primary.Host | Disconnect-PgHost
    $standby
}

# So that nothing of the data directory has to come from the disk.
function Read-Files([PSCustomObject] $On) {
    $null = Invoke-OnHost $On "sync; find /var/lib/postgresql/$($On.postgresMajor)/main -type f -exec cat {} + > /dev/null 2>&1 || true"
}

function Wait-Received([PSCustomObject] $StandbyHost, [string] $Written) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    while ((Invoke-Sql $StandbyHost "SELECT pg_last_wal_receive_lsn() >= '$Written'") -ne 't') {
        if ($clock.Elapsed.TotalMinutes -gt 10) { throw "The standby has not received $Written after 10 minutes." }
        $null = [Threading.Tasks.Task]::Delay(200).Wait()
    }
}
