#!/bin/sh
# pitrps-send-tables, version 1. Part of PitrPS; written by Restore-PgTable, removed when it has ended.
#
# Runs on the standby as a unit of systemd: sends the rows of the recovered server's tables to the primary, with what they come to when they are counted there,
# and says "go" when the primary has found the same. The other end is pitrps-receive-tables.
#
# send DIRECTORY SOCKET PORT DATABASE OS-USER PROGRAMS ACCOUNT ADDRESS SSH-PORT
# Beside it: key and known_hosts for this one connection, rows and proofs (SQL for the recovered server).
set -u
umask 077
dir=$1 socket=$2 port=$3 database=$4 user=$5 bin=$6 account=$7 address=$8 sshport=$9
ssh=
clean() {
  rm -f -- "$dir/key" "$dir/in" "$dir/out"
  [ -z "$ssh" ] || kill "$ssh" 2>/dev/null
}
trap clean EXIT
trap 'exit 143' HUP INT TERM
trap '' PIPE

ask() {
  runuser -u "$user" -- env PGAPPNAME='pitrps restore' PGCONNECT_TIMEOUT=10 "$bin/psql" -X -q -A -t -w -v ON_ERROR_STOP=1 -h "$socket" -p "$port" -d "$database" -f -
}

# What the recovered server counts, while its rows are on their way.
send() {
  ask < "$dir/proofs" > "$dir/counted" &
  counting=$!
  ask < "$dir/rows" || return 1
  wait "$counting" || return 1
  cat "$dir/counted" && printf '%s\n' '\.'
}

rm -f -- "$dir/in" "$dir/out"
mkfifo "$dir/in" "$dir/out" || exit 73
ssh -F /dev/null -T -i "$dir/key" -p "$sshport" -l "$account" \
  -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o PreferredAuthentications=publickey -o ConnectTimeout=10 \
  -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o UserKnownHostsFile="$dir/known_hosts" -o GlobalKnownHostsFile=/dev/null \
  -o ServerAliveInterval=5 -o ServerAliveCountMax=4 -o ControlPath=none -o ForwardAgent=no -o ForwardX11=no \
  -o Ciphers=aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-ctr \
  -- "$address" receive < "$dir/in" > "$dir/out" &
ssh=$!
exec 4> "$dir/in" 5< "$dir/out"

while IFS= read -r line <&5; do
  printf '%s\n' "$line"
  case $line in
    'pitrps ready '*)
      rm -f -- "$dir/key"
      { send >&4 5<&- || { echo 'the recovered server has stopped answering' >&2; kill "$ssh"; }; } 4>&4 &
      ;;
    'pitrps verified')
      printf 'go\n%s\n' '\.' >&4
      exec 4>&-
      ;;
  esac
done
wait "$ssh"
code=$?
ssh=
exit "$code"
