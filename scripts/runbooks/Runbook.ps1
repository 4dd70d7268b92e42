<#
.SYNOPSIS
What the runbooks beside this file share: the inventory of pairs, the ways to log in, and how results look. It is dot-sourced, not run.
.DESCRIPTION
Uses PowerShell's core cmdlets only, as the runbooks do, so that tests can run them where there is no pwsh. inventory.example.psd1 shows an inventory with everything that it can say.
#>

# What an entry may say, by where it stands; whatever is not here is a slip of the pen and is refused.
$loginKeys = 'UserName', 'KeyFile', 'KnownHostsFile', 'Port', 'JumpHost', 'CredentialSecret', 'KeyPassphraseSecret', 'SudoPasswordSecret', 'Vault'
$limitKeys = 'Delay', 'ReplayLag', 'ReceiveLagBytes', 'ArchiveAge', 'ClockSkew'
$routeKeys = 'PrimaryAddress', 'PrimarySshPort'
$hostKeys = 'Name', 'Address', 'Server'

# The module: the one of this session, the one that this folder is packed with, the one that this repository has built, or an installed one.
function Import-RunbookModule {
    # A line each, where there is pwsh; without, the results are lists.
    $view = Get-Command Update-FormatData -ErrorAction Ignore
    if ($view) { & $view "$PSScriptRoot/Runbook.Format.ps1xml" -WhatIf:$false -Confirm:$false }
    if (Get-Command Connect-PgHost -ErrorAction Ignore) { return }
    foreach ($manifest in "$PSScriptRoot/../PitrPS.psd1", "$PSScriptRoot/../../out/PitrPS/PitrPS.psd1") {
        if ([IO.File]::Exists($manifest)) {
            return Import-Module $manifest
        }
    }

    Import-Module PitrPS
}

# The wrong use of a runbook, as against what goes wrong on a host.
function Stop-ForWrongUse([string] $Message) {
    throw [ArgumentException]::new($Message)
}

# Lists that came as one word, as pwsh -File hands them over; a comma inside double quotes belongs to a name.
function Split-RunbookList([string[]] $Words) {
    foreach ($word in $Words) {
        foreach ($part in [regex]::Split($word, ',(?=(?:[^"]*"[^"]*")*[^"]*$)')) {
            if ($part.Trim()) { $part.Trim() }
        }
    }
}

function ConvertTo-RunbookTime([string] $Text, [string] $Parameter) {
    $time = [DateTimeOffset]::MinValue
    if (-not [DateTimeOffset]::TryParse($Text, [Globalization.CultureInfo]::InvariantCulture, [Globalization.DateTimeStyles]::AssumeLocal, [ref] $time)) {
        Stop-ForWrongUse "$Parameter '$Text' is no time; write it as 2026-11-23 14:05:00+00."
    }

    $time
}

# The pairs of an inventory, or those with these names.
function Read-RunbookInventory([string] $Path, [string[]] $Name) {
    if (-not $Path) { Stop-ForWrongUse 'No inventory: give -Inventory hosts.psd1 (inventory.example.psd1 shows how it looks).' }
    $full = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Path)
    if (-not [IO.File]::Exists($full)) { Stop-ForWrongUse "There is no inventory at $full." }

    # Data only: nothing in the file is run.
    $errors = $null
    $ast = [Management.Automation.Language.Parser]::ParseFile($full, [ref] $null, [ref] $errors)
    $table = $ast.Find({ $args[0] -is [Management.Automation.Language.HashtableAst] }, $false)
    if ($errors -or -not $table) { Stop-ForWrongUse "$full is no data file of PowerShell: $(if ($errors) { $errors[0].Message } else { 'it has no @{ }' })" }
    try {
        $data = $table.SafeGetValue()
    }
    catch {
        Stop-ForWrongUse "$full may hold constants only, no commands and no variables: $($_.Exception.Message)"
    }

    Assert-RunbookKey $data ('Defaults', 'Pairs') 'the inventory'
    $defaults = if ($data.Defaults) { $data.Defaults } else { @{} }
    Assert-RunbookKey $defaults ($loginKeys + $limitKeys) 'Defaults'
    $folder = [IO.Path]::GetDirectoryName($full)
    $pairs = @(foreach ($entry in $data.Pairs) { ConvertTo-RunbookPair $entry $defaults $folder })
    if (-not $pairs) { Stop-ForWrongUse "$full has no Pairs." }
    $wanted = @(Split-RunbookList $Name)
    foreach ($one in $wanted) {
        if ($pairs.Name -notcontains $one) { Stop-ForWrongUse "$full has no pair named '$one'; it has: $($pairs.Name -join ', ')." }
    }

    $pairs | Where-Object { -not $wanted -or $wanted -contains $_.Name }
}

