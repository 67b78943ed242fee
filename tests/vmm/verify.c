// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/vmm/verify_int.h"

void tv_wrong(struct tv_report *r, const char *fmt, ...)
{
	va_list ap;

	if (r->n_errors < TV_ERRORS_MAX) {
		va_start(ap, fmt);
		vsnprintf(r->error[r->n_errors], sizeof(r->error[0]), fmt, ap);
		va_end(ap);
	}
	r->n_errors++;
}

static void check_pattern_in_ram(struct tv_vm *vm, struct tv_report *r)
{
	const uint8_t *ram = vm->machine.ram + TV_RAM_PATTERN;

	for (uint32_t off = 0; off < 0x10000; off += 8)
		if (lsm_get64(ram + off) != tv_pattern(UINT16_MAX, off)) {
			WRONG(r, "RAM that nobody writes differs at 0x%x", TV_RAM_PATTERN + off);
			return;
		}
}

static void check_at_rest(struct tv_vm *vm, unsigned stall_ms, struct tv_report *ret)
{
	struct tv_guest *g = tv_guest(&vm->machine);

	memset(ret, 0, sizeof(*ret));
	tv_stop_engines(vm, stall_ms, ret);
	for (unsigned i = 0; i < vm->bus.n; i++) {
		ret->done[i] = tv_read64(&vm->bus, &vm->bus.dev[i], LSM_REG_DONE);
		tv_guest_catch_up(&vm->machine, i, ret->done[i]);
		tv_guest_interrupts(&vm->machine, i);
		ret->stamps[i] = tv_read64(&vm->bus, &vm->bus.dev[i], LSM_REG_STAMP) - 1;
	}
	if (g->errors)
		WRONG(ret, "%llu completions were wrong; the first: %.150s", LLU(g->errors), g->first_error);
	for (unsigned i = 0; i < vm->bus.n; i++) {
		tv_check_registers(vm, i, ret);
		tv_check_interrupts(vm, i, ret);
		tv_check_ram(vm, i, ret);
		tv_check_window(vm, i, ret);
	}
	tv_check_pairs(vm, ret);
	check_pattern_in_ram(vm, ret);
	ret->ok = !ret->n_errors;
}

void tv_verify(struct tv_vm *vm, unsigned stall_ms, struct tv_report *ret)
{
	check_at_rest(vm, stall_ms, ret);
	tv_restart_engines(vm);
}

int tv_reset_device(struct tv_vm *vm, unsigned i, unsigned stall_ms, struct tv_report *report, struct ls_error *err)
{
	struct tv_device *dev = &vm->bus.dev[i];
	int r = 0;

	check_at_rest(vm, stall_ms, report);
	if (!report->ok)
		r = ls_fail(err, LS_E_INTERNAL, EBADMSG, "wrong before the reset: %.150s", report->error[0]);
	if (!r) {
		r = vm->bus.backend->reset(dev);
		if (!r)
			r = tv_platform_boot(&vm->bus, dev);
		if (r)
			ls_fail(err, LS_E_RESET_FAILED, -r, "cannot bring %s up again", dev->name);
	}
	if (!r)
		r = tv_guest_restart(&vm->machine, i, vm->resumes, err);
	tv_restart_engines(vm);
	return r;
}

json_t *tv_report_json(const struct tv_vm *vm, const struct tv_report *report)
{
	json_t *devices = json_array(), *pairs = json_array(), *errors = json_array();

	for (unsigned i = 0; i < vm->bus.n; i++)
		json_array_append_new(devices, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "name", vm->bus.dev[i].name,
							 "done", (json_int_t)report->done[i],
							 "stamps", (json_int_t)report->stamps[i],
							 "irqs", (json_int_t)report->irqs[i],
							 "served", (json_int_t)report->served[i], "resets",
							 (json_int_t)tv_guest(&vm->machine)->dev[i].resets));
	for (unsigned i = 0; i < report->n_pairs; i++) {
		const struct tv_pair *p = &report->pair[i];

		json_array_append_new(pairs, json_pack("{s:s, s:s, s:I, s:I, s:I}", "from", vm->bus.dev[p->from].name,
						       "to", vm->bus.dev[p->to].name, "sent", (json_int_t)p->sent,
						       "received", (json_int_t)p->received,
						       "first_missing", (json_int_t)p->first_missing));
	}
	for (unsigned i = 0; i < report->n_errors && i < TV_ERRORS_MAX; i++)
		json_array_append_new(errors, json_string(report->error[i]));
	return json_pack("{s:b, s:s, s:I, s:i, s:o, s:o, s:o}", "ok", report->ok, "vm", vm->name,
			 "resumes", (json_int_t)vm->resumes, "wrong", (int)report->n_errors, "errors", errors,
			 "devices", devices, "pairs", pairs);
}

char *tv_report_table(const struct tv_vm *vm, const struct tv_report *report)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	uint64_t sent = 0, received = 0;

	if (!f)
		return NULL;
	fprintf(f, "%-18s %-18s %12s %12s %14s\n", "from", "to", "sent", "received", "first missing");
	for (unsigned i = 0; i < report->n_pairs; i++) {
		const struct tv_pair *p = &report->pair[i];
		char missing[24] = "-";

		if (p->first_missing)
			snprintf(missing, sizeof(missing), "%llu", LLU(p->first_missing));
		fprintf(f, "%-18.18s %-18.18s %12llu %12llu %14s\n", vm->bus.dev[p->from].name,
			vm->bus.dev[p->to].name, LLU(p->sent), LLU(p->received), missing);
		sent += p->sent;
		received += p->received;
	}
	fprintf(f, "%-18s %-18s %12llu %12llu\n", "all", "", LLU(sent), LLU(received));
	fclose(f);
	return text;
}
