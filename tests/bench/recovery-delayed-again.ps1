<#
.SYNOPSIS
Seconds from Complete-PitrRecovery to a standby that is delayed and following again, against one plain restart of that standby.
.DESCRIPTION
Two throw-away hosts with an archive and a delayed standby that holds WAL back. PitrPS recovers to just before a DROP TABLE, as the story does, and completes
the recovery. A plain restart is systemctl restart, until the standby answers, waits with its old delay and has its WAL receiver back, or its startup process
waits at the commit that it held back. Both end in the same state, which is asked for in the same way. The median of some runs counts. Progress goes to the
error output.
.PARAMETER Module
The folder of the built module.
.PARAMETER Rows
Rows that are written while the standby waits.
.PARAMETER Runs
How often each is measured; they take turns.
#>
param(
    [string] $Module,
    [ValidateRange(1, 10000000)]
    [long] $Rows = 1800000,
    [ValidateRange(1, 20)]
    [int] $Runs = 5
)

$bench = 'recovery-delayed-again'
. "$PSScriptRoot/shared/Lab.ps1"
. "$PSScriptRoot/shared/Standby.ps1"
Import-Module "$Module/PitrPS.psd1"

# Delayed: at a commit, by its old delay. Following: it goes on from pg_wal and the archive until all of that is applied, and streams only then.
$asBefore = "SELECT pg_is_in_recovery() AND NOT pg_is_wal_replay_paused() AND current_setting('recovery_min_apply_delay') = '3d' AND EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay')"

try {
    Show-Progress "two hosts, a table of $Rows rows that is held back"
    Use-BenchLab create primary standby
    $primaryHost, $standbyHost = Read-LabJson "$env:PITRPS_LAB/lab.json"
    $standby = New-WaitingStandby $primaryHost $standbyHost { $null = Invoke-Sql $primaryHost (Get-TableSql later $Rows) }
    $incident = $standby | Find-PgIncident -Table lost
    $seconds = @{ Ours = @(); Theirs = @() }
    foreach ($run in 1..$Runs) {
        $recovery = $incident | Invoke-PitrRecovery
        $clock = [Diagnostics.Stopwatch]::StartNew()
        $null = $recovery | Complete-PitrRecovery -Force
        $seconds.Ours += $clock.Elapsed.TotalSeconds
        if ((Invoke-Sql $standbyHost $asBefore) -ne 't') {
            throw 'Complete-PitrRecovery came back before the standby was delayed as before.'
        }

        $took = Invoke-OnHost $standbyHost @"
cat > /root/restart.sh <<'RESTART'
cd /
began=`$(date +%s%N)
systemctl restart postgresql@$($standbyHost.postgresMajor)-main
n=0
until [ "`$(runuser -u postgres -- psql -XAt -c "$asBefore" 2>/dev/null)" = t ]; do n=`$((n + 1)); [ `$n -lt 3000 ] || exit 1; sleep 0.05; done
echo "`$(((`$(date +%s%N) - began) / 1000000))"
RESTART
sh /root/restart.sh
"@
        $seconds.Theirs += [double]::Parse([string] $took, $culture) / 1000
        Show-Progress ([string]::Format($culture, '  Complete-PitrRecovery {0:0.00} s, a restart {1:0.00} s', $seconds.Ours[-1], $seconds.Theirs[-1]))
    }

    $standby.Host | Disconnect-PgHost
}
finally {
    Remove-BenchLab
}

@{ Ours = Get-Median $seconds.Ours; Theirs = Get-Median $seconds.Theirs; Unit = 's' }
