# shellcheck shell=bash
# The package sources of the hosts, made once beside each base and served on the bridge: for Debian a flat, signed apt repository,
# for the RHEL shape what build-rhel.sh makes.

# Everything that a cmdlet may install on a host of the Debian family; dependencies that the base lacks come along.
REPOSITORY_PACKAGES=(postgresql postgresql-client postgresql-common ssl-cert openssl sshfs fuse3 acl zstd lz4 pgbackrest)
HTTP_PORT=8077

# The machine's own Debian archives (either format of its sources, as apt understands them), for another suite if need be.
archive_lines() {
  local suite=$1 own uri release codename component
  own=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    while read -r uri release codename component; do
      case $codename in
        "$own") release=$suite ;;
        "$own"-updates | "$own"-security) release=${codename/#$own/$suite} ;;
        *) continue ;;
      esac
      echo "deb [signed-by=$ARCHIVE_KEYRING] $uri $release $component"
    done
}

# fill_repository FOLDER ROOT SUITE: downloads with the machine's own apt what ROOT lacks.
fill_repository() {
  local folder=$1 root=$2 suite=$3 deb
  local -a apt
  mkdir -p "$folder/partial" "$folder.lists/partial"
  archive_lines "$suite" >"$folder.list"
  apt=(apt-get -q -y --no-install-recommends
    -o "Dir::Etc::SourceList=$folder.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o "Dir::State::Lists=$folder.lists" -o "Dir::State::Status=$root/var/lib/dpkg/status" -o "Dir::State::Extended_States=/dev/null"
    -o "Dir::Cache::Archives=$folder" -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache= -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  "${apt[@]}" update
  # What the machine has downloaded before is not fetched again; apt checks each file's hash.
  while read -r deb; do
    [[ ! -f /var/cache/apt/archives/$deb ]] || cp "/var/cache/apt/archives/$deb" "$folder/"
  done < <("${apt[@]}" --print-uris install "${REPOSITORY_PACKAGES[@]}" | awk '$2 ~ /\.deb$/ {print $2}')
  "${apt[@]}" --download-only dist-upgrade
  "${apt[@]}" --download-only install "${REPOSITORY_PACKAGES[@]}"
  rm -rf "$folder/partial" "$folder/lock" "$folder.lists" "$folder.list"
}

# sign_repository FOLDER KEYHOME KEYRING: index and sign it with a key that is made here and belongs to this repository alone.
sign_repository() {
  local folder=$1 keyhome=$2 keyring=$3
  mkdir -m 0700 "$keyhome"
  gpg --homedir "$keyhome" --batch --quiet --passphrase '' --quick-generate-key 'PitrPS lab' ed25519 sign never
  gpg --homedir "$keyhome" --batch --quiet --export >"$keyring"
  (
    cd "$folder" || exit
    apt-ftparchive packages . >Packages
    gzip -k Packages
    apt-ftparchive -o APT::FTPArchive::Release::Origin=PitrPS-lab -o APT::FTPArchive::Release::Label=PitrPS-lab release . >../Release
    mv ../Release Release
    gpg --homedir "$keyhome" --batch --quiet --clearsign --output InRelease Release
  )
  gpgconf --homedir "$keyhome" --kill gpg-agent
}

package_source() { # SUITE
  cat <<SOURCE
Types: deb
URIs: http://$NETWORK.1:$HTTP_PORT/$1/
Suites: ./
Signed-By: /usr/share/keyrings/pitrps-lab.gpg
SOURCE
}

# As a site has it that keeps a mirror of its own. PowerTools is off, as it is at first.
yum_source() { # SUITE
  # shellcheck disable=SC2034
  local part MAJOR RELEASE DISTRIBUTION DEBIAN
  shape_load "$1"
  for part in "$(base_folder "$1")"/repository/os/*; do
    part=$(basename "$part")
    cat <<SOURCE
[$part]
name=$1 - $part
baseurl=http://$NETWORK.1:$HTTP_PORT/$1/os/$part/
enabled=$([[ $part == powertools ]] && echo 0 || echo 1)
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-$DISTRIBUTION

SOURCE
  done
}

# server_pid SERVER: its process, if it still is the one that it was. A process id may have been used again since: the command line tells.
server_pid() {
  local pid
  pid=$(cat "$LAB/$1.pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$LAB/www" || return 1
  echo "$pid"
}

answers() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

http_up() { # SUITE...
  local suite
  mkdir -p "$LAB/www"
  for suite in "$@"; do
    ln -sfn "$(base_folder "$suite")/repository" "$LAB/www/$suite"
    [[ $(family_of "$suite") == debian ]] || sites_up "$suite"
  done
  ! server_pid http >/dev/null || return 0
  (start_daemon "$LAB/http.log" python3 -m http.server --directory "$LAB/www" --bind "$NETWORK.1" "$HTTP_PORT" >"$LAB/http.pid")
  wait_until 10 answers "$NETWORK.1" "$HTTP_PORT" || die "the package source does not start: $(tail -n 3 "$LAB/http.log")"
}

# PGDG and EPEL, under their own names: for each suite at an address of its own, because each has keys of its own.
sites_up() { # SUITE
  local address tls
  address=$(sites_address "$1") tls=$(base_folder "$1")/tls
  ! server_pid "sites-$1" >/dev/null || return 0
  ip addr replace "$address/24" dev "$BRIDGE"
  (start_daemon "$LAB/sites-$1.log" python3 "$LAB_HOME/lib/https.py" "$LAB/www/$1" "$address" "$tls/cert.pem" "$tls/key.pem" >"$LAB/sites-$1.pid")
  wait_until 10 answers "$address" 443 || die "the stand-in for PGDG and EPEL does not start: $(tail -n 3 "$LAB/sites-$1.log")"
}

sites_address() { # SUITE
  # shellcheck disable=SC2034
  local MAJOR RELEASE DISTRIBUTION DEBIAN
  shape_load "$1"
  # The hosts' own addresses begin at 10.
  echo "$NETWORK.$((RELEASE == 7 ? 2 : RELEASE == 8 ? 3 : 4))"
}

http_down() {
  local server pid
  for server in "$LAB"/*.pid; do
    server=$(basename "$server" .pid)
    pid=$(server_pid "$server") || continue
    kill "$pid" 2>/dev/null || true
    wait_until 5 server_gone "$server" || kill -KILL "$pid"
  done
}

server_gone() { ! server_pid "$1" >/dev/null; }
