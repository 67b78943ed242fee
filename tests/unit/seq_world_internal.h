// SPDX-License-Identifier: Apache-2.0
// What the parts of seq_world share.
#ifndef LS_TESTS_SEQ_WORLD_INTERNAL_H
#define LS_TESTS_SEQ_WORLD_INTERNAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/message.h"
#include "coordinator/sequencer_internal.h"
#include "seq_world.h"

enum { S = LS_SEQ_SOURCE, D = LS_SEQ_DEST };

#define HOLDS(w, what)                                                                                                 \
	do {                                                                                                           \
		if (!(what))                                                                                           \
			fail_msg("%s\nafter: %s", #what, (w)->trace);                                                  \
	} while (0)

static inline bool world_says(const struct world *w, int side, const char *word)
{
	return strcmp(w->agent[side].word, word) == 0;
}

static inline struct ls_seq_time world_now(const struct world *w)
{
	return (struct ls_seq_time){.now_ns = w->now, .unix_ms = 1000 + w->now / 1000000};
}

void world_note(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// ---- seq_world_agent.c

void world_speak(struct world *w, int side, const char *word);
// What an agent does by itself next; `act` false: only whether there is something.
bool world_agent_step(struct world *w, int side, bool act);
void world_agent_fails(struct world *w, int side);
uint32_t world_released(const struct world *w); // the gates that clients let go, as far as the disk knows
void world_check_call(struct world *w, int side, const struct ls_seq_action *c);
enum { ANSWERED, APPLIED_BUT_LOST, NEVER_ARRIVED };
void world_finish_call(struct world *w, int side, int how);

// ---- seq_world_shell.c

void world_drain(struct world *w); // carries out what the sequencer asks for
void world_drop_pending(struct world *w);
void world_crash(struct world *w);
void world_lose_store(struct world *w, unsigned keep); // an older copy of `keep` records; 0: empty
void world_persist_one(struct world *w);
void world_deliver(struct world *w, int side, bool again);

#endif
