<#
.SYNOPSIS
How fast a primary archives: pitrps-archive against pgbackrest archive-push, synchronous, into a local POSIX repository, both with their defaults.
.DESCRIPTION
One throw-away host with Debian's pgbackrest. A backlog of segments is archived while pgbench writes on; segments a second, the median
of some rounds in which they take turns. The ratio is that of throughput: more is better.
.PARAMETER Module
The folder of the built module.
.PARAMETER Segments
Segments of a backlog.
.PARAMETER Rounds
How often each is measured.
#>
param(
    [string] $Module,
    [ValidateRange(4, 1000)]
    [int] $Segments = 24,
    [ValidateRange(1, 21)]
    [int] $Rounds = 3
)

$bench = 'archive-push-pgbackrest'
. "$PSScriptRoot/shared/Lab.ps1"
Import-Module "$Module/PitrPS.psd1"

# The hosts' own root forgets a sync, so that it costs nothing there; the database's folder is a real one, and so are archives in it.
$folder = '/var/lib/postgresql/archives'

try {
    Show-Progress 'a primary, and pgbackrest beside it'
    Use-BenchLab create primary
    $on = @(Read-LabJson "$env:PITRPS_LAB/lab.json")[0]
    $primary = Connect-BenchHost $on |
        Install-PgServer | Enable-WalArchive -Path $folder/ours
    $push = [IO.File]::ReadAllText("$PSScriptRoot/archive-push-pgbackrest/push.sh")
    $null = Invoke-OnHost $on @"
set -e
DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install pgbackrest >/dev/null
printf '%s\n' '[global]' 'repo1-path=$folder/pgbackrest' '[main]' 'pg1-path=$($primary.DataDirectory)' > /etc/pgbackrest.conf
chown postgres:postgres /etc/pgbackrest.conf
install -d -o postgres -g postgres -m 0750 $folder/pgbackrest
cat > /root/push.sh <<'PUSH'
$push
PUSH
cd /
runuser -u postgres -- psql -X -q -c 'CREATE DATABASE bench' -c 'CREATE TABLE filling (v text)'
runuser -u postgres -- pgbench -i -q -s 20 bench >/dev/null 2>&1
runuser -u postgres -- pgbackrest --stanza=main stanza-create
"@
    $ways = [ordered]@{
        Ours   = Invoke-Sql $on 'SHOW archive_command'
        Theirs = 'pgbackrest --stanza=main archive-push %p'
    }
    $rates = @{ Ours = @(); Theirs = @() }
    foreach ($round in 1..$Rounds) {
        foreach ($way in $ways.Keys) {
            $command = $ways[$way].Replace("'", "'\''")
            $rate = [double]::Parse((Invoke-OnHost $on "exec sh /root/push.sh $Segments '$command'"), $culture)
            Show-Progress ([string]::Format($culture, '  {0}: {1:0.0} segments/s', $ways[$way].Split(' ')[0], $rate))
            $rates[$way] += $rate
        }
    }
}
finally {
    Remove-BenchLab
}

@{ Ours = Get-Median $rates.Ours; Theirs = Get-Median $rates.Theirs; Unit = 'segments/s' }
