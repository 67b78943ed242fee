// SPDX-License-Identifier: Apache-2.0
// Stopping the engines where every device's last descriptor is known, and starting them again.
#include <linux/pci_regs.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

#include "common/clock.h"
#include "tests/vmm/verify_int.h"

// From cyclic to doorbell mode, the doorbell at the end of a block not far ahead. An engine that has
// passed it meanwhile walks on as before: try again further ahead.
static uint32_t ring_last_doorbell(struct tv_vm *vm, unsigned i)
{
	struct tv_device *dev = &vm->bus.dev[i];
	uint32_t block = vm->machine.program[i].block, stop;

	for (uint32_t blocks = 2;; blocks *= 2) {
		uint64_t seen = tv_guest(&vm->machine)->dev[i].seen;
		uint64_t at = seen + (uint32_t)(tv_read32(&vm->bus, dev, LSM_REG_CONSUMER) - (uint32_t)seen);

		stop = (uint32_t)((at / block + blocks) * block);
		tv_write32(&vm->bus, dev, LSM_REG_DOORBELL, stop);
		tv_write32(&vm->bus, dev, LSM_REG_CTRL, LSM_CTRL_ENABLE);
		if ((int32_t)(stop - tv_read32(&vm->bus, dev, LSM_REG_CONSUMER)) >= 0 || blocks > 1u << 16)
			return stop;
	}
}

static bool idle(struct tv_vm *vm, unsigned i, uint32_t stop, uint32_t *at)
{
	struct tv_device *dev = &vm->bus.dev[i];

	*at = tv_read32(&vm->bus, dev, LSM_REG_CONSUMER);
	if (*at != stop)
		return false;
	// The last interrupt is raised a moment before the engine rests.
	while (tv_read32(&vm->bus, dev, LSM_REG_STATUS) & LSM_STATUS_BUSY)
		sched_yield();
	return true;
}

static void wait_interrupt(struct tv_vm *vm, int timeout_ms)
{
	struct pollfd fds[TV_MAX_DEVICES * LSM_VECTORS];
	nfds_t n = 0;

	for (unsigned i = 0; i < vm->bus.n; i++)
		for (unsigned v = 0; v < LSM_VECTORS; v++)
			fds[n++] = (struct pollfd){ .fd = vm->bus.dev[i].irq[v], .events = POLLIN };
	(void)poll(fds, n, timeout_ms);
	for (unsigned i = 0; i < vm->bus.n; i++) {
		tv_guest_completions(&vm->machine, i);
		tv_guest_interrupts(&vm->machine, i);
	}
}

static bool may_master(struct tv_vm *vm, unsigned i)
{
	uint8_t command[2] = { 0 };

	(void)vm->bus.backend->read(&vm->bus.dev[i], TV_CONFIG, PCI_COMMAND, command, sizeof(command));
	return command[0] & PCI_COMMAND_MASTER;
}

static void complain(struct tv_vm *vm, unsigned i, uint32_t stop, uint32_t at, struct tv_report *r)
{
	struct tv_device *dev = &vm->bus.dev[i];

	WRONG(r, "%s: the engine stands still, %u descriptors short (status 0x%x, bus master %s)", dev->name, stop - at,
	      tv_read32(&vm->bus, dev, LSM_REG_STATUS), may_master(vm, i) ? "on" : "off");
}

void tv_stop_engines(struct tv_vm *vm, unsigned stall_ms, struct tv_report *r)
{
	uint32_t stop[TV_MAX_DEVICES], last[TV_MAX_DEVICES] = { 0 };
	uint64_t moved = ls_now_ns();

	vm->machine.draining = true;
	for (unsigned i = 0; i < vm->bus.n; i++)
		stop[i] = ring_last_doorbell(vm, i);
	for (;;) {
		unsigned busy = 0, hopeless = 0;
		uint64_t now = ls_now_ns();

		for (unsigned i = 0; i < vm->bus.n; i++) {
			uint32_t at;

			if (!idle(vm, i, stop[i], &at)) {
				busy++;
				hopeless += !may_master(vm, i);
			}
			if (at != last[i])
				moved = now;
			last[i] = at;
		}
		if (!busy)
			break;
		if (busy == hopeless || now - moved > (uint64_t)stall_ms * 1000000) {
			for (unsigned i = 0; i < vm->bus.n; i++)
				if (last[i] != stop[i])
					complain(vm, i, stop[i], last[i], r);
			break;
		}
		wait_interrupt(vm, (int)stall_ms);
	}
	wait_interrupt(vm, 0);
}

void tv_restart_engines(struct tv_vm *vm)
{
	vm->machine.draining = false;
	for (unsigned i = 0; i < vm->bus.n; i++)
		tv_write32(&vm->bus, &vm->bus.dev[i], LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
	for (unsigned i = 0; i < vm->bus.n; i++)
		tv_guest_ask(&vm->machine, i);
}
