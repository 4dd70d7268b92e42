<#
.SYNOPSIS
The emergency: somebody dropped a table. Freezes the standby first, then finds, recovers, restores and completes.
.DESCRIPTION
One object for each step as it is done: Pair, Server, Step, Status (OK, Planned, Warning, Failure), Message, NextStep, and in Result what the cmdlet gave (the incident, the recovery, the table).

Freeze    the standby stands still: from here on nothing is lost by waiting
Find      what was dropped, one object for each incident
Choose    the one to undo: named by -Table or -TransactionId, or chosen by you when there is somebody to ask
Recover   a scratch server, recovered to just before it (asks, unless -Confirm:$false)
Restore   the tables, back on the primary, proven by count and checksum
Complete  the scratch server gone, the standby delayed as before

It never guesses: without -Table or -TransactionId, or when they fit more than one incident, a session with nobody to ask only freezes and lists (exit code 4).
When a step fails, the standby stays frozen, or stopped with the recovery on it, and the last object says how to go on. Run again, it goes on where it stopped. -WhatIf shows every step and changes nothing.
.PARAMETER Inventory
The file with the pairs; inventory.example.psd1 shows how it looks.
.PARAMETER Name
The pair. May be left out where the inventory has only one.
.PARAMETER Table
What was dropped: name or schema.name, with wildcards, several with commas. All that the same transaction dropped comes back.
.PARAMETER Database
Only in these databases.
.PARAMETER TransactionId
The incident to undo, where there is more than one: its transaction as the step Find shows it.
.PARAMETER Since
Only what was committed at or after this time, by the primary's clock.
.PARAMETER Until
Only what was committed at or before this time.
.PARAMETER Unknown
What was given and is none of the parameters: refused with exit code 3.
.OUTPUTS
Objects, and the exit code: 0 the tables are back (or -WhatIf has shown how), 2 a step failed, 3 wrong use (nothing was touched), 4 choose one of several incidents, 5 no such incident was found, 6 not confirmed.
With 4, 5 and 6 the standby stays frozen: run again to go on, or let it go with Resume-WalReplay.
.EXAMPLE
./Restore-LostTable.ps1 -Inventory hosts.psd1 -Name shop -Table sales.orders
.EXAMPLE
pwsh -NonInteractive -File Restore-LostTable.ps1 -Inventory hosts.psd1 -Name shop -Table sales.orders -Confirm:$false
.EXAMPLE
pwsh -NonInteractive -File Restore-LostTable.ps1 -Inventory hosts.psd1 -Name shop
Freezes the standby of that pair and lists what was dropped.
#>
[Diagnostics.CodeAnalysis.SuppressMessageAttribute('PSShouldProcess', '', Justification = 'Each cmdlet asks for its own plan and inherits -WhatIf and -Confirm.')]
[CmdletBinding(PositionalBinding = $false, SupportsShouldProcess, ConfirmImpact = 'High')]
param(
    [string] $Inventory,
    [string] $Name,
    [string[]] $Table,
    [string[]] $Database,
    [string] $TransactionId,
    [string] $Since,
    [string] $Until,
    [Parameter(ValueFromRemainingArguments)]
    [object[]] $Unknown
)

$ErrorActionPreference = 'Stop'
. "$PSScriptRoot/Runbook.ps1"

$at = @{ Step = 'Freeze'; Server = ''; Code = 2 }

function New-Step([string] $Status, [string] $Message, [string] $NextStep, [object] $Result) {
    [PSCustomObject] @{
        PSTypeName = 'PitrPS.Runbooks.Step'
        Pair       = $pair.Name
        Server     = $at.Server
        Step       = $at.Step
        Status     = $Status
        Message    = Protect-RunbookText $Message
        NextStep   = Protect-RunbookText $NextStep
        Result     = $Result
    }
}

# Ends the run with a step that says what a person has to do, and an exit code of its own.
function Stop-ForOperator([int] $Code, [string] $Message, [string] $NextStep) {
    $at.Code = $Code
    $stop = [InvalidOperationException]::new($Message)
    $record = [Management.Automation.ErrorRecord]::new($stop, 'Runbook.Stopped', 'OperationStopped', $null)
    $record.ErrorDetails = [Management.Automation.ErrorDetails]::new($Message)
    $record.ErrorDetails.RecommendedAction = $NextStep
    throw $record
}

