// SPDX-License-Identifier: Apache-2.0
// A simulated agent: what agent/ does around the role, on a simulated host. One subject per file: agent.c feeds
// roles and carries out their actions, job.c runs devices and streams, link.c the connection between agents,
// service.c answers coordinators, vmm.c asks the VMM, disk.c keeps the ledger with the agent's own statements.
#ifndef LS_TESTS_SIM_AGENT_H
#define LS_TESTS_SIM_AGENT_H

#include <sqlite3.h>

#include "tests/sim/call.h"
#include "tests/sim/report.h"
#include "tests/sim/world.h"

#define SIM_WAITERS 16
#define SIM_SNAPSHOTS 8
#define SIM_ORDERS 8

// What Prepare brought, as the ledger keeps it.
struct sim_request {
	unsigned migration, peer; // peer: host
	enum ls_side side;
	char peer_ledger_id[LS_LEDGER_ID_SIZE];
	struct ls_schedule schedule;
	uint64_t deadline_ns;
};

// What travels on a device's connection; held by the destination.
struct sim_wire {
	bool open, complete;
	uint64_t image[SIM_IMAGE];
	struct ls_image sum;
};

struct sim_job {
	bool busy, waiting; // waiting: for the other side
	bool interrupted;   // while the kernel had it
	enum ls_state target;
	enum ls_job_kind kind;
	int from;
	uint64_t begin_ns, number; // number: tells a late event from a current one
};

// A migration in this life of the agent.
struct sim_mig {
	struct sim_agent *a;
	struct sim_request request;
	struct ls_role *role;
	bool begun; // its first word is durable
	struct sim_job job[SIM_DEVICES];
	struct sim_wire wire[SIM_DEVICES];
	struct ls_image sent[SIM_DEVICES]; // source
	bool streamed[SIM_DEVICES];
	uint64_t conn, dialling; // numbers; 0: none
	uint64_t timer;
	struct sim_report report;
	struct sim_call waiter[SIM_WAITERS];
	unsigned n_waiters;
};

struct sim_row { // what is durable, and what this life believes
	bool known, done, claim, conflict;
	enum ls_side side;
	enum ls_word word;
};

struct sim_snapshot {
	uint64_t term;
	unsigned char *bytes;
	sqlite3_int64 size;
	struct sim_row row[SIM_MIGRATIONS];
};

struct sim_order {
	bool on;
	struct sim_call call;
	struct sim_request request;
};

struct sim_agent {
	struct world *w;
	unsigned host;

	// The disk.
	sqlite3 *db;
	char ledger_id[LS_LEDGER_ID_SIZE];
	struct sim_row durable[SIM_MIGRATIONS];
	uint64_t durable_term;
	struct sim_snapshot snapshot[SIM_SNAPSHOTS];
	unsigned n_snapshots;
	bool fd_store; // systemd keeps the devices' fds over a restart
	uint32_t stored; // devices whose fds it holds
	bool rebooted;   // since a migration last began
	bool may_still;  // the VM may run on here: an earlier ledger held COMMITTED

	// This life.
	uint64_t born_ns;
	uint64_t disk_free_at;
	uint64_t term;
	char coordinator[LS_NAME_MAX];
	struct sim_row row[SIM_MIGRATIONS];
	struct sim_mig *mig[SIM_MIGRATIONS];
	bool vmm_here;
	bool writing_first[SIM_MIGRATIONS];
	struct sim_call settles[SIM_MIGRATIONS]; // waits for its tombstone
	struct sim_order order[SIM_ORDERS];      // wait for their term
	bool silent;                             // rule 10: the ledger has failed on a decision
	bool stopping;                           // told to: no new work
};

