#!/bin/sh
# pitrps-restore, version 3. Installed by PitrPS; PostgreSQL runs it as its restore_command:
#
#   pitrps-restore ARCHIVE NAME TARGET [DATA-DIRECTORY]     (restore_command = 'pitrps-restore ARCHIVE "%f" "%p"')
#
# Copies one file of the archive to TARGET, if it is whole, of this cluster, and what its name says. A standby that has the
# segment in pg_wal already is told "not there": then it reads that one, several times faster than it comes through here.
# How it ends means different things to PostgreSQL, so it looks what the server is doing (DATA-DIRECTORY, else the
# current one):
#   a standby (standby.signal)    0: there. 1: anything else; it is asked for again and meanwhile streamed. Above 125
#                                 would end the server.
#   a recovery (recovery.signal)  0: there. 1: proven not to be in a healthy archive; recovery ends here and the server
#                                 opens. 200: in doubt; the server stops with an error, for otherwise a mount that is
#                                 missing would be taken for the end of the WAL.
#   a server that opens (neither) 0: there. 1: not there. The WAL is behind it; it asks for its own timeline's history, and in
#                                 doubt reads the one in pg_wal. Only where that is missing, too: 200.

set -u
LC_ALL=C
export LC_ALL

archive=${1-}
name=${2-}
target=${3-}
data=${4-.}

# With both signal files PostgreSQL is a standby.
in_doubt=200
if [ -e "$data/standby.signal" ]; then
  in_doubt=1
elif [ ! -e "$data/recovery.signal" ] && [ -f "$data/pg_wal/$name" ]; then
  in_doubt=1
fi

doubt() {
  echo "pitrps-restore: $name: $1" >&2
  [ -z "$target" ] || rm -f -- "$target"
  exit "$in_doubt"
}

[ $# -ge 3 ] || doubt "usage: pitrps-restore ARCHIVE NAME TARGET [DATA-DIRECTORY]"
# An asking server never has another name, and the target must not come from one that leads elsewhere.
case $name in
  '' | */* | .*) doubt "that is not the name of a WAL file" ;;
  # The first timeline has none, and a server that is promoted when its primary is gone must not wait for an answer.
  00000001.history) exit 1 ;;
esac

cluster=$(od -A n -t u8 -N 8 -- "$data/global/pg_control" 2>/dev/null | tr -d ' ')
[ -n "$cluster" ] || doubt "$data is no data directory: its global/pg_control cannot be read"

# The archive is healthy when its marker can be read now, and it is this cluster's. A dead mount answers with an error,
# with nothing at all, or as an empty directory.
require_healthy_archive() {
  marker=$(timeout -k 5 30 cat -- "$archive/pitrps-archive.id" 2>/dev/null) ||
    doubt "the archive is out of reach: $archive/pitrps-archive.id cannot be read; is it mounted?"
  owner=$(printf '%s\n' "$marker" | sed -n 's/^system_identifier=//p')
  segment_size=$(printf '%s\n' "$marker" | sed -n 's/^wal_segment_size=//p')
  case $segment_size in
    '' | *[!0-9]*) doubt "$archive/pitrps-archive.id is damaged" ;;
  esac
  [ "$owner" = "$cluster" ] || doubt "$archive is the archive of the cluster $owner, this server is of the cluster $cluster"
}

# The address and the cluster on the first page of a segment in pg_wal.
first_page() {
  # shellcheck disable=SC2046
  set -- $(od -A n -t x8 -j 8 -N 24 -- "$data/pg_wal/$1" 2>/dev/null)
  echo "${1-none} ${3-none}"
}

# Whole is a segment when the next one has begun: the receiver writes them one after the other, and each to its end.
# A file that waits there to be written over has another address than its name.
is_whole_in_pg_wal() {
  bytes=$(stat -c %s -- "$data/pg_wal/$name" 2>/dev/null) && [ "$bytes" -ge 1048576 ] || return 1
  id=$(od -A n -t x8 -N 8 -- "$data/global/pg_control" | tr -d ' ')
  rest=${name#????????}
  high=$((0x${rest%????????}))
  low=$((0x${rest#????????}))
  [ "$(first_page "$name")" = "$(printf '%08x%08x' "$high" $((low * bytes))) $id" ] || return 1
  low=$((low + 1))
  [ $((low * bytes)) -lt 4294967296 ] || { low=0; high=$((high + 1)); }
  next=${name%????????????????}$(printf '%08X%08X' "$high" "$low")
  [ "$(first_page "$next")" = "$(printf '%08x%08x' "$high" $((low * bytes))) $id" ]
}

# Asked twice in a row for the same one, the server could not read its own: then it gets the archive's.
asked=$data/pg_wal/pitrps-restore.asked
case $name in
  *[!0-9A-F]*) ;;
  ????????????????????????)
    if [ -e "$data/standby.signal" ] && [ "$(cat -- "$asked" 2>/dev/null)" != "$name" ] && is_whole_in_pg_wal && echo "$name" > "$asked"; then
      exit 1
    fi
    ;;
esac

require_healthy_archive
size=$(timeout -k 5 30 stat -L -c %s -- "$archive/$name" 2>&1)
case $?:$size in
  0:*) ;;
  1:*'No such file or directory')
    # Proven only if the archive was healthy before the question and still is after it.
    require_healthy_archive
    exit 1
    ;;
  *) doubt "the archive cannot be asked for it: $size" ;;
esac

# A dead server is an error of its own after 20 s; this limit is for what hangs all the same. 10 s for each MB.
timeout -k 5 $((60 + size / 100000)) cp -- "$archive/$name" "$target" || doubt "it cannot be copied to $target"

number() {
  od -A n -t "$1" -j "$2" -N "$3" -- "$target" | tr -d ' '
}

check_segment() {
  [ "$(stat -c %s -- "$target")" = "$segment_size" ] || doubt "it has $(stat -c %s -- "$target") bytes, a segment has $segment_size"

  # The first page's header: magic, flags, timeline, its own address; then system identifier and segment size.
  magic=$(number x2 0 2)
  case $(cat -- "$data/PG_VERSION" 2>/dev/null) in
    13) known=d106 ;;
    14) known=d10d ;;
    15) known=d110 ;;
    16) known=d113 ;;
    17) known=d116 ;;
    18) known=d118 ;;
    *) known='d1??' ;;
  esac
  # shellcheck disable=SC2254
  case $magic in
    $known) ;;
    *) doubt "its first page is not WAL of this version of PostgreSQL (magic $magic)" ;;
  esac

  [ "$(number u8 24 8)" = "$cluster" ] || doubt "it is of the cluster $(number u8 24 8), this server is of the cluster $cluster"

  rest=${name#????????}
  high=$(printf '%s' "${rest%????????}" | tr A-F a-f)
  low=$(printf '%08x' $((0x${rest#????????} * segment_size)))
  [ "$(number x8 8 8)" = "$high$low" ] || doubt "its first page is the one at $(number x8 8 8), its name says $high$low"

  # The first segment of a new timeline begins as a copy of its ancestor's.
  timeline=$(number u4 4 4)
  { [ "$timeline" -ge 1 ] && [ "$timeline" -le $((0x${name%????????????????})) ]; } || doubt "its first page is of timeline $timeline"
}

case $name in
  *[!0-9A-F]*)
    [ -s "$target" ] || doubt "it is empty"
    ;;
  ????????????????????????) check_segment ;;
  *) doubt "that is not the name of a WAL file" ;;
esac
exit 0
