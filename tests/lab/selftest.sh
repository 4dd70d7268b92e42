#!/usr/bin/env bash
# Every verb of the lab, asserted and timed, in a lab of its own that is gone afterwards. Other suites than bookworm: name them.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
export PITRPS_LAB=${PITRPS_LAB:-/var/lib/pitrps-lab}-selftest
OTHER=$PITRPS_LAB-other
lab() { timeout 600 "$HERE/lab" "$@" </dev/null; }
other() { PITRPS_LAB=$OTHER lab "$@"; }
passed=0 failed=0
trap 'lab destroy --all; other destroy --all' EXIT
trap 'exit 130' INT TERM

# check TITLE COMMAND...: it succeeds. check_not: it fails. timed LIMIT TITLE COMMAND...: it succeeds in LIMIT seconds.
check() {
  local title=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok      $title"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n%s\n' "$title" "$output"
  fi
}
check_not() {
  local title=$1
  shift
  check "$title" fails "$@"
}
fails() {
  ! "$@" 2>&1
}
timed() {
  local limit=$1 title=$2 begin=${EPOCHREALTIME/./} took
  shift 2
  check "$title" "$@"
  took=$((${EPOCHREALTIME/./} - begin))
  check "$(printf 'in %d.%02d s, at most %d s' $((took / 1000000)) $((took / 10000 % 100)) "$limit")" test "$took" -le $((limit * 1000000))
}
is() { # EXPECTED COMMAND...
  local expected=$1 actual
  shift
  actual=$("$@" 2>&1)
  [[ $actual == "$expected" ]] || { echo "'$actual' is not '$expected'"; return 1; }
}
inside() { # NAME SCRIPT, as root
  # `! command` would not end a script under -e.
  lab exec "$1" sh -ec 'not() { if "$@"; then return 1; fi; }; '"$2"
}
sql() { # NAME STATEMENT
  lab exec "$1" su postgres -c "psql -XAtc \"$2\""
}
ready() { inside "$1" 'for i in $(seq 200); do ! pg_isready -q || exit 0; sleep 0.05; done; pg_isready'; }
booted() { inside "$1" 'systemctl show --value -p UserspaceTimestampMonotonic'; }
booted_since() { # BEFORE NAME
  local tries=0
  until fails is "$1" booted "$2" && lab ssh "$2" true; do
    ((++tries < 100)) || return 1
    sleep 0.05
  done >/dev/null 2>&1
}
field() { # FILE HOST FIELD
  python3 -c 'import json, sys; print(next(h for h in json.load(open(sys.argv[1]))["hosts"] if h["name"] == sys.argv[2])[sys.argv[3]])' "$@"
}
# password_ssh NAME COMMAND...: logs in as dbapw with the password alone.
password_ssh() {
  local name=$1
  shift
  printf '#!/bin/sh\ncat %s/password\n' "$PITRPS_LAB" >"$PITRPS_LAB/askpass"
  chmod 0700 "$PITRPS_LAB/askpass"
  SSH_ASKPASS=$PITRPS_LAB/askpass SSH_ASKPASS_REQUIRE=force ssh -o UserKnownHostsFile="$PITRPS_LAB/known_hosts" -o StrictHostKeyChecking=yes \
    -o PreferredAuthentications=password "dbapw@$(field "$PITRPS_LAB/lab.json" "$name" address)" "$@" </dev/null
  local status=$?
  rm -f "$PITRPS_LAB/askpass"
  return "$status"
}
left_over() { # NUMBER: what of a lab is still there
  grep "pitrps-lab-$1-\|$PITRPS_LAB/" /proc/mounts
  ls -d /run/netns/pt"$1"-* /sys/class/net/pt"$1"h* /sys/class/net/ptbr"$1" /sys/fs/cgroup/{,systemd/,unified/}pitrps-lab-"$1" /run/systemd/nspawn/*/pt"$1"-* "$PITRPS_LAB" 2>/dev/null
  losetup --noheadings --output BACK-FILE | grep "^$PITRPS_LAB/"
  pgrep -af "$PITRPS_LAB/"
  return 0
}

suites() {
  local suite
  for suite in "$@"; do
    echo "# $suite"
    check "base of $suite" lab base "$suite"
    timed 10 "two hosts of $suite" lab create "$suite-a" "$suite-b" --suite "$suite"
    check "systemd is up, no unit failed" inside "$suite-a" 'systemctl is-system-running --wait; test -z "$(systemctl --failed --plain --no-legend)"'
    check "PostgreSQL installs" lab ssh "$suite-a" 'sudo apt-get -q update && sudo DEBIAN_FRONTEND=noninteractive apt-get -q -y install postgresql sshfs'
    check "the major that lab.json says" is "$(field "$PITRPS_LAB/lab.json" "$suite-a" postgresMajor)" inside "$suite-a" "pg_lsclusters -h | cut -d' ' -f1"
    check "runs" ready "$suite-a"
    layer_in_a_unit "$suite-a"
    check "stop" lab stop "$suite-a"
    check "start" lab start "$suite-a"
    check "destroy" lab destroy "$suite-a" "$suite-b"
  done
}

layer_in_a_unit() { # NAME
  check "a unit with mounts of its own layers the database's files" inside "$1" '
    d=$(pg_lsclusters -h | awk "{print \$6}"); l=/var/lib/postgresql/layer; mkdir -p $l/up $l/work
    systemd-run --quiet --wait -p PrivateMounts=yes sh -ec "mount -t overlay overlay -o lowerdir=$d,upperdir=$l/up,workdir=$l/work $d; touch $d/only-in-the-layer; rm $d/PG_VERSION"
    test -f $l/up/only-in-the-layer; test ! -e $d/only-in-the-layer; test -f $d/PG_VERSION; not grep $l /proc/mounts; rm -rf $l'
}

echo "# $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg): the times below are worth what the machine is"
echo '# base and create'
check "base" lab base
timed 10 "create two hosts" lab create primary standby
check "create again changes nothing" lab create primary standby
check_not "create again as something else is an error" lab create primary --port 2222
number=$(cat "$PITRPS_LAB/number")
check "lab.json" is "10.77.$number.11 22 dba debian 15" python3 -c '
import json, sys
h = json.load(open(sys.argv[1]))["hosts"][1]
print(h["address"], h["port"], h["user"], h["family"], h["postgresMajor"])' "$PITRPS_LAB/lab.json"
check "list" is "2" sh -c "'$HERE/lab' list | grep -c running"

echo '# logging in'
check "dba over SSH with strict host keys; sudo without a password" is root lab ssh primary sudo whoami
check_not "root does not log in" ssh -i "$PITRPS_LAB/id_ed25519" -o BatchMode=yes -o UserKnownHostsFile="$PITRPS_LAB/known_hosts" "root@10.77.$number.10" true
check "dbapw logs in with a password" is dbapw password_ssh primary whoami
check_not "and has no sudo without it" password_ssh primary sudo -n true
check "but with it" is root password_ssh primary "echo $(cat "$PITRPS_LAB/password") | sudo -S -p '' whoami"
check "the password is for root's eyes" is 600 stat -c %a "$PITRPS_LAB/password"
check "three host keys each in known_hosts" is 6 sh -c "grep -c ',10[.]77[.]${number}[.]1[01] ' '$PITRPS_LAB/known_hosts'"
check_not "no two hosts have one host key" sh -c "cut -d' ' -f2- '$PITRPS_LAB/known_hosts' | sort | uniq -d | grep ."

echo '# the base carries nothing that a cmdlet must do'
check "no PostgreSQL, no FUSE, no settings for them" inside primary '
  for c in psql pg_createcluster sshfs fusermount3; do not command -v $c; done; not getent passwd postgres
  test ! -e /etc/postgresql-common; test ! -e /etc/fuse.conf; test -z "$(ls -A /var/lib/postgresql)"'
check "systemd is up, no unit failed" inside primary 'systemctl is-system-running --wait; test -z "$(systemctl --failed --plain --no-legend)"'
check_not "nothing outside is reachable" inside primary 'ip route get 1.1.1.1'
check "only the lab's package source" is "/etc/apt/sources.list.d/lab.sources" inside primary 'find /etc/apt/sources.list /etc/apt/sources.list.d -type f 2>/dev/null'
check "no trace of the machine's apt settings" inside primary 'not grep -rqi proxy /etc/apt'
check "another key than the repository's is refused" inside standby '
  k=/usr/share/keyrings/pitrps-lab.gpg; cp $k /root/; cp /usr/share/keyrings/debian-archive-keyring.gpg $k
  not apt-get -q update --error-on=any; cp /root/pitrps-lab.gpg $k'

echo '# packages, mounts, FUSE'
for name in primary standby; do
  check "apt-get install postgresql sshfs on $name" lab ssh "$name" 'sudo apt-get -q update && sudo DEBIAN_FRONTEND=noninteractive apt-get -q -y install postgresql sshfs'
done
check "PostgreSQL runs" ready primary
check "as the major of lab.json" is 15 sql primary "select current_setting('server_version_num')::int / 10000"
layer_in_a_unit primary
check "a chrooted, read-only SFTP user below a bind mount" inside primary '
  useradd --system --create-home reader; mkdir -p /var/mnt/archive /srv/reader/archive; echo segment >/var/mnt/archive/1
  printf "[Mount]\nWhat=/var/mnt/archive\nWhere=/srv/reader/archive\nOptions=bind,ro\n[Install]\nWantedBy=multi-user.target\n" >/etc/systemd/system/srv-reader-archive.mount
  printf "Match User reader\n  ChrootDirectory /srv/reader\n  ForceCommand internal-sftp -R\n" >/etc/ssh/sshd_config.d/60-reader.conf
  systemctl daemon-reload; systemctl enable --now srv-reader-archive.mount; sshd -t; systemctl reload ssh; not touch /srv/reader/archive/x'
mounted='for i in $(seq 60); do ! grep -q segment /mnt/archive/1 2>/dev/null || exit 0; systemctl -q is-active mnt-archive.mount || systemctl start mnt-archive.mount || true; sleep 0.1; done; exit 1'
inside standby 'mkdir -p /root/.ssh /mnt/archive; ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/reader'
inside primary "install -d -o reader /home/reader/.ssh; echo '$(inside standby 'cat /root/.ssh/reader.pub')' >/home/reader/.ssh/authorized_keys"
grep "^primary,10.77.$number.10 " "$PITRPS_LAB/known_hosts" | "$HERE/lab" exec standby sh -c 'cat >/root/.ssh/known_hosts'
check "SSHFS as a systemd mount" inside standby "
  printf '[Unit]\nRequires=network.target\n[Mount]\nWhat=reader@10.77.$number.10:/archive\nWhere=/mnt/archive\nType=fuse.sshfs\nOptions=ro,reconnect,IdentityFile=/root/.ssh/reader,ServerAliveInterval=5,ServerAliveCountMax=3\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/mnt-archive.mount
  systemctl daemon-reload; systemctl enable --now mnt-archive.mount; grep segment /mnt/archive/1"
check_not "the reader reaches nothing else" inside standby "ssh -i /root/.ssh/reader reader@10.77.$number.10 cat /etc/passwd"

echo '# stop, start, reboot, kill'
sql primary 'create table t as select generate_series(1, 100000) as i' >/dev/null
timed 10 "stop" lab stop primary
check "and the server was shut down" grep -aq 'database system is shut down' "$PITRPS_LAB/hosts/primary/root/var/log/postgresql/postgresql-15-main.log"
check "stop again is no error" lab stop primary
check_not "exec on a stopped host is an error" lab exec primary true
timed 3 "start" lab start primary
check "start again is no error" lab start primary
before=$(booted primary)
lab ssh primary sudo systemctl reboot 2>/dev/null
check "a reboot inside comes back" booted_since "$before" primary
ready primary >/dev/null
inside primary 'touch /root/before-the-cut'
sql primary 'insert into t select generate_series(1, 10)' >/dev/null
timed 3 "kill" lab kill primary
check "is stopped" sh -c "'$HERE/lab' list | grep -q 'primary *stopped'"
timed 5 "start after a power cut" lab start primary
check "the layer survived" inside primary 'test -f /root/before-the-cut'
ready primary >/dev/null
check "the server recovered" is 100010 sql primary 'select count(*) from t'
check "from a crash" inside primary 'grep -q "was not properly shut down" /var/log/postgresql/postgresql-15-main.log'
before=$(booted standby)
lab ssh standby sudo systemctl reboot 2>/dev/null
check "the standby reboots" booted_since "$before" standby
check "with its mount" inside standby "$mounted"

echo '# network'
check "pause-network" lab pause-network primary
check_not "the host is out of reach" timeout 3 "$HERE/lab" ssh primary true
check "but alive" inside primary true
check "resume-network" lab resume-network primary
timed 3 "and back" lab ssh primary true

echo '# snapshot and clone'
check "the hosts' keys and rows before" is 100010 sql primary 'select count(*) from t'
keys=$(cat "$PITRPS_LAB/known_hosts")
timed 10 "snapshot" lab snapshot prepared primary standby
check_not "the same name twice is an error" lab snapshot prepared primary
timed 3 "clone" lab clone prepared
check "same keys and addresses" is "$keys" cat "$PITRPS_LAB/known_hosts"
check "they are the keys of the hosts" is root lab ssh standby sudo whoami
ready primary >/dev/null
check "same rows" is 100010 sql primary 'select count(*) from t'
sql primary 'drop table t' >/dev/null
inside primary 'rm -rf /etc/apt /root/before-the-cut'
timed 3 "clone once more, over running hosts" lab clone prepared
ready primary >/dev/null
check "rows are back" is 100010 sql primary 'select count(*) from t'
check "files are back" inside primary 'test -d /etc/apt; test -f /root/before-the-cut'
check "the mount, too" inside standby "$mounted"
check_not "a snapshot in use stays" lab destroy prepared
check "a snapshot of a clone" lab snapshot further primary
check "and its clone" lab clone further
ready primary >/dev/null
check "has the rows" is 100010 sql primary 'select count(*) from t'

echo '# XFS, another port'
timed 10 "create --fs xfs --data-size 400M --port 2222" lab create other --fs xfs --data-size 400M --port 2222
check "of that size" inside other 'test "$(df --output=size -m /var/lib/postgresql | tail -1)" -lt 400'
check "SSH there" is other lab ssh other hostname
check "reflinks" inside other 'cd /var/lib/postgresql; head -c 9999999 /dev/urandom >a; cp --reflink=always a b; test "$(stat -f -c %T .)" = xfs'
check "snapshot of it" lab snapshot on-xfs other
timed 3 "clone of it" lab clone on-xfs
check "its files" inside other 'cmp /var/lib/postgresql/a /var/lib/postgresql/b'

echo '# two labs'
check "another lab" other create primary
check_not "has another network" cmp "$PITRPS_LAB/number" "$OTHER/number"
check "its primary is another host" is primary other ssh primary hostname
check_not "that does not see this one" other exec primary timeout 2 bash -c "</dev/tcp/10.77.$number.10/22"
check "it goes alone" other destroy --all
check "this one is still here" is primary lab ssh primary hostname

rhel() {
  local place=https://download.postgresql.org/pub/repos/yum
  echo '# the RHEL shape'
  timed 10 "two hosts of it" lab create el-a el-b --family rhel
  check "lab.json" is "rhel 13" sh -c "echo $(field "$PITRPS_LAB/lab.json" el-a family) $(field "$PITRPS_LAB/lab.json" el-a postgresMajor)"
  check "systemd is up, no unit failed" inside el-a 'systemctl is-system-running --wait; test -z "$(systemctl --failed --plain --no-legend)"'
  check "it says that it is CentOS 7" is "centos 7" lab ssh el-a '. /etc/os-release; echo $ID $VERSION_ID'
  check "its sshd is sshd.service and reads one file" inside el-a 'systemctl is-active sshd; not systemctl cat ssh; not grep -i include /etc/ssh/sshd_config'
  check "dbapw has sudo by wheel" is root password_ssh el-a "echo $(cat "$PITRPS_LAB/password") | sudo -S -p '' whoami 2>/dev/null"
  check "nothing of Debian's packages, PostgreSQL or FUSE" inside el-a 'for c in apt-get dpkg pg_createcluster psql sshfs fusermount3; do not command -v $c; done; not getent passwd postgres; test -z "$(ls -A /var/lib/pgsql)"'
  check "sudo yum -y install epel-release fuse-sshfs" lab ssh el-a 'sudo yum -y -q install epel-release && sudo yum -y -q install fuse-sshfs && sshfs -V'
  check_not "a package of PGDG is refused while its key is unknown" lab ssh el-a "curl -fsS -O $place/reporpms/EL-7-x86_64/pgdg-redhat-repo-latest.noarch.rpm && sudo yum -y -q install --setopt=localpkg_gpgcheck=1 ./pgdg-redhat-repo-latest.noarch.rpm"
  check "and installs with it" lab ssh el-a "curl -fsS -o key $place/keys/PGDG-RPM-GPG-KEY-RHEL7 && sudo rpm --import key && sudo yum -y -q install --setopt=localpkg_gpgcheck=1 ./pgdg-redhat-repo-latest.noarch.rpm"
  check "sudo yum -y install postgresql13-server postgresql13-contrib" lab ssh el-a 'sudo yum -y -q install postgresql13-server postgresql13-contrib'
  check "postgresql-13-setup initdb, systemctl start" inside el-a '/usr/pgsql-13/bin/postgresql-13-setup initdb; systemctl start postgresql-13'
  check "runs, with its extensions" is 13 lab exec el-a su postgres -c "psql -XAtqc 'create extension pg_trgm' -c \"select current_setting('server_version_num')::int / 10000\""
  check "its files are the postgres group's" is "postgres postgres 700" lab exec el-a stat -c '%U %G %a' /var/lib/pgsql/13/data
  check_not "an unsigned package is refused" inside el-b "echo '[u]
name=u
baseurl=http://10.77.$number.1:8077/centos7/unsigned/' >/etc/yum.repos.d/u.repo; yum -y -q install postgresql13-server"
  check "a power cut" lab kill el-a
  timed 5 "and a start" lab start el-a
  check "destroy" lab destroy el-a el-b
}

suites "$@"
rhel

echo '# destroy'
check "destroy" lab destroy other
check "again is no error" lab destroy other
check "lab.json knows no more of it" sh -c "! grep -q '\"other\"' '$PITRPS_LAB/lab.json'"
check "a snapshot that nothing stands on goes" lab destroy on-xfs
"$HERE/lab" create interrupted </dev/null >/dev/null 2>&1 &
creating=$!
sleep 0.7
kill "$creating"
wait "$creating"
check_not "create, interrupted, fails" test $? -eq 0
check_not "and leaves no host" sh -c "'$HERE/lab' list | grep interrupted || ls /run/netns | grep pt$number-interrupted || grep /interrupted/ /proc/mounts"
"$HERE/lab" create half-made </dev/null >/dev/null 2>&1 &
creating=$!
sleep 0.7
kill -KILL "$creating"
wait "$creating" 2>/dev/null
timed 60 "destroy --all, after a create that was killed" lab destroy --all
check "nothing is left" is '' left_over "$number"
check "destroy --all again is no error" lab destroy --all

echo '# errors'
check_not "unknown host" lab start nobody
check_not "unknown snapshot" lab clone nothing
check_not "unknown suite" lab create a --suite sarge
check_not "a name that is none" lab create 'A b'
check_not "unknown verb" lab fly

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
