#!/bin/sh
# push.sh SEGMENTS COMMAND: how fast this archive_command archives, in segments a second, while pgbench writes on. Run as root on the primary.
# A backlog of at least SEGMENTS is made first, with an archive_command that fails; the time from the arrival of its first to that of its last counts,
# because a server that has failed waits up to a second before it tries again.
set -eu
segments=$1 command=$2
cd /
sql() { runuser -u postgres -- psql -X -q -A -t -v ON_ERROR_STOP=1 -d postgres "$@"; }
set_command() {
  printf "ALTER SYSTEM SET archive_command = '%s';\n" "$(printf %s "$1" | sed "s/'/''/g")" | sql
  sql -c 'SELECT pg_reload_conf()' >/dev/null
}
until_so() { until [ "$(sql -c "SELECT $1")" = t ]; do sleep 0.05; done; }

set_command false
until_so "current_setting('archive_command') = 'false'"
sql -c 'TRUNCATE filling' -c CHECKPOINT -c 'SELECT pg_switch_wal()' >/dev/null
from=$(sql -c 'SELECT pg_current_wal_lsn()')
until [ "$(sql -c "SELECT pg_current_wal_lsn() - '$from' >= $segments * 16777216")" = t ]; do
  sql -c "INSERT INTO filling SELECT repeat(md5(random()::text), 30) FROM generate_series(1, 60000)"
done
last=$(sql -c 'SELECT pg_walfile_name(pg_switch_wal())')
backlog=$(sql -c "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'")
archived=$(sql -c 'SELECT archived_count FROM pg_stat_archiver')
sync

runuser -u postgres -- pgbench -n -c 4 -j 2 -T 3600 -R 100 bench >/dev/null 2>&1 &
trap 'kill "$!" 2>/dev/null || true' EXIT
set_command "$command"
until_so "archived_count > $archived FROM pg_stat_archiver"
began=$(date +%s.%N)
archived=$(($(sql -c 'SELECT archived_count FROM pg_stat_archiver') - archived))
until_so "last_archived_wal >= '$last' FROM pg_stat_archiver"
ended=$(date +%s.%N)
echo "$((backlog - archived)) $began $ended" | awk '{ printf "%.3f\n", $1 / ($3 - $2) }'
