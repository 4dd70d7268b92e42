#!/bin/sh
# pitrps-restore, version 9. Installed by PitrPS; PostgreSQL runs it as its restore_command:
#
#   pitrps-restore ARCHIVE NAME TARGET [DATA-DIRECTORY]     (restore_command = 'pitrps-restore ARCHIVE "%f" "%p"')
#
# Copies one file of the archive to TARGET, if it is whole, of this cluster, and what its name says; a segment may lie there
# compressed, as NAME.zst or NAME.lz4. ARCHIVE is a directory, or pgbackrest:STANZA. A standby that has the segment in
# pg_wal already is told "not there": then it reads that one, several times faster than it comes through here. When one
# segment is asked for after the other this starts pitrps-prefetch, which has the next ones brought and checked before they
# are asked for, by this same script (with three more arguments: fetch, the size of a segment, and what is read of
# global/pg_control below).
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
for_spool=${5-}
segment_size=${6-}
control=${7-}
spool=$data/pg_wal/pitrps-spool

case $name in
  *[!0-9A-F]*) kind=other ;;
  ????????????????????????) kind=segment ;;
  *) kind=other ;;
esac

# What pitrps-prefetch has brought is checked already, so this takes one rename; it costs a server that is catching up more
# than anything else here, hence it is done first and by the shell alone. Only what was brought for this very run of the
# server is taken: what a crash or another recovery has left may be of another timeline's past, or not whole on the disk.
prefetcher=
# One that has ended and whose parent has not noticed, as in a container without an init, is not alive.
prefetcher_is_alive() {
  [ -n "$prefetcher" ] && IFS= read -r state 2>/dev/null < "/proc/$prefetcher/stat" || return 1
  case ${state##*) } in [ZX]*) return 1 ;; esac
}
take_from_spool() {
  { read -r pid && read -r started && read -r started _; } 2>/dev/null < "$data/postmaster.pid" || return
  { IFS= read -r owner && read -r prefetcher; } 2>/dev/null < "$spool/owner" || { prefetcher=; return; }
  if [ "$owner" != "$pid $started $archive" ]; then
    prefetcher=
    rm -rf -- "$spool"
    return
  fi

  # One that is on its way comes soonest by waiting for it, as long as it goes on.
  waited=0
  size_before=
  while [ ! -e "$spool/$name" ] && [ -e "$spool/$name.claim" ] && prefetcher_is_alive; do
    if [ $((waited % 500)) -eq 499 ]; then
      size=$(stat -c %s -- "$spool/$name.$prefetcher.part" 2>/dev/null)
      [ "$size" != "$size_before" ] || break
      size_before=$size
    fi
    waited=$((waited + 1))
    sleep 0.02
  done
  [ -s "$spool/$name" ] || return
  # In this order: what was asked for is of no use to the prefetcher, which removes it.
  mv -f -- "$spool/$name" "$target" 2>/dev/null || return
  echo "$name" 2>/dev/null > "$spool/asked"
  exit 0
}
if [ "$kind" = segment ] && [ -z "$for_spool" ] && [ -d "$spool" ]; then
  take_from_spool
fi

# With both signal files PostgreSQL is a standby.
in_doubt=200
if [ -e "$data/standby.signal" ]; then
  in_doubt=1
elif [ ! -e "$data/recovery.signal" ] && [ -f "$data/pg_wal/$name" ]; then
  in_doubt=1
fi
[ -z "$for_spool" ] || in_doubt=200

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
  *[!0-9A-F]*) ;;
  *) [ "$kind" = segment ] || doubt "that is not the name of a WAL file" ;;
esac

