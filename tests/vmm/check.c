// SPDX-License-Identifier: Apache-2.0
// What a device and RAM must hold after `seen` descriptors, compared with what they hold.
#include <linux/pci_regs.h>
#include <string.h>

#include "tests/vmm/verify_int.h"

static void same(struct tv_report *r, const char *device, const char *what, uint64_t is, uint64_t expected)
{
	if (is != expected)
		WRONG(r, "%s: %s is %llu, not %llu", device, what, LLU(is), LLU(expected));
}

void tv_check_registers(struct tv_vm *vm, unsigned i, struct tv_report *r)
{
	struct tv_device *dev = &vm->bus.dev[i];
	const struct tv_guest_dev *g = &tv_guest(&vm->machine)->dev[i];
	const struct tv_program *p = &vm->machine.program[i];
	uint8_t command[2] = { 0 };

	same(r, dev->name, "DONE", tv_read64(&vm->bus, dev, LSM_REG_DONE), g->seen);
	same(r, dev->name, "CONSUMER", tv_read32(&vm->bus, dev, LSM_REG_CONSUMER), (uint32_t)g->seen);
	same(r, dev->name, "HEAD", tv_read32(&vm->bus, dev, LSM_REG_HEAD), g->seen % p->ring);
	same(r, dev->name, "RING_BASE", tv_read64(&vm->bus, dev, LSM_REG_RING_BASE), TV_IOVA + p->ring_at);
	same(r, dev->name, "STAMP", tv_read64(&vm->bus, dev, LSM_REG_STAMP), tv_program_stamps(p, g->seen) + 1);
	same(r, dev->name, "ERRORS", tv_read32(&vm->bus, dev, LSM_REG_ERRORS), 0);
	(void)vm->bus.backend->read(dev, TV_CONFIG, PCI_COMMAND, command, sizeof(command));
	same(r, dev->name, "command register",
	     command[0] & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER), PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void tv_check_interrupts(struct tv_vm *vm, unsigned i, struct tv_report *r)
{
	struct tv_device *dev = &vm->bus.dev[i];
	const struct tv_guest_dev *g = &tv_guest(&vm->machine)->dev[i];

	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		uint32_t raised = tv_read32(&vm->bus, dev, LSM_REG_IRQ_COUNT + 4 * v);

		if (v == TV_SERVICE_VECTOR)
			continue;
		if (v < TV_TICK_VECTORS)
			same(r, dev->name, "IRQ_COUNT", raised,
			     (uint32_t)tv_program_ticks(&vm->machine.program[i], g->seen, v));
		if ((uint32_t)(g->irq[v] - vm->resumes) != raised)
			WRONG(r, "%s: vector %u: %llu interrupts came; %u were raised and %llu signalled after moves",
			      dev->name, v, LLU(g->irq[v]), raised, LLU(vm->resumes));
		r->irqs[i] += g->irq[v];
	}
	if (g->asked_at && tv_guest_completed(&vm->machine, i, g->asked_at - 1))
		WRONG(r, "%s: service request %llu was carried out, but its interrupt never came: lost",
		      dev->name, LLU(g->asked));
	r->served[i] = g->served;
}

// Payload of an outbox cell, its first 8 bytes replaced by `number`.
static bool cell_is(const uint8_t *cell, const struct tv_program *p, uint32_t local, uint64_t number)
{
	if (lsm_get64(cell) != number)
		return false;
	for (unsigned off = 8; off < TV_CELL; off += 8)
		if (lsm_get64(cell + off) != tv_pattern(p->index, local + off))
			return false;
	return true;
}

