#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything and runs the tests. Ends with one line: N passed, N failed.
#   --quick   build, unit tests, small simulation: under two minutes
#   (none)    what CI runs: all but the long repetitions
#   --full    everything
#   --only RE suites whose name matches
# Each suite's output goes to build/logs/SUITE.log; of a failed one, what failed and its end are shown. tests/README.md
# lists the suites.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
repo=$PWD

mode=ci only=.
while [ $# -gt 0 ]; do
  case $1 in
    --quick) mode=quick ;;
    --full) mode=full ;;
    --only) only=${2:?--only wants a pattern}; shift ;;
    *) sed -n '3,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
export LOCKSTEP_TEST_MODE=$mode

logs=$repo/build/logs
mkdir -p "$logs"
passed=0 failed=0

# Adds up what cmocka, pytest and "N passed, N failed" lines say; a run that failed without counting a failure is one.
count() {
  awk -v status="$2" '
    /^\[  PASSED  \] [0-9]+ test/ { p += $4 }
    /^\[  FAILED  \] .*: [0-9]+ test.*listed below/ { sub(/^.*: /, ""); f += $1 }
    /^(=+ )?[0-9]+ (passed|failed|error).* in [0-9.]+s/ || /^[0-9]+ passed, [0-9]+ failed$/ {
      for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) p += $(i - 1)
        if ($i ~ /^(failed|errors?)/) f += $(i - 1)
      }
    }
    END {
      if (status != 0 && f == 0) f = 1
      if (status == 0 && p + f == 0) p = 1
      print p + 0, f + 0
    }' "$1"
}

# What failed, by name (cmocka, pytest, scripts, compilers, sanitizers), then how the log ends.
explain() {
  echo "$1:"
  grep -nE '^\[  (FAILED|ERROR)|^(FAILED|ERROR) |^not ok|: (fatal )?error: |(Address|Thread|Leak|UndefinedBehavior)Sanitizer|^# .*: exit ' \
    "$1" | head -n 40
  echo '...'
  tail -n 60 "$1"
}

# suite NAME COMMAND...
suite() {
  local name=$1 begin=$SECONDS status=0 p f
  shift
  [[ $name =~ $only ]] || return 0
  printf '%-24s' "$name"
  "$@" >"$logs/$name.log" 2>&1 </dev/null || status=$?
  read -r p f < <(count "$logs/$name.log" "$status")
  passed=$((passed + p)) failed=$((failed + f))
  printf '%5d passed %4d failed %5d s\n' "$p" "$f" $((SECONDS - begin))
  if [ "$status" -ne 0 ] || [ "$f" -ne 0 ]; then
    explain "$logs/$name.log" | sed 's/^/    /'
    return 1
  fi
}

# build DIR [CMAKE OPTION...]
build() {
  local dir=$1
  shift
  cmake -S . -B "$dir" -G Ninja "$@" >"$logs/cmake.log" 2>&1 || { cat "$logs/cmake.log"; return 1; }
  ninja --quiet -C "$dir"
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
  exit
}

# unit DIR [SKIP]: every test program of a build, one after the other, but those whose name matches SKIP.
unit() {
  local status=0 test
  for test in "$1"/tests/{unit,integration}/test_*; do
    [ -f "$test" ] && [ -x "$test" ] && [[ ! ${test##*/} =~ ${2:-^$} ]] || continue
    echo "# $test"
    "$test" || { status=1; echo "# $test: exit $?"; }
  done
  return $status
}

integration() {
  local dir=$1
  shift
  LOCKSTEP_BUILD=$dir /usr/bin/python3 -m pytest -q -p no:cacheprovider -W ignore::DeprecationWarning "$@"
}

# The deterministic simulation. With enough seeds each kind of fault must have come up, and a false fence must have been
# told as CONFLICT, at least so often.
simulation() {
  local seeds=20000 least=100
  case $mode in
    quick) seeds=1000 least=0 ;;
    full) seeds=1000000 ;;
  esac
  "$1/tests/sim/lockstep-sim" --seeds "$seeds" --least "$least" --jobs 2
}

# Each safety taken out on purpose, in the production code of the test build, must be caught.
simulation_controls() {
  local passed=0 failed=0 control
  for control in rule-{1,2,3,4,5,6,7-terms,7-busy,8,9,10} skip-quiesce-barrier bend-image stop-at-once; do
    if "$1/tests/sim/lockstep-sim" --seeds 5000 --jobs 2 --control "$control"; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
  done
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}

./deploy/setup.sh || exit 1

suite layers tests/layers.sh
suite build build "$repo/build" || finish
suite unit unit "$repo/build"
suite simulation simulation "$repo/build"
[ $mode != quick ] || finish
suite model tests/model/run.sh

suite build-controls build "$repo/build-controls" -DLOCKSTEP_CONTROLS=ON || finish
suite simulation-controls simulation_controls "$repo/build-controls"
suite integration integration "$repo/build-controls" tests/integration
# Under sanitizers CI runs what crosses every thread and process once; --full runs all.
sanitized=(tests/integration)
[ $mode = full ] || sanitized=(tests/integration/test_{move,move_failures,agent_pair,agent_restart,rpc_interop}.py)
for kind in address,undefined thread; do
  dir=$repo/build-${kind%%,*}
  suite "build-${kind%%,*}" build "$dir" -DLOCKSTEP_CONTROLS=ON -DLOCKSTEP_SANITIZE=$kind || continue
  # What has one thread and walks all faults has nothing to tell the thread sanitizer, and takes minutes there.
  [ $kind = thread ] && skip='^test_(role|sequencer|plan|schedule|schedule_props|fsm|frame|lsm|rpc_nomem)$' || skip=
  suite "unit-${kind%%,*}" unit "$dir" "$skip"
  suite "integration-${kind%%,*}" integration "$dir" "${sanitized[@]}"
done
fuzz_seconds=20
[ $mode != full ] || fuzz_seconds=600
suite fuzz-image tests/fuzz/run.sh $fuzz_seconds
suite kernel tests/kernel/run.sh "$repo/build-controls"
finish