# Decimal, and as it stands in the pages.
# shellcheck disable=SC2046
set -- ${control:-$(od -A n -t u8 -t x8 -N 8 -- "$data/global/pg_control" 2>/dev/null)}
[ $# -eq 2 ] || doubt "$data is no data directory: its global/pg_control cannot be read"
cluster=$1
cluster_in_hex=$2

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
  rest=${name#????????}
  high=$((0x${rest%????????}))
  low=$((0x${rest#????????}))
  [ "$(first_page "$name")" = "$(printf '%08x%08x' "$high" $((low * bytes))) $cluster_in_hex" ] || return 1
  low=$((low + 1))
  [ $((low * bytes)) -lt 4294967296 ] || { low=0; high=$((high + 1)); }
  next=${name%????????????????}$(printf '%08X%08X' "$high" "$low")
  [ "$(first_page "$next")" = "$(printf '%08x%08x' "$high" $((low * bytes))) $cluster_in_hex" ]
}

# Asked twice in a row for the same one, the server could not read its own: then it gets the archive's.
asked=$data/pg_wal/pitrps-restore.asked
if [ "$kind" = segment ] && [ -z "$for_spool" ] && [ -e "$data/standby.signal" ] && [ "$(cat -- "$asked" 2>/dev/null)" != "$name" ] && is_whole_in_pg_wal && echo "$name" > "$asked"; then
  exit 1
fi

# limited SECONDS PROGRAM...: ends as the program does, or with 124 or 137 when the time is up; what it wrote is in $said.
# Whoever reads a mount that hangs may be impossible to kill. So nobody waits for him: he is left behind, and writes into
# a file, because a pipe would stay open as long as he lives. The file is TARGET, which is nobody's before the end.
limited() {
  timeout -k 5 "$@" > "$target" 2>&1 < /dev/null
  ended=$?
  said=
  while IFS= read -r line || [ -n "$line" ]; do
    said="$said$line
"
  done < "$target"
  rm -f -- "$target"
  return "$ended"
}

# --- The source: these three, and nothing else, know what ARCHIVE is and read there. Each has a time limit; what an answer
# means to the server is decided below.
#   source_is_healthy       0: it can be read now, and it is this cluster's. Else 1, with the reason in $why.
#   source_has              0: NAME is there. 1: it is not, if the source is healthy. 2: no answer, $why.
#   source_copy             0: NAME is in TARGET, unpacked. 1: it is not there, if the source is healthy. 2: it could not be copied, $why.

# The directory is healthy when its marker can be read. A dead mount answers with an error, with nothing at all, or as an
# empty directory.
source_is_healthy() {
  limited 30 cat -- "$archive/pitrps-archive.id" || {
    why="the archive is out of reach: $archive/pitrps-archive.id cannot be read; is it mounted?"
    { echo > "$target"; } 2>/dev/null || why="nothing can be written to $target: is the disk full?"
    return 1
  }
  owner=
  segment_size=
  while IFS= read -r line; do
    case $line in
      system_identifier=*) owner=${line#*=} ;;
      wal_segment_size=*) segment_size=${line#*=} ;;
    esac
  done <<MARKER
$said
MARKER
  why="$archive/pitrps-archive.id is damaged"
  case $segment_size in '' | *[!0-9]*) return 1 ;; esac
  why="$archive is the archive of the cluster $owner, this server is of the cluster $cluster"
  [ "$owner" = "$cluster" ]
}

# Only segments are ever compressed. One that lies there twice is taken as it was written. For the spool, where nothing
# depends on the answer, the first one is a guess.
file=
source_has() {
  if [ -n "$for_spool" ] && [ -z "$file" ]; then
    file=$archive/$name
    bytes=$segment_size
    return 0
  fi
  if [ "$kind" = segment ]; then
    limited 30 stat -L -c '%s %n' -- "$archive/$name" "$archive/$name.zst" "$archive/$name.lz4"
  else
    limited 30 stat -L -c '%s %n' -- "$archive/$name"
  fi
  case $? in
    0 | 1) ;;
    *) why="the archive does not answer"; return 2 ;;
  esac
  found=
  while IFS= read -r line; do
    case $line in
      [0-9]*" $archive/$name"*) [ -n "$found" ] || found=$line ;;
      '' | *': No such file or directory') ;;
      *) why="the archive cannot be asked for it: $line"; return 2 ;;
    esac
  done <<FILES
