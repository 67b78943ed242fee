// SPDX-License-Identifier: Apache-2.0
// The deterministic simulation: the real sequencer, roles, schedules and ledger statements; simulated hosts,
// processes, devices, VMMs, disks, network and clock. One seed is one run, exactly repeatable.
//
//   world      virtual time, an ordered queue of events, processes that die and freeze, randomness, the trace
//   fault      what may go wrong, decided by the seed, each time numbered, so that single ones can be left out
//   hardware   devices that write to each other without pause, and the VM: notices every lost write
//   agent      one agent: role's actions (agent), device jobs and streams (job), its connection (link),
//              what a coordinator calls (service), its ledger (disk)
//   control    carries out the sequencer's actions; calls travel by `call`
//   plot       kills, freezes, cuts and heals; operator: client and operator
//   scene      what a seed is about: where trouble is likely, and of which kind
//   promise    what words, terms and claims promise, checked as they are written and spoken
//   judge      what must hold at the end
#ifndef LS_TESTS_SIM_WORLD_H
#define LS_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/role.h"
#include "common/schedule.h"
#include "tests/sim/fault.h"

#define US 1000ull
#define MS 1000000ull
#define S 1000000000ull

#define SIM_DEVICES 4
#define SIM_IMAGE (2 * SIM_DEVICES + 1) // sent, got, and whether the guest had begun with it
#define SIM_HOSTS 3      // source, destination, and a third for a second attempt
#define SIM_MIGRATIONS 2

// Who an event belongs to: it is lost when they die and waits while they are frozen.
enum sim_who {
	SIM_WORLD,
	SIM_COORD,                          // two of them
	SIM_AGENT = SIM_COORD + 2,          // + host
	SIM_VMM = SIM_AGENT + SIM_HOSTS,    // + host
	SIM_HOST = SIM_VMM + SIM_HOSTS,     // + host: its kernel
	SIM_WHO_COUNT = SIM_HOST + SIM_HOSTS
};

struct sim_event;

struct sim_process {
	bool up, frozen;
	uint64_t life;
	struct sim_event *waiting; // frozen: in order
	unsigned n, room;
};

// A call into the kernel that outlives whoever made it.
struct sim_kernel_op {
	bool busy, hangs;
	uint64_t number;
	enum ls_job_kind kind;
	enum ls_state target;
};

struct sim_device {
	unsigned flags;
	int state;
	bool live;    // the VM's driver has used it since it was opened or reset
	bool initiator, responder; // enabled, as the model's arcs have left them
	bool session; // a saving session is open
	struct sim_kernel_op op;
	uint64_t sent[SIM_DEVICES], got[SIM_DEVICES];
};

enum sim_vm { SIM_VM_NONE, SIM_VM_INCOMING, SIM_VM_PAUSED, SIM_VM_RUNNING };

struct sim_host {
	const char *name;
	struct sim_device dev[SIM_DEVICES];
	enum sim_vm vm;
	bool held; // an agent has the devices' fds, or the fd store keeps them
};

// What has been decided, whatever became of the disks.
struct sim_past {
	bool consented;
	bool committed, released;
	char gave_up[LS_LEDGER_ID_SIZE]; // the destination's ledger that held ABORTED or LOST_AFTER_COMMIT
	uint64_t returning_ns;           // since when RETURNING is durable
};

// scene.c: what this seed is about.
struct sim_scene {
	const char *name;
	enum ls_word source, dest; // the moment: trouble is likelier while these are durable; NONE: any
	bool long_troubles;        // most last until all is healed, and one at that moment is enough
	bool spent;                // it has been
	bool at_night;             // an operator looks before all is healed
	bool hasty;                // the client holds the first migration before the pause, and may begin a second one
};

struct sim_agent;
struct sim_coordinator;
struct sim_operator;

struct world {
	uint64_t seed, random, now, order, numbers;
	struct sim_event *heap;
	unsigned n_events, room;
	struct sim_process process[SIM_WHO_COUNT];
	bool cut[SIM_WHO_COUNT][SIM_WHO_COUNT]; // between SIM_COORD + c and SIM_HOST + h, in both directions
	bool trace;
	char violation[256];                    // empty: none so far
	const char *broken;                     // the promise that it breaks
	struct sim_faults faults;
	unsigned dest;                          // host: where the latest migration goes
	bool superseded, store_lost;            // the second coordinator is followed; a store forgot
	uint64_t heal_at;                       // no trouble begins after this, and all that there is ends
	bool healed;

