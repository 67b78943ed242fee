#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kmod_mutants.sh [VERSION [NAMES]]: can kmod_test fail? The driver is broken in one place after the other, as by somebody who
# changes it; for each, the test that watches over what was broken must say which line of it noticed, and that test alone must
# pass with the driver as it is. A driver that does not build, does not load, makes no devices or ends the guest proves nothing.
# NAMES is a regular expression. All of them run in one guest.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

version=${1:-6.12} only=${2:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# NAME FILE SED-SCRIPT TEST; TEST/hangs: that it does not end is how it fails.
mutants() {
  cat <<'END'
dirty-pages-forgotten model/lsm_dev.c s/if (d->save)$/if (0)/ precopy_rounds_carry_dirty_pages_and_the_rest_fits_together
rounds-without-asking model/lsm_save.c s/s->armed = false;// precopy_rounds_carry_dirty_pages_and_the_rest_fits_together
digests-not-checked model/lsm_load.c s/if (digest != lsm_get64(p + 16))/if (0)/;s/if (lsm_get64(payload) != before || .*/if (0)/ no_bent_image_is_believed_and_a_reset_mends_all
version-before-refused model/lsm_image.h s/^#define LSM_IMAGE_OLDEST.*/#define LSM_IMAGE_OLDEST LSM_IMAGE_VERSION/ an_image_of_the_version_before_is_taken
newer-version-taken model/lsm_version.c s/theirs > image || // migration_version_compares_both_ways
other-type-taken model/lsm_version.c s/return -EMEDIUMTYPE/return 0/ migration_version_of_every_type_against_every_other
deferred-reset-forgotten mig.c /if (!mutex_trylock/,/return;/s/spin_unlock(/vf->deferred_reset = false;\n\t\tspin_unlock(/ parent_reset_reaches_every_function_held_or_not
reset-leaves-the-session mig.c /^void lsv_vf_reset_locked/,/^}/s/lsv_disable_fds(vf);// guest_reset_in_precopy_kills_the_fd_and_the_next_step_gives_another
reset-leaves-config-space mig.c /^void lsv_vf_reset_locked/,/^}/s/lsv_config_init(vf);// reset_makes_it_new
reset-leaves-memory model/lsm_dev.c /^void lsm_dev_reset/,/^}/{s/lsm_pages_free(d, d->pages);//;s/d->touched = 0;//} reset_makes_it_new
suspend-does-not-wait engine.c s/wait_event(vf->idle_wq.*// suspend_waits_for_what_is_outstanding
peers-heard-in-stop model/lsm_dev.c s/if (!d->responder || !d->memory)/if (!d->memory)/ quiet_in_stop_and_no_write_heard
gap-not-noted model/lsm_dev.c s/seq > r->rx_seq.from. && !r->rx_gap.from./0/ stopping_a_peer_early_loses_writes_and_shows_the_first
bus-master-ignored model/lsm_dev.c s/d->busmaster = busmaster;/d->busmaster = true;/ without_bus_master_nothing_moves_and_bars_need_the_memory_bit
memory-bit-ignored vdev.c s/if (!vf->model.memory)/if (0)/ without_bus_master_nothing_moves_and_bars_need_the_memory_bit
fabric-changes-while-open sysfs.c s/vf->open ? -EBUSY : apply/apply/ fabric_and_slot_are_the_hosts
two-in-one-slot fabric.c s/else if (rcu_access_pointer(f->slots.vf->slot.))/else if (0)/ fabric_and_slot_are_the_hosts
gone-parent-answers parent.c s/alive = !pf->going;/alive = true;/ parent_that_goes_away_disables_its_functions_and_answers_enotconn
gone-parent-leaves-functions parent.c s/lsv_vf_detach(vf);/;/ parent_that_goes_away_disables_its_functions_and_answers_enotconn
flags-that-it-has-not vdev.c s/vdev->migration_flags = vf->info->mig_flags;/vdev->migration_flags = vf->info->mig_flags | VFIO_MIGRATION_P2P;/ oracle_stopcopy
rates-ignored migf.c /^static void throttle_account/,/^}/s/if (rate)/if (0)/ rates_hold
latency-ignored dbg.c s/setting_sleep(vf, &vf->dbg.latency_ms.*;// arcs_fail_and_wait_as_asked
user-memory-under-a-lock migf.c s/if (copy_to_user(buf + done, migf->bounce, n)) {/mutex_lock(\&migf->lock);\n\t\tsize_t left = copy_to_user(buf + done, migf->bounce, n);\n\t\tmutex_unlock(\&migf->lock);\n\t\tif (left) {/ no_user_memory_holds_up_a_reset/hangs
info-after-the-pause model/lsm_save.c /^int lsm_save_info/,/^}/s/if (s->final)/if (0)/ data_fd_is_a_stream_that_dies_with_its_session
dead-fd-says-otherwise migf.c s/-ENODEV/-EIO/ a_waiting_reader_is_let_go_by_what_ends_its_session
deferred-reset-not-done mig.c /^void lsv_state_unlock/,/^}/s/if (vf->deferred_reset)/if (0)/ reset_against_every_arc_ends_in_one_of_the_two_orders
close-leaves-the-state vdev.c s/^\t\tlsv_vf_reset_locked(vf);/\t\t;/ unreadable_ring_halts_and_reopening_starts_as_new
region-without-end vdev.c s/!size || off >= size/!size/ sizes_and_places_beyond_all_bounds_are_refused
load-without-the-parent migf.c s/lsv_cmd_load_begin(vf, &migf->load)/lsm_load_begin(\&migf->load, \&vf->model)/ parent_that_goes_away_disables_its_functions_and_answers_enotconn
mask-taken-for-trigger irq.c s/!= VFIO_IRQ_SET_ACTION_TRIGGER/== 0/ interrupts_are_set_up_as_vfio_pci_does_or_refused
toucher-pays engine.c s/set_active_memcg(vf->memcg)/set_active_memcg(NULL)/ memory_is_charged_to_whoever_opened_the_device
END
}

# As build_module.sh builds, but object files of what is not broken are used again.
build() {
  make -C "$kernel/headers" M="$work/tree" CONFIG_DEBUG_INFO_BTF_MODULES= KCFLAGS=-Wno-error -j"$(nproc)" modules \
    >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; die "$1 does not build"; }
}

kernel=$("$here/fetch.sh" "$version" | sed -n 1p)
mkdir "$work/tree"
cp -R "$repo/kmod/." "$work/tree"
build "the driver"
cp "$work/tree/lockstep_vdev.ko" "$work/whole.ko"
files=("/mutants/whole.ko=$work/whole.ko") names=() tests=()
{
  echo '#!/bin/sh'
  # shellcheck disable=SC2016
  echo 'try() {
    insmod /mutants/$1.ko || exit 1
    status=0 limit=60
    [ "$3" != hangs ] || limit=30
    timeout -s KILL $limit /kmod_test /fsm-oracle.csv group "$2" >/tmp/said 2>&1 || status=$?
    line=$(grep -m 1 -E "^# [a-z0-9_]+:[0-9]+: " /tmp/said)
    if [ $status = 0 ]; then
      echo "survived $1 $2"
    elif [ -n "$line" ] && grep -q "^not ok [0-9]* - $2\$" /tmp/said; then
      echo "killed $1 $2 ${line#??}"
    elif [ "$3" = hangs ] && [ $status = 137 ] && grep -q "^# $2 begins" /tmp/said; then
      echo "killed $1 $2 $2 does not end"
    else
      echo "broken $1 $2 status $status: $(tail -n 1 /tmp/said)"
    fi
    for d in /sys/bus/mdev/devices/*; do [ ! -e $d ] || echo 1 >$d/remove; done
    rmmod lockstep_vdev || exit 1
  }
  rmmod lockstep_vdev'
} >"$work/run"
while read -r name file rest; do
  script=${rest% *} test=${rest##* }
  [[ $name =~ ^(${only:-.*})$ ]] || continue
  cp "$work/tree/$file" "$work/whole"
  sed -i "$script" "$work/tree/$file"
  ! cmp -s "$work/whole" "$work/tree/$file" || die "$name: nothing of $file is changed by $script"
  build "$name"
  cp "$work/tree/lockstep_vdev.ko" "$work/$name.ko"
  cp "$work/whole" "$work/tree/$file"
  files+=("/mutants/$name.ko=$work/$name.ko")
  names+=("$name")
  tests+=("${test/\// }")
  echo "try $name ${test/\// }" >>"$work/run"
done < <(mutants)
[ ${#names[@]} -gt 0 ] || die "no mutant is called $only"
mapfile -t tests < <(printf '%s\n' "${tests[@]}" | sort -u)
printf 'try whole %s\n' "${tests[@]}" >>"$work/run"
chmod +x "$work/run"
gcc -std=gnu11 -O1 -g -Wall -Wextra -Werror -static -pthread -I"$repo" \
  "$here"/kmod_test*.c "$here"/kmod_vm*.c "$repo"/kmod/model/*.c -o "$work/kmod_test"
"$here/mkinitrd.sh" "$work/initrd" "$version" "$("$here/build_module.sh" "$version")" "${files[@]}" \
  "/kmod_test=$work/kmod_test" "/fsm-oracle.csv=$repo/tests/fsm-oracle.csv" "/run-test=$work/run"
# A broken driver may make the kernel complain (120).
status=0
said=$("$here/guest.sh" --timeout 1200 --run /run-test "$version" "$work/initrd" 2>/dev/null) || status=$?
passed=0 failed=0
tell() {
  if [ -n "$2" ]; then
    echo "ok - $1: $2"
    passed=$((passed + 1))
  else
    echo "not ok - $1: $(grep -E "^(killed|survived|broken) $3( |$)" <<<"$said" || echo "the guest ended before")"
    failed=$((failed + 1))
  fi
}
for name in "${names[@]}"; do
  tell "$name" "$(sed -n "s/^killed $name [^ ]* //p" <<<"$said")" "$name"
done
for test in "${tests[@]%% *}"; do
  tell "the driver as it is" "$(sed -n "s/^survived whole $test$/$test passes/p" <<<"$said")" "whole $test"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && { [ $status -eq 0 ] || [ $status -eq 120 ]; }
