<#
.SYNOPSIS
The nightly check: would each delayed standby save us tomorrow?
.DESCRIPTION
For each pair of the inventory it connects to both hosts, reads what the servers say, and emits one object for each check: Pair, Server, Check, Status (OK, Warning, Failure), Message, NextStep.
It changes nothing. A host that cannot be reached is a failure of its own checks, and all others are made all the same.

Connect        the host can be reached and logged in to
Server         the server is found, and runs
Role           the standby is a standby, the primary a primary
Cluster        both are the same cluster, on the same timeline
Replay         it replays: no forgotten freeze, no lost or foreign pause
Delay          the delay is the one that the inventory says, and it is in force
ReplayLag      replay is not further behind than the delay says
Receiver       WAL arrives: it streams, or goes on from the archive
Position       a standby that streams has what the primary has written
Mount          the archive can be read through its mount
Archive        the primary archives: nothing fails, and the last segment is recent
Clock          the two clocks agree
Configuration  nothing in the settings that will stop the standby one day
Recovery       no forgotten recovery
Operation      nothing that was begun and has not ended

.PARAMETER Inventory
The file with the pairs; inventory.example.psd1 shows how it looks.
.PARAMETER Name
Only these pairs.
.PARAMETER Unknown
What was given and is none of the parameters: refused with exit code 3.
.OUTPUTS
Objects, and the exit code: 0 all is well, 1 a warning, 2 a failure or a host that cannot be reached, 3 wrong use (nothing was checked).
.EXAMPLE
pwsh -NonInteractive -File Test-PitrPair.ps1 -Inventory hosts.psd1
.EXAMPLE
./Test-PitrPair.ps1 -Inventory hosts.psd1 -Name shop | Where-Object Status -ne OK
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [string] $Inventory,
    [string[]] $Name,
    [Parameter(ValueFromRemainingArguments)]
    [object[]] $Unknown
)

$ErrorActionPreference = 'Stop'
. "$PSScriptRoot/Runbook.ps1"

$statuses = 'OK', 'Warning', 'Failure'
$worst = @{ Status = 0 }

function New-Check([object] $Of, [string] $Check, [string] $Status, [string] $Message, [string] $NextStep) {
    $worst.Status = [Math]::Max($worst.Status, [array]::IndexOf($statuses, $Status))
    [PSCustomObject] @{
        PSTypeName = 'PitrPS.Runbooks.Check'
        Pair       = $Of.Pair
        Server     = Protect-RunbookText "$($Of.Name)"
        Check      = $Check
        Status     = $Status
        Message    = Protect-RunbookText $Message
        NextStep   = Protect-RunbookText $NextStep
    }
}

function New-FailedCheck([object] $Of, [string] $Check, [Management.Automation.ErrorRecord] $Record) {
    $failure = Get-RunbookFailure $Record
    New-Check $Of $Check Failure $failure.Message $failure.Next
}

# 3.02:01:00 as people say it; what is negative is nothing.
function Format-Span([object] $Span) {
    if ($null -eq $Span) { return 'nothing' }
    $rounded = [timespan]::FromSeconds([Math]::Max(0, [Math]::Round($Span.TotalSeconds)))
    $rounded.ToString('c', [Globalization.CultureInfo]::InvariantCulture)
}

