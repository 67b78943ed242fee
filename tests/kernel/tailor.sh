#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tailor.sh [--cached]: a 6.12 made for tests out of Debian's source, with what tailored.config asks for: iommufd,
# device cdevs, KASAN, lockdep, kmemleak. Takes ten minutes on two cores and 3 GB while it runs, once: the cache keeps
# it. Prints two lines as fetch.sh does. With --cached it fails when there is no such kernel yet.
# Everywhere else this kernel's version is called 6.12-tailored.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=apt.sh
. "$(dirname "$0")/apt.sh"

version=6.12-tailored
kernel=$cache/kernel-$version
config=$here/tailored.config
apt_home=$cache/apt-$version

is_cached() {
  [ -e "$kernel/release" ] && cmp -s "$config" "$kernel/config"
}

unpack_source() {
  local tree=$1
  apt_begin bookworm-backports
  apt_download linux-source-6.12
  dpkg-deb --fsys-tarfile "$apt_home"/debs/*.deb | tar -xO --wildcards '*/linux-source-6.12.tar.xz' |
    tar -xJ -C "$tree" --strip-components=1
  rm -rf "$apt_home"
}

configure() {
  local missing
  make -s allnoconfig "KCONFIG_ALLCONFIG=$config"
  missing=$(grep '^CONFIG_' "$config" | grep -vxFf .config) || return 0
  die "the source does not know, or does not allow: $missing"
}

# What building modules wants stays, the rest of a gigabyte goes.
thin_out() {
  find . -mindepth 1 -maxdepth 1 -type d ! -name arch ! -name include ! -name scripts ! -name tools -exec rm -rf {} +
  find arch tools -mindepth 1 -maxdepth 1 -type d ! -name x86 ! -name objtool -exec rm -rf {} +
  find . -maxdepth 1 -type f \( -name '*vmlinux*' -o -name '*.[ao]' -o -name '.*.cmd' \) -exec rm -f {} +
  find arch include -type f \( -name '*.[coSa]' -o -name '.*.cmd' \) -exec rm -f {} +
}

build() {
  local tree=$1 release
  mkdir -p "$tree/headers" "$tree/root"
  unpack_source "$tree/headers"
  cd "$tree/headers"
  configure
  make -s -j"$(nproc)" bzImage modules
  release=$(make -s kernelrelease)
  make -s INSTALL_MOD_PATH="$tree/root" modules_install
  rm -f "$tree/root/lib/modules/$release"/{build,source}
  cp arch/x86/boot/bzImage "$tree/vmlinuz"
  thin_out
  cp "$config" "$tree/config"
  echo "$release" >"$tree/release"
}

lock_cache "kernel-$version"
if ! is_cached; then
  [ "${1:-}" != --cached ] || die "there is no tailored kernel in the cache; tailor.sh builds it"
  echo "tailor.sh: building a kernel; this happens once" >&2
  rm -rf "$kernel" "$kernel.new"
  mkdir -p "$kernel.new"
  (build "$kernel.new") >"$kernel.new/log" 2>&1 || { tail -n 20 "$kernel.new/log" >&2; die "the kernel does not build"; }
  mv "$kernel.new" "$kernel"
fi
printf '%s\n' "$kernel" "$(cat "$kernel/release")"
