#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fetch.sh VERSION: a stock Debian kernel and its headers, unpacked into the cache; nothing is installed.
# Prints two lines: the kernel's directory and its release string. In that directory:
#   vmlinuz   headers   release   root/ (the unpacked packages)
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

usage="usage: fetch.sh 6.12|6.1"
version=${1:?$usage}
case $version in
  6.12) suite=bookworm-backports ;;
  6.1) suite=bookworm ;;
  *) die "$usage" ;;
esac
kernel=$cache/kernel-$version
apt_home=$cache/apt-$version
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt with sources, lists and status of its own: needs no root and leaves the system's alone.
private_apt() {
  local tool=$1
  shift
  "$tool" -q \
    -o Dir::Etc::sourcelist="$apt_home/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$apt_home/lists" -o Dir::State::status="$apt_home/status" \
    -o Dir::Cache="$apt_home/cache" -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any "$@"
}

# The archive that the system's own apt uses. Its lists may be missing (container images drop them): then apt reads
# the system's sources into private lists first.
archive_uri() {
  local query=(indextargets --format "\$(REPO_URI)" "Created-By: Packages" "Codename: bookworm") uri
  uri=$(apt-get "${query[@]}" | sed -n 1p)
  if [ -z "$uri" ]; then
    local lists=(-o Dir::State::lists="$apt_home/system-lists" -o Dir::Cache="$apt_home/cache" -o APT::Sandbox::User=root)
    apt-get -q "${lists[@]}" update >>"$log" 2>&1 || true
    uri=$(apt-get "${lists[@]}" "${query[@]}" | sed -n 1p)
  fi
  [ -n "$uri" ] || die "the system's apt names no Debian 12 (bookworm) archive; check /etc/apt and the network"
  echo "$uri"
}

update_lists() {
  local uri
  uri=$(archive_uri)
  [ -r "$keyring" ] || die "$keyring is missing; install debian-archive-keyring"
  echo "deb [arch=amd64 signed-by=$keyring] $uri $suite main" >"$apt_home/sources.list"
  : >"$apt_home/status"
  private_apt apt-get update >>"$log" 2>&1 || die "cannot read $suite from $uri: $(grep -m1 '^[EW]:' "$log")"
}

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
  echo "fetch.sh: downloading ${packages[*]}" >&2
  (cd "$apt_home/debs" && private_apt apt-get download "${packages[@]}") >>"$log" 2>&1 ||
    die "download failed: $(grep -m1 '^E:' "$log")"
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
  rm -rf "$kernel" "$kernel.new" "$apt_home"
  mkdir -p "$kernel.new" "$apt_home"/{debs,lists/partial,system-lists/partial,cache/archives/partial}
  log=$apt_home/log
  update_lists
  release=$(newest_release)
  [ -n "$release" ] || die "$suite has no linux-image-$version"
  fetch_packages "$release"
  unpack "$release" "$kernel.new"
  mv "$kernel.new" "$kernel"
  rm -rf "$apt_home"
fi
printf '%s\n' "$kernel" "$(cat "$kernel/release")"