$said
FILES
  [ -n "$found" ] || return 1
  bytes=${found%% *}
  file=$archive/$name${found#*" $archive/$name"}
}

source_copy() {
  # A dead server is an error of its own after 20 s; this limit is for what hangs all the same. 10 s for each MB.
  limit=$((60 + bytes / 100000))
  why="it cannot be copied to $target"
  case $file in
    *.zst) unpack=zstd ;;
    *.lz4) unpack=lz4 ;;
    *) timeout -k 5 "$limit" cp -- "$file" "$target" < /dev/null && return 0 || return 2 ;;
  esac
  command -v "$unpack" > /dev/null || { why="it is compressed, and $unpack is not installed on this host"; return 2; }
  timeout -k 5 "$limit" "$unpack" -q -d -c -- "$file" > "$target" < /dev/null || { why="$file cannot be unpacked to $target"; return 2; }
}

# pgBackRest instead of a directory: its archive-get copies, or fails, or says "not found" with 1. That is no proof: of two
# repositories one may be out of reach. It is one when every repository can be read and the stanza is this cluster's.
case $archive in
  pgbackrest:*)
    stanza=${archive#pgbackrest:}
    has_asked=

    source_is_healthy() {
      # A copy needs no proof, and this is a question to the repository's host.
      [ -n "$has_asked" ] || return 0
      said=$(timeout -k 5 120 pgbackrest --stanza="$stanza" --log-level-console=off --log-level-file=off --log-level-stderr=off info --output=json < /dev/null 2>&1) ||
        { why="the repository is out of reach: pgbackrest info ended with $?"; return 1; }
      why="the repository is out of reach: pgbackrest info says nothing of a stanza $stanza"
      rest=$said
      case $rest in *'"status":{"code":'*) ;; *) return 1 ;; esac
      while :; do
        case $rest in *'"status":{"code":'*) rest=${rest#*'"status":{"code":'} ;; *) break ;; esac
        # No backup (2), and what is different between repositories (4), are not of interest here; each of them has a code of its own.
        case $rest in
          [024],*) ;;
          *) why="the repository is out of reach or has no stanza $stanza: ${rest#*'"message":'}"; why=${why%%\}*}; return 1 ;;
        esac
      done
      why="the stanza $stanza is not that of the cluster $cluster"
      case $said in *"\"system-id\":$cluster,"* | *"\"system-id\":$cluster}"*) return 0 ;; *) return 1 ;; esac
    }

    source_has() {
      return 0
    }

    source_copy() {
      data_directory=$(cd -- "$data" && pwd -P) || { why="$data cannot be entered"; return 2; }
      case $target in /*) to=$target ;; *) to=$(pwd -P)/$target ;; esac
      # Where a proof can be needed the tool is asked itself, not what it has noted of an earlier question.
      set --
      [ "$in_doubt" = 1 ] || set -- --no-archive-async
      said=$(timeout -k 5 600 pgbackrest --stanza="$stanza" --pg1-path="$data_directory" "$@" --log-level-console=off --log-level-stderr=warn archive-get "$name" "$to" < /dev/null 2>&1)
      ended=$?
      has_asked=yes
      case $ended:$said in
        0:*) ;;
        1:*'WARN: repo'*) why="not every repository answers: $said"; return 2 ;;
        1:*) return 1 ;;
        124:* | 137:*) why="pgbackrest does not answer"; return 2 ;;
        127:*) why="there is no program pgbackrest on this host"; return 2 ;;
        *) why="pgbackrest archive-get ended with $ended: $said"; return 2 ;;
      esac
      [ -f "$target" ] || { why="pgbackrest says that it is there, and it is not"; return 2; }
      # No marker says how long a segment is; its own first page does, and check_segment holds all the rest against it.
      segment_size=$(stat -c %s -- "$target")
      if [ "$kind" = segment ]; then
        # shellcheck disable=SC2046
        set -- $(od -A n -t u4 -j 32 -N 4 -- "$target")
        [ "${1-0}" -lt 1048576 ] || segment_size=$1
      fi
    }
    ;;
esac

# --- The end of the source.

absent() {
  # Proven only if the archive was healthy before the question and still is after it. Whoever fetches for the spool decides
  # nothing by it.
  [ -n "$for_spool" ] || source_is_healthy || doubt "$why"
  rm -f -- "$target"
  exit 1
}

check_segment() {
  bytes=$(stat -c %s -- "$target")
  [ "$bytes" = "$segment_size" ] || doubt "it has $bytes bytes, a segment has $segment_size"

  # The first page's header: magic, flags, timeline, its own address; then system identifier and segment size. od writes
  # each 16 bytes of them as 8 numbers, as 4, as 2, and as 2 in hex.
  # shellcheck disable=SC2046
  set -- $(od -A n -v -t x2 -t u4 -t u8 -t x8 -N 32 -- "$target")
  read -r version 2>/dev/null < "$data/PG_VERSION" || version=
  case $version in
    13) known=d106 ;;
    14) known=d10d ;;
    15) known=d110 ;;
    16) known=d113 ;;
    17) known=d116 ;;
    18) known=d118 ;;
    *) known='d1??' ;;
  esac
  # shellcheck disable=SC2254
  case $1 in
    $known) ;;
    *) doubt "its first page is not WAL of this version of PostgreSQL (magic $1)" ;;
  esac

  [ "${30}" = "$cluster" ] || doubt "it is of the cluster ${30}, this server is of the cluster $cluster"

  rest=${name#????????}
  address=$(printf '%08x%08x' $((0x${rest%????????})) $((0x${rest#????????} * segment_size)))
  [ "${16}" = "$address" ] || doubt "its first page is the one at ${16}, its name says $address"

  # The first segment of a new timeline begins as a copy of its ancestor's.
  { [ "${10}" -ge 1 ] && [ "${10}" -le $((0x${name%????????????????})) ]; } || doubt "its first page is of timeline ${10}"
}

# The prefetcher is started for a server that has got the segment before this one a few seconds ago; PostgreSQL keeps it
# in pg_wal. Whoever waits a minute for the next one needs none. pgBackRest reads ahead itself (archive-async).
prefetch() {
  case $archive in pgbackrest:*) return ;; esac
  if prefetcher_is_alive; then
    echo "$name" > "$spool/asked"
    return
  fi
  rest=${name#????????}
  high=$((0x${rest%????????}))
  low=$((0x${rest#????????} - 1))
  [ "$low" -ge 0 ] || { low=$((4294967296 / segment_size - 1)); high=$((high - 1)); }
  before=$(printf '%s/pg_wal/%s%08X%08X' "$data" "${name%????????????????}" "$high" "$low")
  [ -n "$(find "$before" -newermt '10 seconds ago' 2>/dev/null)" ] || return
  # The server that replays comes first.
  nice -n 10 /bin/sh "${0%restore*}prefetch${0##*restore}" "$archive" "$name" "$data" "$segment_size" < /dev/null > /dev/null 2>&1 &
}

# For the spool only what is checked in itself is fetched, and that takes no marker.
if [ -z "$for_spool" ]; then
  source_is_healthy || doubt "$why"
fi
source_has
case $? in 0) ;; 1) absent ;; *) doubt "$why" ;; esac
source_copy
copied=$?
if [ "$copied" = 2 ] && [ -n "$for_spool" ]; then
  source_has && source_copy
  copied=$?
fi
case $copied in 0) ;; 1) absent ;; *) doubt "$why" ;; esac

if [ "$kind" = segment ]; then
  check_segment
  [ -n "$for_spool" ] || prefetch
else
  [ -s "$target" ] || doubt "it is empty"
fi
exit 0
