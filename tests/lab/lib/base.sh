# shellcheck shell=bash
# The cached bases: one folder for a suite, shared by all labs of this machine, never changed once it is there.

# Raise it whenever build-debian.sh, build-rhel.sh or the package list changes what a base is.
BASE_REVISION=1

base_folder() { echo "$CACHE/$1-r$BASE_REVISION"; }

postgres_major() {
  case $1 in
    bullseye) echo 13 ;;
    bookworm) echo 15 ;;
    trixie) echo 17 ;;
    centos7) echo 13 ;;
    *) die "unknown suite '$1': bullseye (PostgreSQL 13), bookworm (15), trixie (17) or centos7 (13)" ;;
  esac
}

family_of() { [[ $1 == centos* ]] && echo rhel || echo debian; }

# Where the servers of a family keep their data: a real folder on each host.
data_place() { [[ $(family_of "$1") == rhel ]] && echo /var/lib/pgsql || echo /var/lib/postgresql; }

base_ensure() {
  local suite=$1 folder build
  postgres_major "$suite" >/dev/null
  folder=$(base_folder "$suite")
  [[ ! -d $folder ]] || return 0
  mkdir -p "$CACHE"
  # The server's programs of the RHEL shape are those of Debian 11's packages, and so is what they stand on.
  [[ $suite != centos7 ]] || base_ensure bullseye
  (
    flock 9
    [[ ! -d $folder ]] || exit 0
    build=$CACHE/.building-$suite
    rm -rf --one-file-system "$build"
    mkdir "$build"
    say "building the base for $suite, once; log: $CACHE/$suite.log"
    # A mount namespace of its own: whatever is mounted while building goes with it, however it ends.
    unshare --mount "$BASH" "$LAB_HOME/lib/build-$(family_of "$suite").sh" "$suite" "$build" "$(base_folder bullseye)" >"$CACHE/$suite.log" 2>&1 </dev/null 9>&- || {
      tail -n 20 "$CACHE/$suite.log" >&2
      die "the base for $suite could not be built; log: $CACHE/$suite.log"
    }
    mv "$build" "$folder"
  ) 9>"$CACHE/$suite.lock"
}
