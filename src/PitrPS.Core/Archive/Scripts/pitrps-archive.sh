#!/bin/sh
# pitrps-archive, version 2. Installed by PitrPS; PostgreSQL runs it as its archive_command:
#
#   pitrps-archive DIRECTORY PATH NAME [zstd|lz4]        (archive_command = 'pitrps-archive DIRECTORY "%p" "%f" zstd')
#
# Copies one finished WAL file to DIRECTORY/NAME so that it is there whole and on the disk, or not at all. A whole segment is
# compressed on request, and then is DIRECTORY/NAME.zst or NAME.lz4; all other files stay as they are.
# 0: it is there. 1: it is not; PostgreSQL keeps its copy and tries again, and what is said here is in its log.
# DIRECTORY holds a marker, pitrps-archive.id, that says whose archive it is; without it nothing is written
# (the directory's filesystem may not be mounted).

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

trap 'rm -f -- "$copy"' EXIT
trap 'exit 1' HUP INT QUIT TERM
case $compression in
  '')
    # After a quiet minute a segment is nearly all zeros, which need no room on the disk. It is on the disk when this ends.
    dd if="$path" of="$copy" bs=32k conv=sparse,fsync status=none || fail "$name cannot be copied to $directory"
    ;;
  *)
    command -v "$compression" >/dev/null || fail "$compression is not installed: install it, or let Enable-WalArchive set another compression"
    "$compression" -q -c -- "$path" > "$copy" || fail "$name cannot be compressed to $directory"
    sync -- "$copy" || fail "$copy cannot be brought to the disk"
    ;;
esac
mv -f -- "$copy" "$final" || fail "$copy cannot be renamed to $name$suffix"
sync -- "$directory" || fail "$directory cannot be brought to the disk"
