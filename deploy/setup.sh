#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs everything that building, testing and demonstrating lockstep needs on Debian 12. Idempotent.
set -euo pipefail

packages=(
  # build
  gcc make cmake ninja-build pkg-config git ca-certificates
  libuv1-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libprotobuf-dev libnuma-dev
  libnghttp2-dev libsqlite3-dev libxxhash-dev libinih-dev libjansson-dev linux-libc-dev
  # test
  clang libclang-rt-14-dev
  libcmocka-dev python3 python3-grpcio python3-protobuf python3-pytest spin
  # emulated hosts: a kernel module is built for them, and QEMU boots them
  qemu-system-x86 busybox-static cpio kmod xz-utils zstd bc bison flex m4 libelf-dev libssl-dev
  openssl debootstrap
)

missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "setup: run as root, or install: ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${#missing[@]} packages" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "setup: apt-get failed; missing: ${missing[*]}" >&2
  exit 1
fi
