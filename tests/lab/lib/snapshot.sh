# shellcheck shell=bash
# Snapshots: hosts that were powered off together, kept under one name. snapshots/SNAPSHOT/NAME holds what hosts/NAME does,
# but its `upper` never changes any more: the host goes on in a new layer above it, and so does every clone.
# The database's files cannot lie on an overlay, so they are copied (PostgreSQL writes in place, links would not do).

copy_data() { # FROM TO
  if [[ $FS == xfs ]]; then
    cp --sparse=always --reflink=auto "$1/data.xfs" "$2/data.xfs"
  else
    cp -a --reflink=auto "$1/data" "$2/"
  fi
}

snapshot_take() { # NAME, into the folder TAKING
  local kept=$TAKING/$1
  host_load "$1"
  host_unmount "$HOST"
  mkdir "$kept"
  cp -p "$HOST/settings" "$HOST/hostkeys" "$kept/"
  copy_data "$HOST" "$kept"
}

snapshot_freeze() { # NAME SNAPSHOT
  host_load "$1"
  mv "$HOST/upper" "$TAKING/$1/upper"
  host_define "$NAME" "$SUITE" "$FS" "$PORT" "$LAST" "$LAB/snapshots/$2/$1/upper:$LOWER"
}

verb_snapshot() {
  local snapshot=${1:-} name
  check_name "$snapshot"
  shift
  need_hosts "$@"
  lock_lab
  [[ ! -d $LAB/hosts/$snapshot ]] || die "'$snapshot' is a host"
  [[ ! -d $LAB/snapshots/$snapshot ]] || die "there is a snapshot '$snapshot' already (lab destroy $snapshot)"
  for_each host_stop "$@"
  TAKING=$LAB/snapshots/.taking
  rm -rf "$TAKING"
  mkdir -p "$TAKING"
  for_each snapshot_take "$@"
  for name in "$@"; do (snapshot_freeze "$name" "$snapshot"); done
  mv "$TAKING" "$LAB/snapshots/$snapshot"
}

snapshot_hosts() {
  local settings
  for settings in "$LAB/snapshots/$1"/*/settings; do
    basename "$(dirname "$settings")"
  done
}

clone_one() { # NAME, out of the folder CLONING
  local kept=$CLONING/$1
  host_discard "$1"
  # shellcheck source=/dev/null
  . "$kept/settings"
  host_define "$1" "$SUITE" "$FS" "$PORT" "$LAST" "$kept/upper:$LOWER"
  cp -p "$kept/hostkeys" "$LAB/hosts/$1/"
  copy_data "$kept" "$LAB/hosts/$1"
  host_start "$1"
}

verb_clone() {
  local -a names suites
  network_load || die "no lab in $LAB"
  CLONING=$LAB/snapshots/${1:-}
  [[ ${1:-} && -d $CLONING ]] || die "no snapshot '${1:-}' in $LAB"
  lock_lab
  mapfile -t names < <(snapshot_hosts "$1")
  mapfile -t suites < <(sed -n 's/^SUITE=//p' "$CLONING"/*/settings | sort -u)
  lab_up "${suites[@]}"
  for_each clone_one "${names[@]}"
  inventory_write
  start_daemon /dev/null rm -rf --one-file-system "$LAB"/discarded/* >/dev/null
}

snapshot_destroy() {
  local user
  for user in "$LAB"/hosts/*/settings "$LAB"/snapshots/*/*/settings; do
    if grep -q "^LOWER=.*$LAB/snapshots/$1/" "$user"; then
      die "snapshot '$1' is in use by $(basename "$(dirname "$user")") (${user%/settings}): destroy that first"
    fi
  done
  rm -rf --one-file-system "${LAB:?}/snapshots/$1"
}
