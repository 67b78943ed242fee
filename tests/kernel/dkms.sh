#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# dkms.sh [DIR]: kmod/ by DKMS in a clean Debian 12, as an administrator has it: a minimal chroot made with debootstrap,
# the system's own apt sources and keys, dkms and kernel headers. Adds, builds, installs, signs with a key of its own,
# upgrades from an older version, removes. Root. DIR: where the chroot goes (a folder that is removed at the end;
# default under /tmp). Nothing is loaded: the chroot's kernel is not the one that runs.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ "$(id -u)" -eq 0 ] || die "wants root, for chroot"
command -v debootstrap >/dev/null || die "wants debootstrap; run deploy/setup.sh"
root=${1:-$(mktemp -d)}/root
name=lockstep-vdev
version=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' "$repo/kmod/dkms.conf")
older=0.0.9
log=$root.log
passed=0 failed=0

mkdir -p "$root"
finish() {
  local m
  for m in dev sys proc; do
    ! mountpoint -q "$root/$m" || umount -R "$root/$m" || umount -Rl "$root/$m"
  done
  # Never across what is still mounted.
  rm -rf --one-file-system "$root" "$log"
  rmdir --ignore-fail-on-non-empty "$(dirname "$root")" 2>/dev/null || true
}
trap finish EXIT

# ok WORDS COMMAND...: one check; what it printed is shown when it fails.
ok() {
  local what=$1
  shift
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok - $what"
  else
    failed=$((failed + 1))
    echo "not ok - $what"
    sed 's/^/#   /' "$log" | tail -n 30
  fi
}
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
fails() { ! "$@"; }
says() { local want=$1; shift; "$@" 2>&1 | tee /dev/stderr | grep -Eq -- "$want"; }
says_not() { ! says "$@"; }

