#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# systemd_guest_root.sh OUT BUILD: an ext4 image with a minimal Debian 12 whose init is systemd, and in it, as a package
# would install them, the daemons of the build folder BUILD with deploy/systemd's units, sysusers and tmpfiles; besides
# what tests need: the test VMM, a shell on port 7099 (systemd_guest_host). Root, for debootstrap; the tree without
# ours is cached.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 2 ] || die "usage: systemd_guest_root.sh OUT BUILD"
out=$1 build=$(realpath "$2")
base=$cache/systemd-bookworm
packages=(systemd systemd-sysv iproute2 libinih1 libjansson4 libnghttp2-14 libnuma1 libprotobuf-c1 libsqlite3-0 libuv1
  libxxhash0)

make_base() {
  [ "$(id -u)" -eq 0 ] || die "wants root, for debootstrap"
  command -v debootstrap >/dev/null || die "wants debootstrap; run deploy/setup.sh"
  rm -rf "$base.new"
  bootstrap_debian "$(IFS=,; echo "${packages[*]}")" "$base.new" >"$base.log" 2>&1 ||
    { tail -n 20 "$base.log" >&2; die "debootstrap failed"; }
  rm -rf "$base.new"/{var/cache/apt,var/lib/apt/lists,usr/share/{doc,locale,man,i18n},etc/resolv.conf}
  mv "$base.new" "$base"
}

mkdir -p "$cache"
(
  flock 9
  [ -d "$base" ] || make_base
) 9>"$base.lock"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp -a "$base/." "$root"
install -D -t "$root/usr/sbin" "$build/agent/lockstep-agent" "$build/coordinator/lockstepd"
install -D -t "$root/usr/bin" "$build/coordinator/ctl/lockstepctl"
install -D "$build/tests/vmm/lockstep-testvmm" "$root/bin/lockstep-testvmm"
install -D -m 644 -t "$root/usr/lib/systemd/system" "$repo"/deploy/systemd/*.service
install -D -m 644 "$repo/deploy/systemd/lockstep.sysusers" "$root/usr/lib/sysusers.d/lockstep.conf"
install -D -m 644 "$repo/deploy/systemd/lockstep.tmpfiles" "$root/usr/lib/tmpfiles.d/lockstep.conf"
install -D "$here/systemd_guest_host" "$root/usr/lib/lockstep-test/host"
install -D "$(command -v busybox)" "$root/usr/lib/lockstep-test/busybox"
cat >"$root/usr/lib/systemd/system/host.service" <<'END'
[Unit]
Description=the shell of an emulated host
DefaultDependencies=no
After=sysinit.target
[Service]
ExecStart=/usr/lib/lockstep-test/host
KillMode=process
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
END
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s /usr/lib/systemd/system/host.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in getty@tty1.service serial-getty@ttyS0.service systemd-networkd-wait-online.service; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -f "$out"
truncate -s 1G "$out"
mkfs.ext4 -q -F -O ^metadata_csum -d "$root" "$out"
