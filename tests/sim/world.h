// SPDX-License-Identifier: Apache-2.0
// The deterministic simulation: the real sequencer, roles and schedules; simulated hosts, devices, VMMs,
// disks, network and clock. One seed is one run, exactly repeatable.
//
//   world      virtual time, an ordered queue of events, randomness from the seed, the trace, the verdict
//   hardware   devices that write to each other without pause, and the two VMs: notices every lost write
//   agent      carries out a role's actions
//   control    carries out the sequencer's actions
#ifndef LS_TESTS_SIM_WORLD_H
#define LS_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/role.h"
#include "common/schedule.h"

#define US 1000ull
#define MS 1000000ull
#define S 1000000000ull

#define SIM_DEVICES 4

// What goes wrong in a run. All from the seed; probabilities in 1/1000 per occasion.
struct sim_faults {
	unsigned arc_errno, arc_error_state, arc_slow; // an arc fails, ends in ERROR, takes up to 300 ms
	unsigned stream;                               // a job on a stream fails
	unsigned vmm;                                  // a VMM answers an error before the decision
	unsigned persist;                              // a sync fails
	unsigned cut;                                  // the agents lose each other, per message
	unsigned rpc_lost, rpc_answer_lost;            // a coordinator's call, or its answer, gets lost
	unsigned cancel;                               // the client changes its mind, per agent event
	unsigned restart;                              // the coordinator is killed and starts again, per agent event
};

// Safety taken out on purpose, to see that the simulation notices.
enum sim_control {
	SIM_CONTROL_NONE,
	SIM_CONTROL_SKIP_QUIESCE,     // the barrier before STOP
	SIM_CONTROL_START_EARLY,      // the destination is told COMMITTED before it is durable, and the disk loses it
	SIM_CONTROL_RETURN_ANYWAY,    // the source returns although it had consented
	SIM_CONTROL_BEND_IMAGE,       // other bytes arrive than were sent, unnoticed by the digest
	SIM_CONTROL_COUNT
};

struct sim_device {
	unsigned flags;
	int state;
	bool live;               // its VM has touched it since it was opened or reset
	bool session;            // a saving session is open
	uint64_t sent[SIM_DEVICES], got[SIM_DEVICES];
};

enum sim_vm { SIM_VM_NONE, SIM_VM_INCOMING, SIM_VM_PAUSED, SIM_VM_RUNNING };

struct sim_host {
	const char *name;
	struct sim_device dev[SIM_DEVICES];
	enum sim_vm vm;
};

struct sim_agent;
struct sim_coordinator;

struct world {
	uint64_t seed, random, now, order;
	struct sim_event *heap;
	unsigned n_events, room;
	bool trace;
	char violation[256];     // empty: none so far
	enum sim_control control;
	struct sim_faults faults;

	unsigned n;              // devices
	uint32_t reaches[SIM_DEVICES];
	struct sim_host host[2]; // source, destination
	uint64_t truth_sent[SIM_DEVICES][SIM_DEVICES], truth_got[SIM_DEVICES][SIM_DEVICES];
	uint64_t writes;         // peer-to-peer writes made in all

	struct sim_agent *agent[2];
	struct sim_coordinator *coordinator;
	uint64_t deadline_ms;
	bool hold_decide, no_precopy;

	uint64_t events, faults_hit; // counters for the coverage line
};

// ---- world.c
typedef void sim_fn(struct world *w, void *arg);
// `arg` is freed after the call, or when the world ends.
void sim_at(struct world *w, uint64_t delay_ns, sim_fn *fn, void *arg);
bool sim_step(struct world *w); // next event; false: none is left
uint64_t sim_random(struct world *w, uint64_t below);
bool sim_chance(struct world *w, unsigned per_mille); // counts as a fault when true
uint64_t sim_latency(struct world *w);                // of a message
void *sim_alloc(size_t size);
void sim_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_violation(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_init(struct world *w, uint64_t seed, enum sim_control control, bool trace);
void world_free(struct world *w);

// ---- hardware.c
void sim_hardware_init(struct world *w);
void sim_traffic(struct world *w);       // everyone who may write writes; K3 is checked
void sim_vm_resume(struct world *w, unsigned host);
void sim_image_take(const struct world *w, unsigned host, unsigned device, uint64_t image[2 * SIM_DEVICES]);
void sim_image_put(struct world *w, unsigned host, unsigned device, const uint64_t image[2 * SIM_DEVICES]);
void sim_device_reset(struct world *w, unsigned host, unsigned device);

// ---- agent.c
struct sim_agent *sim_agent_new(struct world *w, unsigned side);
void sim_agent_free(struct sim_agent *a);
const struct ls_role *sim_agent_role(const struct sim_agent *a); // NULL before Prepare
enum ls_word sim_agent_word(const struct sim_agent *a);          // durable
// What the coordinator asks for. 0 or an rpc status; `*word`: the durable one afterwards.
int sim_agent_prepare(struct sim_agent *a, const struct ls_schedule *s);
int sim_agent_grant(struct sim_agent *a, uint32_t gates);
int sim_agent_unwind(struct sim_agent *a);
int sim_agent_settle(struct sim_agent *a);
// Events after `after`, one call each; true if the agent is through with it.
bool sim_agent_events(struct sim_agent *a, uint64_t after, void (*each)(void *user, const void *event), void *user);

// ---- control.c
struct sim_coordinator *sim_coordinator_new(struct world *w);
void sim_coordinator_free(struct sim_coordinator *c);
void sim_coordinator_news(struct sim_coordinator *c, unsigned side); // the agent has new events
bool sim_coordinator_ended(const struct sim_coordinator *c);
const char *sim_coordinator_phase(const struct sim_coordinator *c);

#endif