# A standby that is stopped stands still as well: for a recovery that an earlier run began, or for whatever reason.
function Suspend-Standby([object] $Standby) {
    try {
        $frozen = Suspend-WalReplay $Standby -InformationAction Ignore
        if (-not $frozen) { Stop-ForOperator 6 'The freeze was not confirmed: the clock goes on.' 'Run again.' }
        New-Step $done "$(if ($WhatIfPreference) { 'Replay would stand still' } else { 'Replay stands still' }): what has not been applied yet is not applied until Resume-WalReplay." '' $frozen
    }
    catch {
        if ((Get-RunbookFailure $_).Id -ne 'PitrPS.ServerNotRunning') { throw }
        $recovery = Get-PitrRecovery $Standby | Where-Object { -not $_.CloneId }
        if ($recovery) { New-Step OK "It is stopped for the recovery ($($recovery.Target)) that $($recovery.StartedBy) began on $($recovery.StartedAt.ToString('u')); going on with that." '' $recovery }
        else { New-Step Warning 'It does not run, so it applies nothing.' 'Do not start it before this is over: what is due would be applied at once.' }
    }
}

# Of the incidents that were found, the one to undo: never a guess.
function Select-Incident([object[]] $Incidents) {
    if ($TransactionId) { $Incidents = @($Incidents | Where-Object { "$($_.TransactionId)" -eq $TransactionId }) }
    if (-not $Incidents) {
        Stop-ForOperator 5 "No such incident is in the WAL that has arrived." "If it has only just happened, run again in a minute or two, when the primary has archived its newest WAL; if names are in doubt, run without -Table. $letGo"
    }

    if ($Incidents.Count -eq 1 -and ($Table -or $TransactionId)) { return $Incidents[0] }
    if (-not $hasOperator) {
        Stop-ForOperator 4 "$($Incidents.Count) incident(s) to choose from; they are listed above." "Run again with -TransactionId and one of: $($Incidents.TransactionId -join ', '). A recovery to before an earlier one has what later ones destroyed, too. $letGo"
    }

    $choices = [Collections.ObjectModel.Collection[Management.Automation.Host.ChoiceDescription]]::new()
    $lines = for ($i = 0; $i -lt $Incidents.Count; $i++) {
        $choices.Add([Management.Automation.Host.ChoiceDescription]::new("&$($i + 1)", (Protect-RunbookText "$($Incidents[$i])")))
        Protect-RunbookText "$($i + 1)  $($Incidents[$i])"
    }

    $choices.Add([Management.Automation.Host.ChoiceDescription]::new('&None', 'Stop here; the standby stays frozen.'))
    $chosen = $Host.UI.PromptForChoice('Which one is to be undone?', $lines -join "`n", $choices, $Incidents.Count)
    if ($chosen -ge $Incidents.Count) { Stop-ForOperator 6 'None was chosen.' "Run again to go on. $letGo" }
    $Incidents[$chosen]
}

# How the standby stands after a failure; should a failed recovery have left it running and thawed, it is frozen again.
function Get-StandbyState([object] $Standby) {
    $at.Step = 'Standby'
    $at.Server = $Standby.Id
    $goOn = if ($at.Code -eq 2) { "Run the same again to go on. $letGo" }
    try {
        $recovery = Get-PitrRecovery $Standby | Where-Object { -not $_.CloneId }
        $now = Get-PgServer -PgServer $Standby
        if (-not $now.IsRunning) {
            if ($recovery) { $goOn = 'Run the same again to go on. To give up: Get-PitrRecovery | Complete-PitrRecovery -Force; the standby then goes on and applies what is due, the DROP too.' }
            return New-Step Warning "It is stopped$(if ($recovery) { ", with the recovery on it ($($recovery.State))" }), and applies nothing." $goOn $now
        }

        if ("$((Get-ReplicationStatus $now).Replay)" -ne 'Frozen') { $now = Suspend-WalReplay $now }
        New-Step Warning 'It is frozen: nothing is lost by waiting.' $goOn $now
    }
    catch {
        $failure = Get-RunbookFailure $_
        New-Step Failure "How it stands is not known: $($failure.Message)" "$($failure.Next) A freeze outlasts a crash: only Resume-WalReplay undoes it."
    }
}

