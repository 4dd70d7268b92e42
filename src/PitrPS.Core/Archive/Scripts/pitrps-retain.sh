#!/bin/sh
# pitrps-retain, version 1. Installed by PitrPS; a timer of systemd runs it on the primary as the database's user:
#
#   pitrps-retain [-n] DIRECTORY SECONDS STATE KEYS PSQL [ARGUMENT...]
#
# Removes WAL from the archive DIRECTORY that was archived more than SECONDS ago, oldest first, and says what it removed
# and why it kept the rest. With -n it says so and changes nothing. STATE/standbys has a file for each standby that reads
# this archive, KEYS the keys by which they do; PSQL with its arguments connects to the primary.
# 0: done, or there was a reason to keep everything. 1: refused or failed, nothing is removed after that.
#
# Only WAL is removed, never a .history or .backup file, and only from the old end, so that no gap comes to be. Kept is
#   - everything while a base backup is being taken, and while nothing newer than SECONDS is in the archive (either
#     archiving stands still or the clock is wrong);
#   - what the newest base backup from before SECONDS ago needs, else the oldest one (by their .backup files; those by
#     which PitrPS made a standby are no backups that anybody keeps, and have a label that says so);
#   - everything while one of the standbys does not stream from this server (stopped, out of reach, busy with a recovery,
#     or replaying from the archive), or while its replay stands still although there is WAL to replay (frozen);
#   - what a standby needs to start again. That is the WAL from the checkpoint on of which it made its last restartpoint.
#     The primary is not told which one that is, only how far the standby has replayed. So each run notes both that and
#     the primary's last checkpoint, and a checkpoint counts as left behind when the standby had replayed it 25 hours ago
#     and was seen streaming in every run since: a restartpoint is due every checkpoint_timeout, which is a day at most.
#     (If all of them failed on the standby for so long, it still has that WAL in its own pg_wal, for it removes nothing
#     there that is newer than its restartpoint.) What is left behind once stays so, as restartpoints only go forward.
# To forget a standby that is gone for ever, remove its file in STATE/standbys and its line in KEYS.

set -u
LC_ALL=C
export LC_ALL
umask 077

fail() {
  echo "pitrps-retain: $1" >&2
  exit 1
}

dry_run=
if [ "${1-}" = -n ]; then
  dry_run=yes
  shift
fi
[ $# -ge 5 ] || fail "usage: pitrps-retain [-n] DIRECTORY SECONDS STATE KEYS PSQL [ARGUMENT...]"
directory=$1
seconds=$2
state=$3
keys=$4
shift 4
marker=$directory/pitrps-archive.id
history=$state/seen/history

case $seconds in
  '' | *[!0-9]*) fail "'$seconds' is no number of seconds" ;;
esac
[ "$seconds" -ge 3600 ] || fail "$seconds seconds are less than an hour"
[ -f "$marker" ] || fail "$marker does not exist: $directory is no archive, or its filesystem is not mounted"
if [ -z "$dry_run" ]; then
  [ -w "$state/seen" ] || fail "$state/seen is not writable for $(id -un)"
  exec 9>>"$state/seen/lock"
  flock -n 9 || fail "another run is under way"
fi

# LSNs as 16 digits, which sort as text.
report=$(timeout 60 "$@" -X -w -q -A -t -F ' ' -v ON_ERROR_STOP=1 <<'SQL'
SELECT 'cluster', system_identifier FROM pg_catalog.pg_control_system();
SELECT 'recovery', pg_catalog.pg_is_in_recovery();
SELECT 'backups', count(*) FROM pg_catalog.pg_stat_progress_basebackup;
SELECT 'checkpoint', lpad(split_part(checkpoint_lsn::text, '/', 1), 8, '0') || lpad(split_part(checkpoint_lsn::text, '/', 2), 8, '0'), redo_wal_file
  FROM pg_catalog.pg_control_checkpoint();
SELECT 'streams', slot_name, lpad(split_part(replay_lsn::text, '/', 1), 8, '0') || lpad(split_part(replay_lsn::text, '/', 2), 8, '0'),
       replay_lsn >= CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END
  FROM pg_catalog.pg_replication_slots JOIN pg_catalog.pg_stat_replication ON pid = active_pid
 WHERE slot_type = 'physical' AND state = 'streaming' AND replay_lsn IS NOT NULL;
SELECT 'complete', 1;
SQL
) || fail "the server cannot be asked"
said() {
  printf '%s\n' "$report" | sed -n "s/^$1 //p"
}
[ "$(said complete)" = 1 ] || fail "the server has not answered everything"
[ "$(said recovery)" = f ] || fail "the server is a standby now; its primary keeps the archive"
expected=$(sed -n 's/^system_identifier=//p' "$marker")
[ "$(said cluster)" = "$expected" ] || fail "$directory is the archive of the cluster $expected, the server is of the cluster $(said cluster)"

