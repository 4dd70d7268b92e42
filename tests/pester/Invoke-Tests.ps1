# The Pester tests of this folder, in pwsh, with the built module as a user has it; "passed failed skipped" goes into the file that is named.
param([string] $ResultFile)

$ErrorActionPreference = 'Stop'
if (-not (Get-Module Pester -ListAvailable | Where-Object { $_.Version.Major -ge 5 })) {
    exit 3
}

Import-Module Pester -MinimumVersion 5.0.0
$configuration = New-PesterConfiguration
$configuration.Run.Path = $PSScriptRoot
$configuration.Run.PassThru = $true
$configuration.Output.Verbosity = 'Normal'
$result = Invoke-Pester -Configuration $configuration
$skipped = $result.SkippedCount + $result.NotRunCount + $result.InconclusiveCount
$failed = $result.FailedCount + $result.FailedBlocksCount + $result.FailedContainersCount
if ($ResultFile) {
    [IO.File]::WriteAllText($ResultFile, "$($result.PassedCount) $failed $skipped")
}

exit [int]($failed -gt 0)
