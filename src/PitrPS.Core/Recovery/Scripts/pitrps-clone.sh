#!/bin/sh
# pitrps-clone, version 1: an independent PostgreSQL server on a copy of a stopped standby's files, beside that standby.
# PitrPS puts it into the clone's directory and lets systemd run it. The standby's files are only read.
#
#   pitrps-clone copy DIR      copies the files of the standby, which systemd has stopped, and ends with DIR/copied; the unit then runs:
#   pitrps-clone back DIR      starts the standby again, whatever the copy came to
#   pitrps-clone run DIR       becomes the server
#   pitrps-clone settle DIR    from now on with fsync; what it recovered is on the disk, and it starts with the host
#
# DIR belongs to root, 0711. For "copy" it holds: facts (lines "NAME VALUE"), settings (lines "name=value"), wal (the names of the
# segments that are needed), places (the standby's directories), made (directories of tablespaces that the WAL is going to make)
# and files/ (what is put into the data directory).
set -eu
umask 077
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

fail() {
  printf 'pitrps-clone: %s\n' "$*" >&2
  exit 70
}

fact() {
  sed -n "s/^$1 //p" facts
}

# From here on the clone is the current directory, wherever its name may lead later.
enter() {
  cd -P -- "$1" || fail "there is no clone $1"
  [ "$(stat -c '%u %a' .)" = '0 711' ] || fail "$1 is not root's alone"
  dir=$1 data=$(fact data) user=$(fact user) bin=$(fact bin)
}

as_user() {
  setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --init-groups --inh-caps=-all "$@"
}

boot_id() {
  cat /proc/sys/kernel/random/boot_id
}

# After a power cut the number in postmaster.pid can be another process's.
is_running() {
  pid=$(sed -n 1p "$data/postmaster.pid" 2>/dev/null) && [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "$data")" ]
}

control() {
  "$bin/pg_controldata" -D "$1" | sed -n "s,^$2: *,,p"
}

# lsn X/Y: as a number.
lsn() {
  echo $(((0x${1%/*} << 32) + 0x${1#*/}))
}

# take SOURCE TARGET: links are followed, so that the copy leads nowhere else; by reference where the file system can.
take() {
  as_user cp -RL --reflink=auto --preserve=all -- "$1" "$2" || fail "$1 cannot be copied"
}

# beside PLACE: where its copy goes, on the same file system if that can be.
beside() {
  parent=${1%/*}
  if [ "$(stat -c %d -- "$1")" != "$(stat -c %d .)" ] && [ "$(stat -c %d -- "$1")" = "$(stat -c %d -- "${parent:-/}")" ]; then
    echo "$1.${dir##*.}"
  else
    echo "$dir/tablespaces/$2"
  fi
}

copy() {
  enter "$1"
  exec > copy.log 2>&1 < /dev/null
  # One that was started by hand, systemd has not stopped.
  ! is_running || as_user "$bin/pg_ctl" stop -D "$data" -m fast -w -t 600 -s || fail "the server in $data does not stop"
  state=$(control "$data" 'Database cluster state')
  case $state in
    'shut down in recovery' | 'in archive recovery') ;;
    *) fail "$data is not that of a stopped standby but '$state'" ;;
  esac
  replayed=$(control "$data" 'Minimum recovery ending location')
  [ "$(lsn "$replayed")" -le "$(lsn "$(fact stop)")" ] || fail "passed: the standby has applied the WAL up to $replayed"
  before=$(stat -c '%i %Y %Z' "$data/global/pg_control")
  boot_id > boot

  mkdir data tablespaces made.d
  chown --reference="$data" data tablespaces && chmod --reference="$data" data && chmod 0711 tablespaces
  for entry in "$data"/* "$data"/.[!.]*; do
    name=${entry##*/}
    case $name in
      postmaster.pid | postmaster.opts | standby.signal | recovery.signal | backup_label.old | lost+found | pg_wal | pg_tblspc) ;;
      pg_dynshmem | pg_notify | pg_replslot | pg_serial | pg_snapshots | pg_stat_tmp | pg_subtrans | log | pg_log)
        as_user mkdir "data/$name"
        chmod --reference="$entry" "data/$name" ;;
      *) [ ! -e "$entry" ] || take "$entry" "data/$name" ;;
    esac
  done

  as_user mkdir data/pg_tblspc
  chmod --reference="$data/pg_tblspc" data/pg_tblspc
  for entry in "$data"/pg_tblspc/*; do
    [ -e "$entry" ] || continue
    if [ ! -L "$entry" ]; then take "$entry" "data/pg_tblspc/${entry##*/}"; continue; fi
    place=$(readlink -e -- "$entry")
    target=$(beside "$place" "${entry##*/}")
    case $target in "$dir"/*) ;; *) echo "$target" >> outside ;; esac
    mkdir -- "$target"
    chown --reference="$place" -- "$target" && chmod --reference="$place" -- "$target"
    for part in "$place"/*; do
      case ${part##*/} in lost+found) ;; *) [ ! -e "$part" ] || take "$part" "$target/${part##*/}" ;; esac
    done
    as_user ln -s -- "$target" "data/pg_tblspc/${entry##*/}"
  done
  n=0
  while IFS= read -r place; do
    mkdir "made.d/$n" && chown --reference="$place" "made.d/$n" && chmod --reference="$place" "made.d/$n"
    n=$((n + 1))
  done < made

  as_user mkdir data/pg_wal data/pg_wal/archive_status
  chmod --reference="$data/pg_wal/." data/pg_wal data/pg_wal/archive_status
  redo=$(control "$data" "Latest checkpoint's REDO WAL file")
  # Of what was listed while the standby ran, its last restartpoint may have made some superfluous.
  awk -v redo="$redo" 'length($0) != 24 || substr($0, 9) "" >= substr(redo, 9) ""' wal > wal.needed
  while IFS= read -r name; do
    take "$data/pg_wal/$name" "data/pg_wal/$name"
  done < wal.needed
  for entry in "$data"/pg_wal/*.history; do
    [ ! -e "$entry" ] || take "$entry" "data/pg_wal/${entry##*/}"
  done
  if [ -d "$dir.wal" ]; then
    for entry in "$dir.wal"/*; do [ ! -e "$entry" ] || take "$entry" "data/pg_wal/${entry##*/}"; done
    rm -rf --one-file-system -- "$dir.wal"
  fi
  if is_running || [ "$(stat -c '%i %Y %Z' "$data/global/pg_control")" != "$before" ]; then
    fail 'somebody started the standby while it was copied, so the copy is worth nothing'
  fi

  configure
  printf 'replayed %s\nbytes %s\n' "$replayed" "$(du -sB1 . | cut -f 1)" > copied.new
  mv copied.new copied
}

