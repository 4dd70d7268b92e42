#!/bin/bash
# A dropped table brought back without PitrPS, as an admin does it who has the tutorial at hand and makes no mistake:
# the standby is recovered in place to just before the DROP's COMMIT and promoted, the table is dumped from it into the
# primary, and a new base backup makes it a delayed standby again. Prints the seconds that took.
#
#   by-hand.sh KEY KNOWN-HOSTS PRIMARY STANDBY MAJOR COMMIT-LSN TABLE ARCHIVE-MOUNT       (hosts as ssh://user@address:port)
#
# It is given what helps it: the LSN, connections that are open, cp as the restore_command, fast checkpoints, polls of 0.2 s.
set -euo pipefail

key=$1 known_hosts=$2 primary=$3 standby=$4 major=$5 lsn=$6 table=$7 mount=$8
sockets=$(mktemp -d)
options=(-F none -i "$key" -o "UserKnownHostsFile=$known_hosts" -o StrictHostKeyChecking=yes -o BatchMode=yes
  -o LogLevel=ERROR -o "ControlPath=$sockets/%C")

finish() {
  for host in "$primary" "$standby"; do ssh "${options[@]}" -O exit "$host" 2>/dev/null || true; done
  rm -rf "$sockets"
}
trap finish EXIT
for host in "$primary" "$standby"; do ssh "${options[@]}" -o ControlMaster=yes -o ControlPersist=yes "$host" true; done

# Runs the script of the standard input on the standby as root, after what both scripts need.
on_standby() {
  {
    cat <<SETTINGS
set -eu
cd /
unit=postgresql@$major-main data=/var/lib/postgresql/$major/main bin=/usr/lib/postgresql/$major/bin
override=/etc/postgresql/$major/main/conf.d/99-by-hand.conf lsn='$lsn' mount='$mount'
SETTINGS
    cat <<'FUNCTIONS'
sql() { runuser -u postgres -- psql -X -A -t -c "$1" 2>/dev/null; }
until_true() {
  until [ "$(sql "$1")" = t ]; do
    systemctl --quiet is-active "$unit" || { systemctl status "$unit" >&2; exit 1; }
    sleep 0.2
  done
}
FUNCTIONS
    cat
  } | ssh "${options[@]}" "$standby" sudo sh -s
}

began=$EPOCHREALTIME

on_standby <<'RECOVER'
systemctl stop "$unit"
rm "$data/standby.signal"
install -o postgres -g postgres -m 600 /dev/null "$data/recovery.signal"
cat > "$override" <<CONF
restore_command = 'cp "$mount/%f" "%p"'
recovery_target_lsn = '$lsn'
recovery_target_inclusive = off
recovery_target_timeline = 'current'
recovery_target_action = promote
recovery_min_apply_delay = 0
archive_mode = off
CONF
chmod 644 "$override"
systemctl start "$unit"
until_true 'SELECT NOT pg_is_in_recovery()'
RECOVER

ssh "${options[@]}" "$standby" "cd / && sudo -u postgres pg_dump -t 'public.$table' postgres" |
  ssh "${options[@]}" "$primary" "cd / && sudo -u postgres psql -X -q -1 -v ON_ERROR_STOP=1 -o /dev/null postgres"

on_standby <<'STANDBY'
primary_conninfo=$(sql 'SHOW primary_conninfo')
systemctl stop "$unit"
rm "$override"
find "$data" -mindepth 1 -delete
runuser -u postgres -- "$bin/pg_basebackup" -d "$primary_conninfo" -D "$data" -X stream -c fast
install -o postgres -g postgres -m 600 /dev/null "$data/standby.signal"
systemctl start "$unit"
# It follows when it streams, or holds back a COMMIT that came out of the archive.
until_true "SELECT pg_is_in_recovery() AND current_setting('recovery_min_apply_delay') = '3d' AND (EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
  OR EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'startup' AND wait_event = 'RecoveryApplyDelay'))"
STANDBY

ended=$EPOCHREALTIME
microseconds=$((${ended/[.,]/} - ${began/[.,]/}))
printf '%d.%06d\n' $((microseconds / 1000000)) $((microseconds % 1000000))
