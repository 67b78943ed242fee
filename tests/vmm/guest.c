// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/guest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ASK_MARGIN 6u   // descriptors; a request nearer than this may be too late
#define LOOKAHEAD 64u   // a completion this far behind a newer one is lost

void tv_guest_error(struct tv_machine *m, const char *fmt, ...)
{
	struct tv_guest *g = tv_guest(m);
	va_list ap;

	if (g->errors++)
		return;
	va_start(ap, fmt);
	vsnprintf(g->first_error, sizeof(g->first_error), fmt, ap);
	va_end(ap);
}

static int make_programs(struct tv_machine *m, struct ls_error *err)
{
	const struct tv_guest *g = tv_guest(m);
	unsigned slots[TV_MAX_DEVICES];

	for (unsigned i = 0; i < g->n_devices; i++)
		slots[i] = g->dev[i].slot;
	for (unsigned i = 0; i < g->n_devices; i++)
		tv_program_init(&m->program[i], i, slots, g->n_devices, g->ring_size);
	if (tv_program_ram(g->n_devices, g->ring_size) > m->ram_size)
		return ls_fail(err, LS_E_LIMIT, ENOMEM, "%u devices with rings of %u need %llu bytes of RAM",
			       g->n_devices, g->ring_size,
			       (unsigned long long)tv_program_ram(g->n_devices, g->ring_size));
	return 0;
}

static int write_window(struct tv_machine *m, unsigned i, uint32_t seed, uint32_t at, uint32_t len)
{
	uint8_t buf[LSM_PAGE_SIZE];

	for (uint32_t off = 0; off < len; off += sizeof(buf)) {
		int r;

		tv_pattern_fill(seed, at + off, buf, sizeof(buf));
		r = m->bus->backend->write(&m->bus->dev[i], TV_BAR2, at + off, buf, sizeof(buf));
		if (r < 0)
			return r;
	}
	return 0;
}

static int look_at(struct tv_machine *m, unsigned i, uint32_t ballast, struct ls_error *err)
{
	struct tv_device *dev = &m->bus->dev[i];
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];

	if (tv_read32(m->bus, dev, LSM_REG_MAGIC) != LSM_MAGIC) {
		ls_fail(err, LS_E_NOT_FOUND, ENODEV, "not a lockstep virtual device, or its memory bit is off");
		ls_error_at(err, dev->name, NULL);
		return -ENODEV;
	}
	g->slot = tv_read32(m->bus, dev, LSM_REG_SLOT);
	g->type = tv_read32(m->bus, dev, LSM_REG_TYPE);
	g->mem_size = tv_read32(m->bus, dev, LSM_REG_MEM_SIZE);
	g->ballast = ballast < g->mem_size - TV_BALLAST ? ballast & ~(LSM_PAGE_SIZE - 1) : g->mem_size - TV_BALLAST;
	if (g->slot >= LSM_SLOTS) {
		ls_fail(err, LS_E_CONFIG, EINVAL, "the device has no slot on its fabric");
		ls_error_at(err, dev->name, NULL);
		return -EINVAL;
	}
	for (unsigned j = 0; j < i; j++)
		if (tv_guest(m)->dev[j].slot == g->slot)
			return ls_fail(err, LS_E_CONFIG, EINVAL, "devices %s and %s both have slot %u",
				       m->bus->dev[j].name, dev->name, g->slot);
	return 0;
}

static void write_ring(struct tv_machine *m, unsigned i)
{
	const struct tv_program *p = &m->program[i];

	for (uint64_t k = 0; k < p->ring; k++) {
		struct tv_item item;

		tv_program_item(p, k, &item);
		tv_program_desc(p, &item, m->ram + p->ring_at + k * LSM_DESC_SIZE);
	}
	memset(m->ram + p->comp_at, 0, (size_t)p->ring * LSM_COMP_SIZE);
}

static int start_engine(struct tv_machine *m, unsigned i)
{
	const struct tv_program *p = &m->program[i];
	struct tv_device *dev = &m->bus->dev[i];
	int r;

	r = write_window(m, i, i, TV_OUTBOX, 0x10000);
	if (!r)
		r = write_window(m, i, i, TV_BALLAST, tv_guest(m)->dev[i].ballast);
	if (r)
		return r;
	tv_write64(m->bus, dev, LSM_REG_RING_BASE, TV_IOVA + p->ring_at);
	tv_write32(m->bus, dev, LSM_REG_RING_SIZE, p->ring);
	tv_write64(m->bus, dev, LSM_REG_COMP_BASE, TV_IOVA + p->comp_at);
	tv_write32(m->bus, dev, LSM_REG_CTRL, LSM_CTRL_ENABLE | LSM_CTRL_CYCLIC);
	return 0;
}

