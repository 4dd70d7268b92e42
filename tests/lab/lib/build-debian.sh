#!/usr/bin/env bash
# build-debian.sh SUITE FOLDER: FOLDER/root is a plain Debian server as an administrator gets it, FOLDER/repository its package source.
# The base carries nothing that a cmdlet of PitrPS must do by itself: no PostgreSQL, no FUSE, no settings for either.
set -euo pipefail
shopt -s inherit_errexit
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
suite=$1 folder=$2 root=$2/root
# shellcheck source=packages.sh
. "$(dirname "$0")/packages.sh"

ARCHIVE_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
INCLUDE=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,procps,locales,ca-certificates,less
MASKED=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
  console-getty.service getty@tty1.service systemd-resolved.service systemd-timesyncd.service)

# apt knows its sources' origin only from their lists.
[[ $(archive_lines "$suite") ]] || apt-get -q update
mirror=$(archive_lines "$suite" | awk '{print $3; exit}')
[[ $mirror ]] || { echo "no Debian archive in this machine's apt sources"; exit 1; }
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
export http_proxy https_proxy
debootstrap --variant=minbase --keyring="$ARCHIVE_KEYRING" --include="$INCLUDE" "$suite" "$root" "$mirror"

fill_repository "$folder/repository" "$root" "$suite"
sign_repository "$folder/repository" "$folder/key" "$root/usr/share/keyrings/pitrps-lab.gpg"

# The newest versions, out of the repository, so that installing on a host replaces nothing of the base.
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir "$root/repository"
mount --bind "$folder/repository" "$root/repository"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
echo 'deb [signed-by=/usr/share/keyrings/pitrps-lab.gpg] file:/repository ./' >"$root/etc/apt/sources.list.d/build.list"
chroot "$root" apt-get -q update
chroot "$root" apt-get -q -y dist-upgrade
chroot "$root" apt-get clean
rm -rf "$root/usr/sbin/policy-rc.d" "$root/etc/apt/sources.list.d/build.list" "$root"/var/lib/apt/lists/*
umount "$root/repository"
rmdir "$root/repository"

echo 'en_US.UTF-8 UTF-8' >"$root/etc/locale.gen"
chroot "$root" locale-gen
echo 'LANG=en_US.UTF-8' >"$root/etc/default/locale"

# Two administrators: one whose sudo asks for nothing, one who needs a password for it. Both log in by key, dbapw by password too.
chroot "$root" useradd --create-home --shell /bin/bash --password '*' dba
chroot "$root" useradd --create-home --shell /bin/bash --password '*' --groups sudo dbapw
echo 'dba ALL=(ALL:ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/dba"
chmod 0440 "$root/etc/sudoers.d/dba"

printf 'PermitRootLogin no\nPasswordAuthentication yes\n' >"$root/etc/ssh/sshd_config.d/50-lab.conf"
# sshd of trixie shuts out an address after a few wrong passwords; the tests all come from one.
[[ $suite != trixie ]] || echo 'PerSourcePenalties no' >>"$root/etc/ssh/sshd_config.d/50-lab.conf"
# A host counts as started when sshd answers: only then may users log in, not a moment before.
mkdir "$root/etc/systemd/system/ssh.service.d"
printf '[Unit]\nAfter=systemd-user-sessions.service\n' >"$root/etc/systemd/system/ssh.service.d/lab.conf"

for unit in "${MASKED[@]}"; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
# Syncing each unpacked file protects a package database that lives as long as a test.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/lab"
# Each host makes its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/etc/resolv.conf" "$root/etc/hostname" "$root"/var/log/{bootstrap,dpkg,alternatives}.log "$root"/var/log/apt/*