# What goes for either server.
function Test-Host([object] $Of) {
    if ($Of.Errors.Connect) { return New-FailedCheck $Of Connect $Of.Errors.Connect }
    New-Check $Of Connect OK "$($Of.Host.UserName)@$($Of.Host.Address), $($Of.Host.OperatingSystem)"
    if ($Of.Errors.Server) { New-FailedCheck $Of Server $Of.Errors.Server }
    elseif ($Of.Errors.Status) { New-FailedCheck $Of Server $Of.Errors.Status }
    elseif ($Of.Status) { New-Check $Of Server OK "PostgreSQL $($Of.Server.Version), port $($Of.Server.Port)" }
    elseif ($Of.Recovery) { New-Check $Of Server Warning 'It is stopped for a recovery, so nothing else of it can be checked.' 'See the check Recovery.' }
    else { New-Check $Of Server Failure 'It does not run.' "See its log. Before you start it, look for incidents (Find-PgIncident): a stopped standby's delay runs on, and what is due is applied at once." }

    if ($Of.Errors.Operation) { New-FailedCheck $Of Operation $Of.Errors.Operation }
    elseif (-not $Of.Host.HasRoot) { New-Check $Of Operation Warning 'Without root nothing is known of what was begun on this host.' 'Log in as a user with sudo.' }
    elseif (-not $Of.Operations) { New-Check $Of Operation OK 'Nothing is unfinished.' }
    foreach ($operation in $Of.Operations) {
        $said = "$($operation.Operation) on $($operation.Subject), begun by $($operation.Client) on $($operation.StartedAt.ToString('u'))"
        if ("$($operation.State)" -eq 'Running') { New-Check $Of Operation OK "$said, is under way." $operation.GoOn }
        else { New-Check $Of Operation Warning "$said, has not ended ($($operation.State)$(if ($operation.Failure) { ": $($operation.Failure)" }))." $(if ($operation.GoBack) { "$($operation.GoOn) Or take it back: $($operation.GoBack)." } else { $operation.GoOn }) }
    }
}

function Test-Standby([object] $Of, [object] $Primary, [object] $Pair) {
    if ($Of.Errors.Recovery) { New-FailedCheck $Of Recovery $Of.Errors.Recovery }
    elseif ($Of.Recovery) {
        $recovery = $Of.Recovery
        New-Check $Of Recovery $(if ("$($recovery.State)" -eq 'Lost') { 'Failure' } else { 'Warning' }) "A recovery ($($recovery.Target)) that $($recovery.StartedBy) began on $($recovery.StartedAt.ToString('u')) is $($recovery.State); the standby stands meanwhile." `
            'Bring back what it is for (Get-PitrRecovery | Restore-PgTable), then Complete-PitrRecovery; it throws the recovery away with -Force.'
    }
    elseif ($Of.Server -and $Of.Host.HasRoot) { New-Check $Of Recovery OK 'No recovery is under way.' }

    $status = $Of.Status
    if (-not $status) { return }
    if ("$($status.Role)" -ne 'Standby') {
        return New-Check $Of Role Failure 'It is not a standby any more: it was promoted, and takes writes.' 'Find out who promoted it and why. Make it a standby again (Reset-PgStandby).'
    }

    New-Check $Of Role OK 'Standby'
    Test-Replay $Of
    Test-Delay $Of $Primary $Pair
    Test-Arrival $Of $Primary $Pair
    foreach ($sentence in $status.Warnings -match 'target is left|lower than the primary') {
        New-Check $Of Configuration Warning $sentence 'Put that right in its configuration before it is restarted.'
    }

    if (-not ($status.Warnings -match 'target is left|lower than the primary')) { New-Check $Of Configuration OK 'No leftover recovery target, no setting lower than the primary''s.' }
}

function Test-Replay([object] $Of) {
    $upTo = if ($Of.Status.ReplayedUpTo) { $Of.Status.ReplayedUpTo.ToUniversalTime().ToString('u') } else { $Of.Status.Replayed }
    $resume = 'If that is over: Resume-WalReplay.'
    switch ("$($Of.Status.Replay)") {
        Replaying { New-Check $Of Replay OK "It has replayed up to $upTo." }
        Frozen { New-Check $Of Replay Warning "It is frozen at $upTo; the primary's WAL piles up on its disk." $resume }
        PausedByHand { New-Check $Of Replay Warning "Somebody paused replay by hand at $upTo; a restart would thaw it." "If it has to stay so: Suspend-WalReplay. $resume" }
        PauseLost { New-Check $Of Replay Failure 'It was frozen, and a restart or crash has ended the pause; only the raised delay holds COMMITs back.' "If it has to stay frozen: Suspend-WalReplay. $resume" }
        PausedAtTarget { New-Check $Of Replay Failure 'Replay stands at a recovery target; to resume it would promote this standby.' 'If a recovery in place has brought it there (Get-PitrRecovery): Complete-PitrRecovery. Otherwise take the recovery_target settings out of its configuration and restart it.' }
        PausedForSettings { New-Check $Of Replay Failure 'Replay stands because settings are lower than the primary''s; to resume it would shut this standby down.' 'Raise them to the primary''s values and restart it.' }
        default { New-Check $Of Replay Failure "It does not replay ($_)." 'Look with Get-ReplicationStatus and at its log.' }
    }
}

function Test-Delay([object] $Of, [object] $Primary, [object] $Pair) {
    $status = $Of.Status
    if (-not $status.Delay -or $status.Delay -le [timespan]::Zero) { New-Check $Of Delay Failure 'It has no delay: what is destroyed on the primary is destroyed here at once.' 'Set-ReplicationDelay' }
    elseif ($Pair.Delay -and $status.Delay -ne $Pair.Delay) { New-Check $Of Delay Failure "Its delay is $(Format-Span $status.Delay), not $(Format-Span $Pair.Delay) as the inventory says." 'Set-ReplicationDelay, or mend the inventory.' }
    elseif ($status.EffectiveDelay -lt $status.Delay) { New-Check $Of Delay Failure "Its delay is set to $(Format-Span $status.Delay), and $(Format-Span $status.EffectiveDelay) is in force." 'Set-ReplicationDelay' }
    else { New-Check $Of Delay OK "$(Format-Span $status.Delay)" }

    # Of a frozen standby that says nothing, and of one that has all of an idle primary's WAL neither.
    if ("$($status.Replay)" -ne 'Replaying') { return }
    $behind = if ($status.ReplayedUpTo) { $status.Time - $status.ReplayedUpTo }
    $hasAll = $Primary.Status -and $Primary.Status.Current -and $status.Replayed -and $status.Replayed -ge $Primary.Status.Current
    if ($hasAll) { New-Check $Of ReplayLag OK 'It has replayed all that the primary has written.' }
    elseif ($null -eq $behind) { New-Check $Of ReplayLag OK 'It has not replayed a COMMIT since it was started.' }
    elseif ($behind -le $status.EffectiveDelay + $Pair.ReplayLag) { New-Check $Of ReplayLag OK "It is $(Format-Span $behind) behind the primary." }
    else {
        New-Check $Of ReplayLag Warning "It is $(Format-Span $behind) behind the primary, $(Format-Span ($behind - $status.EffectiveDelay)) more than its delay." `
            'It replays too slowly, lacks a segment (see its log), or the primary writes nothing (Enable-WalArchive -HeartbeatInterval keeps it from being idle).'
    }
}

