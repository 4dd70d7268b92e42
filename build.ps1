<#
.SYNOPSIS
All that is done with this repository: ./build.ps1 -Task Build|Test|FaultMatrix|Lab|Demo|Bench|Analyze|Package|Clean [options of the task].
.DESCRIPTION
Runs in pwsh, and where there is none in scripts/host, which has PowerShell's core cmdlets only: so this uses the language, .NET and programs.
Options are written --name value or --name, for example: ./build.ps1 -Task Demo --rows 20000 --idle
Test takes --all (the long ones, too), --layer unit,lab,pester,analyze and --filter, as dotnet test has it.
#>
param(
    [ValidateSet('Build', 'Test', 'FaultMatrix', 'Lab', 'Demo', 'Bench', 'Analyze', 'Package', 'Clean')]
    [string] $Task = 'Build'
)

$ErrorActionPreference = 'Stop'
$root = $PSScriptRoot
$out = [IO.Path]::Combine($root, 'out')
$module = [IO.Path]::Combine($out, 'PitrPS')
# pwsh that is installed as a .NET tool runs in dotnet itself.
$shell = [Environment]::ProcessPath
if ([IO.Path]::GetFileNameWithoutExtension($shell) -eq 'dotnet') {
    $shell = @(Get-Command pwsh -CommandType Application)[0].Source
}

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

function Copy-Folder([string] $From, [string] $To) {
    foreach ($file in [IO.Directory]::GetFiles($From, '*', 'AllDirectories')) {
        $target = [IO.Path]::Combine($To, [IO.Path]::GetRelativePath($From, $file))
        $null = [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName($target))
        [IO.File]::Copy($file, $target, $true)
    }
}

function Invoke-Build {
    Invoke-Program dotnet @('publish', "$root/src/PitrPS", '-c', 'Release', '-o', "$module/bin", '-v', 'quiet', '--nologo', '-maxcpucount:1')
    Copy-Folder "$root/module" $module
    Copy-Folder "$root/scripts/runbooks" "$module/runbooks"
    [IO.File]::Copy("$root/LICENSE", "$module/LICENSE", $true)

    # In a process of its own, which imports the module and so holds its files open.
    Invoke-Program $shell @('-NoProfile', '-File', "$root/scripts/help/New-ModuleHelp.ps1", $module)
    "Built $module"
}

# What the layers of tests came to. One that broke before it could count is one failure.
$tally = @{ Passed = 0; Failed = 0; Skipped = 0; Lines = [Collections.Generic.List[string]]::new(); Failures = [Collections.Generic.List[string]]::new() }

function Add-Tally([string] $Layer, [int] $Passed, [int] $Failed, [int] $Skipped) {
    $tally.Passed += $Passed
    $tally.Failed += $Failed
    $tally.Skipped += $Skipped
    $tally.Lines.Add("$Layer`: $Passed passed, $Failed failed, $Skipped skipped")
}