int tv_guest_boot(struct tv_machine *m, unsigned ring_size, uint32_t ballast, struct ls_error *err)
{
	struct tv_guest *g = tv_guest(m);
	int r = 0;

	memset(g, 0, sizeof(*g));
	g->magic = TV_GUEST_MAGIC;
	g->n_devices = m->bus->n;
	g->ring_size = ring_size;
	for (unsigned i = 0; i < g->n_devices && !r; i++)
		r = look_at(m, i, ballast, err);
	if (!r)
		r = make_programs(m, err);
	if (r < 0)
		return r;
	tv_pattern_fill(UINT16_MAX, 0, m->ram + TV_RAM_PATTERN, 0x10000);
	memset(m->ram + TV_RAM_SCRATCH, 0, 0x10000);
	for (unsigned i = 0; i < g->n_devices; i++) {
		write_ring(m, i);
		for (unsigned j = 0; j < g->n_devices; j++)
			g->base[i][j] = (struct tv_base){ .expected = 1 };
	}
	for (unsigned i = 0; i < g->n_devices; i++) {
		r = start_engine(m, i);
		if (r < 0)
			return ls_fail(err, LS_E_INTERNAL, -r, "cannot write the window of %s", m->bus->dev[i].name);
	}
	return 0;
}

static void take_base(struct tv_machine *m, unsigned from, unsigned to)
{
	struct tv_guest *g = tv_guest(m);
	struct tv_device *src = &m->bus->dev[from], *dst = &m->bus->dev[to];
	uint32_t at = 8 * g->dev[from].slot;

	g->base[from][to] = (struct tv_base){
		.sent = tv_read64(m->bus, src, LSM_REG_TX_SEQ + 8 * g->dev[to].slot) - 1,
		.received = tv_read64(m->bus, dst, LSM_REG_RX_COUNT + at),
		.out_of_order = tv_read64(m->bus, dst, LSM_REG_RX_OOO + at),
		.gap = tv_read64(m->bus, dst, LSM_REG_RX_GAP + at),
		.expected = tv_read64(m->bus, dst, LSM_REG_RX_SEQ + at),
	};
}

static void take_bases(struct tv_machine *m, unsigned i)
{
	for (unsigned j = 0; j < m->bus->n; j++) {
		if (j == i)
			continue;
		take_base(m, i, j);
		take_base(m, j, i);
	}
}

int tv_guest_restart(struct tv_machine *m, unsigned i, uint64_t resumes, struct ls_error *err)
{
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];
	uint64_t n;
	int r;

	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		(void)!read(m->bus->dev[i].irq[v], &n, sizeof(n));
		m->bus->dev[i].unread[v] = 0;
		g->irq[v] = resumes;
	}
	g->seen = g->asked_at = 0;
	g->resets++;
	take_bases(m, i);
	write_ring(m, i);
	r = start_engine(m, i);
	return r < 0 ? ls_fail(err, LS_E_INTERNAL, -r, "cannot write the window of %s", m->bus->dev[i].name) : 0;
}

int tv_guest_adopt(struct tv_machine *m, struct ls_error *err)
{
	const struct tv_guest *g = tv_guest(m);

	if (g->magic != TV_GUEST_MAGIC || g->n_devices != m->bus->n || !g->ring_size || g->ring_size > LSM_RING_MAX)
		return ls_fail(err, LS_E_VMM_FAILED, EINVAL, "RAM holds no guest with %u devices", m->bus->n);
	return make_programs(m, err);
}

static const uint8_t *record(const struct tv_machine *m, unsigned i, uint64_t k)
{
	const struct tv_program *p = &m->program[i];

	return m->ram + p->comp_at + k % p->ring * LSM_COMP_SIZE;
}

bool tv_guest_completed(const struct tv_machine *m, unsigned i, uint64_t k)
{
	const uint32_t *consumer = (const uint32_t *)(const void *)record(m, i, k);

	return __atomic_load_n(consumer, __ATOMIC_ACQUIRE) == (uint32_t)(k + 1);
}

static void look(struct tv_machine *m, unsigned i, uint64_t k)
{
	const struct tv_program *p = &m->program[i];
	const uint8_t *rec = record(m, i, k);
	const char *name = m->bus->dev[i].name;
	struct tv_item item;

	tv_program_item(p, k, &item);
	if (lsm_get32(rec + 4) != LSM_OK)
		tv_guest_error(m, "%s: descriptor %llu failed with status %u", name, (unsigned long long)k,
			       lsm_get32(rec + 4));
	else if (lsm_get64(rec + 8) != item.number)
		tv_guest_error(m, "%s: descriptor %llu carries number %llu, not %llu", name, (unsigned long long)k,
			       (unsigned long long)lsm_get64(rec + 8), (unsigned long long)item.number);
	else if ((item.kind == TV_DMA || item.kind == TV_TICK) && lsm_get64(m->ram + item.ram) != item.number)
		tv_guest_error(m, "%s: DMA write %llu completed, but RAM holds %llu", name,
			       (unsigned long long)item.number, (unsigned long long)lsm_get64(m->ram + item.ram));
}

