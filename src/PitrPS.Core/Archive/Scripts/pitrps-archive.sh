#!/bin/sh
# pitrps-archive, version 3. Installed by PitrPS; PostgreSQL runs it as its archive_command:
#
#   pitrps-archive DIRECTORY PATH NAME [zstd|lz4]        (archive_command = 'pitrps-archive DIRECTORY "%p" "%f" zstd')
#
# Copies one finished WAL file to DIRECTORY/NAME so that it is there whole and on the disk, or not at all. A whole segment is
# compressed on request, and then is DIRECTORY/NAME.zst or NAME.lz4; all other files stay as they are.
# Where more segments wait, this run takes up to 15 of them along, 4 at a time, so that the disk is not waited for with each.
# A note says which; when the server comes to them, nothing is left to be done.
# 0: it is there. 1: it is not; PostgreSQL keeps its copy and tries again, and what is said here is in its log.
# DIRECTORY holds a marker, pitrps-archive.id, that says whose archive it is; without it nothing is written
# (the directory's filesystem may not be mounted).

# Every sh of these systems compares files by time and words by order.
# shellcheck disable=SC3012,SC3013

set -u
LC_ALL=C
export LC_ALL
# What is archived is the database's content: the owner writes it, the readers' group reads it.
umask 027

fail() {
  echo "pitrps-archive: $1" >&2
  exit 1
}

[ $# -eq 3 ] || [ $# -eq 4 ] || fail "usage: pitrps-archive DIRECTORY PATH NAME [zstd|lz4]"
directory=$1
path=$2
name=$3
compression=${4-}
marker=$directory/pitrps-archive.id
# One name for all runs: what a crash has left is overwritten, and never takes the place of a second file.
copy=$directory/.pitrps-archive.copy
note=$directory/.pitrps-archive.note

[ -f "$path" ] || fail "$path does not exist"
[ -f "$marker" ] || fail "$marker does not exist: $directory is no archive, or its filesystem is not mounted"
[ -w "$marker" ] || fail "$marker is not writable for $(id -un)"

is_segment=
case $name in
  *[!0-9A-F]*) ;;
  ????????????????????????) is_segment=yes ;;
esac
case $compression in
  '' | zstd | lz4) ;;
  *) fail "'$compression' is no compression: zstd or lz4" ;;
esac
[ -n "$is_segment" ] || compression=
case $compression in
  zstd) suffix=.zst ;;
  lz4) suffix=.lz4 ;;
  *) suffix= ;;
esac
final=$directory/$name$suffix

# Taken along by an earlier run, and neither of the two has been written to since. The note was made when it was on the disk.
taken=
[ -z "$is_segment" ] || [ ! -f "$note" ] || ! IFS= read -r taken < "$note" || case " $taken " in
  *" $name$suffix "*) [ -f "$final" ] && [ "$path" -ot "$note" ] && [ ! "$final" -nt "$note" ] && exit 0 ;;
esac

# The lock ends with the last process that has the file open, a copying child of a killed run included.
exec 9>>"$marker"
flock -w 60 9 || fail "another run has had $directory for more than 60 s"

# Byte 24 of a segment is the system identifier of its cluster; two clusters must not share an archive.
case $name in
  *.history | *.backup) ;;
  *)
    expected=
    while IFS= read -r line || [ -n "$line" ]; do
      case $line in system_identifier=*) expected=${line#*=} ;; esac
    done < "$marker"
    # shellcheck disable=SC2046
    set -- $(od -A n -t u8 -j 24 -N 8 -- "$path")
    [ "${1-}" = "$expected" ] || fail "$name is of the cluster ${1-}, $directory belongs to the cluster $expected"
    ;;
esac

# 0: the archive's file has the content of $path. 1: it has another. 2: that cannot be told.
compare() {
  case $1 in
    *.zst) unpack=zstd ;;
    *.lz4) unpack=lz4 ;;
    *)
      cmp -s -- "$path" "$1"
      return
      ;;
  esac
  # What is damaged has neither the same content nor another one.
  "$unpack" -d -c -q < "$1" >/dev/null 2>&1 || return 2
  "$unpack" -d -c -q < "$1" 2>/dev/null | cmp -s -- "$path" -
}

