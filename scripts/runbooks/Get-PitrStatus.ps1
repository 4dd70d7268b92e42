<#
.SYNOPSIS
The weekly status: one object for each server, for reports.
.DESCRIPTION
For each pair of the inventory it reads both servers and emits an object each: versions, delay, how far back a recovery can go, how far replay and the receiver are, the archive, and what is unfinished.
It changes nothing. A server that cannot be read is an object too, with the reason in Problem.
.PARAMETER Inventory
The file with the pairs; inventory.example.psd1 shows how it looks.
.PARAMETER Name
Only these pairs.
.PARAMETER Path
Also writes the objects to this file: .csv or .json. Times are UTC in ISO 8601, spans are days.hours:minutes:seconds, sizes are bytes.
.PARAMETER Unknown
What was given and is none of the parameters: refused with exit code 3.
.OUTPUTS
Objects, and the exit code: 0 all were read and nothing is to be looked at, 1 somebody should look at a server (its Warnings), 2 a server could not be read (its Problem), 3 wrong use (nothing was read), 4 the file could not be written.
.EXAMPLE
pwsh -NonInteractive -File Get-PitrStatus.ps1 -Inventory hosts.psd1 -Path status.csv
.EXAMPLE
./Get-PitrStatus.ps1 -Inventory hosts.psd1 | Where-Object Role -eq Standby | Format-Table Server, Delay, CanGoBackTo, CanGoBack
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [string] $Inventory,
    [string[]] $Name,
    [string] $Path,
    [Parameter(ValueFromRemainingArguments)]
    [object[]] $Unknown
)

$ErrorActionPreference = 'Stop'
. "$PSScriptRoot/Runbook.ps1"

function Get-Line([object] $Of, [object] $Primary) {
    $server = $Of.Server
    $status = $Of.Status
    $replayedUpTo = if ($status) { $status.ReplayedUpTo }
    $problem = foreach ($check in 'Connect', 'Server', 'Status', 'Operation', 'Recovery') {
        if ($Of.Errors[$check]) { (Get-RunbookFailure $Of.Errors[$check]).Message }
    }

    if (-not $problem -and -not $status -and -not $Of.Recovery) { $problem = 'It does not run.' }
    $number = if ($server) { $server.VersionNumber }
    [PSCustomObject] @{
        PSTypeName           = 'PitrPS.Runbooks.Status'
        Pair                 = $Of.Pair
        Server               = Protect-RunbookText "$($Of.Name)"
        Role                 = if ($status) { "$($status.Role)" } else { $Of.Role }
        Problem              = if ($problem) { Protect-RunbookText ($problem -join ' ') }
        Time                 = if ($status) { $status.Time }
        Version              = if ($number) { "$([Math]::Floor($number / 10000)).$($number % 10000)" }
        OperatingSystem      = if ($Of.Host) { Protect-RunbookText $Of.Host.OperatingSystem }
        SystemIdentifier     = if ($server) { "$($server.SystemIdentifier)" }
        Timeline             = if ($server) { $server.Timeline }
        Replay               = if ($status -and "$($status.Role)" -eq 'Standby') { "$($status.Replay)" }
        Delay                = if ($status) { $status.Delay } elseif ($server) { $server.ReplicationDelay }
        # A recovery can go to any COMMIT after the last one that was replayed.
        CanGoBackTo          = $replayedUpTo
        CanGoBack            = if ($replayedUpTo) { $status.Time - $replayedUpTo }
        Replayed             = if ($status.Replayed) { "$($status.Replayed)" }
        Received             = if ($status.Received) { "$($status.Received)" }
        Written              = if ($status.Current) { "$($status.Current)" }
        HeldBackBytes        = if ($status) { $status.HeldBackBytes }
        ReceiveLagBytes      = if ($status.Received -and $Primary.Status.Current) { [Math]::Max(0, $Primary.Status.Current - $status.Received) }
        ReplayLagBytes       = if ($status.Replayed -and $Primary.Status.Current) { [Math]::Max(0, $Primary.Status.Current - $status.Replayed) }
        Receiver             = if ($status) { $status.Receiver }
        Archive              = if ($server.ArchiveDirectory) { $server.ArchiveDirectory } elseif ($server.ArchiveMountPoint) { $server.ArchiveMountPoint } elseif ($server.ArchiveRepository) { "$($server.ArchiveRepository)" } elseif ($server.RestoreRepository) { "$($server.RestoreRepository)" }
        ArchiveReadable      = if ($status) { $status.ArchiveMounted }
        LastArchived         = if ($status) { $status.LastArchived }
        LastArchivedAt       = if ($status) { $status.LastArchivedAt }
        ArchiveFailing       = if ($status) { $status.ArchiveFailing }
        Recovery             = if ($Of.Recovery) { Protect-RunbookText "$($Of.Recovery.Target), $($Of.Recovery.State), begun by $($Of.Recovery.StartedBy)" }
        UnfinishedOperations = [string[]] @(foreach ($operation in $Of.Operations) { Protect-RunbookText "$operation" })
        Warnings             = [string[]] @(foreach ($sentence in $status.Warnings) { Protect-RunbookText $sentence })
    }
}