	unsigned n; // devices
	uint32_t reaches[SIM_DEVICES];
	struct sim_host host[SIM_HOSTS];
	uint64_t truth_sent[SIM_DEVICES][SIM_DEVICES], truth_got[SIM_DEVICES][SIM_DEVICES];
	uint64_t writes;   // peer-to-peer writes made in all
	bool vm_dead;      // its VMM or host died under it: it may be nowhere
	bool ran_away;     // it, or a device of it, has run somewhere else than at the source
	bool older;        // an operator returned it all the same: what it did there is given up
	bool copy_dead;    // so did a copy of it that was not the only one
	bool lied;         // a fence was false
	bool split;        // and so both sides had the right to run it: CONFLICT must be said
	bool conflict[SIM_HOSTS][SIM_MIGRATIONS], told_conflict[SIM_MIGRATIONS]; // said there; by the coordinator
	uint32_t rolled_back; // hosts whose ledger was lost or set back

	struct sim_agent *agent[SIM_HOSTS];
	struct sim_coordinator *coordinator[2];
	struct sim_operator *operator_;
	struct sim_calls *calls;
	struct sim_past past[SIM_MIGRATIONS];
	struct sim_scene scene;
	uint64_t deadline_ms;
	bool hold_pause, hold_decide, no_precopy;
	uint64_t events, fed[LS_EV_TIMER + 1]; // in all; to roles, by kind
};

// ---- world.c
typedef void sim_fn(struct world *w, void *arg);
// `arg` is freed after the call, when `who` dies before it, or when the world ends.
void sim_at(struct world *w, enum sim_who who, uint64_t delay_ns, sim_fn *fn, void *arg);
bool sim_step(struct world *w); // next event; false: none is left
uint64_t sim_random(struct world *w, uint64_t below);
uint64_t sim_latency(struct world *w); // of a message
void *sim_alloc(size_t size);
void sim_kill(struct world *w, enum sim_who who); // its events are gone
void sim_start(struct world *w, enum sim_who who);
void sim_freeze(struct world *w, enum sim_who who);
void sim_thaw(struct world *w, enum sim_who who);
bool sim_runs(const struct world *w, enum sim_who who); // up and not frozen
const char *sim_who_name(enum sim_who who);
void sim_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// `promise` is the name of what was broken: a seed is shrunk as long as it breaks the same one.
void sim_violation(struct world *w, const char *promise, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void world_init(struct world *w, uint64_t seed, const struct sim_leave_out *leave_out, bool trace);
void world_free(struct world *w);

// ---- hardware.c
void sim_hardware_init(struct world *w);
void sim_traffic(struct world *w); // everyone who may write writes; K3 and "never two" are checked
void sim_vm_resume(struct world *w, unsigned host);
void sim_vm_dies(struct world *w, unsigned host);
void sim_image_take(const struct world *w, unsigned host, unsigned device, uint64_t image[SIM_IMAGE]);
void sim_image_put(struct world *w, unsigned host, unsigned device, const uint64_t image[SIM_IMAGE]);
void sim_device_reset(struct world *w, unsigned host, unsigned device);
void sim_device_left(struct world *w, unsigned host, unsigned device); // reset, if nobody has it open any more
bool sim_device_arc(struct world *w, unsigned host, unsigned device, enum ls_state next);
void sim_device_fails(struct world *w, unsigned host, unsigned device); // ERROR
void sim_guest_resets(struct world *w, unsigned host, unsigned device);

// ---- plot.c
void sim_plot_init(struct world *w);
void sim_plot(struct world *w); // after every event
bool sim_reaches(const struct world *w, enum sim_who a, enum sim_who b); // no cut between their hosts
void sim_restart_agent(struct world *w, unsigned host);
void sim_power_off(struct world *w, unsigned host);

// ---- scene.c
void sim_scene_init(struct world *w);
bool sim_scene_moment(const struct world *w); // is it now?

// ---- judge.c
void sim_judge(struct world *w);       // at the end
bool sim_settled(const struct world *w);
bool sim_both_have_it(const struct world *w, unsigned migration); // words that contradict each other are durable
bool sim_forgotten(const struct world *w, unsigned migration);

#endif