try {
    if ($Unknown) { Stop-ForWrongUse "Not understood: $Unknown" }
    $pairs = @(Read-RunbookInventory $Inventory $Name)
    if ($pairs.Count -ne 1) { Stop-ForWrongUse "Give -Name, one of: $($pairs.Name -join ', ')." }
    $pair = $pairs[0]
    if ($TransactionId -and $TransactionId -notmatch '^\d+$') { Stop-ForWrongUse "-TransactionId '$TransactionId' is no number." }
    $query = @{}
    if ($Table) { $query.Table = @(Split-RunbookList $Table) }
    if ($Database) { $query.Database = @(Split-RunbookList $Database) }
    if ($Since) { $query.Since = ConvertTo-RunbookTime $Since '-Since' }
    if ($Until) { $query.Until = ConvertTo-RunbookTime $Until '-Until' }
    Import-RunbookModule
}
catch {
    $ErrorActionPreference = 'Continue'
    $PSCmdlet.WriteError($_)
    exit 3
}

$letGo = 'To let the standby go on instead: Resume-WalReplay.'
$done = if ($WhatIfPreference) { 'Planned' } else { 'OK' }
$hasOperator = Test-RunbookOperator
$primaryHost = $standbyHost = $standby = $null
try {
    $at.Server = $pair.Standby.Name
    $standbyHost = Connect-RunbookHost $pair.Standby
    $standby = Get-RunbookServer $standbyHost $pair.Standby Standby
    $at.Server = $standby.Id
    Suspend-Standby $standby

    $at.Step = 'Find'
    $incidents = @(Find-PgIncident -Server $standby @query -WarningAction SilentlyContinue -WarningVariable warned)
    foreach ($incident in $incidents) { New-Step OK "$incident$(if ($incident.TimeLeft) { ", due in $([timespan]::FromSeconds([Math]::Floor($incident.TimeLeft.TotalSeconds)))" })" '' $incident }
    foreach ($sentence in $warned) { New-Step Warning "$sentence" }

    $at.Step = 'Choose'
    $incident = Select-Incident $incidents
    New-Step OK "$incident" '' $incident

    # Before the standby is stopped for it: the tables have to have somewhere to go.
    $at.Step = 'Recover'
    $primaryHost = Connect-RunbookHost $pair.Primary
    $primary = Get-RunbookServer $primaryHost $pair.Primary Primary $standby.SystemIdentifier
    if (-not $hasOperator -and -not $WhatIfPreference -and $ConfirmPreference -ne 'None') { Stop-ForOperator 6 'To recover has to be confirmed, and there is nobody to ask.' "Look at the plan with -WhatIf, then run again with -Confirm:`$false. $letGo" }
    $recovery = Invoke-PitrRecovery $incident
    if (-not $recovery) { Stop-ForOperator 6 'The recovery was not confirmed.' "Run again to go on. $letGo" }
    New-Step $done "$($recovery.Target), from $($recovery.WalSource)$(if ($recovery.Elapsed) { ", in $([Math]::Round($recovery.Elapsed.TotalSeconds, 1)) s" })" '' $recovery

    $at.Step = 'Restore'
    $at.Server = $primary.Id
    $route = $pair.Route
    $restored = @(Restore-PgTable $recovery -To $primary @route)
    if (-not $restored) { Stop-ForOperator 6 'The restore was not confirmed.' 'Run again to go on.' }
    foreach ($one in $restored) {
        if ($one.IsPlanned) { New-Step $done "$($one.Table)" '' $one }
        else { New-Step $(if ($one.IsProven) { 'OK' } else { 'Failure' }) "$($one.Table): $($one.RowsRestored) of $($one.RowsRecovered) rows, $(if ($one.IsProven) { 'the same checksum' } else { 'another checksum' }) on both sides. $($one.Notes -join ' ')".Trim() '' $one }
    }

    $at.Step = 'Complete'
    $at.Server = $standby.Id
    $ended = $restored | Complete-PitrRecovery
    if (-not $ended) { Stop-ForOperator 6 'The completion was not confirmed.' 'Run again to go on.' }
    New-Step $done "The standby goes on, delayed by $($ended.ReplicationDelay)." '' $ended
    $at.Code = 0
}
catch {
    $failure = Get-RunbookFailure $_
    if ($failure.Id -eq 'PitrPS.ConfirmationRequired') { $at.Code = 6 }
    New-Step $(if ($at.Code -eq 2) { 'Failure' } else { 'Warning' }) $failure.Message $failure.Next $_
    if ($standby -and -not $WhatIfPreference -and $at.Step -notin 'Freeze', 'Complete') { Get-StandbyState $standby }
}
finally {
    Disconnect-RunbookHost @($primaryHost; $standbyHost)
}

exit $at.Code