# The layer's tests in one process, or in several side by side, each with those that its filter takes and, where they have one, a lab of its own.
function Invoke-XunitLayer([string] $Project, [string] $Filter, [string[]] $Parts = @('')) {
    Invoke-Program dotnet @('build', "$root/tests/$Project", '--nologo', '-v', 'quiet', '-maxcpucount:1')
    $null = [IO.Directory]::CreateDirectory("$out/test")
    $lab = $env:PITRPS_LAB
    $runs = foreach ($part in $Parts) {
        $results = [IO.Path]::Combine($out, 'test', $Parts.Count -eq 1 ? "$Project.trx" : "$Project-$([array]::IndexOf($Parts, $part) + 1).trx")
        [IO.File]::Delete($results)
        $start = [Diagnostics.ProcessStartInfo]::new('dotnet')
        $arguments = 'test', "$root/tests/$Project", '--no-build', '--nologo', '--logger', "trx;LogFileName=$results", '--logger', 'console;verbosity=minimal'
        $filters = @($Filter, $part) -ne ''
        if ($filters) {
            $arguments += '--filter', ('(' + ($filters -join ')&(') + ')')
        }

        foreach ($word in $arguments) {
            $start.ArgumentList.Add($word)
        }

        $start.Environment['PITRPS_LAB'] = $part ? "$lab-$([array]::IndexOf($Parts, $part) + 1)" : $lab
        @{ Results = $results; Process = [Diagnostics.Process]::Start($start) }
    }

    try {
        foreach ($run in $runs) {
            $run.Process.WaitForExit()
        }
    }
    finally {
        foreach ($run in $runs) {
            if (-not $run.Process.HasExited) {
                $run.Process.Kill($true)
            }
        }
    }

    $sum = @{ passed = 0; executed = 0; total = 0; broken = 0 }
    foreach ($run in $runs) {
        if (-not [IO.File]::Exists($run.Results)) {
            $sum.broken++
            continue
        }

        $trx = [Xml.XmlDocument]::new()
        $trx.Load($run.Results)
        $counters = $trx.TestRun.ResultSummary.Counters
        foreach ($name in 'passed', 'executed', 'total') {
            $sum.$name += [int]$counters.$name
        }

        # Ended otherwise than its tests did.
        if ([int]$counters.executed -eq [int]$counters.passed -and $run.Process.ExitCode -ne 0) {
            $sum.broken++
        }

        Add-Findings $trx
    }

    Add-Tally $Project $sum.passed ($sum.executed - $sum.passed + $sum.broken) ($sum.total - $sum.executed)
}

function Add-Findings([xml] $Trx) {
    foreach ($result in $Trx.TestRun.Results.UnitTestResult) {
        if ($result.outcome -eq 'Failed') {
            $tally.Failures.Add("failed: $($result.testName)`n    $("$($result.Output.ErrorInfo.Message)".Replace("`n", "`n    "))")
        }

        # What a test of many cases says of them together.
        foreach ($line in "$($result.Output.StdOut)".Split("`n")) {
            if ($line -match '^[a-z-]+: \d+ of \d+ ok\s*$') {
                $tally.Lines.Add($line.TrimEnd())
            }
        }
    }
}

# A layer that only pwsh can run writes "passed failed skipped" into the file that it is given; exit code 3 says that it has not what it needs.
function Invoke-PwshLayer([string] $Layer, [string] $Script) {
    if (-not (Get-Command pwsh -CommandType Application -ErrorAction Ignore)) {
        $tally.Lines.Add("$Layer`: not run, there is no pwsh on this machine")
        return
    }

    $results = [IO.Path]::Combine($out, 'test', "$Layer.txt")
    [IO.File]::Delete($results)
    & pwsh -NoProfile -NonInteractive -File $Script $results
    if ($LASTEXITCODE -eq 3) {
        $tally.Lines.Add("$Layer`: not run, its module is not installed on this machine")
        return
    }

    if (-not [IO.File]::Exists($results)) {
        return Add-Tally $Layer 0 1 0
    }

    $counts = [IO.File]::ReadAllText($results).Split()
    Add-Tally $Layer $counts[0] $counts[1] $counts[2]
}

# The tests' lab lies apart from the one of the Lab task, so that neither takes the other's hosts away.
function Use-TestLab {
    if (-not $env:PITRPS_LAB) {
        $env:PITRPS_LAB = '/var/lib/pitrps-lab-tests'
    }
}

# With those that this run has beside it: of the fault matrix, and of the parts of a layer.
function Remove-TestLab {
    if ($env:PITRPS_LAB_KEEP -eq '1') {
        return
    }

    $folder = $env:PITRPS_LAB
    $beside = [IO.Directory]::GetDirectories([IO.Path]::GetDirectoryName($folder), [IO.Path]::GetFileName($folder) + '-*')
    foreach ($lab in @($folder) + $beside.Where({ $_.Substring($folder.Length) -match '^-(faults-.*|\d+)$' })) {
        if ([IO.Directory]::Exists($lab)) {
            $env:PITRPS_LAB = $lab
            & "$root/tests/lab/lab" destroy --all
        }
    }

    $env:PITRPS_LAB = $folder
}

