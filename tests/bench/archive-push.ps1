<#
.SYNOPSIS
Segments a second that leave a primary under a pgbench load: pitrps-archive against plain cp as archive_command, on the same host.
.DESCRIPTION
cp leaves it to the kernel when a segment gets to the disk; pitrps-archive says "archived" when it is there. More is better. Progress goes to the error output.
.PARAMETER Module
The folder of the built module.
.PARAMETER Segments
Segments that wait when the command gets at them, in each measurement.
.PARAMETER Runs
Measurements of each; they take turns, and the medians count.
#>
param(
    [string] $Module,
    [ValidateRange(8, 10000)]
    [int] $Segments = 48,
    [ValidateRange(1, 100)]
    [int] $Runs = 3
)

$bench = 'archive-push'
. "$PSScriptRoot/shared/Lab.ps1"
. "$PSScriptRoot/shared/Push.ps1"
Import-Module "$Module/PitrPS.psd1"

try {
    $scene = New-PushScene
    $null = $scene.Server | Enable-WalArchive -Path "$pushFolder/ours" -HeartbeatInterval 0 -Force
    $null = Invoke-OnHost $scene.Primary "install -d -o postgres -g postgres -m 0700 $pushFolder/theirs"
    $commands = [ordered]@{
        Theirs = "test ! -f $pushFolder/theirs/%f && cp %p $pushFolder/theirs/%f"
        Ours   = "/usr/local/lib/pitrps/pitrps-archive $pushFolder/ours ""%p"" ""%f"""
    }
    $rates = @{ Theirs = @(); Ours = @() }
    foreach ($run in 1..$Runs) {
        foreach ($who in $commands.Keys) {
            $rate = Measure-Push $scene $commands[$who] $Segments
            Show-Progress ([string]::Format($culture, '{0} {1:0.0} segments/s', $who.ToLowerInvariant(), $rate))
            $rates[$who] += $rate
            $null = Invoke-OnHost $scene.Primary "find $pushFolder -name '0*' -type f -delete; sync"
        }
    }
}
finally {
    Remove-BenchLab
}

@{ Ours = Get-Median $rates.Ours; Theirs = Get-Median $rates.Theirs; Unit = 'segments/s' }
