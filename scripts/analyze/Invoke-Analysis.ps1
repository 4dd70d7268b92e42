# PSScriptAnalyzer over all PowerShell in the repository; one passed or failed for each file. Runs in pwsh only.
param([string] $ResultFile)

if (-not (Get-Module PSScriptAnalyzer -ListAvailable)) {
    exit 3
}

$root = [IO.Path]::GetFullPath("$PSScriptRoot/../..")
$files = Get-ChildItem $root -Recurse -File -Include *.ps1, *.psm1, *.psd1 | Where-Object FullName -NotMatch '[\\/](out|bin|obj)[\\/]'
$failed = 0
foreach ($file in $files) {
    $findings = Invoke-ScriptAnalyzer -Path $file.FullName -Settings "$PSScriptRoot/PSScriptAnalyzerSettings.psd1"
    foreach ($finding in $findings) {
        "$([IO.Path]::GetRelativePath($root, $file.FullName)):$($finding.Line): $($finding.RuleName): $($finding.Message)"
    }

    $failed += [int][bool]$findings
}

if ($ResultFile) {
    [IO.File]::WriteAllText($ResultFile, "$(@($files).Count - $failed) $failed 0")
}

exit [int]($failed -gt 0)
