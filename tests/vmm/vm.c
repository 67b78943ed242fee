// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/control.h"

const char *tv_state_name(enum tv_state state)
{
	static const char *const names[] = { "incoming", "ready", "running", "paused", "gone" };

	return names[state];
}

void tv_event(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

// For whoever judges from outside: when guest code may run, and when it cannot any more. Said before it runs and after
// it has stopped, so that what is recorded is never shorter than what was.
static void testify(const struct tv_vm *vm, const char *what)
{
	const char *path = getenv("LOCKSTEP_VMM_EVENTS");
	int fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
	char line[200];
	int n = snprintf(line, sizeof(line), "{\"ns\": %llu, \"pid\": %d, \"vm\": \"%s\", \"event\": \"%s\"}\n",
			 (unsigned long long)ls_now_ns(), (int)getpid(), vm->name, what);

	if (fd < 0)
		return;
	if (write(fd, line, (size_t)n) != n)
		abort(); // a judge without evidence would find everybody innocent
	close(fd);
}

static void enter(struct tv_vm *vm, enum tv_state state)
{
	vm->state = state;
	tv_event("vmm.%s vm=%s resumes=%llu", tv_state_name(state), vm->name, (unsigned long long)vm->resumes);
}

static int boot(struct tv_vm *vm, const struct tv_vm_options *options, struct ls_error *err)
{
	for (unsigned i = 0; i < vm->bus.n; i++) {
		struct tv_device *dev = &vm->bus.dev[i];
		int r = vm->bus.backend->reset(dev);

		if (!r)
			r = tv_platform_boot(&vm->bus, dev);
		if (r) {
			ls_fail(err, LS_E_RESET_FAILED, -r, "cannot bring the device up");
			ls_error_at(err, dev->name, NULL);
			return r;
		}
	}
	return tv_guest_boot(&vm->machine, options->ring_size, options->ballast, err);
}

int tv_vm_start(struct tv_vm *vm, const struct tv_vm_options *options, struct ls_error *err)
{
	int r;

	vm->name = options->name;
	vm->state = TV_INCOMING;
	if (tv_program_ram(vm->bus.n, options->ring_size) > options->ram_bytes)
		return ls_fail(err, LS_E_LIMIT, ENOMEM, "%u devices with rings of %u need %llu bytes of RAM",
			       vm->bus.n, options->ring_size,
			       (unsigned long long)tv_program_ram(vm->bus.n, options->ring_size));
	r = tv_ram_init(&vm->ram, options->ram_bytes, err);
	if (!r)
		r = tv_bus_open(&vm->bus, vm->ram.memfd, vm->ram.map, TV_IOVA, vm->ram.size, err);
	vm->machine.bus = &vm->bus;
	vm->machine.ram = vm->ram.map;
	vm->machine.ram_size = vm->ram.size;
	if (!r)
		r = tv_vcpu_init(&vm->vcpu, &vm->machine, err);
	if (!r && !options->incoming)
		r = boot(vm, options, err);
	if (r)
		return r;
	if (options->incoming) {
		enter(vm, TV_INCOMING);
		return 0;
	}
	for (unsigned i = 0; i < vm->bus.n; i++)
		tv_guest_ask(&vm->machine, i);
	testify(vm, "running");
	tv_vcpu_run(&vm->vcpu);
	enter(vm, TV_RUNNING);
	return 0;
}

void tv_vm_free(struct tv_vm *vm)
{
	tv_vcpu_free(&vm->vcpu);
	tv_bus_close(&vm->bus);
	tv_ram_free(&vm->ram);
}

static int expect(const struct tv_vm *vm, enum tv_state state, const char *what, struct ls_error *err)
{
	return vm->state == state ? 0 : ls_fail(err, LS_E_BAD_STATE, EINVAL, "%s, but the VM is %s", what,
						 tv_state_name(vm->state));
}

int tv_vm_lend(struct tv_vm *vm, bool probe, struct ls_error *err)
{
	if (vm->state == TV_GONE)
		return expect(vm, TV_RUNNING, "asked for its devices", err);
	if (probe || vm->state != TV_RUNNING)
		return 0;
	if (!vm->ram_peer[0])
		return ls_fail(err, LS_E_VMM_FAILED, EDESTADDRREQ, "no address to send RAM to is configured");
	return tv_ram_send_begin(&vm->ram, vm->ram_peer, err);
}

void tv_vm_given_back(struct tv_vm *vm)
{
	if (vm->state == TV_RUNNING)
		tv_ram_send_abort(&vm->ram);
}

int tv_vm_pause(struct tv_vm *vm, struct ls_error *err)
{
	int r = expect(vm, TV_RUNNING, "asked to pause", err);

	if (r)
		return r;
	tv_vcpu_park(&vm->vcpu);
	for (unsigned i = 0; i < vm->bus.n; i++) {
		tv_guest_interrupts(&vm->machine, i);
		tv_guest_ask(&vm->machine, i);
	}
	testify(vm, "paused");
	enter(vm, TV_PAUSED);
	return 0;
}

int tv_vm_final(struct tv_vm *vm, tv_give_fn *give, void *user, struct ls_error *err)
{
	struct tv_saved_vm own = { .ram_size = vm->ram.size, .resumes = vm->resumes };
	uint8_t blob[TV_BLOB_MAX];
	int r = expect(vm, TV_PAUSED, "asked for its last state", err);

	if (!r)
		r = tv_ram_send_rest(&vm->ram, err);
	for (unsigned i = 0; i < vm->bus.n && !r; i++) {
		struct tv_saved_device saved;

		r = tv_platform_save(&vm->bus, &vm->bus.dev[i], &saved);
		if (!r)
			r = give(user, vm->bus.dev[i].name, blob, tv_blob_device(&saved, blob));
		if (r) {
			ls_fail(err, LS_E_VMM_FAILED, -r, "cannot save config space");
			ls_error_at(err, vm->bus.dev[i].name, NULL);
		}
	}
	if (!r)
		r = give(user, NULL, blob, tv_blob_vm(&own, blob));
	if (r)
		return r;
	tv_event("vmm.final vm=%s ram-before=%llu ram-after=%llu", vm->name, (unsigned long long)vm->ram.sent_before,
		 (unsigned long long)vm->ram.sent_after);
	return 0;
}

int tv_vm_blob(struct tv_vm *vm, const char *device, const void *blob, size_t len, struct ls_error *err)
{
	const struct tv_device *dev;
	int r = expect(vm, TV_INCOMING, "given a blob", err);

	if (r)
		return r;
	if (!device[0]) {
		if (tv_blob_read_vm(blob, len, &vm->saved_vm))
			return ls_fail(err, LS_E_INVALID, EBADMSG, "the VM's blob is not one of this VMM");
		vm->have_vm = true;
		return 0;
	}
	dev = tv_bus_find(&vm->bus, device);
	if (!dev)
		return ls_fail(err, LS_E_NOT_FOUND, ENOENT, "a blob for device %s, which the VM does not have",
			       device);
	if (tv_blob_read_device(blob, len, &vm->saved[dev - vm->bus.dev]))
		return ls_fail(err, LS_E_INVALID, EBADMSG, "the blob of %s is not one of this VMM", device);
	vm->have |= 1u << (dev - vm->bus.dev);
	return 0;
}

int tv_vm_ready(struct tv_vm *vm, struct ls_error *err)
{
	int r = expect(vm, TV_INCOMING, "asked to get ready", err);

	if (r)
		return r;
	if (!vm->have_vm || vm->have != (1u << vm->bus.n) - 1)
		return ls_fail(err, LS_E_VMM_FAILED, ENODATA, "not every blob has come");
	if (!atomic_load(&vm->ram.complete) || vm->saved_vm.ram_size != vm->ram.size)
		return ls_fail(err, LS_E_VMM_FAILED, ENODATA, "RAM has not come, or not all of it");
	r = tv_guest_adopt(&vm->machine, err);
	if (r)
		return r;
	for (unsigned i = 0; i < vm->bus.n; i++) {
		r = tv_platform_restore(&vm->bus, &vm->bus.dev[i], &vm->saved[i]);
		if (r) {
			ls_fail(err, LS_E_VMM_FAILED, -r, "cannot restore config space and interrupts");
			ls_error_at(err, vm->bus.dev[i].name, NULL);
			return r;
		}
	}
	vm->resumes = vm->saved_vm.resumes;
	enter(vm, TV_READY);
	return 0;
}

static void forget_incoming(struct tv_vm *vm)
{
	tv_ram_receive_abort(&vm->ram);
	vm->have = 0;
	vm->have_vm = false;
}

int tv_vm_resume(struct tv_vm *vm, struct ls_error *err)
{
	bool arrived = vm->state == TV_READY;

	if (vm->state == TV_RUNNING)
		return 0; // an agent that was restarted does not know
	if (!arrived) {
		int r = expect(vm, TV_PAUSED, "asked to resume", err);

		if (r)
			return r;
		for (unsigned i = 0; i < vm->bus.n; i++)
			tv_platform_drop_undelivered(&vm->bus.dev[i]);
		tv_ram_send_abort(&vm->ram);
	} else {
		forget_incoming(vm);
	}
	testify(vm, "running");
	tv_vcpu_run(&vm->vcpu);
	vm->resumes++;
	if (!(arrived && ls_control("forget-signal")))
		for (unsigned i = 0; i < vm->bus.n; i++)
			tv_platform_signal(&vm->bus.dev[i]);
	enter(vm, TV_RUNNING);
	return 0;
}

int tv_vm_gone(struct tv_vm *vm, struct ls_error *err)
{
	int r = expect(vm, TV_PAUSED, "told that the VM is gone", err);

	if (r)
		return r;
	tv_ram_send_abort(&vm->ram);
	tv_vcpu_free(&vm->vcpu);
	tv_bus_close(&vm->bus);
	enter(vm, TV_GONE);
	return 0;
}

int tv_vm_discard(struct tv_vm *vm, struct ls_error *err)
{
	if (vm->state != TV_INCOMING && vm->state != TV_READY)
		return expect(vm, TV_INCOMING, "told to discard", err);
	forget_incoming(vm);
	vm->resumes = 0;
	enter(vm, TV_INCOMING);
	return 0;
}
