#!/usr/bin/env bash
# build-rhel.sh SUITE FOLDER DEBIAN: FOLDER/root is a server of RHEL's shape, FOLDER/repository the sources of its packages:
# the distribution's own, PGDG's and EPEL's. DEBIAN is the base of a Debian, which gives the userland and PostgreSQL's programs.
# What is real: rpm, dnf, systemd, sshd, and every program of PostgreSQL and sshfs. What is made here: the packages around them.
# As on Debian, the base carries nothing that a cmdlet of PitrPS must do by itself.
set -euo pipefail
shopt -s inherit_errexit
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
suite=$1 folder=$2 debian=$3 root=$2/root
home=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=packages.sh
. "$home/lib/packages.sh"
# shellcheck source=shapes.sh
. "$home/lib/shapes.sh"
shape_load "$suite"

ARCHIVE_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
ARCH=$(uname -m)

# What PostgreSQL's and sshfs' packages need of the userland. Their libicu and fuse come as RPMs.
needed() {
  local package
  for package in "postgresql-$MAJOR" "postgresql-client-$MAJOR" sshfs; do
    dpkg-deb -f "$debian/repository/$package"_*.deb Depends
  done | tr ',' '\n' | sed 's/[|(:].*//; s/ //g' | grep -vE '^(libicu|libpq|libllvm|libfuse|fuse|postgresql|ssl-cert|debconf|locales|openssh|perl)' | sort -u
}
mapfile -t SYSTEM < <(printf '%s\n' dnf rpm curl gpg gawk firewalld; needed; [[ $RELEASE != 8 ]] || echo dnf-plugins-core)

# --- userland ---

cp -a "$debian/root" "$folder/"
REPOSITORY_PACKAGES=("${SYSTEM[@]}")
fill_repository "$folder/system" "$root" "$DEBIAN"
(cd "$folder/system" && apt-ftparchive packages . >Packages)
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir "$root/system"
mount --bind "$folder/system" "$root/system"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
echo 'deb [trusted=yes] file:/system ./' >"$root/etc/apt/sources.list.d/build.list"
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y --no-install-recommends install "${SYSTEM[@]}"
umount "$root/system"
rmdir "$root/system"
rm -rf "$folder/system"

# --- packages: made here, as their makers lay them out ---

work=$folder/work
mkdir -p "$work"/{SPECS,SOURCES,payload} "$folder"/{key,repository,tls}
for package in "$debian"/repository/{"postgresql-$MAJOR","postgresql-client-$MAJOR",libpq5,libicu[0-9]*,sshfs,fuse3,libfuse3-[0-9]*}_*.deb; do
  dpkg-deb -x "$package" "$work/payload"
done
# Of a package of Debian's: without epoch and revision, and what a package's name cannot have.
# shellcheck disable=SC2086
version_of() { dpkg-deb -f "$debian"/repository/$1_*.deb Version | sed 's/^[0-9]*://; s/-.*//; s/[+~].*//'; }
# Each of the three signs with a key of its own.
for site in system pgdg epel; do
  mkdir -m 0700 "$folder/key/$site"
  gpg --homedir "$folder/key/$site" --batch --quiet --passphrase '' --quick-generate-key "PitrPS lab: $site" rsa2048 sign never
  gpg --homedir "$folder/key/$site" --batch --quiet --armor --export >"$work/SOURCES/$site-key"
done

