#!/bin/sh
# pitrps-mount-watch, version 2. Installed by PitrPS; a systemd service runs it beside the one that mounts the archive:
#
#   pitrps-mount-watch UNIT MOUNT-POINT RUN-DIRECTORY [LIMIT [PAUSE]]     (seconds: 30 and 15)
#
# The primary's WAL archive is mounted at MOUNT-POINT over SSHFS by the service UNIT. sshfs mends a lost link itself, and
# systemd starts it again when it ends. Left are the cases in which it lives and nobody can read: it hangs, or its mount was
# taken away. So this reads the archive's marker every PAUSE seconds. When that takes more than LIMIT, or UNIT is active and
# nothing is mounted, it kills what UNIT runs, and nothing else: systemd then unmounts and mounts again. A UNIT that was
# stopped, or that systemd is just starting, is left alone; so is a primary that is away. When killing does not help, it
# waits longer each time, up to 10 minutes.
# A UNIT that ends in .mount is one over NFS. It gives its readers an error after half a minute by itself; but it fails for
# good when its server is away at a boot, and may go stale. Then, and when it hangs all the same, it is taken away and
# started again.

set -u
LC_ALL=C
export LC_ALL

[ $# -ge 3 ] || { echo "usage: pitrps-mount-watch UNIT MOUNT-POINT RUN-DIRECTORY [LIMIT [PAUSE]]" >&2; exit 2; }
unit=$1
mount=$2
run=$3
limit=${4-30}
pause=${5-15}

# systemd takes the priority of a line in the journal from such a beginning.
say() {
  echo "<$1>pitrps-mount-watch: $2"
}

# Whoever reads a mount that hangs may be impossible to kill until the mount is gone. So somebody else reads, and is left
# behind when the time is up. The answer is a name that the file of the question gets: that works on a full disk, too.
round=0
probe() {
  round=$((round + 1))
  asked=$run/asked.$round
  result=unknown
  said=''
  true > "$asked" 2>/dev/null || return
  (
    error=$(timeout -k 1 "$limit" cat -- "$mount/pitrps-archive.id" 2>&1 >/dev/null)
    case $? in
      0) end='read' ;;
      124 | 137) end='hung' ;;
      *) end='failed' ;;
    esac
    [ -e "$asked" ] || exit
    printf '%s\n' "$error" > "$asked"
    mv -- "$asked" "$run/$end.$round"
  ) </dev/null >/dev/null 2>&1 &
  prober=$!
  tenths=0
  while [ "$tenths" -lt $((limit * 10 + 20)) ]; do
    for end in read failed hung; do
      if [ -e "$run/$end.$round" ]; then
        wait "$prober"
        result=$end
        said=$(cat -- "$run/$end.$round")
        rm -f -- "$run/$end.$round"
        return
      fi
    done
    sleep 0.1
    tenths=$((tenths + 1))
  done
  # One that has ended without an answer says nothing about the mount.
  ! kill -0 "$prober" 2>/dev/null || result=hung
  rm -f -- "$asked"
}

# Mounts again, or lets systemd do it.
renew() {
  case $unit in
    *.mount)
      say 4 "$why: it is mounted again."
      umount -f -l -- "$mount" 2>/dev/null
      systemctl reset-failed "$unit" 2>/dev/null
      systemctl --no-block restart "$unit"
      ;;
    *)
      say 4 "$why though $unit is active: it is killed, and systemd mounts again."
      systemctl kill --signal=KILL "$unit"
      ;;
  esac
}

is_wanted() {
  systemctl is-active --quiet "$unit" && return
  case $unit in *.mount) systemctl is-failed --quiet "$unit" ;; *) return 1 ;; esac
}

# Asked of the kernel, because a question to the mount itself may hang. There the path is without links, its blanks escaped.
is_mounted() {
  parent=$(readlink -f -- "${mount%/*}/") || return 0
  point=$(printf '%s\n' "${parent%/}/${mount##*/}" | sed 's/\\/\\134/g; s/ /\\040/g')
  while read -r _ _ _ _ at _; do
    [ "$at" != "$point" ] || return 0
  done < "${PITRPS_MOUNTINFO:-/proc/self/mountinfo}"
  return 1
}

case $unit in *.mount) kind=NFS ;; *) kind=sshfs ;; esac
wait_for=$pause
told=''
while :; do
  probe
  why=''
  case $result:$said in
    unknown:*) ;;
    read:*)
      [ -z "$told" ] || say 5 "$mount is read again."
      told=''
      wait_for=$pause
      ;;
    hung:*) why="$mount has not answered for $limit s" ;;
    *'Transport endpoint is not connected'*) why="$mount is dead" ;;
    *'Stale file handle'*) why="$mount is stale" ;;
    *)
      if ! is_mounted; then
        why="nothing is mounted at $mount"
      elif [ -z "$told" ]; then
        say 4 "$mount cannot be read: $said; $kind goes on trying."
        told=yes
      fi
      ;;
  esac

  # Else somebody has stopped it, or systemd is at it already.
  if [ -n "$why" ] && is_wanted; then
    renew
    told=yes
    sleep "$wait_for"
    wait_for=$((wait_for * 2))
    [ "$wait_for" -le 600 ] || wait_for=600
  else
    sleep "$pause"
  fi
done