void tv_check_ram(struct tv_vm *vm, unsigned i, struct tv_report *r)
{
	const struct tv_machine *m = &vm->machine;
	const struct tv_program *p = &m->program[i];
	const struct tv_guest_dev *g = &tv_guest(m)->dev[i];
	const uint64_t *scratch = (const uint64_t *)(const void *)(m->ram + TV_RAM_SCRATCH + i * LSM_PAGE_SIZE);
	uint64_t first = g->seen > p->ring ? g->seen - p->ring : 0, words = LSM_PAGE_SIZE / 8;
	unsigned cells = 0, records = 0;

	for (uint64_t k = first; k < g->seen; k++) {
		struct tv_item item;

		tv_program_item(p, k, &item);
		records += !tv_guest_completed(m, i, k);
		if (item.kind == TV_DMA || item.kind == TV_TICK)
			cells += !cell_is(m->ram + item.ram, p, item.local, item.number);
	}
	if (records)
		WRONG(r, "%s: %u completion records in RAM are not of the last lap", vm->bus.dev[i].name, records);
	if (cells)
		WRONG(r, "%s: %u DMA writes are not in RAM", vm->bus.dev[i].name, cells);
	for (uint64_t s = g->served > words ? g->served - words : 0; s < g->served; s++)
		if (scratch[s % words] != s + 1) {
			WRONG(r, "%s: the vCPU's own word %llu is lost", vm->bus.dev[i].name, LLU(s));
			break;
		}
}

static void check_pattern(struct tv_vm *vm, unsigned i, uint32_t at, uint32_t len, struct tv_report *r)
{
	uint8_t buf[LSM_PAGE_SIZE];

	for (uint32_t page = 0; page < len; page += sizeof(buf)) {
		if (vm->bus.backend->read(&vm->bus.dev[i], TV_BAR2, at + page, buf, sizeof(buf))) {
			WRONG(r, "%s: the window cannot be read", vm->bus.dev[i].name);
			return;
		}
		for (uint32_t off = 0; off < sizeof(buf); off += 8)
			if (lsm_get64(buf + off) != tv_pattern(i, at + page + off)) {
				WRONG(r, "%s: local memory differs at 0x%x", vm->bus.dev[i].name, at + page + off);
				return;
			}
	}
}

static void check_cells(struct tv_vm *vm, unsigned i, struct tv_report *r)
{
	static uint8_t reads[0x10000], fills[0x10000];
	const struct tv_program *p = &vm->machine.program[i];
	uint64_t done = tv_guest(&vm->machine)->dev[i].seen, bad = 0;
	uint64_t wanted[1024] = { 0 };

	(void)vm->bus.backend->read(&vm->bus.dev[i], TV_BAR2, TV_READ_TARGET, reads, sizeof(reads));
	(void)vm->bus.backend->read(&vm->bus.dev[i], TV_BAR2, TV_FILL_TARGET, fills, sizeof(fills));
	for (uint64_t k = done > p->ring ? done - p->ring : 0; k < done; k++) {
		struct tv_item item;

		tv_program_item(p, k, &item);
		if (item.kind == TV_FILL)
			wanted[(item.local - TV_FILL_TARGET) / TV_CELL] = item.number;
		else if (item.kind == TV_READ)
			for (unsigned off = 0; off < TV_CELL; off += 8)
				bad += lsm_get64(reads + item.local - TV_READ_TARGET + off) !=
				       tv_pattern(UINT16_MAX, item.ram - TV_RAM_PATTERN + off);
	}
	if (bad)
		WRONG(r, "%s: %llu words read from RAM are not in local memory", vm->bus.dev[i].name, LLU(bad));
	bad = 0;
	for (unsigned c = 0; c < 1024; c++)
		for (unsigned off = 0; off < TV_CELL && wanted[c]; off += 8)
			bad += lsm_get64(fills + c * TV_CELL + off) != wanted[c];
	if (bad)
		WRONG(r, "%s: %llu filled words are not in local memory", vm->bus.dev[i].name, LLU(bad));
}

void tv_check_window(struct tv_vm *vm, unsigned i, struct tv_report *r)
{
	check_pattern(vm, i, TV_OUTBOX, 0x10000, r);
	check_pattern(vm, i, TV_BALLAST, tv_guest(&vm->machine)->dev[i].ballast, r);
	check_cells(vm, i, r);
}

