// SPDX-License-Identifier: Apache-2.0
// Shared by show*.c only: what there is to show.
#ifndef LS_AGENT_SHOW_INT_H
#define LS_AGENT_SHOW_INT_H

#include "agent/ledger.h"
#include "agent/provider.h"
#include "agent/show.h"

struct show_word {
	enum ls_word word;
	uint64_t time_ms;
};

struct show_migration {
	struct ls_ledger_record record; // `request` is not kept
	char peer[LS_NAME_MAX];         // empty: not known
	char *cause;
	struct show_word word[4];       // no track has more
	unsigned n_words;
	struct ls_ledger_claim *claim;
	unsigned n_claims;
};

struct show_device {
	const struct ls_device_config *config;
	struct ls_dev_info info;
	struct ls_error problem;
	const char *state; // NULL: not asked
};

struct show {
	const struct ls_agent_config *config;
	struct ls_ledger_identity identity;
	bool running; // the agent
	struct show_migration *migration;
	size_t n_migrations;
	struct show_device *device;
};

const char *show_status(const struct ls_ledger_record *record); // "open", "unfinished", "over"
const char *show_method(unsigned method);
void show_time(uint64_t time_ms, char *ret, size_t size);

void show_as_text(const struct show *s);
int show_as_json(const struct show *s);

#endif