# Which standbys there are: "registered NAME SLOT", with "-" for one of which no slot is known.
for folder in "$state/standbys" "$(dirname -- "$keys")"; do
  if [ -e "$folder" ]; then
    { [ -r "$folder" ] && [ -x "$folder" ]; } || fail "$folder is not readable for $(id -un)"
  fi
done
registered=$(
  for file in "$state"/standbys/*; do
    [ -e "$file" ] || continue
    echo "registered $(sed -n 's/^owner=//p' "$file") $(sed -n 's/^slot=//p' "$file") -" || exit
  done
  if [ -e "$keys" ]; then
    awk 'NF && !/^#/ { print "registered", $NF, "-" }' "$keys" || exit
  fi
) || fail "the list of standbys cannot be read"

now=$(date +%s)
[ ! -e "$history" ] || seen=$(cat -- "$history") || fail "$history cannot be read"

# Prints the history's new lines as "history ...", and what is to be kept as "from POSITION REASON" or "all REASON".
# An x before the digits lets awk compare them as text.
# shellcheck disable=SC2016
decided=$(printf '%s\n' "$registered" "$report" "${seen-}" | awk -v now="$now" '
  # A file that has no slot in it gives the "-" from the end of the line. A key whose standby has a file tells nothing new.
  $1 == "registered" { if (!($2 in slot)) { order[++standbys] = $2; slot[$2] = $3 } }
  $1 == "checkpoint" { current = $2; redo = $3 }
  $1 == "streams" { replay[$2] = "x" $3; idle[$2] = $4 == "t" }

  $1 == "at-checkpoint" && now - $2 < 40 * 86400 { n = ++checkpoints; line[n] = $0; noted[n] = "x" $3; begins[n] = $4 }
  $1 == "seen" { n = ++sightings[$2]; time[$2, n] = $3; place[$2, n] = "x" $4 }
  $1 == "safe" { safe[$2] = $3 }

  function position(segment) { return "x" substr(segment, 9) }

  END {
    # On another timeline, or set back, the server is not the one of which this was noted.
    if (checkpoints && (substr(begins[checkpoints], 1, 8) != substr(redo, 1, 8) || noted[checkpoints] > "x" current)) {
      checkpoints = 0
      is_void = 1
    }
    if (!checkpoints || noted[checkpoints] != "x" current) {
      n = ++checkpoints
      line[n] = "at-checkpoint " now " " current " " redo
      noted[n] = "x" current
      begins[n] = redo
    }
    for (n = 1; n <= checkpoints; n++) print "history", line[n]
    for (i = 1; i <= standbys; i++) {
      name = order[i]
      s = slot[name]
      if (is_void) {
        sightings[s] = 0
        delete safe[s]
      }
      if (s == "-") {
        print "all", name, "reads the archive, but has no slot on this server by which one sees how far it is (New-PgStandby makes one)"
        continue
      }
      if (!(s in replay)) {
        print "all", name, "(" s ") does not stream from this server"
        if (s in safe) print "history safe", s, safe[s]
        continue
      }
      last = sightings[s]
      stands = last && place[s, last] == replay[s] && !idle[s]
      if (last && place[s, last] > replay[s]) {
        # Another copy of the data directory has taken its place: what was known of it is void.
        delete safe[s]
        last = 0
      } else if (last && (now < time[s, last] || now - time[s, last] > 3 * 3600)) {
        last = 0
      }
      for (first = last; first > 0 && now - time[s, first] < 25 * 3600; first--) { }
      if (first > 0) {
        for (n = 1; n <= checkpoints; n++) {
          # Replayed is the checkpoint when the replay has gone past its beginning.
          if (noted[n] < place[s, first] && (!(s in safe) || position(begins[n]) > position(safe[s]))) safe[s] = begins[n]
        }
      }
      if (s in safe) print "history safe", s, safe[s]
      for (n = first > 0 ? first : 1; n <= last; n++) print "history seen", s, time[s, n], substr(place[s, n], 2)
      print "history seen", s, now, substr(replay[s], 2)
      if (stands) print "all", name, "(" s ") stands still in its replay"
      else if (s in safe) print "from", substr(safe[s], 9), "the standby", name, "(" s ") may start again from", safe[s]
      else print "all", name, "(" s ") has not been seen streaming for 25 hours yet"
    }
  }') || fail "the history in $history cannot be read"

if [ -z "$dry_run" ]; then
  printf '%s\n' "$decided" | sed -n 's/^history //p' > "$history.new" || fail "$history.new cannot be written"
  sync -- "$history.new" || fail "$history.new cannot be brought to the disk"
  mv -f -- "$history.new" "$history" || fail "$history cannot be written"
fi

# What is being archived meanwhile comes and goes under a name that begins with a dot.
files=$(find "$directory" -ignore_readdir_race -maxdepth 1 ! -name '.*' -type f -printf '%T@ %f\n') || fail "$directory cannot be read"

# The base backups' first segments, without those of standbys.
backups=$(printf '%s\n' "$files" | grep '\.backup$' | while read -r time name; do
  grep -q '^LABEL: PitrPS standby' -- "$directory/$name" || echo "${time%%.*} $name"
done)
kept=$(
  printf '%s\n' "$decided" | sed -n '/^all /p; /^from /p'
  [ "$(said backups)" = 0 ] || echo "all a base backup is being taken"
  # shellcheck disable=SC2016
  printf '%s\n' "$backups" | awk -v limit=$((now - seconds)) '
    $2 !~ /^[0-9A-F]+\.[0-9A-F]+\.backup$/ || index($2, ".") != 25 { next }
    {
      position = "x" substr($2, 9, 16)
      if (!oldest || position < oldest) { oldest = position; its = $2 }
      if ($1 < limit && (!newest || position > newest)) { newest = position; name = $2 }
    }
    END {
      if (newest) print "from", substr(newest, 2), "the base backup", name, "needs it"
      else if (oldest) print "from", substr(oldest, 2), "the base backup", its, "needs it"
    }'
)

# "POSITION NAME TIME" of all WAL, in the order of the WAL.
# shellcheck disable=SC2016
wal=$(printf '%s\n' "$files" | awk '
  {
    segment = substr($2, 1, 24)
    rest = substr($2, 25)
    if (NF == 2 && length(segment) == 24 && segment !~ /[^0-9A-F]/ && rest ~ /^(\.partial)?(\.(gz|zst|lz4|xz|bz2|lzo))?$/)
    {
      sub(/\..*/, "", $1)
      print substr(segment, 9), $2, $1
    }
  }' | sort)

