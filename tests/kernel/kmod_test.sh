#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kmod_test.sh [VERSION [ROUNDS [SECONDS [SEED]]]]: the driver against its contract, in a guest with that kernel (6.12),
# by every door that it has (group; cdev on 6.12-tailored); before that, random requests from many threads until ROUNDS
# (20000) or SECONDS (600) are over. The kernel log must stay clean, lockdep must still watch at the end, and nothing
# may leak where kmemleak watches.
# kmod_test.sh --fault NAME VERSION: none of that, but a fault of the module faulty/, and the same verdict, which must
# be bad.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

fault=''
if [ "${1:-}" = --fault ]; then
  fault=${2:?name a fault}
  shift 2
fi
version=${1:-6.12} rounds=${2:-20000} seconds=${3:-600} seed=${4:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_tests() {
  local program
  module=$("$here/build_module.sh" "$version")
  for program in kmod_hammer kmod_test; do
    gcc -std=gnu11 -O1 -g -Wall -Wextra -Werror -static -pthread -I"$repo" \
      "$here/$program"*.c "$here"/kmod_vm*.c "$repo"/kmod/model/*.c -o "$work/$program"
    files+=("/$program=$work/$program")
  done
  files+=("/fsm-oracle.csv=$repo/tests/fsm-oracle.csv")
  cat <<END
doors=group
[ ! -e /dev/iommu ] || doors="group cdev"
for door in \$doors; do
  echo "# door: \$door"
  grep -q lockstep_vdev /proc/modules || insmod "\$module" || exit 1
  /kmod_hammer $seed $rounds $seconds \$door || status=1
  grep -q lockstep_vdev /proc/modules || insmod "\$module" || exit 1
  /kmod_test /fsm-oracle.csv \$door || status=1
done
END
}

# A task that hangs is reported when it has for as long as this says, and looked for as often.
plant_fault() {
  module=$("$here/build_module.sh" "$version" "$here/faulty")
  cat <<END
echo 2 >/proc/sys/kernel/hung_task_timeout_secs
echo $fault >/sys/kernel/debug/faulty || status=1
[ $fault != hang ] || until dmesg | grep -q 'blocked for more'; do sleep 1; done
END
}

files=()
{
  echo '#!/bin/sh'
  echo "module=\$(tail -n 1 /modules/order)"
  echo status=0
  if [ -n "$fault" ]; then plant_fault; else run_tests; fi
  echo '/verdict || status=1'
  echo "exit \$status"
} >"$work/run"
chmod +x "$work/run"
"$here/mkinitrd.sh" "$work/initrd" "$version" "$module" "${files[@]}" "/verdict=$here/verdict" "/run-test=$work/run"
"$here/guest.sh" --timeout $((900 + seconds * 2)) --run /run-test "$version" "$work/initrd"
echo "# kernel log: clean"
