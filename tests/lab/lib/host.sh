# shellcheck shell=bash
# One host: a folder hosts/NAME with its settings, its layer over the base (upper) and the database's files (data),
# and systemd-nspawn that boots it. host_load sets, for the others, HOST, NAME and what `settings` holds:
# SUITE FS PORT LAST ADDRESS LOWER (the layers below, uppermost first).

BOOT_SECONDS=60 STOP_SECONDS=120

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

# systemd on a machine of today has one hierarchy; on an older one nspawn needs its own place in both.
cgroups_of() { # NAME
  local root
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo "/sys/fs/cgroup/pitrps-lab-$NUMBER/$1"
  else
    for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
      [[ ! -d $root ]] || echo "$root/pitrps-lab-$NUMBER/$1"
    done
  fi
}

host_processes() {
  local cgroup
  for cgroup in $(cgroups_of "$1"); do
    [[ ! -d $cgroup ]] || find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done | sort -un
}

host_runs() { [[ $(host_processes "$1") ]]; }
host_rests() { ! host_runs "$1"; }

# The host's init, as the machine sees it: process 1 of a namespace right below ours.
host_init() {
  local pid
  for pid in $(host_processes "$1"); do
    if awk '/^NSpid:/ {found = NF == 3 && $3 == 1} END {exit !found}' "/proc/$pid/status" 2>/dev/null; then
      echo "$pid"
      return
    fi
  done
  return 1
}

cgroups_remove() {
  local cgroup
  for cgroup in $(cgroups_of "$1"); do
    [[ ! -d $cgroup ]] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

# --- files ---

# host_define NAME SUITE FS PORT LAST LOWER
host_define() {
  mkdir -p "$LAB/hosts/$1"/{upper,work,root,data}
  printf 'SUITE=%s\nFS=%s\nPORT=%s\nLAST=%s\nLOWER=%s\n' "${@:2}" | write_file "$LAB/hosts/$1/settings"
}

host_mount() {
  if [[ $FS == xfs ]] && ! mountpoint -q "$HOST/data"; then
    if [[ ! -f $HOST/data.xfs ]]; then
      truncate -s 32G "$HOST/data.xfs"
      mkfs.xfs -q -m reflink=1 "$HOST/data.xfs"
    fi
    mount -o loop "$HOST/data.xfs" "$HOST/data"
  fi
  mountpoint -q "$HOST/root" ||
    mount -t overlay "pitrps-lab-$NUMBER-$NAME" -o "lowerdir=$LOWER,upperdir=$HOST/upper,workdir=$HOST/work" "$HOST/root"
}

host_unmount() { # FOLDER [UMOUNT-OPTION]
  local place
  for place in "$1/root" "$1/data"; do
    ! mountpoint -q "$place" || umount ${2:+"$2"} "$place"
  done
}

# What makes this host itself: name, keys, users' secrets, package source. Only before its first start.
host_seed() {
  local root=$HOST/root user kind
  echo "$NAME" >"$root/etc/hostname"
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 %s\n' "$NAME" >"$root/etc/hosts"
  tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
  package_source "$SUITE" >"$root/etc/apt/sources.list.d/lab.sources"
  [[ $PORT == 22 ]] || echo "Port $PORT" >>"$root/etc/ssh/sshd_config.d/50-lab.conf"
  for kind in ed25519 ecdsa rsa; do
    ssh-keygen -q -t "$kind" -N '' -C "root@$NAME" -f "$root/etc/ssh/ssh_host_${kind}_key"
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

sshd_answers() {
  # From inside its network namespace: true also while the network is paused.
  nsenter --net="/run/netns/$(netns_of "$NAME")" "$BASH" -c "exec 3<>/dev/tcp/$ADDRESS/$PORT && read -r -t 1 line <&3 && [[ \$line == SSH-* ]]" 2>/dev/null
}

host_up() { sshd_answers || host_rests "$NAME"; }

host_start() {
  host_load "$1"
  link_up "$NAME" "$LAST"
  host_mount
  if host_rests "$NAME"; then
    rm -f "$HOST/stopping"
    # shellcheck disable=SC2046
    start_daemon "$HOST/console.log" "$BASH" "$LAB_HOME/lib/run-host.sh" "$HOST" "pt$NUMBER-$NAME" "$(netns_of "$NAME")" $(cgroups_of "$NAME")
    wait_until 5 host_runs "$NAME" || die "$NAME: systemd-nspawn does not start: $(tail -n 5 "$HOST/console.log")"
  fi
  wait_until "$BOOT_SECONDS" host_up || die "$NAME: no sshd on $ADDRESS:$PORT after $BOOT_SECONDS s; see $HOST/console.log"
  sshd_answers || die "$NAME: ended while it started: $(tail -n 5 "$HOST/console.log")"
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

# Takes whatever there is of a host, also of one that was never finished.
host_destroy() {
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
  rm -rf --one-file-system "$folder"
}
