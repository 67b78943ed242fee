#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# selftest.sh [VERSION]: do the emulated hosts themselves work? Two guests talk to each other over their cable and to
# this machine through their forwarded ports; status, share, crash and dirty kernel log are seen for what they are.
set -euo pipefail
# shellcheck source=guest.sh
. "$(dirname "$0")/guest.sh"

version=${1:-6.12}
work=$guest_dir
started=$EPOCHREALTIME

say() {
  awk -v since="$started" -v now="$EPOCHREALTIME" -v text="$*" 'BEGIN { printf "%6.1f s  %s\n", now - since, text }'
}

expect() {
  local what=$1 wanted=$2 got=$3
  [ "$got" = "$wanted" ] || die "$what: wanted \"$wanted\", got \"$got\""
  say "$what: $got"
}

status_of() {
  local status=0
  "$@" 2>"$work/said" || status=$?
  echo "$status"
}

make_tree() {
  mkdir -p "$work/tree/test" "$work/share"
  cat >"$work/tree/test/pair" <<'GUEST'
#!/bin/sh
# Sends the peer a message, answers whoever connects, ends when peer and host have both been here.
mkfifo /tmp/heard
exec 3<>/tmp/heard
nc -ll -p 9000 -e /test/answer peer &
nc -ll -p 7000 -e /test/answer host &
until [ "$(cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ')" = 2 ]; do :; done
echo "listening"
until ping -c 1 -W 1 "$PEER" >/dev/null; do :; done
until echo "hello from $LOCKSTEP_HOST" | nc -w 5 "$PEER" 9000 | grep "^$PEER_NAME heard"; do :; done
seen=
until [ "$seen" = "host peer " ]; do
  read -r who message <&3
  echo "from $who: $message"
  seen=$(echo "$seen$who" | tr ' ' '\n' | sort -u | tr '\n' ' ')
done
GUEST
  cat >"$work/tree/test/answer" <<'GUEST'
#!/bin/sh
read -r message
echo "$1 $message" >/tmp/heard
echo "$LOCKSTEP_HOST heard: $message"
GUEST
  cat >"$work/tree/test/share" <<'GUEST'
#!/bin/sh
# A program with shared libraries; a file from the host, and one back.
/test/env true || exit 1
read -r word </host/in && echo "$word back" >/host/out
exit 3
GUEST
  printf '#!/bin/sh\necho "<4>WARNING: CPU: 0 PID: 1 at made/up.c:1" >/dev/kmsg\n' >"$work/tree/test/warn"
  printf '#!/bin/sh\necho c >/proc/sysrq-trigger\n' >"$work/tree/test/crash"
  printf '#!/bin/sh\necho "waiting for ever"\nexec tail -f /dev/null\n' >"$work/tree/test/hang"
  chmod +x "$work"/tree/test/*
  echo there >"$work/share/in"
}

start_host() {
  local name=$1 address=$2 peer=$3 peer_name=$4
  guest_start "$name" "$version" "$work/initrd" --run /test/pair --link "$work/cable" "$address/24" --forward 7000 \
    --env "LOCKSTEP_HOST=$name" --env "PEER=$peer" --env "PEER_NAME=$peer_name"
}

pair() {
  local name
  start_host left 10.77.0.1 10.77.0.2 right
  start_host right 10.77.0.2 10.77.0.1 left
  guest_wait_line right '^listening' 120 >/dev/null
  guest_kill right
  start_host right 10.77.0.2 10.77.0.1 left
  say "one has lost power and starts again"
  for name in left right; do
    guest_wait_line "$name" '^listening' 120 >/dev/null
    expect "answer of $name" "$name heard: hello from here" \
      "$(echo "hello from here" | busybox nc 127.0.0.1 "$(guest_port "$name" 7000)")"
  done
  for name in left right; do
    expect "status of $name" 0 "$(status_of guest_wait_end "$name" 120)"
    guest_check_log "$name"
  done
  say "kernel logs clean"
}

single() {
  guest_start share "$version" "$work/initrd" --run /test/share --share "$work/share"
  guest_start warn "$version" "$work/initrd" --run /test/warn
  expect "status passes through" 3 "$(status_of guest_wait_end share 120)"
  expect "file through the share" "there back" "$(cat "$work/share/out")"
  expect "status of a guest that warns" 0 "$(status_of guest_wait_end warn 120)"
  expect "its log is found out" 1 "$(status_of guest_check_log warn)"
  guest_start crash "$version" "$work/initrd" --run /test/crash
  guest_start hang "$version" "$work/initrd" --run /test/hang
  expect "a crash is no status" 125 "$(status_of guest_wait_end crash 120)"
  expect "its log is found out" 1 "$(status_of guest_check_log crash)"
  guest_wait_line hang '^waiting for ever' 120 >/dev/null
  expect "a hang is cut short" 124 "$(status_of guest_wait_end hang 1)"
}

make_tree
"$here/mkinitrd.sh" "$work/initrd" "$version" "$work/tree" /test/env="$(command -v env)"
say "initramfs made"
pair
single
say "emulated hosts work ($version)"
