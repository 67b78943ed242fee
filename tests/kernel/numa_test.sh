#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# numa_test.sh VERSION BUILD: an emulated host with two NUMA nodes, a parent device on each; numa_check in it says whether the
# agent of the build folder BUILD works where its devices are, and whether the driver's memory is there too.
set -euo pipefail
# shellcheck source=guest.sh
. "$(dirname "${BASH_SOURCE[0]}")/guest.sh"
[ $# -eq 2 ] || die "usage: numa_test.sh VERSION BUILD"
version=$1 build=$(realpath "$2")

module=$("$here/build_module.sh" "$version" | tail -n1)
initrd=$guest_dir/initrd
"$here/mkinitrd.sh" "$initrd" "$version" "$module" "/bin/numa_check=$here/numa_check" \
  "/bin/lockstep-agent=$build/agent/lockstep-agent" "/bin/vfio_poke=$build/tests/kernel/vfio_poke"
guest_start numa "$version" "$initrd" --run /bin/numa_check --cpus 2,sockets=2 --memory 768 \
  --append lockstep_vdev.parents=2 --append lockstep_vdev.nodes=0,1 \
  --qemu -object --qemu memory-backend-ram,id=m0,size=384M --qemu -object --qemu memory-backend-ram,id=m1,size=384M \
  --qemu -numa --qemu node,nodeid=0,cpus=0,memdev=m0 --qemu -numa --qemu node,nodeid=1,cpus=1,memdev=m1
status=0
guest_wait_end numa 180 || status=$?
grep '^numa: ' "$(guest_console numa)" || true
guest_check_log numa || status=1
if [ "$status" -eq 0 ]; then echo "1 passed, 0 failed"; else echo "0 passed, 1 failed"; fi
exit "$status"
