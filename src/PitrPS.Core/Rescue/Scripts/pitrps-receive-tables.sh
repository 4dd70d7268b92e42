#!/bin/sh
# pitrps-receive-tables, version 1. Part of PitrPS; written by Restore-PgTable, removed when it has ended.
#
# sshd on the primary runs this, and nothing else, for the key of one restore, as the OS user of the database.
# In one transaction it makes the tables, takes their rows from the connection, and finishes them. What comes in over the connection is never run:
# COPY reads it as rows. The transaction is committed only when the rows are the ones that the recovered server counted, and the standby says "go".
#
# Beside it: settings (where the server is), begin, finish, end (SQL that PitrPS wrote over its own connection), 0001.copy and so on (one COPY each),
# and outcome, where the transaction's id and what was counted is kept until PitrPS has read it.
umask 077
dir=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 70
. "$dir/settings" || exit 70

case ${SSH_ORIGINAL_COMMAND-} in
  hello) echo "pitrps ready $operation"; exit 0 ;;
  receive) ;;
  *) echo "this key is for one restore by PitrPS and for nothing else" >&2; exit 64 ;;
esac

# The key has done its work: from here on it opens nothing any more. Where the file is not ours to write, PitrPS takes the line away afterwards.
keys=$(readlink -f -- "$keys")
if [ -w "$keys" ] && [ -w "${keys%/*}" ] && left=$(mktemp -- "$keys.XXXXXX"); then
  cp -p -- "$keys" "$left"
  grep -vF -- " $mark" "$keys" > "$left"
  if [ $? -gt 1 ]; then rm -f -- "$left"; elif [ -s "$left" ]; then mv -f -- "$left" "$keys"; else rm -f -- "$left" "$keys"; rmdir -- "${keys%/*}" 2>/dev/null; fi
fi

echo "pitrps ready $operation"
exec 3<&0
set -- -f "$dir/begin"
for copy in "$dir"/*.copy; do set -- "$@" -c "$(cat "$copy")"; done
PGAPPNAME="pitrps restore $operation" PGCONNECT_TIMEOUT=10 PGOPTIONS='-c default_transaction_read_only=off -c default_transaction_isolation=read\ committed' \
  "$bin/psql" -X -q -A -t -w -1 -v ON_ERROR_STOP=1 -h "$socket" -p "$port" -d "$database" \
  "$@" -f "$dir/finish" -c 'COPY pg_temp.pitrps_go FROM STDIN' -f "$dir/end" <&3 3<&- &
psql=$!
exec 3<&-

# Says how far it is. When nobody is there to be told any more, the standby has gone or was stopped, and the transaction is given up.
trap '' PIPE
(
  while sleep 1 >/dev/null 2>&1; do
    bytes=$(sed -n 's/^rchar: //p' "/proc/$psql/io" 2>/dev/null) || exit 0
    if ! echo "pitrps bytes ${bytes:-0}" 2>/dev/null; then
      kill -INT "$psql"
      sleep 5
      kill "$psql" 2>/dev/null
      exit 0
    fi
  done
) &
beat=$!
wait "$psql"
code=$?
kill "$beat" 2>/dev/null
[ "$code" -ne 0 ] || echo "pitrps committed"
exit "$code"