# How WAL gets to the standby. After a restart a delayed standby does not stream until it has replayed what is archived, which may be never: the archive is what counts then.
function Test-Arrival([object] $Of, [object] $Primary, [object] $Pair) {
    $status = $Of.Status
    $streams = "$($status.Receiver)" -eq 'streaming'
    $through = if ($Of.Server.ArchiveMountPoint) { $Of.Server.ArchiveMountPoint } else { "$($Of.Server.RestoreRepository)" }
    if ($status.ArchiveMounted) { New-Check $Of Mount OK "The archive can be read through $through." }
    elseif ($null -eq $status.ArchiveMounted) { New-Check $Of Mount Warning 'No mount of the archive is known: what is not streamed cannot be replayed, unless its own restore_command brings it.' 'Mount-WalArchive' }
    else { New-Check $Of Mount Failure "The archive cannot be read through ${through}: what is not streamed cannot be replayed." 'Mount-WalArchive again with the same parameters; look at the mount''s unit and at the primary''s sshd, or at what pgbackrest info says.' }

    if ($streams) { New-Check $Of Receiver OK 'It streams.' }
    elseif ($status.ArchiveMounted) { New-Check $Of Receiver OK "It does not stream ($($status.Receiver)), and goes on from the archive, as a delayed standby does after a restart. Its slot keeps WAL on the primary meanwhile." }
    else { New-Check $Of Receiver $(if ($null -eq $status.ArchiveMounted) { 'Warning' } else { 'Failure' }) "It does not stream ($($status.Receiver)), and no archive is known to be readable: nothing may be arriving." 'Look at its log; mount the archive (Mount-WalArchive).' }

    if (-not $streams -or -not $status.Received -or -not $Primary.Status -or -not $Primary.Status.Current) { return }
    $missing = [Math]::Max(0, $Primary.Status.Current - $status.Received)
    if ($missing -le $Pair.ReceiveLagBytes) { New-Check $Of Position OK "$missing bytes of the primary's WAL are not here yet." }
    else { New-Check $Of Position Warning "$missing bytes of the primary's WAL are not here yet (received $($status.Received), written $($Primary.Status.Current))." 'Look at the link between the two, and at the standby''s disk.' }
}

