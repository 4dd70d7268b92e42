#!/bin/sh
# pitrps-scratch, version 1: a second PostgreSQL server on a throw-away layer over the files of a stopped standby.
# PitrPS puts it into the layer and lets systemd run it as a transient unit that has mounts of its own (PrivateMounts)
# and in which everything but the layer is read-only (ProtectSystem=strict): the standby's files can only be read.
# When its last process ends, the kernel takes the mounts away; to remove the layer's directory undoes everything.
#
#   pitrps-scratch run LAYER         lays the layer over the standby's directories and becomes the server
#   pitrps-scratch try LAYER DATA    a trial of the same over DATA, beside it; prints "reflink yes" or "reflink no"
#
# LAYER belongs to root, 0700. For "run" it holds: facts (lines "NAME VALUE"), settings (lines "name=value"),
# files/ (what is put into the data directory), and for each directory of the standby one of 0, 1, 2 ... with
# lower (a link to it), upper (what the server writes), work and merged (the two together).
set -eu
umask 077
LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

fail() {
  printf 'pitrps-scratch: %s\n' "$*" >&2
  exit 70
}

fact() {
  sed -n "s/^$1 //p" facts
}

# From here on the layer is the current directory, wherever its name may lead later.
enter() {
  cd -P -- "$1" || fail "there is no layer $1"
  [ "$(stat -c '%u %a' .)" = '0 700' ] || fail "$1 is not root's alone"
  [ "$(readlink /proc/self/ns/mnt)" != "$(readlink /proc/1/ns/mnt)" ] || fail 'this process has no mounts of its own'
}

# protected PLACE: root may write everywhere but on what is mounted read-only.
protected() {
  [ ! -w "$1" ] || fail "$1 is not protected: systemd did not make it read-only for this unit"
}

# overlay N: without a sync for each file that is copied up (volatile), except on kernels before 5.10, which cannot.
overlay() (
  cd "$1"
  options=lowerdir=lower,upperdir=upper,workdir=work
  mount -t overlay pitrps-scratch -o "$options,volatile" merged 2>/dev/null ||
    { rm -rf work && mkdir work && mount -t overlay pitrps-scratch -o "$options" merged; }
)

try() {
  enter "$1"
  protected "$2"
  mkdir 0 0/upper 0/work 0/merged
  ln -s -- "$2" 0/lower
  overlay 0
  cmp -s 0/merged/PG_VERSION "$2/PG_VERSION" || fail 'the standby cannot be read through the layer'
  : >> 0/merged/PG_VERSION
  [ -f 0/upper/PG_VERSION ] || fail 'a file that is written does not come to lie in the layer'
  head -c 65536 /dev/zero > sample
  if cp --reflink=always sample sample.copy 2>/dev/null; then echo 'reflink yes'; else echo 'reflink no'; fi
}

run() {
  enter "$1"
  exec >> server.log 2>&1 < /dev/null
  data=$(fact data) user=$(fact user) sockets=$(fact sockets) bin=$(fact bin)

  # After a power cut the number in postmaster.pid can be another process's.
  pid=$(sed -n 1p "$data/postmaster.pid" 2>/dev/null) || pid=none
  [ "$(readlink "/proc/$pid/cwd")" != "$(readlink -f "$data")" ] || fail "a server still runs in $data"
  state=$("$bin/pg_controldata" -D "$data" | sed -n 's/^Database cluster state: *//p')
  case $state in
    'shut down in recovery' | 'in archive recovery') ;;
    *) fail "$data is not that of a stopped standby but '$state'" ;;
  esac

  for part in [0-9]*; do
    protected "$part/lower"
    overlay "$part" || fail "no layer can be laid over $(readlink "$part/lower")"
  done
  # Only when all of them are there: a directory that is mounted within another would be covered by it.
  part=0
  while [ -d "$part" ]; do
    mount --bind "$part/merged" "$(readlink "$part/lower")"
    part=$((part + 1))
  done

  # From here on $data is the layer; were it not, none of this could be written.
  rm -f "$data/standby.signal" "$data/postmaster.pid" "$data/postmaster.opts"
  for file in files/*; do
    cat "$file" > "$data/${file#files/}"
    chown "$user:" "$data/${file#files/}"
  done
  # A target that somebody left there would be a second one. All else loses against the command line.
  if [ -f "$data/postgresql.auto.conf" ]; then
    sed '/^[[:space:]]*[Rr][Ee][Cc][Oo][Vv][Ee][Rr][Yy]_[Tt][Aa][Rr][Gg][Ee][Tt]/d' "$data/postgresql.auto.conf" > auto.conf
    cat auto.conf > "$data/postgresql.auto.conf"
  fi
  chown "$user:" "$sockets"
  # SELinux lets a server make its socket in its own directories only.
  [ ! -e /sys/fs/selinux/enforce ] || chcon --reference="$data" "$sockets"

  set -- "$bin/postgres" -D "$data"
  while IFS= read -r setting; do
    set -- "$@" -c "$setting"
  done < settings
  cd "$data"
  exec setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --init-groups --inh-caps=-all "$@"
}

case ${1-} in
  run | try) "$@" ;;
  *) fail 'usage: pitrps-scratch run LAYER | try LAYER DATA' ;;
esac
