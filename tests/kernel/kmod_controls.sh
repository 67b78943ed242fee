#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kmod_controls.sh: can kmod_test.sh fail? Each checker of the tailored kernel is given what it is there for, and the
# script must end badly because of it; and must not without any.
set -uo pipefail
here=$(realpath "$(dirname "$0")")
passed=0 failed=0
tell() {
  if [ "$1" -eq 0 ]; then passed=$((passed + 1)); echo "ok - $2"; else failed=$((failed + 1)); echo "not ok - $2"; fi
}

must_fail() {
  local fault=$1 because=$2 said status=0
  said=$("$here/kmod_test.sh" --fault "$fault" 6.12-tailored 2>&1) || status=$?
  [ $status -ne 0 ] && grep -qE "$because" <<<"$said"
  tell $? "$fault is found: $because"
  [ $status -ne 0 ] || tail -n 20 <<<"$said"
}

said=$("$here/kmod_test.sh" --fault nothing 6.12-tailored 2>&1) && grep -q '^# kernel log: clean' <<<"$said"
tell $? "nothing is found where nothing is"
must_fail use-after-free 'BUG: KASAN: slab-use-after-free in use_after_free'
must_fail leak '# verdict: kmemleak: [0-9]+ leaked'
must_fail lock-order 'WARNING: possible circular locking dependency'
must_fail sleep-in-atomic 'BUG: sleeping function called from invalid context'
must_fail hang 'INFO: task faulty:[0-9]+ blocked for more than'
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