# The lab tests wait for their hosts half of the time, so two halves go side by side; on hosts of the user's own they cannot. What the first does not name is in the second.
$firstHalf = 'Archive', 'Incidents', 'Recovery', 'Replication', 'Rescue'
$labParts = ($firstHalf.ForEach({ "FullyQualifiedName~.LabTests.$_." }) -join '|'), ($firstHalf.ForEach({ "FullyQualifiedName!~.LabTests.$_." }) -join '&')

function Invoke-Test([hashtable] $Options) {
    Invoke-Build
    $null = [IO.Directory]::CreateDirectory([IO.Path]::Combine($out, 'test'))
    $layers = if ($Options.layer) { "$($Options.layer)".Split(',') } else { 'unit', 'lab', 'pester', 'analyze' }
    Use-TestLab
    try {
        switch ($layers) {
            unit { Invoke-XunitLayer PitrPS.Tests $Options.filter }
            # The fault matrix has a task of its own. Long are those that take a minute or more and are not the first to tell when something breaks.
            lab { Invoke-XunitLayer PitrPS.LabTests ($Options.filter ? $Options.filter : $Options.all ? 'Category!=FaultMatrix' : 'Category!=FaultMatrix&Category!=Long') ($env:PITRPS_LAB_JSON ? @('') : $labParts); Remove-TestLab }
            pester { Invoke-PwshLayer pester "$root/tests/pester/Invoke-Tests.ps1"; Remove-TestLab }
            analyze { Invoke-PwshLayer analyze "$root/scripts/analyze/Invoke-Analysis.ps1" }
            default { throw "There is no layer '$_': unit, lab, pester, analyze." }
        }
    }
    finally {
        Remove-TestLab
    }

    ''
    # Once more, because far above is where nobody looks.
    $tally.Failures
    $tally.Lines
    "$($tally.Passed) passed, $($tally.Failed) failed, $($tally.Skipped) skipped"
    exit [int]($tally.Failed -gt 0)
}

# Each step of each plan into each fault; the table grows while it runs, and its last line says how many of them were well. --only takes words that a line must have, or scenarios.
function Invoke-FaultMatrix([hashtable] $Options) {
    Invoke-Build
    Use-TestLab
    $table = [IO.Path]::Combine($out, 'test', 'fault-matrix.txt')
    $said = [IO.Path]::Combine($out, 'test', 'fault-matrix.log')
    $null = [IO.Directory]::CreateDirectory([IO.Path]::Combine($out, 'test'))
    [IO.File]::WriteAllText($table, '')
    $env:PITRPS_FAULT_TABLE = $table
    $env:PITRPS_FAULTS = if ($Options.only) { $Options.only } else { 'all' }
    if ($Options.labs) {
        $env:PITRPS_FAULT_LABS = $Options.labs
    }

    Invoke-Program dotnet @('build', "$root/tests/PitrPS.LabTests", '--nologo', '-v', 'quiet', '-maxcpucount:1')
    $start = [Diagnostics.ProcessStartInfo]::new('sh')
    foreach ($word in '-c', 'exec dotnet test "$1" --no-build --nologo --filter Category=FaultMatrix > "$2" 2>&1', 'sh', "$root/tests/PitrPS.LabTests", $said) {
        $start.ArgumentList.Add($word)
    }

    $shown = 0
    $tests = [Diagnostics.Process]::Start($start)
    try {
        do {
            $ended = $tests.WaitForExit(1000)
            $text = [IO.File]::ReadAllText($table)
            # Whole lines only.
            $whole = $text.LastIndexOf("`n") + 1
            if ($whole -gt $shown) {
                $text.Substring($shown, $whole - $shown).TrimEnd("`n")
                $shown = $whole
            }
        } until ($ended)
    }
    finally {
        if (-not $tests.HasExited) {
            $tests.Kill($true)
        }

        Remove-TestLab
    }

    if (-not $shown -or $tests.ExitCode -ne 0) {
        [Console]::Error.WriteLine("The fault matrix failed; see $said.")
    }

    exit [int]($tests.ExitCode -ne 0)
}