# It may have been archived with another compression before. Where it is there twice, both have to be right.
there=
set -- "$directory/$name"
[ -z "$is_segment" ] || set -- "$@" "$directory/$name.zst" "$directory/$name.lz4"
for file; do
  if [ -e "$file" ] || [ -L "$file" ]; then
    compare "$file"
    case $? in
      0) there=$file ;;
      1) fail "$file exists with other content and is not overwritten: find out which server wrote it" ;;
      *) fail "$file exists and cannot be compared" ;;
    esac
  fi
done
if [ -n "$there" ]; then
  # The run that put it there may have been cut off before it was on the disk.
  sync -- "$there" "$directory" || fail "$there cannot be brought to the disk"
  exit 0
fi

# shellcheck disable=SC2317
clean() {
  for left in "$copy" "$copy".*; do
    [ ! -e "$left" ] || rm -f -- "$left"
  done
}
trap clean EXIT
trap 'exit 1' HUP INT QUIT TERM
[ -z "$compression" ] || command -v "$compression" >/dev/null ||
  fail "$compression is not installed: install it, or let Enable-WalArchive set another compression"

# put FROM COPY TO: on the disk under its own name, or not there under it.
put() {
  case $compression in
    # After a quiet minute a segment is nearly all zeros, which need no room on the disk.
    '') dd if="$1" of="$2" bs=32k conv=sparse,fsync status=none ;;
    *) "$compression" -q -c -- "$1" > "$2" && sync -- "$2" ;;
  esac && mv -f -- "$2" "$3"
}

# Those that wait behind this one on its timeline; the server asks for the oldest first.
waiting=
if [ -n "$is_segment" ]; then
  count=0
  for ready in "${path%/*}"/archive_status/"${name%????????????????}"????????????????.ready; do
    other=${ready##*/}
    other=${other%.ready}
    case $other in
      *[!0-9A-F]*) ;;
      *)
        if [ "$other" \> "$name" ] && [ -f "${path%/*}/$other" ] && [ ! -e "$directory/$other" ] && [ ! -e "$directory/$other.zst" ] && [ ! -e "$directory/$other.lz4" ]; then
          waiting="$waiting $other"
          count=$((count + 1))
          [ "$count" -lt 15 ] || break
        fi
        ;;
    esac
  done
fi

taken=
running=1
started=0
for other in $waiting; do
  [ "$started" -lt 3 ] || break
  started=$((started + 1))
  put "${path%/*}/$other" "$copy.$other" "$directory/$other$suffix" 2>/dev/null &
done
put "$path" "$copy" "$final"
result=$?
wait
if [ "$result" -ne 0 ] && [ -n "$waiting" ]; then
  # What was taken along may have had the room that this one needs.
  for other in $waiting; do rm -f -- "$directory/$other$suffix" "$copy.$other"; done
  waiting=
  put "$path" "$copy" "$final"
  result=$?
fi
[ "$result" -eq 0 ] || fail "$name cannot be ${compression:+compressed by $compression and }copied to $directory"
for other in $waiting; do
  if [ "$started" -gt 0 ]; then
    started=$((started - 1))
    continue
  fi
  put "${path%/*}/$other" "$copy.$other" "$directory/$other$suffix" 2>/dev/null &
  running=$((running + 1))
  [ "$running" -le 4 ] || { wait; running=1; }
done
wait
sync -- "$directory" || fail "$directory cannot be brought to the disk"

[ -n "$waiting" ] || exit 0
for other in $waiting; do
  [ ! -f "$directory/$other$suffix" ] || taken="$taken $other$suffix"
done
printf '%s\n' "$taken" > "$note" || rm -f -- "$note"
exit 0
