#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Emulated hosts under QEMU (TCG). Source it for the functions, or run it to boot one:
#   guest.sh [OPTION...] VERSION INITRD   console to stdout; ends with the status of what ran, or 120 when the kernel log
#                                         is not clean. Besides guest_start's options: --timeout SECONDS (600)
#
# guest_start NAME VERSION INITRD [OPTION...]    returns when QEMU runs, not when the guest has booted
#   --run PROGRAM          in the guest (lockstep.run; a shell script or program)
#   --env NAME=VALUE       for PROGRAM, no blanks
#   --share DIR            appears as /host
#   --link SOCKET ADDRESS  a cable to the other guest that names the same SOCKET; ADDRESS as 10.77.0.1/24. The second to be
#                          started may die and be started again; when the first dies, start both again
#   --forward [HERE:]PORT  the guest's PORT becomes reachable at 127.0.0.1, at port HERE or at one that guest_port tells
#   --disk FILE            becomes /dev/vda; what the guest had synced is in it after a power cut
#   --cpus N  --memory MIB (2, 768)   --append WORD (kernel command line)   --qemu ARGUMENT
# guest_port NAME PORT                 the port of 127.0.0.1 that leads to PORT in the guest
# guest_wait_line NAME REGEX SECONDS   prints the first console line that matches; fails when time or guest end first
# guest_wait_end NAME SECONDS          returns the status of PROGRAM; 124: time was up (the guest is killed), 125: died
# guest_check_log NAME                 fails, and prints what it found, unless the kernel log is clean
# guest_qmp NAME COMMAND [ARGUMENTS]   one QMP command; prints the answer. As set_link {"name":"link0","up":false}
# guest_kill NAME                      as a power cut
# guest_pid, guest_console, guest_kernel_log NAME
#
# Call them from the shell that sourced this file, or from its subshells once the guest is started. Logs and sockets
# live in $guest_dir (set it before sourcing to keep them). An EXIT trap ends the guests: a script with a trap of its
# own calls guest_cleanup in it.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if [ -z "${guest_dir:-}" ]; then
  guest_dir=$(mktemp -d)
  guest_dir_is_ours=yes
fi
declare -A guest_pids guest_controls guest_ends guest_listeners

guest_pid() { echo "${guest_pids[$1]}"; }
guest_console() { echo "$guest_dir/$1.console"; }
guest_kernel_log() { echo "$guest_dir/$1.kernel"; }

guest_start() {
  local name=$1 version=$2 initrd=$3 kernel
  shift 3
  kernel=$("$here/fetch.sh" "$version" | sed -n 1p)
  local cpus=2 memory=768 addresses='' words=() devices=() forwards='' nics=0 cable here_port
  while [ $# -gt 0 ]; do
    case $1 in
      --run) words+=("lockstep.run=$2") ;;
      --env | --append) words+=("$2") ;;
      --cpus) cpus=$2 ;;
      --memory) memory=$2 ;;
      --qemu) devices+=("$2") ;;
      --forward)
        case $2 in *:*) here_port=${2%:*} ;; *) here_port=0 ;; esac
        forwards+=",hostfwd=tcp:127.0.0.1:$here_port-:${2#*:}"
        ;;
      --disk) devices+=(-drive "file=$2,format=raw,if=virtio") ;;
      --share) devices+=(-virtfs "local,path=$2,mount_tag=host,security_model=none,multidevs=remap") ;;
      --link)
        _guest_cable "$nics" "$2" "$name"
        devices+=(-netdev "$cable" -device "$(_guest_nic "$nics" "$name")")
        addresses+=,$3
        nics=$((nics + 1))
        shift
        ;;
      *) die "guest_start: unknown option $1" ;;
    esac
    shift 2
  done
  if [ -n "$forwards" ]; then
    devices+=(-netdev "user,id=link$nics,restrict=on$forwards" -device "$(_guest_nic "$nics" "$name")")
    addresses+=,10.0.2.15/24
  fi
  # An emulated timer that a busy machine holds up is no broken one (a panic within the first 50 ms).
  words+=(no_timer_check console=ttyS0 loglevel=7 panic=-1 oops=panic "lockstep.addr=${addresses#,}")

  local files=$guest_dir/$name
  _guest_forget "$name"
  rm -f "$files".{kernel,console,qmp,qemu,qmp-in,alive}
  mkfifo "$files.qmp-in" "$files.alive"
  : >"$files.qmp"
  exec {guest_controls[$name]}<>"$files.qmp-in"
  setpriv --pdeathsig KILL qemu-system-x86_64 \
    -accel tcg,thread=multi -cpu max,la57=off -smp "$cpus" -m "$memory" -nodefaults -no-user-config -display none -no-reboot \
    -serial "file:$files.kernel" -serial "file:$files.console" -qmp stdio \
    -kernel "$kernel/vmlinuz" -initrd "$initrd" -append "${words[*]}" "${devices[@]}" \
    <"$files.qmp-in" >"$files.qmp" 2>"$files.qemu" 9>"$files.alive" &
  guest_pids[$name]=$!
  disown
  # QEMU alone holds the other end: it reads as ended when QEMU does.
  exec {guest_ends[$name]}<"$files.alive"
  rm "$files.qmp-in" "$files.alive"
  guest_qmp "$name" qmp_capabilities >/dev/null || die "guest $name does not start: $(cat "$files.qemu")"
}

# Whoever comes first listens. Names the answer in $cable.
_guest_cable() {
  local listener=${guest_listeners[$2]:-}
  if [ -n "$listener" ] && _guest_alive "$listener"; then
    cable="stream,id=link$1,server=off,addr.type=unix,addr.path=$2"
  else
    guest_listeners[$2]=$3
    cable="stream,id=link$1,server=on,addr.type=unix,addr.path=$2"
  fi
}

