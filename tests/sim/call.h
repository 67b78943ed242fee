// SPDX-License-Identifier: Apache-2.0
// A coordinator's call to an agent, and its answer, over a network that loses, delays and repeats them.
#ifndef LS_TESTS_SIM_CALL_H
#define LS_TESTS_SIM_CALL_H

#include "agent/word.h"
#include "coordinator/sequencer.h"

enum sim_method {
	SIM_CALL_HELLO,
	SIM_CALL_LIST,
	SIM_CALL_DESCRIBE,
	SIM_CALL_PREPARE,
	SIM_CALL_GRANT,
	SIM_CALL_UNWIND,
	SIM_CALL_SETTLE,
	SIM_CALL_GET_WORD,
	SIM_CALL_RESOLVE
};

struct sim_request;
struct world;

struct sim_call {
	uint64_t number;
	enum sim_method method;
	unsigned coordinator, host, migration;
	enum ls_seq_side side;
	uint64_t term;
	uint32_t gates;
	int resolve;       // enum ls_resolve
	bool claimed;
	int wanted;        // HELLO: the method that comes after
	struct sim_request *request; // PREPARE; borrowed
};

struct sim_answer {
	struct sim_call call;
	enum ls_rpc_status status;
	enum ls_reason reason;
	bool sent, known, done;
	enum ls_word word;
	char ledger_id[40];
	uint64_t term; // HELLO: the highest, and whose
	char coordinator[64];
};

typedef void sim_answer_fn(struct world *w, const struct sim_answer *answer);

// Calls `done` once in this life of the coordinator, whatever happens. Takes `request` over.
void sim_call_send(struct world *w, struct sim_call call, sim_answer_fn *done);
void sim_call_reply(struct world *w, const struct sim_answer *answer);
void sim_calls_lose(struct world *w, unsigned host); // the agent there died
void sim_calls_free(struct world *w);

#endif
