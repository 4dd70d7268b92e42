# shellcheck shell=bash
# The cached bases: one folder for a suite, shared by all labs of this machine, never changed once it is there.

# Raise it whenever build-debian.sh or the package list changes what a base is.
BASE_REVISION=2

# And this one, of what build-rhel.sh and rpm/ make of them.
RHEL_REVISION=3

base_folder() {
  local revision=$BASE_REVISION
  [[ $(family_of "$1") == debian ]] || revision+=.$RHEL_REVISION
  echo "$CACHE/$1-r$revision"
}

postgres_major() {
  local MAJOR RELEASE DISTRIBUTION DEBIAN
  case $1 in
    bullseye) echo 13 ;;
    bookworm) echo 15 ;;
    trixie) echo 17 ;;
    *)
      shape_load "$1" || die "unknown suite '$1': bullseye (PostgreSQL 13), bookworm (15), trixie (17), or of RHEL shape centos7 (13), rocky8 (15), alma10 (17)"
      echo "$MAJOR"
      ;;
  esac
}

# suite_of FAMILY [MAJOR]
suite_of() {
  case $1-$2 in
    debian-13) echo bullseye ;;
    debian- | debian-15) echo bookworm ;;
    debian-17) echo trixie ;;
    rhel- | rhel-13) echo centos7 ;;
    rhel-15) echo rocky8 ;;
    rhel-17) echo alma10 ;;
    *) die "no hosts of family '$1' with PostgreSQL '${2:-any}': debian and rhel have 13, 15 and 17" ;;
  esac
}

family_of() { (shape_load "$1") && echo rhel || echo debian; }

# Where the servers of a family keep their data: a real folder on each host.
data_place() { [[ $(family_of "$1") == rhel ]] && echo /var/lib/pgsql || echo /var/lib/postgresql; }

base_ensure() {
  # shellcheck disable=SC2034
  local suite=$1 folder build below DEBIAN MAJOR RELEASE DISTRIBUTION
  postgres_major "$suite" >/dev/null
  folder=$(base_folder "$suite")
  [[ ! -d $folder ]] || return 0
  mkdir -p "$CACHE"
  # The server's programs of a RHEL shape are those of a Debian's packages, and so is what they stand on.
  below=$suite
  if [[ $(family_of "$suite") == rhel ]]; then
    shape_load "$suite"
    below=$DEBIAN
    base_ensure "$below"
  fi
  (
    flock 9
    [[ ! -d $folder ]] || exit 0
    build=$CACHE/.building-$suite
    rm -rf --one-file-system "$build"
    mkdir "$build"
    say "building the base for $suite, once; log: $CACHE/$suite.log"
    # A mount namespace of its own: whatever is mounted while building goes with it, however it ends.
    unshare --mount "$BASH" "$LAB_HOME/lib/build-$(family_of "$suite").sh" "$suite" "$build" "$(base_folder "$below")" >"$CACHE/$suite.log" 2>&1 </dev/null 9>&- || {
      tail -n 20 "$CACHE/$suite.log" >&2
      die "the base for $suite could not be built; log: $CACHE/$suite.log"
    }
    mv "$build" "$folder"
  ) 9>"$CACHE/$suite.lock"
}