# build SITE SPEC FOLDER: the spec's packages, signed by the site, into FOLDER.
build() {
  local site=$1 spec=$2 target=$folder/repository/$3
  mkdir -p "$target"
  rpmbuild --quiet -bb --define "_topdir $work" --define "_rpmdir $target" --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
    --define '_binary_payload w1.gzdio' --define '_source_payload w1.gzdio' --define 'debug_package %{nil}' --define '__os_install_post %{nil}' --define '_build_id_links none' \
    --define "payload $work/payload" --define "lab_rpm $home/rpm" --define "keys $work/SOURCES" --define "pgversion $(version_of "postgresql-$MAJOR")" --define "version_of_libicu $(version_of 'libicu[0-9]*')" --define "version_of_fuse3 $(version_of fuse3)" \
    --define "version_of_fuse_sshfs $(version_of sshfs)" --define "userland $(userland)" \
    --define "suite $suite" --define "distribution $DISTRIBUTION" --define "release_of $RELEASE" --define "major $MAJOR" --define "pgdg_key $PGDG_KEY" \
    "$home/rpm/$spec.spec"
  if [[ $spec == postgresql ]]; then
    mkdir "$folder/repository/unsigned"
    cp "$target"/*.rpm "$folder/repository/unsigned/"
  fi
  rpmsign --define "__gpg $(command -v gpg)" --define "_gpg_name PitrPS lab: $site" --define "_gpg_path $folder/key/$site" --addsign "$target"/*.rpm >/dev/null
}

# The names that packages of this family ask for and that Debian's userland brings.
userland() {
  printf 'Provides: %s\n' /bin/sh /usr/sbin/useradd bash coreutils systemd shadow-utils glibc gnupg2 curl libxml2 libxslt openldap readline krb5-libs glib2 openssh-clients | tr '\n' ' ' |
    sed 's/ Provides:/, /g; s/^Provides: //'
}

POOL=pub/repos/yum
PGDG_KEY=PGDG-RPM-GPG-KEY-RHEL
[[ $RELEASE != 7 ]] || PGDG_KEY+=7
mkdir -p "$folder/repository"
build system libicu os/baseos
build system fuse3 os/baseos
build system release os/baseos
build system epel-release os/extras
build pgdg pgdg-redhat-repo "$POOL/reporpms/EL-$RELEASE-$ARCH"
build pgdg postgresql "$POOL/$MAJOR/redhat/rhel-$RELEASE-$ARCH"
places=(os/baseos os/extras "$POOL/$MAJOR/redhat/rhel-$RELEASE-$ARCH" "pub/epel/$RELEASE" unsigned)
if [[ $RELEASE == 8 ]]; then
  # There it is in PowerTools, which is off at first; and a module of the distribution's own PostgreSQL hides PGDG's.
  build system fuse-sshfs os/powertools
  build system module-postgresql os/appstream
  mkdir -p "$folder/repository/pub/epel/8"
  places+=(os/powertools os/appstream)
else
  build epel fuse-sshfs "pub/epel/$RELEASE"
fi

# EPEL and PGDG offer their repository package under a name that stays, too.
cp "$folder"/repository/os/extras/epel-release-*.rpm "$folder/repository/pub/epel/epel-release-latest-$RELEASE.noarch.rpm"
mv "$folder/repository/$POOL/reporpms/EL-$RELEASE-$ARCH"/pgdg-redhat-repo-*.rpm "$folder/repository/$POOL/reporpms/EL-$RELEASE-$ARCH/pgdg-redhat-repo-latest.noarch.rpm"
install -D -m 0644 "$work/SOURCES/pgdg-key" "$folder/repository/$POOL/keys/$PGDG_KEY"
install -D -m 0644 "$work/SOURCES/epel-key" "$folder/repository/pub/epel/RPM-GPG-KEY-EPEL-$RELEASE"
for place in "${places[@]}"; do
  createrepo_c --quiet "$folder/repository/$place"
done
[[ $RELEASE != 8 ]] || modifyrepo_c --mdtype=modules "$home/rpm/modules.yaml" "$folder/repository/os/appstream/repodata" >/dev/null
# PGDG signs what is on offer, too.
gpg --homedir "$folder/key/pgdg" --batch --quiet --armor --detach-sign "$folder/repository/$POOL/$MAJOR/redhat/rhel-$RELEASE-$ARCH/repodata/repomd.xml"
for site in system pgdg epel; do
  gpgconf --homedir "$folder/key/$site" --kill gpg-agent
done

# The names under which PGDG and EPEL are reached, and a certificate for them that the hosts trust.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj '/CN=PitrPS lab' \
  -addext "subjectAltName=DNS:download.postgresql.org,DNS:dl.fedoraproject.org" -keyout "$folder/tls/key.pem" -out "$folder/tls/cert.pem"
cp "$folder/tls/cert.pem" "$root/usr/local/share/ca-certificates/lab.crt"
chroot "$root" update-ca-certificates

# --- shape ---

# rpm keeps its database where RHEL has it; Debian's would be in a home.
mkdir -p "$root/etc/rpm" "$root/etc/yum.repos.d" "$root/etc/pki/rpm-gpg" "$root/etc/dnf/vars" "$root/var/lib/rpm" "$root/usr/libexec/openssh"
echo '%_dbpath /var/lib/rpm' >"$root/etc/rpm/macros.lab"
printf '[main]\ngpgcheck=1\ninstallonly_limit=3\nclean_requirements_on_remove=True\nbest=True\nskip_if_unavailable=False\n' >"$root/etc/dnf/dnf.conf"
[[ ! -f $root/etc/dnf/plugins/local.conf ]] || printf '[main]\nenabled=0\n' >"$root/etc/dnf/plugins/local.conf"
ln -sfn dnf/dnf.conf "$root/etc/yum.conf"
ln -sfn dnf-3 "$root/usr/bin/yum"
mkdir "$root/release"
cp "$folder"/repository/os/baseos/{"$DISTRIBUTION-release",openssl}-*.rpm "$root/release/"
# Debian's rpm refuses to install before trixie, unless it is told to.
chroot "$root" sh -c 'set -- -i --noplugins --nosignature --replacefiles /release/*.rpm; rpm --force-debian "$@" || rpm "$@"'
rm -rf "$root/release"
ln -sfn bash "$root/bin/sh"
chroot "$root" update-alternatives --set awk /usr/bin/gawk

# As in this family's images, but off: a test turns it on.
rm -f "$root/etc/systemd/system/multi-user.target.wants/firewalld.service" "$root/etc/systemd/system/dbus-org.fedoraproject.FirewallD1.service"

mv "$root/lib/systemd/system/ssh.service" "$root/lib/systemd/system/sshd.service"
rm -rf "$root"/etc/systemd/system/{sshd.service,multi-user.target.wants/ssh.service} "$root"/lib/systemd/system/{ssh.socket,ssh@.service,rescue-ssh.target} "$root/etc/init.d/ssh"
sed -i '/^Alias=/d' "$root/lib/systemd/system/sshd.service"
mv "$root/etc/systemd/system/ssh.service.d" "$root/etc/systemd/system/sshd.service.d"
ln -s /usr/lib/systemd/system/sshd.service "$root/etc/systemd/system/multi-user.target.wants/sshd.service"
cp "$home/rpm/sshd_config" "$root/etc/ssh/sshd_config"
# Before release 9, sshd reads no other files: its OpenSSH is older than 8.2.
if ((RELEASE >= 9)); then
  sed -i '1a Include /etc/ssh/sshd_config.d/*.conf' "$root/etc/ssh/sshd_config"
else
  rm -rf "$root/etc/ssh/sshd_config.d"
fi
ln -s /usr/lib/openssh/sftp-server "$root/usr/libexec/openssh/sftp-server"

# Its administrators are in wheel.
chroot "$root" groupadd --system wheel
chroot "$root" gpasswd -d dbapw sudo
chroot "$root" gpasswd -a dbapw wheel
sed -i '/^%sudo/d; /secure_path/d' "$root/etc/sudoers"
printf 'Defaults secure_path="/sbin:/bin:/usr/sbin:/usr/bin"\n%%wheel ALL=(ALL) ALL\n' >"$root/etc/sudoers.d/wheel"
chmod 0440 "$root/etc/sudoers.d/wheel"

[[ -L $root/etc/default/locale ]] || mv "$root/etc/default/locale" "$root/etc/locale.conf"
rm -f "$root/etc/default/locale"
# A group that has the number of PGDG's postgres is not in this family; the locale C.UTF-8 came with release 8.
[[ $RELEASE != 7 ]] || rm -rf "$root"/usr/lib/locale/C.UTF-8
chroot "$root" groupdel tape
sed -i '/^g tape/d' "$root/usr/lib/sysusers.d/basic.conf"
mkdir -p "$root/var/lib/pgsql"
rmdir "$root/var/lib/postgresql" 2>/dev/null || true
# Whoever asks for Debian's tools here has taken this for a host of that family.
rm -rf "$root"/usr/bin/{apt,apt-*,dpkg,dpkg-*} "$root/etc/apt" "$root/etc/debian_version" "$root/etc/dpkg" "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root/var/lib/dpkg" "$root"/var/log/{apt,dpkg.log,alternatives.log}
: >"$root/etc/machine-id"
rm -rf "$work"
