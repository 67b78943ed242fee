#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kmod_test.sh [VERSION [ROUNDS [SECONDS [SEED]]]]: the driver against its contract, in a guest with that kernel (6.12), by
# every door that it has (group; cdev on 6.12-tailored); before that, random requests from many threads until ROUNDS (20000)
# or SECONDS (600) are over. The kernel log must stay clean, and nothing may leak where kmemleak watches.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

version=${1:-6.12} rounds=${2:-20000} seconds=${3:-600} seed=${4:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

module=$("$here/build_module.sh" "$version")
for program in kmod_hammer kmod_test; do
  gcc -std=gnu11 -O1 -g -Wall -Wextra -Werror -static -pthread -I"$repo" \
    "$here/$program"*.c "$here"/kmod_vm*.c "$repo"/kmod/model/*.c -o "$work/$program"
done
cat >"$work/run" <<END
#!/bin/sh
module=\$(tail -n 1 /modules/order)
status=0
doors=group
[ ! -e /dev/iommu ] || doors="group cdev"
for door in \$doors; do
  echo "# door: \$door"
  grep -q lockstep_vdev /proc/modules || insmod "\$module" || exit 1
  /kmod_hammer $seed $rounds $seconds \$door || status=1
  grep -q lockstep_vdev /proc/modules || insmod "\$module" || exit 1
  /kmod_test /fsm-oracle.csv \$door || status=1
done
if [ -e /sys/kernel/debug/kmemleak ]; then
  # kmemleak calls nothing a leak that is younger than five seconds, and wants two looks.
  echo scan >/sys/kernel/debug/kmemleak
  sleep 6
  echo scan >/sys/kernel/debug/kmemleak
  cat /sys/kernel/debug/kmemleak
  [ -z "\$(cat /sys/kernel/debug/kmemleak)" ] && echo "# kmemleak: nothing" || status=1
fi
exit \$status
END
chmod +x "$work/run"
"$here/mkinitrd.sh" "$work/initrd" "$version" "$module" "/kmod_test=$work/kmod_test" \
  "/kmod_hammer=$work/kmod_hammer" "/fsm-oracle.csv=$repo/tests/fsm-oracle.csv" "/run-test=$work/run"
"$here/guest.sh" --timeout $((600 + seconds * 2)) --run /run-test "$version" "$work/initrd"
