#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh BUILD: all tests that want a real kernel: the emulated hosts themselves, the driver on 6.12 and 6.1 and, where
# it is in the cache or the mode is full, on the tailored kernel; moves between two hosts with the programs of the build
# folder BUILD.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
build=$(realpath "$1")
passed=0 failed=0
once() {
  echo "# $*"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

once tests/kernel/selftest.sh 6.12
rounds=20000 seconds=30 tailored=no
if [ "${LOCKSTEP_TEST_MODE:-}" = full ]; then
  # Twenty minutes of hammer in the tailored kernel, half by each door.
  rounds=2000000000 seconds=600 tailored=yes
  tests/kernel/tailor.sh || failed=$((failed + 1))
elif tests/kernel/tailor.sh --cached >/dev/null 2>&1; then
  tailored=yes
fi
for version in 6.12 6.1; do
  tests/kernel/kmod_test.sh $version 20000 30 || failed=$((failed + 1))
done
tests/kernel/kmod_mutants.sh 6.12 || failed=$((failed + 1))
if [ $tailored = yes ]; then
  tests/kernel/kmod_test.sh 6.12-tailored $rounds $seconds || failed=$((failed + 1))
  tests/kernel/kmod_controls.sh || failed=$((failed + 1))
fi
once tests/kernel/numa_test.sh 6.12 "$build"
moves() { LOCKSTEP_BUILD=$build LOCKSTEP_KERNEL=$1 /usr/bin/python3 -m pytest -q -p no:cacheprovider -x "${@:2}"; }
moves 6.12 tests/kernel || failed=$((failed + 1))
# Two kernels, two releases of the driver; images between them.
moves 6.1,6.12 tests/kernel/test_guest_versions.py tests/kernel/test_guest_roundtrip.py || failed=$((failed + 1))
# What only the tailored kernel has: device files, another driver. And under its checkers what does not hang on how long a VMM
# takes there.
if [ "${LOCKSTEP_TEST_MODE:-}" = full ]; then
  moves 6.12-tailored tests/kernel/test_guest_{cdev,mtty,resets,compat,roundtrip}.py || failed=$((failed + 1))
fi
if [ "${LOCKSTEP_TEST_MODE:-}" = full ]; then
  tests/kernel/secureboot_test.sh 6.12 || failed=$((failed + 1))
  if [ "$(id -u)" -eq 0 ]; then
    tests/kernel/dkms.sh || failed=$((failed + 1))
  else
    echo "# dkms.sh is left out: it wants root"
  fi
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
