#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# secureboot_test.sh [VERSION]: the driver on a host with Secure Boot (OVMF, Debian's signed kernel): loaded when it is
# signed with a key of the machine's owner (MOK) or of the firmware (db), refused when it is unsigned or signed by a
# stranger. First a boot in which the firmware learns its keys; nothing is enforced there, and the unsigned module
# loads.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=apt.sh
. "$here/apt.sh"

version=${1:-6.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

lock_cache ovmf
if [ ! -e "$cache/ovmf/usr/share/OVMF/OVMF_CODE_4M.secboot.fd" ]; then
  apt_home=$cache/apt-ovmf
  apt_begin bookworm
  apt_download ovmf
  rm -rf "$cache/ovmf"
  dpkg -x "$apt_home"/debs/ovmf_*.deb "$cache/ovmf"
  rm -rf "$apt_home"
fi
firmware=$cache/ovmf/usr/share/OVMF
kernel=$("$here/fetch.sh" "$version" | sed -n 1p)
module=$("$here/build_module.sh" "$version")

for key in owner mok stranger; do
  openssl req -new -x509 -newkey rsa:2048 -nodes -days 36500 -subj "/CN=lockstep test: $key/" -addext extendedKeyUsage=codeSigning \
    -keyout "$work/$key.priv" -out "$work/$key.pem" 2>/dev/null
  openssl x509 -in "$work/$key.pem" -outform DER -out "$work/$key.der"
  mkdir -p "$work/root/signed-$key" "$work/root/unsigned" "$work/root/vars-to-be"
  "$kernel/headers/scripts/sign-file" sha256 "$work/$key.priv" "$work/$key.der" "$module" "$work/root/signed-$key/lockstep_vdev.ko"
done
cp "$module" "$work/root/unsigned"
/usr/bin/python3 "$here/efi_vars.py" "$kernel/vmlinuz" "$work/owner.priv" "$work/owner.pem" "$work/mok.der" "$work/root/vars-to-be"

cat >"$work/root/lib.sh" <<'END'
passed=0 failed=0
ok() {
  what=$1
  shift
  if "$@" >/tmp/said 2>&1; then passed=$((passed + 1)); echo "ok - $what"; else failed=$((failed + 1)); echo "not ok - $what"; cat /tmp/said; fi
}
loads() { insmod "/$1/lockstep_vdev.ko" && rmmod lockstep_vdev; }
refused() { ! insmod "/$1/lockstep_vdev.ko" 2>/tmp/why && grep -q 'Key was rejected by service' /tmp/why; }
device=00000000-0000-4000-8000-000000000001
create() { echo $device >/sys/class/mdev_bus/lockstep-pf0/mdev_supported_types/lockstep-full/create; }
test_switch() { cat /sys/kernel/debug/lockstep_vdev/$device/quirks; }
no_test_switch() { ! test_switch 2>/tmp/why && grep -q 'Operation not permitted' /tmp/why; }
variable() { [ "$(od -An -tu1 /vars/"$1"-* | tr -s ' ')" = " 6 0 0 0 $2" ]; }
mkdir -p /vars && mount -t efivarfs efivarfs /vars || exit 1
mount -t securityfs security /sys/kernel/security
END
cat >"$work/root/enrol" <<'END'
#!/bin/sh
. /lib.sh
ok "the firmware is in setup mode" variable SetupMode 1
ok "control: nothing is enforced, the unsigned module loads" loads unsigned
insmod /unsigned/lockstep_vdev.ko
ok "control: a device is made" create
ok "control: debugfs is open" test_switch
rmmod lockstep_vdev
for name in MokListRT db KEK PK; do
  ok "the firmware takes $name" dd if="$(echo /vars-to-be/$name-*)" of="/vars/$(basename /vars-to-be/$name-*)" bs=64k
done
ok "and leaves setup mode" variable SetupMode 0
umount /vars
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
END
cat >"$work/root/enforce" <<'END'
#!/bin/sh
. /lib.sh
ok "Secure Boot is on" variable SecureBoot 1
ok "and Linux locked down" grep -q '\[integrity\]' /sys/kernel/security/lockdown
ok "the unsigned module is refused" refused unsigned
ok "the log says why" sh -c 'dmesg | grep -q "Loading of unsigned module is rejected"'
ok "so is a stranger's" refused signed-stranger
ok "and the log says that" sh -c 'dmesg | grep -q "Loading of module with unavailable key is rejected"'
ok "the owner's key (MOK) is good" loads signed-mok
ok "the firmware's (db) too" loads signed-owner
insmod /signed-mok/lockstep_vdev.ko
ok "a device is made" create
ok "and has its knobs" sh -c "echo 1 >/sys/bus/mdev/devices/$device/lockstep/fabric"
ok "but for those for tests: debugfs is closed" no_test_switch
rmmod lockstep_vdev
umount /vars
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
END
chmod +x "$work/root/enrol" "$work/root/enforce"
efivarfs=$(find "$kernel/root/lib/modules/" -name 'efivarfs.ko*' | head -n1)
case $efivarfs in
  *.xz) xz -dc "$efivarfs" >"$work/efivarfs.ko" ;;
  *) cp "$efivarfs" "$work/efivarfs.ko" ;;
esac
"$here/mkinitrd.sh" "$work/initrd" "$version" "$work/efivarfs.ko" "$work/root"

cp "$firmware/OVMF_VARS_4M.fd" "$work/vars.fd"
boot() {
  "$here/guest.sh" --timeout 600 --run "$1" --qemu -machine --qemu q35,smm=on \
    --qemu -global --qemu driver=cfi.pflash01,property=secure,value=on \
    --qemu -drive --qemu "if=pflash,format=raw,unit=0,readonly=on,file=$firmware/OVMF_CODE_4M.secboot.fd" \
    --qemu -drive --qemu "if=pflash,format=raw,unit=1,file=$work/vars.fd" "$version" "$work/initrd"
}
boot /enrol
boot /enforce
