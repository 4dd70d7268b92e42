# shellcheck shell=bash
# One host: a folder hosts/NAME with its settings, its layer over the base (upper) and the database's files (data),
# and systemd-nspawn that boots it. host_load sets, for the others, HOST, NAME and what `settings` holds:
# SUITE FS PORT LAST ADDRESS LOWER (the layers below, uppermost first).

# systemd gives each mount 90 s, and lets nobody log in while one that needs the network hangs.
BOOT_SECONDS=120 STOP_SECONDS=120
# Of a new XFS image, which takes only what is written to it.
DATA_SIZE=32G

host_exists() { [[ -f $LAB/hosts/$1/settings ]]; }

host_load() {
  NAME=$1 HOST=$LAB/hosts/$1
  host_exists "$1" || die "no host '$1'"
  # shellcheck source=/dev/null
  . "$HOST/settings"
  ADDRESS=$NETWORK.$LAST
}

host_names() {
  local settings
  for settings in "$LAB"/hosts/*/settings; do
    basename "$(dirname "$settings")"
  done
}

# --- processes ---

# The last of a host's cgroups is in a v2 hierarchy, which knows whether anything runs in it.
host_processes() {
  find "${CGROUPS[-1]}/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

host_runs() {
  local populated=0 _
  { read -r _ populated <"${CGROUPS[-1]}/$1/cgroup.events"; } 2>/dev/null && [[ $populated == 1 ]]
}
host_rests() { ! host_runs "$1"; }

# The host's init, as the machine sees it: process 1 of a namespace right below ours.
host_init() {
  local status
  # What has ended since is no error.
  # shellcheck disable=SC2046
  status=$(grep -slE $'^NSpid:\t[0-9]+\t1$' $(printf '/proc/%s/status ' $(host_processes "$1")) || true)
  [[ $status ]] || return 1
  status=${status#/proc/}
  echo "${status%%/*}"
}

cgroups_remove() {
  local cgroup
  for cgroup in "${CGROUPS[@]/%//$1}"; do
    [[ ! -d $cgroup ]] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

# --- files ---

# host_define NAME SUITE FS PORT LAST LOWER
host_define() {
  mkdir -p "$LAB/hosts/$1"/{upper,root,data}
  printf 'SUITE=%s\nFS=%s\nPORT=%s\nLAST=%s\nLOWER=%s\n' "${@:2}" | write_file "$LAB/hosts/$1/settings"
}

host_mount() {
  if [[ $FS == xfs ]] && ! mountpoint -q "$HOST/data"; then
    if [[ ! -f $HOST/data.xfs ]]; then
      truncate -s "$DATA_SIZE" "$HOST/data.xfs"
      mkfs.xfs -q -m reflink=1 "$HOST/data.xfs"
    fi
    # nouuid: a clone has the one of the host that it replaces, which may not be quite gone.
    mount -o loop,nouuid "$HOST/data.xfs" "$HOST/data"
  fi
  if ! mountpoint -q "$HOST/root"; then
    # volatile: nothing of it is synced to the disk. A power cut of a host is none of the machine.
    rm -rf --one-file-system "$HOST/work"
    mkdir "$HOST/work"
    mount -t overlay "pitrps-lab-$NUMBER-$NAME" -o "volatile,lowerdir=$LOWER,upperdir=$HOST/upper,workdir=$HOST/work" "$HOST/root"
  fi
}

host_unmount() { # FOLDER [UMOUNT-OPTION]
  local place
  for place in "$1/root" "$1/data"; do
    ! mountpoint -q "$place" || umount ${2:+"$2"} "$place"
  done
}

# What makes this host itself: name, keys, users' secrets, package source. Only before its first start.
host_seed() {
  local root=$HOST/root user kind sshd
  echo "$NAME" >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 %s\n' "$NAME" >"$root/etc/hosts"
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  if [[ $(family_of "$SUITE") == rhel ]]; then
    yum_source "$SUITE" >"$root/etc/yum.repos.d/lab.repo"
    # The lab stands in for these sites.
    echo "$(sites_address "$SUITE") download.postgresql.org dl.fedoraproject.org" >>"$root/etc/hosts"
    sshd=$root/etc/ssh/sshd_config
  else
    package_source "$SUITE" >"$root/etc/apt/sources.list.d/lab.sources"
    sshd=$root/etc/ssh/sshd_config.d/50-lab.conf
  fi
  [[ $PORT == 22 ]] || echo "Port $PORT" >>"$sshd"
  # RSA with 3072 bits, the default, would take longer than all the rest.
  for kind in 'ed25519' 'ecdsa' 'rsa -b 2048'; do
    # shellcheck disable=SC2086
    ssh-keygen -q -t $kind -N '' -C "root@$NAME" -f "$root/etc/ssh/ssh_host_${kind%% *}_key"
  done
  cat "$root"/etc/ssh/ssh_host_*_key.pub >"$HOST/hostkeys"
  for user in dba dbapw; do
    install -d -m 0700 "$root/home/$user/.ssh"
    install -m 0600 "$LAB/id_ed25519.pub" "$root/home/$user/.ssh/authorized_keys"
    chown -R --reference="$root/home/$user" "$root/home/$user/.ssh"
  done
  sed -i "s|^dbapw:[^:]*|dbapw:$(openssl passwd -6 -stdin <"$LAB/password")|" "$root/etc/shadow"
}

# --- life ---

# Looked up in the host's own table of sockets: true also while the network is paused, and sshd notices nothing.
sshd_listens() {
  local -a sockets
  [[ -d /proc/${INIT:-none} ]] || INIT=$(host_init "$NAME") || return 1
  mapfile -t sockets < <(cat "/proc/$INIT/net/tcp" "/proc/$INIT/net/tcp6" 2>/dev/null)
  [[ ${sockets[*]} =~ $SSHD_SOCKET ]]
}

host_up() { sshd_listens || host_rests "$NAME"; }

host_start() {
  local INIT='' SSHD_SOCKET
  host_load "$1"
  printf -v SSHD_SOCKET ':%04X 0+:0000 0A' "$PORT"
  link_up "$NAME" "$LAST"
  host_mount
  if host_rests "$NAME"; then
    rm -f "$HOST/stopping"
    start_daemon "$HOST/console.log" "$BASH" "$LAB_HOME/lib/run-host.sh" "$HOST" "pt$NUMBER-$NAME" "$(netns_of "$NAME")" "$(data_place "$SUITE")" "${CGROUPS[@]/%//$NAME}" >/dev/null
    wait_until 5 host_runs "$NAME" || die "$NAME: systemd-nspawn does not start: $(tail -n 5 "$HOST/console.log")"
  fi
  wait_until "$BOOT_SECONDS" host_up || die "$NAME: no sshd on $ADDRESS:$PORT after $BOOT_SECONDS s; see $HOST/console.log"
  sshd_listens || die "$NAME: ended while it started: $(tail -n 5 "$HOST/console.log")"
}

# As `poweroff` inside; a host whose services hang is cut off in the end, and that is an error.
host_stop() {
  local init end=$((SECONDS + STOP_SECONDS))
  host_load "$1"
  touch "$HOST/stopping"
  while host_runs "$NAME"; do
    if ((SECONDS >= end)); then
      host_kill "$NAME"
      die "$NAME: did not power off in $STOP_SECONDS s and was killed; see $HOST/console.log"
    fi
    # Again each second: an init that has just begun does not know the signal yet.
    ! init=$(host_init "$NAME") || kill -s RTMIN+3 "$init" 2>/dev/null || true
    wait_until 1 host_rests "$NAME" || true
  done
}

# The power cut: no process of the host does anything any more.
host_kill() {
  local init
  host_load "$1"
  touch "$HOST/stopping"
  ! init=$(host_init "$NAME") || kill -KILL "$init" 2>/dev/null || true
  wait_until 10 host_rests "$NAME" || host_annihilate "$NAME"
}

# Every process in the host's cgroups, the supervisor first.
host_annihilate() {
  local pid
  for pid in $(host_processes "$1"); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  wait_until 10 host_rests "$1" || die "$1: processes that cannot be killed: $(host_processes "$1" | tr '\n' ' ')"
}

# Ends whatever there is of a host, also of one that was never finished. Its files are out of the way at once; to delete them takes longer.
host_discard() {
  local folder=$LAB/hosts/$1 LAST=''
  touch "$folder/stopping" 2>/dev/null || true
  # shellcheck source=/dev/null
  [[ ! -f $folder/settings ]] || . "$folder/settings"
  ! host_runs "$1" || host_annihilate "$1"
  cgroups_remove "$1"
  host_unmount "$folder" --lazy
  link_down "$1" "${LAST:-0}"
  # nspawn leaves it where /run is no tmpfs.
  rm -rf --one-file-system "/run/systemd/nspawn"/{propagate,unix-export}/"pt$NUMBER-$1"
  mkdir -p "$LAB/discarded"
  [[ ! -d $folder ]] || mv "$folder" "$(mktemp -d -p "$LAB/discarded")"
}

host_destroy() {
  host_discard "$1"
  rm -rf --one-file-system "$LAB"/discarded/*
}
