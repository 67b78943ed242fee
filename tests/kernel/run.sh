#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh BUILD: all tests that want a real kernel: the emulated hosts themselves, the driver on 6.12 and 6.1, moves between two
# hosts with the programs of the build folder BUILD.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2
build=$(realpath "$1")
passed=0 failed=0
once() {
  echo "# $*"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

once tests/kernel/selftest.sh 6.12
rounds=20000
[ "${LOCKSTEP_TEST_MODE:-}" != full ] || rounds=2000000
for version in 6.12 6.1; do
  tests/kernel/kmod_test.sh $version $rounds || failed=$((failed + 1))
done
LOCKSTEP_BUILD=$build /usr/bin/python3 -m pytest -q -p no:cacheprovider -x tests/kernel || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
