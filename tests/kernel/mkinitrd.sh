#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# mkinitrd.sh OUT VERSION [WHAT...]: an initramfs for an emulated host: busybox, our init, the stock modules it
# needs, and
#   FILE.ko           a module, loaded at boot after those it depends on, in the order given
#   +NAME             a stock module
#   GUEST_PATH=FILE   a file (programs come with their shared libraries)
#   DIR               a tree, laid over the root
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

[ $# -ge 2 ] || die "usage: mkinitrd.sh OUT VERSION [FILE.ko | +NAME | GUEST_PATH=FILE | DIR]..."
out=$1 version=$2
shift 2
stock_modules=(virtio_pci virtio_net 9pnet_virtio 9p vfio vfio_iommu_type1 mdev)
kernel=$("$here/fetch.sh" "$version" | sed -n 1p)
release=$(cat "$kernel/release")

root=$(mktemp -d)
trap 'rm -rf "$root" "$out.new"' EXIT

# insmod lines of a module and of all it needs, in order; built-in ones give none.
insmod_order() {
  modprobe -d "$kernel/root" -S "$release" --show-depends "$1" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
}

add_module() {
  local file=$1 name
  name=$(basename "${file%.xz}")
  [ ! -e "$root/modules/$name" ] || return 0
  case $file in
    *.xz) xz -dc "$file" >"$root/modules/$name" ;;
    *) cp "$file" "$root/modules/$name" ;;
  esac
  echo "/modules/$name" >>"$root/modules/order"
}

add_stock_module() {
  local files file
  files=$(insmod_order "$1") || die "kernel $release has no module $1"
  for file in $files; do
    add_module "$file"
  done
}

add_our_module() {
  local needed
  [ -r "$1" ] || die "no module $1"
  for needed in $(modinfo -F depends "$1" | tr , ' '); do
    # Modules of ours may need each other: those are given in order.
    [ -e "$root/modules/$needed.ko" ] || add_stock_module "$needed"
  done
  add_module "$1"
}

add_file() {
  local guest=${1%%=*} file=${1#*=}
  [ -r "$file" ] || die "no file $file"
  install -D -m "$(stat -Lc %a "$file")" "$file" "$root/$guest"
}

add_tree() {
  [ -d "$1" ] || die "$1 is neither a directory nor a .ko nor GUEST_PATH=FILE"
  cp -R --preserve=mode,links "$1/." "$root"
}

# Shared libraries and loaders of every dynamic program or library in the root, at the paths that they have here.
add_libraries() {
  local library missing
  find "$root" -path "$root/modules" -prune -o -type f -print0 | xargs -0 -n1 ldd 2>/dev/null >"$root/.ldd" || true
  missing=$(sed -n 's/^\t\(.*\) => not found$/\1/p' "$root/.ldd" | sort -u | tr '\n' ' ')
  [ -z "$missing" ] || die "shared libraries not found here: $missing"
  sed -n 's/^\t\(.* => \)\?\(\/[^ ]*\) (0x[0-9a-f]*)$/\2/p' "$root/.ldd" | sort -u | while read -r library; do
    [ -e "$root$library" ] || install -D "$library" "$root$library"
  done
  rm "$root/.ldd"
}

mkdir -p "$root"/{bin,sbin,etc,usr/bin,usr/sbin,proc,sys,dev,modules}
: >"$root/modules/order"
install -m 755 "$here/init" "$root/init"
install -m 755 "$(command -v busybox)" "$root/bin/busybox"
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
for module in "${stock_modules[@]}"; do
  add_stock_module "$module"
done
for what; do
  case $what in
    +*) add_stock_module "${what#+}" ;;
    *=*) add_file "$what" ;;
    *.ko) add_our_module "$what" ;;
    *) add_tree "$what" ;;
  esac
done
add_libraries
(cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --null --quiet -o -H newc -R 0:0) >"$out.new"
mv "$out.new" "$out"
