# shellcheck shell=bash
# shellcheck disable=SC2034  # whoever loads a shape does
# The distributions whose shape the lab has, and what each stands on.

# shape_load SUITE, for its caller's own variables: sets RELEASE, DISTRIBUTION (as its release package is called), MAJOR of PostgreSQL, and the DEBIAN below.
shape_load() {
  case $1 in
    centos7) RELEASE=7 DISTRIBUTION=centos MAJOR=13 DEBIAN=bullseye ;;
    rocky8) RELEASE=8 DISTRIBUTION=rocky MAJOR=15 DEBIAN=bookworm ;;
    alma10) RELEASE=10 DISTRIBUTION=almalinux MAJOR=17 DEBIAN=trixie ;;
    *) return 1 ;;
  esac
}
