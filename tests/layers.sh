#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Includes point downwards only: common <- proto <- agent, coordinator; ctl beside coordinator; agent and coordinator
# never include each other; kmod/model is included by the driver, the agent's sim and the tests alone. And each reason
# that can be met is in the runbook.
set -euo pipefail
cd "$(dirname "$0")/.."

failures=0 rules=0
# forbid FOLDER PATTERN: no source below FOLDER includes a path that matches.
forbid() {
  rules=$((rules + 1))
  local found
  found=$(grep -rnE --include='*.[ch]' "^[[:space:]]*#[[:space:]]*include[[:space:]]+\"($2)" "$1" || true)
  [ -n "$found" ] || return 0
  echo "layers: $1 must not include $2:"
  echo "$found"
  failures=$((failures + 1))
}

forbid common 'proto/|lockstep/|agent/|coordinator/|kmod/|tests/|\.\./'
forbid proto 'agent/|coordinator/|kmod/|tests/|\.\./'
forbid agent 'coordinator/|tests/|\.\./'
forbid coordinator 'agent/|kmod/|tests/|\.\./'
forbid coordinator/ctl 'coordinator/([^c]|c[^t]|ct[^l])'
forbid kmod 'common/|proto/|agent/|coordinator/|tests/'

# The model is for the driver, the simulated host and tests.
rules=$((rules + 1))
if found=$(grep -rnE --include='*.[ch]' 'include +"kmod/' agent | grep -v '^agent/sim/'); then
  echo "layers: only agent/sim may include kmod/model:"
  echo "$found"
  failures=$((failures + 1))
fi

# An agent that knows our driver would not drive any other.
rules=$((rules + 1))
if found=$(grep -rniE --include='*.[ch]' 'lockstep[_-](vdev|p2p|full|stopcopy)|0x1d55' agent | grep -v '^agent/sim/'); then
  echo "layers: the agent must not know our driver:"
  echo "$found"
  failures=$((failures + 1))
fi

# Whoever meets a reason at night finds it in the runbook.
undocumented() {
  local rows
  rows=$(grep '^|')
  sed -n '/define LS_REASONS/,/^$/s/^.*X(\([A-Z0-9_]*\)).*/\1/p' common/error.h | grep -vx 'NONE\|name' |
    while read -r reason; do grep -q "\`$reason\`" <<<"$rows" || echo "  $reason"; done
}
rules=$((rules + 1))
if found=$(undocumented < docs/runbook.md) && [ -n "$found" ]; then
  echo "layers: reasons of common/error.h without a row in docs/runbook.md:"
  echo "$found"
  failures=$((failures + 1))
fi
# The check can fail: a page without that row is caught.
rules=$((rules + 1))
if [ "$(sed 's/`GUEST_RESET`//' docs/runbook.md | undocumented)" != "  GUEST_RESET" ]; then
  echo "layers: a reason missing in the runbook would not be noticed"
  failures=$((failures + 1))
fi

echo "$((rules - failures)) passed, $failures failed"
[ "$failures" -eq 0 ]
