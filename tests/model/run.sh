#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Verifies docs/decision.md's rules with spin, then shows that each of them is needed: variants with one taken out
# must fail. One line per run; ends with "N passed, N failed". LOCKSTEP_TEST_MODE=full adds larger models.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Which word may follow which: the table of agent/word.c is the only place where that is written.
words() {
  awk '
    /words\[LS_WORD_COUNT\] = \{/ { in_table = 1; next }
    in_table && /^};/ { exit }
    in_table {
      if (match($0, /\[LS_WORD_[A-Z]+\]/)) from = substr($0, RSTART + 9, RLENGTH - 10)
      while (match($0, /1u << LS_WORD_[A-Z]+/)) {
        print from, substr($0, RSTART + 14, RLENGTH - 14)
        $0 = substr($0, RSTART + RLENGTH)
      }
    }' "$here/../../agent/word.c"
}
words >"$work/words"
{
  printf '#define MAY_FOLLOW(from, to) (false'
  while read -r from to; do printf ' || (from == %s && to == %s)' "$from" "$to"; done <"$work/words"
  echo ')'
  echo '#define EACH_STEP(from, to) \'
  while read -r from to; do printf '\tassert(from != %s || to != %s); \\\n' "$from" "$to"; done <"$work/words"
  echo '	skip'
} >"$work/words.pml"
cp "$here"/*.pml "$work"

# verify NAME WANT SPIN-OPTIONS...: WANT is `holds`, or a pattern that the broken claim must match. Two at a time.
verify() {
  runs=$((runs + 1))
  while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
  verify_one "$@" >"$work/line.$(printf %03d $runs)" &
}

verify_one() {
  local name=$1 want=$2 dir begin end ok=BAD result states
  shift 2
  begin=$(date +%s%N)
  dir=$(mktemp -d "$work/run.XXXXXX")
  cp "$work"/*.pml "$dir"
  [ -z "${reached:-}" ] || echo "#define REACHED ($reached)" >>"$dir/words.pml"
  local how=(-O1 -DSAFETY -DCOLLAPSE) args=(-E -m1000000)
  if [[ "$*" == *-DCALMS* ]]; then
    how=(-O1 -DNFAIR=8 -DCOLLAPSE) args=(-a -f -m1000000)
  elif [[ "$*" == *-DTAKEN* ]]; then
    how=(-O0 -DSAFETY -DCOLLAPSE) args=(-E -m1000000 -c0)
  elif [ "$want" != holds ] && [[ "$*" != *-DMIGRATIONS* ]]; then
    how=(-O0 -DSAFETY -DCOLLAPSE -DBFS) # the shortest counterexample
  fi
  (
    cd "$dir" && spin -a "$@" decision.pml && gcc -w "${how[@]}" -DMEMLIM=1800 -o pan pan.c && ./pan "${args[@]}"
  ) >"$dir/out" 2>&1
  end=$(date +%s%N)
  states=$(awk '/states, stored/ { print $1; exit }' "$dir/out")
  if [[ "$*" == *-DTAKEN* ]]; then
    local wanted seen
    wanted=$(wc -l <"$work/words")
    seen=$(grep -oE 'assertion violated .*' "$dir/out" | sed -nE 's/.*!=([0-9]+)\)\|\|\(([0-9]+)!=.*/\1 \2/p' | sort -u | wc -l)
    result="$seen of the $wanted steps of agent/word.c are taken"
    [ "$seen" -eq "$wanted" ] && [ "$wanted" -gt 0 ] && ok=ok
  else
    result=$(grep -m 1 -oE '(assertion violated|acceptance cycle|out of memory|max search depth too small|Error:).*' "$dir/out")
    if [ "$want" = holds ]; then
      grep -q 'errors: 0' "$dir/out" && [ -z "$result" ] && ! grep -q 'Search not completed' "$dir/out" && ok=ok
      result=${result:-holds}
    else
      [[ $result =~ $want ]] && ok=ok
      result=${result:-no counterexample}
    fi
  fi
  printf '%-4s %-40s %8s states %3d.%d s  %s\n' $ok "$name" "${states:-?}" \
    $(((end - begin) / 1000000000)) $(((end - begin) / 100000000 % 10)) "$(by_name "$result")"
  [ $ok = ok ] || tail -n 5 "$dir/out" | sed 's/^/     /'
  rm -rf "$dir"
}

# spin numbers the names of an mtype from the last to the first, those of the later one after those of the earlier.
by_name() {
  local names=(LOST STARTED ABORTED COMMITTED UNDECIDED RELEASED RETURNED RETURNING CONSENTED ACTIVE NONE
    GONE WAITS STANDS RUNS STALE WRONG RIGHT EMPTY) text=$1 i
  for i in "${!names[@]}"; do
    text=$(sed -E "s/(_(word|disk|vm|image)\[[^]]*\]|s_vm)([!=]=)$((i + 1))\)/\1\3${names[i]})/g" <<<"$text")
  done
  echo "$text"
}

runs=0
. "$here/runs.sh"
wait
cat "$work"/line.*
passed=$(cat "$work"/line.* | grep -c '^ok ')
echo "$passed passed, $((runs - passed)) failed"
[ "$passed" -eq $runs ]
