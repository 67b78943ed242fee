#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fetch.sh VERSION: a stock Debian kernel and its headers, unpacked into the cache; nothing is installed.
# Prints two lines: the kernel's directory and its release string. In that directory:
#   vmlinuz   headers   release   root/ (the unpacked packages)
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=apt.sh
. "$(dirname "$0")/apt.sh"

usage="usage: fetch.sh 6.12|6.1|6.12-tailored"
version=${1:?$usage}
case $version in
  6.12) suite=bookworm-backports ;;
  6.1) suite=bookworm ;;
  6.12-tailored) exec "$here/tailor.sh" ;;
  *) die "$usage" ;;
esac
kernel=$cache/kernel-$version
apt_home=$cache/apt-$version

newest_release() {
  private_apt apt-cache pkgnames linux-image- |
    sed -n "s/^linux-image-\(${version//./\\.}\.[^-]*\(-[0-9]*\)\?-amd64\)$/\1/p" | sort -V | tail -n1
}

# linux-headers depends on its common tree and on the kbuild tools, both named by version.
headers_dependencies() {
  private_apt apt-cache depends "linux-headers-$1" | grep -Eo 'linux-(headers-[^ ]*-common|kbuild-[^ ]*)$' | sort -u
}

fetch_packages() {
  local release=$1 packages
  mapfile -t packages < <(headers_dependencies "$release")
  [ ${#packages[@]} -eq 2 ] || die "$suite has no complete headers for $release"
  packages+=("linux-image-$release" "linux-headers-$release")
  apt_download "${packages[@]}"
}

unpack() {
  local release=$1 tree=$2 deb modules
  for deb in "$apt_home"/debs/*.deb; do
    dpkg -x "$deb" "$tree/root"
  done
  # Debian moves modules from /lib to /usr/lib with time; modprobe -d looks in /lib.
  modules=$tree/root/usr/lib/modules
  if [ -d "$modules" ] && [ ! -e "$tree/root/lib/modules" ]; then
    ln -s ../usr/lib/modules "$tree/root/lib/modules"
  fi
  # The headers include their common tree by an absolute path; make it relative to themselves.
  # shellcheck disable=SC2016
  sed -i 's|^include /usr/src/|include $(dir $(abspath $(lastword $(MAKEFILE_LIST))))../|' \
    "$tree/root/usr/src/linux-headers-$release/Makefile"
  depmod -b "$tree/root" "$release"
  ln -s "root/boot/vmlinuz-$release" "$tree/vmlinuz"
  ln -s "root/usr/src/linux-headers-$release" "$tree/headers"
  echo "$release" >"$tree/release"
}

lock_cache "kernel-$version"
if [ ! -e "$kernel/release" ]; then
  rm -rf "$kernel" "$kernel.new"
  mkdir -p "$kernel.new"
  apt_begin "$suite"
  release=$(newest_release)
  [ -n "$release" ] || die "$suite has no linux-image-$version"
  fetch_packages "$release"
  unpack "$release" "$kernel.new"
  mv "$kernel.new" "$kernel"
  rm -rf "$apt_home"
fi
printf '%s\n' "$kernel" "$(cat "$kernel/release")"
