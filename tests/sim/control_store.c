// SPDX-License-Identifier: Apache-2.0
// A coordinator's store: records in the order of writing, synced one after the other on a thread of its own. The
// disk may be full for a while, be lost, or be one from yesterday; who dies never knows how much of what was written
// is kept.
#include <stdlib.h>
#include <string.h>

#include "coordinator/message.h"
#include "proto/wire/pb.h"
#include "tests/sim/control.h"

#define RETRY_NS (1 * S) // as coordinator/store.c

struct sync {
	unsigned c, migration;
};

static void on_synced(struct world *w, void *arg);

static void sync_in(struct sim_coordinator *c, unsigned migration, uint64_t delay)
{
	struct sync *e = sim_alloc(sizeof(*e));

	*e = (struct sync){ c->c, migration };
	sim_at(c->w, SIM_COORD + c->c, delay, on_synced, e);
}

static void forget(struct sim_coordinator *c, unsigned migration, unsigned keep)
{
	while (c->n_disk[migration] > keep)
		ls_msg_free(c->disk[migration][--c->n_disk[migration]]);
	if (c->n_durable[migration] > keep)
		c->n_durable[migration] = keep;
}

static void tell_failing(struct sim_coordinator *c, bool failing)
{
	c->failing = failing;
	sim_trace(c->w, "%s: the store %s", sim_who_name(SIM_COORD + c->c),
		  failing ? "cannot be written" : "is written again");
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (c->seq[m]) {
			ls_seq_store_failing(c->seq[m], failing, sim_seq_now(c->w));
			sim_coordinator_drain(c, m);
		}
}

// A first record that cannot be written: the client is told, and nothing has happened.
static void refuse(struct sim_coordinator *c, unsigned migration)
{
	forget(c, migration, 0);
	ls_seq_free(c->seq[migration]);
	c->seq[migration] = NULL;
	c->timer[migration] = ++c->w->numbers;
}

static bool fails(struct sim_coordinator *c, unsigned migration)
{
	if (c->failing && c->w->now >= c->failing_until)
		tell_failing(c, false);
	if (!c->failing && sim_fault(c->w, SIM_STORE_FAILS)) {
		c->failing_until = c->w->now + sim_random(c->w, sim_random(c->w, 2) ? 2 * S : 10 * S);
		tell_failing(c, true);
	}
	if (!c->failing)
		return false;
	if (!c->n_durable[migration])
		refuse(c, migration);
	else
		sync_in(c, migration, RETRY_NS);
	return true;
}

static void on_synced(struct world *w, void *arg)
{
	struct sync *e = arg;
	struct sim_coordinator *c = w->coordinator[e->c];
	unsigned m = e->migration;

	if (c->n_durable[m] == c->n_disk[m] || fails(c, m))
		return;
	if (sim_fault(w, SIM_STORE_SYNC)) { // its process ends, and starts again with what the disk holds
		sim_coordinator_kill(c);
		sim_coordinator_start(c);
		return;
	}
	unsigned n = c->n_durable[m]++;
	ls_seq_persisted(c->seq[m], c->disk[m][n], sim_seq_now(w));
	sim_coordinator_drain(c, m);
}

void sim_store_append(struct sim_coordinator *c, unsigned migration, Lockstep__Store__Record *record)
{
	if (c->n_disk[migration] == SIM_RECORDS) {
		sim_violation(c->w, "bounded", "the coordinator writes without end");
		ls_msg_free(record);
		return;
	}
	c->disk[migration][c->n_disk[migration]++] = record;
	sync_in(c, migration, 1 * MS); // one thread writes, in order
}

void sim_store_lose(struct sim_coordinator *c, bool all)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		if (c->n_durable[m])
			forget(c, m, all ? 0 : (unsigned)sim_random(c->w, c->n_durable[m]));
	c->term = all ? 0 : c->term - (c->term > 0);
	sim_trace(c->w, "%s: the store is %s", sim_who_name(SIM_COORD + c->c), all ? "lost" : "one from yesterday");
}

// Of what was written and not known to be synced, some is there.
void sim_store_crash(struct sim_coordinator *c)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++) {
		unsigned unsure = c->failing ? 0 : c->n_disk[m] - c->n_durable[m];

		forget(c, m, c->n_durable[m] + (unsure ? (unsigned)sim_random(c->w, unsure + 1) : 0));
		c->n_durable[m] = c->n_disk[m];
	}
	c->failing = false;
}

// As bytes and back, as a real store has them.
static Lockstep__Store__Record *reread(struct sim_coordinator *c, const Lockstep__Store__Record *record)
{
	ProtobufCMessage *copy = NULL;
	uint8_t *bytes;
	size_t len;

	if (ls_pb_pack(&record->base, &bytes, &len) < 0)
		abort();
	if (ls_pb_unpack(record->base.descriptor, 64u << 20, bytes, len, &copy) < 0)
		sim_violation(c->w, "store-read", "a record of the coordinator's cannot be read");
	free(bytes);
	return (Lockstep__Store__Record *)copy;
}

struct ls_seq *sim_store_restore(struct sim_coordinator *c, unsigned migration)
{
	struct ls_seq *q = NULL;

	for (unsigned i = 0; i < c->n_durable[migration]; i++) {
		Lockstep__Store__Record *record = reread(c, c->disk[migration][i]);

		if (!record)
			return q;
		if (!i)
			q = ls_seq_restore(record);
		else
			ls_seq_fold(q, record);
		ls_pb_free(&record->base);
	}
	return q;
}

void sim_store_free(struct sim_coordinator *c)
{
	for (unsigned m = 0; m < SIM_MIGRATIONS; m++)
		forget(c, m, 0);
}
