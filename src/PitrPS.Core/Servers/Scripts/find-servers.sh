# Prints what there is of PostgreSQL servers on this host, running or not; only reads. ServerScan.cs reads what it prints.
# Usage (as root): sh -s -- STATE_DIRECTORY all|known [DATA_DIRECTORY...] < find-servers.sh
# "all" searches the local file systems for data directories, too; "known" looks only where servers usually are and into those that are named.
# One "cluster" line begins a server; lines "name=value" follow; what may hold any character is in base64, or plain behind a colon where it holds none
# that matters. It runs before and after nearly everything, and each process costs milliseconds: so there are as few as can be.

LC_ALL=C; export LC_ALL
state=$1 reach=$2; shift 2
names='port unix_socket_directories primary_conninfo primary_slot_name recovery_min_apply_delay'
settings='data_directory|port|unix_socket_directories|primary_conninfo|primary_slot_name|recovery_min_apply_delay'
lines="^[[:space:]]*(include|include_dir|include_if_exists|$settings)([[:space:]=]|\$)"
query="SELECT 'set:' || name || '=' || pg_catalog.translate(pg_catalog.encode(pg_catalog.convert_to(setting, 'UTF8'), 'base64'), E'\\n', '')
  FROM pg_catalog.pg_settings WHERE name IN ('config_file', 'data_directory', 'port', 'primary_conninfo', 'primary_slot_name', 'recovery_min_apply_delay')
  UNION ALL SELECT 'recovering=' || pg_catalog.pg_is_in_recovery()"

encode() { case $1 in *[!A-Za-z0-9/._-]*) printf %s "$1" | base64 -w 0 ;; *) printf ':%s' "$1" ;; esac; }

# say NAME VALUE
say() { printf '%s=' "$1"; encode "$2"; echo; }

# What runs a command as a server's owner; nothing where that is who looks, without root.
if [ "$(id -u)" = 0 ]; then by='runuser -u'; else by=; fi

# The unit that a process is in; empty when it is in a login session or in none.
unit_of() {
  while IFS=: read -r _ controllers path; do
    case "$controllers:$path" in
      :*.service | name=systemd:*.service) unit=${path##*/}; case $unit in user@*) ;; *) echo "$unit"; return ;; esac ;;
    esac
  done < "/proc/$1/cgroup"
}

