#!/bin/sh
# On the standby, as root: replays the same WAL from the same data directory once more, and prints the seconds and bytes
# between "redo starts" and the target, both as the server's own log says.
#
#   replay.sh MAJOR TARGET-LSN RESTORE-COMMAND
#
# The data directory as it was before the WAL was written is in /var/lib/postgresql/before. There is no primary to stream from.
set -eu
cd /
major=$1 target=$2 command=$3
data=/var/lib/postgresql/$major/main unit=postgresql@$major-main log=/var/log/postgresql/postgresql-$major-main.log

systemctl stop "$unit"
rm -rf "$data" "$log"
cp -a /var/lib/postgresql/before "$data"
cat > "/etc/postgresql/$major/main/conf.d/99-bench.conf" <<CONF
restore_command = '$command'
primary_conninfo = ''
primary_slot_name = ''
recovery_min_apply_delay = 0
recovery_target_lsn = '$target'
recovery_target_inclusive = off
recovery_target_action = pause
log_line_prefix = '%n '
log_min_messages = log
max_wal_size = 16GB
checkpoint_timeout = 1h
CONF
chmod 644 "/etc/postgresql/$major/main/conf.d/99-bench.conf"
sync
systemctl start "$unit"

tries=0
until grep -q 'LOG:  recovery stopping' "$log"; do
  tries=$((tries + 1))
  [ "$tries" -lt 1800 ] && systemctl --quiet is-active "$unit" || { tail -n 20 "$log" >&2; exit 1; }
  sleep 0.5
done
awk '
  / LOG:  redo starts at / { began = $1; from = $NF }
  / LOG:  restored log file / { restored++ }
  / LOG:  started streaming / { streamed = 1 }
  / LOG:  recovery stopping / { ended = $1 }
  END {
    if (streamed) { print "some of it was streamed" > "/dev/stderr"; exit 1 }
    printf "%.3f %s %d\n", ended - began, from, restored
  }' "$log"
systemctl stop "$unit"
