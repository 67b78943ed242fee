// SPDX-License-Identifier: Apache-2.0
// The shell around a role: feeds it what happened, carries out what it asks for, keeps its events for
// whoever watches. Lives as long as the agent, since the peer may ask for its word late. Loop thread.
#ifndef LS_AGENT_MIGRATION_H
#define LS_AGENT_MIGRATION_H

#include "agent/agent.h"
#include "agent/conn.h"
#include "lockstep/v1/agent.pb-c.h"

struct ls_queued_event;
struct ls_watcher;

struct ls_waiter {
	struct ls_waiter *next;
	void (*ready)(void *user, struct ls_migration *m, const struct ls_error *err);
	void *user;
	bool word; // waits until nothing of it is being written; else until prepared
};

struct ls_stored_event {
	uint8_t *bytes;
	size_t len;
};

struct ls_migration {
	struct ls_migration *next;
	struct ls_agent *agent;
	struct ls_role_params params;
	uint8_t token[32];
	char peer_address[128];
	uint32_t max_rounds;
	uint64_t rest_bytes;
	uint64_t load_ns;              // least time that is left when all is sent; 0: not known
	uint64_t term;
	char coordinator[LS_NAME_MAX];
	uint8_t *request;              // packed, term left out: is a repeated Prepare the same?
	size_t request_len;

	struct ls_role *role;          // NULL while being prepared
	bool failed;                   // preparing it failed
	struct ls_error failure;
	struct ls_vmm *vmm;
	bool vmm_gone;                 // while it was prepared: the one that is connected now may be another
	struct ls_agent_device *dev[LS_MAX_DEVICES];
	struct slot {
		struct ls_migration *m;
		unsigned i;
		int lent;              // VMM's fd until adopted; -1
		int stream;            // accepted socket until the worker takes it; -1
		bool streamed, adopted, kept; // kept: in the service manager's fd store
		uint32_t restarts;     // of its worker, as last looked at
		uint64_t size;         // of its image, as the device estimated it while it ran; 0: not known
		uint64_t send_ns, send_from; // its image is being sent since, and what had been sent before
		uint64_t sent_ns;      // all of it; 0: not yet
	} slot[LS_MAX_DEVICES];
	unsigned waiting;              // adopt, reset or close jobs while preparing
	bool returning;                // preparing failed: the VMM gets its devices back

	struct ls_conn *conn;
	bool conn_up;
	struct ls_blobs blobs;
	uv_timer_t timer;
	struct ls_queued_event *first, **last;
	bool feeding;
	struct ls_waiter *waiters;

	struct ls_stored_event *events;
	unsigned n_events, capacity;
	uint64_t sequence_base; // of the first event in this life, less one
	struct ls_watcher *watchers;
	uv_timer_t progress, rest;
	bool restarted;                // of an earlier life
	bool ended, done;              // done: closed in the ledger, once that is written
	bool unclosed;                 // it is being written
	enum ls_end how;
	struct ls_error end_error;
	unsigned closing;
};

// migration_prepare.c: checks the request, borrows and opens the devices, writes the first word, begins.
// 0: the waiter hears of it later; an error: refused, nothing was touched.
int ls_migration_prepare(struct ls_agent *a, const Lockstep__V1__PrepareRequest *request, struct ls_waiter *waiter,
			 struct ls_error *err);

struct ls_migration *ls_migration_new(struct ls_agent *a); // linked; NULL: no memory
void ls_migration_fill(struct ls_migration *m, const Lockstep__V1__PrepareRequest *q); // beyond params

// migration_check.c: what a request says by itself, and from it the role's params. INVALID names the field and its
// range; SCHEDULE_INVALID.
int ls_migration_check(const struct ls_agent *a, const Lockstep__V1__PrepareRequest *q, struct ls_role_params *p,
		       struct ls_error *err);

// migration_restart.c
int ls_migration_restart(struct ls_agent *a, const struct ls_known *known, struct ls_error *err);
// One of any life, or NULL. One that is over only answers.
struct ls_migration *ls_migration_recall(struct ls_agent *a, const char *id);
void ls_migration_lend(struct ls_migration *m);                // LS_VMM_LEND
void ls_migration_keep(struct ls_migration *m, unsigned i, int fd); // in the fd store
void ls_migration_unkeep(struct ls_migration *m, unsigned i);
void ls_migration_let_go(struct ls_migration *m);              // devices, and what the fd store has of them

// migration.c
void ls_migration_on_job(void *user, const struct ls_job_result *result); // user: a slot
struct ls_migration *ls_migration_find(struct ls_agent *a, const char *id); // of this life
void ls_migration_begin(struct ls_migration *m);                            // first word is durable
void ls_migration_feed(struct ls_migration *m, struct ls_role_event event); // what it points at is copied
void ls_migration_wait(struct ls_migration *m, struct ls_waiter *waiter);   // taken over
// `unwritten`, NULL for none: what they waited for could not be written.
void ls_migration_tell_waiters(struct ls_migration *m, const struct ls_error *unwritten);
void ls_migration_free(struct ls_migration *m);
bool ls_migration_holds_vm(const struct ls_migration *m);

// migration_ledger.c
void ls_migration_persist(struct ls_migration *m, enum ls_word word);
void ls_migration_conflict(struct ls_migration *m);
void ls_migration_heard(struct ls_migration *m);
void ls_migration_note(struct ls_migration *m, const char *how); // with end_error
void ls_migration_close(struct ls_migration *m);                 // nothing is left to do here

// migration_peer.c: a connection that came with the right token. The conn or fd is taken over.
int ls_migration_control(struct ls_migration *m, int fd, const char *peer_ledger_id, struct ls_error *err);
int ls_migration_stream(struct ls_migration *m, int fd, const char *device, struct ls_error *err);
void ls_migration_dial(struct ls_migration *m);
void ls_migration_send(struct ls_migration *m, const struct ls_role_action *action);
void ls_migration_hang_up(struct ls_migration *m);
int ls_migration_hello(struct ls_migration *m, const char *device, void **ret, size_t *ret_len, struct ls_error *err);

// migration_rest.c
void ls_migration_sending(struct ls_migration *m, unsigned i);
void ls_migration_sent(struct ls_migration *m, unsigned i);
void ls_migration_watch_rest(struct ls_migration *m); // after each event

// migration_event.c
void ls_migration_emit(struct ls_migration *m, const struct ls_role_action *action);
void ls_migration_watch(struct ls_migration *m, struct ls_rpc_call *call, uint64_t after_sequence);
void ls_migration_drop_watchers(struct ls_migration *m);
void ls_error_to_pb(const struct ls_error *err, Lockstep__V1__ErrorDetail *ret); // points into err

#endif
