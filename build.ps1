<#
.SYNOPSIS
All that is done with this repository: ./build.ps1 -Task Build|Test|Lab|Demo|Bench|Analyze|Package|Clean [options of the task].
.DESCRIPTION
Runs in pwsh, and where there is none in scripts/host, which has PowerShell's core cmdlets only: so this uses the language, .NET and programs.
Options are written --name value or --name, for example: ./build.ps1 -Task Demo --rows 20000 --idle
#>
param(
    [ValidateSet('Build', 'Test', 'Lab', 'Demo', 'Bench', 'Analyze', 'Package', 'Clean')]
    [string] $Task = 'Build'
)

$ErrorActionPreference = 'Stop'
$root = $PSScriptRoot
$out = [IO.Path]::Combine($root, 'out')
$module = [IO.Path]::Combine($out, 'PitrPS')
$shell = [Environment]::ProcessPath
$env:DOTNET_CLI_TELEMETRY_OPTOUT = '1'
$env:DOTNET_NOLOGO = '1'

# Runs a program; its failure is ours.
function Invoke-Program([string] $Program, [string[]] $Arguments) {
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) {
        throw "$Program $($Arguments -join ' ') ended with $LASTEXITCODE."
    }
}

# "--rows 20 --idle" as @{ rows = '20'; idle = $true }.
function ConvertTo-Option([object[]] $Words) {
    $options = @{}
    $name = $null
    foreach ($word in $Words) {
        if ("$word" -match '^--?([A-Za-z][\w-]*)$') {
            $name = $Matches[1]
            $options[$name] = $true
        }
        elseif ($name) {
            $options[$name] = $word
            $name = $null
        }
        else {
            throw "'$word' is not an option; options are written --name value."
        }
    }

    $options
}

function Invoke-Build {
    Invoke-Program dotnet @('publish', "$root/src/PitrPS", '-c', 'Release', '-o', "$module/bin", '-v', 'quiet', '--nologo', '-maxcpucount:1')
    foreach ($file in [IO.Directory]::GetFiles("$root/module", '*', 'AllDirectories')) {
        $target = [IO.Path]::Combine($module, [IO.Path]::GetRelativePath("$root/module", $file))
        $null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($target))
        [IO.File]::Copy($file, $target, $true)
    }

    "Built $module"
}

function Invoke-Clean {
    if ([IO.Directory]::Exists($module)) {
        [IO.Directory]::Delete($module, $true)
    }
}

$tasks = @{
    Build = { Invoke-Build }
    Clean = { Invoke-Clean }
    Demo  = {
        Invoke-Build
        $options = ConvertTo-Option $args
        & "$root/scripts/demo/Demo.ps1" @options
    }
}

& $tasks[$Task] @args
exit $(if ($null -eq $LASTEXITCODE) { 0 } else { $LASTEXITCODE })
