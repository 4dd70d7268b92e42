#!/bin/sh
# pitrps-archive, version 1. Installed by PitrPS; PostgreSQL runs it as its archive_command:
#
#   pitrps-archive DIRECTORY PATH NAME        (archive_command = 'pitrps-archive DIRECTORY "%p" "%f"')
#
# Copies one finished WAL file to DIRECTORY/NAME so that it is there whole and on the disk, or not at all.
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

[ $# -eq 3 ] || fail "usage: pitrps-archive DIRECTORY PATH NAME"
directory=$1
path=$2
name=$3
marker=$directory/pitrps-archive.id
final=$directory/$name
# One name for all runs: what a crash has left is overwritten, and never takes the place of a second file.
copy=$directory/.pitrps-archive.copy

[ -f "$path" ] || fail "$path does not exist"
[ -f "$marker" ] || fail "$marker does not exist: $directory is no archive, or its filesystem is not mounted"
[ -w "$marker" ] || fail "$marker is not writable for $(id -un)"

# The lock ends with the last process that has the file open, a copying child of a killed run included.
exec 9>>"$marker"
flock -w 60 9 || fail "another run has had $directory for more than 60 s"

# Byte 24 of a segment is the system identifier of its cluster; two clusters must not share an archive.
case $name in
  *.history | *.backup) ;;
  *)
    expected=$(sed -n 's/^system_identifier=//p' "$marker")
    found=$(od -A n -t u8 -j 24 -N 8 -- "$path" | tr -d ' ')
    [ "$found" = "$expected" ] || fail "$name is of the cluster $found, $directory belongs to the cluster $expected"
    ;;
esac

if [ -e "$final" ] || [ -L "$final" ]; then
  cmp -s -- "$path" "$final"
  case $? in
    0)
      # The run that put it there may have been cut off before it was on the disk.
      sync -- "$final" "$directory" || fail "$final cannot be brought to the disk"
      exit 0
      ;;
    1) fail "$final exists with other content and is not overwritten: find out which server wrote it" ;;
    *) fail "$final exists and cannot be compared" ;;
  esac
fi

trap 'rm -f -- "$copy"' EXIT
trap 'exit 1' HUP INT QUIT TERM
rm -f -- "$copy"
# After a quiet minute a segment is nearly all zeros, which need no room on the disk.
cp --sparse=always -- "$path" "$copy" || fail "$name cannot be copied to $directory"
chmod 0640 -- "$copy" || fail "$copy cannot be made readable for the readers"
sync -- "$copy" || fail "$copy cannot be brought to the disk"
mv -f -- "$copy" "$final" || fail "$copy cannot be renamed to $name"
sync -- "$directory" || fail "$directory cannot be brought to the disk"
