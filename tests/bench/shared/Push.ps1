# A primary with finished segments that wait to be archived, and pgbench at work on it: how many a second an archive_command gets away.
# Whoever dots this has dotted shared/Lab.ps1.

# The hosts' own root forgets a sync, so that it costs nothing there; the database's folder is a real one, and so are archives in it.
$pushFolder = '/var/lib/postgresql/archives'

# Makes the hosts (the first is the primary) in a lab of their own; give what comes back to the other functions.
function New-PushScene([string[]] $HostNames = 'primary') {
    Use-BenchLab create @HostNames
    $scene = @{ Hosts = @(Read-LabJson "$env:PITRPS_LAB/lab.json") }
    $scene.Primary = $scene.Hosts[0]
    $to = $scene.Primary
    $scene.Server = Connect-BenchHost $to | Install-PgServer
    $null = Invoke-OnHost $to "install -d -o postgres -g postgres -m 0755 $pushFolder"
    # A checkpoint in one of two measurements would be part of its result.
    foreach ($setting in 'archive_mode = on', "archive_command = ''", "max_wal_size = '64GB'", "checkpoint_timeout = '1h'") {
        Invoke-Sql $to "ALTER SYSTEM SET $setting"
    }

    $null = Invoke-OnHost $to "systemctl restart $($scene.Server.ServiceUnit)"
    $null = Invoke-OnHost $to "cd / && runuser -u postgres -- $($scene.Server.BinDirectory)/pgbench -q -i -s 20 postgres >/dev/null 2>&1"
    Invoke-Sql $to 'CREATE TABLE filling (v text)'
    $scene
}

# Fills segments while nothing is archived, starts the load, and lets the command at them; returns segments a second, by the server's own clock and count.
function Measure-Push([hashtable] $Scene, [string] $Command, [int] $Segments) {
    $on = $Scene.Primary
    $unit = 'push-load'
    Invoke-Sql $on "ALTER SYSTEM SET archive_command = ''; SELECT pg_reload_conf()" | Out-Null
    Invoke-Sql $on 'TRUNCATE filling; CHECKPOINT'
    $literal = "'" + $Command.Replace("'", "''") + "'"
    $said = Invoke-OnHost $on @"
cat > /tmp/push.sh <<'PUSH'
cd /
sql() { runuser -u postgres -- psql -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d postgres -c "`$1"; }
until [ "`$(ls /var/lib/postgresql/*/main/pg_wal/archive_status | grep -c 'ready`$')" -ge $($Segments + 2) ]; do
  sql "INSERT INTO filling SELECT repeat(md5(random()::text), 30) FROM generate_series(1, 60000)"
done
sync
systemd-run --quiet --unit=$unit --uid=postgres $($Scene.Server.BinDirectory)/pgbench -n -c 4 -j 2 -T 600 postgres
sleep 3
before=`$(sql "SELECT archived_count FROM pg_stat_archiver")
sql "ALTER SYSTEM SET archive_command = $($literal.Replace('\', '\\').Replace('"', '\"').Replace('$', '\$'))"
start=`$(sql "SELECT extract(epoch FROM clock_timestamp()) FROM (SELECT pg_reload_conf()) r")
while :; do
  now=`$(sql "SELECT archived_count - `$before, extract(epoch FROM last_archived_time) - `$start, failed_count FROM pg_stat_archiver")
  [ "`${now%% *}" -lt $Segments ] || break
  sleep 0.5
done
systemctl stop $unit; systemctl reset-failed $unit 2>/dev/null
echo "`$now"
PUSH
timeout 600 sh /tmp/push.sh
"@
    $count, $seconds, $null = "$said".Split(' ')
    [double]::Parse($count, $culture) / [double]::Parse($seconds, $culture)
}