function ConvertTo-RunbookPair([object] $Entry, [hashtable] $Defaults, [string] $Folder) {
    if ($Entry -isnot [hashtable]) { Stop-ForWrongUse "A pair is written @{ Name = ...; Primary = ...; Standby = ... }, not '$Entry'." }
    $title = if ($Entry.Name) { "the pair $($Entry.Name)" } else { 'a pair' }
    Assert-RunbookKey $Entry ('Name', 'Primary', 'Standby' + $loginKeys + $limitKeys + $routeKeys) $title
    $settings = @{ ReplayLag = '01:00:00'; ReceiveLagBytes = 256MB; ArchiveAge = '00:15:00'; ClockSkew = '00:01:00' }
    foreach ($source in $Defaults, $Entry) {
        foreach ($key in $source.Keys) { $settings[$key] = $source[$key] }
    }

    $pair = @{ Name = $Entry.Name; Route = @{} }
    foreach ($role in 'Primary', 'Standby') {
        $given = $Entry[$role]
        if ($given -is [string]) { $given = @{ Name = $given } }
        if ($given -isnot [hashtable] -or -not $given.Name) { Stop-ForWrongUse "$title has no $role, which is a host's name or @{ Name = ... }." }
        Assert-RunbookKey $given ($hostKeys + $loginKeys) "$role of $title"
        $login = @{ Folder = $Folder }
        foreach ($key in $loginKeys) {
            if ($settings.ContainsKey($key)) { $login[$key] = $settings[$key] }
        }

        foreach ($key in $given.Keys) { $login[$key] = $given[$key] }
        $pair[$role] = $login
    }

    if (-not $pair.Name) { $pair.Name = $pair.Standby.Name }
    foreach ($key in $routeKeys) {
        if ($settings.ContainsKey($key)) { $pair.Route[$key] = $settings[$key] }
    }

    try {
        $pair.Delay = if ($settings.ContainsKey('Delay')) { [timespan] $settings.Delay } else { $null }
        $pair.ReplayLag = [timespan] $settings.ReplayLag
        $pair.ArchiveAge = [timespan] $settings.ArchiveAge
        $pair.ClockSkew = [timespan] $settings.ClockSkew
        $pair.ReceiveLagBytes = [long] $settings.ReceiveLagBytes
    }
    catch {
        Stop-ForWrongUse "In ${title}: $($_.Exception.Message)"
    }

    [PSCustomObject] $pair
}

function Assert-RunbookKey([hashtable] $Table, [string[]] $Known, [string] $Where) {
    foreach ($key in $Table.Keys) {
        if ($Known -notcontains $key) { Stop-ForWrongUse "'$key' in $Where is not known; known are: $($Known -join ', ')." }
    }
}

# A secret by its name, as Get-Secret keeps it: a SecureString or a PSCredential, never plain text. Nothing where SecretManagement is not installed.
function Get-RunbookSecret([string] $Name, [string] $Vault, [type] $Type) {
    $command = Get-Command Get-Secret -ErrorAction Ignore
    if (-not $command) { return }
    $where = @{ Name = $Name; ErrorAction = 'Stop' }
    if ($Vault) { $where.Vault = $Vault }
    $secret = & $command @where
    if ($secret -isnot $Type) {
        throw "The secret '$Name' is not a $($Type.Name), as it has to be here; Get-SecretInfo shows what it is."
    }

    $secret
}

# Connects as an entry of the inventory says: with the secret that it names where SecretManagement is installed, else with the key file. Host keys are strict.
function Connect-RunbookHost {
    [CmdletBinding()]
    param([hashtable] $Login)

    $way = @{ Name = $Login.Name; ErrorAction = 'Stop' }
    foreach ($key in 'Address', 'Port', 'UserName', 'JumpHost') {
        if ($Login.ContainsKey($key)) { $way[$key] = $Login[$key] }
    }

    if ($Login.KnownHostsFile) { $way.KnownHostsFile = Resolve-RunbookFile $Login.KnownHostsFile $Login.Folder }
    if ($Login.CredentialSecret) { $way.Credential = Get-RunbookSecret $Login.CredentialSecret $Login.Vault ([pscredential]) }
    if ($Login.KeyFile -and -not $way.Credential) { $way.KeyFile = @(foreach ($file in $Login.KeyFile) { Resolve-RunbookFile $file $Login.Folder }) }
    if ($Login.KeyPassphraseSecret) { $way.KeyPassphrase = Get-RunbookSecret $Login.KeyPassphraseSecret $Login.Vault ([securestring]) }
    if ($Login.SudoPasswordSecret) { $way.SudoPassword = Get-RunbookSecret $Login.SudoPasswordSecret $Login.Vault ([securestring]) }
    foreach ($secret in 'Credential', 'KeyPassphrase', 'SudoPassword') {
        if ($Login["${secret}Secret"] -and -not $way[$secret]) {
            $PSCmdlet.WriteWarning("$($Login.Name): the inventory names the secret '$($Login["${secret}Secret"])', and there is no Get-Secret here (the module Microsoft.PowerShell.SecretManagement); going on with the key file.")
            $way.Remove($secret)
        }
    }

    Connect-PgHost @way
}