// The newest write of `from` to the device lies in its inbox.
static void check_inbox(struct tv_vm *vm, unsigned from, unsigned to, struct tv_report *r)
{
	const struct tv_program *p = &vm->machine.program[from];
	const struct tv_guest_dev *g = tv_guest(&vm->machine)->dev;
	uint8_t cell[TV_CELL];
	struct tv_item item;
	uint64_t k = g[from].seen;

	do {
		if (!k)
			return;
		tv_program_item(p, --k, &item);
	} while (item.kind != TV_P2P || item.peer != g[to].slot);
	if (vm->bus.backend->read(&vm->bus.dev[to], TV_BAR2, item.remote, cell, sizeof(cell)) ||
	    !cell_is(cell, p, item.local, item.number))
		WRONG(r, "%s -> %s: the inbox does not hold write %llu", vm->bus.dev[from].name, vm->bus.dev[to].name,
		      LLU(item.number));
}

// Takes away what a reset explains. A receiver that was reset misses, once, all that came before; one whose sender was
// reset hears small numbers until they have grown to what it waits for. What is lost beyond that shows in the counts.
static void known_disorder(const struct tv_base *base, uint64_t sent, uint64_t *ooo, uint64_t *gap)
{
	uint64_t first = base->sent + 1, known = base->out_of_order;

	if (first > base->expected && sent) {
		known++;
		if (*gap == base->expected)
			*gap = 0;
	} else if (first < base->expected) {
		known += sent < base->expected - first ? sent : base->expected - first;
	}
	if (*gap == base->gap)
		*gap = 0;
	*ooo -= known; // less than what is known would be wrong too
}

static void check_pair(struct tv_vm *vm, unsigned from, unsigned to, struct tv_report *r)
{
	const struct tv_guest_dev *g = tv_guest(&vm->machine)->dev;
	struct tv_device *src = &vm->bus.dev[from], *dst = &vm->bus.dev[to];
	const struct tv_base *base = &tv_guest(&vm->machine)->base[from][to];
	uint64_t next = tv_read64(&vm->bus, dst, LSM_REG_RX_SEQ + 8 * g[from].slot);
	uint64_t sent = tv_read64(&vm->bus, src, LSM_REG_TX_SEQ + 8 * g[to].slot) - 1;
	uint64_t gap = tv_read64(&vm->bus, dst, LSM_REG_RX_GAP + 8 * g[from].slot);
	uint64_t ooo = tv_read64(&vm->bus, dst, LSM_REG_RX_OOO + 8 * g[from].slot);
	struct tv_pair pair = {
		.from = from,
		.to = to,
		.sent = sent - base->sent,
		.received = tv_read64(&vm->bus, dst, LSM_REG_RX_COUNT + 8 * g[from].slot) - base->received,
	};

	known_disorder(base, pair.sent, &ooo, &gap);
	pair.first_missing = !gap && pair.sent && next <= sent ? next : gap;
	r->pair[r->n_pairs++] = pair;
	if (sent != tv_program_sent(&vm->machine.program[from], g[from].seen, g[to].slot))
		WRONG(r, "%s -> %s: %llu writes sent, %llu in the completions", src->name, dst->name, LLU(sent),
		      LLU(tv_program_sent(&vm->machine.program[from], g[from].seen, g[to].slot)));
	if (pair.sent != pair.received || pair.first_missing)
		WRONG(r, "%s -> %s: %llu writes sent, %llu received, first missing number %llu", src->name, dst->name,
		      LLU(pair.sent), LLU(pair.received), LLU(pair.first_missing));
	else if (ooo)
		WRONG(r, "%s -> %s: %llu writes came out of order", src->name, dst->name, LLU(ooo));
	else if (pair.sent)
		check_inbox(vm, from, to, r);
}

void tv_check_pairs(struct tv_vm *vm, struct tv_report *r)
{
	for (unsigned from = 0; from < vm->bus.n; from++)
		for (unsigned to = 0; to < vm->bus.n; to++)
			if (from != to)
				check_pair(vm, from, to, r);
}