# Up to the first one that is young enough or needed.
# shellcheck disable=SC2016
plan=$(printf '%s\n%s\n' "$kept" "$wal" | awk -v limit=$((now - seconds)) '
  $1 == "from" { if (!cut || "x" $2 < cut) cut = "x" $2; next }
  $1 == "all" { all = 1; next }
  NF == 3 {
    if ($3 >= limit) { young = 1; stopped = 1 }
    if (all || (cut && "x" $1 >= cut)) stopped = 1
    if (!stopped) print "remove", $2
  }
  END { if (!young) print "silent" }')

verb=removed
[ -z "$dry_run" ] || verb="would remove"
printf '%s\n' "$kept" | sed -n 's/^all /kept everything: /p; s/^from \([0-9A-F]*\) /kept from there on: /p'
case $plan in
  *silent)
    echo "kept everything: nothing in the archive is newer than $seconds s; does the server archive, and is the clock right?"
    exit 0
    ;;
  remove*) ;;
  *)
    echo "$verb nothing"
    exit 0
    ;;
esac
names=$(printf '%s\n' "$plan" | sed -n 's/^remove //p')
if [ -n "$dry_run" ]; then
  printf '%s\n' "$names" | sed 's/^/would remove /'
else
  cd -- "$directory" || fail "$directory cannot be entered"
  printf '%s\n' "$names" | xargs rm -f -- || fail "not everything could be removed"
fi
echo "$verb $(printf '%s\n' "$names" | grep -c .) of $(printf '%s\n' "$wal" | grep -c .) files, $(printf '%s\n' "$names" | sed -n 1p) to $(printf '%s\n' "$names" | sed -n '$p'), archived more than $seconds s ago"
