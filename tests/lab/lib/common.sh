# shellcheck shell=bash
# What every part of the lab shares: where things are, how an error ends, locks, running one thing for many names.

LAB=${PITRPS_LAB:-/var/lib/pitrps-lab}
CACHE=${PITRPS_LAB_CACHE:-/var/cache/pitrps-lab}

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

check_machine() {
  local command
  local -a missing=()
  [[ $EUID -eq 0 ]] || die "must run as root"
  for command in apt-ftparchive createrepo_c debootstrap flock gpg ip mkfs.xfs nsenter openssl python3 rpmbuild rpmsign ssh ssh-keygen systemd-nspawn unshare; do
    command -v "$command" >/dev/null || missing+=("$command")
  done
  [[ ${#missing[@]} -eq 0 ]] || die "missing: ${missing[*]}; install the packages named in $LAB_HOME/packages.txt"
  [[ -c /dev/fuse ]] || die "this machine has no /dev/fuse (modprobe fuse)"
  # The paths become mount options and JSON: only what neither needs to escape.
  [[ $LAB =~ ^/[A-Za-z0-9/._-]+$ && $CACHE =~ ^/[A-Za-z0-9/._-]+$ ]] || die "PITRPS_LAB and PITRPS_LAB_CACHE must be plain absolute paths"
}

check_name() {
  [[ $1 =~ ^[a-z][a-z0-9-]{0,30}$ ]] || die "'$1' is not a name: lower-case letters, digits and '-', at most 31"
}

# One command at a time changes the lab; the lock ends with this process.
lock_lab() {
  while :; do
    mkdir -p "$LAB"
    exec {LAB_LOCK}>"$LAB/lock"
    flock --timeout 300 "$LAB_LOCK" || die "another command holds $LAB/lock for more than 300 s"
    # It may have been `destroy --all` that we waited for: then this lock is of the lab that was.
    [[ ! $LAB/lock -ef /proc/self/fd/$LAB_LOCK ]] || return 0
    exec {LAB_LOCK}>&-
  done
}

# Whatever outlives this command must hold neither its lock nor its caller's pipes, and is none of its jobs. Prints its process id.
start_daemon() { # LOG COMMAND...
  local log=$1
  shift
  setsid "$@" </dev/null >>"$log" 2>&1 {LAB_LOCK}>&- &
  echo $!
}

# for_each FUNCTION NAME...: all at once; fails when one of them failed.
for_each() {
  local run=$1 name failed=0
  local -a jobs=()
  shift
  for name in "$@"; do
    ("$run" "$name") &
    jobs+=($!)
  done
  for name in "${jobs[@]}"; do
    wait "$name" || failed=1
  done
  return "$failed"
}

# wait_until SECONDS COMMAND...: asks every 20 ms, and less often the longer it takes.
wait_until() {
  local begin=${EPOCHREALTIME/[.,]/} limit=$1 waited pause
  shift
  until "$@"; do
    waited=$((${EPOCHREALTIME/[.,]/} - begin))
    ((waited < limit * 1000000)) || return 1
    printf -v pause '0.%06d' $((waited < 400000 ? 20000 : waited > 10000000 ? 500000 : waited / 20))
    sleep "$pause"
  done
}

# Replaces FILE with standard input as a whole.
write_file() {
  local file=$1 mode=${2:-0644}
  cat >"$file.new"
  chmod "$mode" "$file.new"
  mv -f "$file.new" "$file"
}