function Test-Primary([object] $Of, [object] $Pair) {
    $status = $Of.Status
    if (-not $status) { return }
    if ("$($status.Role)" -ne 'Primary') { return New-Check $Of Role Failure 'It is not a primary: it replays another server''s WAL.' 'Mend the inventory, or find out what happened to it.' }
    New-Check $Of Role OK 'Primary'
    $age = if ($status.LastArchivedAt) { $status.Time - $status.LastArchivedAt }
    if ($status.ArchiveFailing) { New-Check $Of Archive Failure "archive_command fails for $($status.ArchiveFailing); WAL piles up in pg_wal until it succeeds." 'The server''s log says why.' }
    elseif ($null -eq $age) { New-Check $Of Archive Failure 'It has never archived a segment.' 'Enable-WalArchive' }
    elseif ($age -gt $Pair.ArchiveAge) { New-Check $Of Archive Warning "The last archived segment, $($status.LastArchived), is $(Format-Span $age) old." 'Look at archive_timeout and at the archiver in the server''s log. A primary that writes nothing archives nothing: Enable-WalArchive -HeartbeatInterval.' }
    else { New-Check $Of Archive OK "$($status.LastArchived), $(Format-Span $age) ago" }
}

function Test-Both([object] $Primary, [object] $Standby, [object] $Pair) {
    if (-not $Primary.Server -or -not $Standby.Server) { return }
    if ($Primary.Server.SystemIdentifier -ne $Standby.Server.SystemIdentifier) {
        New-Check $Standby Cluster Failure "Its system identifier is $($Standby.Server.SystemIdentifier), the primary's $($Primary.Server.SystemIdentifier): it is a standby of another cluster." 'Mend the inventory, or make it a standby of this primary (New-PgStandby).'
    }
    elseif ($Primary.Server.Timeline -ne $Standby.Server.Timeline) {
        New-Check $Standby Cluster Warning "It is on timeline $($Standby.Server.Timeline), the primary on $($Primary.Server.Timeline)." 'After a promotion it follows when it has replayed up to there; look whether the archive has the .history file.'
    }
    else { New-Check $Standby Cluster OK "System identifier $($Standby.Server.SystemIdentifier), timeline $($Standby.Server.Timeline)" }

    if (-not $Primary.Status -or -not $Standby.Status) { return }
    $skew = ($Standby.ClockOffset - $Primary.ClockOffset).Duration()
    if ($skew -le $Pair.ClockSkew) { New-Check $Standby Clock OK "Its clock and the primary's agree within $(Format-Span $Pair.ClockSkew)." }
    else { New-Check $Standby Clock Warning "Its clock and the primary's are $(Format-Span $skew) apart; the delay is wrong by that much." 'Look at time synchronisation on both.' }
}

try {
    if ($Unknown) { Stop-ForWrongUse "Not understood: $Unknown" }
    $pairs = @(Read-RunbookInventory $Inventory $Name)
    Import-RunbookModule
}
catch {
    $ErrorActionPreference = 'Continue'
    $PSCmdlet.WriteError($_)
    exit 3
}

foreach ($pair in $pairs) {
    $primary = $standby = $null
    try {
        $standby = Read-RunbookServer $pair Standby
        $primary = Read-RunbookServer $pair Primary $(if ($standby.Server) { $standby.Server.SystemIdentifier })
        Test-Host $standby
        Test-Standby $standby $primary $pair
        Test-Host $primary
        Test-Primary $primary $pair
        Test-Both $primary $standby $pair
    }
    catch {
        New-FailedCheck @{ Pair = $pair.Name; Name = $pair.Standby.Name } Runbook $_
    }
    finally {
        Disconnect-RunbookHost @($primary.Host; $standby.Host)
    }
}

exit $worst.Status