_guest_nic() {
  echo "virtio-net-pci,netdev=link$1,romfile=,mac=52:54:$(md5sum <<<"$2 $1" | sed 's/\(..\)\(..\)\(..\)\(..\).*/\1:\2:\3:\4/')"
}

_guest_forget() {
  [ -n "${guest_pids[$1]:-}" ] || return 0
  guest_kill "$1"
  exec {guest_controls[$1]}>&- {guest_ends[$1]}<&-
  unset "guest_pids[$1]"
}

# Answers carry the id of their command, so that they are told from events.
guest_qmp() {
  local name=$1 id=$RANDOM$RANDOM answer
  echo "{\"execute\":\"$2\",\"arguments\":${3:-{\}},\"id\":\"$id\"}" >&"${guest_controls[$name]}"
  answer=$(_guest_follow "$name" "$guest_dir/$name.qmp" "\"id\": \"$id\"" 60) || return
  echo "$answer"
  [[ $answer != *'"error":'* ]]
}

_guest_follow() {
  grep -m1 -E -- "$3" < <(timeout "$4" tail -n +1 -f -s 0.2 --pid="${guest_pids[$1]}" "$2" 2>/dev/null)
}

guest_port() {
  guest_qmp "$1" human-monitor-command '{"command-line":"info usernet"}' | sed 's/\\r\\n/\n/g' |
    awk -v port="$2" '/HOST_FORWARD/ && $6 == port { print $4; found = 1 } END { exit !found }' ||
    die "guest $1 has no forward to port $2"
}

guest_wait_line() {
  _guest_follow "$1" "$(guest_console "$1")" "$2" "$3" || {
    echo "guest $1: no line like \"$2\" within $3 s; its console and kernel log end:" >&2
    tail -n 60 "$(guest_console "$1")" "$(guest_kernel_log "$1")" >&2
    return 1
  }
}

guest_wait_end() {
  local name=$1 ended=0 status
  read -r -t "$2" -u "${guest_ends[$name]}" _ || ended=$?
  guest_kill "$name"
  status=$(sed -n 's/^lockstep\.exit=\([0-9]*\) tainted=.*/\1/p' "$(guest_console "$name")")
  if [ "$ended" -gt 128 ]; then
    echo "guest $name: did not end within $2 s" >&2
    return 124
  elif [ -z "$status" ]; then
    echo "guest $name: ended without a status; its kernel log ends:" >&2
    tail -n 30 "$(guest_kernel_log "$name")" "$guest_dir/$name.qemu" >&2
    return 125
  fi
  return "$status"
}

guest_kill() {
  _guest_alive "$1" || return 0
  kill -KILL "${guest_pids[$1]}"
  read -r -u "${guest_ends[$1]}" _ || true
}

# Asks the pipe, not the process id, which may belong to somebody else by now.
_guest_alive() {
  ! read -r -t 0 -u "${guest_ends[$1]}" _
}

_guest_trouble='WARNING:|BUG:|Oops|Call Trace|Kernel panic|refcount_t|general protection|KASAN|UBSAN|KCSAN|kmemleak: [0-9]+ new'
_guest_trouble+='|possible (circular|recursive|irq)|inconsistent lock|suspicious RCU|[lL]ock held|bad unlock balance|Bad page'
_guest_trouble+='|corruption|soft lockup|hard LOCKUP|blocked for more than|detected stall|cannot create duplicate|already present'
_guest_trouble+='|segfault at|traps:|Out of memory|Unknown symbol|unknown parameter'
# Modules of ours are out of tree (4096) and unsigned (8192); any other bit means that something happened.
_guest_taint_allowed=12288

guest_check_log() {
  local log tainted
  log=$(guest_kernel_log "$1")
  [ -s "$log" ] || { echo "guest $1: empty kernel log" >&2; return 1; }
  if grep -qE "$_guest_trouble" "$log"; then
    echo "guest $1: trouble in the kernel log:" >&2
    grep -nE -A 40 "$_guest_trouble" "$log" >&2
    return 1
  fi
  tainted=$(sed -n 's/^lockstep\.exit=[0-9]* tainted=\([0-9]*\).*/\1/p' "$(guest_console "$1")")
  if [ $((${tainted:-0} & ~_guest_taint_allowed)) -ne 0 ]; then
    echo "guest $1: the kernel is tainted: $tainted" >&2
    return 1
  fi
}

guest_cleanup() {
  local name
  for name in "${!guest_pids[@]}"; do
    guest_kill "$name"
  done
  [ -z "${guest_dir_is_ours:-}" ] || rm -rf "$guest_dir"
}
trap guest_cleanup EXIT

_guest_main() {
  local timeout=600 options=() positional=() status=0
  while [ $# -gt 0 ]; do
    case $1 in
      --timeout) timeout=$2; shift 2 ;;
      --link) options+=("$1" "$2" "$3"); shift 3 ;;
      --*) options+=("$1" "$2"); shift 2 ;;
      *) positional+=("$1"); shift ;;
    esac
  done
  [ ${#positional[@]} -eq 2 ] || die "usage: guest.sh [OPTION...] VERSION INITRD"
  guest_start guest "${positional[@]}" "${options[@]}"
  tail -n +1 -f -s 0.2 --pid="$(guest_pid guest)" "$(guest_console guest)" &
  guest_wait_end guest "$timeout" || status=$?
  wait $!
  guest_check_log guest || status=120
  return $status
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  _guest_main "$@"
fi
