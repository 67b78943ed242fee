#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [SECONDS [SEED]]: libFuzzer against the image reader (kmod/model), with sanitizers, from the corpus beside this
# file (20 s, seed 1). A finding fails, and is kept in the build folder that is printed.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v clang >/dev/null || { echo "run.sh: clang is missing" >&2; exit 1; }
work=$(mktemp -d)
clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. \
  tests/fuzz/fuzz_lsm_load.c kmod/model/*.c -o "$work/fuzz_lsm_load"
mkdir "$work/new" "$work/findings"
# The first two bytes of an input are not the image: how it is fed.
for image in tests/fuzz/corpus/*; do
  { printf '\000\100'; cat "$image"; } >"$work/new/${image##*/}"
done
"$work/fuzz_lsm_load" -seed="${2:-1}" -max_total_time="${1:-20}" -max_len=65536 -rss_limit_mb=1024 \
  -artifact_prefix="$work/findings/" -print_final_stats=1 "$work/new" 2>"$work/log" || {
  tail -n 40 "$work/log"
  echo "findings: $work/findings"
  exit 1
}
grep -E 'number_of_executed_units|new_units_added' "$work/log"
rm -rf "$work"
echo "1 passed, 0 failed"