struct sim_agent *sim_agent_new(struct world *w, unsigned host);
void sim_agent_free(struct sim_agent *a);
void sim_agent_kill(struct sim_agent *a);
void sim_agent_start(struct sim_agent *a);
bool sim_agent_may_run(const struct sim_agent *a); // the VM's devices, by what is durable here
bool sim_agent_released(const struct sim_agent *a);
bool sim_agent_started(const struct sim_agent *a);
bool sim_agent_decided(const struct world *w);
struct sim_mig *sim_agent_begin(struct sim_agent *a, const struct sim_request *q); // role not fed yet
void sim_mig_free(struct sim_mig *m);
void sim_agent_feed(struct sim_mig *m, struct ls_role_event e);
void sim_agent_fall_silent(struct sim_agent *a);
void sim_agent_vmm_lost(struct sim_agent *a);
void sim_agent_vmm_up(struct sim_agent *a);
const char *sim_migration_id(unsigned migration);
// What the agent's list says of a migration; to be freed with ls_msg_free().
Lockstep__V1__ListAgentMigrationsResponse__Entry *sim_entry(const struct world *w, const struct sim_mig *m,
							    enum ls_word word, const char *ledger_id);

// vmm.c
void sim_vmm_ask(struct sim_mig *m, enum ls_vmm_op op);

// promise.c
void sim_promise_letter(const struct sim_mig *m, const struct ls_role_msg *msg);
void sim_promise_answer(const struct sim_agent *a, const struct sim_call *call, bool known, enum ls_word word);
void sim_promise_order(const struct sim_agent *a, const struct sim_call *call); // it is carried out
void sim_promise_written(struct sim_agent *a, unsigned migration, enum ls_word before); // durable[] has the new word
void sim_promise_start(const struct sim_mig *m);                                        // the VMM is told to run the VM
bool sim_promise_split(const struct world *w);

// stop.c
void sim_agent_stop(struct sim_agent *a);
void sim_agents_end(struct world *w); // those that were told to stop and have come to their end

// hung.c
// The kernel keeps a job on a device's stream for long; `then` carries it on.
typedef void sim_job_fn(struct sim_mig *m, unsigned device);
bool sim_job_hangs(struct sim_mig *m, unsigned device, sim_job_fn *then);
void sim_job_rest(struct sim_mig *m); // the image is being sent

// job.c
void sim_job_start(struct sim_mig *m, unsigned device, enum ls_job_kind kind, enum ls_state target);
void sim_job_interrupt(struct sim_mig *m, unsigned device);
void sim_jobs_lose_streams(struct world *w, unsigned host); // the agent there died

// link.c
void sim_link_dial(struct sim_mig *m);
void sim_link_close(struct sim_mig *m);
void sim_link_send(struct sim_mig *m, const struct ls_role_action *act);
void sim_link_lose(struct world *w, unsigned host); // the agent there died
void sim_link_break(struct world *w, unsigned migration, uint64_t most_ns); // both hear of it, one maybe later
struct sim_mig *sim_peer(const struct sim_mig *m); // NULL: its agent does not run, or does not know

// service.c
void sim_service(struct sim_agent *a, const struct sim_call *call);
void sim_service_waiters(struct sim_mig *m);

// disk.c
typedef void sim_disk_fn(struct sim_agent *a, unsigned migration, enum ls_word word, int status);
void sim_disk_new(struct sim_agent *a);
void sim_disk_free(struct sim_agent *a);
void sim_disk_begin(struct sim_agent *a, const struct sim_request *q, enum ls_word word, sim_disk_fn *done);
void sim_disk_word(struct sim_agent *a, unsigned migration, enum ls_word word, sim_disk_fn *done);
void sim_disk_done(struct sim_agent *a, unsigned migration, sim_disk_fn *done);
void sim_disk_claim(struct sim_agent *a, unsigned migration, sim_disk_fn *done);
void sim_disk_conflict(struct sim_agent *a, unsigned migration, sim_disk_fn *done);
void sim_disk_term(struct sim_agent *a, unsigned order, sim_disk_fn *done); // `order` comes back as `migration`
void sim_disk_read(struct sim_agent *a,
		   void (*each)(struct sim_agent *a, const struct sim_request *q, enum ls_word word));
void sim_disk_lose(struct sim_agent *a);
bool sim_disk_roll_back(struct sim_agent *a);
void sim_disk_check(struct sim_agent *a); // does the database hold what it answered?

#endif
