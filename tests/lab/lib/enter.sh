#!/bin/sh
# enter.sh INIT COMMAND...: runs it as root inside the host whose process 1 is INIT, as the machine sees it.
init=$1; shift
# The shell in between is not stopped with what it runs (systemd stops all processes when it shuts down); nsenter would be, for ever.
exec /usr/bin/nsenter --no-fork --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd /usr/bin/env -i \
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=en_US.UTF-8 TERM="${TERM:-dumb}" \
  /bin/sh -c '"$@"; exit' sh "$@"
