# What the demo shows in the terminal. [Console] and not the pipeline: results of functions stay clean, and scripts/host has no Write-Host.

$script:started = [Diagnostics.Stopwatch]::StartNew()

function Number([long] $Value) { $Value.ToString('N0', [Globalization.CultureInfo]::InvariantCulture) }

function Seconds([TimeSpan] $Value) { $Value.TotalSeconds.ToString('0.0', [Globalization.CultureInfo]::InvariantCulture) }

# The time since the last call for this clock.
function Split-Time([Diagnostics.Stopwatch] $Clock) {
    $elapsed = $Clock.Elapsed
    $Clock.Restart()
    $elapsed
}

function Show-Line([string] $Text) { [Console]::Out.WriteLine($Text) }

function Show-Chapter([string] $Title) {
    Show-Line ''
    Show-Line "== $Title"
}

function Show-Done([string] $Text, [TimeSpan] $Took) {
    Show-Line ('{0,7} s  {1}  ({2} s)' -f (Seconds $script:started.Elapsed), $Text, (Seconds $Took))
}

# Does it, says it with its time, and gives what came out.
function Step([string] $Title, [scriptblock] $Action) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $result = & $Action
    Show-Done $Title $clock.Elapsed
    $result
}

function Show-Hosts([string] $Primary, [string] $Standby, [string] $Family, [int] $Version, [string] $Archive, [string] $MountPoint) {
    $width = 36
    $left = @($Primary, "PostgreSQL $Version, $Family", '', 'archive_command', "  -> $Archive")
    $right = @($Standby, "PostgreSQL $Version, $Family", '', "$MountPoint", '  -> restore_command, 3 days behind')
    $between = @('', '  WAL stream (TLS)  ', ' ------------------> ', '  SSHFS, read-only  ', ' ------------------> ')
    Show-Line ''
    Show-Line ('  +{0}+{1}+{0}+' -f ('-' * ($width + 2)), (' ' * 21))
    for ($i = 0; $i -lt $left.Count; $i++) {
        Show-Line ('  | {0} |{1}| {2} |' -f $left[$i].PadRight($width), $between[$i].PadRight(21), $right[$i].PadRight($width))
    }
    Show-Line ('  +{0}+{1}+{0}+' -f ('-' * ($width + 2)), (' ' * 21))
}

function Show-Timeline($Incident, $Status, [TimeSpan] $Delay) {
    $at = $Incident.CommittedAt.ToUniversalTime()
    $replayed = if ($Status.ReplayedUpTo) { '{0:HH:mm:ss} UTC' -f $Status.ReplayedUpTo.ToUniversalTime() } else { "$($Status.Replayed)" }
    Show-Line ''
    Show-Line '            standby has replayed         the incident                              it would be gone'
    Show-Line '   ----------------|--------------------------X------------------------------------------|------->'
    Show-Line ('                   {0}  {1}  {2:yyyy-MM-dd HH:mm:ss} UTC' -f "up to $replayed".PadRight(20), ('{0:HH:mm:ss} UTC, xid {1}' -f $at, $Incident.TransactionId).PadRight(40), ($at + $Delay))
    Show-Line ('                                         commit at {0}; recovered to just before it' -f $Incident.CommitLsn)
    Show-Line ''
}