make_root() {
  bootstrap_debian ca-certificates "$root"
  # As this machine reaches the archive: sources, keys, and how apt gets there.
  rm -f "$root"/etc/apt/sources.list
  cp -a /etc/apt/sources.list* /etc/apt/apt.conf.d /etc/apt/auth.conf.d /etc/apt/trusted.gpg.d /etc/apt/keyrings "$root/etc/apt/" \
    2>/dev/null || true
  [ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/"
  mkdir -p "$root/usr/local/share"
  cp -a /usr/local/share/ca-certificates "$root/usr/local/share/" 2>/dev/null || true
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys" && mount --make-rslave "$root/sys"
  mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"
  inside update-ca-certificates
  inside apt-get update
  inside apt-get install -y --no-install-recommends dkms linux-headers-amd64 openssl
}

echo "# a minimal Debian 12 in $root"
make_root >"$root.make" 2>&1 || { tail -n 30 "$root.make" >&2; die "cannot make the chroot"; }
rm -f "$root.make"
# Headers may be of several kernels; the newest is the one that the metapackage brought.
kernel=$(find "$root/lib/modules" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V | tail -n1)
echo "# dkms $(inside dkms --version | tr -dc 0-9.), Linux $kernel, lockstep-vdev $version"
mkdir -p "$root/root/kmod" "$root/root/older"
cp -R "$repo/kmod/." "$root/root/kmod"
cp -R "$repo/kmod/." "$root/root/older"
# The older release: the same sources under an older number.
sed -i "s/^PACKAGE_VERSION=.*/PACKAGE_VERSION=\"$older\"/" "$root/root/older/dkms.conf"
sed -i "s/MODULE_VERSION(\"[^\"]*\")/MODULE_VERSION(\"$older\")/" "$root"/root/older/*.c
module=/lib/modules/$kernel/updates/dkms/lockstep_vdev.ko
modinfo_says() { says "$2" inside modinfo -F "$1" "$module"; }
# What a kernel with the certificate does: the signature against the module without it.
signature_holds() {
  local ko=$root$module cert=$2 work
  work=$(mktemp -d)
  [ -z "${3:-}" ] || { cp "$ko" "$work/ko"; printf 'x' | dd of="$work/ko" bs=1 seek=2000 conv=notrunc status=none; ko=$work/ko; }
  python3 - "$ko" "$work" <<'END' && openssl cms -verify -binary -inform DER -in "$work/sig" -content "$work/body" \
    -certfile "$cert" -nointern -noverify -out /dev/null
import struct
import sys
data = open(sys.argv[1], "rb").read()
magic = b"~Module signature appended~\n"
assert data.endswith(magic), "no signature"
length, = struct.unpack(">I", data[-len(magic) - 4:-len(magic)])
end = len(data) - len(magic) - 12
open(sys.argv[2] + "/sig", "wb").write(data[end - length:end])
open(sys.argv[2] + "/body", "wb").write(data[:end - length])
END
  local status=$?
  rm -rf "$work"
  return $status
}

echo "# the older release"
ok "dkms add, from a folder" inside dkms add /root/older
ok "dkms build" inside dkms build "$name/$older" -k "$kernel"
ok "dkms install" inside dkms install "$name/$older" -k "$kernel"
ok "it is installed" says "^$name/$older, $kernel, x86_64: installed" inside dkms status "$name/$older"
ok "modinfo finds it where dkms put it" modinfo_says version "^$older\$"
ok "modprobe would load it, and says what it needs" says '(mdev|vfio).*(mdev|vfio)' inside modinfo -k "$kernel" -F depends lockstep_vdev

echo "# the upgrade"
ok "the new one is added beside it" inside dkms add /root/kmod
ok "the older one is still the one that modprobe finds" modinfo_says version "^$older\$"
ok "dkms install builds it and takes the older one's place" inside dkms install "$name/$version" -k "$kernel"
ok "modprobe finds the new one" modinfo_says version "^$version\$"
ok "the older one is built and no longer installed" says "^$name/$older, $kernel, x86_64: built" inside dkms status "$name/$older"
ok "for this kernel" modinfo_says vermagic "^$kernel "
ok "the licence that Linux wants" modinfo_says license '^GPL$'
ok "the older release can be removed" inside dkms remove "$name/$older" --all
ok "and the new one stays" modinfo_says version "^$version\$"

echo "# signatures"
ok "dkms signed it with the key that it made at its first build" modinfo_says signer 'DKMS module signing key'
mkdir -p "$root/root/keys"
inside openssl req -new -x509 -newkey rsa:2048 -keyout /root/keys/lockstep.priv -outform DER -out /root/keys/lockstep.der -nodes \
  -days 36500 -subj "/CN=lockstep test key/" -addext extendedKeyUsage=codeSigning >/dev/null 2>&1
openssl x509 -inform DER -in "$root/root/keys/lockstep.der" -out "$root/root/keys/lockstep.pem"
mkdir -p "$root/etc/dkms/framework.conf.d"
cat >"$root/etc/dkms/framework.conf.d/lockstep.conf" <<'END'
mok_signing_key=/root/keys/lockstep.priv
mok_certificate=/root/keys/lockstep.der
END
ok "removed, with all that it built" inside dkms remove "$name/$version" --all
ok "modprobe finds none" fails inside modinfo -k "$kernel" lockstep_vdev
ok "added and installed again with a key of one's own" inside sh -c "dkms add /root/kmod; dkms install $name/$version -k $kernel"
ok "it is signed with that key" modinfo_says signer '^lockstep test key$'
ok "the signature holds" signature_holds "" "$root/root/keys/lockstep.pem"
ok "control: not for a module with one byte bent" fails signature_holds "" "$root/root/keys/lockstep.pem" bent
ok "control: nor with dkms's own certificate" fails signature_holds "" <(openssl x509 -inform DER -in "$root/var/lib/dkms/mok.pub")
# The same by hand, as for a module that was built without DKMS.
ok "sign-file, by hand" inside sh -c "
  make -C /root/kmod KDIR=/lib/modules/$kernel/build >/dev/null 2>&1 && cd /root/kmod &&
  /lib/modules/$kernel/build/scripts/sign-file sha256 /root/keys/lockstep.priv /root/keys/lockstep.der lockstep_vdev.ko &&
  modinfo -F signer lockstep_vdev.ko | grep -x 'lockstep test key'"

echo "# and nothing is left"
ok "removed" inside dkms remove "$name/$version" --all
ok "no trace in the modules' tree" fails inside sh -c "find /lib/modules/$kernel -name 'lockstep*' | grep ."
ok "nor in dkms" says_not "$name" inside dkms status
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
