# What the benchmarks share: hosts in a lab of their own, figures. Whoever dots this has $bench, the name that its progress is shown under.

$ErrorActionPreference = 'Stop'
$ConfirmPreference = 'None'
$root = [IO.Path]::GetFullPath([IO.Path]::Combine($PSScriptRoot, '..', '..', '..'))
$culture = [Globalization.CultureInfo]::InvariantCulture
$labBefore = $env:PITRPS_LAB
$env:PITRPS_LAB = "/var/lib/pitrps-bench-$PID"
. "$PSScriptRoot/../../../scripts/demo/Hosts.ps1"

function Show-Progress([string] $Text) { [Console]::Error.WriteLine("$bench`: $Text") }

function Connect-BenchHost([PSCustomObject] $To) {
    Connect-PgHost $To.name -Address $To.address -Port $To.port -UserName $To.user -KeyFile $To.keyFile -KnownHostsFile $To.knownHosts
}

function Use-BenchLab {
    $null = & bash "$root/tests/lab/lab" @args
    if ($LASTEXITCODE -ne 0) {
        throw "tests/lab/lab $args ended with $LASTEXITCODE."
    }
}

# In a process of its own and not in the pipeline: after Ctrl+C nothing may run in that any more.
function Remove-BenchLab {
    $start = [Diagnostics.ProcessStartInfo]::new('bash', [string[]]@("$root/tests/lab/lab", 'destroy', '--all'))
    $start.RedirectStandardOutput = $true
    $process = [Diagnostics.Process]::Start($start)
    $null = $process.StandardOutput.ReadToEnd()
    $process.WaitForExit()
    $env:PITRPS_LAB = $labBefore
}

function Get-Median([double[]] $Values) {
    [Array]::Sort($Values)
    $Values[[int][Math]::Floor(($Values.Count - 1) / 2)]
}

# A WAL position in bytes.
function Get-Position([string] $Lsn) {
    $high, $low = $Lsn.Split('/')
    [double][Convert]::ToUInt32($high, 16) * 4GB + [Convert]::ToUInt32($low, 16)
}

# Puts a script of the benchmarks on a host, as /root/NAME.
function Copy-BenchScript([PSCustomObject] $On, [string] $Path) {
    $script = [Convert]::ToBase64String([IO.File]::ReadAllBytes($Path))
    $null = Invoke-OnHost $On "echo $script | base64 -d > /root/$([IO.Path]::GetFileName($Path))"
}
