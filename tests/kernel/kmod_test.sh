#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kmod_test.sh [VERSION]: the driver against its contract, in a guest with that kernel (6.12); the kernel log must stay clean.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

version=${1:-6.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

module=$("$here/build_module.sh" "$version")
gcc -std=gnu11 -O1 -g -Wall -Wextra -Werror -static -pthread -I"$repo" \
  "$here/kmod_test.c" "$here/kmod_vm.c" -o "$work/kmod_test"
printf '#!/bin/sh\nexec /kmod_test /fsm-oracle.csv\n' >"$work/run"
chmod +x "$work/run"
"$here/mkinitrd.sh" "$work/initrd" "$version" "$module" \
  "/kmod_test=$work/kmod_test" "/fsm-oracle.csv=$repo/tests/fsm-oracle.csv" "/run-test=$work/run"
"$here/guest.sh" --timeout 300 --run /run-test "$version" "$work/initrd"