# A value as a file has it: times in UTC, spans and numbers as in no particular country.
function ConvertTo-Word([object] $Value) {
    if ($null -eq $Value) { return '' }
    if ($Value -is [DateTimeOffset]) { return $Value.UtcDateTime.ToString('o', [Globalization.CultureInfo]::InvariantCulture) }
    if ($Value -is [string[]]) { return $Value -join '; ' }
    [string]::Format([Globalization.CultureInfo]::InvariantCulture, '{0}', $Value)
}

function ConvertTo-CsvText([object[]] $Lines) {
    $quote = { '"' + $args[0].Replace('"', '""') + '"' }
    @(
        ($Lines[0].PSObject.Properties | ForEach-Object { & $quote $_.Name }) -join ','
        foreach ($line in $Lines) {
            ($line.PSObject.Properties | ForEach-Object { & $quote (ConvertTo-Word $_.Value) }) -join ','
        }
    ) -join "`n"
}

function ConvertTo-JsonText([object[]] $Lines) {
    $stream = [IO.MemoryStream]::new()
    $options = [Text.Json.JsonWriterOptions]::new()
    $options.Indented = $true
    $writer = [Text.Json.Utf8JsonWriter]::new($stream, $options)
    $writer.WriteStartArray()
    foreach ($line in $Lines) {
        $writer.WriteStartObject()
        foreach ($property in $line.PSObject.Properties) {
            $writer.WritePropertyName($property.Name)
            $value = $property.Value
            if ($null -eq $value) { $writer.WriteNullValue() }
            elseif ($value -is [bool]) { $writer.WriteBooleanValue($value) }
            elseif ($value -is [string[]]) {
                $writer.WriteStartArray()
                foreach ($item in $value) { $writer.WriteStringValue($item) }
                $writer.WriteEndArray()
            }
            elseif ($value -is [ValueType] -and $value -isnot [DateTimeOffset] -and $value -isnot [timespan]) { $writer.WriteNumberValue([long] $value) }
            else { $writer.WriteStringValue((ConvertTo-Word $value)) }
        }

        $writer.WriteEndObject()
    }

    $writer.WriteEndArray()
    $writer.Dispose()
    [Text.Encoding]::UTF8.GetString($stream.ToArray())
}

$lines = [Collections.Generic.List[object]]::new()
try {
    if ($Unknown) { Stop-ForWrongUse "Not understood: $Unknown" }
    $format = if ($Path) { [IO.Path]::GetExtension($Path) }
    if ($format -notin $null, '.csv', '.json') { Stop-ForWrongUse "-Path '$Path' has to end in .csv or .json." }
    $pairs = @(Read-RunbookInventory $Inventory $Name)
    Import-RunbookModule
}
catch {
    $ErrorActionPreference = 'Continue'
    $PSCmdlet.WriteError($_)
    exit 3
}

$code = 0
foreach ($pair in $pairs) {
    $primary = $standby = $null
    try {
        $standby = Read-RunbookServer $pair Standby
        $primary = Read-RunbookServer $pair Primary $(if ($standby.Server) { $standby.Server.SystemIdentifier })
        foreach ($line in @(Get-Line $primary $primary; Get-Line $standby $primary)) {
            $code = [Math]::Max($code, $(if ($line.Problem) { 2 } elseif ($line.Warnings -or $line.Recovery -or $line.UnfinishedOperations -or "$($line.Replay)" -notin '', 'Replaying') { 1 } else { 0 }))
            $lines.Add($line)
            $line
        }
    }
    catch {
        $code = 2
        $ErrorActionPreference = 'Continue'
        $PSCmdlet.WriteError($_)
        $ErrorActionPreference = 'Stop'
    }
    finally {
        Disconnect-RunbookHost @($primary.Host; $standby.Host)
    }
}

if ($Path) {
    try {
        $file = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
        $text = if ($format -eq '.csv') { ConvertTo-CsvText $lines } else { ConvertTo-JsonText $lines }

        # Written beside it and then renamed: who reads the report never sees half of it.
        [IO.File]::WriteAllText("$file.new", "$text`n")
        [IO.File]::Move("$file.new", $file, $true)
    }
    catch {
        $ErrorActionPreference = 'Continue'
        $PSCmdlet.WriteError($_)
        exit 4
    }
}

exit $code
