#!/bin/sh
# pitrps-prefetch, version 5. Installed by PitrPS; pitrps-restore starts it when a server asks for one segment after the other:
#
#   pitrps-prefetch ARCHIVE NAME DATA-DIRECTORY SEGMENT-SIZE
#
# Brings the segments after NAME from ARCHIVE, several at a time, the next one first, into DATA-DIRECTORY/pg_wal/pitrps-spool,
# where pitrps-restore takes them from; that also says, in the file "asked", how far the server is. Each is fetched and checked
# by pitrps-restore itself. Nothing depends on this: what is not in the spool is read from the archive as if there were none.
#
# There is one for a data directory. It holds at most 256 MB (one segment, if that is more), 64 segments, and a tenth of
# what is free on the disk. It ends, and the spool with it, when nothing was asked for for 30 s, when the server has opened
# or ended, and on TERM, which a server that is stopped sends to it. What is left by one that was killed is removed by the next
# pitrps-restore that is asked for a segment, and never used.

set -u
LC_ALL=C
export LC_ALL
umask 077

archive=$1
asked=$2
data=$3
segment_size=$4
restore=${0%prefetch*}restore${0##*prefetch}
spool=$data/pg_wal/pitrps-spool
# How many at a time: more and more while the server waits for the next one (over a distant link a single reader gets
# hardly more than one answer's worth a round trip), but few at first, so that the first ones come soon.
at_once_well=4
at_once=$at_once_well

# Which cluster this is does not change: asked once and not for each segment.
control=$(od -A n -t u8 -t x8 -N 8 -- "$data/global/pg_control" 2>/dev/null) || exit 0

count=$((268435456 / segment_size))
[ "$count" -ge 1 ] || count=1
[ "$count" -le 64 ] || count=64

# One that has ended and whose parent has not noticed, as in a container without an init, is not alive.
is_alive() {
  IFS= read -r state 2>/dev/null < "/proc/$1/stat" || return 1
  case ${state##*) } in [ZX]*) return 1 ;; esac
}

# "PID START" of the server; both are other ones when it was started anew.
server() {
  { read -r pid && read -r started && read -r started _; } 2>/dev/null < "$data/postmaster.pid" && is_alive "$pid" &&
    { [ -e "$data/standby.signal" ] || [ -e "$data/recovery.signal" ]; } && running="$pid $started"
}

server || exit 0
mine=$running
# On the directory, so that no file is left behind.
exec 9< "$data/pg_wal" && flock -n 9 || exit 0
rm -rf -- "$spool" && mkdir -- "$spool" || exit 0
# What is still under way may make one more file in it.
remove_spool() {
  tries=0
  until rm -rf -- "$spool" || [ "$tries" -ge 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
}
trap remove_spool EXIT
trap 'exit 0' TERM INT HUP
echo "$asked" > "$spool/asked" && printf '%s\n' "$mine $archive" "$$" > "$spool/owner" || exit 0

# The names of the $fit segments after $asked.
window() {
  rest=${asked#????????}
  high=$((0x${rest%????????}))
  low=$((0x${rest#????????}))
  n=0
  while [ "$n" -lt "$fit" ]; do
    n=$((n + 1))
    low=$((low + 1))
    [ $((low * segment_size)) -lt 4294967296 ] || { low=0; high=$((high + 1)); }
    printf '%s%08X%08X\n' "${asked%????????????????}" "$high" "$low"
  done
}

# A recovery on a layer has a list of what it takes from the archive.
wanted() {
  if [ -f "$data/pitrps-scratch.fetch" ]; then
    window | grep -xFf "$data/pitrps-scratch.fetch"
  else
    window
  fi
}

# While it is under way there is NAME.claim, afterwards NAME; when it fails NAME.rest, for as long as it is left alone. What
# it writes has this prefetcher's name: one that was killed may still have somebody who writes.
fetch() {
  # The lock ends with the prefetcher, whatever becomes of this.
  exec 9<&-
  # The server brings what it takes to the disk and waits for that; when it is there already it does not wait. What could not be
  # brought there must not come to it: the kernel says so once only.
  if /bin/sh "$restore" "$archive" "$1" "$spool/$1.$$.part" "$data" fetch "$segment_size" "$control" &&
    dd if=/dev/null of="$spool/$1.$$.part" conv=notrunc,fsync status=none; then
    exec mv -f -- "$spool/$1.$$.part" "$spool/$1"
  fi
  mv -f -- "$spool/$1.claim" "$spool/$1.rest"
  sleep 5
  exec rm -f -- "$spool/$1.rest"
}

# What the server has passed, or what it does not follow any more.
drop_others() {
  set --
  for file in "$spool"/[0-9A-F]*; do
    segment=${file##*/}
    case $names in
      *"${segment%%.*}"*) ;;
      *) [ ! -e "$file" ] || set -- "$@" "$file" ;;
    esac
  done
  [ $# -eq 0 ] || rm -f -- "$@"
}

round=0
quiet=0
known=
now=
while [ "$quiet" -lt 300 ]; do
  server && [ "$running" = "$mine" ] || exit 0
  read -r now 2>/dev/null < "$spool/asked" || [ -d "$spool" ] || exit 0
  case $now in *[!0-9A-F]*) ;; ????????????????????????) asked=$now ;; esac

  if [ $((round % 50)) -eq 0 ]; then
    # shellcheck disable=SC2046
    set -- $(stat -f -c '%a %S' -- "$spool")
    fit=$((${1:-0} * ${2:-0} / 10 / segment_size))
    [ "$fit" -le "$count" ] || fit=$count
  fi
  round=$((round + 1))
  quiet=$((quiet + 1))
  if [ "$asked $fit" != "$known" ]; then
    if [ "$asked" != "${known% *}" ]; then
      quiet=0
      at_once=$at_once_well
    fi
    known="$asked $fit"
    names=$(wanted)
    drop_others
  fi

  # Where one fails, and at the end of the archive, it is tried again alone.
  under_way=0
  waits=maybe
  for segment in $names; do
    if [ -e "$spool/$segment" ]; then
      at_once=$at_once_well
    elif [ -e "$spool/$segment.claim" ]; then
      under_way=$((under_way + 1))
      [ "$waits" != maybe ] || waits=yes
    elif [ -e "$spool/$segment.rest" ]; then
      at_once=1
    fi
    [ "$waits" = yes ] || waits=no
  done
  if [ "$waits" = yes ] && [ "$at_once" -gt 1 ] && [ "$under_way" -ge "$at_once" ] && [ "$at_once_well" -lt 16 ]; then
    at_once_well=$((at_once_well + 1))
    at_once=$at_once_well
  fi
  for segment in $names; do
    if [ -e "$spool/$segment" ] || [ -e "$spool/$segment.claim" ]; then continue; fi
    # Where one is not there yet, the later ones are not either.
    if [ -e "$spool/$segment.rest" ] || [ "$under_way" -ge "$at_once" ]; then break; fi
    under_way=$((under_way + 1))
    true > "$spool/$segment.claim" || break
    fetch "$segment" < /dev/null > /dev/null 2>&1 &
  done
  # A slow link may take longer for a segment.
  if [ "$under_way" -gt 0 ] && [ "$at_once" -gt 1 ]; then quiet=0; fi
  sleep 0.1 9<&-
done
