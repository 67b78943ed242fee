#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kmod_test.sh [VERSION [ROUNDS [SEED]]]: the driver against its contract, in a guest with that kernel (6.12), then ROUNDS
# random requests from many threads (20000); the kernel log must stay clean.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

version=${1:-6.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

module=$("$here/build_module.sh" "$version")
for program in kmod_hammer kmod_test; do
  gcc -std=gnu11 -O1 -g -Wall -Wextra -Werror -static -pthread -I"$repo" \
    "$here/$program"*.c "$here/kmod_vm.c" -o "$work/$program"
done
cat >"$work/run" <<END
#!/bin/sh
/kmod_hammer ${3:-1} ${2:-20000}
hammered=\$?
/kmod_test /fsm-oracle.csv && exit \$hammered
END
chmod +x "$work/run"
"$here/mkinitrd.sh" "$work/initrd" "$version" "$module" "/kmod_test=$work/kmod_test" \
  "/kmod_hammer=$work/kmod_hammer" "/fsm-oracle.csv=$repo/tests/fsm-oracle.csv" "/run-test=$work/run"
"$here/guest.sh" --timeout 600 --run /run-test "$version" "$work/initrd"