function Invoke-Lab([string[]] $Arguments) {
    Invoke-Program "$root/tests/lab/lab" (@('create', 'primary', 'standby') + $Arguments)
    $folder = if ($env:PITRPS_LAB) { $env:PITRPS_LAB } else { '/var/lib/pitrps-lab' }
    $lab = [Text.Json.JsonDocument]::Parse([IO.File]::ReadAllText("$folder/lab.json"))
    ''
    "Import-Module $module"
    foreach ($each in $lab.RootElement.GetProperty('hosts').EnumerateArray()) {
        $field = { $each.GetProperty($args[0]).ToString() }
        "`$$(& $field name) = Connect-PgHost $(& $field name) -Address $(& $field address) -Port $(& $field port) -UserName $(& $field user) -KeyFile $(& $field keyFile) -KnownHostsFile $(& $field knownHosts)"
    }

    "tests/lab/lab ssh primary        # a shell; tests/lab/lab destroy --all takes everything away"
}

# Each file of tests/bench measures one thing against another and returns @{ Ours; Theirs; Unit }: of a time less is better, of a speed more. One that
# makes several of its measurements of the same hosts returns each with its Name, which begins with the file's.
function Invoke-Bench([string] $Name, [hashtable] $Options) {
    $files = [IO.Directory]::GetFiles("$root/tests/bench", '*.ps1')
    [Array]::Sort($files)
    $chosen = @($files | Where-Object { [IO.Path]::GetFileNameWithoutExtension($_).StartsWith($Name) })
    if (-not $chosen) {
        $chosen = @($files | Where-Object { $Name.StartsWith([IO.Path]::GetFileNameWithoutExtension($_) + '-') })
    }

    if (-not $chosen) {
        throw "There is no benchmark '$Name': $(($files | ForEach-Object { [IO.Path]::GetFileNameWithoutExtension($_) }) -join ', ')."
    }

    $culture = [Globalization.CultureInfo]::InvariantCulture
    foreach ($file in $chosen) {
        foreach ($measured in & $file $module @Options) {
            $called = if ($measured.Name) { $measured.Name } else { [IO.Path]::GetFileNameWithoutExtension($file) }
            if ($called.StartsWith($Name)) {
                [string]::Format($culture, 'bench {0} ours={1:0.##} theirs={2:0.##} unit={3} ratio={4:0.00}',
                    $called, $measured.Ours, $measured.Theirs, $measured.Unit, ($measured.Ours / $measured.Theirs))
            }
        }
    }
}

# A file to unzip into a folder of $env:PSModulePath.
function Invoke-Package {
    Invoke-Clean
    Invoke-Build
    $manifest = [IO.File]::ReadAllText("$module/PitrPS.psd1")
    $version = [regex]::Match($manifest, "ModuleVersion\s*=\s*'([^']+)'").Groups[1].Value
    $package = [IO.Path]::Combine($out, "PitrPS-$version.zip")
    [IO.File]::Delete($package)
    [IO.Compression.ZipFile]::CreateFromDirectory($module, $package, 'SmallestSize', $true)
    "Packed $package"
}

function Invoke-Clean {
    if ([IO.Directory]::Exists($module)) {
        [IO.Directory]::Delete($module, $true)
    }
}

$tasks = @{
    Build   = { Invoke-Build }
    Test    = { Invoke-Test (ConvertTo-Option $args) }
    FaultMatrix = { Invoke-FaultMatrix (ConvertTo-Option $args) }
    Lab     = { Invoke-Build; Invoke-Lab $args }
    Demo    = { Invoke-Build; $options = ConvertTo-Option $args; & "$root/scripts/demo/Demo.ps1" @options }
    Bench   = { Invoke-Build; $name, $words = $args; Invoke-Bench $name (ConvertTo-Option $words) }
    Analyze = { $null = [IO.Directory]::CreateDirectory("$out/test"); Invoke-PwshLayer analyze "$root/scripts/analyze/Invoke-Analysis.ps1"; $tally.Lines; exit [int]($tally.Failed -gt 0) }
    Package = { Invoke-Package }
    Clean   = { Invoke-Clean }
}

& $tasks[$Task] @args
exit [int]$LASTEXITCODE