# The unit that starts the server with this data directory, running or not, as the units' files say.
unit_for() {
  [ -d /run/systemd/system ] || return 0
  case $1 in *[!A-Za-z0-9/_-]*) pattern=$(printf %s "$1" | sed 's/[][\\.*^$+?(){}|]/\\&/g') ;; *) pattern=$1 ;; esac
  while IFS= read -r file; do
    case ${file##*/} in pitrps-standby-*) ;; '' | pitrps-*) continue ;; esac
    grep -qE 'postgres|pg_ctl' "$file" && { echo "${file##*/}"; return; }
  done <<LIST
$(grep -lsE "(^|[[:space:]=\"'])$pattern/?([[:space:]\"']|\$)" /etc/systemd/system/*.service /run/systemd/system/*.service /usr/lib/systemd/system/*.service /lib/systemd/system/*.service)
LIST
}

# What else on this host starts, stops and promotes servers by itself.
manager_of() {
  data=$1 unit=$2
  case $unit in *patroni*) echo Patroni; return ;; *repmgr*) echo repmgr; return ;; esac
  if [ -e "$data/patroni.dynamic.json" ] || [ -e "$data/patroni.metrics" ]; then echo Patroni; return; fi
  for at in /etc/patroni.yml /etc/patroni/*.yml /etc/patroni/*.yaml /opt/app/patroni/etc/*.yml; do
    [ -f "$at" ] && grep -qsE "^[[:space:]]*data_dir:[[:space:]]*[\"']?$data/?[\"']?[[:space:]]*\$" "$at" && { echo Patroni; return; }
  done
  for at in /etc/repmgr.conf /etc/repmgr/*.conf /etc/repmgr/*/repmgr.conf; do
    [ -f "$at" ] && grep -qsE "^[[:space:]]*data_directory[[:space:]]*=[[:space:]]*'?$data/?'?[[:space:]]*(#.*)?\$" "$at" && { echo repmgr; return; }
  done
  [ ! -e "$data/postgresql-auto-failover.conf" ] || { echo pg_auto_failover; return; }
  grep -qsE "^[[:space:]]*shared_preload_libraries[[:space:]=].*repmgr" "$3" "$data/postgresql.auto.conf" && echo repmgr
}

# The lines of configuration files that matter here, behind the name of their file.
file_lines() {
  for at; do
    [ -f "$at" ] || continue
    say file "$at"
    grep -hEi "$lines" "$at" | sed 's/^/line=/'
  done
}

# Of a server that does not answer: its own program reads the same files, with all that they include.
settings_of() {
  [ -d "$1" ] && [ -x "$2/postgres" ] || return 0
  for name in $names; do
    value=$(cd / && $by ${by:+"$(stat -L -c %U "$1")" --} "$2/postgres" -D "$3" -C "$name" 2>/dev/null </dev/null) && say "set:$name" "$value"
  done
  return 0
}

# server CONFIG_DIRECTORY DATA_DIRECTORY PID, of which the first or the last may be empty
server() {
  config=$1; data=$2; pid=$3
  major=
  [ -f "$data/PG_VERSION" ] && read -r major < "$data/PG_VERSION"
  if [ -z "$major" ]; then
    case $config in /etc/postgresql/*/*) major=${config#/etc/postgresql/}; major=${major%%/*} ;; *) return ;; esac
  fi
  bin= unit= around=
  if [ -z "$config" ] && [ ! -f "$data/postgresql.conf" ]; then
    # Debian's way, and any other: the command line of the last start says where the configuration is.
    file=$(sed -n 's/.*config_file=\([^" ]*\).*/\1/p' "$data/postmaster.opts" 2>/dev/null)
    [ -n "$file" ] && config=${file%/*}
  fi
  if [ -n "$pid" ]; then
    unit=$(unit_of "$pid")
    case $unit in pitrps-scratch-* | pitrps-clone-*) return ;; esac
    # A unit that merely has it among its processes (a session, a supervisor) is not the one to start and stop it with.
    case $unit in pitrps-standby-*) [ -f "/run/systemd/system/$unit" ] || unit='' ;; esac
    case $unit in '' | postgresql*) ;; *) [ "$(systemctl show -p MainPID --value "$unit" 2>/dev/null)" = "$pid" ] || { around=$unit; unit=; } ;; esac
    bin=$(readlink "/proc/$pid/exe"); bin=${bin% (deleted)}; bin=${bin%/*}
  fi
  for at in "$bin" "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin" /usr/bin; do
    [ -n "$at" ] && [ -x "$at/postgres" ] && { bin=$at; break; }
  done
  echo cluster
  say config "$config"
  say data "$data"
  printf 'major=%s\nbin=%s\n' "$major" "$bin"
  [ -d "$data" ] && echo "owner=$(stat -L -c %U "$data")"
  [ -f "$data/standby.signal" ] && echo standby=1
  [ -x "$bin/postgres" ] && echo "binaries=$("$bin/postgres" --version)"
  [ -x "$bin/pg_controldata" ] && [ -f "$data/global/pg_control" ] && "$bin/pg_controldata" -D "$data" | sed -n -E "s/^(Database system identifier|Latest checkpoint's TimeLineID|Bytes per WAL segment): */control=\\1:/p"
  if [ -n "$config" ]; then home=$config; else home=$data; fi
  manager=$(manager_of "$data" "${unit:-$around}" "$home/postgresql.conf")
  [ -n "$manager" ] && echo "manager=$manager"
  started=$(unit_for "$data")
  [ -n "$started" ] && echo "startedby=$started"
  file_lines "$home/postgresql.conf" "$home"/conf.d/*.conf "$data/postgresql.auto.conf"
  [ -n "$pid" ] || { settings_of "$data" "$bin" "$home"; return 0; }
  printf 'pid=%s\nunit=%s\n' "$pid" "$unit"
  log=$(readlink "/proc/$pid/fd/2") && [ -z "$unit" ] && [ -f "$log" ] && say log "$log"
  { read -r _; read -r _; read -r _; read -r port; IFS= read -r socket; read -r _; read -r _; read -r status; } < "$data/postmaster.pid"
  say socket "$socket"
  printf 'port=%s\nstatus=%s\n' "$port" "$status"
  owner=$(stat -c %U "/proc/$pid")
  # The role that initdb made is usually called as the OS user, else postgres.
  for role in "$owner" $([ "$owner" = postgres ] || echo postgres); do
    for base in postgres template1; do
      (cd / && PGOPTIONS='-c search_path= -c statement_timeout=5s' PGCONNECT_TIMEOUT=3 PGCLIENTENCODING=UTF8 PGAPPNAME=PitrPS \
        timeout 8 $by ${by:+"$owner" --} "$bin/psql" -X -w -A -t -q -h "$socket" -p "$port" -U "$role" -d "$base" -c "$query" 2>/dev/null </dev/null) || continue
      echo "role=$role"
      return 0
    done
  done
  settings_of "$data" "$bin" "$home"
}

for at in "$state"/*.json; do
  [ -f "$at" ] || continue
  say statefile "${at##*/}"
  printf state=; base64 -w 0 < "$at"; echo
done
[ -d /run/systemd/system ] && for at in /etc/systemd/system /run/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
  for file in "$at"/postgresql*.service; do [ -f "$file" ] && echo "unitfile=${file##*/}"; done
done

# Postmasters: processes called postgres whose parent is not, and which postmaster.pid in their working directory names.
# A recovery's scratch server works in a mount namespace of its own, so that postmaster.pid, as seen from here, does not name it.
running=
for at in /proc/[0-9]*; do
  { read -r name < "$at/comm"; } 2>/dev/null || continue
  case $name in postgres | postmaster) ;; *) continue ;; esac
  { read -r _ _ _ parent _ < "$at/stat"; } 2>/dev/null || continue
  { read -r name < "/proc/$parent/comm"; } 2>/dev/null && case $name in postgres | postmaster) continue ;; esac
  data=$(readlink "$at/cwd") || continue
  { read -r pid < "$data/postmaster.pid"; } 2>/dev/null || continue
  [ "$pid" = "${at#/proc/}" ] && running="$running$pid $data
