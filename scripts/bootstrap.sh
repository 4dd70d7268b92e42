#!/bin/bash
# Makes a bare Debian 12 machine with the .NET SDK ready for a task, then runs build.ps1: bootstrap.sh TASK [options]
# Asks the network only for Debian packages that are missing and, through dotnet, for NuGet packages.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
task=${1:-Build}
[ $# -gt 0 ] && shift
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -- "$@"; fi
}

# The packages that the task needs: those of the test hosts for whatever starts some.
wanted() {
  case ${task,,} in
    test | faultmatrix | lab | demo | bench) sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$root/tests/lab/packages.txt" 2>/dev/null || true ;;
  esac
}

missing() {
  local package
  for package in $(wanted); do
    dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || echo "$package"
  done
}

install_missing() {
  local packages
  packages=$(missing)
  [ -n "$packages" ] || return 0
  echo "Installing: ${packages//$'\n'/ }" >&2
  as_root apt-get update -qq
  # No service of a package is to start on this machine because of the tests.
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $packages >&2
}

# pwsh from 7.6 on; else our own small host, built when its sources are newer.
choose_shell() {
  # The text is PowerShell's.
  # shellcheck disable=SC2016
  if command -v pwsh >/dev/null && pwsh -NoProfile -NonInteractive -Command 'exit [int]($PSVersionTable.PSVersion -lt [version]"7.6")'; then
    shell=pwsh
    return
  fi
  shell=$root/out/host/pitrps-host
  local stale=yes
  if [ -x "$shell" ]; then
    stale=$(find "$root/scripts/host" "$root/Directory.Build.props" "$root/Directory.Packages.props" \
      \( -name bin -o -name obj \) -prune -o -type f -newer "$shell.dll" -print -quit)
  fi
  if [ -n "$stale" ]; then
    dotnet build "$root/scripts/host" -c Release -o "$root/out/host" -v quiet --nologo -maxcpucount:1 >&2
    touch "$shell.dll"
  fi
}

if ! command -v dotnet >/dev/null; then
  echo "bootstrap.sh: there is no dotnet on the PATH; install the .NET 10 SDK first." >&2
  exit 1
fi
install_missing
choose_shell
cd "$root"
exec "$shell" -NoProfile -File "$root/build.ps1" -Task "$task" "$@"
