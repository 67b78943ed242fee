#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Moves a VM with four passthrough devices from one host to another while the devices write to each other without pause,
# and shows that not one write was lost. The hosts are emulated (QEMU) and run a real Linux kernel with our driver.
#   --sim   simulated hosts on this machine instead: seconds, no guests
set -euo pipefail
cd "$(dirname "$0")/.."

hosts=guests
case ${1:-} in
  '') ;;
  --sim) hosts=sim ;;
  *) sed -n '3,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }

say "set up and build"
./deploy/setup.sh
log=build/demo.log
mkdir -p build
if ! { cmake -S . -B build -G Ninja && ninja -C build; } >"$log" 2>&1; then
  tail -n 40 "$log"
  exit 1
fi
echo "built in build/"

if [ $hosts = guests ]; then
  say "a kernel for the hosts, our driver for that kernel"
  if { release=$(tests/kernel/fetch.sh 6.12 | tail -n 1) && tests/kernel/build_module.sh 6.12; } >"$log" 2>&1; then
    echo "Linux $release, lockstep_vdev.ko"
  else
    tail -n 5 "$log"
    echo "falling back to simulated hosts (--sim): no kernel or module for the emulated ones, see above"
    hosts=sim
  fi
fi
LOCKSTEP_BUILD=$PWD/build exec /usr/bin/python3 deploy/demo.py "$hosts"
