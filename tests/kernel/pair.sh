#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pair.sh VERSION[,VERSION] BUILD [IMAGE]: boots two emulated hosts, linked to each other (10.77.0.1, 10.77.0.2), with
# our module loaded and the programs of the build folder BUILD in /bin. Each offers a shell (tests/kernel/shell) and its
# agent's port 7001.
# Two versions: one each, a and b. Each then has in /lib, beside the module that it runs, that of the release to come
# (next_release.sh).
# With IMAGE the first is a Debian with systemd (systemd_guest_root.sh).
# Prints one line when both are up:  pair SHELL_A AGENT_A SHELL_B AGENT_B   (ports of 127.0.0.1)
# Then reads commands, one a line:   cut NAME | heal NAME (the cable), kill NAME (a power cut), boot b (after one), end
# (or end of input)
# and at the end checks all kernel logs. Where the kernel has ext4 each has a disk, /disk, that outlives a power cut.
# Exit status 0: both ended well, clean logs.
set -euo pipefail
# shellcheck source=guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"
[ $# -eq 2 ] || [ $# -eq 3 ] || die "usage: pair.sh VERSION BUILD [IMAGE]"
build=$(realpath "$2") image=${3:-}
declare -A version=([a]=${1%,*} [b]=${1#*,})
disks=

# make_initrd VERSION [WHAT...]
make_initrd() {
  local module sample more=("${@:2}")
  module=$("$here/build_module.sh" "$1" | tail -n1)
  if compgen -G "$("$here/fetch.sh" "$1" | sed -n 1p)/root/lib/modules/*/kernel/fs/ext4/ext4.ko*" >/dev/null; then
    more+=(+virtio_blk +crc32c_generic +ext4)
    disks=yes
  fi
  # Another driver that speaks migration v2, where the kernel brings it; loaded by the test that wants it.
  for sample in "$("$here/fetch.sh" "$1" | sed -n 1p)"/root/lib/modules/*/kernel/samples/vfio-mdev/mtty.ko; do
    [ ! -e "$sample" ] || more+=("/lib/mtty.ko=$sample")
  done
  "$here/mkinitrd.sh" "$guest_dir/initrd-$1" "$1" "$module" "/bin/host-shell=$here/shell" \
    "/bin/lockstep-agent=$build/agent/lockstep-agent" "/bin/lockstep-testvmm=$build/tests/vmm/lockstep-testvmm" \
    "/bin/vfio_poke=$build/tests/kernel/vfio_poke" "/bin/device_image=$build/tests/kernel/device_image" \
    "/bin/kmod_live=$build/tests/kernel/kmod_live" "${more[@]}"
}

if [ "${version[a]}" = "${version[b]}" ]; then
  make_initrd "${version[a]}"
else
  for host in a b; do
    next=$("$here/next_release.sh" "${version[$host]}")
    make_initrd "${version[$host]}" "/lib/lockstep_vdev-next.ko=$next"
  done
fi

# boot NAME [SHELL AGENT]: at these ports, when it is not for the first time
boot() {
  local host=$1 address=10.77.0.1/24 disk=() run=(--run /bin/host-shell)
  [ "$host" = a ] || address=10.77.0.2/24
  [ -z "$disks" ] || disk=(--disk "$guest_dir/disk-$host")
  if [ "$host" = a ] && [ -n "$image" ]; then
    disk=(--disk "$image,snapshot=on") run=(--append lockstep.root=/lib/systemd/systemd)
  fi
  guest_start "$host" "${version[$host]}" "$guest_dir/initrd-${version[$host]}" "${run[@]}" \
    --env "LOCKSTEP_HOST=$host" --link "$guest_dir/cable" "$address" \
    --forward "${2:-0}:7099" --forward "${3:-0}:7001" "${disk[@]}"
}

for host in a b; do
  if [ -n "$disks" ]; then
    truncate -s 32M "$guest_dir/disk-$host"
    mkfs.ext4 -q -F -O ^metadata_csum "$guest_dir/disk-$host"
  fi
  boot "$host"
done
declare -A killed=() shell_port=() agent_port=()
for host in a b; do
  guest_wait_line "$host" '^host ready' 300 >/dev/null
  shell_port[$host]=$(guest_port "$host" 7099)
  agent_port[$host]=$(guest_port "$host" 7001)
done
echo "pair ${shell_port[a]} ${agent_port[a]} ${shell_port[b]} ${agent_port[b]}"

status=0
while read -r command host; do
  case $command in
    cut) guest_qmp "$host" set_link '{"name":"link0","up":false}' >/dev/null ;;
    heal) guest_qmp "$host" set_link '{"name":"link0","up":true}' >/dev/null ;;
    kill)
      guest_kill "$host"
      killed[$host]=yes
      guest_check_log "$host" >&2 || status=1
      ;;
    boot)
      boot "$host" "${shell_port[$host]}" "${agent_port[$host]}"
      guest_wait_line "$host" '^host ready' 300 >/dev/null
      killed[$host]=
      ;;
    end) break ;;
    *) echo "pair: unknown command $command" >&2 ;;
  esac
  echo "done $command $host"
done

for host in a b; do
  [ -z "${killed[$host]:-}" ] || continue
  exec {shell}<>"/dev/tcp/127.0.0.1/${shell_port[$host]}"
  echo 'echo 0 >/run/end' >&"$shell"
  guest_wait_end "$host" 60 || status=1
  guest_check_log "$host" >&2 || status=1
done
[ "$status" -eq 0 ] && echo "pair clean"
exit "$status"
