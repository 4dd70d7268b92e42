# Import-Module PitrPS in a fresh process against an empty module there, both in the shell that runs this: the median of the whole processes' times.
param([string] $Module, [int] $Runs = 11)

# pwsh that is installed as a .NET tool runs in dotnet itself.
$shell = [Environment]::ProcessPath
if ([IO.Path]::GetFileNameWithoutExtension($shell) -eq 'dotnet') {
    $shell = @(Get-Command pwsh -CommandType Application)[0].Source
}

$empty = [IO.Path]::Combine([IO.Path]::GetTempPath(), "pitrps-bench-$PID", 'Empty')
$null = [IO.Directory]::CreateDirectory($empty)
[IO.File]::WriteAllText([IO.Path]::Combine($empty, 'Empty.psm1'), '')
[IO.File]::WriteAllText([IO.Path]::Combine($empty, 'Empty.psd1'), "@{ RootModule = 'Empty.psm1'; ModuleVersion = '1.0'; FunctionsToExport = @(); CmdletsToExport = @(); AliasesToExport = @() }")

function Measure-Import([string] $Path) {
    $watch = [Diagnostics.Stopwatch]::StartNew()
    $null = & $shell -NoProfile -NonInteractive -Command "Import-Module '$Path' -ErrorAction Stop"
    if ($LASTEXITCODE -ne 0) {
        throw "Import-Module $Path ended with $LASTEXITCODE in $shell."
    }

    $watch.Elapsed.TotalMilliseconds
}

function Get-Median([double[]] $Values) {
    [Array]::Sort($Values)
    $Values[[int][Math]::Floor($Values.Count / 2)]
}

try {
    # Taking turns, so that whatever else the machine does meets both; the first of each only warms the disk.
    $times = @{ Ours = @(); Theirs = @() }
    foreach ($run in 0..$Runs) {
        $theirs = Measure-Import $empty
        $ours = Measure-Import $Module
        if ($run -gt 0) {
            $times.Theirs += $theirs
            $times.Ours += $ours
        }
    }
}
finally {
    [IO.Directory]::Delete([IO.Path]::GetDirectoryName($empty), $true)
}

@{ Ours = Get-Median $times.Ours; Theirs = Get-Median $times.Theirs; Unit = 'ms' }