"
done

# Says in $found which process runs on this directory.
pid_in() {
  found=
  while read -r pid data; do [ "$data" = "$1" ] && found=$pid; done <<LIST
$running
LIST
}

# By device and inode: a directory can be mounted in more than one place.
is_known() {
  case "$known" in *" $(stat -L -c %d:%i -- "$1" 2>/dev/null || echo "$1") "*) ;; *) false ;; esac
}
know() { known="$known$(stat -L -c %d:%i -- "$1" 2>/dev/null || echo "$1") "; }

known=' '
for at in /etc/postgresql/*/*; do
  [ -f "$at/postgresql.conf" ] || continue
  data=$(sed -n "s/^[[:space:]]*data_directory[[:space:]]*=\{0,1\}[[:space:]]*'\([^']*\)'.*/\1/p" "$at/postgresql.conf" | tail -n 1)
  [ -n "$data" ] || data=/var/lib/postgresql/${at#/etc/postgresql/}
  real=$(readlink -f "$data") || real=$data
  know "$real"
  of=$data
  pid_in "$real"
  server "$at" "$of" "$found"
done
for at in /var/lib/pgsql/*/data /var/lib/pgsql/data; do
  [ -f "$at/PG_VERSION" ] || continue
  real=$(readlink -f "$at")
  is_known "$real" && continue
  know "$real"
  pid_in "$real"
  server "" "$at" "$found"
done
while read -r pid data; do
  [ -n "$pid" ] && ! is_known "$data" || continue
  know "$data"
  server "" "$data" "$pid"
done <<LIST
$running
LIST

# Those that do not run and lie elsewhere. A base backup that was never started is none.
for at; do
  real=$(readlink -f "$at") && [ -f "$real/PG_VERSION" ] && ! is_known "$real" || continue
  know "$real"
  server "" "$at" ""
done
[ "$reach" = all ] || exit 0
found=$(while read -r _ mount type _; do
  case $type in ext[234] | xfs | btrfs | zfs | f2fs | jfs | overlay) ;; *) continue ;; esac
  mount=$(printf %b "$(printf %s "$mount" | sed 's/\\\([0-7]\{3\}\)/\\0\1/g')")
  case $mount in /proc* | /sys* | /dev* | /run/* | /boot* | /usr* | /var/lib/docker* | /var/lib/containers* | /var/lib/kubelet* | /snap*) continue ;; esac
  timeout 10 find "$mount" -xdev -maxdepth 8 \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /usr -o -path /boot -o -path /var/cache -o -path /var/lib/docker \
    -o -path /var/lib/containers -o -name '*.pitrps-*' -o -name pg_wal -o -regex '.*/base/[0-9]+' \) -prune -o -name pg_control -path '*/global/pg_control' -print 2>/dev/null
done < /proc/mounts | sed 's,/global/pg_control$,,' | sort -u)
while IFS= read -r at; do
  real=$(readlink -f "$at") && [ -f "$real/PG_VERSION" ] && ! is_known "$real" || continue
  [ ! -f "$real/backup_label" ] || [ -f "$real/postmaster.opts" ] || continue
  know "$real"
  server "" "$real" ""
done <<LIST
$found
LIST
exit 0
