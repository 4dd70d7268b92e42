#!/usr/bin/env bash
# build-rhel.sh SUITE FOLDER DEBIAN: FOLDER/root is a server of RHEL's shape, FOLDER/repository the sources of its packages:
# CentOS' own, PGDG's and EPEL's. DEBIAN is the base of Debian 11, which gives the userland and PostgreSQL's programs.
# What is real: rpm, dnf, systemd, sshd, and every program of PostgreSQL and sshfs. What is made here: the packages around them.
# As on Debian, the base carries nothing that a cmdlet of PitrPS must do by itself.
set -euo pipefail
shopt -s inherit_errexit
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
folder=$2 debian=$3 root=$2/root
home=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=packages.sh
. "$home/lib/packages.sh"

ARCHIVE_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
# dnf, and what a minimal CentOS has that the other bases lack. PostgreSQL's libicu and sshfs' fuse come as RPMs.
SYSTEM=(dnf rpm curl gpg gawk glib2.0-0 libldap-2.4-2 libreadline8 libxml2 libxslt1.1)
ARCH=$(uname -m)

# --- userland ---

cp -a "$debian/root" "$folder/"
REPOSITORY_PACKAGES=("${SYSTEM[@]}")
fill_repository "$folder/system" "$root" bullseye
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
for package in postgresql-13 postgresql-client-13 libpq5 libicu67 sshfs fuse3 libfuse3-3; do
  dpkg-deb -x "$debian/repository/$package"_*.deb "$work/payload"
done
version=$(dpkg-deb -f "$debian"/repository/postgresql-13_*.deb Version)
# Each of the three signs with a key of its own.
for site in centos pgdg epel; do
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
    --define "payload $work/payload" --define "lab_rpm $home/rpm" --define "keys $work/SOURCES" --define "pgversion ${version%%-*}" --define "userland $(userland)" \
    "$home/rpm/$spec.spec"
  if [[ $spec == postgresql13 ]]; then
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
mkdir -p "$folder/repository"
build centos libicu centos/7/os
build centos fuse3 centos/7/os
build centos centos-release centos/7/os
build centos epel-release centos/7/extras
build pgdg pgdg-redhat-repo "$POOL/reporpms/EL-7-$ARCH"
build pgdg postgresql13 "$POOL/13/redhat/rhel-7-$ARCH"
build epel fuse-sshfs pub/epel/7

# EPEL and PGDG offer their repository package under a name that stays, too.
cp "$folder"/repository/centos/7/extras/epel-release-*.rpm "$folder/repository/pub/epel/epel-release-latest-7.noarch.rpm"
mv "$folder/repository/$POOL/reporpms/EL-7-$ARCH"/pgdg-redhat-repo-*.rpm "$folder/repository/$POOL/reporpms/EL-7-$ARCH/pgdg-redhat-repo-latest.noarch.rpm"
install -D -m 0644 "$work/SOURCES/pgdg-key" "$folder/repository/$POOL/keys/PGDG-RPM-GPG-KEY-RHEL7"
install -D -m 0644 "$work/SOURCES/epel-key" "$folder/repository/pub/epel/RPM-GPG-KEY-EPEL-7"
for place in centos/7/os centos/7/extras "$POOL/13/redhat/rhel-7-$ARCH" pub/epel/7 unsigned; do
  createrepo_c --quiet "$folder/repository/$place"
done
# PGDG signs what is on offer, too.
gpg --homedir "$folder/key/pgdg" --batch --quiet --armor --detach-sign "$folder/repository/$POOL/13/redhat/rhel-7-$ARCH/repodata/repomd.xml"
for site in centos pgdg epel; do
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
ln -sfn dnf/dnf.conf "$root/etc/yum.conf"
ln -sfn dnf-3 "$root/usr/bin/yum"
mkdir "$root/release"
cp "$folder"/repository/centos/7/os/{centos-release,openssl}-*.rpm "$root/release/"
chroot "$root" sh -c 'rpm --force-debian -i --nosignature --replacefiles /release/*.rpm'
rm -rf "$root/release"
ln -sfn bash "$root/bin/sh"
chroot "$root" update-alternatives --set awk /usr/bin/gawk

# CentOS 7's sshd reads no other files (its OpenSSH is older than 8.2), and its service is sshd.
mv "$root/lib/systemd/system/ssh.service" "$root/usr/lib/systemd/system/sshd.service"
rm -rf "$root"/etc/ssh/sshd_config.d "$root"/etc/systemd/system/{sshd.service,multi-user.target.wants/ssh.service} "$root"/lib/systemd/system/{ssh.socket,ssh@.service,rescue-ssh.target} "$root/etc/init.d/ssh"
sed -i '/^Alias=/d' "$root/usr/lib/systemd/system/sshd.service"
mv "$root/etc/systemd/system/ssh.service.d" "$root/etc/systemd/system/sshd.service.d"
ln -s /usr/lib/systemd/system/sshd.service "$root/etc/systemd/system/multi-user.target.wants/sshd.service"
cp "$home/rpm/sshd_config" "$root/etc/ssh/sshd_config"
ln -s /usr/lib/openssh/sftp-server "$root/usr/libexec/openssh/sftp-server"

# Its administrators are in wheel.
chroot "$root" groupadd --system wheel
chroot "$root" gpasswd -d dbapw sudo
chroot "$root" gpasswd -a dbapw wheel
sed -i '/^%sudo/d; /secure_path/d' "$root/etc/sudoers"
printf 'Defaults secure_path="/sbin:/bin:/usr/sbin:/usr/bin"\n%%wheel ALL=(ALL) ALL\n' >"$root/etc/sudoers.d/wheel"
chmod 0440 "$root/etc/sudoers.d/wheel"

mv "$root/etc/default/locale" "$root/etc/locale.conf"
# Neither is in CentOS 7: the locale C.UTF-8, and a group that has the number of PGDG's postgres.
rm -rf "$root"/usr/lib/locale/C.UTF-8
chroot "$root" groupdel tape
sed -i '/^g tape/d' "$root/usr/lib/sysusers.d/basic.conf"
mkdir -p "$root/var/lib/pgsql"
rmdir "$root/var/lib/postgresql" 2>/dev/null || true
# Whoever asks for Debian's tools here has taken this for a host of that family.
rm -rf "$root"/usr/bin/{apt,apt-*,dpkg,dpkg-*} "$root/etc/apt" "$root/etc/debian_version" "$root/etc/dpkg" "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root/var/lib/dpkg" "$root"/var/log/{apt,dpkg.log,alternatives.log}
: >"$root/etc/machine-id"
rm -rf "$work"
