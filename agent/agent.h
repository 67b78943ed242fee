// SPDX-License-Identifier: Apache-2.0
// The agent's world, built by main.c: what the parts of the control plane share. Loop thread.
#ifndef LS_AGENT_AGENT_H
#define LS_AGENT_AGENT_H

#include <uv.h>

#include "agent/config.h"
#include "agent/ledger.h"
#include "agent/notify.h"
#include "agent/vmm.h"
#include "agent/worker.h"
#include "proto/rpc/rpc.h"

#define LS_PROTOCOL 1u

struct ls_agent;
struct ls_migration;
struct ls_peers;
struct ls_look;
struct ls_survey;

struct ls_agent_device {
	struct ls_agent *agent;
	const struct ls_device_config *config;
	struct ls_worker *worker;
	struct ls_dev_info info;
	struct ls_dev_caps caps;  // as last probed
	uint64_t size;
	int state;
	bool looked;              // caps, size, state are known
	struct ls_error problem;  // why it cannot migrate; reason NONE: it can
	ls_worker_done_fn *done;  // of whoever uses it now; NULL: nobody
	void *user;
};
// -EBUSY while someone else has it.
int ls_device_take(struct ls_agent_device *d, ls_worker_done_fn *done, void *user);
void ls_device_leave(struct ls_agent_device *d);

// A migration's last word, also of earlier lives.
struct ls_known {
	struct ls_known *next;
	struct ls_ledger_record record; // `request` is owned
};

struct ls_known_claim {
	struct ls_known_claim *next;
	struct ls_ledger_claim claim;
};

struct ls_agent {
	uv_loop_t *loop;
	const struct ls_agent_config *config;
	struct ls_ledger *ledger;
	struct ls_vmms *vmms;
	struct ls_peers *peers;
	struct ls_rpc_server *server;
	struct ls_rpc_method methods[11];
	struct ls_survey *surveys;           // under way, at most one of each VM
	struct ls_look *strays;              // of surveys: given up, their drivers have not returned
	struct ls_agent_device *device;      // n_devices of config
	struct ls_known *known;
	struct ls_known_claim *claims;
	struct ls_kept kept;                 // fds of an earlier life that nobody has taken up yet
	struct ls_migration *migrations;     // of this life
	uint64_t term;                       // heard of
	uint64_t term_durable;
	char coordinator[LS_NAME_MAX];
	struct ls_error silent;              // reason NONE: it may speak (rule 10)
	unsigned terms_written;              // on their way to the disk
	bool pruning;
	bool stopping;
	void (*stopped)(struct ls_agent *a); // once nothing is left to finish
	uv_timer_t *reporter;                // tells what stopping waits for
	unsigned closing;
};

// The ledger is read, devices get their workers, sockets listen. On failure nothing is left but handles
// that the loop must close: run it, then free.
int ls_agent_open(struct ls_agent *a, uv_loop_t *loop, const struct ls_agent_config *config, struct ls_error *err);
// stop.c. No new work; what is open finishes or unwinds, then `stopped` is called. It waits as long as a word is
// missing, and says every ten seconds for what.
void ls_agent_stop(struct ls_agent *a, void (*stopped)(struct ls_agent *a));
void ls_agent_check_stopped(struct ls_agent *a);
void ls_agent_stop_end(struct ls_agent *a);
// Closes, and runs the loop to its end: true. False: something does not let go of what it has, most likely a call into
// the kernel; every word is said and on the disk, and the process may go.
bool ls_agent_leave(struct ls_agent *a);
void ls_agent_close(struct ls_agent *a); // then run the loop to its end

struct ls_agent_device *ls_agent_device(struct ls_agent *a, const char *name); // NULL: none of that name
struct ls_known *ls_agent_known(struct ls_agent *a, const char *migration);    // NULL: never heard of, or forgotten
struct ls_known *ls_agent_remember(struct ls_agent *a, const struct ls_ledger_record *record); // copied
void ls_agent_remember_claim(struct ls_agent *a, const struct ls_ledger_claim *claim);
// VM_BUSY with the migration that holds it; `except` does not count.
int ls_agent_vm_free(struct ls_agent *a, const char *vm, const char *except, struct ls_error *err);

// obey.c. Rule 7: refuses a stale coordinator at once (negative, `err`); else `then` follows as soon as the term is
// durable, at once if it is known, with an error if it cannot be written or another took over meanwhile.
typedef void ls_obey_fn(void *user, const struct ls_error *err);
int ls_agent_obey(struct ls_agent *a, uint64_t term, const char *coordinator, ls_obey_fn *then, void *user,
		  struct ls_error *err);
// Rule 10: the ledger has failed on a decision. No word is spoken and nothing begun any more in this life.
void ls_agent_fall_silent(struct ls_agent *a, const struct ls_error *cause);
int ls_agent_may_speak(const struct ls_agent *a, struct ls_error *err);

// keep.c. What is over beyond the configured number is forgotten as far as no rule needs it.
void ls_agent_prune(struct ls_agent *a);

#endif
