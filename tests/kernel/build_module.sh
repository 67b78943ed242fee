#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build_module.sh VERSION [DIR]: builds the kernel module in DIR (default: kmod) against that kernel; any warning is an
# error. Prints the path of the .ko. Builds in the cache, under a name made from the contents: what did not change is
# not built again.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

version=${1:?usage: build_module.sh VERSION [DIR]}
source=$(realpath "${2:-$repo/kmod}")
[ -e "$source/Kbuild" ] || [ -e "$source/Makefile" ] || die "$source has neither Kbuild nor Makefile"
kernel=$("$here/fetch.sh" "$version" | sed -n 1p)
builds=$kernel/modules-built

content_hash() {
  (cd "$source" && find . -type f \( -name '*.[chS]' -o -name Kbuild -o -name Makefile \) -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}

build() {
  local tree=$1 log=$1/build.log
  cp -R "$source/." "$tree"
  find "$tree" \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '.*.cmd' \) -delete
  # BTF would need pahole.
  make -C "$kernel/headers" M="$tree" CONFIG_DEBUG_INFO_BTF_MODULES= -j"$(nproc)" modules >"$log" 2>&1 || {
    grep -E 'error|warning|WARNING' "$log" >&2 || tail -n 20 "$log" >&2
    die "the module does not build against $(cat "$kernel/release")"
  }
  # Another build of the same Debian compiler is no fault of the module.
  if grep -E 'warning|WARNING' "$log" | grep -v 'the compiler differs from the one' >&2; then
    die "warnings against $(cat "$kernel/release")"
  fi
}

keep_newest() {
  find "$builds" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n +9 | cut -d' ' -f2- |
    while IFS= read -r old; do rm -rf "$old"; done
}

lock_cache "build-$version"
built=$builds/$(content_hash)
if [ ! -e "$built" ]; then
  new=$builds/new
  rm -rf "$new"
  mkdir -p "$new"
  build "$new"
  mv "$new" "$built"
  keep_newest
fi
module=$(find "$built" -maxdepth 1 -name '*.ko')
[ -n "$module" ] || die "$source made no .ko at its top"
echo "$module"