# A file as the inventory names it: ~ is the user's folder, and what is relative lies beside the inventory.
function Resolve-RunbookFile([string] $Path, [string] $Folder) {
    if ($Path -match '^~[\\/]') {
        return [IO.Path]::Combine([Environment]::GetFolderPath('UserProfile'), $Path.Substring(2))
    }

    [IO.Path]::GetFullPath($Path, $Folder)
}

# The server that an entry means: the one that it names, or the only one of its role on its host and of its cluster.
function Get-RunbookServer([object] $On, [hashtable] $Login, [string] $Role, [object] $Cluster) {
    if ($Login.Server) {
        $found = @(Get-PgServer $On -Name $Login.Server -ErrorAction Stop)
    }
    else {
        $all = @(Get-PgServer $On -ErrorAction Stop)
        $found = @($all | Where-Object { $_.IsStandby -eq ($Role -eq 'Standby') -and (-not $Cluster -or $_.SystemIdentifier -eq $Cluster) })
        if (-not $found -and $all.Count -eq 1) { $found = $all }
    }

    if ($found.Count -ne 1) {
        $names = ((@($found) + @($all)) | Where-Object { $_ } | ForEach-Object { $_.Name }) -join ', '
        throw "$($Login.Name) has $($found.Count) servers that could be the $($Role.ToLowerInvariant()) ($(if ($names) { "there are: $names" } else { 'there is none at all' })); name it in the inventory: $Role = @{ Name = '$($Login.Name)'; Server = '15/main' }."
    }

    $found[0]
}

# All that can be read of one server of a pair. What cannot be read is an error in Errors, by the name of the check that it belongs to, and the rest is read all the same.
function Read-RunbookServer([object] $Pair, [string] $Role, [object] $Cluster) {
    $login = $Pair.$Role
    $seen = @{ Pair = $Pair.Name; Role = $Role; Name = $login.Name; Host = $null; Server = $null; Status = $null; Recovery = $null; Operations = @(); Errors = @{}; ClockOffset = [timespan]::Zero }
    try { $seen.Host = Connect-RunbookHost $login }
    catch { $seen.Errors.Connect = $_ }
    if ($seen.Host -and $seen.Host.HasRoot) {
        try { $seen.Operations = @(Get-PitrOperation $seen.Host -ErrorAction Stop) }
        catch { $seen.Errors.Operation = $_ }
    }

    if ($seen.Host) {
        try { $seen.Server = Get-RunbookServer $seen.Host $login $Role $Cluster }
        catch { $seen.Errors.Server = $_ }
    }

    if ($seen.Server) {
        $seen.Name = $seen.Server.Id
        if ($Role -eq 'Standby' -and $seen.Host.HasRoot) {
            try { $seen.Recovery = Get-PitrRecovery $seen.Server -ErrorAction Stop | Where-Object { -not $_.CloneId } }
            catch { $seen.Errors.Recovery = $_ }
        }
    }

    if ($seen.Server -and $seen.Server.IsRunning) {
        try {
            $seen.Status = Get-ReplicationStatus $seen.Server -ErrorAction Stop
            $seen.ClockOffset = $seen.Status.Time - [DateTimeOffset]::UtcNow
        }
        catch { $seen.Errors.Status = $_ }
    }

    [PSCustomObject] $seen
}

function Disconnect-RunbookHost([object[]] $Hosts) {
    $open = @($Hosts | Where-Object { $_ })
    if ($open) { Disconnect-PgHost $open -ErrorAction Ignore }
}

# What went wrong and what to do next, of any error record.
function Get-RunbookFailure([Management.Automation.ErrorRecord] $Record) {
    $next = if ($Record.ErrorDetails) { $Record.ErrorDetails.RecommendedAction }
    @{
        Id      = "$($Record.FullyQualifiedErrorId)".Split(',')[0]
        Message = "$Record"
        Next    = if ($next) { $next } else { 'See to that, then run the same again.' }
    }
}

# What hosts say, without what a terminal would obey.
function Protect-RunbookText([string] $Text) {
    [regex]::Replace($Text, '[\p{Cc}\u202A-\u202E\u2066-\u2069-[\n\t]]', [string] [char] 0xFFFD)
}

# Nobody to ask: a scheduler, a pipe, or pwsh -NonInteractive.
function Test-RunbookOperator {
    if (-not $Host.UI -or -not $Host.UI.RawUI -or [Console]::IsInputRedirected) { return $false }
    foreach ($word in [Environment]::GetCommandLineArgs()) {
        if ($word.Length -gt 3 -and '-noninteractive'.StartsWith($word.ToLowerInvariant().Replace('--', '-'))) { return $false }
    }

    $true
}
