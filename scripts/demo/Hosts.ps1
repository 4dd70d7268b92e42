# The demo's hosts, and what it does on them as an application or a curious admin would: by ssh and psql, not through PitrPS.

# A lab of the demo's own, or the hosts of a lab.json. Nothing of it is there yet.
function Get-DemoLab([string] $LabJson) {
    $folder = "/var/lib/pitrps-demo-$PID"
    if ($LabJson) { @{ Mine = $false; Json = $LabJson } } else { @{ Mine = $true; Folder = $folder; Json = "$folder/lab.json" } }
}

function Start-DemoLab([hashtable] $Lab, [string] $Family, [string] $Version) {
    if ($Lab.Mine) {
        $choice = @('--family', $Family) + @(if ($Version) { '--version', $Version })
        Step 'Two throw-away hosts' { Invoke-Lab $Lab.Folder create primary standby @choice }
    }

    $Lab.Hosts = Read-LabJson $Lab.Json
}

function Invoke-Lab([string] $Folder) {
    $env:PITRPS_LAB = $Folder
    & bash "$root/tests/lab/lab" @args | ForEach-Object { Show-Line "           $_" }
    if ($LASTEXITCODE -ne 0) {
        throw "tests/lab/lab $args ended with $LASTEXITCODE."
    }
}

# In a process of its own and not in the pipeline: after Ctrl+C nothing may run in that any more. And in a session of its own: a second Ctrl+C is not for it.
function Remove-DemoLab([hashtable] $Lab) {
    if (-not $Lab.Mine) { return }
    $start = [Diagnostics.ProcessStartInfo]::new('setsid', [string[]]@('--wait', 'bash', "$root/tests/lab/lab", 'destroy', '--all'))
    $start.Environment['PITRPS_LAB'] = $Lab.Folder
    $process = [Diagnostics.Process]::Start($start)
    $process.WaitForExit()
}

function Read-LabJson([string] $Path) {
    $json = [System.Text.Json.JsonDocument]::Parse([IO.File]::ReadAllText($Path))
    foreach ($item in $json.RootElement.GetProperty('hosts').EnumerateArray()) {
        $properties = [ordered]@{}
        foreach ($property in $item.EnumerateObject()) {
            $properties[$property.Name] = if ($property.Value.ValueKind -eq 'Number') { $property.Value.GetInt32() } else { $property.Value.ToString() }
        }

        [PSCustomObject] $properties
    }
}

# Runs a command on a host as root; its output as lines. It goes over as an argument: to feed a program, the engine needs a cmdlet that only pwsh has.
function Invoke-OnHost([PSCustomObject] $On, [string] $Script) {
    $quoted = "'" + $Script.Replace("'", "'\''") + "'"
    $lines = & ssh -n -i $On.keyFile -p $On.port -o "UserKnownHostsFile=$($On.knownHosts)" -o StrictHostKeyChecking=yes -o BatchMode=yes -o LogLevel=ERROR "$($On.user)@$($On.address)" "sudo sh -c $quoted"
    if ($LASTEXITCODE -ne 0) {
        throw "On $($On.name), ended with $LASTEXITCODE`: $Script"
    }

    $lines
}

function Invoke-Sql([PSCustomObject] $On, [string] $Sql) {
    Invoke-OnHost $On "cd /; runuser -u postgres -- psql -X -q -A -t -v ON_ERROR_STOP=1 -d postgres <<'SQL'`n$Sql;`nSQL"
}

function Get-TableSql([string] $Table, [long] $Count) {
    @"
CREATE TABLE $Table (id bigint PRIMARY KEY, content text NOT NULL);
INSERT INTO $Table SELECT i, md5(i::text) FROM generate_series(1, $Count) i
"@
}

function Get-Counts([PSCustomObject] $On, [string[]] $Tables) {
    $counts = @{}
    foreach ($table in $Tables) { $counts[$table] = [long] (Invoke-Sql $On "SELECT count(*) FROM $table") }
    $counts
}

# Until the standby has replayed what the primary has written so far.
function Wait-Replay([PSCustomObject] $PrimaryHost, $Standby) {
    $written = [string] (Invoke-Sql $PrimaryHost 'SELECT pg_current_wal_lsn()')
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do {
        $status = $Standby | Get-ReplicationStatus
        if ($status.Replayed -ge ($status.Replayed.GetType())::Parse($written)) { return }
        $null = [Threading.Tasks.Task]::Delay(200).Wait()
    } while ($clock.Elapsed.TotalMinutes -lt 10)
    throw "The standby has not replayed $written after 10 minutes."
}

# systemd lists the standby's files whenever it has stopped it, and before it starts it again: path, size, mtime, ctime.
function Watch-StandbyFiles([PSCustomObject] $On, $Standby) {
    $list = "find '$($Standby.DataDirectory)' -printf '%%p %%s %%T@ %%C@\n' | sort"
    $null = Invoke-OnHost $On @"
mkdir -p /run/systemd/system/$($Standby.ServiceUnit).d && cat > /run/systemd/system/$($Standby.ServiceUnit).d/demo.conf <<'UNIT' && systemctl daemon-reload
[Service]
PermissionsStartOnly=true
ExecStopPost=+/bin/sh -c "$list > /run/demo-stopped"
ExecStartPre=+/bin/sh -c "$list > /run/demo-starting"
UNIT
"@
}

function Get-StandbyFilesChanged([PSCustomObject] $On, $Standby) {
    $changed = [int] (Invoke-OnHost $On 'test -s /run/demo-stopped && test -s /run/demo-starting || exit 9; diff /run/demo-stopped /run/demo-starting | grep -c "^[<>]"; true')
    $null = Invoke-OnHost $On "rm -rf /run/demo-stopped /run/demo-starting /run/systemd/system/$($Standby.ServiceUnit).d/demo.conf && systemctl daemon-reload"
    $changed
}

function Show-HowToConnect([hashtable] $Lab) {
    Show-Line ''
    Show-Line 'The hosts are up:'
    foreach ($item in $Lab.Hosts) {
        Show-Line "  ssh -i $($item.keyFile) -p $($item.port) -o UserKnownHostsFile=$($item.knownHosts) $($item.user)@$($item.address)    # $($item.name)"
        Show-Line "  Connect-PgHost $($item.name) -Address $($item.address) -Port $($item.port) -UserName $($item.user) -KeyFile $($item.keyFile) -KnownHostsFile $($item.knownHosts) | Get-PgServer"
    }
    if ($Lab.Mine) {
        Show-Line "  PITRPS_LAB=$($Lab.Folder) bash tests/lab/lab destroy --all    # when you have seen enough"
    }
}