# The clone's own pg_hba.conf and pg_ident.conf: whoever is let in by the standby's, and PitrPS itself.
configure() {
  config=$(fact config)
  for kind in hba ident; do
    theirs=$(as_user "$bin/postgres" -D "$config" -C "${kind}_file" 2>/dev/null) || theirs=
    { cat "files/pitrps-clone.$kind"; [ ! -f "$theirs" ] || as_user cat "$theirs"; } > "$kind.new"
    mv "$kind.new" "files/pitrps-clone.$kind"
  done
  for file in files/*; do
    cat "$file" > "data/${file#files/}"
    chown "$user:" "data/${file#files/}"
  done
  overrides off
}

# overrides on|off: fsync stands in postgresql.auto.conf, because it is going to change while the server runs. A target that somebody left there would be a second one.
overrides() {
  { sed -E '/^[[:space:]]*(recovery_target[a-z_]*|fsync|full_page_writes|synchronous_commit)[[:space:]=]/Id' data/postgresql.auto.conf 2>/dev/null || :
    printf '%s = %s\n' fsync "$1" full_page_writes "$1" synchronous_commit "$1"; } > auto.conf
  cat auto.conf > data/postgresql.auto.conf.new
  chown "$user:" data/postgresql.auto.conf.new
  mv -f data/postgresql.auto.conf.new data/postgresql.auto.conf
}

back() {
  enter "$1"
  [ "$(fact ran)" = yes ] || exit 0
  unit=$(fact unit)
  if [ -n "$unit" ]; then
    exec systemctl start --no-block "$unit"
  fi
  # As it was started before, by nobody's unit: in a scope of its own, so that the end of this unit does not end it. 'restart' of a stopped server takes the options of its last start.
  is_running || exec systemd-run --quiet --scope -- setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --init-groups --inh-caps=-all \
    sh -c 'cd / && exec "$0" restart -D "$1" -W -s -l "$2" > /dev/null 2>&1 < /dev/null' "$bin/pg_ctl" "$data" "$(fact log)"
}

run() {
  enter "$1"
  exec >> server.log 2>&1 < /dev/null
  [ -e copied ] || fail 'the copy is not whole'
  if [ -e boot ] && [ "$(cat boot)" != "$(boot_id)" ]; then
    fail 'the host was started anew before the clone was on its disk, so it may have holes'
  fi

  # In mounts of its own, in which the standby's files can only be read, and the tablespaces that the WAL makes lie in the clone.
  if [ "${2-}" != apart ]; then
    ! unshare --mount --propagation private true 2>/dev/null || exec unshare --mount --propagation private sh "$1/pitrps-clone" run "$1" apart
    [ ! -s made ] || fail 'this host gives no process mounts of its own, and the WAL makes a tablespace'
  else
    while IFS= read -r place; do
      mount --bind "$place" "$place" && mount -o remount,bind,ro "$place" || echo "pitrps-clone: $place stays writable for the clone"
    done < places
    n=0
    while IFS= read -r place; do
      mount --bind "made.d/$n" "$place"
      n=$((n + 1))
    done < made
  fi

  # Not before the unit's command: systemd makes the directory root's again for each that it runs.
  chown "$user:" "$(fact sockets)"
  set -- "$bin/postgres" -D "$dir/data"
  while IFS= read -r setting; do
    set -- "$@" -c "$setting"
  done < settings
  cd data
  exec setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --init-groups --inh-caps=-all "$@"
}

settle() {
  enter "$1"
  overrides on
  as_user "$bin/pg_ctl" reload -s -D "$dir/data"
}

case ${1-} in
  copy | back | run | settle) "$@" ;;
  *) fail 'usage: pitrps-clone copy|back|run|settle DIR' ;;
esac
