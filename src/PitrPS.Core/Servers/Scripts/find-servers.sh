# Prints what there is of PostgreSQL servers on this host, running or not; only reads. ServerScan.cs reads what it prints.
# Usage (as root): sh -s -- STATE_DIRECTORY < find-servers.sh
# One "cluster" line begins a server; lines "name=value" follow; what may hold any character is in base64.

LC_ALL=C; export LC_ALL
state=$1
settings='data_directory|port|unix_socket_directories|primary_conninfo|primary_slot_name|recovery_min_apply_delay'
lines="^[[:space:]]*(include|include_dir|include_if_exists|$settings)([[:space:]=]|\$)"
query="SELECT 'set:' || name || '=' || pg_catalog.translate(pg_catalog.encode(pg_catalog.convert_to(setting, 'UTF8'), 'base64'), E'\\n', '')
  FROM pg_catalog.pg_settings WHERE name IN ('config_file', 'data_directory', 'port', 'primary_conninfo', 'primary_slot_name', 'recovery_min_apply_delay')
  UNION ALL SELECT 'recovering=' || pg_catalog.pg_is_in_recovery()"

b64() { base64 | tr -d '\n'; }

# The unit that a process is in; empty when it is in a login session or in none.
unit_of() {
  while IFS=: read -r _ controllers path; do
    case "$controllers:$path" in
      :*.service | name=systemd:*.service) unit=${path##*/}; case $unit in user@*) ;; *) echo "$unit"; return ;; esac ;;
    esac
  done < "/proc/$1/cgroup"
}

file_lines() {
  [ -f "$1" ] || return 0
  printf 'file=%s:%s\n' "$(printf %s "$1" | b64)" "$(grep -hEi "$lines" "$1" | b64)"
}

# server CONFIG_DIRECTORY DATA_DIRECTORY PID, of which the first or the last may be empty
server() {
  config=$1; data=$2; pid=$3
  major=
  [ -f "$data/PG_VERSION" ] && read -r major < "$data/PG_VERSION"
  if [ -z "$major" ]; then
    case $config in /etc/postgresql/*/*) major=${config#/etc/postgresql/}; major=${major%%/*} ;; *) return ;; esac
  fi
  bin=
  if [ -n "$pid" ]; then
    unit=$(unit_of "$pid")
    case $unit in pitrps-scratch-*) return ;; esac
    bin=$(readlink "/proc/$pid/exe"); bin=${bin% (deleted)}; bin=${bin%/*}
  fi
  for at in "$bin" "/usr/lib/postgresql/$major/bin" "/usr/pgsql-$major/bin" /usr/bin; do
    [ -n "$at" ] && [ -x "$at/postgres" ] && { bin=$at; break; }
  done
  echo cluster
  printf 'config=%s\ndata=%s\nmajor=%s\nbin=%s\n' "$(printf %s "$config" | b64)" "$(printf %s "$data" | b64)" "$major" "$bin"
  [ -d "$data" ] && echo "owner=$(stat -L -c %U "$data")"
  [ -f "$data/standby.signal" ] && echo standby=1
  [ -x "$bin/postgres" ] && echo "binaries=$("$bin/postgres" --version)"
  [ -x "$bin/pg_controldata" ] && [ -f "$data/global/pg_control" ] && "$bin/pg_controldata" -D "$data" | sed -n -E "s/^(Database system identifier|Latest checkpoint's TimeLineID|Bytes per WAL segment): */control=\\1:/p"
  if [ -n "$config" ]; then home=$config; else home=$data; fi
  file_lines "$home/postgresql.conf"
  for at in "$home"/conf.d/*.conf; do file_lines "$at"; done
  file_lines "$data/postgresql.auto.conf"
  [ -n "$pid" ] || return 0
  printf 'pid=%s\nunit=%s\n' "$pid" "$unit"
  { read -r _; read -r _; read -r _; read -r port; IFS= read -r socket; read -r _; read -r _; read -r status; } < "$data/postmaster.pid"
  printf 'port=%s\nsocket=%s\nstatus=%s\n' "$port" "$(printf %s "$socket" | b64)" "$status"
  owner=$(stat -c %U "/proc/$pid")
  for base in postgres template1; do
    (cd / && PGOPTIONS='-c search_path= -c statement_timeout=5s' PGCONNECT_TIMEOUT=3 PGCLIENTENCODING=UTF8 PGAPPNAME=PitrPS \
      timeout 8 runuser -u "$owner" -- "$bin/psql" -X -w -A -t -q -h "$socket" -p "$port" -d "$base" -c "$query" 2>/dev/null </dev/null) && break
  done
}

for at in "$state"/*.json; do
  [ -f "$at" ] && printf 'state=%s:%s\n' "$(printf %s "${at##*/}" | b64)" "$(b64 < "$at")"
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

pid_in() { printf %s "$running" | while read -r pid data; do [ "$data" = "$1" ] && echo "$pid"; done; }

known=
for at in /etc/postgresql/*/*; do
  [ -f "$at/postgresql.conf" ] || continue
  data=$(sed -n "s/^[[:space:]]*data_directory[[:space:]]*=\{0,1\}[[:space:]]*'\([^']*\)'.*/\1/p" "$at/postgresql.conf" | tail -n 1)
  [ -n "$data" ] || data=/var/lib/postgresql/${at#/etc/postgresql/}
  real=$(readlink -f "$data") || real=$data
  known="$known$real
"
  server "$at" "$data" "$(pid_in "$real")"
done
for at in /var/lib/pgsql/*/data /var/lib/pgsql/data; do
  [ -f "$at/PG_VERSION" ] || continue
  real=$(readlink -f "$at")
  case "
$known" in *"
$real
"*) continue ;; esac
  known="$known$real
"
  server "" "$at" "$(pid_in "$real")"
done
printf %s "$running" | while read -r pid data; do
  case "
$known" in *"
$data
"*) continue ;; esac
  server "" "$data" "$pid"
done
exit 0