static void take(struct tv_machine *m, unsigned i, bool there)
{
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];

	if (there)
		look(m, i, g->seen);
	else
		tv_guest_error(m, "%s: completion %llu never came into RAM", m->bus->dev[i].name,
			       (unsigned long long)g->seen);
	g->seen++;
}

// The engine writes records in order, but not each at one stroke: one is whole when the next is there.
static bool whole(const struct tv_machine *m, unsigned i, uint64_t k)
{
	return tv_guest_completed(m, i, k + 1) && tv_guest_completed(m, i, k);
}

static bool lost(const struct tv_machine *m, unsigned i, uint64_t k)
{
	for (unsigned ahead = 2; ahead < LOOKAHEAD; ahead++)
		if (tv_guest_completed(m, i, k + ahead))
			return !tv_guest_completed(m, i, k);
	return false;
}

void tv_guest_completions(struct tv_machine *m, unsigned i)
{
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];

	for (unsigned n = 0; n < m->program[i].ring; n++) {
		if (whole(m, i, g->seen))
			take(m, i, true);
		else if (lost(m, i, g->seen))
			take(m, i, false);
		else
			break;
	}
}

void tv_guest_catch_up(struct tv_machine *m, unsigned i, uint64_t done)
{
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];

	if (done > g->seen + m->program[i].ring) {
		tv_guest_error(m, "%s: the engine is %llu descriptors ahead, more than its ring holds",
			       m->bus->dev[i].name, (unsigned long long)(done - g->seen));
		g->seen = done - m->program[i].ring;
	}
	while (g->seen < done)
		take(m, i, tv_guest_completed(m, i, g->seen));
}

static uint8_t *service_flags(struct tv_machine *m, unsigned i, uint64_t k)
{
	const struct tv_program *p = &m->program[i];

	return m->ram + p->ring_at + k % p->ring * LSM_DESC_SIZE + 1;
}

static void set_irq_flag(struct tv_machine *m, unsigned i, uint64_t k, bool on)
{
	__atomic_store_n(service_flags(m, i, k), (uint8_t)(LSM_DESC_COMPLETE | (on ? LSM_DESC_IRQ : 0)),
			 __ATOMIC_RELEASE);
}

// 64-bit position of the engine, from the register's 32 and what has been seen.
static uint64_t engine_at(struct tv_machine *m, unsigned i)
{
	uint32_t consumer = tv_read32(m->bus, &m->bus->dev[i], LSM_REG_CONSUMER);
	uint64_t seen = tv_guest(m)->dev[i].seen;

	return seen + (uint32_t)(consumer - (uint32_t)seen);
}

void tv_guest_ask(struct tv_machine *m, unsigned i)
{
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];
	const struct tv_program *p = &m->program[i];
	uint64_t at, margin = ASK_MARGIN;

	if (m->draining)
		return;
	at = engine_at(m, i);
	// Good for as long as the engine has not come to it. If it has, its interrupt is on its way; another
	// request does no harm where this is called for a pause, and makes sure that one is raised in it.
	while (!g->asked_at || g->asked_at - 1 < at + ASK_MARGIN / 2) {
		uint64_t k = at + margin;

		k += p->block - 1 - k % p->block; // TICK of that block
		k -= 1;                           // its SERVICE
		if (g->asked_at)
			set_irq_flag(m, i, g->asked_at - 1, false);
		set_irq_flag(m, i, k, true);
		g->asked_at = k + 1;
		g->asked++;
		// Doorbells do nothing to an engine that cycles, but they are rung.
		tv_write32(m->bus, &m->bus->dev[i], LSM_REG_DOORBELL, (uint32_t)k);
		at = engine_at(m, i);
		margin *= 2;
	}
}

static void serve(struct tv_machine *m, unsigned i)
{
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];
	uint64_t *scratch = (uint64_t *)(void *)(m->ram + TV_RAM_SCRATCH + i * LSM_PAGE_SIZE);

	if (!g->asked_at || !tv_guest_completed(m, i, g->asked_at - 1))
		return; // an interrupt with nothing behind it: signalled after a move, or asked twice
	set_irq_flag(m, i, g->asked_at - 1, false);
	g->asked_at = 0;
	scratch[g->served % (LSM_PAGE_SIZE / 8)] = g->served + 1;
	g->served++;
	tv_guest_ask(m, i);
}

void tv_guest_interrupts(struct tv_machine *m, unsigned i)
{
	struct tv_device *dev = &m->bus->dev[i];
	struct tv_guest_dev *g = &tv_guest(m)->dev[i];

	for (unsigned v = 0; v < LSM_VECTORS; v++) {
		uint64_t n = 0;

		if (read(dev->irq[v], &n, sizeof(n)) != (ssize_t)sizeof(n))
			n = 0;
		n += dev->unread[v];
		dev->unread[v] = 0;
		g->irq[v] += n;
		if (n && v == TV_SERVICE_VECTOR)
			serve(m, i);
	}
}
