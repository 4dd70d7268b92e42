#!/usr/bin/env bash
# run-host.sh FOLDER MACHINE NETNS DATA CGROUP...: runs one host until it is powered off, boots it again when it reboots.
# Started by `lab start`; it lives in the host's cgroups, so that whoever ends those ends all of it.
set -u
folder=$1 machine=$2 netns=$3 data=$4
shift 4
for cgroup in "$@"; do
  mkdir -p "$cgroup/supervisor" "$cgroup/host"
  echo $$ >"$cgroup/supervisor/cgroup.procs"
done

while :; do
  (
    for cgroup in "$@"; do
      echo "$BASHPID" >"$cgroup/host/cgroup.procs"
    done
    # The hosts have cgroup v2 inside, whatever the machine has; FUSE is for sshfs, and a firewall may be theirs: the network namespace is.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --quiet --boot --register=no --keep-unit --capability=CAP_NET_ADMIN \
      --machine="$machine" --hostname="$(basename "$folder")" --directory="$folder/root" \
      --network-namespace-path="/run/netns/$netns" --bind="$folder/data:$data" --bind=/dev/fuse \
      --resolv-conf=off --timezone=off --link-journal=no --console=pipe
  )
  # 133 is a reboot inside.
  [[ $? -eq 133 && ! -e $folder/stopping ]] || exit 0
done
